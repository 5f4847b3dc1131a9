"""Selection of PCK certificates: the highest TCB that a raw one reaches, in the order of levels."""

from hypothesis import given
from hypothesis import strategies as st

from dcap.formats.pck_selection import Tcb, select


def tcb(first: int, second: int = 0, pce_svn: int = 10) -> Tcb:
    """A TCB of which two components and the PCESVN differ."""
    return Tcb(bytes((first, second)) + bytes(14), pce_svn)


LEVELS = (tcb(8), tcb(6), tcb(4))


def test_the_highest_that_is_reached() -> None:
    """Of all certificates at or below the raw TCB, the highest."""
    assert select(tcb(7), LEVELS, LEVELS) == tcb(6)
    assert select(tcb(8), LEVELS, LEVELS) == tcb(8)


def test_none_is_reached() -> None:
    """Below every certificate there is none."""
    assert select(tcb(3), LEVELS, LEVELS) is None


def test_pce_svn_counts() -> None:
    """A PCESVN below the certificate's does not reach it, whatever the components."""
    assert select(tcb(9, 9, pce_svn=9), LEVELS, LEVELS) is None


def test_every_component_counts() -> None:
    """One lower component is enough not to reach a TCB, however high the others are."""
    offered = (tcb(6, 2), tcb(4, 0))
    assert select(tcb(200, 1), offered, LEVELS) == tcb(4, 0)


def test_a_tcb_of_another_length_is_not_reached() -> None:
    """What has more or fewer components than 16 compares with nothing."""
    assert not tcb(9).reaches(Tcb(bytes(15), 0))
    assert not tcb(9).reaches(Tcb(bytes(17), 0))


def test_a_certificate_above_its_level_comes_before_the_level() -> None:
    """Within one level the higher certificate is taken."""
    offered = (tcb(6), tcb(7))
    assert select(tcb(7), offered, LEVELS) == tcb(7)


def test_incomparable_certificates_go_by_their_level() -> None:
    """Of two that do not compare, the one under the higher level wins."""
    low, high = tcb(5, 9), tcb(6, 0)
    assert select(tcb(9, 9), (low, high), LEVELS) == high
    assert select(tcb(9, 9), (high, low), LEVELS) == high


def test_incomparable_certificates_of_one_level_keep_their_order() -> None:
    """Of two that do not compare under the same level, the first offered wins."""
    one, other = tcb(6, 9), tcb(7, 8)
    assert select(tcb(9, 9), (one, other), LEVELS) == one
    assert select(tcb(9, 9), (other, one), LEVELS) == other


def test_levels_in_any_order() -> None:
    """The levels are put in order first."""
    assert select(tcb(9), LEVELS, LEVELS[::-1]) == tcb(8)


def test_certificates_below_every_level_come_last() -> None:
    """A certificate that reaches no level is still better than none."""
    assert select(tcb(3), (tcb(2), tcb(4)), LEVELS) == tcb(2)
    assert select(tcb(5), (tcb(2), tcb(4)), LEVELS) == tcb(4)


TCBS = st.builds(tcb, st.integers(0, 9), st.integers(0, 9), pce_svn=st.integers(9, 11))


@given(TCBS, st.lists(TCBS), st.lists(TCBS))
def test_what_is_selected_is_reached(raw: Tcb, offered: list[Tcb], levels: list[Tcb]) -> None:
    """What is selected was offered and is reached; nothing is, only where nothing offered is."""
    chosen = select(raw, offered, levels)
    if chosen is None:
        assert not any(raw.reaches(one) for one in offered)
    else:
        assert chosen in offered
        assert raw.reaches(chosen)
        higher = [o for o in offered if o.reaches(chosen) and not chosen.reaches(o)]
        assert not any(raw.reaches(one) for one in higher if _same_level(one, chosen, levels))


def _same_level(one: Tcb, other: Tcb, levels: list[Tcb]) -> bool:
    """Whether two TCBs reach the same levels."""
    return [one.reaches(x) for x in levels] == [other.reaches(x) for x in levels]
