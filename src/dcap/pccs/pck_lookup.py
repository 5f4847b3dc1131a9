"""What a machine is looked up by, and what the suppliers say of it: readable, unproven.

Intel gives all certificates of a machine at once, by its encrypted PPID or its manifest; another PCCS
and Azure give the one for a raw TCB. Not here: proof and keeping (`machines`).

Source: `pccs-and-pcs-api.md` §2.3, 2.4.
"""

import hashlib
from typing import Any, NamedTuple

import msgspec

from dcap.errors import NotFound
from dcap.formats.pck_selection import Tcb
from dcap.pccs.causes import NotServed
from dcap.pccs.items import Ca, Holding, PckCertificate, RawReport
from dcap.pccs.pck_proof import Claimed, Offered
from dcap.pccs.suppliers import Supplier
from dcap.pccs.trust import rewritten
from dcap.sources.need import MachineNeed


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """A machine as it introduces itself: `qe_id` in upper case, `pce_id` hex in upper case.

    `is_registered`: who may register machines says so; else anybody does who asks for a certificate.
    """

    qe_id: str
    pce_id: str
    encrypted_ppid: bytes | None = None
    manifest: bytes | None = None
    is_registered: bool = False

    def __repr__(self) -> str:
        return "<Machine>"

    @property
    def flight(self) -> str:
        """A key that tells machines, and ways to look them up, apart, and does not tell who."""
        state = hashlib.sha256()
        ids = (self.qe_id.encode("utf-8", "surrogatepass"), self.pce_id.encode())
        for part in (*ids, self.encrypted_ppid or b"", self.manifest or b""):
            state.update(len(part).to_bytes(4, "big") + part)
        state.update(b"registered" if self.is_registered else b"")
        return f"platform/{state.hexdigest()}"


class Found(NamedTuple):
    """What a supplier has of a machine.

    `unavailable` are TCBs that have no certificate yet; `None` where it speaks of one TCB alone.
    """

    claimed: Claimed
    unavailable: tuple[Tcb, ...] | None


def whole_set(of: Supplier, machine: Machine) -> Found:
    """All certificates, by the manifest where there is one, else by the encrypted PPID."""
    if machine.manifest is None and machine.encrypted_ppid is None:
        raise NotFound("source-no-pck", "a machine is found by its encrypted PPID or its manifest")
    if machine.manifest is None and not any(machine.encrypted_ppid or b""):
        raise NotServed("zero-ppid")
    service: Any = of.service
    answer = service.pck_certs(
        pce_id=bytes.fromhex(machine.pce_id),
        encrypted_ppid=None if machine.manifest is not None else machine.encrypted_ppid,
        platform_manifest=machine.manifest,
    ).value
    offered = tuple(
        (entry.tcbm.hex().upper(), entry.certificate)
        for entry in answer.entries
        if entry.certificate is not None
    )
    unavailable = tuple(
        Tcb(entry.components, entry.pce_svn)
        for entry in answer.entries
        if entry.certificate is None
    )
    ca: Ca = "PLATFORM" if answer.ca == "platform" else "PROCESSOR"
    claimed = _claimed(machine, offered, answer.issuer_chain)
    claimed = msgspec.structs.replace(claimed, fmspc=answer.fmspc, ca=ca)
    return Found(claimed, unavailable)


def one_more(of: Supplier, machine: Machine, raw: RawReport, kept: Holding | None) -> Claimed:
    """The certificate for a raw TCB, beside those that are kept of the machine."""
    need = MachineNeed(
        qe_id=bytes.fromhex(machine.qe_id),
        cpu_svn=raw.tcb.components,
        pce_svn=raw.tcb.pce_svn,
        pce_id=bytes.fromhex(machine.pce_id),
        encrypted_ppid=machine.encrypted_ppid if any(machine.encrypted_ppid or b"") else None,
    )
    found = of.service.pck_cert(need).value
    offered = found.tcbm.hex().upper(), found.certificate
    others: tuple[Offered, ...] = ()
    if kept is not None and kept.issuer_chain == rewritten(found.issuer_chain):
        # Those of another machine would belie this one: whose it is is judged when it is kept.
        ppid = PckCertificate.read(*offered).ppid
        others = tuple(
            (one.tcbm, one.pem)
            for one in kept.certificates
            if one.tcbm != offered[0] and one.ppid == ppid
        )
    return _claimed(machine, (*others, offered), found.issuer_chain)


def _claimed(machine: Machine, offered: tuple[Offered, ...], issuer_chain: bytes) -> Claimed:
    return Claimed(
        qe_id=machine.qe_id,
        pce_id=machine.pce_id,
        certificates=offered,
        issuer_chain=issuer_chain,
        encrypted_ppid=machine.encrypted_ppid,
        manifest=machine.manifest,
    )
