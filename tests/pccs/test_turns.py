"""`dcap.pccs.turns`: who may wait for upstream, where many want to."""

import asyncio

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
