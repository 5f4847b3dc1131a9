"""One piece of collateral by itself, proven under the anchor: for who keeps pieces, not sets.

    check_tcb_info        check_identity        check_evaluation_numbers      signed, with their chain
    check_root_crl        check_pck_crl                                       lists
    check_pck_certificates                                                    all of one machine

Each says what it found in the words of the whole procedure (`checks`), and gives the content only where
nothing failed. A list of evaluation numbers is told of as a TCB info is: the same signer signs both.
Expiry is a fact (`window`), never a finding; an issuer's revocation is looked at where the list that
would say so is given, and that list was proven before. Whether a piece is the one that was asked for is
the caller's business.

`read_document` and `prove_document` are the steps that `check_endorsements` takes too. Not here: a set
that must fit together (`endorsements`), a chain out of a quote (`pck_chain`, `verifier`).

Source: `verification.md` §4 and §5 A-C.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Generic, NamedTuple, Protocol, TypeVar

import msgspec

from dcap.errors import ConfigError, FormatError
from dcap.formats.certificate import Certificate, common_name
from dcap.formats.collateral import ENCLAVE_IDENTITY, TCB_INFO
from dcap.formats.crl import Crl
from dcap.formats.enclave_identity import EnclaveIdentity
from dcap.formats.pck_extensions import PckExtensions
from dcap.formats.signed_json import SignedJson
from dcap.formats.tcb_evaluation_numbers import TcbEvaluationNumbers
from dcap.formats.tcb_info import TcbInfo
from dcap.verification import chain, revocation
from dcap.verification.anchors import INTEL_SGX_ROOT, TrustAnchor
from dcap.verification.chain import (
    CRL_ISSUER_CHAIN,
    TCB_SIGNING_CHAIN,
    Role,
    Window,
)
from dcap.verification.findings import Finding, Ledger
from dcap.verification.signature import Signatures

#: The member that holds the list of evaluation data numbers.
EVALUATION_NUMBERS = "tcbEvaluationDataNumbers"
_LEAF = (Role.PCK,)


class Dated(Protocol):
    """A signed document: when it was issued, and when the next is due."""

    @property
    def issue_date(self) -> datetime:
        """When it was signed."""

    @property
    def next_update(self) -> datetime:
        """When it expires."""


T = TypeVar("T")
Document = TypeVar("Document", bound=Dated)


class PieceCheck(msgspec.Struct, Generic[T], frozen=True):
    """What was found of a piece. `content` and `window` are there where nothing failed.

    The window is the piece's own and its chain's in one: it expires when the first of them does.
    """

    findings: tuple[Finding, ...]
    content: T | None = None
    window: Window | None = None

    @property
    def failed(self) -> tuple[Finding, ...]:
        """The checks that failed, in the order of the procedure."""
        return tuple(finding for finding in self.findings if not finding.ok)


class PckCertified(NamedTuple):
    """A PCK certificate that was proven, and what it certifies."""

    certificate: Certificate
    extensions: PckExtensions


class _Anchored(NamedTuple):
    """The root as the issuer of its own list, where no certificate of it comes along."""

    subject: bytes
    public_key: bytes
    subject_key_id: bytes | None

    @property
    def common_name(self) -> str:
        """The name of the root."""
        return common_name(self.subject)


# Signed documents


def check_tcb_info(
    envelope: bytes,
    issuer_chain: bytes,
    *,
    at: datetime,
    anchor: TrustAnchor = INTEL_SGX_ROOT,
    root_crl: Crl | None = None,
) -> PieceCheck[TcbInfo]:
    """Check a TCB info as the PCS sends it, `{"tcbInfo": …, "signature": …}`."""
    return _check_document(
        "tcb-info", TCB_INFO, envelope, issuer_chain, TcbInfo.parse, at, anchor, root_crl
    )


def check_identity(
    envelope: bytes,
    issuer_chain: bytes,
    *,
    at: datetime,
    anchor: TrustAnchor = INTEL_SGX_ROOT,
    root_crl: Crl | None = None,
) -> PieceCheck[EnclaveIdentity]:
    """Check the identity of QE, TD_QE, QVE or QAE, `{"enclaveIdentity": …, "signature": …}`."""
    return _check_document(
        "qe-identity",
        ENCLAVE_IDENTITY,
        envelope,
        issuer_chain,
        EnclaveIdentity.parse,
        at,
        anchor,
        root_crl,
    )


def check_evaluation_numbers(
    envelope: bytes,
    issuer_chain: bytes,
    *,
    at: datetime,
    anchor: TrustAnchor = INTEL_SGX_ROOT,
    root_crl: Crl | None = None,
) -> PieceCheck[TcbEvaluationNumbers]:
    """Check a list of TCB evaluation data numbers; its findings are those of a TCB info."""
    return _check_document(
        "tcb-info",
        EVALUATION_NUMBERS,
        envelope,
        issuer_chain,
        TcbEvaluationNumbers.parse,
        at,
        anchor,
        root_crl,
    )


def _check_document(
    name: str,
    member: str,
    envelope: bytes,
    issuer_chain: bytes,
    parse: Callable[[bytes], Document],
    at: datetime,
    anchor: TrustAnchor,
    root_crl: Crl | None,
) -> PieceCheck[Document]:
    at = instant(at)
    ledger = Ledger()
    windows: list[Window] = []
    certificates = chain.read(f"{name}-chain", issuer_chain, TCB_SIGNING_CHAIN, ledger)
    document = prove_document(
        name,
        certificates,
        read_document(name, envelope, member, ledger),
        parse,
        Circumstances(at, anchor, root_crl),
        Signatures(),
        ledger,
        windows,
    )
    return _concluded(ledger, document, windows)


class Circumstances(NamedTuple):
    """What a document is proven under: the instant, the root, and the root's list where it is had."""

    at: datetime
    anchor: TrustAnchor
    root_crl: Crl | None


def read_document(name: str, envelope: bytes, member: str, ledger: Ledger) -> SignedJson | None:
    """Step 1 of a document: take it and its signature out of the answer."""
    try:
        return SignedJson.parse(envelope, member)
    except FormatError as error:
        ledger.failed(f"{name}-format", str(error))
        return None


def prove_document(
    name: str,
    certificates: tuple[Certificate, ...] | None,
    sealed: SignedJson | None,
    parse: Callable[[bytes], Document],
    circumstances: Circumstances,
    signatures: Signatures,
    ledger: Ledger,
    windows: list[Window],
) -> Document | None:
    """The other steps of a document: its signer, its signature; only what was verified is parsed."""
    at, anchor, root_crl = circumstances
    proven = False
    if certificates is not None:
        windows.append(chain.window(f"{name}-chain", certificates))
        proven = chain.prove(f"{name}-chain", certificates, anchor, at, signatures, ledger)
        if root_crl is not None:
            proven &= revocation.not_revoked(
                f"{name}-signer-revocation", certificates[0], root_crl, ledger
            )
    if certificates is None or sealed is None:
        return None
    if not ledger.check(
        f"{name}-signature",
        signatures.valid_raw(certificates[0].public_key, sealed.signature, sealed.body),
        "the signature does not fit the document's exact bytes",
    ):
        return None
    if not proven:
        return None
    try:
        document = parse(sealed.body)
    except FormatError as error:
        ledger.failed(f"{name}-format", str(error))
        return None
    ledger.passed(f"{name}-format")
    issued = document.issue_date
    windows.append(Window(name, issued, document.next_update, issued))
    if not ledger.check(
        f"{name}-validity-start",
        issued <= at,
        lambda: f"issued at {issued:%Y-%m-%dT%H:%M:%SZ}, after {at:%Y-%m-%dT%H:%M:%SZ}",
    ):
        return None
    return document


# Revocation lists


def check_root_crl(
    crl: bytes, *, at: datetime, anchor: TrustAnchor = INTEL_SGX_ROOT
) -> PieceCheck[Crl]:
    """Check the root's list, in any encoding. It needs no chain: the anchor is its issuer."""
    at = instant(at)
    ledger = Ledger()
    windows: list[Window] = []
    found = revocation.read("root-ca-crl", crl, ledger)
    if found is not None:
        # Whose key it says it is by proves nothing: that it is by the anchor's key does.
        issuer = _Anchored(anchor.subject, anchor.public_key, found.authority_key_id)
        revocation.prove("root-ca-crl", found, issuer, at, Signatures(), ledger)
        windows.append(revocation.window("root-ca-crl", found))
    return _concluded(ledger, found, windows)


def check_pck_crl(
    crl: bytes,
    issuer_chain: bytes,
    *,
    at: datetime,
    anchor: TrustAnchor = INTEL_SGX_ROOT,
    root_crl: Crl | None = None,
) -> PieceCheck[Crl]:
    """Check the list of a PCK CA, in any encoding, with the chain of that CA."""
    at = instant(at)
    ledger = Ledger()
    windows: list[Window] = []
    signatures = Signatures()
    certificates = chain.read("crl-issuer-chain", issuer_chain, CRL_ISSUER_CHAIN, ledger)
    found = revocation.read("pck-crl", crl, ledger)
    if certificates is not None:
        windows.append(chain.window("crl-issuer-chain", certificates))
        chain.prove("crl-issuer-chain", certificates, anchor, at, signatures, ledger)
    if certificates is not None and found is not None:
        windows.append(revocation.window("pck-crl", found))
        revocation.prove("pck-crl", found, certificates[0], at, signatures, ledger)
    if certificates is not None and root_crl is not None:
        revocation.not_revoked("crl-issuer-revocation", certificates[0], root_crl, ledger)
    return _concluded(ledger, found, windows)


# PCK certificates


def check_pck_certificates(
    leaves: Sequence[bytes],
    issuer_chain: bytes,
    *,
    at: datetime,
    anchor: TrustAnchor = INTEL_SGX_ROOT,
    pck_crl: Crl | None = None,
    root_crl: Crl | None = None,
    signatures: Signatures | None = None,
) -> PieceCheck[tuple[PckCertified, ...]]:
    """Check PCK certificates (PEM, one each) that have their issuers, CA and root, in common.

    `signatures` may be shared with other calls of one run: it remembers those of the issuers, which are
    then computed once, and not those of the certificates. The first that fails ends it.
    """
    at = instant(at)
    ledger = Ledger()
    issuers = chain.read("pck-chain", issuer_chain, CRL_ISSUER_CHAIN, ledger)
    if issuers is None:
        return PieceCheck(tuple(ledger.findings))
    if pck_crl is not None:
        ledger.check(
            "pck-crl-coverage",
            pck_crl.issuer == issuers[0].subject
            and pck_crl.authority_key_id == issuers[0].subject_key_id,
            lambda: f'the list is of "{pck_crl.issuer_common_name}"',
        )
    if root_crl is not None:
        revocation.not_revoked("pck-ca-revocation", issuers[0], root_crl, ledger)
    chain.prove("pck-chain", issuers, anchor, at, signatures or Signatures(), ledger)
    above = chain.window("pck-chain", issuers)
    proven: list[PckCertified] = []
    windows: list[Window] = [above]
    for leaf in leaves:
        if ledger.failures:
            break
        one = _leaf(leaf, issuers[0], at, ledger, windows)
        if one is not None and pck_crl is not None:
            revocation.not_revoked("pck-revocation", one.certificate, pck_crl, ledger)
        if one is not None:
            proven.append(one)
    return _concluded(ledger, tuple(proven), windows)


def _leaf(
    leaf: bytes, issuer: Certificate, at: datetime, ledger: Ledger, windows: list[Window]
) -> PckCertified | None:
    """Steps 3.1 and 3.2 for one certificate, below issuers that were proven."""
    try:
        certificates = Certificate.parse_chain(leaf)
    except FormatError as error:
        ledger.failed("pck-chain-format", str(error))
        return None
    alone = chain.assign(certificates, _LEAF)
    if isinstance(alone, str):
        ledger.failed("pck-chain-roles", alone)
        return None
    links = ((alone[0], issuer),)
    if not chain.prove_links("pck-chain", links, alone, at, Signatures(), ledger):
        return None
    windows.append(chain.window("pck-chain", alone))
    try:
        extensions = PckExtensions.parse(alone[0].sgx_extension or b"")
    except FormatError as error:
        ledger.failed("pck-extensions", str(error))
        return None
    return PckCertified(alone[0], extensions)


def instant(at: datetime) -> datetime:
    """The caller's trusted time in UTC. Raises `ConfigError` (`no-instant`) where it has no zone."""
    if at.tzinfo is None:
        raise ConfigError(
            "no-instant", "`at` must be an aware datetime: the verifier's trusted time"
        )
    return at.astimezone(UTC)


def _concluded(ledger: Ledger, content: T | None, windows: Iterable[Window]) -> PieceCheck[T]:
    """The content, where nothing failed."""
    findings = tuple(ledger.findings)
    found = list(windows)
    if ledger.failures or content is None or not found:
        return PieceCheck(findings)
    own = found[-1]
    window = Window(own.name, own.issued, min(w.expires for w in found), own.newest)
    return PieceCheck(findings, content, window)
