"""The PCK certificate of this machine: fetched, proven, kept on disk, and what it says.

    found = fetch(source, need, anchor=anchor, clock=now)
    held = describe(found, need, …)          # for which TCB, until when
    file = file_of(directory, found)         # where it lies

What does not prove is never taken. Not here: which sources there are (`sources.environment`), how they
keep things (`sources.cache`).

Source: `pccs-and-pcs-api.md` §2.4.
"""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec

from dcap.errors import CollateralError, NotFound
from dcap.formats.certificate import Certificate
from dcap.formats.origin import Origin
from dcap.formats.pck_extensions import PckExtensions
from dcap.sources.disk import Disk
from dcap.sources.kept import CERTIFICATE, KeptCertificate, decode, prove_certificate
from dcap.sources.need import MachineNeed
from dcap.sources.source import FetchedPck, Source
from dcap.verification.anchors import TrustAnchor
from dcap.verification.pck_chain import check_pck_chain

#: Code of a source's error -> what it means for a machine that has just been registered, and its mend.
_AFTER_REGISTRATION: Final = {
    "pccs-461": (
        "the PCCS has the machine in its queue and no certificate for it yet",
        "its administrator brings one (`dcap pccs get`, `fetch`, `put`); --watch waits for that",
    ),
    "pccs-462": (
        "Intel has the machine, and no certificate for its TCB yet",
        "update BIOS and microcode, then read the platform data anew; or wait: --watch",
    ),
}


class MachineCertificate(msgspec.Struct, frozen=True, kw_only=True):
    """What a certificate says, without what identifies the machine.

    `components` and `pce_svn` are the TCB it is for. `file` is where it is kept, `None` if nowhere.
    """

    fmspc: bytes
    ca: str
    components: bytes
    pce_svn: int
    expires: datetime
    source: str
    fetched_at: datetime
    file: Path | None = None


def fetch(
    source: Source,
    need: MachineNeed,
    *,
    anchor: TrustAnchor,
    clock: Callable[[], datetime],
    is_registered: bool = False,
) -> FetchedPck:
    """A certificate that proves, and is in date. Raises `CollateralError`.

    `is_registered`: the machine has just been registered, and a lack has other reasons than before.
    """

    def accept(found: FetchedPck) -> bool:
        at = clock()
        proof = prove_certificate(found, need, at=at, anchor=anchor)
        return not isinstance(proof, str) and at < proof.term.expires

    try:
        found = source.pck_certificate(need, accept=accept)
    except CollateralError as error:
        if is_registered and error.code in _AFTER_REGISTRATION:
            error.what, error.mend = _AFTER_REGISTRATION[error.code]
        raise
    at = clock()
    proof = prove_certificate(found, need, at=at, anchor=anchor)
    if isinstance(proof, str) or at >= proof.term.expires:
        why = proof if isinstance(proof, str) else f"it expired on {proof.term.expires:%Y-%m-%d}"
        raise _not_taken(why, found.origin.source)
    return found


def describe(found: FetchedPck, file: Path | None = None) -> MachineCertificate:
    """What a proven certificate says."""
    leaf = Certificate.parse_chain(found.chain)[0]
    certified = PckExtensions.parse(leaf.sgx_extension or b"")
    return MachineCertificate(
        fmspc=certified.fmspc,
        ca="processor" if certified.platform_instance_id is None else "platform",
        components=certified.components,
        pce_svn=certified.pce_svn,
        expires=leaf.not_after,
        source=found.origin.source,
        fetched_at=found.origin.fetched_at,
        file=file,
    )


def carried(chain: bytes, *, at: datetime, anchor: TrustAnchor) -> MachineCertificate:
    """What the certificate in a machine's quote says. Raises `NotFound` where it does not prove."""
    check = check_pck_chain(chain, at=at, anchor=anchor)
    if check.extensions is None or check.window is None or at >= check.window.expires:
        failed = [f"{one.message} [{one.code}]" for one in check.findings if not one.ok]
        raise _not_taken(failed[0] if failed else "it has expired", "the quote")
    origin = Origin(piece="pck", source="its quote", address="", fetched_at=at)
    return describe(FetchedPck(chain=chain, tcbm=b"", origin=origin))


def _not_taken(why: str, where: str) -> NotFound:
    return NotFound(
        "registration-certificate",
        f"what was given as the machine's certificate is not taken: {why}",
        where=where,
        mend="check the clock of this host (`timedatectl`), and that the source is the one meant",
    )


def file_of(directory: Path | None, found: FetchedPck) -> Path | None:
    """The entry of a cache that holds a certificate; `None` where none does."""
    if directory is None:
        return None
    disk = Disk(directory)
    for name in disk.names():
        if not name.startswith(CERTIFICATE):
            continue
        payload = disk.look(name)
        kept = None if payload is None else decode(payload, KeptCertificate)
        if kept is not None and kept.answer.chain == found.chain:
            return directory / f"{name}.kept"
    return None
