"""The quote provider libraries: which program loads which (`qpl.discovery`), told as findings.

Codes are discovery's own, which `dcap provider list` and `dcap explain` know too. Where discovery only
advises of what elsewhere is an error ("it hinders nobody"), the finding is `plugins-idle`. Not here: the
rules of the loaders (`qpl.consumers`), the process behind our own library (`provider_process`).

Source: `quote-provider.md` §3.1, §3.4, §5.1, §5.2, §6 (rows 4, 6 to 9).
"""

import re
import shlex
from collections.abc import Iterator
from typing import Final

from dcap.attester.container import NODES, node_of
from dcap.doctor import provider_process
from dcap.doctor.examination import Check
from dcap.doctor.finding import Finding, Mend, Remark, Right, Skipped
from dcap.doctor.installed import install_command
from dcap.doctor.plugins_ailments import ALWAYS_ADVICE, PLUGINS
from dcap.doctor.scene import Scene
from dcap.qpl.consumers import BY_WORD
from dcap.qpl.discovery import discover
from dcap.qpl.discovery_values import Choice, Discovery, Problem

__all__ = ["AILMENTS", "CHECKS"]

AILMENTS: Final = (*PLUGINS, *provider_process.AILMENTS)

_NONE: Final = "plugins-none"
_IDLE: Final = "plugins-idle"
_LOGGING: Final = "plugins-logging"
_QPL: Final = "libsgx-dcap-default-qpl"
_AESM: Final = (
    "/opt/intel/sgx-aesm-service",
    "/usr/lib/systemd/system/aesmd.service",
    "/lib/systemd/system/aesmd.service",
    "/var/run/aesmd",
)
_SAFE: Final = re.compile(r"`(sudo (?:ln -s \S+ \S+|ldconfig))`")
_QVL: Final = tuple(
    f"{folder}/libsgx_dcap_quoteverify.so.1"
    for folder in ("/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib")
)


def look(scene: Scene) -> Iterator[Remark]:
    """Each plugin, and each problem that discovery has with them."""
    found = discover(scene.root.top, environ=scene.environ)
    if not found.plugins:
        yield from _none(scene, found)
        return
    for plugin in found.plugins:
        if plugin.state == "ok":
            users = [one for one in found.consumers if one.plugin == plugin.number and one.loads]
            who = ", ".join(one.short for one in users) or "nobody"
            yield Right(f"{plugin.path}: {plugin.whose} quote provider, loaded by {who}")
    for problem in found.problems:
        yield from _told(scene, found, problem)
    if any(one.kind == "dcap" and one.loads for one in found.plugins):
        yield from provider_process.look(scene, found)


CHECKS: Final[tuple[Check, ...]] = (Check("quote providers", look, ("attester", "verifier")),)


def _none(scene: Scene, found: Discovery) -> Iterator[Remark]:
    """Without a plugin a machine verifies with dcap all the same; Intel's quoting goes wrong late."""
    quotes = scene.wants("attester") and any(
        node_of(scene.root, use) for use in NODES if use != "tdx"
    )
    verifier = next((name for name in _QVL if scene.root.look(name).is_there), "")
    if not quotes and not verifier:
        yield Skipped(
            "quote providers: none is installed", "dcap verifies, and a TD quotes, without one"
        )
        return
    problem = next((one for one in found.problems if one.code == _NONE), None)
    who = "Intel's SGX quoting" if quotes else verifier
    effect = BY_WORD["qe3" if quotes else "qvl"].failure
    yield Finding(
        _NONE,
        f"no quote provider is installed, and {who} needs one: {effect}",
        evidence=tuple(
            f"{step.path}: {step.said}"
            for choice in found.consumers
            if choice.consumer == "conclave"
            for step in choice.steps
        ),
        mends=(
            Mend(f"`{install_command(scene.root, (_QPL,))}`, then `dcap qcnl write`"),
            *(Mend(text) for text in (problem.mends if problem else ())),
        ),
    )


def _told(scene: Scene, found: Discovery, problem: Problem) -> Iterator[Remark]:
    if problem.code == _LOGGING and not any(scene.root.look(name).is_there for name in _AESM):
        yield Skipped(f"quote providers: {problem.what}", "there is no aesmd here")
        return
    evidence = tuple(_evidence(found, problem))
    mends = tuple(_mend(scene, text) for text in _whole(problem.mends))
    if problem.severity == "error" or problem.code in ALWAYS_ADVICE:
        yield Finding(problem.code, problem.what, evidence=evidence, mends=mends)
    elif any(one.own for one in _choices(found, problem)):
        yield Right(f"Conclave takes the plugin that it brings: {problem.what}", evidence)
    else:
        yield Finding(_IDLE, problem.what, evidence=evidence, mends=mends)


def _mend(scene: Scene, text: str) -> Mend:
    """A link where nothing is, and the loader's cache, can be made for the asking."""
    found = _SAFE.fullmatch(text)
    if found is None:
        return Mend(text)
    words = shlex.split(found[1])
    # Root needs no sudo, and containers often have none.
    return Mend(text, tuple(words[1:] if scene.account.uid == 0 else words), safe=True)


def _whole(lines: tuple[str, ...]) -> Iterator[str]:
    """The ways to mend it: a line that ends in a colon is the heading of the next."""
    heading = ""
    for line in lines:
        if line.endswith(":"):
            heading = f"{line} "
        else:
            yield heading + line
            heading = ""


def _choices(found: Discovery, problem: Problem) -> tuple[Choice, ...]:
    return tuple(one for one in found.consumers if one.consumer in problem.consumers)


def _evidence(found: Discovery, problem: Problem) -> Iterator[str]:
    for number in problem.plugins:
        plugin = found.plugin(number)
        if plugin is None:
            continue
        owner = f"package {plugin.owner.name}" if plugin.owner.name else "of no package"
        names = ", ".join(name.path for name in plugin.names)
        yield f"{names}: {plugin.whose}, {plugin.state}, {owner}"
        yield from (f"{plugin.path}: {one.library} is not found" for one in plugin.missing)
    for choice in _choices(found, problem):
        for step in choice.steps:
            yield f"{choice.short}: {step.path}: {step.said}"
