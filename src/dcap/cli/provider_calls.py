"""The calls of `dcap provider test`: each made, timed, proven, and described in a line a piece.

Not here: the command, and how it is told (`provider_test`).
"""

import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, TypeVar

import msgspec
from msgspec import structs

from dcap.errors import CollateralError, FormatError, NotFound
from dcap.formats.certificate import Certificate
from dcap.formats.collateral import ENCLAVE_IDENTITY, TCB_INFO, Collateral
from dcap.formats.crl import Crl
from dcap.formats.enclave_identity import EnclaveIdentity
from dcap.formats.origin import Origin
from dcap.formats.pck_selection import tcbm_of
from dcap.formats.pem import is_armoured
from dcap.formats.signed_json import SignedJson
from dcap.formats.tcb_info import TcbInfo
from dcap.qpl.abi import COLLATERAL_VERSIONS
from dcap.sources.intel_codes import intel_number
from dcap.sources.kept import Proof, prove_certificate, prove_collateral
from dcap.sources.need import Ca, CollateralNeed, MachineNeed, Tee
from dcap.sources.source import Fetched, FetchedPck
from dcap.verification.anchors import TrustAnchor
from dcap.verification.chain import Window
from dcap.verification.findings import Finding
from dcap.verification.piece import check_identity, check_root_crl

if TYPE_CHECKING:
    from dcap.qpl.plugin import CollateralPieces, IdentityPieces, Plugin

T = TypeVar("T")
Status: TypeAlias = Literal["ok", "false", "expired", "failed", "none", "missing"]

FALSE, EXPIRED, UNAVAILABLE = 3, 4, 6
_NO_MACHINE: Final = "expected: no machine was named (--quote, or --qe-id and what belongs to it)"
#: What services say of a machine that is none, and of a policy that nobody has put there.
_NOBODY: Final = ("0xE011", "0xE044", "0xE019", "0xE047")
_NO_POLICY: Final = ("0xE044", "0xE01B")
#: What to do about what came, and does not serve.
_MENDS: Final = {
    "ok": "",
    "expired": "have its service refreshed; look at this machine's clock",
    "false": "its service gives what Intel did not sign: ask another one; of a test, name the root "
    "with --insecure-test-root",
}
_FORMS: Final = frozenset({"PEM", "hex", "DER"})


class Piece(msgspec.Struct, frozen=True):
    """One output: its size in bytes, and what it says of itself."""

    name: str
    size: int
    what: str


class Tried(msgspec.Struct, frozen=True, kw_only=True):
    """One call, and what came of it. `code` is what a program would have received."""

    call: str
    status: Status
    code: str
    seconds: float
    pieces: tuple[Piece, ...] = ()
    why: str = ""
    mend: str = ""
    #: It counts in the exit status.
    counts: bool = True


#: What was judged: its pieces; what is wrong with it; whether that is its age alone.
Judged: TypeAlias = tuple[tuple[Piece, ...], str, bool]


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What everybody is asked about, and when and under which root it is judged."""

    fmspc: bytes
    ca: Ca
    machine: MachineNeed | None
    is_tdx: bool
    at: datetime
    anchor: TrustAnchor

    def need(self, tee: Tee) -> CollateralNeed:
        """The set of a TEE."""
        return CollateralNeed(tee=tee, fmspc=self.fmspc, ca=self.ca)

    @property
    def who(self) -> MachineNeed:
        """The machine, or one of zeros, which nobody knows."""
        nobody = MachineNeed(qe_id=bytes(16), cpu_svn=bytes(16), pce_svn=0, pce_id=bytes(2))
        return self.machine or nobody


# ── the calls ───────────────────────────────────────────────────────────────────────────────────


def calls_of(plugin: "Plugin", asked: Asked, *, clear: bool) -> Iterator[Tried]:
    """Every call that programs make, in the order in which a quote is made and verified."""
    if clear:
        yield attempt("clear cache", plugin.clear_cache, lambda _: ((), "", False))
    config = attempt(
        "quote config",
        lambda: _quote_config(plugin, asked),
        lambda found: judge_pck(found, asked),
    )
    yield for_a_machine(config, asked)
    tees: tuple[Tee, Tee] = ("SGX", "TDX")
    for tee in tees:
        yield for_tdx(_collateral(plugin, tee, None, asked), tee, asked)
        optional = _collateral(plugin, tee, b"", asked)
        yield structs.replace(optional, counts=optional.status not in ("missing", "none"))
    yield attempt("QvE identity", plugin.qve_identity, lambda found: _identity(found, asked))
    yield attempt("root CA CRL", plugin.root_ca_crl, lambda found: _root(found, asked))
    policy = attempt("platform policy", lambda: plugin.policy(asked.fmspc), _policy)
    if policy.status == "failed" and policy.code in _NO_POLICY:
        policy = structs.replace(policy, status="none", mend="")
    yield structs.replace(policy, counts=policy.status in ("ok", "failed"))


def _quote_config(plugin: "Plugin", asked: Asked) -> FetchedPck:
    from dcap.qpl.plugin import Machine  # noqa: PLC0415 - only where there is a plugin

    who = asked.who
    found = plugin.quote_config(
        Machine(
            qe_id=who.qe_id,
            cpu_svn=who.cpu_svn,
            pce_svn=who.pce_svn,
            pce_id=int.from_bytes(who.pce_id, "little"),
            encrypted_ppid=who.encrypted_ppid,
        )
    )
    return FetchedPck(
        chain=found.chain,
        tcbm=tcbm_of(found.cpu_svn, found.pce_svn),
        origin=Origin(piece="pck", source="plugin", address=plugin.path, fetched_at=asked.at),
    )


def _collateral(plugin: "Plugin", tee: Tee, parameter: bytes | None, asked: Asked) -> Tried:
    """A set, its lists as they were given: a consumer that trusts the version may stumble on them."""
    judge = judge_set(asked.need(tee), asked)

    def judge_pieces(found: "CollateralPieces") -> Judged:
        collateral = Collateral(**found.pieces)
        pieces, why, is_expired = judge(Fetched(collateral=collateral, origins=()))
        version = COLLATERAL_VERSIONS[found.version]
        if any(f"lists in {form}" in version for form in _FORMS - {_form(collateral.pck_crl)}):
            version = f"{version}, which these are not: programs that heed it fail"
        return (Piece("version", 4, version), *pieces), why, is_expired

    return attempt(
        f"{tee} collateral" if parameter is None else f"{tee} collateral, with parameters",
        lambda: plugin.collateral(tee, asked.fmspc, asked.ca, parameter=parameter),
        judge_pieces,
    )


def attempt(call: str, ask: Callable[[], T], judge: Callable[[T], Judged]) -> Tried:
    """Make a call, look at the clock, and judge what came."""
    started = time.perf_counter()
    try:
        found = ask()
    except CollateralError as error:
        status: Status = "none" if isinstance(error, NotFound) else "failed"
        return Tried(
            call=call,
            status="missing" if error.code == "plugin-symbol" else status,
            code=f"0x{intel_number(error):04X}",
            seconds=time.perf_counter() - started,
            why=f"{error.what} [{error.code}]",
            mend=error.mend,
        )
    seconds = time.perf_counter() - started
    pieces, why, is_expired = judge(found)
    status = "expired" if is_expired else "false" if why else "ok"
    return Tried(
        call=call,
        status=status,
        code="0x0000",
        seconds=seconds,
        pieces=pieces,
        why=why,
        mend=_MENDS[status],
    )


def for_a_machine(tried: Tried, asked: Asked) -> Tried:
    """Nobody has a certificate for a machine of zeros."""
    if asked.machine is not None or tried.status in ("ok", "missing"):
        return tried
    if tried.status == "failed" and tried.code not in _NOBODY:
        return tried
    why = f"{tried.why}; {_NO_MACHINE}"
    return structs.replace(tried, status="none", counts=False, why=why, mend="")


def for_tdx(tried: Tried, tee: Tee, asked: Asked) -> Tried:
    """A platform that has SGX alone has no collateral for TDX."""
    if tee == "SGX" or asked.is_tdx or tried.status not in ("none", "missing"):
        return tried
    return structs.replace(tried, counts=False, mend="")


def status_of(tried: Sequence[Tried]) -> int:
    """The exit status: of the gravest that counts."""
    found = {each.status for each in tried if each.counts}
    if "false" in found:
        return FALSE
    if "expired" in found:
        return EXPIRED
    return UNAVAILABLE if found & {"failed", "none", "missing"} else 0


# ── what came ───────────────────────────────────────────────────────────────────────────────────


def judge_set(need: CollateralNeed, asked: Asked) -> Callable[[Fetched], Judged]:
    """A set, proven under the root, for what was asked."""

    def judge(found: Fetched) -> Judged:
        pieces = tuple(
            _piece(name, content, asked.at)
            for name in Collateral.__struct_fields__
            if (content := getattr(found.collateral, name)) is not None
        )
        why, is_expired = _proven(
            lambda: prove_collateral(found, need, at=asked.at, anchor=asked.anchor), asked.at
        )
        return pieces, why, is_expired

    return judge


def judge_pck(found: FetchedPck, asked: Asked) -> Judged:
    """A machine's certificate, proven under the root, and for that machine."""
    why, is_expired = _proven(
        lambda: prove_certificate(found, asked.who, at=asked.at, anchor=asked.anchor), asked.at
    )
    return (_piece("cert_data_chain", found.chain, asked.at),), why, is_expired


def _proven(prove: Callable[[], Proof | str], at: datetime) -> tuple[str, bool]:
    try:
        proof = prove()
    except FormatError as error:
        return f"it cannot be read: {error.what}", False
    if isinstance(proof, str):
        return proof, False
    return _in_force(proof.term.expires, at)


def _identity(found: "IdentityPieces", asked: Asked) -> Judged:
    pieces = (
        _piece("qve_identity", found.identity, asked.at),
        _piece("issuer_chain", found.issuer_chain, asked.at),
    )
    check = check_identity(found.identity, found.issuer_chain, at=asked.at, anchor=asked.anchor)
    return pieces, *_checked(check.failed, check.window, asked.at)


def _root(found: bytes, asked: Asked) -> Judged:
    check = check_root_crl(found, at=asked.at, anchor=asked.anchor)
    return (_piece("root_ca_crl", found, asked.at),), *_checked(
        check.failed, check.window, asked.at
    )


def _checked(failed: Sequence[Finding], window: Window | None, at: datetime) -> tuple[str, bool]:
    if failed or window is None:
        return f"{failed[0].message} [{failed[0].code}]", False
    return _in_force(window.expires, at)


def _in_force(expires: datetime, at: datetime) -> tuple[str, bool]:
    return (f"genuine, and expired on {_day(expires)}", True) if at >= expires else ("", False)


def _policy(found: bytes) -> Judged:
    told = "a token; not proven: whose it must be, the appraiser says"
    return (Piece("policy", len(found), told),), "", False


def _piece(name: str, content: bytes, at: datetime) -> Piece:
    """What a piece says of itself, in a line."""
    try:
        what = _described(name, content, at)
    except FormatError as error:
        what = f"it cannot be read: {error.what}"
    return Piece(name, len(content), what)


def _described(name: str, content: bytes, at: datetime) -> str:
    if name.endswith("chain"):
        names = [certificate.common_name for certificate in Certificate.parse_chain(content)]
        return " < ".join(names)
    if name.endswith("crl"):
        crl = Crl.parse(content)
        due = _day(crl.next_update) if crl.next_update else "never"
        return (
            f"{_form(content)}, number {crl.crl_number}, issued {_day(crl.this_update)}, next {due}, "
            f"{len(crl.revoked_serials)} revoked"
        )
    if name == "tcb_info":
        info = TcbInfo.parse(SignedJson.parse(content, TCB_INFO).body)
        return f"{info.id}, {_dated(info, at)}"
    identity = EnclaveIdentity.parse(SignedJson.parse(content, ENCLAVE_IDENTITY).body)
    return f"{identity.id}, {_dated(identity, at)}"


def _form(crl: bytes) -> str:
    """How a list is written, by its first bytes, as Intel's QVL tells it."""
    if is_armoured(crl):
        return "PEM"
    return "hex" if crl[:4].isalnum() and crl[:1] == b"3" else "DER"


def _dated(document: TcbInfo | EnclaveIdentity, at: datetime) -> str:
    age = max(0, (at - document.issue_date).days)
    return (
        f"evaluation data {document.evaluation_data_number}, issued {_day(document.issue_date)} "
        f"({age} d old), next {_day(document.next_update)}"
    )


def _day(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d}"
