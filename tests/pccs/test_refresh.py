"""Renewal in the background: when, what, by whom; and that one failure hurts no other."""

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from dcap.api.http import Handler, HttpRequest, HttpResponse
from dcap.pccs.age import is_older
from dcap.pccs.items import (
    CrlKey,
    IdentityKey,
    ItemSummary,
    PckCrlKey,
    RootCrlKey,
    TcbInfoKey,
)
from dcap.pccs.mode import Mode
from dcap.pccs.refresh import LEASE, Refresher, Round, Schedule, due
from dcap.pccs.renewal import MAX_NUMBERED, companions, crowded_out, is_renewable
from dcap.simulator.events import (
    CrlReissued,
    EvaluationNumberRetired,
    IntermediateRevoked,
    RecoveryAnnounced,
    RecoveryPromoted,
)
from dcap.simulator.intel import ROOT_CRL_URL
from dcap.simulator.wire_faults import WIRE_FAULTS
from dcap.simulator.world import FMSPCS, World
from pccs.rig import ADMIN, Rig, pck_line, record_of
from pccs.transfer.moved import item

SEED = b"the jitter of this replica"
FMSPC = FMSPCS["platform"]
FETCHED = datetime(2026, 1, 1, tzinfo=UTC)
DOWN = HttpResponse(status=500)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
SCHEDULE = Schedule()


def summary(expires: datetime | None, *, name: str = "QE") -> ItemSummary:
    """An item that was fetched at `FETCHED`."""
    return ItemSummary(
        key=IdentityKey(name),  # type: ignore[arg-type]
        size=1,
        issued=FETCHED,
        expires=expires,
        number=1,
        fetched_at=FETCHED,
        origin="x",
    )


def round_of(rig: Rig, refresher: Refresher | None = None) -> Round:
    """One round now."""
    return (refresher or Refresher(rig.service, seed=SEED)).once(rig.clock())


# When


@given(lifetime=st.timedeltas(MINUTE, timedelta(days=400)), seed=st.binary(max_size=8))
def test_an_item_is_due_before_it_expires_and_not_at_once(lifetime: timedelta, seed: bytes) -> None:
    """Within a day, ahead of the expiry, and never in the first quarter of what may be waited."""
    item = summary(FETCHED + lifetime)
    instant = SCHEDULE.due_at(item, seed)
    assert FETCHED < instant < FETCHED + lifetime
    assert instant <= FETCHED + DAY
    assert instant >= FETCHED + min(DAY - SCHEDULE.spread, lifetime / 2 * 3 / 4)


def test_a_day_is_waited_less_the_jitter() -> None:
    """What lives a month is renewed daily: lists change long before they expire."""
    instant = SCHEDULE.due_at(summary(FETCHED + timedelta(days=30)), SEED)
    assert FETCHED + DAY - SCHEDULE.spread <= instant <= FETCHED + DAY


def test_what_never_expires_is_renewed_daily() -> None:
    """Intel's list of FMSPCs has no dates."""
    assert SCHEDULE.due_at(summary(None), SEED) <= FETCHED + DAY


def test_the_jitter_spreads_and_stays() -> None:
    """A thousand replicas come at as many times; each at its own, however often it looks."""
    item = summary(FETCHED + timedelta(days=30))
    times = {SCHEDULE.due_at(item, str(n).encode()) for n in range(1000)}
    assert len(times) == 1000
    assert max(times) - min(times) > SCHEDULE.spread * 0.9
    assert SCHEDULE.due_at(item, SEED) == SCHEDULE.due_at(item, SEED)


def test_what_expires_first_comes_first() -> None:
    """And what is not due does not come."""
    late, soon = summary(FETCHED + 9 * DAY, name="QE"), summary(FETCHED + 2 * DAY, name="QVE")
    at = FETCHED + 25 * HOUR
    assert due([late, soon], at, SEED, SCHEDULE) == (soon.key, late.key)
    assert due([late, soon], FETCHED + HOUR, SEED, SCHEDULE) == ()


def test_version_3_and_lists_by_uri_are_not_renewed() -> None:
    """Nobody serves the one, and the other is had by its own name."""
    uri = "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der"
    for key in (TcbInfoKey("SGX", FMSPC, 3), IdentityKey("QE", 3), CrlKey(uri)):
        assert not is_renewable(key)
        item = replace(summary(FETCHED + DAY), key=key)
        assert due([item], FETCHED + 9 * DAY, SEED, SCHEDULE) == ()
    assert is_renewable(PckCrlKey("PLATFORM"))


def test_early_belongs_beside_standard() -> None:
    """And the root's list beside anything; a numbered one has no companion."""
    kept = (TcbInfoKey("SGX", FMSPC), IdentityKey("QE"), IdentityKey("QE", 4, "EARLY"))
    assert companions(kept) == (RootCrlKey(), TcbInfoKey("SGX", FMSPC, 4, "EARLY"))
    assert companions((RootCrlKey(), IdentityKey("QE", 4, None, 17))) == ()
    assert companions(()) == ()


def test_failures_are_retried_ever_more_rarely() -> None:
    """At first after minutes, at last once a day."""
    waits = [SCHEDULE.retry_after(failures) for failures in range(1, 40)]
    assert waits[:3] == [10 * MINUTE, 20 * MINUTE, 40 * MINUTE]
    assert waits == sorted(waits)
    assert waits[-1] == SCHEDULE.interval


# What


def test_a_round_renews_what_is_due_and_nothing_else(tmp_path: Path) -> None:
    """Right after the fill nothing is; a day later all is, and then nothing again."""
    rig = Rig(tmp_path)
    rig.fill(rig.world.platform())
    kept = {one.key for one in rig.store.items.summaries()}
    assert round_of(rig).renewed == ()
    rig.simulated.log.clear()
    rig.world.advance(DAY)
    done = round_of(rig)
    assert set(done.renewed) == kept
    assert (done.failed, done.dropped, len(rig.calls)) == ({}, (), len(kept))
    assert round_of(rig).renewed == ()


def test_nothing_expires_while_upstream_answers(tmp_path: Path) -> None:
    """For two months of simulated time, nobody who asks causes a call, or sees anything expired."""
    rig = Rig(tmp_path)
    machine = rig.world.platform()
    rig.fill(machine)
    refresher = Refresher(rig.service, seed=SEED)
    offline = Rig(tmp_path, beside=rig, store=rig.store, mode=Mode.OFFLINE)
    for _ in range(60 * 4):
        rig.world.advance(6 * HOUR)
        round_of(rig, refresher)
        for line in ("qe/identity", "rootcacrl", "pckcrl?ca=platform", f"tcb?fmspc={FMSPC.hex()}"):
            assert offline.ask(line).status == 200


@pytest.mark.parametrize("fault", ["unavailable", "throttling", "poisoned", "failing", "empty"])
def test_an_outage_of_three_weeks_goes_unnoticed(tmp_path: Path, fault: str) -> None:
    """Whatever upstream does for so long: everything is served, nothing of it is kept, and it mends."""
    faults: list[str] = []

    def failing(handler: Handler) -> Handler:
        def answer(request: HttpRequest) -> HttpResponse:
            made = WIRE_FAULTS[faults[0]](handler) if faults else handler
            return made(request)

        return answer

    rig = Rig(tmp_path, wire=failing)
    machine = rig.world.platform()
    rig.fill(machine)
    refresher = Refresher(rig.service, seed=SEED)
    round_of(rig, refresher)
    before = {one.key: one for one in rig.store.items.summaries()}
    faults.append(fault)
    lines = ("qe/identity", "rootcacrl", "pckcrl?ca=platform", f"tcb?fmspc={FMSPC.hex()}")
    for _ in range(21 * 4):
        rig.world.advance(6 * HOUR)
        round_of(rig, refresher)
        for line in (*lines, pck_line(machine)):
            assert rig.ask(line).status == 200
    assert {one.key: one for one in rig.store.items.summaries()} == before
    faults.clear()
    for _ in range(5):
        rig.world.advance(6 * HOUR)
        round_of(rig, refresher)
    after = rig.store.items.summaries()
    assert all(one.fetched_at > before[one.key].fetched_at for one in after)


def test_early_is_fetched_beside_standard(tmp_path: Path) -> None:
    """Whoever asks for it later finds it, and a recovery is there on the day it is disclosed."""
    rig = Rig(tmp_path)
    assert rig.ask(f"tcb?fmspc={FMSPC.hex()}").status == 200
    round_of(rig)
    RecoveryAnnounced().apply(rig.world)
    rig.world.advance(DAY)
    round_of(rig)
    early, standard = (
        rig.store.items.get(TcbInfoKey("SGX", FMSPC, 4, update)) for update in ("EARLY", "STANDARD")
    )
    assert early is not None
    assert standard is not None
    assert early.number == (standard.number or 0) + 1


def test_one_failing_fmspc_hurts_no_other(tmp_path: Path) -> None:
    """Intel retires an FMSPC: it is tried again later, and all others are renewed."""
    gone = FMSPCS["processor"]

    def without(handler: Handler) -> Handler:
        def answer(request: HttpRequest) -> HttpResponse:
            if retired and gone.hex().upper() in request.target:
                return HttpResponse(status=404)
            return handler(request)

        return answer

    retired: list[bool] = []
    rig = Rig(tmp_path, wire=without)
    for fmspc in FMSPCS.values():
        assert rig.ask(f"tcb?fmspc={fmspc.hex()}").status == 200
    refresher = Refresher(rig.service, seed=SEED)
    round_of(rig, refresher)
    retired.append(True)
    rig.world.advance(DAY)
    done = round_of(rig, refresher)
    assert set(done.failed) == {
        TcbInfoKey("SGX", gone, 4, update) for update in ("STANDARD", "EARLY")
    }
    assert TcbInfoKey("SGX", FMSPC) in done.renewed
    assert {error.cause for error in done.failed.values()} == {"no-such-item"}
    calls = len(rig.calls)
    rig.world.advance(MINUTE)
    assert round_of(rig, refresher).failed == {}
    assert len(rig.calls) == calls
    rig.upstream.items.forget()
    rig.world.advance(10 * MINUTE)
    assert len(round_of(rig, refresher).failed) == 2


def test_what_a_revoked_signer_signed_is_dropped(tmp_path: Path) -> None:
    """The root's new list names the TCB signer: whatever it signed is no longer served."""
    rig = Rig(tmp_path)
    for line in ("rootcacrl", "qe/identity", "pckcrl?ca=platform"):
        assert rig.ask(line).status == 200
    refresher = Refresher(rig.service, seed=SEED)
    assert round_of(rig, refresher).dropped == ()
    IntermediateRevoked("tcb-signing").apply(rig.world)
    rig.world.advance(DAY)
    first = round_of(rig, refresher)
    second = round_of(rig, refresher)
    dropped = {*first.dropped, *second.dropped}
    offline = Rig(tmp_path, beside=rig, store=rig.store, mode=Mode.OFFLINE)
    assert offline.ask("qe/identity").status == 404
    assert offline.ask("pckcrl?ca=platform").status == 200
    assert IdentityKey("QE") in dropped


def test_a_new_list_of_innocents_drops_nothing(tmp_path: Path) -> None:
    """Proven once more, everything stays."""
    rig = Rig(tmp_path)
    rig.fill(rig.world.platform())
    refresher = Refresher(rig.service, seed=SEED)
    round_of(rig, refresher)
    CrlReissued().apply(rig.world)
    rig.world.advance(DAY)
    done = round_of(rig, refresher)
    assert RootCrlKey() in done.renewed
    assert done.dropped == ()


# What is missing, and what nobody needs


@pytest.mark.parametrize("how", ["a round", "a request", "a registration"])
def test_what_was_lost_comes_back(tmp_path: Path, how: str) -> None:
    """An import left pieces out, or a signer was revoked: in REQ too they are fetched again.

    A machine without TDX has no TCB info for it, and that is no failure.
    """
    rig = Rig(tmp_path, mode=Mode.REQ)
    machine = rig.world.platform("small", ca="processor")
    rig.fill(machine)
    lines = (f"tcb?fmspc={machine.fmspc.hex()}", "qe/identity", "pckcrl?ca=processor", "rootcacrl")
    rig.store.items.delete(*(one.key for one in rig.store.items.summaries()))
    assert [rig.ask(line).status for line in lines] == [404] * 4
    if how == "a round":
        assert round_of(rig).failed == {}
    elif how == "a request":
        assert rig.ask("refresh", headers=ADMIN).status == 200
    else:
        assert rig.register(record_of(machine)).status == 200
    assert [rig.ask(line).status for line in lines] == [200] * 4


def test_a_number_that_intel_retires_fails_nothing(tmp_path: Path) -> None:
    """Whoever asked for it once: it stays until it expires, and then it is gone."""
    rig = Rig(tmp_path)
    RecoveryAnnounced().apply(rig.world)
    first, *_ = rig.world.intel.generations
    key = TcbInfoKey("SGX", FMSPC, 4, None, first)
    assert rig.ask(f"tcb?fmspc={FMSPC.hex()}&tcbEvaluationDataNumber={first}").status == 200
    RecoveryPromoted().apply(rig.world)
    EvaluationNumberRetired(first).apply(rig.world)
    rig.world.advance(DAY)
    assert round_of(rig).failed == {}
    assert rig.ask("refresh", headers=ADMIN).status == 200
    assert rig.store.items.get(key) is not None
    rig.world.advance(40 * DAY)
    assert round_of(rig).failed == {}
    assert rig.store.items.get(key) is None


def test_items_of_a_number_are_not_kept_without_end(tmp_path: Path) -> None:
    """Anybody may ask for one: the longest unrenewed go, and no other item does."""
    rig = Rig(tmp_path)
    assert rig.ask("qe/identity").status == 200
    kept = rig.store.items.get(IdentityKey("QE"))
    assert kept is not None
    rig.store.items.put(
        *(
            replace(kept, key=IdentityKey("QE", 4, None, number), fetched_at=FETCHED + number * DAY)
            for number in range(MAX_NUMBERED + 2)
        )
    )
    found = crowded_out(rig.store.items.summaries())
    assert set(found) == {IdentityKey("QE", 4, None, number) for number in (0, 1)}


@pytest.mark.parametrize("mode", [Mode.LAZY, Mode.OFFLINE])
def test_a_list_by_its_uri_goes_when_its_own_name_has_a_newer_one(
    tmp_path: Path, mode: Mode
) -> None:
    """An import brought it, and nothing would renew it: alarms of its end could never be answered."""
    rig = Rig(tmp_path)
    key = CrlKey(ROOT_CRL_URL)
    rig.store.items.put(item(rig.world, key))
    refresher = Refresher(Rig(tmp_path, beside=rig, store=rig.store, mode=mode).service, seed=SEED)
    assert round_of(rig, refresher).forgotten == ((key,) if mode is Mode.LAZY else ())
    rig.upstream.item(RootCrlKey())
    round_of(rig, refresher)
    assert [one.key for one in rig.store.items.summaries()] == [RootCrlKey()]


# A clock that is wrong, and a database that somebody changed


def test_a_clock_that_goes_back_loses_nothing(tmp_path: Path) -> None:
    """Two years back, upstream down: nothing is served, nothing forgotten, and it is told once."""
    rig = Rig(tmp_path)
    rig.fill(rig.world.platform())
    kept = rig.store.items.summaries()
    now = rig.world.at
    lost = Rig(tmp_path, beside=rig, store=rig.store, wire=lambda _: lambda _: DOWN)
    refresher = Refresher(lost.service, seed=SEED)
    rig.world.at = now - 730 * DAY
    first, second = round_of(lost, refresher), round_of(lost, refresher)
    assert (first.dropped, set(first.early), second.early) == ((), {one.key for one in kept}, ())
    assert refresher.all_early
    answer = lost.ask("qe/identity")
    assert (answer.status, answer.header("Dcap-Cause")) == (404, "clock")
    assert rig.store.items.summaries() == kept
    rig.world.at = now
    round_of(lost, refresher)
    assert not refresher.all_early
    assert lost.ask("qe/identity").status == 200


@pytest.mark.parametrize("mode", [Mode.LAZY, Mode.OFFLINE])
def test_a_database_that_was_changed_by_hand_is_proven_at_the_start(
    tmp_path: Path, mode: Mode
) -> None:
    """What is forged goes; what merely says other dates than Intel does is corrected."""
    rig = Rig(tmp_path)
    for line in ("rootcacrl", "qe/identity", "pckcrl?ca=platform"):
        assert rig.ask(line).status == 200
    identity, listed = IdentityKey("QE"), PckCrlKey("PLATFORM")
    before = rig.store.items.get(listed)
    assert before is not None
    rig.store.items.put(
        item(World("stranger"), identity), replace(before, expires=FETCHED + 9999 * DAY)
    )
    started = Rig(tmp_path, beside=rig, store=rig.store, mode=mode)
    done = round_of(started)
    assert done.dropped == (identity,)
    assert rig.store.items.get(listed) == before
    assert round_of(started).dropped == ()


def test_nothing_older_takes_the_place_of_what_was_dropped(tmp_path: Path) -> None:
    """The signer was revoked: a lower number from before stays refused."""
    rig = Rig(tmp_path)
    key = TcbInfoKey("SGX", FMSPC)
    before = rig.upstream.item(key)
    RecoveryAnnounced().apply(rig.world)
    RecoveryPromoted().apply(rig.world)
    assert rig.upstream.item(key, after=rig.clock()).number != before.number
    rig.upstream.item(RootCrlKey())
    IntermediateRevoked("tcb-signing").apply(rig.world)
    rig.world.advance(DAY)
    rig.upstream.item(RootCrlKey(), after=rig.clock() - MINUTE)
    assert key in Refresher(rig.service, seed=SEED).prove_again(rig.clock())
    assert rig.store.items.get(key) is None
    assert rig.store.items.put(before, accept=lambda new, kept: not is_older(new, kept)) == ()


# Who


def test_offline_renews_nothing(tmp_path: Path) -> None:
    """Its upstream is a person with a file."""
    lazy = Rig(tmp_path)
    lazy.fill(lazy.world.platform())
    rig = Rig(tmp_path, beside=lazy, store=lazy.store, mode=Mode.OFFLINE)
    rig.world.advance(DAY)
    calls = len(rig.calls)
    assert round_of(rig) == Round()
    assert len(rig.calls) == calls


def test_one_replica_renews(tmp_path: Path) -> None:
    """While another has the lease, nothing is done here."""
    rig = Rig(tmp_path)
    rig.fill(rig.world.platform())
    rig.world.advance(DAY)
    assert rig.store.leases.acquire(LEASE, "another replica", 60)
    assert round_of(rig).elsewhere
    rig.store.leases.release(LEASE, "another replica")
    assert len(round_of(rig).renewed) > 0
    assert rig.store.leases.holder(LEASE) is None


def test_the_thread_renews_and_stops(tmp_path: Path) -> None:
    """In the background, and no longer than asked."""
    rig = Rig(tmp_path)
    rig.fill(rig.world.platform())
    rig.world.advance(DAY)
    rounds: list[Round] = []
    refresher = Refresher(
        rig.service, seed=SEED, schedule=Schedule(pause=timedelta(0)), report=rounds.append
    )
    refresher.start()
    for _ in range(500):
        if rounds:
            break
        time.sleep(0.02)
    refresher.stop()
    done = len(rounds)
    assert rounds[0].renewed
    time.sleep(0.1)
    assert len(rounds) == done


@pytest.mark.parametrize("fault", [RuntimeError("a bug")])
def test_a_bug_in_a_report_does_not_end_the_renewals(tmp_path: Path, fault: Exception) -> None:
    """The next round is made all the same."""
    rig = Rig(tmp_path)
    seen: list[Round] = []

    def report(done: Round) -> None:
        seen.append(done)
        if len(seen) == 1:
            raise fault

    refresher = Refresher(
        rig.service, seed=SEED, schedule=Schedule(pause=timedelta(0)), report=report
    )
    refresher.start()
    for _ in range(500):
        if len(seen) > 2:
            break
        time.sleep(0.02)
    refresher.stop()
    assert len(seen) > 2
