"""`platform_registration.watch`: how long is waited, what is told, when it ends."""

from collections.abc import Callable

import pytest

from dcap.errors import CollateralError, ConfigError, DcapError, NotFound, Unavailable
from dcap.platform_registration.watch import Watch
from dcap.sources.first_of import Attempt, SourcesFailed


class Clock:
    """Time that passes by sleeping alone."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        """Let it pass."""
        self.slept.append(seconds)
        self.now += seconds

    def watch(self, longest: float, in_all: float | None = None, chance: float = 0.5) -> Watch:
        """A watch by this clock, its jitter fixed."""
        return Watch(
            longest=longest,
            in_all=in_all,
            sleep=self.sleep,
            clock=lambda: self.now,
            chance=lambda: chance,
        )


def failing(*errors: DcapError) -> Callable[[], str]:
    """An attempt that fails so, and then is done."""
    left = list(errors)

    def attempt() -> str:
        if left:
            raise left.pop(0)
        return "done"

    return attempt


DOWN = Unavailable("network-refused", "nobody listens")
QUEUED = NotFound("pccs-461", "it waits")


def test_each_obstacle_is_told_once() -> None:
    """One line for each change of state, however many attempts it lasts."""
    told: list[str] = []
    attempt = failing(*[DOWN] * 5, *[QUEUED] * 3, DOWN)
    done = Clock().watch(8).until(attempt, lambda error: told.append(error.code))
    assert done == "done"
    assert told == ["network-refused", "pccs-461", "network-refused"]


def test_waits_grow_to_the_longest_and_begin_anew_with_a_change() -> None:
    """One second, doubled, until the longest."""
    clock = Clock()
    clock.watch(5).until(failing(*[DOWN] * 5, QUEUED, QUEUED), lambda _: None)
    assert clock.slept == [1, 2, 4, 5, 5, 1, 2]


def test_of_several_sources_each_has_its_state() -> None:
    """That one of two now answers otherwise is a change."""

    def both(first: CollateralError) -> DcapError:
        error = SourcesFailed("sources-failed", "neither")
        error.attempts = (Attempt("one", first), Attempt("other", DOWN))
        return error

    told: list[DcapError] = []
    attempt = failing(both(DOWN), both(DOWN), both(QUEUED))
    Clock().watch(8).until(attempt, told.append)
    assert len(told) == 2


@pytest.mark.parametrize(("chance", "wait"), [(0.0, 0.75), (1.0, 1.25)])
def test_a_rack_that_boots_at_once_does_not_ask_at_once(chance: float, wait: float) -> None:
    """Each wait is a quarter longer or shorter, by chance."""
    clock = Clock()
    clock.watch(60, chance=chance).until(failing(DOWN), lambda _: None)
    assert clock.slept == [wait]


def test_it_gives_up_when_its_time_is_over() -> None:
    """It never sleeps past its end, and the error tells the last obstacle."""
    clock = Clock()
    with pytest.raises(Unavailable) as caught:
        clock.watch(4, in_all=10).until(failing(*[DOWN] * 99), lambda _: None)
    assert caught.value.code == "registration-not-yet"
    assert "network-refused" in caught.value.what
    assert clock.now <= 10


def test_what_waiting_does_not_mend_ends_it() -> None:
    """A wrong token is wrong tomorrow, too."""
    clock = Clock()
    wrong = ConfigError("registration-token", "wrong")
    with pytest.raises(ConfigError):
        clock.watch(4).until(failing(DOWN, wrong), lambda _: None)
    assert len(clock.slept) == 1
