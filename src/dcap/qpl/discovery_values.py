"""What is found when plugins are looked for: values alone, as `dcap provider list --json` writes them.

Not here: looking (`discovery`), judging (`discovery_problems`).
"""

from typing import Literal, TypeAlias

import msgspec

from dcap.qpl.discovery_packages import Owner

Kind: TypeAlias = Literal["intel", "azure", "dcap", "unknown"]
#: "foreign": for another machine; "denied": it may not be read.
State: TypeAlias = Literal["ok", "dangling", "denied", "not-elf", "malformed", "foreign"]
Severity: TypeAlias = Literal["error", "advice"]

KINDS: dict[Kind, str] = {
    "intel": "Intel's",
    "azure": "Azure's",
    "dcap": "dcap's",
    "unknown": "unknown",
}


class Name(msgspec.Struct, frozen=True, kw_only=True):
    """One path under which a plugin can be found."""

    path: str
    link: bool
    owner: Owner


class Missing(msgspec.Struct, frozen=True, kw_only=True):
    """A library that the loader would not find, and which library wants it."""

    library: str
    wanted_by: str


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """One file that some consumer would look at; `names` are the paths that lead to it.

    For a link to nothing, `real` is where it points. `exports` are only those of the plugin's own ABI.
    """

    number: int
    real: str
    state: State
    why: str = ""
    kind: Kind = "unknown"
    names: tuple[Name, ...] = ()
    owner: Owner = Owner("none")
    soname: str = ""
    architecture: str = ""
    exports: tuple[str, ...] = ()
    needed: tuple[str, ...] = ()
    missing: tuple[Missing, ...] = ()
    #: Symbols that it takes from others, and none of its libraries has.
    unresolved: tuple[str, ...] = ()
    #: Intel's opens libcurl only when it is asked for something, and then there is none.
    lacks_libcurl: bool = False

    @property
    def loads(self) -> bool:
        """Whether the loader can load it."""
        return self.state == "ok" and not self.missing

    @property
    def path(self) -> str:
        """The first of its names."""
        return self.names[0].path

    @property
    def whose(self) -> str:
        """Its kind in words."""
        return KINDS[self.kind]


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One path that a consumer looks at, and what comes of it."""

    path: str
    said: str


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """What one consumer loads, by its own rule.

    `path` is the one that it settles for, and `plugin` its number: "" and none where there is none.
    `loads` is whether that works, and `why` says why not. `without` tells what will not work, symbol by
    symbol.
    """

    consumer: str
    name: str
    short: str
    rule: str
    plugin: int | None = None
    path: str = ""
    kind: Kind | None = None
    loads: bool = False
    why: str = ""
    lacks: tuple[str, ...] = ()
    without: dict[str, str] = {}
    steps: tuple[Step, ...] = ()
    #: Whether it takes the plugin that it brings, wherever that is.
    own: bool = False
    #: Whether this machine has the consumer, as far as one can see.
    presumed: bool = True

    @property
    def is_served(self) -> bool:
        """Whether it has a plugin that works."""
        return self.loads or self.own


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """What stands in the way, and what mends it, in the order in which to try it."""

    code: str
    severity: Severity
    what: str
    mends: tuple[str, ...]
    consumers: tuple[str, ...] = ()
    plugins: tuple[int, ...] = ()


class Discovery(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that was found under one root."""

    root: str
    plugins: tuple[Candidate, ...]
    consumers: tuple[Choice, ...]
    problems: tuple[Problem, ...]

    @property
    def is_wrong(self) -> bool:
        """Whether something is to be mended."""
        return any(problem.severity == "error" for problem in self.problems)

    def plugin(self, number: int | None) -> Candidate | None:
        """The plugin of that number."""
        return next((one for one in self.plugins if one.number == number), None)
