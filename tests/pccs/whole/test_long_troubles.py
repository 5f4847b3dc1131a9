"""Weeks of trouble upstream, in simulated time: nothing wrong is served, and it ends by itself.

An upstream that is down, refuses, throttles, lies, or repeats what it said long ago; a service that
renews in the background and is asked all the while. Whatever is answered with 200 is judged here anew:
genuine, what was asked for, in date, and never older than what was served before. Over sockets, for
shorter: `test_house_faults`, `test_upstream`.
"""

import random
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import unquote

import pytest

from dcap.api.http import Handler, HttpRequest, HttpResponse
from dcap.api.pcs_responses import (
    IDENTITY_ISSUER_CHAIN,
    PCK_CERT_ISSUER_CHAIN,
    PCK_CRL_ISSUER_CHAIN,
    TCB_INFO_ISSUER_CHAIN,
)
from dcap.errors import Unavailable
from dcap.formats.tcb_info import TcbInfo
from dcap.pccs.mode import Mode
from dcap.pccs.refresh import Refresher
from dcap.simulator import wire_faults
from dcap.simulator.events import RecoveryAnnounced, RecoveryPromoted, SignerRotated
from dcap.simulator.world import FMSPCS
from dcap.verification.anchors import TrustAnchor
from dcap.verification.piece import (
    PieceCheck,
    check_identity,
    check_pck_certificates,
    check_pck_crl,
    check_root_crl,
    check_tcb_info,
)
from pccs.rig import Rig, anchor_of, pck_line

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
FMSPC = FMSPCS["platform"]
LINES = (
    f"tcb?fmspc={FMSPC.hex()}",
    f"tcb?fmspc={FMSPC.hex()}&update=early",
    "qe/identity",
    "qve/identity",
    "pckcrl?ca=platform",
    "rootcacrl",
)
#: Upstream's moods: how its answers are changed.
MOODS: dict[str, Callable[[Handler], Handler]] = {
    name: wire_faults.WIRE_FAULTS[name]
    for name in (
        "throttling",
        "unavailable",
        "failing",
        "unauthorised",
        "clock-skewed",
        "poisoned",
        "empty",
        "html-page",
        "missing-headers",
        "wrong-encoding",
    )
}


def _down(_: Handler) -> Handler:
    def refuse(_request: HttpRequest) -> HttpResponse:
        raise Unavailable("network-refused", "no connection is made")

    return refuse


def _late(_: Handler) -> Handler:
    def wait(_request: HttpRequest) -> HttpResponse:
        raise Unavailable("network-timeout", "no answer came in time")

    return wait


def _crossed(handler: Handler) -> Handler:
    """Genuine answers to other questions."""
    others = (
        ("qe/identity", "qve/identity"),
        ("qve/identity", "qe/identity"),
        ("ca=platform", "ca=processor"),
        (FMSPC.hex(), FMSPCS["processor"].hex()),
        (FMSPC.hex().upper(), FMSPCS["processor"].hex().upper()),
    )

    def answer(request: HttpRequest) -> HttpResponse:
        for asked, other in others:
            if asked in request.target:
                target = request.target.replace(asked, other)
                return handler(HttpRequest(target=target, headers=request.headers))
        return handler(request)

    return answer


class Sky:
    """Stands around the simulated Intel; `mood` is how it is now."""

    def __init__(self) -> None:
        self.mood = "fine"
        self._first: dict[str, HttpResponse] = {}

    def __call__(self, handler: Handler) -> Handler:
        """Around a handler."""
        moods = {name: made(handler) for name, made in MOODS.items()}
        moods |= {"down": _down(handler), "late": _late(handler), "crossed": _crossed(handler)}

        def answer(request: HttpRequest) -> HttpResponse:
            if self.mood == "repeating":
                # What it said the first time: genuine, and older than what was served since.
                return self._first.get(request.target) or handler(request)
            given = moods.get(self.mood, handler)(request)
            if self.mood == "fine":
                self._first.setdefault(request.target, given)
            return given

        return answer


TROUBLES = (*MOODS, "down", "late", "crossed", "repeating")


class Judge:
    """Whether what was served was right: of itself, at its time, and after what came before."""

    def __init__(self, anchor: TrustAnchor) -> None:
        self._anchor = anchor
        self._before: dict[str, tuple[int, datetime]] = {}

    def judge(self, line: str, answer: HttpResponse, at: datetime) -> None:
        """Fails where an answer of 200 is not right."""
        check, age = self._check(line, answer, at)
        assert check.failed == (), (line, at)
        assert check.window is not None
        assert at < check.window.expires, (line, at)
        assert age >= self._before.get(line, age), (line, at)
        self._before[line] = age

    def _check(
        self, line: str, answer: HttpResponse, at: datetime
    ) -> tuple[PieceCheck, tuple[int, datetime]]:
        anchor, body = self._anchor, answer.body
        if line.startswith("tcb"):
            chain = _chain(answer, TCB_INFO_ISSUER_CHAIN)
            check = check_tcb_info(body, chain, at=at, anchor=anchor)
            info = check.content
            assert isinstance(info, TcbInfo)
            assert (info.fmspc, info.id) == (FMSPC, "SGX")
            return check, (info.evaluation_data_number, info.issue_date)
        if line.endswith("identity"):
            chain = _chain(answer, IDENTITY_ISSUER_CHAIN)
            check = check_identity(body, chain, at=at, anchor=anchor)
            assert check.content is not None
            assert check.content.id == line.partition("/")[0].upper()
            return check, (check.content.evaluation_data_number, check.content.issue_date)
        if line == "rootcacrl":
            check = check_root_crl(bytes.fromhex(body.decode()), at=at, anchor=anchor)
        elif line.startswith("pckcrl"):
            der = bytes.fromhex(body.decode()) if body[:1] != b"0" else body
            chain = _chain(answer, PCK_CRL_ISSUER_CHAIN)
            check = check_pck_crl(der, chain, at=at, anchor=anchor)
            assert check.content is not None
            assert "Platform" in check.content.issuer_common_name
        else:
            chain = _chain(answer, PCK_CERT_ISSUER_CHAIN)
            check = check_pck_certificates([body], chain, at=at, anchor=anchor)
            return check, (0, at)
        assert check.content is not None
        return check, (check.content.crl_number or 0, check.content.this_update)


def _chain(answer: HttpResponse, name: str) -> bytes:
    return unquote(answer.header(name) or "").encode()


@pytest.mark.parametrize("mode", [Mode.LAZY, Mode.REQ])
def test_weeks_of_trouble_upstream_make_nothing_wrong(tmp_path: Path, mode: Mode) -> None:
    """Three weeks of changing trouble, six of nothing else, and a day after it all is fresh."""
    chance = random.Random(mode.value)
    sky = Sky()
    rig = Rig(tmp_path, mode=mode, wire=sky)
    machine = rig.world.platform()
    rig.fill(machine)
    judge, refresher = Judge(anchor_of(rig.world)), Refresher(rig.service, seed=b"weeks")
    lines = (*LINES, pck_line(machine))
    statuses: Counter[int] = Counter()
    told: Counter[str] = Counter()

    def pass_time(step: timedelta) -> None:
        rig.world.advance(step)
        refresher.once(rig.clock())
        rig.world.advance(step / 7)
        for line in lines:
            answer = rig.ask(line)
            statuses[answer.status] += 1
            if answer.status == 200:
                judge.judge(line, answer, rig.clock())
            else:
                told[answer.header("Dcap-Cause") or "(none)"] += 1
                assert answer.body == b"" or b"BEGIN" not in answer.body

    for turn in range(54):
        if turn == 12:
            RecoveryAnnounced().apply(rig.world)
        if turn == 24:
            RecoveryPromoted().apply(rig.world)
        if turn == 36:
            SignerRotated().apply(rig.world)
        sky.mood = chance.choice((*TROUBLES, *("fine",) * 5))
        pass_time(9 * HOUR)
    assert statuses[200] > sum(statuses.values()) * 0.95
    before = statuses[200]
    for _ in range(21):
        sky.mood = chance.choice(TROUBLES)
        pass_time(2 * DAY)
    # Everything but the certificate, which does not expire, ended some time in these weeks.
    assert "expired" in told
    assert statuses[200] > before
    sky.mood = "fine"
    pass_time(DAY)
    pass_time(HOUR)
    for line in lines:
        assert rig.ask(line).status == 200, line
    causes = {cause for supplier in rig.upstream.health() for cause in supplier.causes}
    assert {"forged", "throttled", "upstream-unreachable", "upstream-error"} <= causes
    assert not rig.errors
