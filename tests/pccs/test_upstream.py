"""Upstream: order, proofs, patience; what becomes of who lies, throttles, sleeps or is behind."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from dcap.api.http import Handler, HttpRequest, HttpResponse
from dcap.errors import ConfigError, Unavailable
from dcap.formats.certificate import Certificate
from dcap.pccs.causes import NotServed
from dcap.pccs.circuit import Circuit
from dcap.pccs.items import (
    IdentityKey,
    Item,
    Key,
    PckCrlKey,
    RootCrlKey,
    TcbInfoKey,
)
from dcap.pccs.mode import Mode
from dcap.pccs.single_flight import SingleFlight, Workers
from dcap.pccs.store.store import Store
from dcap.pccs.suppliers import supplier
from dcap.serving import serving
from dcap.simulator import wire_faults
from dcap.simulator.events import CrlReissued, RecoveryAnnounced, RecoveryPromoted, SignerRotated
from dcap.simulator.internet import internet
from dcap.simulator.services import services
from dcap.simulator.thim import thim
from dcap.simulator.tls import tls_files
from dcap.simulator.world import FMSPCS, World
from dcap.transport import Network
from dcap.transport.limits import Limits
from pccs.rig import ADMIN, BASE, Rig, pck_line

FMSPC = FMSPCS["platform"]
TCB = TcbInfoKey("SGX", FMSPC)
QE = IdentityKey("QE")
EVERY: tuple[Key, ...] = (
    TCB,
    TcbInfoKey("TDX", FMSPC, 4, "EARLY"),
    QE,
    IdentityKey("TD_QE"),
    PckCrlKey("PLATFORM"),
    RootCrlKey(),
)
LINES = (f"tcb?fmspc={FMSPC.hex()}", "qe/identity", "pckcrl?ca=platform", "rootcacrl")


class Counting:
    """A handler that counts, behind whatever another makes of it."""

    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        self.calls = 0
        self._lock = threading.Lock()

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Count, and hand on."""
        with self._lock:
            self.calls += 1
        return self.handler(request)


def down(_: HttpRequest) -> HttpResponse:
    """A host that is not there."""
    raise Unavailable("network-refused", "no connection is made")


# What lies, and what is broken


@pytest.mark.parametrize("line", LINES)
def test_what_is_forged_is_460_and_not_kept(tmp_path: Path, line: str) -> None:
    """Signed by a stranger: nothing changes, and it is reported."""
    rig = Rig(tmp_path, wire=wire_faults.poisoned)
    response = rig.ask(line)
    assert (response.status, response.header("Dcap-Cause")) == (460, "forged")
    assert rig.store.items.summaries() == ()
    assert [incident.cause for incident in rig.upstream.incidents] == ["forged"]


def test_forged_certificates_are_460_and_not_kept(tmp_path: Path) -> None:
    """Those of a machine too."""
    rig = Rig(tmp_path, wire=wire_faults.poisoned)
    response = rig.ask(pck_line(rig.world.platform()))
    assert (response.status, response.header("Dcap-Cause")) == (460, "forged")
    assert rig.store.statistics().platforms == 0


def test_who_lies_is_passed_over(tmp_path: Path) -> None:
    """The next supplier is asked, and its answer is kept under its name."""
    first = Rig(tmp_path, wire=wire_faults.poisoned)
    honest = supplier("https://mirror/", lambda _: first.simulated, clock=first.clock)
    rig = Rig(tmp_path, beside=first, store=first.store, suppliers=[first.supplier(BASE), honest])
    for line in (*LINES, pck_line(rig.world.platform())):
        assert rig.ask(line).status == 200
    assert {one.origin for one in rig.store.items.summaries()} == {"PCS https://mirror"}
    lying, telling = rig.upstream.health()
    assert lying.causes["forged"] >= len(LINES)
    assert lying.fetched == 0
    assert telling.fetched >= len(LINES)


@pytest.mark.parametrize(
    ("fault", "status", "cause"),
    [
        ("throttling", 404, "throttled"),
        ("unavailable", 404, "upstream-error"),
        ("failing", 404, "upstream-error"),
        ("wrong-encoding", 404, "upstream-error"),
        ("empty", 404, "upstream-error"),
        ("html-page", 404, "upstream-error"),
        ("missing-headers", 404, "upstream-error"),
        ("plus-for-space", 404, "upstream-error"),
        ("redirecting", 404, "upstream-error"),
        ("clock-skewed", 404, "clock"),
        ("unauthorised", 404, "wrong-key"),
    ],
)
def test_what_goes_wrong_upstream_has_a_cause(
    tmp_path: Path, fault: str, status: int, cause: str
) -> None:
    """The status is Intel's; nothing is kept; and once it is over, the answer comes."""
    faults = [wire_faults.WIRE_FAULTS[fault]]
    rig = Rig(tmp_path, wire=lambda handler: _through(faults, handler))
    response = rig.ask("qe/identity")
    assert (response.status, response.header("Dcap-Cause")) == (status, cause)
    assert rig.store.items.summaries() == ()
    faults.clear()
    rig.upstream.items.forget()
    if fault == "throttling":
        assert rig.ask("qe/identity").header("Dcap-Cause") == "throttled"
    else:
        assert rig.ask("qe/identity").status == 200


def _through(faults: list[Callable[[Handler], Handler]], handler: Handler) -> Handler:
    """A handler behind a fault for as long as it is in the list."""

    def answer(request: HttpRequest) -> HttpResponse:
        return (faults[0](handler) if faults else handler)(request)

    return answer


def test_a_wrong_key_has_its_cause(tmp_path: Path) -> None:
    """Intel wants a key, and not this one; with the right one the machine is served."""
    wrong = Rig(tmp_path, api_key="right", asks_with="wrong")
    line = pck_line(wrong.world.platform())
    response = wrong.ask(line)
    assert (response.status, response.header("Dcap-Cause")) == (404, "wrong-key")
    right = Rig(
        tmp_path,
        beside=wrong,
        store=wrong.store,
        suppliers=[wrong.supplier(BASE, api_key="right")],
    )
    assert right.ask(line).status == 200


def test_an_upstream_that_is_down_is_502(tmp_path: Path) -> None:
    """It might have it: that is no 404."""
    rig = Rig(tmp_path, wire=lambda _: down)
    for line in (*LINES, pck_line(rig.world.platform())):
        response = rig.ask(line)
        assert (response.status, response.header("Dcap-Cause")) == (502, "upstream-unreachable")


def test_without_an_upstream_it_is_502(tmp_path: Path) -> None:
    """Nobody is there to be asked."""
    rig = Rig(tmp_path, suppliers=[])
    response = rig.ask("rootcacrl")
    assert (response.status, response.header("Dcap-Cause")) == (502, "no-upstream")


def test_absence_at_one_and_silence_at_another_is_silence(tmp_path: Path) -> None:
    """The one that is down might have it."""
    rig = Rig(tmp_path)
    silent = supplier("https://silent/", lambda _: down, clock=rig.clock)
    both = Rig(tmp_path, beside=rig, store=rig.store, suppliers=[rig.supplier(BASE), silent])
    assert both.ask("tcb?fmspc=00FF00FF00FF").header("Dcap-Cause") == "upstream-unreachable"


# What is behind


def test_an_older_evaluation_number_is_refused(tmp_path: Path) -> None:
    """What was promoted stays promoted, whatever the next answer says, and it is reported."""
    rig = Rig(tmp_path)
    old = rig.simulated(HttpRequest(target=f"/sgx/certification/v4/tcb?fmspc={FMSPC.hex()}"))
    RecoveryAnnounced().apply(rig.world)
    RecoveryPromoted().apply(rig.world)
    new = rig.upstream.item(TCB)
    behind = supplier(BASE, lambda _: lambda _: old, clock=rig.clock)
    other = Rig(tmp_path, beside=rig, store=rig.store, suppliers=[behind])
    response = other.ask("refresh", headers=ADMIN)
    assert response.status in (502, 503)
    assert "rolled-back" in {incident.cause for incident in other.upstream.incidents}
    assert rig.store.items.get(TCB) == new
    with pytest.raises(NotServed) as refused:
        other.upstream.item(TCB, after=rig.clock())
    assert refused.value.cause == "rolled-back"


def early_as_standard(handler: Handler) -> Handler:
    """An upstream that gives the early generation to who asks for the standard one."""

    def answer(request: HttpRequest) -> HttpResponse:
        asked = request.target.replace("update=standard", "update=early")
        return handler(replace(request, target=asked))

    return answer


@pytest.mark.parametrize("listed", [True, False])
def test_a_number_that_was_given_too_early_does_not_hold_for_ever(
    tmp_path: Path,
    listed: bool,
) -> None:
    """An upstream lied once: the honest lower number is kept once the other has expired.

    Only where Intel's signed list has it, and never before: that would be a way back.
    """
    lying = [early_as_standard]
    rig = Rig(tmp_path, wire=lambda handler: _through(lying, handler))
    RecoveryAnnounced().apply(rig.world)
    wrong = rig.upstream.item(TCB).number
    assert wrong == rig.world.intel.early != rig.world.intel.standard
    lying.clear()
    rig.world.advance(timedelta(days=2))
    with pytest.raises(NotServed, match="rolled-back"):
        rig.upstream.item(TCB, after=rig.clock())
    rig.world.advance(timedelta(days=40))
    rig.upstream.items.forget()
    if not listed:
        rig.world.intel.retired_below = rig.world.intel.early
        with pytest.raises(NotServed, match="rolled-back"):
            rig.upstream.item(TCB)
        return
    assert rig.upstream.item(TCB).number == rig.world.intel.standard
    assert "went back" in rig.upstream.incidents[-1].what


def test_an_older_list_is_refused(tmp_path: Path) -> None:
    """A CRL's number never goes down."""
    rig = Rig(tmp_path)
    old = rig.simulated(HttpRequest(target="/sgx/certification/v4/pckcrl?ca=platform&encoding=der"))
    CrlReissued().apply(rig.world)
    new = rig.upstream.item(PckCrlKey("PLATFORM"))
    behind = supplier(BASE, lambda _: lambda _: old, clock=rig.clock)
    other = Rig(tmp_path, beside=rig, store=rig.store, suppliers=[behind])
    with pytest.raises(NotServed) as refused:
        other.upstream.item(PckCrlKey("PLATFORM"), after=rig.clock())
    assert refused.value.cause == "rolled-back"
    assert rig.store.items.get(PckCrlKey("PLATFORM")) == new


def test_what_comes_expired_is_not_kept(tmp_path: Path) -> None:
    """An upstream that serves what has run out is passed over."""
    rig = Rig(tmp_path)
    stale = thim(rig.world, lag=timedelta(days=60))
    old = supplier("azure", lambda _: stale, region="westeurope", clock=rig.clock)
    for suppliers, status in (([old], 404), ([old, rig.supplier(BASE)], 200)):
        other = Rig(tmp_path, beside=rig, store=rig.store, suppliers=suppliers)
        assert other.ask("qe/identity").status == status
        assert other.upstream.incidents[0].cause in ("expired", "upstream-error")


@pytest.mark.parametrize("version", ["old", "new"])
def test_each_item_keeps_the_chain_it_came_with(tmp_path: Path, version: str) -> None:
    """Intel's signer rotates: what was signed before is served with its own chain."""
    rig = Rig(tmp_path)
    before = rig.ask("qe/identity")
    SignerRotated().apply(rig.world)
    after = rig.ask("qve/identity")
    name = "SGX-Enclave-Identity-Issuer-Chain"
    assert before.header(name) != after.header(name)
    line, first = ("qe/identity", before) if version == "old" else ("qve/identity", after)
    again = rig.ask(line)
    assert (again.body, again.header(name)) == (first.body, first.header(name))


# Patience


def test_retry_after_is_obeyed(tmp_path: Path) -> None:
    """Nothing is sent before, for any item; who asks is told how long; and then it works."""
    now = [0.0]
    world = World("pccs")
    throttled = wire_faults.throttling(services(world), times=1, retry_after=30)
    counting = Counting(throttled)
    circuit = Circuit("Intel", lambda _: counting, monotonic=lambda: now[0])
    ask = circuit.connect("https://intel")
    request = HttpRequest(target="/sgx/certification/v4/qe/identity")
    assert ask(request).status == 429
    for _ in range(3):
        with pytest.raises(Unavailable) as refused:
            ask(request)
        assert refused.value.code == "upstream-throttled"
    assert counting.calls == 1
    assert circuit.health()[0].state == "throttled"
    now[0] = 29.9
    assert circuit.wait_seconds == pytest.approx(0.1)
    now[0] = 30.0
    assert ask(request).status == 200
    assert circuit.health()[0].state == "closed"


def test_who_asks_a_throttled_service_is_told_how_long(tmp_path: Path) -> None:
    """`Retry-After` is handed on."""
    rig = Rig(tmp_path, wire=wire_faults.throttling)
    for line in ("qe/identity", "qve/identity"):
        response = rig.ask(line)
        assert (response.status, response.header("Dcap-Cause")) == (404, "throttled")
        assert 1 <= int(response.header("Retry-After") or 0) <= 31
    assert sum(one.calls for one in rig.upstream.suppliers[0].circuit.health()) == 1


def test_a_host_that_fails_rests_and_is_tried_with_one_request() -> None:
    """Five failures in a row, then nothing for a while, then a single probe, then all again."""
    now = [0.0]
    is_down = [True]

    def host(_: HttpRequest) -> HttpResponse:
        if is_down[0]:
            raise Unavailable("network-refused", "no connection is made")
        return HttpResponse(status=200)

    counting = Counting(host)
    circuit = Circuit("Intel", lambda _: counting, monotonic=lambda: now[0])
    ask, request = circuit.connect("https://intel"), HttpRequest(target="/")
    codes = []
    for _ in range(8):
        with pytest.raises(Unavailable) as refused:
            ask(request)
        codes.append(refused.value.code)
    assert codes == ["network-refused"] * 5 + ["upstream-resting"] * 3
    assert counting.calls == 5
    now[0] = 30.0
    with pytest.raises(Unavailable, match="network-refused"):
        ask(request)
    with pytest.raises(Unavailable, match="upstream-resting"):
        ask(request)
    assert counting.calls == 6
    now[0], is_down[0] = 60.0, False
    assert [ask(request).status for _ in range(3)] == [200] * 3
    assert circuit.health()[0].failures_in_a_row == 0


def test_while_one_probes_the_others_are_refused() -> None:
    """A host that may be up again is not met by the whole herd at once."""
    now = [0.0]
    gate, arrived, is_up = threading.Event(), threading.Event(), [False]

    def host(_: HttpRequest) -> HttpResponse:
        if not is_up[0]:
            raise Unavailable("network-refused", "no connection is made")
        arrived.set()
        gate.wait(20)
        return HttpResponse(status=200)

    counting = Counting(host)
    circuit = Circuit("Intel", lambda _: counting, failures=1, monotonic=lambda: now[0])
    ask, request = circuit.connect("https://intel"), HttpRequest(target="/")
    with pytest.raises(Unavailable):
        ask(request)
    now[0], is_up[0] = 60.0, True
    probe = Workers(1).submit(lambda: ask(request))
    assert arrived.wait(20)
    assert circuit.health()[0].state == "probing"
    with pytest.raises(Unavailable, match="upstream-resting"):
        ask(request)
    gate.set()
    assert probe.result(20).status == 200
    assert ask(request).status == 200
    assert counting.calls == 3


def test_absence_is_no_failure() -> None:
    """A host that answers 404 works."""
    circuit = Circuit("Intel", lambda _: lambda _: HttpResponse(status=404))
    ask = circuit.connect("https://intel")
    assert [ask(HttpRequest(target="/")).status for _ in range(9)] == [404] * 9


def test_one_origin_rests_and_another_works() -> None:
    """The root's list lies on a host of its own."""
    hosts: dict[str, Handler] = {
        "https://dead": down,
        "https://alive": lambda _: HttpResponse(status=200),
    }
    circuit = Circuit("Intel", hosts.__getitem__, failures=1)
    with pytest.raises(Unavailable):
        circuit.connect("https://dead")(HttpRequest(target="/"))
    with pytest.raises(Unavailable, match="upstream-resting"):
        circuit.connect("https://dead")(HttpRequest(target="/"))
    assert circuit.connect("https://alive")(HttpRequest(target="/")).status == 200


def test_a_herd_in_want_of_nothing_costs_one_call(tmp_path: Path) -> None:
    """A failure is remembered for a moment."""
    rig = Rig(tmp_path)
    for _ in range(20):
        assert rig.ask("tcb?fmspc=00FF00FF00FF").status == 404
    assert len(rig.calls) == 1


def test_who_asks_waits_no_longer_than_the_budget(tmp_path: Path) -> None:
    """502 in time; the flight goes on, and the next who asks finds what it brought."""
    gate = threading.Event()

    def slow(handler: Handler) -> Handler:
        def answer(request: HttpRequest) -> HttpResponse:
            gate.wait(20)
            return handler(request)

        return answer

    rig = Rig(tmp_path, wire=slow, budget=0.2)
    began = time.monotonic()
    response = rig.ask("qe/identity")
    assert time.monotonic() - began < 5
    assert (response.status, response.header("Dcap-Cause")) == (502, "upstream-slow")
    gate.set()
    for _ in range(200):
        if rig.store.items.get(QE) is not None:
            break
        time.sleep(0.02)
    assert rig.ask("qe/identity").status == 200
    assert len(rig.calls) == 1


# Turns


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A store alone."""
    with Store.open(f"sqlite:///{tmp_path}/turns.db") as opened:
        yield opened


def test_another_replica_holds_the_lease_and_this_one_waits_for_its_item(store: Store) -> None:
    """What the other brings is taken from the store; nothing is fetched twice."""
    shelf: list[str] = []
    assert store.leases.acquire("key", "another replica", 30)

    def fetch() -> str:
        raise AssertionError("it was to be waited for")

    flights = SingleFlight(store.leases, Workers(2))
    flight = flights.start("key", lambda: shelf[0] if shelf else None, fetch)
    time.sleep(0.1)
    assert not flight.done()
    shelf.append("brought")
    store.leases.release("key", "another replica")
    assert flights.land(flight) == "brought"


def test_the_lease_of_a_replica_that_died_ends(store: Store) -> None:
    """Then this one fetches."""
    assert store.leases.acquire("key", "a replica that dies", 0.3)
    flights = SingleFlight(store.leases, Workers(2))
    assert flights.once("key", lambda: None, lambda: "fetched") == "fetched"
    assert store.leases.holder("key") is None


def test_a_failed_flight_gives_the_lease_back_and_is_remembered(store: Store) -> None:
    """The error is each caller's own; after a moment it is tried again."""
    now = [0.0]
    calls = []

    def fetch() -> str:
        calls.append(1)
        raise NotServed("upstream-error")

    flights = SingleFlight(store.leases, Workers(2), monotonic=lambda: now[0])
    errors = []
    for _ in range(3):
        with pytest.raises(NotServed) as refused:
            flights.once("key", lambda: None, fetch)
        errors.append(refused.value)
    assert len(calls) == 1
    assert len({id(error) for error in errors}) == 3
    assert store.leases.holder("key") is None
    now[0] = 10.0
    with pytest.raises(NotServed):
        flights.once("key", lambda: None, fetch)
    assert len(calls) == 2


def test_workers_never_hold_up_who_brings_work() -> None:
    """More work than threads waits in line, and all of it is done."""
    gate = threading.Event()
    workers = Workers(2)
    blocked = [workers.submit(lambda: gate.wait(10)) for _ in range(2)]
    began = time.monotonic()
    waiting = [workers.submit(lambda n=n: n) for n in range(100)]  # type: ignore[misc]
    assert time.monotonic() - began < 5
    assert not any(flight.done() for flight in waiting)
    gate.set()
    assert [flight.result(10) for flight in waiting] == list(range(100))
    assert all(flight.result(10) for flight in blocked)


# Suppliers


def test_another_pccs_is_an_upstream(tmp_path: Path) -> None:
    """It serves all that a rack asks for; a machine's certificates come one by one, by its QE id."""
    (tmp_path / "inner").mkdir()
    inner = Rig(tmp_path / "inner")
    machine = inner.world.platform()
    inner.fill(machine)
    counting = Counting(inner.handler)
    up = supplier("pccs+https://inner:8081/", lambda _: counting, clock=inner.clock)
    outer = Rig(tmp_path, beside=inner, suppliers=[up])
    for line in (*LINES, pck_line(machine, with_ppid=False)):
        theirs, ours = inner.ask(line), outer.ask(line)
        assert (ours.status, ours.body) == (200, theirs.body)
    machine.svn -= 1
    line = pck_line(machine, with_ppid=False)
    assert outer.ask(line).header("SGX-TCBm") == machine.cpu_svn.hex().upper() + "0D00"
    calls = counting.calls
    machine.svn += 1
    assert outer.ask(pck_line(machine, with_ppid=False)).status == 200
    assert counting.calls == calls


def test_azure_is_an_upstream(tmp_path: Path) -> None:
    """Under the real names of its hosts, over TLS: documents, lists, a machine's certificate."""
    rig = Rig(tmp_path)
    with (
        internet(services(rig.world), rig.world, tmp_path) as box,
        Network(environ=box.environment) as network,
    ):
        up = supplier("azure", network.handler, region="westeurope", clock=rig.clock)
        azure = Rig(tmp_path, beside=rig, store=rig.store, suppliers=[up])
        machine = rig.world.platform()
        for line in (*LINES, pck_line(machine, with_ppid=False)):
            assert azure.ask(line).status == 200
        assert azure.ask(f"tcb?fmspc={FMSPC.hex()}", tee="tdx").status == 200
        hosts = {asked.host for asked in box.log}
    assert hosts >= {"global.acccache.azure.net", "westeurope.thim.azure.net"}


def test_intel_is_an_upstream_under_its_real_names(tmp_path: Path) -> None:
    """Collateral from the API's host, the root's list from the CDN's."""
    rig = Rig(tmp_path)
    with (
        internet(services(rig.world), rig.world, tmp_path) as box,
        Network(environ=box.environment) as network,
    ):
        up = supplier(
            "https://api.trustedservices.intel.com/sgx/certification/v4/",
            network.handler,
            clock=rig.clock,
        )
        intel = Rig(tmp_path, beside=rig, store=rig.store, suppliers=[up])
        for line in (*LINES, pck_line(rig.world.platform())):
            assert intel.ask(line).status == 200
        hosts = {asked.host for asked in box.log}
    assert hosts == {"api.trustedservices.intel.com", "certificates.trustedservices.intel.com"}


@contextmanager
def over_tls(rig: Rig, folder: Path, handler: Handler, **limits: Any) -> Iterator[Rig]:
    """A rig whose upstream is a real server."""
    certificate, key, ca = tls_files(rig.world, folder)
    network = Network(ca=ca, environ={}, limits=Limits(**limits))
    with network, serving(handler, tls=(certificate, key)) as server:
        up = supplier(f"{server.url}/sgx/certification/v4/", network.handler, clock=rig.clock)
        yield Rig(folder, beside=rig, store=rig.store, suppliers=[up])


@pytest.mark.parametrize("fault", ["slow", "hanging", "cut-off", "oversized"])
def test_a_broken_line_is_502_in_time(tmp_path: Path, fault: str) -> None:
    """Over a real connection: no answer, half of one, too much of one."""
    rig = Rig(tmp_path)
    faulty = wire_faults.WIRE_FAULTS[fault](services(rig.world))
    with over_tls(rig, tmp_path, faulty, read=0.5, total=1.5, attempts=2) as broken:
        began = time.monotonic()
        response = broken.ask("qe/identity")
        assert time.monotonic() - began < 10
    assert (response.status, response.header("Dcap-Cause")) == (502, "upstream-unreachable")
    assert rig.store.items.summaries() == ()


def test_a_mirror_has_the_roots_list_on_its_own_host(tmp_path: Path) -> None:
    """A PCS that is not Intel's is asked for it first: `dcap sim up` answers all by itself."""
    rig = Rig(tmp_path)
    with over_tls(rig, tmp_path, rig.simulated) as mirror:
        assert mirror.ask("rootcacrl").status == 200
    assert rig.calls == ["/IntelSGXRootCA.der"]


@pytest.mark.parametrize("url", ["pccs+nonsense", "https://host/other/", "ftp://host/"])
def test_a_url_that_is_none_is_refused(url: str) -> None:
    """At the start, not at the first request."""
    with pytest.raises(ConfigError):
        supplier(url, lambda _: down)


@pytest.mark.parametrize("key", EVERY, ids=lambda key: key.text)
def test_every_item_is_kept_with_what_it_says(tmp_path: Path, key: Key) -> None:
    """Dates, number, origin and chain come from what was proven."""
    rig = Rig(tmp_path)
    item: Item = rig.upstream.item(key)
    assert rig.store.items.get(key) == item
    assert item.expires is not None
    assert item.expires > rig.clock()
    assert item.issued is not None
    assert item.issued <= rig.clock()
    assert item.number is not None
    assert item.origin == "PCS https://intel.simulated"
    if not isinstance(key, RootCrlKey):
        assert len(Certificate.parse_chain(item.issuer_chain)) == 2


def test_what_is_missing_in_req_is_never_fetched_by_who_asks(tmp_path: Path) -> None:
    """Even where upstream would have it."""
    rig = Rig(tmp_path, mode=Mode.REQ)
    assert [rig.ask(line).status for line in LINES] == [404] * len(LINES)
    assert rig.calls == []


def test_a_key_that_is_refused_is_told_until_a_machine_is_looked_up(tmp_path: Path) -> None:
    """Items need no key: that they come does not hide that machines do not."""
    rig = Rig(tmp_path, api_key="the key", asks_with="another")
    machine = rig.world.platform()
    assert rig.ask(pck_line(machine)).header("Dcap-Cause") == "wrong-key"
    assert rig.ask("qe/identity").status == 200
    assert [one.failing for one in rig.upstream.health()] == ["wrong-key"]
    right = Rig(tmp_path, api_key="the key", asks_with="the key", store=rig.store)
    assert right.ask(pck_line(right.world.platform())).status == 200
    assert [one.failing for one in right.upstream.health()] == [None]
