"""Reference values: a set of named releases, each value given must match, and a miss says why."""

from typing import Any

import pytest
from judgements import failed, judge

from dcap import ConfigError, Policy, Quote, Release
from dcap.appraisal.claims import claims_of
from dcap.appraisal.reference_values import MASKED, MEASUREMENTS, PINS, normal_hex
from departures import World

ELSE = {size: "ab" * size for size in (4, 8, 16, 32, 48, 64)}
SGX = {"mrenclave", "mrsigner", "config_id", "isv_family_id", "isv_ext_prod_id"}
OF_TD_1_5 = "mrservicetd"


@pytest.fixture(scope="module")
def enclave(world: World) -> dict[str, Any]:
    """The claims of a genuine SGX quote."""
    return claims_of(Quote.parse(world.quote()))


@pytest.fixture(scope="module")
def td(world: World) -> dict[str, Any]:
    """The claims of a genuine TDX quote of version 5, TD 1.5."""
    return claims_of(Quote.parse(world.quote(5, tee="tdx")))


def pinned(claims: dict[str, Any], **more: Any) -> Release:
    """A release that the claims match, with more asked of it."""
    pin = "mrenclave" if "mrenclave" in claims else "mrtd"
    return Release(name="v1", **{pin: claims[pin], **more})


@pytest.mark.parametrize("claim", list(MEASUREMENTS))
def test_every_measurement_is_compared(
    enclave: dict[str, Any], td: dict[str, Any], claim: str
) -> None:
    """A release that gives a measurement matches only a quote that has it; the miss names it."""
    claims = enclave if claim in SGX else td
    assert pinned(claims, **{claim: claims[claim]}).mismatches(claims) == ()
    reasons = pinned(claims, **{claim: ELSE[MEASUREMENTS[claim]]}).mismatches(claims)
    assert reasons == (f"{claim} is {claims[claim]}",)


@pytest.mark.parametrize("claim", list(MEASUREMENTS))
def test_alternatives_of_one_measurement_are_any_of(
    enclave: dict[str, Any], td: dict[str, Any], claim: str
) -> None:
    """A list of values accepts each of them, and nothing else."""
    claims = enclave if claim in SGX else td
    other = ELSE[MEASUREMENTS[claim]]
    assert pinned(claims, **{claim: (other, claims[claim])}).mismatches(claims) == ()
    assert pinned(claims, **{claim: (other, other[:-2] + "00")}).mismatches(claims) != ()


@pytest.mark.parametrize("claim", list(MASKED))
def test_masked_values_are_compared_under_their_mask(
    enclave: dict[str, Any], td: dict[str, Any], claim: str
) -> None:
    """Only the mask's ones count; without a mask, every bit does."""
    claims, size = (enclave if claim in ("attributes", "misc_select") else td), MASKED[claim]
    low, high = int(claims[claim], 16), "00" * (size - 1) + "01"
    flipped = f"{low ^ 1:0{2 * size}x}"
    inverse = f"{int(high, 16) ^ ((1 << 8 * size) - 1):0{2 * size}x}"
    assert pinned(claims, **{claim: claims[claim]}).mismatches(claims) == ()
    assert pinned(claims, **{claim: flipped, f"{claim}_mask": inverse}).mismatches(claims) == ()
    for mask in ({}, {f"{claim}_mask": high}):
        (reason,) = pinned(claims, **{claim: flipped}, **mask).mismatches(claims)
        assert reason.startswith(f"{claim} is {claims[claim]}, not {flipped} under mask")


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({"product_id": 7}, None),
        ({"product_id": 6}, "product_id is 7, not 6"),
        ({"product_id": 0}, "product_id is 7, not 0"),
        ({"minimum_svn": 3}, None),
        ({"minimum_svn": 0}, None),
        ({"minimum_svn": 4}, "svn is 3, below 4"),
        ({"minimum_config_svn": 0}, None),
        ({"minimum_config_svn": 1}, "config_svn is 0, below 1"),
    ],
)
def test_numbers_must_be_equal_or_reached(
    enclave: dict[str, Any], asked: dict[str, int], reason: str | None
) -> None:
    """A product id is equal, even to 0; SVNs are minima."""
    assert pinned(enclave, **asked).mismatches(enclave) == ((reason,) if reason else ())


def test_every_mismatch_is_told_at_once(enclave: dict[str, Any]) -> None:
    """Three values wrong are three reasons."""
    release = Release(name="v1", mrsigner=ELSE[32], product_id=1, minimum_svn=9)
    assert [reason.split()[0] for reason in release.mismatches(enclave)] == [
        "mrsigner",
        "product_id",
        "svn",
    ]


def test_mrenclave_and_mrsigner_must_both_match(enclave: dict[str, Any]) -> None:
    """Values of one release go together: one right pin does not excuse a wrong one."""
    assert pinned(enclave, mrsigner=ELSE[32]).mismatches(enclave) != ()


def test_a_release_is_for_one_tee(enclave: dict[str, Any], td: dict[str, Any]) -> None:
    """An SGX release never matches a TD, nor the other way round."""
    assert pinned(enclave).mismatches(td) == ("it is an identity for SGX",)
    assert pinned(td).mismatches(enclave) == ("it is an identity for TDX",)


def test_a_td_of_1_0_has_no_service_td_to_match(world: World) -> None:
    """A release that pins what the quote cannot carry does not match: absent is not equal."""
    claims = claims_of(Quote.parse(world.quote(tee="tdx")))
    release = pinned(claims, **{OF_TD_1_5: "00" * 48})
    assert release.mismatches(claims) == (f"the quote has no {OF_TD_1_5}",)


@pytest.mark.parametrize("pin", PINS)
def test_each_pin_alone_makes_a_release(pin: str) -> None:
    """One of MRENCLAVE, MRSIGNER and MRTD is enough, and one of them is needed."""
    assert Release(name="v1", **{pin: ELSE[MEASUREMENTS[pin]]})  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="release-pins-nothing"):
        Release(name="v1")
    with pytest.raises(ConfigError, match="release-empty-list"):
        Release(name="v1", **{pin: ()})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    ["AB" * 32, "0x" + "ab" * 32, " ".join(["ab"] * 32), "ab" * 16 + "\n" + "ab" * 16],
)
def test_hex_is_read_as_people_paste_it(text: str) -> None:
    """Upper case, 0x, blanks and line ends do not matter."""
    assert Release(name="v1", mrenclave=text).mrenclave == ("ab" * 32,)


@pytest.mark.parametrize(
    "text", ["", "ab" * 31, "ab" * 33, "zz" * 32, "ab" * 31 + "a", "00x" + "0" * 61]
)
def test_hex_of_another_length_is_refused_with_release_and_claim(text: str) -> None:
    """The error names the release and the measurement that cannot be read."""
    with pytest.raises(ConfigError) as error:
        Release(name="v1", mrsigner=(ELSE[32], text))
    assert error.value.code == "policy-hex"
    assert 'release "v1", mrsigner' in error.value.where


def test_normal_hex_is_a_fixed_point() -> None:
    """What was normalised stays as it is."""
    once = normal_hex("0xAB CD", 2, "here")
    assert normal_hex(once, 2, "here") == once == "abcd"


# ── sets of releases, in a policy ───────────────────────────────────────────────────────────────


def test_any_release_of_the_set_will_do(world: World, enclave: dict[str, Any]) -> None:
    """Rolling a release: the old and the new are both accepted, and the result says which it was."""
    old = Release(name="v1", mrenclave=ELSE[32])
    new = Release(name="v2", mrenclave=enclave["mrenclave"])
    result = judge(world, Policy(releases=(old, new)))
    assert (result.accepted, result.release) == (True, "v2")


def test_no_release_of_the_set_says_why_for_each(world: World, enclave: dict[str, Any]) -> None:
    """The finding has a reason for every release, with the value that the quote has."""
    releases = (
        Release(name="v1", mrenclave=ELSE[32]),
        Release(name="v2", mrsigner=enclave["mrsigner"], product_id=1),
    )
    result = judge(world, Policy(releases=releases))
    message = result.failures[0].message
    assert failed(result) == ["identity"]
    assert f'not release "v1": mrenclave is {enclave["mrenclave"]}' in message
    assert 'not release "v2": product_id is 7, not 1' in message


def test_a_long_set_is_told_in_short(world: World) -> None:
    """Of many releases five are told, and how many more there are."""
    releases = tuple(Release(name=f"v{n}", mrenclave=f"{n:064x}") for n in range(9))
    message = judge(world, Policy(releases=releases)).failures[0].message
    assert message.count("not release") == 5
    assert "and 4 more" in message


def test_values_of_two_releases_are_not_mixed(world: World, enclave: dict[str, Any]) -> None:
    """The signer of one release and the product id of another make no third."""
    releases = (
        Release(name="v1", mrsigner=enclave["mrsigner"], product_id=1),
        Release(name="v2", mrsigner=ELSE[32], product_id=7),
    )
    assert failed(judge(world, Policy(releases=releases))) == ["identity"]


def test_a_td_release_without_rtmrs_says_what_it_leaves_open(
    world: World, td: dict[str, Any]
) -> None:
    """MRTD is the firmware alone: kernel and command line are in the RTMRs, which stay unjudged."""
    result = judge(world, Policy(releases=(Release(name="v1", mrtd=td["mrtd"]),)), tee="tdx")
    assert result.accepted
    told = [item for item in result.not_checked if item.startswith("rtmr")]
    assert [item[:5] for item in told] == ["rtmr0", "rtmr1", "rtmr2", "rtmr3"]
