"""The calls of a quote provider, as a function: a request and who makes it, to a response.

    provider = Provider(callers, persistent)
    response = provider.answer(request, peer)

Each call takes what it needs from the caller's sources. Nothing leaves that does not prove under the
anchor or is not in force, unless the policy of the caches says so of what is stale, and then with a line
for the caller's log. What fails is one of Intel's numbers, the one that its own provider gives for the
same failure of the same call, and a line that says what, where, and how to mend it. No line holds what
identifies a machine.

Not here: bytes (`formats.provider_message`), answers that are ready (`answering`), sockets (`server`).

Spec: `docs/provider-messages.md`; `quote-provider.md` §2.1, §2.2, §2.5-2.7.
"""

import os
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from dcap import __version__
from dcap.errors import CollateralError, DcapError, NotFound, printable
from dcap.formats.provider_message import LogLine, Request, Response, Value
from dcap.formats.provider_message_fields import Call, Given, Out
from dcap.provider.callers import Caller, Callers
from dcap.provider.peers import NOT_HEEDED, Peer
from dcap.provider.persistent import Persistent
from dcap.provider.refusals import Refused, expired, unproven, unproven_certificate
from dcap.sources.freshness import Term

if TYPE_CHECKING:
    from dcap.provider.items import Kept
    from dcap.sources.need import Ca, CollateralNeed
    from dcap.sources.source import Fetched

INVALID_PARAMETER: Final = 0xE002
UNEXPECTED: Final = 0xE001
INVALID_PRIVILEGE: Final = 0xE035
PERSISTENT_STORAGE: Final = 0xE045

#: Low half major, high half minor, as in `sgx_ql_qve_collateral_t`.
HEX_VERSION: Final = 0x0000_0003
DER_VERSION: Final = 0x0001_0003
TDX: Final = 0x81
TEES: Final[Mapping[int, str]] = {0: "SGX", TDX: "TDX"}
#: Bits of `sgx_qpl_clear_cache` -> the kinds of what is kept. Multi-certificate files are Intel's alone.
MASK: Final[Mapping[int, tuple[str, ...]]] = {1: ("pck",), 2: ("collateral",), 4: ()}
#: How long an answer may be given again without a look at anything.
REPEATED: Final = 60.0
_LONGEST_LINE: Final = 1500
_MOST_LINES: Final = 16

#: Call -> the piece whose absence it tells, where an error does not say of which piece it is.
PIECES: Final[Mapping[Call, str]] = {
    Call.QUOTE_CONFIG: "pck_certificate",
    Call.QVE_IDENTITY: "qve_identity",
    Call.QE_IDENTITY: "qe_identity",
    Call.ROOT_CA_CRL: "root_ca_crl",
}


class Answer(NamedTuple):
    """What a call hands out, for how many seconds it may be given again, and what to tell."""

    out: Mapping[Out, Value]
    repeatable: float = 0.0
    remarks: tuple[str, ...] = ()


class Answered(NamedTuple):
    """A response, and for how many seconds it may be given again."""

    response: Response
    repeatable: float


class Provider:
    """`answer` never raises. `report` is told of each failure, in a line for the process's own log."""

    def __init__(
        self,
        callers: Callers,
        persistent: Persistent,
        *,
        clock: Callable[[], datetime],
        report: Callable[[str], None] = lambda line: None,  # noqa: ARG005 - nobody listens
    ) -> None:
        self.callers = callers
        self._persistent = persistent
        self._clock = clock
        self._report = report
        self._uid = os.geteuid()
        self._calls: Mapping[Call, Callable[[Request, Caller, Peer], Answer]] = {
            Call.INIT: self._init,
            Call.QUOTE_CONFIG: self._quote_config,
            Call.COLLATERAL: self._collateral,
            Call.QVE_IDENTITY: self._qve_identity,
            Call.ROOT_CA_CRL: self._root_ca_crl,
            Call.PLATFORM_POLICY: self._platform_policy,
            Call.CLEAR_CACHE: self._clear_cache,
            Call.REVOCATION_INFO: self._revocation_info,
            Call.QE_IDENTITY: self._qe_identity,
            Call.WRITE_PERSISTENT: self._write_persistent,
            Call.READ_PERSISTENT: self._read_persistent,
            Call.PING: self._ping,
        }

    def answer(self, request: Request, peer: Peer) -> Response:
        """The response to a request of that peer."""
        caller = self.callers.of(request.environment, peer)
        return self.answered(request, caller, peer).response

    def answered(self, request: Request, caller: Caller, peer: Peer) -> Answered:
        """The response, under a configuration that is known already."""
        try:
            _expect_inputs(request)
            answer = self._calls[request.call](request, caller, peer)
        except Refused as refused:
            return self._failed(request, refused.status, refused.why)
        except DcapError as error:
            from dcap.sources.intel_codes import intel_number  # noqa: PLC0415 - seldom

            number = intel_number(error, PIECES.get(request.call, ""))
            if error.code in ("provider-storage", "provider-no-blob"):
                number = PERSISTENT_STORAGE
            return self._failed(request, number, str(error))
        except Exception as error:  # noqa: BLE001 - the boundary: a caller gets a number, always
            # Its text is left out: it may be of anything, also of what was given.
            why = f"a bug of dcap: {type(error).__name__}; please report it"
            return self._failed(request, UNEXPECTED, why)
        log = _lines(request, 1, answer.remarks)
        return Answered(
            Response(call=request.call, id=request.id, log=log, out=answer.out), answer.repeatable
        )

    def _failed(self, request: Request, status: int, why: str) -> Answered:
        why = printable(why)
        self._report(f"{request.call.name} 0x{status:04X}: {why}")
        log = _lines(request, 0, (why,))
        return Answered(Response(call=request.call, id=request.id, status=status, log=log), 0.0)

    # The calls, in the order of their numbers

    def _init(self, request: Request, caller: Caller, peer: Peer) -> Answer:
        # What is wrong is told by the calls: a non-zero init makes Intel's QE write a quote that nobody
        # can verify, and say nothing of it. A QCNL file that can be read is obeyed by both.
        remarks = [] if caller.error is None else [str(caller.error)]
        if caller.refused_by_intel:
            remarks.append(caller.refused_by_intel)
        if request.environment and peer.uid == self._uid and not peer.here:
            remarks.append(NOT_HEEDED)
        return Answer({}, remarks=tuple(remarks))

    def _quote_config(self, request: Request, caller: Caller, peer: Peer) -> Answer:  # noqa: ARG002
        from dcap.sources.kept import prove_certificate  # noqa: PLC0415 - not before it is needed
        from dcap.sources.need import MachineNeed  # noqa: PLC0415

        ppid = request.octets(Given.ENCRYPTED_PPID)
        need = MachineNeed(
            qe_id=request.octets(Given.QE_ID),
            cpu_svn=request.octets(Given.CPU_SVN),
            pce_svn=request.number(Given.PCE_SVN),
            pce_id=request.number(Given.PCE_ID).to_bytes(2, "little"),
            encrypted_ppid=ppid if any(ppid) else None,
        )
        at, anchor = self._clock(), caller.trust.anchor
        found = caller.source.pck_certificate(
            need,
            accept=lambda found: (
                not isinstance(prove_certificate(found, need, at=at, anchor=anchor), str)
            ),
        )
        proof = prove_certificate(found, need, at=at, anchor=anchor)
        if isinstance(proof, str):
            raise unproven_certificate(proof)
        self._expect_in_force(proof.term, stale=False)
        out: dict[Out, Value] = {
            Out.CERT_CPU_SVN: found.tcbm[:16],
            Out.CERT_PCE_SVN: int.from_bytes(found.tcbm[16:], "little"),
            Out.CERT_DATA: found.chain,
        }
        seconds = self._until(
            proof.term, found.origin.fetched_at, caller.trust.freshness.certificate_refresh_after
        )
        return Answer(out, seconds, found.remarks)

    def _collateral(self, request: Request, caller: Caller, peer: Peer) -> Answer:  # noqa: ARG002
        need = _need(request, caller)
        parameter = request.octets(Given.CUSTOM_PARAMETER)
        fetched, seconds = self._set(need, caller, parameter)
        found = fetched.collateral
        from dcap.provider import forms  # noqa: PLC0415 - not before it is needed

        lists = forms.hexed if caller.is_hex else forms.der
        out: dict[Out, Value] = {
            Out.VERSION: HEX_VERSION if caller.is_hex else DER_VERSION,
            Out.TEE: request.number(Given.TEE),
            Out.PCK_CRL_ISSUER_CHAIN: forms.issuers(found),
            Out.ROOT_CA_CRL: lists(found.root_ca_crl),
            Out.PCK_CRL: lists(found.pck_crl),
            Out.TCB_INFO_ISSUER_CHAIN: found.tcb_info_issuer_chain,
            Out.TCB_INFO: found.tcb_info,
            Out.QE_IDENTITY_ISSUER_CHAIN: found.qe_identity_issuer_chain,
            Out.QE_IDENTITY: found.qe_identity,
        }
        return Answer(out, 0.0 if parameter else seconds, fetched.remarks)

    def _qve_identity(self, request: Request, caller: Caller, peer: Peer) -> Answer:  # noqa: ARG002
        kept, remarks = caller.items.identity("QVE", caller.update)
        out: dict[Out, Value] = {
            Out.QVE_IDENTITY: kept.item.body,
            Out.QVE_IDENTITY_ISSUER_CHAIN: kept.item.chain,
        }
        return Answer(out, self._item_until(kept, caller), remarks)

    def _root_ca_crl(self, request: Request, caller: Caller, peer: Peer) -> Answer:  # noqa: ARG002
        from dcap.provider import forms  # noqa: PLC0415 - not before it is needed

        kept, remarks = caller.items.root_ca_crl(caller.update)
        body = kept.item.body
        out: dict[Out, Value] = {
            Out.ROOT_CA_CRL: forms.hexed(body) if caller.is_hex else forms.der(body)
        }
        return Answer(out, self._item_until(kept, caller), remarks)

    def _platform_policy(self, request: Request, caller: Caller, peer: Peer) -> Answer:  # noqa: ARG002
        # A policy is no statement of Intel's: whose it is, and whether it is right, its reader checks.
        failed: list[CollateralError] = []
        for ask in caller.asking.policies:
            try:
                return Answer({Out.POLICY: ask(request.octets(Given.FMSPC)).value})
            except CollateralError as error:
                failed.append(error)
        if failed:
            raise failed[0]
        raise NotFound(
            "provider-no-policy",
            "none of the sources has appraisal policies: a PCCS has",
            mend="name a PCCS as a source of the provider, or in the QCNL configuration",
        )

    def _clear_cache(self, request: Request, caller: Caller, peer: Peer) -> Answer:
        mask = request.number(Given.MASK)
        if mask & ~sum(MASK):
            raise Refused(INVALID_PARAMETER, f"the mask 0x{mask:X} has bits that mean nothing")
        if not (peer.here or (peer.uid == 0 and self._uid != 0)):
            raise Refused(INVALID_PRIVILEGE, "the cache is another's: it is not cleared")
        kinds = [kind for bit, kinds in MASK.items() if mask & bit for kind in kinds]
        if kinds:
            caller.clear(kinds)
        return Answer({})

    def _revocation_info(self, request: Request, caller: Caller, peer: Peer) -> Answer:  # noqa: ARG002
        """Azure's old call, one list at a time: whoever makes it reads PEM."""
        from dcap.sources.need import CollateralNeed  # noqa: PLC0415 - seldom

        which = _list_of(request.text(Given.CRL_URLS))
        out: dict[Out, Value] = {}
        seconds = REPEATED
        told: tuple[str, ...] = ()
        if Given.FMSPC in request.given:
            need = CollateralNeed(
                tee="SGX",
                fmspc=request.octets(Given.FMSPC),
                ca="processor" if which == "processor" else "platform",
                update=caller.update,
            )
            fetched, seconds = self._set(need, caller, b"")
            told = fetched.remarks
            out[Out.TCB_INFO] = fetched.collateral.tcb_info
            out[Out.TCB_INFO_ISSUER_CHAIN] = fetched.collateral.tcb_info_issuer_chain
        if which:
            from dcap.formats.crl import Crl  # noqa: PLC0415 - seldom
            from dcap.provider import forms  # noqa: PLC0415

            if which == "root":
                kept, remarks = caller.items.root_ca_crl(caller.update)
                identity, _ = caller.items.identity("QE", caller.update)
                chain = forms.root_of(identity.item.chain)
            else:
                ca: Ca = "processor" if which == "processor" else "platform"
                kept, remarks = caller.items.pck_crl(ca)
                chain = kept.item.chain
            out[Out.PCK_CRL] = Crl.parse(kept.item.body).to_pem()
            out[Out.PCK_CRL_ISSUER_CHAIN] = chain
            seconds = min(seconds, self._item_until(kept, caller))
            told = (*told, *remarks)
        return Answer(out, seconds if out else 0.0, told)

    def _qe_identity(self, request: Request, caller: Caller, peer: Peer) -> Answer:  # noqa: ARG002
        kept, remarks = caller.items.identity("QE", caller.update)
        out: dict[Out, Value] = {
            Out.QE_IDENTITY: kept.item.body,
            Out.QE_IDENTITY_ISSUER_CHAIN: kept.item.chain,
        }
        return Answer(out, self._item_until(kept, caller), remarks)

    def _write_persistent(self, request: Request, caller: Caller, peer: Peer) -> Answer:  # noqa: ARG002
        self._expect_own(peer)
        self._persistent.write(request.text(Given.LABEL), request.octets(Given.BLOB))
        return Answer({})

    def _read_persistent(self, request: Request, caller: Caller, peer: Peer) -> Answer:  # noqa: ARG002
        self._expect_own(peer)
        return Answer({Out.BLOB: self._persistent.read(request.text(Given.LABEL))})

    def _ping(self, request: Request, caller: Caller, peer: Peer) -> Answer:  # noqa: ARG002
        return Answer({Out.SERVER: f"dcap {__version__}"})

    # What they share

    def _expect_own(self, peer: Peer) -> None:
        if not peer.here:
            raise Refused(PERSISTENT_STORAGE, "what is stored is for the process's own user")

    def _set(
        self, need: "CollateralNeed", caller: Caller, parameter: bytes
    ) -> "tuple[Fetched, float]":
        """A set that is proven and in force, and for how long it may be given again."""
        from dcap.sources.kept import prove_collateral  # noqa: PLC0415 - not before it is needed

        source = caller.with_parameter(parameter) if parameter else caller.source
        fetched = source.collateral(need)
        if fetched.collateral.pck_certificate_chain is not None:
            from dcap.provider import forms  # noqa: PLC0415 - folders alone

            # A folder of one machine's collateral: the machine is none of the caller's business.
            whole = msgspec.structs.replace(
                fetched.collateral,
                pck_crl_issuer_chain=forms.issuers(fetched.collateral),
                pck_certificate_chain=None,
            )
            fetched = msgspec.structs.replace(fetched, collateral=whole)
        proof = prove_collateral(fetched, need, at=self._clock(), anchor=caller.trust.anchor)
        if isinstance(proof, str):
            raise unproven(proof)
        stale = any(origin.stale for origin in fetched.origins)
        self._expect_in_force(proof.term, stale=stale)
        had = min((origin.fetched_at for origin in fetched.origins), default=self._clock())
        return fetched, self._until(proof.term, had, caller.trust.freshness.refresh_after)

    def _expect_in_force(self, term: Term, *, stale: bool) -> None:
        if self._clock() >= term.expires and not stale:
            raise expired(term.expires)

    def _item_until(self, kept: "Kept", caller: Caller) -> float:
        return self._until(kept.term, kept.item.kept_at, caller.trust.freshness.refresh_after)

    def _until(self, term: Term, had: datetime, refresh_after: timedelta) -> float:
        """Seconds for which an answer may be repeated: not into its expiry, nor past its refresh."""
        now = self._clock()
        due = min(refresh_after, (term.expires - had) / 2) - (now - had)
        left = min(due, term.expires - now).total_seconds()
        return max(0.0, min(REPEATED, left))


def _expect_inputs(request: Request) -> None:
    if lacks := ", ".join(tag.name for tag in request.lacks):
        raise Refused(INVALID_PARAMETER, f"the call was not given {lacks}")


def _need(request: Request, caller: Caller) -> "CollateralNeed":
    """What a request for collateral asks for. Raises `Refused`."""
    from dcap.sources.need import CollateralNeed  # noqa: PLC0415 - not before it is needed

    tee = TEES.get(request.number(Given.TEE))
    ca = request.text(Given.CA)
    if tee is None:
        raise Refused(INVALID_PARAMETER, "the TEE is neither 0 (SGX) nor 0x81 (TDX)")
    if ca not in ("processor", "platform"):
        raise Refused(INVALID_PARAMETER, 'the CA is neither "processor" nor "platform"')
    return CollateralNeed(
        tee="SGX" if tee == "SGX" else "TDX",
        fmspc=request.octets(Given.FMSPC),
        ca="processor" if ca == "processor" else "platform",
        update=caller.update,
    )


def _list_of(urls: str) -> str:
    """Which list a URL means: root, processor or platform; empty where no URL is given."""
    lines = urls.lower().split()
    if not lines:
        return ""
    found = [which for which in ("rootca", "processor", "platform") if which in lines[0]]
    if len(lines) != 1 or not found:
        raise Refused(
            INVALID_PARAMETER, "the URL is that of no list of Intel's, or there are several"
        )
    return found[0].removesuffix("ca")


def _lines(request: Request, level: int, texts: tuple[str, ...]) -> tuple[LogLine, ...]:
    """Lines for the caller's log, where somebody listens at that level."""
    listened = request.given.get(Given.LOG_LEVEL)
    if not isinstance(listened, int) or level > listened:
        return ()
    return tuple(LogLine(level, printable(text)[:_LONGEST_LINE]) for text in texts[:_MOST_LINES])
