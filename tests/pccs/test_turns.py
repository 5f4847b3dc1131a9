"""`dcap.pccs.turns`: who may wait for upstream, where many want to."""

import asyncio
from collections import Counter

from dcap.pccs.turns import Turns


def test_one_address_has_its_share_and_the_next_comes_first() -> None:
    """Two of three turns are A's at most; B, who came last of all, is before A's third."""

    async def run() -> list[str]:
        turns, came = Turns(3, 2), []

        async def ask(address: str, name: str) -> None:
            assert await turns.take(address, 60)
            came.append(name)

        asks = [asyncio.create_task(ask("A", f"A{n}")) for n in range(4)]
        await asyncio.sleep(0)
        assert came == ["A0", "A1"]  # and one turn is free
        asks.append(asyncio.create_task(ask("B", "B0")))
        asks.append(asyncio.create_task(ask("C", "C0")))
        await asyncio.sleep(0)
        assert came == ["A0", "A1", "B0"]
        turns.give_back("A")
        turns.give_back("A")
        turns.give_back("B")
        await asyncio.gather(*asks)
        return came

    assert asyncio.run(run()) == ["A0", "A1", "B0", "A2", "C0", "A3"]


def test_who_waits_too_long_leaves_the_line() -> None:
    """It is told so, and the turn that comes later is the next one's."""

    async def run() -> None:
        turns = Turns(1, 1)
        assert await turns.take("A", 60)
        assert not await turns.take("A", 0.01)
        later = asyncio.create_task(turns.take("B", 60))
        await asyncio.sleep(0)
        turns.give_back("A")
        assert await later
        turns.give_back("B")
        assert await turns.take("A", 0.01)

    asyncio.run(run())


def test_a_rack_that_is_alone_has_more_than_its_share() -> None:
    """Five of eight for A while nobody else waits; when B and C have come, A is back at its share."""

    async def run() -> list[int]:
        turns, has = Turns(8, 2, 5), Counter[str]()
        asks = []

        async def ask(address: str) -> None:
            assert await turns.take(address, 60)
            has[address] += 1

        async def come(address: str, number: int) -> None:
            asks.extend(asyncio.create_task(ask(address)) for _ in range(number))
            await asyncio.sleep(0)

        async def end(address: str) -> None:
            has[address] -= 1
            turns.give_back(address)
            for _ in range(9):  # who is called has heard of it
                await asyncio.sleep(0)

        await come("A", 20)
        assert has == {"A": 5}
        await come("B", 1)
        assert has["B"] == 1  # at once: a reserve was left
        await come("C", 3)
        assert has["C"] == 2
        # C's third and A's rest wait: neither has more than its share now, whoever gives back.
        for _ in range(3):
            await end("A")
        assert (has["A"], has["B"], has["C"]) == (2, 1, 2)
        await end("C")
        assert has["C"] == 2
        # C waits no more: A is alone in line, and has what is left of five.
        await end("C")
        await end("B")
        found = [has["A"], has["B"], has["C"]]
        for one in asks:
            one.cancel()
        return found

    assert asyncio.run(run()) == [4, 0, 1]


def test_when_another_gives_up_the_line_moves() -> None:
    """B waits too long and leaves; A, alone again, has the turn at once that was kept from it."""

    async def run() -> None:
        turns = Turns(4, 1, 3)
        for address in ("A", "B", "C"):
            assert await turns.take(address, 60)
        b = asyncio.create_task(turns.take("B", 0.02))
        a = asyncio.create_task(turns.take("A", 60))
        await asyncio.sleep(0)
        turns.give_back("C")
        # Two turns are free; A and B both wait, and each has its share.
        assert not await b
        assert await asyncio.wait_for(a, 20)

    asyncio.run(run())
