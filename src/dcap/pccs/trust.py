"""What may be kept and served: only what proves, and is what its key says.

    item = prove(claimed, at=…, anchor=…, root_crl=…)        # raises Forged

Everything that is fetched, imported or restored passes here (a machine's certificates: `pck_proof`),
and nothing else comes out: signed bytes are kept as they are, and what stands around them (envelopes,
PEM) is written anew. Whether something has expired is a fact (`Item.expires`), for the service to judge
(`age`). What begins to hold within `CLOCK_TOLERANCE` passes: clocks differ, and whoever verifies asks
one of its own. Intel does not sign its list of FMSPCs: of that one the form alone is checked, and
nothing may be concluded from it.

Source: `verification.md` §4; `pccs-and-pcs-api.md` §2.2, §7.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, cast

import msgspec

from dcap.api.pcs_responses import Fmspc
from dcap.errors import CollateralError, DcapError, FormatError
from dcap.formats.certificate import Certificate, write_chain
from dcap.formats.collateral import ENCLAVE_IDENTITY, TCB_INFO
from dcap.formats.crl import Crl
from dcap.formats.signed_json import SignedJson, decode
from dcap.pccs.age import CLOCK_TOLERANCE
from dcap.pccs.causes import CAUSES
from dcap.pccs.issuers import ca_named, ca_of_uri, is_root_crl_uri
from dcap.pccs.items import (
    Ca,
    CrlKey,
    EvaluationNumbersKey,
    FmspcsKey,
    Holding,
    IdentityKey,
    Item,
    Key,
    PckCrlKey,
    RootCrlKey,
    TcbInfoKey,
)
from dcap.verification.anchors import TrustAnchor
from dcap.verification.findings import Finding
from dcap.verification.piece import (
    EVALUATION_NUMBERS,
    PieceCheck,
    check_evaluation_numbers,
    check_identity,
    check_pck_crl,
    check_root_crl,
    check_tcb_info,
)

#: The finding of a thing that is genuine, and not what it is given for.
OTHER: Final = "other"
#: The check that a revoked PCK certificate fails.
_REVOKED: Final = "pck-revocation"
_REFETCH: Final = "ask another upstream, or for another file; nothing of it was kept"
_BEGINS, _REVOCATION = "-validity-start", "-revocation"


class Forged(CollateralError):  # noqa: N818 - what it is; a PCCS answers 460
    """What was given does not prove, or is not what it is given for. Nothing of it is kept.

    `finding` is the code of the check that failed first (`verification.checks`), or `OTHER`.
    """

    exit_status = 3

    def __init__(self, finding: str, what: str, *, where: str = "", mend: str = "") -> None:
        super().__init__("pccs-forged", what, where=where, mend=mend or _REFETCH)
        self.finding = finding

    @property
    def is_revocation(self) -> bool:
        """Whether it was genuine, and its issuer has been revoked."""
        return self.finding.endswith(_REVOCATION)


class Early(Forged):
    """All that is wrong is that it begins to hold later than now: a clock is wrong, here or there."""

    def __init__(self, failed: tuple[Finding, ...], where: str) -> None:
        super().__init__(failed[0].code, _told(failed), where=where, mend=CAUSES["clock"].mend)
        self.code = "pccs-clock"


class Revoked(Forged):
    """A machine's certificates are genuine, and every one is revoked. `holding` is it without any."""

    def __init__(self, holding: Holding) -> None:
        super().__init__(_REVOKED, CAUSES["revoked"].what, mend=CAUSES["revoked"].mend)
        self.code = "pccs-revoked"
        self.holding = holding


class _Proven(msgspec.Struct, frozen=True):
    """What the proven bytes say of themselves."""

    issued: datetime
    expires: datetime
    number: int | None
    body: bytes
    #: Whether the chain that came along was needed, and proven.
    with_chain: bool = True


class _Terms(msgspec.Struct, frozen=True):
    """What an item is proven under."""

    at: datetime
    anchor: TrustAnchor
    root_crl: Crl | None


def prove(item: Item, *, at: datetime, anchor: TrustAnchor, root_crl: bytes | None = None) -> Item:
    """The item, with dates and number from its proven bytes. Raises `Forged`.

    Lists become DER; envelopes and chains hold what was proven, and nothing else. A chain that nothing
    was proven with (that of the root's own list) is dropped.
    `root_crl` is the root's list where it is at hand, proven before: then no issuer may stand on it.
    `expires` is the first expiry of the item and its chain.
    """
    if isinstance(item.key, FmspcsKey):
        return _prove_fmspcs(item)
    known = None if root_crl is None else Crl.parse(root_crl)
    proven = _PROVE[type(item.key)](item, _Terms(at + CLOCK_TOLERANCE, anchor, known))
    return msgspec.structs.replace(
        item,
        body=proven.body,
        issuer_chain=rewritten(item.issuer_chain) if proven.with_chain else b"",
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
    ca = ca_of_uri(key.uri)
    if ca is not None:
        _expect_ca(check.content, ca, item)
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
    body = _enveloped(item, TCB_INFO)
    return _Proven(info.issue_date, expires, info.evaluation_data_number, body)


def _prove_identity(item: Item, terms: _Terms) -> _Proven:
    key = cast("IdentityKey", item.key)
    check = check_identity(
        item.body, item.issuer_chain, at=terms.at, anchor=terms.anchor, root_crl=terms.root_crl
    )
    identity, expires = _require(check, item)
    _expect(identity.id == key.name, item, f"it is the identity of {identity.id}")
    _expect_number(identity.evaluation_data_number, key.number, item)
    body = _enveloped(item, ENCLAVE_IDENTITY)
    return _Proven(identity.issue_date, expires, identity.evaluation_data_number, body)


def _prove_evaluation_numbers(item: Item, terms: _Terms) -> _Proven:
    key = cast("EvaluationNumbersKey", item.key)
    check = check_evaluation_numbers(
        item.body, item.issuer_chain, at=terms.at, anchor=terms.anchor, root_crl=terms.root_crl
    )
    numbers, expires = _require(check, item)
    _expect(numbers.id == key.tee, item, f"they are for {numbers.id}")
    return _Proven(numbers.issue_date, expires, None, _enveloped(item, EVALUATION_NUMBERS))


def _enveloped(item: Item, member: str) -> bytes:
    """The bytes that were signed and their signature; whatever stood beside them is left out."""
    return SignedJson.parse(item.body, member).envelope(member)


@lru_cache(maxsize=64)
def rewritten(chain: bytes) -> bytes:
    """A chain as it is kept: without what stood around its certificates."""
    return write_chain(Certificate.parse_chain(chain))


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
        raise refusal_of(check.failed, item.key.text)
    return check.content, check.window.expires


def refusal_of(failed: tuple[Finding, ...], where: str) -> Forged:
    """What to raise for checks that failed: `Early` where only the clock speaks against it."""
    first = next((one for one in failed if not one.code.endswith(_BEGINS)), None)
    if first is None:
        return Early(failed, where)
    return Forged(first.code, _told(failed), where=where, mend=first.mend)


def _told(failed: tuple[Finding, ...]) -> str:
    told = "; ".join(f"{finding.message} [{finding.code}]" for finding in failed)
    return f"it does not prove: {told}"


def cause_of_refusal(error: DcapError) -> str:
    """The cause by which something is not served that did not prove."""
    return "clock" if isinstance(error, Early) else "forged"


def _expect_number(number: int, asked: int | None, item: Item) -> None:
    _expect(asked in (None, number), item, f"its evaluation data number is {number}")


def _expect(fits: bool, item: Item, why: str) -> None:  # noqa: FBT001
    if not fits:
        raise Forged(
            OTHER, f"it is genuine, and not what was asked for: {why}", where=item.key.text
        )
