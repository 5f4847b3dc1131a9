"""The policy: every key it has, and that whatever it cannot obey it refuses, naming the key."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from dcap import ConfigError, Policy, Release
from dcap.appraisal.policy import ACCEPTABLE, MAX_POLICY, duration, padded_report_data
from dcap.verification import TcbStatus

RELEASE = '[[release]]\nname = "v1"\nmrenclave = "' + "ab" * 32 + '"\n'
V1 = Release(name="v1", mrenclave="ab" * 32)
UP, HARDENING = TcbStatus.UP_TO_DATE, TcbStatus.SW_HARDENING_NEEDED

#: Every key: a value in TOML, what it becomes, and a value of a wrong type.
KEYS: dict[str, tuple[str, Any, str]] = {
    "name": ('"prod"', "prod", "7"),
    "accepted_tcb_statuses": (
        '["UpToDate", "SWHardeningNeeded"]',
        (UP, HARDENING),
        '["Uptodate"]',
    ),
    "accepted_qe_statuses": ('["UpToDate"]', (UP,), '"UpToDate"'),
    "accepted_advisories": ('["INTEL-SA-00615"]', ("INTEL-SA-00615",), '"INTEL-SA-00615"'),
    "rejected_advisories": ('["INTEL-SA-01036"]', ("INTEL-SA-01036",), "[1]"),
    "minimum_tcb_date": ("2025-05-14", date(2025, 5, 14), '"yesterday"'),
    "minimum_evaluation_number": ("18", 18, '"18"'),
    "collateral_grace_period": ('"36h"', "36h", "1.5"),
    "platform_grace_period": ("86400", 86400, "true"),
    "maximum_collateral_age": ('"7d"', "7d", '["7d"]'),
    "minimum_tee_tcb_svn": ('"' + "0A" * 16 + '"', "0a" * 16, "10"),
    "allow_debug": ("true", True, '"true"'),
    "allow_dynamic_platform": ("false", False, "0"),
    "allow_cached_keys": ("false", False, '"no"'),
    "allow_smt": ("false", False, '"false"'),
    "allow_sept_ve": ("true", True, "1"),
    "allow_migratable": ("true", True, "1"),
    "allow_service_td": ("true", True, "1"),
    "report_data": ('"0xABCD"', "abcd" + "00" * 62, "0xABCD"),
    "attributes": ('"' + "05" + "00" * 15 + '"', "05" + "00" * 15, "5"),
    "attributes_mask": ('"' + "FF" * 16 + '"', "ff" * 16, "255"),
    "misc_select": ('"00000001"', "00000001", "1"),
    "misc_select_mask": ('"ffffffff"', "ffffffff", "1"),
    "td_attributes": ('"0000001000000000"', "0000001000000000", "268435456"),
    "td_attributes_mask": ('"ffffffffffffffff"', "ff" * 8, "true"),
    "xfam": ('"e702060000000000"', "e702060000000000", "[231]"),
    "xfam_mask": ('"ffffffffffffffff"', "ff" * 8, "[255]"),
    "identity": ('"any"', "any", '"all"'),
}
#: A mask is nothing without its value.
BESIDE = {
    f"{claim}_mask": claim for claim in ("attributes", "misc_select", "td_attributes", "xfam")
}


def code_of(text: str) -> str:
    """The code under which a policy's text is refused."""
    with pytest.raises(ConfigError) as error:
        Policy.from_toml(text)
    return error.value.code


def test_the_table_of_keys_is_complete() -> None:
    """Every field of the policy stands in the table above, except the releases."""
    assert {*KEYS, "releases"} == set(Policy.__struct_fields__)


@pytest.mark.parametrize("key", list(KEYS))
def test_every_key_is_read_from_toml(key: str) -> None:
    """A key in the file is the attribute of the same name."""
    text, value, _ = KEYS[key]
    beside = BESIDE.get(key)
    lines = f"{key} = {text}\n" + (f"{beside} = {KEYS[beside][0]}\n" if beside else "")
    read = getattr(Policy.from_toml(lines), key)
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize("key", list(KEYS))
def test_a_value_of_the_wrong_type_is_refused_by_its_key(key: str) -> None:
    """Nothing is coerced: "true" is no boolean, 18 no string; the message names the key."""
    with pytest.raises(ConfigError) as error:
        Policy.from_toml(f"{key} = {KEYS[key][2]}\n", "prod.toml")
    assert key in f"{error.value.what} {error.value.where}"
    assert "prod.toml" in error.value.where


@pytest.mark.parametrize(
    "key",
    ["allow_dynamic_plaform", "min_tcb_date", "Allow_debug", "acceptedTcbStatuses", "releases"],
)
def test_an_unknown_key_is_refused_by_name(key: str) -> None:
    """A misspelt key is a check not made: it is an error that names it."""
    with pytest.raises(ConfigError) as error:
        Policy.from_toml(f"{key} = true\n")
    assert error.value.code == "policy-key"
    assert key in error.value.what


def test_an_unknown_key_of_a_release_is_refused_by_name() -> None:
    """So it is inside a release, whose place in the file is told."""
    with pytest.raises(ConfigError) as error:
        Policy.from_toml(RELEASE + RELEASE.replace("v1", "v2") + "isvsvn = 3\n")
    assert "isvsvn" in error.value.what
    assert "release" in error.value.what


def test_a_key_without_release_brackets_belongs_to_the_policy() -> None:
    """`[release]`, one pair of brackets too few, is refused and not read as one release."""
    with pytest.raises(ConfigError) as error:
        Policy.from_toml(RELEASE.replace("[[release]]", "[release]"))
    assert "release" in error.value.what


def test_a_misspelt_mask_of_a_policy_is_refused() -> None:
    """A mask without its value would compare nothing."""
    assert code_of('xfam_mask = "ffffffffffffffff"\n') == "mask-without-value"


def test_releases_are_read_in_the_order_of_the_file() -> None:
    """Each `[[release]]` is one of the accepted releases."""
    policy = Policy.from_toml(RELEASE + RELEASE.replace("v1", "v2"))
    assert [release.name for release in policy.releases] == ["v1", "v2"]


def test_the_empty_policy_is_strict() -> None:
    """Every absent key is its strict default, and no identity is accepted."""
    policy = Policy.from_toml("")
    assert policy == Policy()
    assert policy.accepted_tcb_statuses == policy.qe_statuses == (UP,)
    assert policy.identity is None
    assert policy.releases == ()
    assert not any(
        (
            policy.allow_debug,
            policy.allow_sept_ve,
            policy.allow_migratable,
            policy.allow_service_td,
            policy.collateral_grace_period,
            policy.platform_grace_period,
        )
    )


def test_qe_statuses_follow_the_tcb_statuses_unless_given() -> None:
    """One list serves for both, until the policy has one for the QE."""
    both = Policy(accepted_tcb_statuses=(UP, HARDENING))
    apart = Policy(accepted_tcb_statuses=(UP, HARDENING), accepted_qe_statuses=(UP,))
    assert both.qe_statuses == (UP, HARDENING)
    assert apart.qe_statuses == (UP,)


@pytest.mark.parametrize("key", ["accepted_tcb_statuses", "accepted_qe_statuses"])
def test_revoked_cannot_be_accepted(key: str) -> None:
    """No policy can make a revoked platform or QE acceptable."""
    assert code_of(f'{key} = ["UpToDate", "Revoked"]\n') == "policy-revoked"
    assert TcbStatus.REVOKED not in ACCEPTABLE
    assert len(ACCEPTABLE) == len(TcbStatus) - 1


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("accepted_tcb_statuses = []\n", "policy-no-status"),
        ('collateral_grace_period = "1d"\nplatform_grace_period = 1\n', "policy-two-graces"),
        ('identity = "any"\n' + RELEASE, "policy-any-and-releases"),
        (RELEASE + RELEASE, "policy-release-twice"),
        ('[[release]]\nname = "v1"\nproduct_id = 1\n', "release-pins-nothing"),
        ('[[release]]\nname = "v1"\nmrenclave = []\n', "release-empty-list"),
        (RELEASE + f'mrtd = "{"ab" * 48}"\n', "release-of-two-tees"),
        (RELEASE.replace("ab" * 32, "ab" * 31), "policy-hex"),
        ('report_data = ""\n', "policy-hex"),
        (f'report_data = "{"00" * 65}"\n', "policy-hex"),
        ('report_data = "abc"\n', "policy-hex"),
        ('report_data = "zz"\n', "policy-hex"),
        ('minimum_tee_tcb_svn = "0601"\n', "policy-hex"),
        ('attributes = "05"\n', "policy-hex"),
        ('maximum_collateral_age = "soon"\n', "policy-duration"),
        ("collateral_grace_period = -1\n", "policy-duration"),
        ("allow_debug = maybe\n", "policy-toml"),
        ("allow_smt = true\nallow_smt = true\n", "policy-toml"),
        ("[" * 5000, "policy-toml"),
        ("#" * (MAX_POLICY + 1), "policy-too-large"),
    ],
)
def test_what_cannot_be_obeyed_is_refused(text: str, code: str) -> None:
    """Each contradiction in a policy has its own code; none of them makes a policy."""
    assert code_of(text) == code


def test_graces_of_zero_do_not_exclude_each_other() -> None:
    """Naming a grace period of nothing is not asking for one."""
    assert Policy.from_toml('collateral_grace_period = "0s"\nplatform_grace_period = "7d"\n')


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (0, 0),
        (90, 90),
        ("90s", 90),
        ("30m", 1800),
        ("36h", 129600),
        ("7d", 604800),
        ("2w", 1209600),
        ("7 d", 604800),
    ],
)
def test_durations_are_seconds_or_a_number_with_a_unit(value: int | str, seconds: int) -> None:
    """The forms of a duration."""
    assert duration(value, "key") == timedelta(seconds=seconds)


@pytest.mark.parametrize("value", ["", "7", "d", "7days", "1.5h", "-7d", "7d 3h", "P7D", -1])
def test_other_durations_are_refused_with_the_key(value: int | str) -> None:
    """What might mean two things means neither; "7" without a unit does too."""
    with pytest.raises(ConfigError) as error:
        duration(value, "maximum_collateral_age")
    assert (error.value.code, error.value.where) == ("policy-duration", "maximum_collateral_age")


@pytest.mark.parametrize(
    ("text", "padded"),
    [
        ("ab", "ab"),
        ("0xAB", "ab"),
        ("AB CD\n", "abcd"),
        ("00" * 63 + "01", "00" * 63 + "01"),
    ],
)
def test_report_data_are_padded_with_zeros(text: str, padded: str) -> None:
    """Attesters pad what they bind to 64 bytes; so does the policy."""
    assert padded_report_data(text) == padded.ljust(128, "0")
    assert Policy(report_data=text).expected_report_data == bytes.fromhex(padded.ljust(128, "0"))


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2025-05-14", datetime(2025, 5, 14, tzinfo=UTC)),
        ("2025-05-14T06:00:00Z", datetime(2025, 5, 14, 6, tzinfo=UTC)),
        ("2025-05-14T06:00:00", datetime(2025, 5, 14, 6, tzinfo=UTC)),
        ("2025-05-14T06:00:00+02:00", datetime(2025, 5, 14, 4, tzinfo=UTC)),
    ],
)
def test_a_minimum_date_is_a_day_or_an_instant(text: str, instant: datetime) -> None:
    """A day is its beginning, a time without a zone is of UTC."""
    assert Policy.from_toml(f"minimum_tcb_date = {text}\n").minimum_tcb_instant == instant


def test_advisory_ids_are_compared_as_intel_writes_them() -> None:
    """An id in another spelling would never match: it is refused, or made Intel's."""
    try:
        policy = Policy(rejected_advisories=("intel-sa-00615",))
    except ConfigError:
        return
    assert policy.rejected_advisories == ("INTEL-SA-00615",)


def test_a_policy_is_frozen() -> None:
    """A policy is not loosened after it was checked."""
    with pytest.raises(AttributeError):
        Policy().allow_debug = True  # type: ignore[misc]
    with pytest.raises(TypeError):
        Policy(allow_everything=True)  # type: ignore[call-arg]


def test_the_example_in_the_module_is_a_policy() -> None:
    """What the policy's own documentation shows can be read."""
    from dcap.appraisal import policy as module  # noqa: PLC0415

    assert module.__doc__ is not None
    example = "\n".join(
        line.strip() for line in module.__doc__.splitlines() if line.startswith("    ")
    ).replace("83d7…", "83d7" + "00" * 30)
    read = Policy.from_toml(example)
    assert read.accepted_tcb_statuses == (UP, HARDENING)
    assert read.releases[0].minimum_svn == 3


def test_the_documented_keys_are_those_of_the_type() -> None:
    """Every public key has a comment of its own in the source, which the reference page prints."""
    source = Path(__file__).parents[2] / "src" / "dcap" / "appraisal" / "policy.py"
    lines = source.read_text().splitlines()
    undocumented = []
    for number, line in enumerate(lines):
        key = line.strip().partition(":")[0]
        alone = key in KEYS and not key.endswith(("_mask",)) and line.startswith(f"    {key}:")
        above = lines[number - 1].strip() if number else ""
        if alone and not above.startswith("#:"):
            undocumented.append(key)
    assert undocumented == []


def test_a_policy_in_python_equals_the_same_in_toml() -> None:
    """The type and the file say the same."""
    text = 'accepted_tcb_statuses = ["UpToDate"]\nallow_smt = false\n' + RELEASE
    assert Policy.from_toml(text) == Policy(allow_smt=False, releases=(V1,))
    assert msgspec.to_builtins(Policy(releases=(V1,)))["release"][0]["name"] == "v1"
