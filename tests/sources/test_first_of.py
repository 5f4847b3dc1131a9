"""Several sources in order: the first that can, and one error where none can."""

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
from upstream import ACC_CACHE, INTEL, PCCS, Upstream, machine_need, need, recovering, without_pck

from dcap import CollateralError, ConfigError, NotFound, check_endorsements
from dcap.api.http import Handler, HttpRequest
from dcap.errors import Unavailable
from dcap.simulator import World, wire_faults
from dcap.sources.cache import CachedSource
from dcap.sources.first_of import FirstOf, SourcesFailed, SourcesLack
from dcap.sources.pccs import pccs
from dcap.sources.pcs import intel_pcs
from dcap.sources.source import Fetched, Source, scope_of
from dcap.verification import TrustAnchor


@pytest.fixture
def intel() -> World:
    """A world with two machines."""
    return recovering()


@pytest.fixture
def upstream(intel: World) -> Upstream:
    """Its services."""
    return Upstream(intel)


@pytest.fixture
def sources(upstream: Upstream) -> tuple[Source, ...]:
    """A PCCS, then Intel's PCS."""
    return pccs(upstream.connect, PCCS), intel_pcs(upstream.connect)


def proves(intel: World) -> Callable[[Fetched], bool]:
    """Whether a set proves under the world's root, as whoever configures sources asks."""
    anchor = TrustAnchor.insecure_test_root(intel.intel.root.certificate)

    def accept(fetched: Fetched) -> bool:
        found = check_endorsements(fetched.collateral, at=intel.at, anchor=anchor)
        return found.endorsements is not None

    return accept


def test_the_first_that_can(intel: World, upstream: Upstream, sources: tuple[Source, ...]) -> None:
    """While the first answers, the second is not asked."""
    machine = intel.platform("node")
    fetched = FirstOf(sources).collateral(need(machine))
    assert fetched.collateral == without_pck(intel.collateral(machine))
    assert fetched.remarks == ()
    assert {origin for origin, _ in upstream.asked} == {PCCS}


@pytest.mark.parametrize("fault", ["unavailable", "html-page", "failing", "missing-headers"])
def test_failover(
    intel: World, upstream: Upstream, sources: tuple[Source, ...], fault: str
) -> None:
    """Whatever is wrong with the first, the second is asked; a remark says why."""
    upstream.change(PCCS, wire_faults.WIRE_FAULTS[fault])
    machine = intel.platform("node")
    fetched = FirstOf(sources).collateral(need(machine))
    assert fetched.collateral == without_pck(intel.collateral(machine))
    assert len(fetched.remarks) == 1
    assert fetched.remarks[0].startswith(f"PCCS {PCCS} was passed over: ")
    assert {told.source for told in fetched.origins} == {"Intel PCS"}


def test_a_forged_set_is_passed_over(
    intel: World, upstream: Upstream, sources: tuple[Source, ...]
) -> None:
    """A poisoned first source does not decide where the second can do better."""
    upstream.change(PCCS, wire_faults.poisoned)
    machine = intel.platform("node")
    fetched = FirstOf(sources, accept=proves(intel)).collateral(need(machine))
    assert fetched.collateral == without_pck(intel.collateral(machine))
    assert fetched.remarks == (f"PCCS {PCCS} was passed over: what it gave does not prove",)


def test_without_a_better_one_the_forged_set_is_handed_on(
    intel: World, upstream: Upstream, sources: tuple[Source, ...]
) -> None:
    """The verdict is to say what is false: an error would hide it."""
    upstream.change(PCCS, wire_faults.poisoned)
    upstream.change(INTEL, wire_faults.unavailable)
    machine = intel.platform("node")
    fetched = FirstOf(sources, accept=proves(intel)).collateral(need(machine))
    assert {told.source for told in fetched.origins} == {f"PCCS {PCCS}"}
    assert fetched.collateral.tcb_info != intel.collateral(machine).tcb_info
    (remark,) = fetched.remarks
    assert remark.startswith("Intel PCS was passed over: HTTP 503")
    assert fetched.passing == fetched.remarks


def test_two_forged_sets_are_both_told(
    intel: World, upstream: Upstream, sources: tuple[Source, ...]
) -> None:
    """The first forged set is handed on, saying that the second did not prove either."""
    for origin in (PCCS, INTEL):
        upstream.change(origin, wire_faults.poisoned)
    fetched = FirstOf(sources, accept=proves(intel)).collateral(need(intel.platform("node")))
    assert {told.source for told in fetched.origins} == {f"PCCS {PCCS}"}
    assert fetched.remarks == ("Intel PCS was passed over: what it gave does not prove",)


def test_a_certificate_that_does_not_fit_is_passed_over(
    intel: World, upstream: Upstream, sources: tuple[Source, ...]
) -> None:
    """The first source gives another machine's certificate: the one that is accepted is taken."""
    machine, other = intel.platform("node"), intel.platform("other")

    def lying(handler: Handler) -> Handler:
        name = machine.qe_id.hex().upper(), other.qe_id.hex().upper()
        return lambda request: handler(
            HttpRequest(target=request.target.replace(*name), headers=request.headers)
        )

    upstream.change(PCCS, lying)
    asked = machine_need(machine)
    fits = lambda found: found.chain == machine.pck_chain()  # noqa: E731
    assert FirstOf(sources).pck_certificate(asked).chain == other.pck_chain()
    found = FirstOf(sources).pck_certificate(asked, accept=fits)
    assert (found.chain, found.origin.source) == (machine.pck_chain(), "Intel PCS")
    assert found.passing == (f"PCCS {PCCS} was passed over: what it gave does not prove",)
    refused = FirstOf(sources).pck_certificate(asked, accept=lambda _: False)
    assert refused.chain == other.pck_chain()


def test_lists_within_lists_are_told_as_one(
    intel: World, upstream: Upstream, sources: tuple[Source, ...]
) -> None:
    """Each service is named once and counted in one row, however lists lie within lists."""
    for origin in (ACC_CACHE, PCCS, INTEL):
        del upstream.handlers[origin]
    inner = FirstOf([pccs(upstream.connect, ACC_CACHE), sources[0]])
    with pytest.raises(SourcesFailed) as caught:
        FirstOf([inner, sources[1]]).collateral(need(intel.platform("node")))
    names = [f"PCCS {ACC_CACHE}", f"PCCS {PCCS}", "Intel PCS"]
    assert [attempt.source for attempt in caught.value.attempts] == names
    assert caught.value.what.count("no source could give it") == 1
    assert "3. Intel PCS: " in caught.value.what


def test_lists_within_lists_are_passed_over_by_name(
    intel: World, upstream: Upstream, sources: tuple[Source, ...]
) -> None:
    """A remark for each that was asked in vain, not one for a list."""
    for origin in (ACC_CACHE, PCCS):
        del upstream.handlers[origin]
    inner = FirstOf([pccs(upstream.connect, ACC_CACHE), sources[0]])
    remarks = FirstOf([inner, sources[1]]).collateral(need(intel.platform("node"))).remarks
    assert [remark.split(" was passed over: ")[0] for remark in remarks] == [
        f"PCCS {ACC_CACHE}",
        f"PCCS {PCCS}",
    ]


def test_the_scope_tells_lists_apart(upstream: Upstream, sources: tuple[Source, ...]) -> None:
    """What is kept of one order, or of one address more, is not served for another."""
    lists = [
        FirstOf(sources),
        FirstOf(sources[::-1]),
        FirstOf([*sources, pccs(upstream.connect, ACC_CACHE)]),
    ]
    assert len({scope_of(one) for one in lists}) == 3


def test_when_all_fail_one_error_names_each(
    intel: World, upstream: Upstream, sources: tuple[Source, ...]
) -> None:
    """In order: name, cause and Intel's code of each; nothing of the machine."""
    del upstream.handlers[PCCS]
    upstream.change(INTEL, wire_faults.failing)
    with pytest.raises(SourcesFailed) as caught:
        FirstOf(sources).collateral(need(intel.platform("node")))
    error = caught.value
    assert (error.code, error.exit_status) == ("sources-failed", 6)
    assert [attempt.source for attempt in error.attempts] == [f"PCCS {PCCS}", "Intel PCS"]
    assert [attempt.error.code for attempt in error.attempts] == ["network-name", "pcs-500"]
    first, second = error.what.index(f"1. PCCS {PCCS}"), error.what.index("2. Intel PCS")
    assert first < error.what.index("0xE019") < second < error.what.index("0xE044")
    assert pickle.loads(pickle.dumps(error)).attempts[1].source == "Intel PCS"


def test_none_has_it(intel: World, sources: tuple[Source, ...]) -> None:
    """Where all answer that there is none, that is what is said."""
    stranger = need(World("another").platform("x", fmspc=bytes(6)))
    with pytest.raises(SourcesLack) as caught:
        FirstOf(sources).collateral(stranger)
    assert isinstance(caught.value, NotFound)
    assert caught.value.code == "source-not-found"


def test_one_silent_source_is_not_an_absence(
    upstream: Upstream, sources: tuple[Source, ...]
) -> None:
    """One that has none and one that did not answer: it may still be there."""
    upstream.change(INTEL, wire_faults.unavailable)
    stranger = need(World("another").platform("x", fmspc=bytes(6)))
    with pytest.raises(Unavailable) as caught:
        FirstOf(sources).collateral(stranger)
    assert caught.value.code == "sources-failed"


def test_a_single_source_speaks_for_itself(intel: World, upstream: Upstream) -> None:
    """Of one source the error is its own, Intel's code included."""
    upstream.change(INTEL, wire_faults.unavailable)
    with pytest.raises(Unavailable, match="0xE040 SGX_QL_SERVICE_UNAVAILABLE") as caught:
        FirstOf([intel_pcs(upstream.connect)]).collateral(need(intel.platform("node")))
    assert caught.value.code == "pcs-503"


def test_certificates_fail_over_too(
    intel: World, upstream: Upstream, sources: tuple[Source, ...]
) -> None:
    """The PCK certificate of a machine that only the second source can name."""
    machine = intel.platform("node")
    by_qe_id = machine_need(machine, encrypted_ppid=None)
    found = FirstOf(tuple(reversed(sources))).pck_certificate(by_qe_id)
    assert found.chain == machine.pck_chain()
    assert found.remarks[0].startswith("Intel PCS was passed over: ")
    upstream.change(PCCS, wire_faults.unavailable)
    with pytest.raises(CollateralError):
        FirstOf(sources).pck_certificate(by_qe_id)


def test_lists_within_lists(intel: World, upstream: Upstream, sources: tuple[Source, ...]) -> None:
    """A list of sources is a source."""
    del upstream.handlers[ACC_CACHE]
    inner = FirstOf([pccs(upstream.connect, ACC_CACHE)])
    outer = FirstOf([inner, *sources])
    assert outer.name == f"PCCS {ACC_CACHE}, PCCS {PCCS}, Intel PCS"
    assert outer.collateral(need(intel.platform("node"))).remarks[0].startswith("PCCS https://glob")


def test_no_source_at_all() -> None:
    """An empty list is a configuration error, not an absence."""
    with pytest.raises(ConfigError) as caught:
        FirstOf([])
    assert caught.value.code == "source-none"


def test_who_was_passed_over_is_not_kept(
    intel: World, upstream: Upstream, sources: tuple[Source, ...], tmp_path: Path
) -> None:
    """That a source failed is told of that fetch alone: what is kept does not repeat it."""
    upstream.change(PCCS, wire_faults.unavailable)
    anchor = TrustAnchor.insecure_test_root(intel.intel.root.certificate)
    cache = CachedSource(
        FirstOf(sources), directory=tmp_path, anchor=anchor, clock=lambda: intel.at
    )
    wanted = need(intel.platform("node"))
    assert len(cache.collateral(wanted).remarks) == 1
    kept = cache.collateral(wanted)
    assert all(origin.cached for origin in kept.origins)
    assert kept.remarks == ()
