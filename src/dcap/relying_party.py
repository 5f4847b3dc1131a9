"""The relying party: fetch what a verdict needs, and judge. The one call of most programs.

    source = dcap.sources.from_environment()       # once: it keeps what it has fetched
    result = dcap.verify(quote, policy, source=source)
    result.require()

    1. read the evidence; what cannot be read is a result, and nothing is fetched for it
    2. evidence that brings its own collateral (a bundle, Conclave) is judged by that, unless a source
       or a generation is asked for; the result says which of the two was done
    3. a quote that names its machine instead of carrying a PCK certificate is completed by the source
    4. the source is asked for the set of collateral that the PCK certificate calls for
    5. `appraise`, which proves all of it: the source is trusted for nothing

Not here: any check (`appraisal`, `verification`), which sources there are (`sources.environment`).
"""

import copy
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import msgspec

from dcap.appraisal import AttestationResult, Policy, appraise
from dcap.appraisal.appraiser import unreadable
from dcap.appraisal.narrative import IN_BUNDLE
from dcap.errors import CollateralError, FormatError
from dcap.formats.certification import CertificationType
from dcap.formats.collateral import Collateral
from dcap.formats.containers.bundle import Bundle
from dcap.formats.origin import Origin
from dcap.formats.quote import Quote
from dcap.sources.clock import now
from dcap.sources.need import CollateralNeed, Update, machine_of, need_of
from dcap.verification import Evidence
from dcap.verification.anchors import INTEL_SGX_ROOT, TrustAnchor
from dcap.verification.pck_chain import certifies

if TYPE_CHECKING:
    from dcap.sources.source import FetchedPck, Source

#: Told of evidence that is judged by what came with it, and of evidence that is not.
BROUGHT = (
    "the collateral came with the evidence: whoever sent it chose it, and may have withheld newer "
    "revocations"
)
PUT_ASIDE = (
    "collateral came with the evidence and was put aside, for other collateral was asked for"
)
_RECORDED = "recorded in the bundle: "
_NAMES_ITS_MACHINE = (
    CertificationType.PPID_CLEARTEXT,
    CertificationType.PPID_RSA2048_ENCRYPTED,
    CertificationType.PPID_RSA3072_ENCRYPTED,
)


class Gathered(msgspec.Struct, frozen=True, kw_only=True):
    """Evidence, completed, and the collateral for it: still claims, with the way of each piece.

    `need` is what was asked for, where collateral was fetched. `remarks` are told of the collateral's
    way wherever it goes, `passing` of this verdict alone.
    """

    evidence: Evidence
    collateral: Collateral
    need: CollateralNeed | None = None
    origins: tuple[Origin, ...] = ()
    remarks: tuple[str, ...] = ()
    passing: tuple[str, ...] = ()

    def bundle(self, evidence: bytes | None, at: datetime) -> Bundle:
        """What was judged at `at`, to be kept: `evidence` is as it came."""
        chain = self.evidence.pck_certificate_chain
        whole = self.collateral
        if chain is not None:
            whole = msgspec.structs.replace(whole, pck_certificate_chain=chain)
        return Bundle(
            collateral=whole,
            recorded_at=at,
            evidence=evidence,
            origins=self.origins,
            remarks=self.remarks,
        )


def verify(
    evidence: bytes | Quote | Evidence,
    policy: Policy | None = None,
    *,
    source: "Source | str | None" = None,
    at: datetime | None = None,
    anchor: TrustAnchor = INTEL_SGX_ROOT,
    update: Update | None = None,
    evaluation_number: int | None = None,
) -> AttestationResult:
    """Judge evidence by collateral that is fetched from `source`: a source, or its name ("pcs").

    Without `source` it is this machine's (`sources.environment`), except for evidence that brings its
    own collateral, as long as no generation is asked for. `at` is the trusted time, now where it is left
    out. `update` or `evaluation_number` say of which generation the collateral shall be; left out, that
    of the source (`tcb_update_type` of a QCNL configuration), else "standard". Never raises for bad
    evidence or false collateral: they are results. Raises `CollateralError` where collateral cannot be
    had, `ConfigError`.
    """
    known = recognise(evidence)
    if isinstance(known, FormatError):
        return unreadable(known, policy, at=at or now(), anchor=anchor)
    asked_for = source is not None or update is not None or evaluation_number is not None
    try:
        gathered = None if asked_for else own_collateral(known)
        if gathered is None:
            gathered = gather(
                known,
                _here(anchor, at, source) if source is None or isinstance(source, str) else source,
                update=update,
                evaluation_number=evaluation_number,
                at=at,
                anchor=anchor,
            )
    except FormatError as error:
        return unreadable(error, policy, at=at or now(), anchor=anchor, evidence=known)
    return judge(gathered, policy, at=at, anchor=anchor)


def _here(anchor: TrustAnchor, at: datetime | None, name: str | None) -> "Source":
    """This machine's source, or that of a name."""
    from dcap.sources.environment import from_environment  # noqa: PLC0415 - imported where it is used

    return from_environment(None if name is None else [name], anchor=anchor, at=at)


def recognise(evidence: bytes | Quote | Evidence) -> Evidence | FormatError:
    """The evidence, or why it cannot be read."""
    try:
        if isinstance(evidence, (bytes, bytearray, memoryview)):
            return Evidence.recognise(bytes(evidence))
        return Evidence.of(evidence) if isinstance(evidence, Quote) else evidence
    except FormatError as error:
        return error


def own_collateral(evidence: Evidence) -> Gathered | None:
    """What came beside the evidence; `None` where there was no collateral.

    What a bundle says of its origins is repeated as its claim.
    """
    if evidence.collateral is None:
        return None
    gathered = Gathered(evidence=evidence, collateral=evidence.collateral, passing=(BROUGHT,))
    record = evidence.record
    if record is None:
        return gathered
    return msgspec.structs.replace(
        gathered,
        origins=tuple(
            msgspec.structs.replace(origin, source=_claimed(IN_BUNDLE, origin.source))
            for origin in record.origins
        ),
        remarks=tuple(_claimed(_RECORDED, remark) for remark in record.remarks),
    )


def _claimed(by: str, text: str) -> str:
    """What a bundle says, as said by it: once, also where a bundle was made of a bundle."""
    return text if text.startswith(by) else f"{by}{text}"


def gather(
    evidence: Evidence,
    source: "Source",
    *,
    update: Update | None = None,
    evaluation_number: int | None = None,
    at: datetime | None = None,
    anchor: TrustAnchor = INTEL_SGX_ROOT,
) -> Gathered:
    """Ask the source for all that a verdict on the evidence, at `at` under `anchor`, needs.

    Without `update` it is the source's own generation, where it has one. Raises `CollateralError`
    where it cannot be had, `FormatError` where the quote's own PCK certificate cannot be read.
    """
    origins: tuple[Origin, ...] = ()
    remarks: tuple[str, ...] = ()
    quote = evidence.quote
    chain = evidence.pck_certificate_chain
    if chain is None and quote.certification.type in _NAMES_ITS_MACHINE:
        machine = machine_of(quote)

        def accept(found: "FetchedPck") -> bool:
            return certifies(found.chain, quote, at=at or now(), anchor=anchor)

        try:
            found = source.pck_certificate(machine, accept=accept)
        except CollateralError as error:
            raise _without_pck(error, quote.certification.type) from None
        chain, origins, remarks = found.chain, (found.origin,), found.remarks
        evidence = msgspec.structs.replace(evidence, pck_certificate_chain=chain)
    generation = update or getattr(source, "update", None) or "standard"
    need = _need(quote, chain, generation, evaluation_number)
    fetched = source.collateral(need)
    return Gathered(
        evidence=evidence,
        collateral=fetched.collateral,
        need=need,
        origins=(*fetched.origins, *origins),
        remarks=tuple(dict.fromkeys((*fetched.remarks, *remarks))),
        passing=() if evidence.collateral is None else (PUT_ASIDE,),
    )


def _need(
    quote: Quote, chain: bytes | None, update: Update, evaluation_number: int | None
) -> CollateralNeed:
    if chain is None:
        return need_of(quote, update=update, evaluation_number=evaluation_number)
    try:
        return need_of(quote, pck_chain=chain, update=update, evaluation_number=evaluation_number)
    except FormatError as error:  # what came beside the quote says nothing of the quote
        raise CollateralError(
            "source-answer",
            f"the PCK certificate beside the quote cannot be read: {error.what}",
            where=error.where,
            mend="look at what the source answers; name another one",
        ) from None


def _without_pck(error: CollateralError, kind: int) -> CollateralError:
    """The source's error, and why a certificate was asked for at all."""
    told = copy.copy(error)
    told.what = (
        f"the quote names its machine and carries no PCK certificate (certification data of type "
        f"{kind}), and none could be had: {error.what}"
    )
    mine = (
        "name a source that knows the machine (its PCCS, Azure's cache in the VM), or mend the quote "
        "provider of the machine: its quotes then carry the chain"
    )
    told.mend = f"{error.mend}; {mine}" if error.mend else mine
    return told


def judge(
    gathered: Gathered,
    policy: Policy | None = None,
    *,
    at: datetime | None = None,
    anchor: TrustAnchor = INTEL_SGX_ROOT,
) -> AttestationResult:
    """`appraise`, with from where the collateral came and what of it explains a refusal."""
    result = appraise(gathered.evidence, gathered.collateral, policy, at=at or now(), anchor=anchor)
    remarks = (*gathered.remarks, *gathered.passing, *_of_time(gathered, result))
    return result.with_origins(gathered.origins, remarks)


def _of_time(gathered: Gathered, result: AttestationResult) -> tuple[str, ...]:
    """Where the instant and the collateral do not fit: what to do about it."""
    codes = {finding.code for finding in result.failures}
    record = gathered.evidence.record
    own = record is not None and gathered.collateral is gathered.evidence.collateral
    if own and record is not None and any(code.endswith("-expiry") for code in codes):
        remark = (
            f"the bundle's collateral has expired; the bundle says that it was recorded at "
            f"{_text(record.at)}: --at recorded judges as of then"
        )
        return (remark,)
    # Pieces of the same day may be issued a little after an instant of that day.
    past = any(origin.fetched_at - result.at > timedelta(hours=1) for origin in gathered.origins)
    if past and not own and any(code.endswith("-validity-start") for code in codes):
        remark = (
            f"what the source gives now was not issued yet at {_text(result.at)}: for a verdict of "
            "the past, give a bundle or a folder that was archived then"
        )
        return (remark,)
    return ()


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
