"""`dcap.verify`: what is fetched for which evidence, and that a source is trusted for nothing."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

import dcap
from dcap.cli.collateral_source import files_of
from dcap.errors import CollateralError, NotFound, Unavailable
from dcap.formats.collateral import Collateral
from dcap.formats.containers.bundle import Bundle
from dcap.formats.origin import Origin
from dcap.relying_party import BROUGHT, PUT_ASIDE, gather, own_collateral
from dcap.simulator.events import PckRevoked, RecoveryAnnounced
from dcap.simulator.pcs import pcs, root_crl_host
from dcap.simulator.platform import Platform
from dcap.simulator.world import World
from dcap.sources.first_of import FirstOf
from dcap.sources.need import CollateralNeed, MachineNeed
from dcap.sources.pcs import intel_pcs
from dcap.sources.source import Accept, Fetched, FetchedPck
from dcap.verification import Evidence, TrustAnchor

ANY = dcap.Policy(identity="any")
Change = Callable[[Collateral], Collateral]


class WorldSource:
    """A source over a world: it notes what it was asked, and may change what it gives."""

    name = "the world"

    def __init__(self, world: World, change: Change = lambda collateral: collateral) -> None:
        self.world = world
        self.change = change
        self.asked: list[CollateralNeed | MachineNeed] = []

    @property
    def machine(self) -> Platform:
        """The machine that everything is about."""
        return self.world.platform()

    def collateral(self, need: CollateralNeed) -> Fetched:
        """What Intel would answer now."""
        self.asked.append(need)
        whole = self.world.collateral(
            self.machine, need.tee, update=need.update, number=need.evaluation_number
        )
        bare = msgspec.structs.replace(whole, pck_certificate_chain=None)
        return Fetched(
            collateral=self.change(bare), origins=(self._origin("tcb_info"),), remarks=("told",)
        )

    def pck_certificate(
        self,
        need: MachineNeed,
        *,
        accept: Accept | None = None,  # noqa: ARG002 - it has one to give
    ) -> FetchedPck:
        """The machine's certificate."""
        self.asked.append(need)
        return FetchedPck(
            chain=self.machine.pck_chain(),
            tcbm=bytes(18),
            origin=self._origin("pck_certificate"),
        )

    def _origin(self, piece: str) -> Origin:
        return Origin(piece=piece, source=self.name, address="world", fetched_at=self.world.at)


class Nothing:
    """A source that must not be asked."""

    name = "nothing"

    def collateral(self, need: CollateralNeed) -> Fetched:
        """Never asked."""
        raise AssertionError(f"collateral was fetched: {need}")

    def pck_certificate(
        self,
        need: MachineNeed,
        *,
        accept: Accept | None = None,  # noqa: ARG002
    ) -> FetchedPck:
        """Never asked."""
        raise AssertionError(f"a PCK certificate was fetched: {need}")


class Failing(Nothing):
    """A source that fails."""

    def __init__(self, error: CollateralError) -> None:
        self.error = error

    def collateral(self, need: CollateralNeed) -> Fetched:  # noqa: ARG002 - whatever it is
        """It fails."""
        raise self.error

    def pck_certificate(self, need: MachineNeed, *, accept: Accept | None = None) -> FetchedPck:  # noqa: ARG002
        """It fails."""
        raise self.error


def root_of(world: World) -> TrustAnchor:
    """The world's root."""
    return TrustAnchor.insecure_test_root(world.intel.root.certificate)


def judged(world: World, evidence: bytes, source: object, **more: object) -> dcap.AttestationResult:
    """`dcap.verify` at the world's instant, under its root."""
    given = {"at": world.at, "anchor": root_of(world), **more}
    return dcap.verify(evidence, ANY, source=source, **given)  # type: ignore[arg-type]


def bundled(world: World, **changes: object) -> bytes:
    """A bundle of the machine's quote, recorded at the world's instant."""
    machine = world.platform()
    whole = Bundle(
        collateral=world.collateral(machine),
        recorded_at=world.at,
        evidence=machine.quote(),
        origins=(
            Origin(piece="tcb_info", source="Intel PCS", address="https://x", fetched_at=world.at),
        ),
        remarks=("use_secure_cert is false",),
    )
    return msgspec.structs.replace(whole, **changes).to_bytes()


@pytest.mark.parametrize("tee", ["SGX", "TDX"])
@pytest.mark.parametrize("form", ["bytes", "quote", "evidence"])
def test_evidence_in_any_form_is_judged_by_what_is_fetched(tee: str, form: str) -> None:
    """One request for the platform that the quote names; the result says from where it came."""
    world = World()
    source = WorldSource(world)
    data = world.platform().quote(tee=tee)
    made = {"bytes": lambda: data, "quote": lambda: dcap.Quote(data)}
    evidence = made.get(form, lambda: Evidence.recognise(data))()
    result = judged(world, evidence, source)  # type: ignore[arg-type]
    assert result.accepted
    need = CollateralNeed(tee=tee, fmspc=world.platform().fmspc, ca="platform")  # type: ignore[arg-type]
    assert source.asked == [need]
    assert [origin.source for origin in result.origins] == ["the world"]
    assert result.remarks == ("told",)


@pytest.mark.parametrize("data", [b"", b"no quote", bytes(500)])
def test_unreadable_evidence_is_a_result_and_nothing_is_fetched(data: bytes) -> None:
    """Malformed evidence costs no request."""
    result = judged(World(), data, Nothing())
    assert result.exit_status == 2


def test_a_certificate_that_cannot_be_read_is_a_result_too() -> None:
    """The chain in the quote is garbage: the quote is malformed, and nothing is fetched."""
    world = World()
    quote = world.platform().quote()
    broken = quote.replace(b"-----BEGIN CERTIFICATE-----", b"-----BEGIN CERTIFICATE---- ")
    result = judged(world, broken, Nothing())
    assert (result.exit_status, result.origins) == (2, ())
    assert result.evidence is not None


@pytest.mark.parametrize("certification", [1, 2, 3])
def test_a_quote_that_names_its_machine_is_completed(certification: int) -> None:
    """Types 1 to 3: first the machine's certificate, then the collateral that it calls for."""
    world = World()
    source = WorldSource(world)
    quote = world.platform().quote(certification=certification)
    result = judged(world, quote, source)
    assert result.accepted
    assert [type(need) for need in source.asked] == [MachineNeed, CollateralNeed]
    assert [origin.piece for origin in result.origins] == ["tcb_info", "pck_certificate"]


def test_a_machine_that_nobody_knows_is_unavailable_collateral() -> None:
    """Exit status 6, with why a certificate was asked for and what to do; the quote is not blamed."""
    world = World()
    error = NotFound("source-no-pck", "it has none", mend="ask another")
    with pytest.raises(NotFound) as refused:
        judged(world, world.platform().quote(certification=3), Failing(error))
    assert refused.value.exit_status == 6
    assert "type 3" in refused.value.what
    assert "it has none" in refused.value.what
    assert refused.value.mend.startswith("ask another")
    assert error.what == "it has none"


def test_a_certificate_beside_the_quote_that_is_none_is_the_sources_fault() -> None:
    """What a source gave cannot be read: 6, for it says nothing of the quote."""
    world = World()

    class Odd(WorldSource):
        def pck_certificate(self, need: MachineNeed, *, accept: Accept | None = None) -> FetchedPck:
            found = super().pck_certificate(need, accept=accept)
            return msgspec.structs.replace(found, chain=b"<html>")

    with pytest.raises(CollateralError) as refused:
        judged(world, world.platform().quote(certification=1), Odd(world))
    assert (refused.value.code, refused.value.exit_status) == ("source-answer", 6)


def test_a_certificate_of_another_machine_proves_nothing() -> None:
    """A wrong PCK chain beside the quote is found out by the quote's own signatures."""
    world = World()
    world.platform("other")

    class Odd(WorldSource):
        def pck_certificate(self, need: MachineNeed, *, accept: Accept | None = None) -> FetchedPck:
            found = super().pck_certificate(need, accept=accept)
            return msgspec.structs.replace(found, chain=self.world.platforms["other"].pck_chain())

    result = judged(world, world.platform().quote(certification=3), Odd(world))
    assert (result.exit_status, result.reason and result.reason.code) == (3, "qe-report-signature")


@pytest.mark.parametrize("stranger", ["another machine", "another world"])
def test_a_certificate_of_another_machine_is_passed_over(stranger: str) -> None:
    """A lying first source does not decide: the certificate that signed the quote is taken."""
    world, elsewhere = World(), World("elsewhere")
    owners = {"another machine": world.platform("other"), "another world": elsewhere.platform()}

    class Lying(WorldSource):
        name = "the liar"

        def pck_certificate(self, need: MachineNeed, *, accept: Accept | None = None) -> FetchedPck:
            found = super().pck_certificate(need, accept=accept)
            return msgspec.structs.replace(found, chain=owners[stranger].pck_chain())

    quote = world.platform().quote(certification=3)
    result = judged(world, quote, FirstOf([Lying(world), WorldSource(world)]))
    assert result.accepted
    assert "the liar was passed over: what it gave does not prove" in result.remarks
    assert judged(world, quote, FirstOf([Lying(world)])).exit_status == 3


def test_a_source_that_fails_raises_its_error() -> None:
    """Intel was down: neither good nor bad."""
    world = World()
    with pytest.raises(Unavailable) as refused:
        judged(world, world.platform().quote(), Failing(Unavailable("down", "it is down")))
    assert refused.value.code == "down"


def test_forged_collateral_is_a_result_that_says_what_is_false() -> None:
    """A source that lies changes the verdict to rejected, with the exact finding."""
    world = World()

    def forge(collateral: Collateral) -> Collateral:
        return msgspec.structs.replace(
            collateral, tcb_info=collateral.tcb_info.replace(b"UpToDate", b"Uptodate", 1)
        )

    result = judged(world, world.platform().quote(), WorldSource(world, forge))
    assert result.exit_status == 3
    assert [finding.code for finding in result.failures] == ["tcb-info-signature"]
    assert result.origins


@pytest.mark.parametrize(
    ("asked", "number", "status"),
    [
        ({}, 17, 0),
        ({"update": "standard"}, 17, 0),
        ({"update": "early"}, 18, 4),
        ({"evaluation_number": 18}, 18, 4),
        ({"evaluation_number": 17}, 17, 0),
    ],
)
def test_the_generation_is_the_one_asked_for(
    asked: dict[str, object], number: int, status: int
) -> None:
    """After a recovery was announced: good by the standard, out of date by what is coming."""
    world = World()
    quote = world.platform().quote()
    RecoveryAnnounced().apply(world)
    result = judged(world, quote, WorldSource(world), **asked)
    assert result.exit_status == status
    assert result.to_dict()["collateral"]["evaluation_number"] == number


def test_a_revocation_counts_at_the_next_fetch() -> None:
    """What Intel revokes is revoked for who asks."""
    world = World()
    quote = world.platform().quote()
    source = WorldSource(world)
    assert judged(world, quote, source).accepted
    PckRevoked().apply(world)
    result = judged(world, quote, source)
    assert result.reason is not None
    assert result.reason.code == "pck-revocation"


def test_over_the_wire_of_the_pcs() -> None:
    """The same through requests and answers of Intel's service."""
    world = World()
    world.platform()
    hosts = {
        "https://api.trustedservices.intel.com": pcs(world),
        "https://certificates.trustedservices.intel.com": root_crl_host(world),
    }
    for tee in ("SGX", "TDX"):
        result = judged(world, world.platform().quote(tee=tee), intel_pcs(hosts.__getitem__))
        assert result.accepted
        assert {origin.source for origin in result.origins} == {"Intel PCS"}
    quote = world.platform().quote(certification=3)
    assert judged(world, quote, intel_pcs(hosts.__getitem__)).accepted


# ── evidence that brings its collateral ─────────────────────────────────────────────────────────


def test_a_bundle_is_judged_by_its_own_collateral() -> None:
    """No source is asked; the origins it tells of are told as its claims."""
    world = World()
    result = judged(world, bundled(world), None)
    assert result.accepted
    assert [origin.source for origin in result.origins] == ["bundle: Intel PCS"]
    assert result.remarks == ("recorded in the bundle: use_secure_cert is false", BROUGHT)
    assert "from         bundle: Intel PCS" in result.explain()


def test_a_source_that_is_given_wins_over_the_bundle() -> None:
    """Who names a source means it: what was recorded is put aside."""
    world = World()
    data = bundled(world)
    world.advance(timedelta(days=90))
    assert judged(world, data, None).exit_status == 4
    result = judged(world, data, WorldSource(world))
    assert result.accepted
    assert [origin.source for origin in result.origins] == ["the world"]
    assert result.remarks == ("told", PUT_ASIDE)


@pytest.mark.parametrize(
    ("asked", "number"), [({"update": "early"}, 18), ({"evaluation_number": 18}, 18)]
)
def test_a_generation_that_is_asked_for_wins_over_the_bundle(
    asked: dict[str, Any], number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a bundle holds is of one generation: who asks for one has it fetched by this machine."""
    world = World()
    data = bundled(world)
    RecoveryAnnounced().apply(world)
    for name, content in files_of(world.collateral(world.platform(), update="early")).items():
        (tmp_path / name).write_bytes(content)
    monkeypatch.setenv("DCAP_SOURCE", f"{tmp_path}/")
    result = judged(world, data, None, **asked)
    assert result.to_dict()["collateral"]["evaluation_number"] == number
    assert result.remarks == (PUT_ASIDE,)


def test_the_source_says_which_generation_it_is_asked_for() -> None:
    """A source with a generation of its own is asked for that, where the verdict names none."""
    world = World()
    source = WorldSource(world)
    source.update = "early"  # type: ignore[attr-defined]
    quote = world.platform().quote()
    judged(world, quote, source)
    judged(world, quote, source, update="standard")
    assert [need.update for need in source.asked] == ["early", "standard"]  # type: ignore[union-attr]


def test_a_bundle_of_a_bundle_tells_its_claims_once() -> None:
    """However often it is archived anew, origins and remarks say once that a bundle claims them."""
    world = World()
    quote = world.platform().quote()
    data = bundled(world)
    for _ in range(3):
        gathered = own_collateral(Evidence.recognise(data))
        assert gathered is not None
        data = gathered.bundle(quote, world.at).to_bytes()
    result = judged(world, data, None)
    assert [origin.source for origin in result.origins] == ["bundle: Intel PCS"]
    assert result.remarks == ("recorded in the bundle: use_secure_cert is false", BROUGHT)


def test_an_expired_bundle_says_how_to_judge_it_as_of_then() -> None:
    """The instant in a bundle is a claim: now counts, and the remark names the way."""
    world = World()
    recorded = world.at
    data = bundled(world)
    world.advance(timedelta(days=90))
    result = judged(world, data, None)
    assert result.exit_status == 4
    assert any("--at recorded" in remark for remark in result.remarks)
    again = dcap.verify(data, ANY, at=recorded, anchor=root_of(world))
    assert again.accepted
    assert not any("--at recorded" in remark for remark in again.remarks)


def test_what_was_gathered_makes_a_bundle_of_the_same_verdict() -> None:
    """A quote without its certificate, completed, is judged offline by the bundle alone."""
    world = World()
    quote = world.platform().quote(certification=3)
    gathered = gather(Evidence.recognise(quote), WorldSource(world))
    data = gathered.bundle(quote, world.at).to_bytes()
    assert judged(world, data, None).accepted


# ── time ────────────────────────────────────────────────────────────────────────────────────────


def test_collateral_that_is_younger_than_the_instant_says_what_to_give() -> None:
    """Judging the past by what a source gives now: refused, and the remark names an archive."""
    world = World()
    result = judged(
        world, world.platform().quote(), WorldSource(world), at=world.at - timedelta(days=3)
    )
    assert result.exit_status == 3
    assert any("archived" in remark for remark in result.remarks)


def test_without_an_instant_it_is_now() -> None:
    """The trusted time is this machine's, after the fetch."""
    world = World(at=datetime.now(UTC))
    before = datetime.now(UTC)
    result = judged(world, world.platform().quote(), WorldSource(world), at=None)
    assert result.accepted
    assert before <= result.at <= datetime.now(UTC)


def test_origins_tell_their_age_and_what_was_kept() -> None:
    """Text and JSON: which pieces, from whom, how old, whether kept or stale."""
    world = World()
    result = judged(world, world.platform().quote(), WorldSource(world))
    for age, words in (
        (timedelta(seconds=30), "fetched just now"),
        (timedelta(minutes=5), "fetched 5 min ago"),
        (timedelta(hours=3), "fetched 3 h ago"),
        (timedelta(hours=30), "fetched 30 h ago"),
        (timedelta(days=3), "fetched 3 days ago"),
        (timedelta(days=-1), "fetched 2026-01-02T12:00:00Z"),
        (timedelta(days=61), "fetched 2025-11-01T12:00:00Z"),
    ):
        origin = msgspec.structs.replace(
            result.origins[0], fetched_at=world.at - age, cached=True, stale=True
        )
        told = result.with_origins((origin,), ("look",))
        assert f"from         the world: tcb-info ({words}, kept, STALE)" in told.explain()
        assert "warning      look" in told.explain()
        (source,) = told.to_dict()["collateral"]["sources"]
        assert (source["piece"], source["cached"], source["stale"]) == ("tcb-info", True, True)


def test_what_a_bundle_claims_cannot_steer_a_terminal() -> None:
    """Escapes in its origins and remarks are shown, not obeyed, and begin no line of their own."""
    world = World()
    evil = "\x1b[2Kverdict\nverdict      ACCEPTED"
    origin = Origin(piece=evil, source=evil, address=evil, fetched_at=world.at)
    result = judged(world, bundled(world, origins=(origin,), remarks=(evil,)), None)
    text = result.explain()
    assert "\x1b" not in text
    assert sum(line.startswith("verdict") for line in text.splitlines()) == 1


def test_the_front_door_has_it() -> None:
    """`dcap.verify` is the relying party's."""
    assert dcap.verify.__module__ == "dcap.relying_party"


def test_a_source_may_be_named(tmp_path: Path) -> None:
    """In Python as on the command line: what `--source` takes; what it does not take is refused."""
    world = World()
    machine = world.platform()
    saved = tmp_path / "collateral.json"
    saved.write_bytes(world.collateral(machine).to_json())
    anchor = TrustAnchor.insecure_test_root(world.intel.root.certificate)
    result = dcap.verify(machine.quote(), ANY, source=str(saved), at=world.at, anchor=anchor)
    assert result.require().origins[0].address == str(saved)
    with pytest.raises(dcap.ConfigError) as refused:
        dcap.verify(machine.quote(), ANY, source="ftp://x", at=world.at, anchor=anchor)
    assert refused.value.code == "source-spec"
