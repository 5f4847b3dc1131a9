"""Judging what was found: which problems the plugins of a system make, and for whom.

One function a family. A problem is an `error` where a consumer that this machine has is left without a
working plugin, or where two plugins compete; else it is advice. The sentences stand in
`discovery_remarks`, the commands in `discovery_mends`.

Source: `quote-provider.md` §3.4, §4.1, §5.1, §5.2, §6 (rows 6 to 9).
"""

import posixpath
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from dcap.qpl.consumers import BARE, BY_WORD, MULTI_ARCH, VERSIONED
from dcap.qpl.discovery_loader import FOLDERS, Loader
from dcap.qpl.discovery_mends import install_libraries, keep_one, link, reinstall, remove
from dcap.qpl.discovery_remarks import COMMANDS, OURS, listed, problem
from dcap.qpl.discovery_root import Root
from dcap.qpl.discovery_values import Candidate, Choice, Problem

#: What Azure writes into the DMI of its virtual machines, as every other cloud writes its own.
AZURE_TAG: Final = "7783-7084-3265-9085-8269-3286-77"
DMI: Final = "/sys/class/dmi/id/chassis_asset_tag"
LOG_LEVEL: Final = "AZDCAP_DEBUG_LOG_LEVEL"

#: What a package that is installed again would put right.
_AGAIN: Final = ("dangling", "not-elf", "malformed")


class Scene(NamedTuple):
    """All that is judged."""

    root: Root
    loader: Loader
    plugins: tuple[Candidate, ...]
    choices: tuple[Choice, ...]
    environ: Mapping[str, str]
    bundle: str | None
    only: str | None

    @property
    def here(self) -> tuple[Choice, ...]:
        """The consumers that this machine has, as far as one can see."""
        return tuple(choice for choice in self.choices if choice.presumed)

    def plugin(self, number: int | None) -> Candidate | None:
        """The plugin of that number."""
        return self.plugins[number - 1] if number else None


def problems(scene: Scene) -> Iterator[Problem]:
    """Everything that is to be said, what is wrong first."""
    found = [
        *_none(scene),
        *_competing(scene),
        *_unfound(scene),
        *_broken(scene),
        *_incomplete(scene),
        *_advice(scene),
    ]
    yield from sorted(found, key=lambda one: one.severity != "error")


# ── nothing, or too much ────────────────────────────────────────────────────────────────────────


def _none(scene: Scene) -> Iterator[Problem]:
    lost = tuple(choice for choice in scene.here if not choice.is_served)
    if not scene.plugins and lost:
        yield problem("plugins-none", "error" if scene.only else "advice", who=lost)


def _competing(scene: Scene) -> Iterator[Problem]:
    """Two plugins that could both be loaded, whether or not both are."""
    usable = tuple(plugin for plugin in scene.plugins if plugin.state == "ok")
    installed = tuple(plugin for plugin in usable if not _is_bundle(scene, plugin))
    chosen = {choice.plugin for choice in scene.here if choice.plugin}
    used = tuple(plugin for plugin in installed if plugin.number in chosen)
    if len(used) > 1:
        pairs = "; ".join(
            f"{plugin.whose} ({plugin.number}) by "
            + listed(choice.short for choice in scene.here if choice.plugin == plugin.number)
            for plugin in used
        )
        yield problem(
            "plugins-differ",
            "error",
            plugins=used,
            pairs=pairs,
            commands=keep_one(installed),
        )
    elif len(used) == 1 and len({plugin.kind for plugin in installed}) > 1:
        idle = tuple(plugin for plugin in installed if plugin not in used)
        yield problem(
            "plugins-several",
            "error",
            plugins=installed,
            idle=listed(f"{plugin.whose} ({plugin.number})" for plugin in idle),
            used=f"{used[0].whose} ({used[0].number})",
            commands=keep_one(installed),
        )


def _is_bundle(scene: Scene, plugin: Candidate) -> bool:
    if scene.bundle is None:
        return False
    folder = scene.root.look(scene.bundle).real
    return all(posixpath.dirname(name.path) == folder for name in plugin.names)


# ── not found where it is looked for ────────────────────────────────────────────────────────────


def _unfound(scene: Scene) -> Iterator[Problem]:
    """Consumers that find nothing, or take their own, though there is a plugin."""
    usable = [one for one in scene.plugins if one.loads and not _is_bundle(scene, one)]
    if not usable:
        return
    by_reason: dict[tuple[str, int, bool], list[Choice]] = {}
    for choice in scene.here:
        if choice.plugin is None:
            by_reason.setdefault((*_reason(choice, usable), choice.own), []).append(choice)
    for (code, number, own), choices in by_reason.items():
        plugin = scene.plugins[number - 1]
        places = {"failure": "it takes its own"} if own else {}
        yield problem(
            code,
            "advice" if own else "error",
            who=tuple(choices),
            plugins=(plugin,),
            found=plugin.path,
            command=_link_for(code, choices[0], plugin),
            **places,
        )


def _reason(choice: Choice, usable: list[Candidate]) -> tuple[str, int]:
    consumer = BY_WORD[choice.consumer]
    if consumer.paths:
        beside = [one for one in usable if _is_in(one, MULTI_ARCH)]
        if beside:
            return "plugins-versioned-name", beside[0].number
        return "plugins-elsewhere", usable[0].number
    for plugin in usable:
        if any(posixpath.basename(name.path) in consumer.names for name in plugin.names):
            return "plugins-stale-cache", plugin.number
    code = "plugins-bare-name" if consumer.names == (BARE,) else "plugins-versioned-name"
    return code, usable[0].number


def _is_in(plugin: Candidate, folder: str) -> bool:
    return any(posixpath.dirname(name.path) == folder for name in plugin.names)


def _link_for(code: str, choice: Choice, plugin: Candidate) -> str:
    wanted = BARE if code == "plugins-bare-name" else VERSIONED
    folder = posixpath.dirname(plugin.path)
    if BY_WORD[choice.consumer].paths:
        folder = MULTI_ARCH
    mends = [f"`{link(plugin.path, posixpath.join(folder, wanted))}`"]
    if folder not in FOLDERS:
        mends[0] += " and `sudo ldconfig`"
    if code == "plugins-bare-name" and plugin.owner.name == "libsgx-dcap-default-qpl":
        mends.append("`sudo apt install libsgx-dcap-default-qpl-dev`")
    return "\nor ".join([*mends, OURS])


# ── broken ──────────────────────────────────────────────────────────────────────────────────────


def _broken(scene: Scene) -> Iterator[Problem]:
    """Files that cannot be loaded, each with who is left without a plugin by it."""
    serves = any(plugin.loads for plugin in scene.plugins)
    for plugin in scene.plugins:
        if plugin.state == "ok":
            continue
        hurt = _hurt_by(scene, plugin)
        code = "architecture" if plugin.state == "foreign" else plugin.state
        again = code in _AGAIN and plugin.owner.name
        then = "" if serves or again else f"\nthen {OURS}, or Intel's or Azure's package"
        yield problem(
            f"plugins-{code}",
            "error" if hurt else "advice",
            who=hurt,
            plugins=(plugin,),
            path=plugin.path,
            real=plugin.real,
            why=plugin.why.removeprefix("for "),
            effect=_effect(hurt),
            command=(reinstall(plugin) if code in _AGAIN else remove(plugin)) + then,
        )


def _hurt_by(scene: Scene, plugin: Candidate) -> tuple[Choice, ...]:
    names = {name.path for name in plugin.names}

    def meets(choice: Choice) -> bool:
        return any(scene.root.look(step.path).name in names for step in choice.steps)

    return tuple(choice for choice in scene.here if not choice.is_served and meets(choice))


def _effect(hurt: tuple[Choice, ...]) -> str:
    if not hurt:
        return "; it hinders nobody"
    who = listed(choice.short for choice in hurt)
    masked = any(BY_WORD[choice.consumer].bundles and choice.plugin for choice in hurt)
    more = " (which tries no other, not even its own)" if masked and len(hurt) == 1 else ""
    more = more or (" (Conclave tries no other, not even its own)" if masked else "")
    return f": no plugin for {who}{more}"


def _incomplete(scene: Scene) -> Iterator[Problem]:
    """Libraries that are what they claim to be, and still do not serve."""
    for plugin in scene.plugins:
        path = plugin.path
        libraries = [one.library for one in plugin.missing]
        if libraries:
            hurt = _hurt_by(scene, plugin)
            yield problem(
                "plugins-dependencies",
                "error" if hurt else "advice",
                who=hurt,
                plugins=(plugin,),
                path=path,
                missing=", ".join(
                    f"{one.library} (wanted by {one.wanted_by}) is not found"
                    for one in plugin.missing
                ),
                effect=_effect(hurt),
                command=install_libraries(scene.root, libraries),
            )
        elif plugin.unresolved:
            chosen = any(choice.plugin == plugin.number for choice in scene.here)
            yield problem(
                "plugins-unresolved",
                "error" if chosen else "advice",
                plugins=(plugin,),
                path=path,
                missing=_few(plugin.unresolved),
                command=COMMANDS["plugins-unresolved"],
            )
        elif plugin.lacks_libcurl:
            yield problem(
                "plugins-libcurl",
                "error",
                plugins=(plugin,),
                path=path,
                command=install_libraries(scene.root, ["libcurl.so.4"]),
            )
        by_lack: dict[tuple[str, ...], list[Choice]] = {}
        for choice in scene.here:
            if choice.plugin == plugin.number and choice.lacks:
                by_lack.setdefault(choice.lacks, []).append(choice)
        for lacks, choices in by_lack.items():
            yield problem(
                "plugins-symbols",
                "error",
                who=tuple(choices),
                plugins=(plugin,),
                path=path,
                missing=_few(lacks),
            )


def _few(symbols: tuple[str, ...]) -> str:
    more = f" and {len(symbols) - 2} more" if len(symbols) > 3 else ""
    return ", ".join(symbols[:2] if more else symbols) + more


# ── advice ──────────────────────────────────────────────────────────────────────────────────────


def _advice(scene: Scene) -> Iterator[Problem]:
    for choice in scene.here:
        plugin = scene.plugin(choice.plugin)
        lacks_callback = "sgx_ql_set_logging_callback" in choice.without
        if plugin and choice.consumer == "qe3" and choice.loads and lacks_callback:
            whose = "this" if plugin.kind == "unknown" else plugin.whose
            yield problem(
                "plugins-logging", "advice", who=(choice,), plugins=(plugin,), whose=whose
            )
    azure = tuple(choice for choice in scene.here if choice.kind == "azure")
    intel = tuple(choice for choice in scene.here if choice.kind == "intel")
    if azure and not scene.environ.get(LOG_LEVEL):
        yield problem("plugins-azure-noise", "advice", who=azure)
    tag = scene.root.text(DMI).strip()
    if azure and tag and tag != AZURE_TAG:
        yield problem("plugins-azure-elsewhere", "advice", who=azure)
    if intel and tag == AZURE_TAG:
        yield problem("plugins-not-azure", "advice", who=intel)
    yield from _masked(scene)


def _masked(scene: Scene) -> Iterator[Problem]:
    for choice in scene.here:
        plugin = scene.plugin(choice.plugin)
        if (
            plugin
            and scene.bundle is not None
            and BY_WORD[choice.consumer].bundles
            and not _is_bundle(scene, plugin)
        ):
            yield problem(
                "plugins-bundle-masked",
                "advice",
                who=(choice,),
                plugins=(plugin,),
                path=choice.path,
                command=remove(plugin),
            )
