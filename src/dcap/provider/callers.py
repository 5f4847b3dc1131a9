"""Whose configuration a call is answered by: that of the program which calls, where it may have one.

    callers = Callers(Trust(), names=("https://cache:8081",))
    caller = callers.of(("QCNL_CONF_PATH=/etc/my.conf",), peer)
    caller.source.collateral(need)

A program of the process's own user that sees the same files brings its environment: of it count the
names of `HEEDED` alone, and what it does not set counts as not set where the process was started on
behalf of some program (`bare`), else as in the process's own environment. A program of another user, or
in a container, is answered by the process's own configuration. Whom to trust (test root, certificates of
servers) nobody brings.

A plugin is no source here: the plugin that would be found is the library that asks this process.

A caller is made once for each distinct environment, and anew when its QCNL file changes: at most so many
are kept. Not here: what the sources are (`asking`), what is answered (`provider`).

Spec: `docs/provider-messages.md`; `quote-provider.md` §1.1, §1.5, §4.1.
"""

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

import msgspec

from dcap.errors import ConfigError, DcapError
from dcap.provider.peers import Peer
from dcap.qpl.qcnl_values import SYSTEM_PATH
from dcap.qpl.qcnl_values import VARIABLE as QCNL_FILE
from dcap.sources.clock import now
from dcap.sources.freshness import Freshness
from dcap.verification.anchors import INTEL_SGX_ROOT, TrustAnchor
from dcap.verification.memory import Memory

if TYPE_CHECKING:
    from dcap.provider.asking import Asking
    from dcap.provider.items import Items
    from dcap.sources.need import Update
    from dcap.sources.source import Source

#: What of a caller's environment counts; beside it the proxies, in small and in capital letters.
HEEDED: Final = frozenset(
    {
        QCNL_FILE,
        "XDG_CACHE_HOME",
        "HOME",
        "DCAP_SOURCE",
        "DCAP_OFFLINE",
        *("http_proxy", "https_proxy", "all_proxy", "no_proxy"),
        *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
    }
)
_PREFIX: Final = "AZDCAP_"
#: Configurations that are kept at a time.
MOST: Final = 32
#: Answers that are ready, of one configuration.
READY: Final = 256
#: A request may take so long: two in a row stay below the 30 seconds of the library.
TIMEOUT: Final = 12.0
_NO: Final = ("", "0", "false", "no")

Stamp: TypeAlias = "tuple[int, int, int] | None"


class Trust(msgspec.Struct, frozen=True, kw_only=True):
    """What the process alone says: no caller changes it."""

    anchor: TrustAnchor = INTEL_SGX_ROOT
    ca: Path | None = None
    cache: bool = True
    freshness: Freshness = Freshness()
    clock: Callable[[], datetime] = now
    timeout: float = TIMEOUT
    system: Path = SYSTEM_PATH
    machine: Path = Path("/")


class Caller:
    """One configuration. `error` is why nothing can be asked, where a person wrote it wrong.

    `refused_by_intel` says of its QCNL file that Intel's library would discard it, where it would; it is
    obeyed as it can be read all the same. `ready` holds answers that may be given again at once
    (`answering`).
    """

    def __init__(self, names: Sequence[str], environ: Mapping[str, str], trust: Trust) -> None:
        self.ready: Memory[object, tuple[float, bytes]] = Memory(READY)
        self.environ = environ
        self.names = tuple(names)
        self.trust = trust
        self.refused_by_intel = ""
        self.is_hex = False
        self.update: Update = "standard"
        self.error: DcapError | None = None
        self._source: Source | None = None
        self._items: Items | None = None
        self._asking: Asking | None = None
        try:
            self._configure()
        except DcapError as error:
            self.error = error

    @property
    def source(self) -> "Source":
        """Who gives sets and certificates, kept and proven. Raises `ConfigError`."""
        self._expect_sources()
        assert self._source is not None
        return self._source

    @property
    def items(self) -> "Items":
        """Who gives single items. Raises `ConfigError`."""
        self._expect_sources()
        assert self._items is not None
        return self._items

    @property
    def asking(self) -> "Asking":
        """Who gives policies. Raises `ConfigError`."""
        self._expect_sources()
        assert self._asking is not None
        return self._asking

    def with_parameter(self, parameter: bytes) -> "Source":
        """The sources, each asked with a custom parameter, and nothing kept. Raises `ConfigError`."""
        self._expect_sources()
        asking = self._made_asking(parameter)
        made = [asking.make(name).source for name in self.names]
        return self._first_of(made)

    def clear(self, kinds: Iterable[str]) -> None:
        """Forget what is kept of these kinds (the first words of its names), on the disk too."""
        from dcap.sources.disk import Disk, cache_directory  # noqa: PLC0415 - seldom

        directory = cache_directory(self.environ) if self.trust.cache else None
        wanted = tuple(f"{kind}-" for kind in kinds)
        if directory is not None:
            disk = Disk(directory)
            for name in disk.names():
                payload = disk.read(name) if name.startswith(wanted) else None
                if payload is not None:
                    disk.drop(name, payload)
        if "collateral" in kinds and self._items is not None:
            self._items.clear()
        self.ready.clear()
        self._configure()  # anew: what is kept in memory goes with the old sources

    def _expect_sources(self) -> None:
        if self.error is not None:
            raise self.error

    def _configure(self) -> None:
        from dcap.provider.items import Items  # noqa: PLC0415 - not before it is needed
        from dcap.sources.disk import cache_directory  # noqa: PLC0415

        refuse_plugins(self.names)
        self._read_qcnl()
        asking = self._made_asking()
        made = [asking.make(name) for name in self.names]
        groups = [(near, list(group)) for near, group in groupby(made, lambda one: not one.remote)]
        sources: list[Source] = []
        for is_near, group in groups:
            joint = self._first_of([one.source for one in group])
            sources.append(joint if is_near else self._kept(joint))
        cache = cache_directory(self.environ) if self.trust.cache else None
        self._source = self._first_of(sources)
        self._asking = asking
        self.is_hex, self.update = asking.is_hex, asking.update or "standard"
        self._items = Items(
            asking.services,
            anchor=self.trust.anchor,
            clock=self.trust.clock,
            directory=None if cache is None else cache / "provider",
            scope="\n".join(_scopes(sources)),
            freshness=self.trust.freshness,
        )

    def _read_qcnl(self) -> None:
        """What Intel's `sgx_qpl_global_init` would say of the QCNL files in use."""
        from dcap.qpl.qcnl_config import load_qcnl  # noqa: PLC0415 - not before it is needed

        for name in self.names:
            kind, _, rest = name.partition(":")
            if kind.lower() == "qcnl" and not self.refused_by_intel:
                path = Path(rest) if rest else None
                reading = load_qcnl(self.environ, path=path, system=self.trust.system)
                if reading.init:
                    self.refused_by_intel = (
                        f"{reading.where}: Intel's library would discard it (0x{reading.init:04X}), "
                        "and it is obeyed as it stands; see `dcap qcnl lint`"
                    )

    def _made_asking(self, parameter: bytes = b"") -> "Asking":
        from dcap.provider.asking import Asking  # noqa: PLC0415 - not before it is needed

        return Asking(
            self.environ,
            ca=self.trust.ca,
            timeout=self.trust.timeout,
            offline=self.environ.get("DCAP_OFFLINE", "").strip().lower() not in _NO,
            system=self.trust.system,
            machine=self.trust.machine,
            parameter=parameter,
        )

    def _first_of(self, sources: "Sequence[Source]") -> "Source":
        from dcap.sources.first_of import FirstOf  # noqa: PLC0415 - not before it is needed
        from dcap.sources.kept import proves  # noqa: PLC0415

        accept = proves(anchor=self.trust.anchor, clock=self.trust.clock)
        return sources[0] if len(sources) == 1 else FirstOf(sources, accept=accept)

    def _kept(self, source: "Source") -> "Source":
        from dcap.sources.cache import CachedSource  # noqa: PLC0415 - not before it is needed
        from dcap.sources.disk import cache_directory  # noqa: PLC0415

        if not self.trust.cache:
            return source
        return CachedSource(
            source,
            directory=cache_directory(self.environ),
            anchor=self.trust.anchor,
            freshness=self.trust.freshness,
            clock=self.trust.clock,
        )


class Callers:
    """The configurations by environment. `names` are sources that count for everybody.

    Raises `ConfigError` (`provider-loop`) where the process itself is to ask a plugin.
    """

    def __init__(
        self,
        trust: Trust,
        *,
        names: Sequence[str] = (),
        environ: Mapping[str, str] | None = None,
        bare: bool = False,
    ) -> None:
        self._trust = trust
        self._names = tuple(names)
        own = dict(os.environ if environ is None else environ)
        kept = ("HOME", "XDG_CACHE_HOME")
        if bare:
            own = {name: own[name] for name in own if name in kept or not is_heeded(name)}
        self._own = own
        self._lock = threading.Lock()
        self._known: OrderedDict[tuple[str, ...], tuple[Caller, dict[Path, Stamp]]] = OrderedDict()
        refuse_plugins(self._named(own))

    def of(self, lines: tuple[str, ...], peer: Peer) -> Caller:
        """The configuration for a caller that brought these lines NAME=value."""
        key = self._heeded(lines, peer) if lines and peer.here else ()
        with self._lock:
            known = self._known.get(key)
            if known is not None:
                caller, stamps = known
                if all(_stamp(path) == stamp for path, stamp in stamps.items()):
                    self._known.move_to_end(key)
                    return caller
            # Made under the lock, which takes no network: so each is made once.
            environ = {**self._own, **dict(line.split("=", 1) for line in key)}
            watched = self._watched(environ)
            stamps = {path: _stamp(path) for path in watched}
            caller = Caller(self._named(environ), environ, self._trust)
            self._known[key] = (caller, stamps)
            self._known.move_to_end(key)
            while len(self._known) > MOST:
                self._known.popitem(last=False)
            return caller

    def __len__(self) -> int:
        return len(self._known)

    def _heeded(self, lines: tuple[str, ...], peer: Peer) -> tuple[str, ...]:
        found = []
        for line in lines:
            name, _, value = line.partition("=")
            if not is_heeded(name):
                continue
            if name == QCNL_FILE and value and not value.startswith("/"):
                found.append(f"{name}={_beside(value, peer)}")
            else:
                found.append(line)
        return tuple(found)

    def _named(self, environ: Mapping[str, str]) -> tuple[str, ...]:
        """The sources: the process's own, else `$DCAP_SOURCE`, else those of dcap's own client."""
        from dcap.sources.specs import bundled  # noqa: PLC0415 - not before it is needed

        given = [name.strip() for name in environ.get("DCAP_SOURCE", "").split(",")]
        names = self._names or tuple(name for name in given if name) or ("bundled",)
        own = bundled(environ, system=self._trust.system, machine=self._trust.machine)
        return tuple(own if name.lower() == "bundled" else name for name in names)

    def _watched(self, environ: Mapping[str, str]) -> tuple[Path, ...]:
        """The files that the configuration is read from."""
        named = [name for name in self._named(environ) if name.lower().startswith("qcnl:")]
        place = Path(environ[QCNL_FILE]) if QCNL_FILE in environ else self._trust.system
        return (place, *(Path(name[5:]) for name in named))


def refuse_plugins(names: Iterable[str]) -> None:
    """Raise `ConfigError` (`provider-loop`) where a source is a plugin."""
    for name in names:
        if name.partition(":")[0].strip().lower() == "plugin":
            raise ConfigError(
                "provider-loop",
                f"{name[:200]!r} is no source of the provider's process: "
                "programs' plugin is what asks this process",
                where="--source or DCAP_SOURCE",
                mend="name what the plugin would ask: qcnl, azure, pcs, or the URL of a PCCS",
            )


def is_heeded(name: str) -> bool:
    """Whether a variable of a caller's counts."""
    return name in HEEDED or name.startswith(_PREFIX)


def _beside(path: str, peer: Peer) -> str:
    """A relative path as the caller means it: from the folder that it is in."""
    try:
        return str(Path(f"/proc/{peer.pid}/cwd").readlink() / path)
    except OSError:
        return path


def _stamp(path: Path) -> Stamp:
    """What changes when a file does; `None` where it is not there."""
    try:
        about = os.stat(path)  # noqa: PTH116 - once a call, and Path.stat takes twice as long
    except (OSError, ValueError):
        return None
    return about.st_mtime_ns, about.st_size, about.st_ino


def _scopes(sources: "Sequence[Source]") -> list[str]:
    from dcap.sources.source import scope_of  # noqa: PLC0415 - not before it is needed

    return [scope_of(source) for source in sources]
