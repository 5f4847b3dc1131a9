"""What may be kept and served: only what proves, is what its key says, and does not go back in time.

    item = prove(claimed, at=…, anchor=…, root_crl=…)        # raises Forged
    holding = prove_platform(claimed, at=…, anchor=…)        # a machine's certificates; Forged, Revoked
    is_older(item, kept)                                     # then it is refused, and reported

Everything that is fetched, imported or restored passes here. Whether something has expired is a fact
(`Item.expires`), for the service to judge. Intel does not sign its list of FMSPCs: of that one the form
alone is checked, and nothing may be concluded from it.

Source: `verification.md` §4; `pccs-and-pcs-api.md` §2.2, §7.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, Protocol, TypeAlias, cast

import msgspec

from dcap.api.pcs_responses import Fmspc
from dcap.errors import CollateralError, FormatError
from dcap.formats.certificate import Certificate
from dcap.formats.crl import Crl
from dcap.formats.pck_extensions import PckExtensions
from dcap.formats.signed_json import decode
from dcap.pccs.causes import CAUSES
from dcap.pccs.items import (
    Ca,
    CrlKey,
    EvaluationNumbersKey,
    FmspcsKey,
    Holding,
    IdentityKey,
    Item,
    Key,
    PckCertificate,
    PckCrlKey,
    Platform,
    RootCrlKey,
    TcbInfoKey,
)
from dcap.verification.anchors import TrustAnchor
from dcap.verification.findings import Finding
from dcap.verification.piece import (
    PckCertified,
    PieceCheck,
    check_evaluation_numbers,
    check_identity,
    check_pck_certificates,
    check_pck_crl,
    check_root_crl,
    check_tcb_info,
)
from dcap.verification.signature import Signatures

#: The finding of a thing that is genuine, and not what it is given for.
OTHER: Final = "other"
#: The check that a revoked PCK certificate fails.
_REVOKED: Final = "pck-revocation"
_REFETCH: Final = "ask another upstream, or for another file; nothing of it was kept"
_ROOT_CRL: Final = re.compile(r"/IntelSGXRootCA\.[a-z]+(?:$|\?)", re.IGNORECASE)
_CA_OF_URI: Final = re.compile(r"[?&]ca=(processor|platform)(?:$|&)", re.IGNORECASE)
#: More than a machine ever had.
MAX_CERTIFICATES: Final = 1024


class Forged(CollateralError):  # noqa: N818 - what it is; a PCCS answers 460
    """What was given does not prove, or is not what it is given for. Nothing of it is kept.

    `finding` is the code of the check that failed first (`verification.checks`), or `OTHER`.
    """

    exit_status = 3

    def __init__(self, finding: str, what: str, *, where: str = "", mend: str = "") -> None:
        super().__init__("pccs-forged", what, where=where, mend=mend or _REFETCH)
        self.finding = finding


class Revoked(Forged):
    """A machine's certificates are genuine, and every one is revoked. `holding` is it without any."""

    def __init__(self, holding: Holding) -> None:
        super().__init__(_REVOKED, CAUSES["revoked"].what, mend=CAUSES["revoked"].mend)
        self.code = "pccs-revoked"
        self.holding = holding


class Numbered(Protocol):
    """What an item says of its age; a summary says it too."""

    @property
    def issued(self) -> datetime | None:
        """When it was issued."""

    @property
    def number(self) -> int | None:
        """Its evaluation data number, or a list's own."""


def is_older(new: Numbered, kept: Numbered | None) -> bool:
    """Whether `new` would take its key back: a lower number, or an earlier issue of the same number.

    Usable as `Items.put(…, accept=lambda new, kept: not is_older(new, kept))`.
    """
    if kept is None:
        return False
    if new.number != kept.number and new.number is not None and kept.number is not None:
        return new.number < kept.number
    return new.issued is not None and kept.issued is not None and new.issued < kept.issued


# Items


class _Proven(msgspec.Struct, frozen=True):
    """What the proven bytes say of themselves."""

    issued: datetime
    expires: datetime
    number: int | None
    body: bytes | None = None
    #: Whether the chain that came along was needed, and proven.
    with_chain: bool = True


class _Terms(msgspec.Struct, frozen=True):
    """What an item is proven under."""

    at: datetime
    anchor: TrustAnchor
    root_crl: Crl | None


def prove(item: Item, *, at: datetime, anchor: TrustAnchor, root_crl: bytes | None = None) -> Item:
    """The item, with dates and number from its proven bytes. Raises `Forged`.

    Lists become DER. A chain that nothing was proven with (that of the root's own list) is dropped.
    `root_crl` is the root's list where it is at hand, proven before: then no issuer may stand on it.
    `expires` is the first expiry of the item and its chain.
    """
    if isinstance(item.key, FmspcsKey):
        return _prove_fmspcs(item)
    known = None if root_crl is None else Crl.parse(root_crl)
    proven = _PROVE[type(item.key)](item, _Terms(at, anchor, known))
    return msgspec.structs.replace(
        item,
        body=item.body if proven.body is None else proven.body,
        issuer_chain=item.issuer_chain if proven.with_chain else b"",
        issued=proven.issued.astimezone(UTC),
        expires=proven.expires.astimezone(UTC),
        number=proven.number,
    )


def _prove_root_crl(item: Item, terms: _Terms) -> _Proven:
    return _listed(check_root_crl(item.body, at=terms.at, anchor=terms.anchor), item, chained=False)


def _prove_pck_crl(item: Item, terms: _Terms) -> _Proven:
    key = cast("PckCrlKey", item.key)
    check = check_pck_crl(
        item.body, item.issuer_chain, at=terms.at, anchor=terms.anchor, root_crl=terms.root_crl
    )
    proven = _listed(check, item, chained=True)
    _expect_ca(check.content, key.ca, item)
    return proven


def _prove_crl(item: Item, terms: _Terms) -> _Proven:
    """A list by its URI: the root's where the URI is that of the root's list, else a PCK CA's."""
    key = cast("CrlKey", item.key)
    if is_root_crl_uri(key.uri):
        return _prove_root_crl(item, terms)
    check = check_pck_crl(
        item.body, item.issuer_chain, at=terms.at, anchor=terms.anchor, root_crl=terms.root_crl
    )
    proven = _listed(check, item, chained=True)
    named = _CA_OF_URI.search(key.uri)
    if named is not None:
        _expect_ca(check.content, cast("Ca", named[1].upper()), item)
    return proven


def _listed(check: PieceCheck[Crl], item: Item, *, chained: bool) -> _Proven:
    crl, expires = _require(check, item)
    return _Proven(crl.this_update, expires, crl.crl_number, crl.der, chained)


def _expect_ca(crl: Crl | None, ca: Ca, item: Item) -> None:
    name = crl.issuer_common_name if crl else ""
    _expect(ca_named(name) == ca, item, f'the list is of "{name}"')


def _prove_tcb_info(item: Item, terms: _Terms) -> _Proven:
    key = cast("TcbInfoKey", item.key)
    check = check_tcb_info(
        item.body, item.issuer_chain, at=terms.at, anchor=terms.anchor, root_crl=terms.root_crl
    )
    info, expires = _require(check, item)
    _expect(info.id == key.tee, item, f"it is for {info.id}")
    _expect(info.fmspc == key.fmspc, item, f"it is for the FMSPC {info.fmspc.hex().upper()}")
    _expect((info.version > 2) == (key.version > 3), item, f"it is of version {info.version}")
    _expect_number(info.evaluation_data_number, key.number, item)
    return _Proven(info.issue_date, expires, info.evaluation_data_number)


def _prove_identity(item: Item, terms: _Terms) -> _Proven:
    key = cast("IdentityKey", item.key)
    check = check_identity(
        item.body, item.issuer_chain, at=terms.at, anchor=terms.anchor, root_crl=terms.root_crl
    )
    identity, expires = _require(check, item)
    _expect(identity.id == key.name, item, f"it is the identity of {identity.id}")
    _expect_number(identity.evaluation_data_number, key.number, item)
    return _Proven(identity.issue_date, expires, identity.evaluation_data_number)


def _prove_evaluation_numbers(item: Item, terms: _Terms) -> _Proven:
    key = cast("EvaluationNumbersKey", item.key)
    check = check_evaluation_numbers(
        item.body, item.issuer_chain, at=terms.at, anchor=terms.anchor, root_crl=terms.root_crl
    )
    numbers, expires = _require(check, item)
    _expect(numbers.id == key.tee, item, f"they are for {numbers.id}")
    return _Proven(numbers.issue_date, expires, None)


#: How an item is proven, by the type of its key.
_PROVE: Final[Mapping[type[Key], Callable[[Item, _Terms], _Proven]]] = {
    RootCrlKey: _prove_root_crl,
    PckCrlKey: _prove_pck_crl,
    CrlKey: _prove_crl,
    TcbInfoKey: _prove_tcb_info,
    IdentityKey: _prove_identity,
    EvaluationNumbersKey: _prove_evaluation_numbers,
}


def _prove_fmspcs(item: Item) -> Item:
    """The one list that is not signed: its form alone."""
    try:
        decode(item.body, list[Fmspc], "FMSPCs")
    except FormatError as error:
        raise Forged(error.code, error.what, where=item.key.text) from None
    return msgspec.structs.replace(item, issuer_chain=b"", issued=None, expires=None, number=None)


def _require(check: PieceCheck[Any], item: Item) -> tuple[Any, datetime]:
    """Content and expiry of a piece in which nothing failed."""
    if check.content is None or check.window is None:
        raise _forged(check.failed, item.key.text)
    return check.content, check.window.expires


def _forged(failed: tuple[Finding, ...], where: str) -> Forged:
    told = "; ".join(f"{finding.message} [{finding.code}]" for finding in failed)
    return Forged(failed[0].code, f"it does not prove: {told}", where=where, mend=failed[0].mend)


def _expect_number(number: int, asked: int | None, item: Item) -> None:
    _expect(asked in (None, number), item, f"its evaluation data number is {number}")


def _expect(fits: bool, item: Item, why: str) -> None:  # noqa: FBT001
    if not fits:
        raise Forged(
            OTHER, f"it is genuine, and not what was asked for: {why}", where=item.key.text
        )


# Machines

#: `tcbm` and PEM of a certificate.
Offered: TypeAlias = tuple[str, bytes]


class Claimed(msgspec.Struct, frozen=True, kw_only=True):
    """A machine's certificates as someone gave them.

    `fmspc` and `ca` are what was said of them; `None` where nothing was, and the certificates tell.
    """

    qe_id: str
    pce_id: str
    certificates: tuple[Offered, ...]
    issuer_chain: bytes
    encrypted_ppid: bytes | None = None
    manifest: bytes | None = None
    fmspc: bytes | None = None
    ca: Ca | None = None

    def __repr__(self) -> str:
        return "<Claimed>"


def prove_platform(
    claimed: Claimed,
    *,
    at: datetime,
    anchor: TrustAnchor,
    pck_crl: bytes | None = None,
    root_crl: bytes | None = None,
    signatures: Signatures | None = None,
) -> Holding:
    """The machine with its certificates, proven; its raw TCBs are for the caller. Raises `Forged`.

    Every certificate is Intel's, of one machine (PPID, FMSPC, PCE id), each for the TCB that its `tcbm`
    names. Those on `pck_crl`, their CA's list where it is at hand (proven, in date or not), are left out
    as if Intel had none for their TCB: `Revoked` where none is left. `signatures` may be shared by all
    machines of an import.
    """
    where = "PCK certificates of a machine"
    if not 0 < len(claimed.certificates) <= MAX_CERTIFICATES:
        raise Forged(OTHER, f"{len(claimed.certificates)} certificates came for it", where=where)
    check = check_pck_certificates(
        [pem for _, pem in claimed.certificates],
        claimed.issuer_chain,
        at=at,
        anchor=anchor,
        root_crl=None if root_crl is None else Crl.parse(root_crl),
        signatures=signatures,
    )
    if check.content is None:
        raise _forged(check.failed, where)
    wrong = _mismatch(claimed, check.content)
    if wrong:
        raise Forged(OTHER, f"they are genuine, and not that machine's: {wrong}", where=where)
    leaf, first = check.content[0]
    ca = ca_named(leaf.issuer_common_name)
    assert ca is not None
    listed = None if pck_crl is None else Crl.parse(pck_crl)
    holding = Holding(
        platform=Platform(
            qe_id=claimed.qe_id.upper(),
            pce_id=claimed.pce_id.upper(),
            fmspc=first.fmspc,
            ca=ca,
            encrypted_ppid=claimed.encrypted_ppid,
            manifest=claimed.manifest,
        ),
        certificates=tuple(
            PckCertificate(
                tcbm=tcbm.upper(), pem=pem, components=said.cpu_svn, pce_svn=said.pce_svn
            )
            for (tcbm, pem), (own, said) in zip(claimed.certificates, check.content, strict=True)
            if listed is None or not _is_on(listed, own)
        ),
        issuer_chain=claimed.issuer_chain,
    )
    if not holding.certificates:
        raise Revoked(holding)
    return holding


def _is_on(listed: Crl, certificate: Certificate) -> bool:
    """Whether a certificate stands on a list of its own issuer's: another's numbers are others."""
    keys = {listed.authority_key_id, certificate.authority_key_id} - {None}
    is_theirs = listed.issuer == certificate.issuer and len(keys) < 2
    return is_theirs and listed.lists(certificate.serial)


def _mismatch(claimed: Claimed, proven: Iterable[PckCertified]) -> str:
    """Why genuine certificates are not those of the machine; empty where they are. Names no machine."""
    machines: set[tuple[bytes, bytes, bytes]] = set()
    for (tcbm, _), (certificate, said) in zip(claimed.certificates, proven, strict=True):
        if tcbm.upper() != tcbm_of(said):
            return "one is for another TCB than came with it"
        if said.pce_id.hex().upper() != claimed.pce_id.upper():
            return "one is for another PCE"
        if claimed.ca not in (None, ca_named(certificate.issuer_common_name)):
            return f'they are of "{certificate.issuer_common_name}"'
        if claimed.fmspc not in (None, said.fmspc):
            return f"they are for the FMSPC {said.fmspc.hex().upper()}"
        machines.add((said.ppid, said.fmspc, said.pce_id))
    return "" if len(machines) == 1 else "they are of several machines"


def tcbm_of(said: PckExtensions) -> str:
    """The TCB of a certificate as Intel names it: CPUSVN ‖ PCESVN (little-endian), in hex."""
    return (said.cpu_svn + said.pce_svn.to_bytes(2, "little")).hex().upper()


def ca_named(common_name: str) -> Ca | None:
    """Which of the two PCK CAs a common name is of."""
    if "PCK Processor CA" in common_name:
        return "PROCESSOR"
    return "PLATFORM" if "PCK Platform CA" in common_name else None


def is_root_crl_uri(uri: str) -> bool:
    """Whether a distribution point is that of the root's list."""
    return _ROOT_CRL.search(uri) is not None


@lru_cache(maxsize=16)
def ca_of_chain(issuer_chain: bytes) -> Ca | None:
    """Which of the two PCK CAs a chain (CA, root) is of, unproven; `None` where it is of none."""
    try:
        names = [certificate.common_name for certificate in Certificate.parse_chain(issuer_chain)]
    except FormatError:
        return None
    return next((ca for name in names if (ca := ca_named(name)) is not None), None)
