"""Side by side: threads are bounded, and so is the time that a set waits for one."""

import threading
import time

import pytest

from dcap.errors import CollateralError, Unavailable
from dcap.sources.assembly import Crew, settle


def test_who_finds_all_threads_taken_waits_until_one_is_done() -> None:
    """The third piece of work begins when the first has ended."""
    crew, gate = Crew(2), threading.Event()
    until = time.monotonic() + 30
    slow = [crew.start(lambda: gate.wait(30), until) for _ in range(2)]
    threading.Timer(0.1, gate.set).start()
    assert crew.start(lambda: "done", until).result(10) == "done"
    settle(*slow)


def test_who_waits_in_vain_is_told_so() -> None:
    """No call waits for threads longer than it may: `source-busy`, with what to do."""
    crew, gate = Crew(1), threading.Event()
    slow = crew.start(lambda: gate.wait(30), time.monotonic())
    began = time.monotonic()
    with pytest.raises(Unavailable) as caught:
        crew.start(lambda: "never", began + 0.1)
    assert time.monotonic() - began < 10
    assert caught.value.code == "source-busy"
    gate.set()
    assert slow.result(10)
    assert crew.start(lambda: "again", time.monotonic() + 10).result(10) == "again"


def test_the_first_error_in_order_is_raised() -> None:
    """Whoever was faster."""
    crew, until = Crew(4), time.monotonic() + 10

    def fail(name: str, seconds: float) -> None:
        time.sleep(seconds)
        raise CollateralError(name, "failed")

    first = crew.start(lambda: fail("first", 0.05), until)
    second = crew.start(lambda: fail("second", 0.0), until)
    with pytest.raises(CollateralError) as caught:
        settle(first, second)
    assert caught.value.code == "first"
