"""Which step of a machine's registration is missing: what its BIOS says, and how many sockets it has.

    step = missing_step(scene.root)

A machine of one socket needs a PCCS that knows it. One of several needs Intel to have its manifest too,
which the BIOS shows in UEFI variables until it was sent. Not here: the variables (`uefi`), what a PCCS
answers (`requests`), registering (`dcap register`).

Source: `quote-provider.md` §6 row 1; `pccs-and-pcs-api.md` §4.1.
"""

from typing import Final

import msgspec

from dcap.doctor.finding import Mend
from dcap.doctor.processor import processor
from dcap.platform_registration.uefi import (
    FOLDER,
    STATUS,
    Variables,
    read_variables,
    told_error,
)
from dcap.qpl.discovery_root import Root

_LOG: Final = "see /var/log/mpa_registration.log"
_AGENT: Final = "`sudo systemctl start mpa_registration_tool`"
_UNKNOWN: Final = Mend(f"several sockets: register with Intel first, {_AGENT}, and {_LOG}")
_SEND: Final = Mend(
    f"send the manifest to Intel first: {_AGENT}, and {_LOG}; or `dcap register submit --to intel`"
)
_AGAIN: Final = Mend(f"mend what it says, then send the manifest again: {_AGENT}, and {_LOG}")
_INDIRECT: Final = Mend(
    "register at the PCCS with the manifest, as root: `sudo dcap register submit`; or switch 'SGX Auto "
    "MP Registration' on in the BIOS, and boot"
)
_RESET: Final = Mend(
    "have the BIOS show a manifest: switch 'SGX Auto MP Registration' and, once, 'SGX Factory Reset' "
    f"on; boot; then {_AGENT}, and {_LOG}"
)


class Step(msgspec.Struct, frozen=True):
    """`why` is the missing step in words, empty where none is seen to be missing."""

    why: str = ""
    evidence: tuple[str, ...] = ()
    mends: tuple[Mend, ...] = ()


def missing_step(root: Root) -> Step:
    """What this machine has to do at Intel, before a PCCS can have a certificate for it."""
    sockets, found = _sockets(root), read_variables(root)
    counted = (f"/proc/cpuinfo: {sockets} socket{'' if sockets == 1 else 's'}",) if sockets else ()
    if found.is_multi_package:
        why, said, mends = _of_bios(found)
        unread = (f"{FOLDER}/{name}: {trouble}" for name, trouble in found.unreadable)
        return Step(why, (*counted, *said, *unread), mends)
    if sockets == 1:
        return Step(evidence=counted)
    if sockets == 0 or not root.names(FOLDER):  # a container, or one that was started without UEFI
        return Step(evidence=counted, mends=(_UNKNOWN,))
    why = f"it has {sockets} sockets, and its BIOS shows no manifest that Intel could be sent"
    return Step(
        why, (*counted, f"{FOLDER}: no request, state or server of a registration"), (_RESET,)
    )


def _of_bios(found: Variables) -> tuple[str, tuple[str, ...], tuple[Mend, ...]]:
    """Why, on what evidence, and what mends it, where the BIOS speaks of registration."""
    state, server = found.state, found.server
    if state is not None and state.error_code:
        code = f"{STATUS}: error 0x{state.error_code:02X}"
        return (
            f"its registration with Intel failed: {told_error(state.error_code)}",
            (code,),
            (_AGAIN,),
        )
    if server is not None and not server.keeps_keys:
        return (
            "'SGX Auto MP Registration' is off in its BIOS, so that Intel never got its manifest",
            (f"registration server {server.url}: it may not keep the machine's keys",),
            (_INDIRECT,),
        )
    if state is not None and state.is_complete:
        return "", (f"{STATUS}: registration with Intel is complete",), ()
    if found.request is not None:
        return "its manifest was not sent to Intel yet", (f"{STATUS}: in progress",), (_SEND,)
    if state is not None:
        return "its BIOS shows no manifest yet", (f"{STATUS}: in progress",), (_RESET,)
    return "", (), (_UNKNOWN,)


def _sockets(root: Root) -> int:
    """How many processors are plugged in; 0 where that cannot be seen, as in a virtual machine."""
    if processor(root).is_virtual:
        return 0
    lines = root.text("/proc/cpuinfo").splitlines()
    return len({line for line in lines if line.startswith("physical id")})
