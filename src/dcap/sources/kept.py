"""What may be kept, and what a kept thing is worth: nothing enters or leaves that does not prove.

A set of collateral enters if `check_endorsements` proves it under the anchor, it has not expired and
it is for the need it is kept under; a PCK certificate if its chain ends in the anchor and it is for a
TCB that the machine has reached. What comes from the disk is a claim again, and proven again.

    name = collateral_name(need, anchor, scope)      # what it is kept under: a hash, so no file name
    proof = prove_collateral(fetched, need, at=…, anchor=…)             # tells of a machine
    why = older(proof, held)                         # a replayed set proves, too: it is older

Not here: how long a thing serves (`freshness`), files (`disk`), the order of asking (`cache`).
"""

import hashlib
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Generic, TypeVar

import msgspec

from dcap.errors import printable
from dcap.formats.crl import Crl
from dcap.formats.origin import Origin
from dcap.formats.pck_selection import Tcb, tcbm_of
from dcap.formats.signed_json import prepare
from dcap.sources.freshness import Term
from dcap.sources.need import CollateralNeed, MachineNeed
from dcap.sources.source import Fetched, FetchedPck
from dcap.verification.anchors import TrustAnchor
from dcap.verification.endorsements import Endorsements, check_endorsements
from dcap.verification.findings import Finding
from dcap.verification.pck_chain import check_pck_chain
from dcap.verification.qe_identity import IDENTITY_OF_TEE

A = TypeVar("A", bound=Fetched | FetchedPck)

COLLATERAL = "collateral"
CERTIFICATE = "pck"
FAILURE = "failure"
#: Part of every name: another meaning of the payload is another entry.
_EDITION = 1


class Kept(msgspec.Struct, Generic[A], frozen=True, kw_only=True):
    """An answer as it lies on the disk. `name` is the entry's, `about` says for people what it is."""

    name: str
    kept_at: datetime
    about: str
    answer: A


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """That a renewal failed, for other processes to know. `name` is that of the note."""

    name: str
    at: datetime
    why: str


class Edition(msgspec.Struct, frozen=True):
    """Of a piece that Intel numbers: which one it is, and since when."""

    piece: str
    number: int
    issued: datetime


class Proof(msgspec.Struct, frozen=True):
    """What was proven of an answer: how long it is in force, and of which editions it is."""

    term: Term
    editions: tuple[Edition, ...] = ()


KeptCollateral = Kept[Fetched]
KeptCertificate = Kept[FetchedPck]
prepare(KeptCollateral, KeptCertificate, Failure)


def encode(kept: Kept[A] | Failure) -> bytes:
    """The payload of an entry: MessagePack, which takes bytes as they are."""
    return msgspec.msgpack.encode(kept)


def decode(payload: bytes, kind: type[Kept[A]]) -> Kept[A] | None:
    """The entry of a payload; `None` where it is none, or of another release of dcap."""
    try:
        kept = msgspec.msgpack.decode(payload, type=kind)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None
    moments = (kept.kept_at, *(origin.fetched_at for origin in _origins(kept.answer)))
    if not all(map(_in_utc, moments)):
        return None
    # What people will read may have been written by anyone.
    remarks = tuple(map(printable, kept.answer.remarks))
    answer = msgspec.structs.replace(kept.answer, remarks=remarks, **_plain(kept.answer))
    return msgspec.structs.replace(kept, about=printable(kept.about), answer=answer)


def decode_failure(payload: bytes) -> Failure | None:
    """The note of a payload; `None` where it is none."""
    try:
        noted = msgspec.msgpack.decode(payload, type=Failure)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None
    return msgspec.structs.replace(noted, why=printable(noted.why)) if _in_utc(noted.at) else None


def _in_utc(moment: datetime) -> bool:
    """As all are written; others cannot be compared, or not without overflow."""
    return moment.utcoffset() == timedelta(0)


def _origins(answer: Fetched | FetchedPck) -> tuple[Origin, ...]:
    return answer.origins if isinstance(answer, Fetched) else (answer.origin,)


def _plain(answer: Fetched | FetchedPck) -> dict[str, object]:
    """The member with the origins, printable."""
    origins = tuple(map(_printable, _origins(answer)))
    return {"origins": origins} if isinstance(answer, Fetched) else {"origin": origins[0]}


def _printable(origin: Origin) -> Origin:
    texts = {name: printable(getattr(origin, name)) for name in ("piece", "source", "address")}
    return msgspec.structs.replace(origin, **texts)


def collateral_name(need: CollateralNeed, anchor: TrustAnchor, scope: str) -> str:
    """Under which name a set is kept. `scope` says who was asked: Azure's answer is not Intel's."""
    question = (need.tee, need.fmspc, need.ca, need.update, need.evaluation_number)
    return _name(COLLATERAL, anchor, scope, question)


def certificate_name(need: MachineNeed, anchor: TrustAnchor, scope: str) -> str:
    """Under which name a machine's certificate is kept.

    The encrypted PPID is left out: it is another one each time it is encrypted. The QE id is 128
    random bits, so nobody finds it by trying names.
    """
    question = (need.qe_id, need.cpu_svn, need.pce_svn, need.pce_id)
    return _name(CERTIFICATE, anchor, scope, question)


def failure_name(name: str) -> str:
    """Under which name it is noted that the renewal of an entry failed."""
    return f"{FAILURE}-{name.rpartition('-')[2]}"


def _name(kind: str, anchor: TrustAnchor, scope: str, question: tuple[object, ...]) -> str:
    root = hashlib.sha256(anchor.subject + anchor.public_key).digest()
    key = msgspec.msgpack.encode((_EDITION, kind, root, scope, question))
    return f"{kind}-{hashlib.sha256(key).hexdigest()}"


def describe_need(need: CollateralNeed) -> str:
    """A need in words, for listings: "TDX 90c0a5000000 platform standard"."""
    generation = need.update if need.evaluation_number is None else str(need.evaluation_number)
    return f"{need.tee} {need.fmspc.hex()} {need.ca} {generation}"


def prove_collateral(
    fetched: Fetched, need: CollateralNeed, *, at: datetime, anchor: TrustAnchor
) -> Proof | str:
    """The proof of a set that is true at `at` and answers the need, or why it may not be kept.

    An expired set has a proof too: whoever keeps it looks at its term.
    """
    collateral = fetched.collateral
    if collateral.pck_certificate_chain is not None:
        return "it holds the certificate of one machine, and is kept for none"
    check = check_endorsements(collateral, at=at, anchor=anchor)
    if check.endorsements is None:
        return _first_failed(check.findings)
    pck_crl, root_ca_crl = Crl.parse(collateral.pck_crl), Crl.parse(collateral.root_ca_crl)
    if wrong := _answers(check.endorsements, pck_crl, need):
        return wrong
    info, identity = check.endorsements.tcb_info, check.endorsements.qe_identity
    editions = (
        Edition("TCB info", info.evaluation_data_number, info.issue_date),
        Edition("QE identity", identity.evaluation_data_number, identity.issue_date),
        Edition("PCK CRL", pck_crl.crl_number or 0, pck_crl.this_update),
        Edition("root CRL", root_ca_crl.crl_number or 0, root_ca_crl.this_update),
    )
    return Proof(_term(check.endorsements), editions)


def older(given: Proof, held: Proof) -> str:
    """What of an answer is older than what is held; empty where nothing is.

    Genuine and in date as it is, it may be a replay that hides a revocation or a recovery.
    """
    for new, old in zip(given.editions, held.editions, strict=True):
        if new.number < old.number or new.issued < old.issued:
            return f"its {new.piece} is {_edition(new)}, and {_edition(old)} is kept"
    return ""


def _edition(edition: Edition) -> str:
    return f"number {edition.number} of {edition.issued:%Y-%m-%d %H:%M} UTC"


def proves(*, anchor: TrustAnchor, clock: Callable[[], datetime]) -> Callable[[Fetched], bool]:
    """Whether a set is proven and in date now, as `FirstOf` may ask before it goes further."""

    def accept(fetched: Fetched) -> bool:
        now = clock()
        proof = check_endorsements(fetched.collateral, at=now, anchor=anchor).endorsements
        return proof is not None and now < _term(proof).expires

    return accept


def _term(endorsements: Endorsements) -> Term:
    windows = endorsements.windows
    return Term(max(w.newest for w in windows), min(w.expires for w in windows))


def _answers(endorsements: Endorsements, pck_crl: Crl, need: CollateralNeed) -> str:
    """Why a genuine set is not the one that was asked for; empty where it is."""
    info, identity = endorsements.tcb_info, endorsements.qe_identity
    if info.id != need.tee or identity.id != IDENTITY_OF_TEE[need.tee]:
        return f"it is for {info.id} with the identity of {identity.id}, asked was {need.tee}"
    if info.fmspc != need.fmspc:
        return f"it is for the FMSPC {info.fmspc.hex()}, asked was {need.fmspc.hex()}"
    if f"PCK {need.ca.capitalize()} CA" not in pck_crl.issuer_common_name:
        return f'its PCK CRL is of "{pck_crl.issuer_common_name}", asked was the {need.ca} CA'
    numbers = {info.evaluation_data_number, identity.evaluation_data_number}
    if need.evaluation_number is not None and numbers != {need.evaluation_number}:
        return f"it does not have the TCB evaluation data number {need.evaluation_number}"
    return ""


def prove_certificate(
    fetched: FetchedPck, need: MachineNeed, *, at: datetime, anchor: TrustAnchor
) -> Proof | str:
    """The proof of a PCK certificate that is genuine and fits the machine, or why it is not kept."""
    check = check_pck_chain(fetched.chain, at=at, anchor=anchor)
    if check.extensions is None or check.window is None:
        return _first_failed(check.findings)
    leaf = check.extensions
    if fetched.tcbm != tcbm_of(leaf.cpu_svn, leaf.pce_svn):
        return "the certificate is for another TCB than came with it"
    if leaf.pce_id != need.pce_id:
        return "the certificate is for another PCE"
    raw, certified = Tcb(need.cpu_svn, need.pce_svn), Tcb(leaf.components, leaf.pce_svn)
    if len(raw.components) != len(certified.components) or not raw.reaches(certified):
        return "the certificate is for a TCB above the machine's"
    return Proof(Term(check.window.newest, check.window.expires))


def _first_failed(findings: Iterable[Finding]) -> str:
    return next(f"{f.message} [{f.code}]" for f in findings if not f.ok)
