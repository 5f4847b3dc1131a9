"""Real requests, replayed: status, headers and body, explained as Intel's client would take them.

What the answers mean here: which registration is missing, which path is wrong, which encoding comes.
One finding for all answers of one cause. Not here: the requests (`replay`), the way (`network`).

Source: `quote-provider.md` §0, §1.6, §2.2-2.5, §6 rows 1, 5, 10, 15, 17, 18; `pccs-and-pcs-api.md` §1.9,
§2.1.
"""

from collections.abc import Iterator
from typing import Final

from dcap.api.pccs_responses import CAUSE
from dcap.doctor.addresses import COLLATERAL, LOCAL, PCCS, ROOT_LIST, Asked, Road
from dcap.doctor.examination import Check
from dcap.doctor.finding import Finding, Mend, Remark, Right, Skipped
from dcap.doctor.network import is_answered
from dcap.doctor.network_mends import RESTART
from dcap.doctor.registration_step import missing_step
from dcap.doctor.replay import (
    Replay,
    encoding_of,
    is_hex,
    is_pcs,
    machine_at,
    quote_of,
    replays,
    sends_to_intel,
)
from dcap.doctor.request_ailments import AILMENTS
from dcap.doctor.scene import Scene
from dcap.doctor.served import ended
from dcap.doctor.visits import Seen, visits_of
from dcap.pccs.causes import CAUSES
from dcap.qpl.qcnl_checks import sends_key
from dcap.qpl.qcnl_values import QcnlConfig

__all__ = ["AILMENTS", "CHECKS"]

#: Body, chain and their two NULs have to fit 16 bits.
_MOST: Final = 65533
_LISTS: Final = ("pck_crl", "root_ca_crl")
_UNANSWERED: Final = ("network-timeout", "network-cut-off", "network-too-large")
_LOG: Final = Mend("`journalctl -u pccs -n 50` on the PCCS's host says why it answered so")
_REGISTER: Final = Mend(
    "register it: `dcap register submit`, or on the host `sudo PCKIDRetrievalTool`"
)
_VERSION: Final = Mend(
    'set `"pccs_api_version": "3.1"` (it has nothing to do with /v4/ in addresses)'
)


def _look(scene: Scene) -> Iterator[Remark]:
    if scene.offline:
        yield Skipped("real requests", "nothing is to be asked over the network")
        return
    seen = visits_of(scene)
    replayed: list[QcnlConfig] = []
    for road in seen.roads:
        if road.config in replayed:  # of another process, which goes by other proxies
            continue
        yield from _of_road(scene, road, seen)
        if _open(road, seen):
            replayed.append(road.config)


CHECKS: Final = (Check("requests", _look, ("attester", "verifier")),)


def _of_road(scene: Scene, road: Road, seen: Seen) -> Iterator[Remark]:
    """All that is found on one road, a remark for each cause."""
    asked = [(each, visit) for each, visit in seen.visits if each.road is road]
    if scene.wants("attester") and road.by_intels and sends_to_intel(road):
        wrong = next((each for each, _ in asked if each.setting == PCCS), None)
        if wrong is not None and not sends_key(road.config):
            yield _pcs_for_machines(road, wrong)
        asked = [(each, visit) for each, visit in asked if each.setting != PCCS]
    settings = {each.setting for each, _ in asked}
    replayed = tuple(each for each in _open(road, seen) if each.setting in settings)
    for each, _ in asked:
        if each not in replayed and each.setting not in (LOCAL, ROOT_LIST):
            yield Skipped(f"real requests to {each.shown}", "it is not reached: see network")
    if not replayed:
        return
    known = scene.wants("attester") and any(each.setting == PCCS for each in replayed)
    if known and machine_at(scene) is None:
        yield Skipped(
            "the request for this machine's certificate",
            "what identifies the machine is not known here: `dcap register show` reads it",
        )
    found = replays(scene, road, replayed)
    for setting in (PCCS, COLLATERAL):
        own = [replay for replay in found if replay.request.setting == setting]
        place = next((each for each in replayed if each.setting == setting), None)
        if place is not None and own:
            yield from _judged(scene, road, place, own)


def _open(road: Road, seen: Seen) -> tuple[Asked, ...]:
    """The bases of a road at which somebody answers."""
    return tuple(
        each
        for each, visit in seen.visits
        if each.road is road
        and each.setting in (PCCS, COLLATERAL)
        and visit is not None
        and is_answered(each, visit)
    )


def _judged(scene: Scene, road: Road, place: Asked, found: list[Replay]) -> Iterator[Remark]:
    """The answers of one base: first what explains all of them, then each kind of failure."""
    failed = [replay for replay in found if replay.error is not None]
    good = [replay for replay in found if replay.error is None]
    whole = _of_the_address(road, place, failed, good)
    if whole is not None:
        yield whole
        return
    remarks = [
        *_of_the_machine(scene, place, [each for each in failed if each.request.name == "pckcert"]),
        *_of_collateral(scene, place, found),
        *_refusals(place, failed),
        *_of_contents(place, failed, good),
        *_of_lists(scene, road, place, good),
        *ended(scene, place, good),
    ]
    yield from remarks
    if not remarks:
        what = f"{place.shown} answers {len(good)} of {len(found)} requests of Intel's library"
        yield Right(what, _lines(found))


def _of_the_address(
    road: Road, place: Asked, failed: list[Replay], good: list[Replay]
) -> Finding | None:
    """The address itself is wrong: then every answer is, and none means what it says."""
    absent = [replay for replay in failed if replay.status in (400, 404, 405)]
    evidence = _lines(failed)
    if not place.url.endswith("/") and road.by_intels and failed and not good:
        what = (
            f"{place.place} does not end in a slash ({place.shown}): Intel's library appends to it "
            f"as it is, and the server answers {failed[0].status or 'nothing'}"
        )
        mends = (Mend(f"write {place.shown}/ there"), RESTART)
        return Finding("request-missing-slash", what, evidence, mends)
    if absent and not good and len(absent) == len(failed) and not any(map(_is_said, absent)):
        what = f"the server has no such path ({place.shown}, {place.place})"
        mends = (Mend("let the address end in /sgx/certification/v4/"), RESTART)
        return Finding("request-wrong-path", what, evidence, mends)
    return None


def _is_said(replay: Replay) -> bool:
    """Whether a refusal is in a PCCS's own words, or of a service of Intel's."""
    if replay.response is None or replay.header(CAUSE) or replay.header("Request-ID"):
        return True
    body = replay.response.body[:4096].lower()
    return b"cannot get" not in body and b"<html" not in body and b"not found" not in body


def _of_the_machine(scene: Scene, place: Asked, failed: list[Replay]) -> Iterator[Finding]:
    """No certificate for this machine: which step of its registration is missing."""
    for replay in failed:
        evidence, causes = (replay.evidence,), _cause(replay)
        host = place.address.host if place.address else ""
        if replay.status == 404:
            zeros = replay.request.without_ppid
            why = (
                ", and cannot ask Intel for it: its encrypted PPID is all zeros in the request"
                if zeros
                else ""
            )
            step = missing_step(scene.root)
            missing = f"; {step.why}" if step.why else ""
            what = f"{host} has no certificate for this machine{why} (HTTP 404, 0xE011){missing}"
            ppid = Mend(
                "let the PCE read the PPID: the account that quotes has to be in the group of "
                "/dev/sgx_provision (`sudo usermod -aG sgx_prv USER`); then register the machine"
            )
            first = (ppid,) if zeros else ()
            steps = (*step.mends, _REGISTER) if step.why else (_REGISTER, *step.mends)
            mends = (*causes, *first, *steps, _LOG)
            yield Finding("pck-certificate-absent", what, (*evidence, *step.evidence), mends)
        elif replay.status == 461:
            what = (
                f"{host} does not know this machine, and asks nobody: it is in REQ or OFFLINE mode "
                "(HTTP 461, 0xE047)"
            )
            carry = Mend(
                f"OFFLINE: `dcap pccs get --url {place.address}`; where Intel can be reached `dcap pccs "
                f"fetch`; then `dcap pccs put --url {place.address}`"
            )
            yield Finding("machine-unknown", what, evidence, (*causes, _REGISTER, carry))
        elif replay.status == 462:
            what = f"there is no certificate for this machine's TCB at {host} (HTTP 462, 0xE049)"
            update = Mend(
                "update BIOS and microcode, reboot, and register again: `dcap register submit`"
            )
            renew = Mend(
                f"`dcap pccs refresh --url {place.address} --fmspc all`, for Intel may have it by now"
            )
            yield Finding("machine-tcb-uncertified", what, evidence, (*causes, update, renew))


def _of_collateral(scene: Scene, place: Asked, found: list[Replay]) -> Iterator[Finding]:
    """Collateral that is not there: of TDX, of an FMSPC, of an API that has ended, or at all."""
    pieces = [replay for replay in found if replay.request.name != "pckcert"]
    absent = [replay for replay in pieces if replay.status in (404, 410)]
    lists = [replay for replay in pieces if replay.request.piece == "pck_crl"]
    if any(replay not in absent for replay in lists):  # a machine needs that of its own CA alone
        absent = [replay for replay in absent if replay not in lists]
    of_tdx = [replay for replay in absent if replay.request.tee == "TDX"]
    of_sgx = [replay for replay in absent if replay.request.tee == "SGX"]
    ended = [replay for replay in absent if replay.status == 410]
    tdx_is_wanted = scene.wants("verifier") or _is_tdx(scene)
    old = "/v3/" in place.url
    evidence = _lines(absent)
    if ended or (old and of_tdx and _is_tdx(scene)):
        what = f"{place.place} is of an API that has ended and never had TDX ({place.shown})"
        mends = (
            Mend(f"write {place.shown.replace('/v3/', '/v4/')}: `sudo dcap qcnl write --migrate`"),
            RESTART,
        )
        yield Finding("api-retired", what, evidence, mends)
        return
    infos = [replay for replay in of_sgx if replay.request.piece == "tcb_info"]
    if of_sgx and len(infos) == len(of_sgx):
        fmspc = infos[0].request.fmspc
        what = f"{place.shown} has no TCB info for this kind of machine, FMSPC {fmspc} (0xE062)"
        ask = Mend(f"is it Intel's lack? `dcap collateral get --fmspc {fmspc} --source pcs`")
        own = (*_cause(infos[0]), ask, _REGISTER, _LOG)
        yield Finding("fmspc-unknown", what, evidence, own)
    elif of_sgx:
        names = ", ".join(replay.request.name for replay in of_sgx)
        what = f"{place.shown} does not have: {names}"
        fill = Mend(
            f"fill it: `dcap pccs refresh --url {place.address}`; in OFFLINE mode `dcap pccs put --url "
            f"{place.address} -i FILE`"
        )
        direct = Mend("to verify only: `sudo dcap qcnl write --intel-pcs` asks Intel itself")
        yield Finding("collateral-absent", what, evidence, (*_cause(of_sgx[0]), fill, direct, _LOG))
    elif of_tdx and tdx_is_wanted:
        names = ", ".join(replay.request.name for replay in of_tdx)
        seen = "/v3/, which has no TDX" if old else "an old PCCS, or /tdx/ is not let through"
        what = f"{place.shown} has collateral for SGX and not: {names} ({seen})"
        migrate = Mend("write /v4/ into the address: `sudo dcap qcnl write --migrate`")
        update = Mend("update the PCCS, and let what stands before it pass /tdx/ as it does /sgx/")
        best = (migrate, RESTART) if old else (update,)
        yield Finding("tdx-collateral-absent", what, evidence, (*_cause(of_tdx[0]), *best, _LOG))


def _refusals(place: Asked, failed: list[Replay]) -> Iterator[Finding]:
    """Statuses that are one code to Intel's library: what each says, and what mends it."""
    told = (404, 410, 461, 462)
    refused = [each for each in failed if each.status not in (None, 200, *told) and _below(each)]
    broken = [each for each in failed if (each.status or 0) >= 500]
    led_on = [each for each in failed if each.error and each.error.code == "network-redirect"]
    unanswered = [
        each for each in failed if each.status is None and each not in led_on and each.error
    ]
    if refused or led_on:
        first = (refused or led_on)[0]
        said = first.status or "3xx"
        what = (
            f"{place.shown} refuses {_names([*refused, *led_on])}: {said}{_MEANING.get(said, '')}"
        )
        mends = (*_cause(first), *_MENDS.get(said, ()), _LOG)
        yield Finding("request-refused", what, _lines([*refused, *led_on]), mends)
    if broken:
        status = broken[0].status
        spoils = any(each.status == 503 and each.response and each.response.body for each in broken)
        more = "; its body spoils the answer to the next attempt" if spoils else ""
        what = f"{place.shown} fails by itself at {_names(broken)}: {status}{more}"
        intel = Mend(
            "on the PCCS's host: `curl -v https://api.trustedservices.intel.com/sgx/certification/v4/"
            "qe/identity`; a proxy goes into the PCCS's own configuration"
        )
        yield Finding("service-failing", what, _lines(broken), (*_cause(broken[0]), intel, _LOG))
    if unanswered:
        why = unanswered[0].error.what if unanswered[0].error else ""
        what = f"{place.shown} gives no whole answer to {_names(unanswered)}: {why}"
        yield Finding("request-unanswered", what, _lines(unanswered), (_LOG,))


def _below(replay: Replay) -> bool:
    return replay.status is not None and replay.status < 500


def _of_contents(place: Asked, failed: list[Replay], good: list[Replay]) -> Iterator[Finding]:
    """A 200 that is none, and one that would end the process."""
    unread = [each for each in failed if each.status == 200]
    if unread:
        why = unread[0].error.what if unread[0].error else ""
        what = f"{place.shown} answers {_names(unread)} with 200 and something else: {why}"
        direct = Mend(
            "look at the headers, `curl -kv URL`; ask the service without what is before it"
        )
        yield Finding("answer-unusable", what, _lines(unread), (direct, _LOG))
    large = [each for each in good if each.response and len(each.response.body) > _MOST]
    if large:
        what = (
            f"{place.shown} answers {_names(large)} with more than {_MOST} bytes: Intel's library "
            "ends the process that asks"
        )
        plain = Mend("have the service send documents as Intel does, without white space")
        yield Finding("answer-too-large", what, _lines(large), (plain,))


def _of_lists(scene: Scene, road: Road, place: Asked, good: list[Replay]) -> Iterator[Finding]:
    """Revocation lists: what was asked for, what came, and who can read it."""
    lists = [each for each in good if each.request.piece in _LISTS and each.response]
    wanted = "hex" if is_hex(road) else "DER"
    came = {each.request.name: encoding_of(each.response.body) for each in lists if each.response}
    wrong = {name: encoding for name, encoding in came.items() if encoding != wanted}
    evidence = (
        f'pccs_api_version "{road.config.pccs_api_version}" of {road.name}: {wanted} is asked for',
        *(f"{name} comes in {encoding}" for name, encoding in came.items()),
    )
    if wrong:
        name, encoding = next(iter(wrong.items()))
        what = (
            f"{name} comes in {encoding} from {place.shown}, where {wanted} was asked for (0xE038)"
        )
        mends = (_VERSION, RESTART, Mend("mend the service, where it goes on sending neither"))
        yield Finding("crl-encoding", what, evidence, mends)
    elif not road.by_intels or not scene.wants("verifier"):
        return
    elif came and wanted == "hex":
        what = f"revocation lists come as hex from {place.shown}, as {road.name} has it"
        yield Finding("crl-hex", what, evidence, (_VERSION, RESTART))
    elif came and is_pcs(road) and road.config.pccs_api_version != "3.1":
        what = (
            f"revocation lists come in DER from {place.shown}, and Intel's library stamps them 3.0"
        )
        yield Finding("crl-stamp", what, evidence, (_VERSION, RESTART))


def _pcs_for_machines(road: Road, asked: Asked) -> Finding:
    what = (
        f"{asked.place} is Intel's own service ({asked.shown}), which gives no PCK certificates to "
        "Intel's library: quoting fails with 0xE044, while verifying works"
    )
    both = Mend(
        "`sudo dcap qcnl write --intel-pcs --pccs https://HOST:8081/sgx/certification/v4/`: quotes by "
        "a PCCS, collateral from Intel"
    )
    evidence = (f"{road.name}: pckcert there wants a subscription key, and knows no qeid",)
    return Finding("pcs-for-machines", what, evidence, (both, RESTART))


def _cause(replay: Replay) -> tuple[Mend, ...]:
    """What a PCCS of ours says itself, and how it says to mend it."""
    cause = CAUSES.get(replay.header(CAUSE) or "")
    return () if cause is None else (Mend(f"the PCCS says that {cause.what}: {cause.mend}"),)


def _is_tdx(scene: Scene) -> bool:
    """Whether trust domains are what this machine attests."""
    quote = quote_of(scene)
    if quote is not None:
        return quote.tee != "SGX"
    marks = ("/dev/tdx_guest", "/dev/tdx-guest", "/etc/qgs.conf")
    return any(scene.root.look(mark).is_there for mark in marks)


def _names(found: list[Replay]) -> str:
    return ", ".join(dict.fromkeys(replay.request.name for replay in found))


def _lines(found: list[Replay]) -> tuple[str, ...]:
    return tuple(replay.evidence for replay in found)


_MEANING: Final[dict[int | str, str]] = {
    400: ", the request is malformed to it, or it needs the encrypted PPID that is not known",
    401: ", it wants a key or a token",
    403: ", which no PCCS says: something before it",
    429: ", too many ask at once",
    "3xx": ", it leads on, which Intel's library does not follow",
}
_MENDS: Final[dict[int | str, tuple[Mend, ...]]] = {
    400: (_REGISTER,),
    401: (Mend("see whether the address is that of a PCCS: these requests want no token there"),),
    403: (Mend("put the host into `no_proxy` for who asks, or let the gateway pass the path"),),
    429: (Mend("wait as long as Retry-After says, and fill the cache machine by machine"),),
    "3xx": (Mend("write the address that answers itself into the configuration"),),
}
