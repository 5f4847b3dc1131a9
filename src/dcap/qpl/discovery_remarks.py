"""What can be wrong with the plugins of a system: code, what it means, what mends it. Tables alone.

`{}` and named fields are filled in where a problem is made (`problem`); each line of a mend is one
thing to try. The commands are for people: nothing is executed.

Source: `quote-provider.md` §3.4, §4.1, §5.1, §5.2, §6 (rows 6 to 9).
"""

from collections.abc import Iterable, Mapping
from typing import Final, TypeAlias

from dcap.errors import printable
from dcap.qpl.consumers import BY_WORD
from dcap.qpl.discovery_values import Candidate, Choice, Problem, Severity

Row: TypeAlias = tuple[str, str]

OURS: Final = "`dcap provider install`"
_CONFLICT: Final = "to avoid conflicts, uninstall the plugins that you don't need:\n{commands}"

# fmt: off
PROBLEMS: Final[Mapping[str, Row]] = {
    "plugins-none": (
        "no quote provider is installed, and left without are {losses}",
        "`dcap provider install`, or the package of Intel's or Azure's (dcap itself needs none)"),
    "plugins-differ": (
        "programs of one host load different plugins: {pairs}", _CONFLICT),
    "plugins-several": (
        "more than one plugin is installed: {idle} is loaded by none while {used} is there",
        _CONFLICT),
    "plugins-bare-name": (
        "only {found} is there; libdcap_quoteprov.so is looked for by {who}: {failure}", "{command}"),
    "plugins-versioned-name": (
        "only {found} is there; libdcap_quoteprov.so.1 is looked for by {who}: {failure}", "{command}"),
    "plugins-elsewhere": (
        "the plugin is at {found}, where it is not looked for by {who}: {failure}", "{command}"),
    "plugins-stale-cache": (
        "{found} is not in the loader's cache, so that it is not found by {who}: {failure}",
        "`sudo ldconfig`"),
    "plugins-dangling": (
        "{path} is a link to nothing, {real}{effect}", "{command}"),
    "plugins-denied": (
        "{path} may not be read: {why}{effect}",
        "`sudo chmod a+r {real}`, and a+x for its folders"),
    "plugins-not-elf": (
        "{path} is no library: {why}{effect}", "{command}"),
    "plugins-malformed": (
        "{path} is damaged: {why}{effect}", "{command}"),
    "plugins-architecture": (
        "{path} is for another machine ({why}), not for x86-64{effect}",
        "install the package for amd64 in its place\nor {command}"),
    "plugins-dependencies": (
        "{path} cannot be loaded: {missing}{effect}", "{command}"),
    "plugins-unresolved": (
        ("{path} needs {missing}, which no library here has: Conclave refuses it, other programs "
         "end when they call it"),
        "{command}"),
    "plugins-libcurl": (
        "{path} is Intel's, which opens libcurl when it is asked, and there is none: requests fail",
        "{command}"),
    "plugins-symbols": (
        "{path} lacks {missing}, and is refused by {who}: {failure}",
        "put another plugin in its place: `dcap provider install`, or Intel's or Azure's package"),
    "plugins-logging": (
        'aesmd will log "Failed to set logging callback" with {whose} plugin, which is harmless',
        "nothing need be done"),
    "plugins-azure-noise": (
        "Azure's plugin prints an error about AZDCAP_DEBUG_LOG_LEVEL where that is not set: harmless",
        "`export AZDCAP_DEBUG_LOG_LEVEL=ERROR`, or FATAL for silence"),
    "plugins-azure-elsewhere": (
        "this is no virtual machine of Azure's, and Azure's plugin is loaded by {who}",
        ("replace it: `dcap provider install`, or Intel's package\n"
         "or name a service that it can ask: AZDCAP_BASE_CERT_URL")),
    "plugins-not-azure": (
        "this is a virtual machine of Azure's, and Intel's plugin is loaded by {who}",
        ("point its configuration at Azure: `dcap qcnl write --azure`\n"
         "or replace it: `dcap provider install`, or `sudo apt install az-dcap-client`")),
    "plugins-bundle-masked": (
        "{path} is loaded by Conclave in place of the plugin that it brings",
        "if you want Conclave's own: {command}"),
}
# fmt: on

#: What stands in the places of the sentences where no system is at hand.
PLACES: Final[Mapping[str, str]] = {
    "commands": "`sudo apt remove PACKAGE`",
    "effect": ", and some program that would load it has no plugin",
    "failure": "it has no plugin",
    "found": "libdcap_quoteprov.so.N",
    "idle": "one",
    "losses": "PROGRAM (it has no plugin)",
    "missing": "SYMBOL or LIBRARY",
    "pairs": "one here, another there",
    "path": "FILE",
    "real": "FILE",
    "used": "the other",
    "who": "PROGRAM",
    "whose": "Azure's",
    "why": "REASON",
}
#: Code -> the command that most often mends it.
_REMOVE: Final = "`sudo apt install --reinstall PACKAGE`, or where it is of none `sudo rm FILE`"
COMMANDS: Final[Mapping[str, str]] = {
    "plugins-bare-name": "`sudo ln -s libdcap_quoteprov.so.1 FOLDER/libdcap_quoteprov.so`",
    "plugins-versioned-name": "`sudo ln -s libdcap_quoteprov.so FOLDER/libdcap_quoteprov.so.1`",
    "plugins-elsewhere": "`sudo ln -s FILE /usr/lib/x86_64-linux-gnu/libdcap_quoteprov.so.1`",
    "plugins-dangling": _REMOVE,
    "plugins-not-elf": _REMOVE,
    "plugins-malformed": _REMOVE,
    "plugins-architecture": "`sudo rm FILE`",
    "plugins-dependencies": "`sudo apt install PACKAGE`, by name in `dcap provider list`",
    "plugins-libcurl": "`sudo apt install libcurl4`",
    "plugins-unresolved": "bring the plugin and its libraries to one release: `sudo apt upgrade`",
    "plugins-bundle-masked": "`sudo apt remove PACKAGE`",
}


def problem(
    code: str,
    severity: Severity,
    *,
    who: tuple[Choice, ...] = (),
    plugins: tuple[Candidate, ...] = (),
    **places: str,
) -> Problem:
    """One problem: its row, with what was found put into it."""
    what, mend = PROBLEMS[code]
    named = {
        "who": listed(one.short for one in who),
        "failure": _failures(who),
        "losses": _losses(who),
        **places,
    }
    return Problem(
        code=code,
        severity=severity,
        what=printable(what.format_map(named)),
        mends=tuple(printable(line) for line in mend.format_map(named).splitlines()),
        consumers=tuple(choice.consumer for choice in who),
        plugins=tuple(plugin.number for plugin in plugins),
    )


def listed(words: Iterable[str]) -> str:
    """Words as a sentence has them."""
    *front, last = [*words] or [""]
    return f"{', '.join(front)} and {last}" if front else last


def _failures(who: tuple[Choice, ...]) -> str:
    found = dict.fromkeys(BY_WORD[choice.consumer].failure for choice in who)
    return "; ".join(found)


def _losses(who: tuple[Choice, ...]) -> str:
    """Who is left without one, and in which way."""
    ways: dict[str, list[str]] = {}
    for choice in who:
        ways.setdefault(BY_WORD[choice.consumer].failure, []).append(choice.short)
    return listed(f"{listed(shorts)} ({failure})" for failure, shorts in ways.items())
