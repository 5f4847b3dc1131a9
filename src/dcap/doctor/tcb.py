"""The TCB status of this machine, and what kind of certificate its quotes carry.

Both by a quote of this machine, where there is one. The status is dcap's own verdict, by the collateral
that this machine's source gives; a verdict by the early generation tells what comes. Not here: policy
(what of it a relying party accepts), and how a quote is made (`attester`).

Source: `quote-provider.md` §1.2, §6 rows 4, 12; `verification.md` §6.
"""

from collections.abc import Iterator
from typing import Final

from dcap.appraisal import AttestationResult, Policy
from dcap.appraisal.policy import ACCEPTABLE
from dcap.doctor.addresses import COLLATERAL, PCCS, Asked, Road
from dcap.doctor.examination import Check
from dcap.doctor.finding import Finding, Mend, Remark, Right, Skipped
from dcap.doctor.network import is_answered
from dcap.doctor.replay import network_of, quote_of
from dcap.doctor.scene import Scene
from dcap.doctor.tcb_ailments import AILMENTS
from dcap.doctor.visits import visits_of
from dcap.errors import DcapError, FormatError
from dcap.formats.certification import CertificationType
from dcap.formats.quote import Quote
from dcap.relying_party import gather, judge, recognise
from dcap.sources.need import Update
from dcap.sources.qcnl import qcnl
from dcap.verification.status import TcbStatus as S
from dcap.verification.tcb_level import Shortfall

__all__ = ["AILMENTS", "CHECKS"]

_CARRIED: Final = (CertificationType.PCK_CERTIFICATE, CertificationType.PCK_CERTIFICATE_CHAIN)
#: Whatever a policy may forgive: what is left to fail is whether the quote is true.
_LENIENT: Final = Policy(
    accepted_tcb_statuses=ACCEPTABLE,
    allow_debug=True,
    allow_sept_ve=True,
    allow_migratable=True,
    allow_service_td=True,
    identity="any",
)
_CODES: Final = {
    S.SW_HARDENING_NEEDED: "tcb-hardening",
    S.CONFIGURATION_NEEDED: "tcb-configuration",
    S.CONFIGURATION_AND_SW_HARDENING_NEEDED: "tcb-configuration",
    S.OUT_OF_DATE: "tcb-out-of-date",
    S.OUT_OF_DATE_CONFIGURATION_NEEDED: "tcb-out-of-date",
    S.TD_RELAUNCH_ADVISED: "td-relaunch",
    S.TD_RELAUNCH_ADVISED_CONFIGURATION_NEEDED: "td-relaunch",
    S.REVOKED: "tcb-revoked",
}
_UPDATE: Final = Mend(
    "update the firmware (BIOS) of the machine's maker and the microcode (`sudo apt install "
    "intel-microcode`), reboot; then `dcap register submit` gets the certificate of the new TCB"
)
_RELAUNCH: Final = Mend(
    "end the trust domain and start it again: what it runs on is updated already"
)
_CONFIGURE: Final = Mend(
    "change the setting that the advisory names: mostly hyper-threading off in the BIOS, or an option "
    "of the board's maker"
)
_HARDEN: Final = Mend(
    "build the enclave with the SDK that the advisory names, and raise its ISVSVN; or have the relying "
    "party accept SWHardeningNeeded"
)
_MENDS: Final = {
    "tcb-hardening": (_HARDEN,),
    "tcb-configuration": (_CONFIGURE, _HARDEN),
    "tcb-out-of-date": (_UPDATE,),
    "td-relaunch": (_RELAUNCH,),
    "tcb-revoked": (_UPDATE,),
}


def _look(scene: Scene) -> Iterator[Remark]:
    if scene.quote is None:
        yield Skipped(
            "the TCB status of this machine", "there is no quote of it: `dcap attest` makes one"
        )
        return
    quote = quote_of(scene)
    if quote is None:
        yield _unreadable(scene.quote)
        return
    yield _certification(quote)
    yield from _status(scene, quote)


CHECKS: Final = (Check("tcb", _look, ("attester",)),)


def _unreadable(quote: bytes) -> Finding:
    try:
        Quote.parse(quote)
    except FormatError as error:
        return _broken(error)
    raise AssertionError  # pragma: no cover - `_look` has read it in vain


def _broken(error: FormatError) -> Finding:
    what = f"{error.what} ({error.where})"
    mend = Mend(
        "make another: `dcap attest --report-data 00 > quote.bin`, then `dcap inspect quote.bin`"
    )
    return Finding(
        "quote-unreadable", f"the quote of this machine cannot be read: {what}", (), (mend,)
    )


def _certification(quote: Quote) -> Remark:
    """Row 4: whether the plugin was there when the quote was made."""
    kind = quote.certification.type
    if kind in _CARRIED:
        return Right(f"quotes of this machine carry their PCK certificate (type {kind})")
    what = (
        f"quotes of this machine carry certification data of type {kind}, the machine's PPID, and no "
        "PCK certificate: Intel's verifier refuses them with 0xE01C"
    )
    evidence = (
        f"a quote of version {quote.header.version} for {quote.tee}",
        "the provider library was not loaded, or found its configuration broken, as it was made",
    )
    mends = (
        Mend("`dcap provider list` shows which library each program loads, and what it lacks"),
        Mend(
            "`dcap qcnl lint` finds what makes Intel's library discard its configuration (0xE067)"
        ),
        Mend("then `sudo systemctl restart aesmd`, or your program, and make another quote"),
    )
    return Finding("quote-without-certificate", what, evidence, mends)


def _status(scene: Scene, quote: Quote) -> Iterator[Remark]:
    """The verdict by the first source that gives what it needs."""
    topic = "the TCB status of this machine"
    if scene.offline:
        yield Skipped(topic, "collateral is not to be fetched")
        return
    seen = visits_of(scene)
    open_ = [
        each
        for each, visit in seen.visits
        if visit is not None and _gives_collateral(each) and is_answered(each, visit)
    ]
    failure = "no service that has collateral is reached"
    for asked in open_:
        try:
            result = _verdict(scene, asked.road, asked.road.config.tcb_update_type)
        except FormatError as error:
            yield _broken(error)
            return
        except DcapError as error:
            failure = f"{asked.road.who} has no collateral for it: {error.what}"
            continue
        yield _told(result, asked, quote)
        yield from _look_ahead(scene, asked, result)
        return
    yield Skipped(topic, failure)


def _gives_collateral(asked: Asked) -> bool:
    own = PCCS if asked.road.config.collateral_service is None else COLLATERAL
    return asked.setting == own


def _verdict(scene: Scene, road: Road, update: Update) -> AttestationResult:
    """Judge the quote by what a road gives, forgiving all that is a matter of taste."""
    assert scene.quote is not None  # `_look` has asked
    evidence = recognise(scene.quote)
    if isinstance(evidence, FormatError):
        raise evidence
    with network_of(scene, road) as network:
        source = qcnl(road.config, network.handler)
        at = scene.clock()
        gathered = gather(evidence, source, update=update, at=at, anchor=scene.anchor)
        return judge(gathered, _LENIENT, at=at, anchor=scene.anchor)


def _told(result: AttestationResult, asked: Asked, quote: Quote) -> Remark:
    status = result.tcb_status
    evidence = _evidence(result, asked)
    code = _CODES.get(S(status)) if status in tuple(S) else None
    others = [each for each in result.failures if each.code not in _LEVELS]
    if others and code != "tcb-revoked":
        first = others[0]
        what = f"a quote of this machine is refused by its own collateral: {first.message}"
        mends = (
            *((Mend(first.mend),) if first.mend else ()),
            Mend(
                "save it and look: `dcap attest --report-data 00 > quote.bin`, `dcap verify quote.bin`"
            ),
        )
        return Finding("quote-refused", what, evidence, mends)
    if code is None and status == S.UP_TO_DATE:
        return Right(f"the TCB of this machine is up to date ({quote.tee})", evidence)
    if code is None:
        what = f"the TCB of this machine matches no level of Intel's ({status or 'no status'})"
        return Finding("tcb-unsupported", what, evidence, (_UPDATE,))
    advisories = _advisories(result)
    what = f"the TCB status of this machine is {status}{advisories}"
    raised = _raised(result.shortfall or (result.tcb.shortfall if result.tcb else ()))
    return Finding(code, what, (*evidence, *raised), _MENDS[code])


_LEVELS: Final = frozenset({"tcb-level", "tdx-module-level", "qe-level", "tcb-status", "qe-status"})


def _look_ahead(scene: Scene, asked: Asked, result: AttestationResult) -> Iterator[Finding]:
    """What the generation says that is announced already: as a rule in force a year later."""
    road = asked.road
    if result.tcb_status != S.UP_TO_DATE or road.config.tcb_update_type == "early":
        return
    try:
        early = _verdict(scene, road, "early")
    except DcapError:
        return
    status = early.tcb_status
    if status == S.UP_TO_DATE or early.tcb is None:
        return
    what = f"by Intel's early generation the TCB status of this machine is {status}{_advisories(early)}"
    evidence = (*_evidence(early, asked), *_raised(early.tcb.shortfall))
    yield Finding("tcb-early", what, evidence, (_UPDATE,))


def _evidence(result: AttestationResult, asked: Asked) -> tuple[str, ...]:
    lines = [f"by collateral of {asked.shown}, as {asked.road.who} is configured"]
    if result.tcb is not None:
        lines.append(f"the matched level is of {result.tcb.date:%Y-%m-%d}")
        parts = (("platform", result.tcb.platform), ("QE", result.tcb.qe))
        lines.append(", ".join(f"{name} {status}" for name, status in parts))
    lines += [f"{each.code}: {each.message}" for each in result.failures[:5]]
    return tuple(lines)


def _advisories(result: AttestationResult) -> str:
    found = result.tcb.advisory_ids if result.tcb is not None else ()
    return f", because of {', '.join(found)}" if found else ""


def _raised(short: tuple[Shortfall, ...]) -> tuple[str, ...]:
    """What is too low, and what raises it."""
    return tuple(
        f"{each.component} is {each.have}, and has to be {each.need}: {each.raised_by} raises it"
        for each in short
    )
