"""`dcap.pccs.threads`: who waits for upstream stands in nobody's way, and strangers ask little of it."""

import asyncio
import json
import threading
from pathlib import Path

from dcap.api.http import Handler, HttpRequest, HttpResponse
from dcap.pccs.config import read_settings
from dcap.pccs.http_head import read_head
from dcap.pccs.rates import Shared
from dcap.pccs.threads import Threads, seconds_in_line, turns_of
from dcap.pccs.upstream import ITEM_THREADS, MACHINE_THREADS
from pccs.desk import ROOT_CRL, Desk, open_desk
from pccs.rig import TOKENS, pck_line, record_of

RACK = 300


def tcb(fmspc: str) -> bytes:
    """The head of a request for a TCB info."""
    return ROOT_CRL.replace(b"rootcacrl", f"tcb?fmspc={fmspc}".encode())


class Hung:
    """An upstream that does not answer for FMSPCs of FF…, until it is let go."""

    def __init__(self) -> None:
        self.held = threading.Event()
        self.entered = threading.Semaphore(0)
        self.count = 0

    def __call__(self, behind: Handler) -> Handler:
        """Before Intel."""

        def answer(request: HttpRequest) -> HttpResponse:
            if "fmspc=FF" in request.target.upper().replace("FMSPC", "fmspc"):
                self.count += 1
                self.entered.release()
                self.held.wait(60)
            return behind(request)

        return answer


def test_one_address_that_waits_delays_itself_alone(tmp_path: Path) -> None:
    """Forty requests hang upstream: what is kept is answered, and another's is fetched."""
    hung = Hung()
    with open_desk(tmp_path, wire=hung, threads="3", threads_per_address="2") as desk:
        assert desk.ask().status == 200
        known = desk.rig.world.platform().fmspc.hex()

        async def run() -> list[int]:
            heads = [tcb(f"FF00000000{n:02X}") for n in range(40)]
            waiting = [asyncio.create_task(desk.respond(head)) for head in heads]
            try:
                for _ in range(2):
                    assert await asyncio.to_thread(hung.entered.acquire, timeout=20)
                asked = desk.respond(), desk.respond(tcb(known), "10.0.0.2")
                found = [await asyncio.wait_for(one, 20) for one in asked]
                assert hung.count == 2
            finally:
                hung.held.set()
            found += await asyncio.gather(*waiting)
            return [one.status for one in found]

        assert desk.front.loop.run_until_complete(run()) == [200, 200] + [404] * 40


def test_strangers_cannot_make_the_service_ask_on_and_on(tmp_path: Path) -> None:
    """Beyond the burst 503 without a call; what is kept, and other addresses, are not touched."""
    with open_desk(tmp_path, upstream_burst="12", upstream_rate="0.001") as desk:
        assert desk.ask().status == 200
        before = len(desk.rig.calls)
        answers = [desk.ask(tcb(f"FF00000000{n:02X}")) for n in range(20)]
        assert [one.status for one in answers] == [404, 404] + [503] * 18
        refused = answers[-1]
        assert (refused.header("Dcap-Cause"), refused.body) == ("busy", b"")
        assert refused.header("Retry-After")
        assert len(desk.rig.calls) == before + 2
        desk.front.answers.forget({"items"})
        assert desk.ask().status == 200
        assert _of_another(desk, tcb(desk.rig.world.platform().fmspc.hex())) == 200


def _of_another(desk: Desk, head: bytes) -> int:
    answer = desk.front.loop.run_until_complete(desk.respond(head, "10.0.0.2"))
    return answer.status


def test_who_asks_for_the_same_joins_and_is_not_counted(tmp_path: Path) -> None:
    """Eight at once for one machine are one look-up: a burst of one machine allows it."""
    with open_desk(tmp_path, upstream_burst="4", upstream_rate="0.001") as desk:
        line = pck_line(desk.rig.world.platform())
        head = ROOT_CRL.replace(b"rootcacrl", line.encode())

        async def run() -> list[HttpResponse]:
            return await asyncio.gather(*(desk.respond(head) for _ in range(8)))

        answers = desk.front.loop.run_until_complete(run())
        assert {one.status for one in answers} == {200}


def test_a_rack_behind_one_address_is_within_every_limit(tmp_path: Path) -> None:
    """By the settings that nobody wrote: connections, requests, waiting, and look-ups."""
    settings = read_settings({"data": str(tmp_path)}, {})
    limits = (settings.connections_per_address, settings.misses_per_address, settings.burst)
    assert min(limits) >= RACK
    rates = Shared(settings.upstream_rate, settings.upstream_burst, 8)
    assert all(rates.takes("10.0.0.1", 0.0) for _ in range(RACK))
    assert all(rates.takes("10.0.0.1", 0.0, 4) for _ in range(12))


def test_a_rack_that_is_alone_has_turns_for_a_second_each(tmp_path: Path) -> None:
    """By the same settings, at Intel's second a machine, within 15 s; and others find turns free."""
    settings = read_settings({"data": str(tmp_path)}, {})
    turns = turns_of(settings)

    async def has(address: str, at_once: int) -> int:
        found = await asyncio.gather(*(turns.take(address, 0.02) for _ in range(at_once)))
        return sum(found)

    async def run() -> None:
        alone = await has("10.0.0.1", RACK)
        assert RACK / alone < 12
        assert await has("10.0.0.2", 1) == 1
        # If all of them hang, there are still threads that fetch for another.
        assert alone + 4 <= min(ITEM_THREADS, MACHINE_THREADS)

    asyncio.run(run())


def test_who_has_a_token_stands_in_line_for_longer() -> None:
    """Whoever registers, or imports: a minute and more; strangers as long as a budget."""
    for method, what in ((b"POST", b"platforms"), (b"PUT", b"platformcollateral")):
        assert seconds_in_line(asks(method, what), 15) >= 60
    for method, what in ((b"GET", b"rootcacrl"), (b"POST", b"rootcacrl"), (b"GET", b"nothing")):
        assert seconds_in_line(asks(method, what), 15) == 15


def asks(method: bytes, what: bytes, fields: bytes = b"", body: bytes = b"") -> HttpRequest:
    """A request for a resource."""
    block = ROOT_CRL.replace(b"GET", method).replace(b"rootcacrl", what)
    return read_head(block + fields).request(body)


def test_a_registration_outlasts_the_line_of_strangers(tmp_path: Path) -> None:
    """Of two that stand behind one that hangs, the stranger is sent away; the machine registers."""
    hung = Hung()
    limits = {"threads": "1", "threads_per_address": "1"}
    with open_desk(tmp_path, wire=hung, **limits) as desk:
        threads = Threads(desk.front.loop, desk.parts.settings, budget=0.2)
        fields = f"user-token: {TOKENS['user']}\r\nContent-Type: application/json\r\n".encode()
        body = json.dumps(record_of(desk.rig.world.platform())).encode()

        async def ask(request: HttpRequest) -> HttpResponse | None:
            return await threads.ask(lambda: (desk.parts, desk.front.watch), request, "10.0.0.1")

        async def run() -> HttpResponse | None:
            first = asyncio.create_task(ask(asks(b"GET", b"tcb?fmspc=FF0000000001")))
            assert await asyncio.to_thread(hung.entered.acquire, timeout=20)
            registers = asyncio.create_task(ask(asks(b"POST", b"platforms", fields, body)))
            try:
                assert await ask(asks(b"GET", b"tcb?fmspc=FF0000000002")) is None
                assert not registers.done()
            finally:
                hung.held.set()
            await first
            return await registers

        registered = desk.front.loop.run_until_complete(run())
        threads.close()
        assert registered is not None
        assert registered.status == 200
