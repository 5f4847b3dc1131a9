"""Every `libdcap_quoteprov.so` of a system, and which of them each consumer would load.

Each consumer looks by its own rule (`consumers`): on one host two of them can load different plugins.
Files are read, nothing is loaded or executed, so that another system's root can be looked at as well.
Not here: using a plugin (`plugin`).

Source: `quote-provider.md` §3.1, §3.4, §5.1, §5.2, §6 (rows 6 to 9).
"""

import posixpath
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from dcap.qpl.consumers import BARE, BY_WORD, CONSUMERS, FINGERPRINTS, VERSIONED, Consumer
from dcap.qpl.discovery_loader import Library, Loader
from dcap.qpl.discovery_packages import Packages
from dcap.qpl.discovery_problems import Scene, problems
from dcap.qpl.discovery_root import Root
from dcap.qpl.discovery_values import (
    Candidate,
    Choice,
    Discovery,
    Kind,
    Missing,
    Name,
    Step,
)

_ABI: Final = ("sgx_ql_", "sgx_qpl_", "sgx_get_", "sgx_free_", "tdx_ql_", "tee_", "dcap_")
_LIBCURL: Final = ("libcurl.so", "libcurl.so.4")
#: State of a candidate -> what a consumer's loader does about it.
_SAID: Final = {
    "absent": "not there",
    "dangling": "a link to nothing: passed by",
    "foreign": "passed by",
    "denied": "passed by",
}


def conclave_choice(root: Path = Path("/"), bundle: str | None = None) -> Path | None:
    """The file that Conclave would load: the first of its paths that is there, or none.

    No more is asked of it, as Conclave asks no more. `bundle` is the folder of its own libraries, as
    `root` has it. The path returned opens the file from outside the root.
    """
    files = Root(root)
    for path in _paths(BY_WORD["conclave"], bundle):
        place = files.look(path)
        if place.is_there:
            return files.host(place.real)
    return None


def discover(
    root: Path = Path("/"),
    *,
    environ: Mapping[str, str],
    bundle: str | None = None,
    only: str | None = None,
) -> Discovery:
    """What is under `root`, for every consumer, or for the one that is named (`BY_WORD`).

    `environ` is heeded for the running system alone. Raises `ConfigError` (`plugins-root`).
    """
    files = Root(root)
    loader = Loader(files, environ)
    found = _Found(loader, bundle)
    asked = (BY_WORD[only],) if only else CONSUMERS
    choices = tuple(found.choice(one, bundle, asked=bool(only)) for one in asked)
    scene = Scene(files, loader, found.candidates, choices, environ, bundle=bundle, only=only)
    return Discovery(
        root=str(files.top),
        plugins=found.candidates,
        consumers=choices,
        problems=tuple(problems(scene)),
    )


def _paths(consumer: Consumer, bundle: str | None) -> tuple[str, ...]:
    if not consumer.bundles or bundle is None:
        return consumer.paths
    return (*consumer.paths, posixpath.join(bundle, VERSIONED), posixpath.join(bundle, BARE))


class _Found:
    """The candidates, numbered in the order in which they are met."""

    def __init__(self, loader: Loader, bundle: str | None) -> None:
        self.loader = loader
        libraries = self._libraries(bundle)
        packages = Packages(loader.root) if libraries else None
        by_file: dict[str, list[Library]] = {}
        for library in libraries.values():
            place = library.place
            by_file.setdefault(place.name if place.dangles else place.real, []).append(library)
        self.candidates = tuple(
            self._candidate(number, same, packages)
            for number, same in enumerate(by_file.values(), 1)
            if packages is not None
        )
        self._numbers = {name.path: one.number for one in self.candidates for name in one.names} | {
            one.real: one.number for one in self.candidates if one.state != "dangling"
        }

    def _libraries(self, bundle: str | None) -> dict[str, Library]:
        """Every path that any consumer would look at, and at which something stands."""
        paths = [path for consumer in CONSUMERS for path in _paths(consumer, bundle)]
        for name in (VERSIONED, BARE):
            paths += [posixpath.join(folder, name) for folder in self.loader.folders]
            if self.loader.cache and name in self.loader.cache:
                paths.append(self.loader.cache[name])
        found: dict[str, Library] = {}
        for path in paths:
            library = self.loader.library(path)
            if library.state != "absent":
                found.setdefault(library.place.name, library)
        return found

    def _candidate(self, number: int, same: list[Library], packages: Packages) -> Candidate:
        library = same[0]
        place, elf = library.place, library.elf
        state = library.state
        assert state != "absent"  # such are left out above
        names = tuple(
            Name(path=one.place.name, link=one.place.link, owner=packages.owner(one.place.name))
            for one in same
        )
        if elf is None or state != "ok":
            return Candidate(
                number=number,
                real=place.real,
                state=state,
                why=library.why,
                names=names,
                owner=packages.owner(place.name if place.dangles else place.real),
                architecture=elf.architecture if elf else "",
            )
        kind = _kind(library)
        missing = self.loader.missing(library)
        return Candidate(
            number=number,
            real=place.real,
            state=state,
            kind=kind,
            names=names,
            owner=packages.owner(place.real),
            soname=elf.soname,
            architecture=elf.architecture,
            exports=tuple(sorted(one for one in elf.exports if one.startswith(_ABI))),
            needed=elf.needed,
            missing=tuple(Missing(library=one, wanted_by=by) for one, by in missing),
            unresolved=() if missing else self.loader.unresolved(library),
            lacks_libcurl=kind == "intel" and not any(map(self.loader.has, _LIBCURL)),
        )

    def candidate(self, library: Library) -> Candidate:
        """The candidate that a path leads to."""
        place = library.place
        number = self._numbers[place.name if place.dangles else place.real]
        return self.candidates[number - 1]

    def choice(self, consumer: Consumer, bundle: str | None, *, asked: bool) -> Choice:
        """What a consumer loads."""
        by_rule = self._by_paths if consumer.paths else self._by_names
        steps, settled = by_rule(consumer, bundle)
        presumed = (
            asked
            or consumer.traces is None
            or any(self.loader.root.look(trace).is_there for trace in consumer.traces)
        )
        choice = Choice(
            consumer=consumer.id,
            name=consumer.name,
            short=consumer.short,
            rule=consumer.rule,
            steps=tuple(steps),
            own=consumer.bundles and bundle is None and settled is None,
            presumed=presumed,
        )
        if settled is None:
            return choice
        return _settled(choice, consumer, settled.place.name, self.candidate(settled))

    def _by_paths(
        self, consumer: Consumer, bundle: str | None
    ) -> tuple[list[Step], Library | None]:
        """The first that is there, whatever it is."""
        steps: list[Step] = []
        for path in _paths(consumer, bundle):
            library = self.loader.library(path)
            if library.place.is_there:
                steps.append(Step(path=path, said="taken"))
                return steps, library
            steps.append(Step(path=path, said=_said(library)))
        return steps, None

    def _by_names(
        self, consumer: Consumer, _bundle: str | None
    ) -> tuple[list[Step], Library | None]:
        """The first name that can be loaded; else the first that was found and cannot."""
        steps: list[Step] = []
        failed: Library | None = None
        for name in consumer.names:
            lookup = self.loader.look_up(name)
            *passed, last = lookup.steps
            steps += [Step(path=one.place.path, said=_said(one)) for one in passed]
            if lookup.found is None:
                steps.append(Step(path=last.place.path, said=_said(last)))
                continue
            candidate = self.candidate(lookup.found)
            said = "taken" if candidate.loads else f"fails: {_why(candidate)}"
            steps.append(Step(path=last.place.path, said=said))
            if candidate.loads:
                return steps, lookup.found
            failed = failed or lookup.found
        return steps, failed


def _settled(choice: Choice, consumer: Consumer, path: str, plugin: Candidate) -> Choice:
    exports = set(plugin.exports)
    lacks = tuple(name for name in consumer.needs if name not in exports) if plugin.loads else ()
    unresolved = plugin.unresolved if plugin.loads and consumer.binds_at_once else ()
    return msgspec.structs.replace(
        choice,
        plugin=plugin.number,
        path=path,
        kind=plugin.kind,
        loads=plugin.loads and not lacks and not unresolved,
        why=_why(plugin)
        or (f"it lacks {', '.join(lacks)}" if lacks else "")
        or (f"unresolved: {', '.join(unresolved)}" if unresolved else ""),
        lacks=lacks,
        without={
            name: effect
            for name, effect in consumer.wants.items()
            if plugin.loads and name not in exports
        },
    )


def _said(library: Library) -> str:
    said = _SAID.get(library.state, "passed by")
    return f"{library.why}: {said}" if library.state in ("foreign", "denied") else said


def _why(plugin: Candidate) -> str:
    """Why the loader cannot load it; empty where it can."""
    if plugin.state != "ok":
        return plugin.why
    return ", ".join(f"{one.library} is not found" for one in plugin.missing)


def _kind(library: Library) -> Kind:
    exports = library.elf.exports if library.elf else frozenset()
    return next((kind for symbol, kind in FINGERPRINTS if symbol in exports), "unknown")
