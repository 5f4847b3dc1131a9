"""The scene that `dcap doctor` looks at, made of what the command line says and of what is here.

    scene = scene_of(Root(), os.environ)

Which role is looked at is guessed where nobody says: every machine verifies; one that has SGX, TDX or
one of their daemons, or of which a quote is given, attests; one on which a PCCS is installed serves.
Not here: the checks (`doctor`).
"""

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from dcap.doctor.accounts import account_numbered
from dcap.doctor.machine import can_attest
from dcap.doctor.pccs_places import places
from dcap.doctor.scene import ROLES, Account, Role, Scene
from dcap.doctor.services import services
from dcap.errors import DcapError
from dcap.qpl.discovery_root import Root

if TYPE_CHECKING:
    from dcap.sources.need import MachineNeed

_DAEMONS: Final = frozenset({"aesmd", "qgsd"})
#: A machine with its manifest is 230 KB.
_LARGEST: Final = 4 * 1024 * 1024
#: What attesting leaves on a machine, beside a processor that can.
_TRACES: Final = (
    "/dev/sgx_enclave",
    "/dev/sgx/enclave",
    "/dev/isgx",
    "/dev/tdx_guest",
    "/dev/attestation",
    "/var/run/aesmd/aesm.socket",
    "/opt/intel/sgx-aesm-service",
    "/etc/qgs.conf",
)


def scene_of(
    root: Root,
    environ: Mapping[str, str],
    *,
    roles: frozenset[Role] = frozenset(),
    quote: bytes | None = None,
    platform: Path | None = None,
    **more: Any,
) -> Scene:
    """The scene; `more` are its other fields. Raises what a named file is wrong with."""
    scene = Scene(
        root=root,
        environ=dict(environ),
        account=_account(root, environ),
        roles=roles or frozenset(ROLES),
        clock=lambda: datetime.now(UTC),
        quote=quote,
        **more,
    )
    found = roles or guessed(scene)
    if quote is not None or platform is not None:
        found = found if roles else found | {"attester"}
    machine = _machine(root, quote, platform) if "attester" in found or platform else None
    return msgspec.structs.replace(scene, roles=found, machine=machine)


def guessed(scene: Scene) -> frozenset[Role]:
    """What a machine is to be, by what it has."""
    found: set[Role] = {"verifier"}
    daemons = {service.name for service in services(scene)} & _DAEMONS
    if daemons or can_attest(scene) or any(scene.root.look(path).is_there for path in _TRACES):
        found.add("attester")
    if places(scene):
        found.add("pccs")
    return frozenset(found)


def _account(root: Root, environ: Mapping[str, str]) -> Account:
    """Who runs this: with the groups of this process, not those that /etc/group gives to the next."""
    uid = os.geteuid()
    known = account_numbered(root, uid)
    name = known.name if known else str(uid)
    home = environ.get("HOME") or (known.home if known else "")
    groups = frozenset({os.getegid(), *os.getgroups()})
    return Account(name=name, uid=uid, groups=groups, home=home)


def _machine(root: Root, quote: bytes | None, platform: Path | None) -> "MachineNeed | None":
    """What identifies this machine to a cache: of the file that was named, or of one that lies here."""
    from dcap.platform_registration.platform_sources import look  # noqa: PLC0415 - attesters alone

    named: dict[str, Any] = {} if quote is None else {"quote": (quote, "--quote")}
    if platform is not None:
        named[_kind(platform)] = platform
    try:
        found = look(root, **named)
    except DcapError:
        if platform is not None:
            raise
        return (
            None  # a quote that cannot be read is a finding, and what merely lies about is not ours
        )
    return None if found.data is None else found.data.need()


def _kind(platform: Path) -> str:
    """A table of the PCK ID retrieval tool, or a list in JSON."""
    from dcap.sources.directory import read_regular  # noqa: PLC0415 - attesters alone

    beginning = read_regular(platform, _LARGEST)[:64].lstrip(b"\xef\xbb\xbf \t\r\n")
    return "listed" if beginning[:1] in (b"[", b"{") else "table"
