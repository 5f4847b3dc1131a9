"""The appraisal policy: what you accept. A TOML file, or this type in Python.

Every loosening is spelled. The absence of a key is its default, which is strict but for three facts of
the platform that Intel's own default accepts (dynamic platform, cached keys, SMT) and for further
minimums that only you can know (TCB date, evaluation number, age of collateral, advisories). A policy
that names no release accepts nothing, unless it says `identity = "any"`. Unknown keys are errors.

    accepted_tcb_statuses = ["UpToDate", "SWHardeningNeeded"]
    maximum_collateral_age = "7d"

    [[release]]
    name = "v1.4.2"
    mrsigner = "83d7…"
    product_id = 1
    minimum_svn = 3

Source: Intel QAL policies (`verification.md` §8); the habits of `users-and-interop.md` §1.3.
"""

import re
import tomllib
from datetime import UTC, date, datetime, timedelta
from typing import Literal

import msgspec

from dcap.appraisal.reference_values import Release, check_masks, check_types, normal_hex
from dcap.errors import ConfigError
from dcap.verification.status import TcbStatus

UP_TO_DATE = (TcbStatus.UP_TO_DATE,)
#: Every status but Revoked, which nothing can accept.
ACCEPTABLE = tuple(status for status in TcbStatus if status is not TcbStatus.REVOKED)
ANY_IDENTITY = "any"
_DURATION = re.compile(r"(\d{1,9})\s*([smhdw])")
_ADVISORY = re.compile(r"INTEL-SA-\d{5,6}")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
MAX_POLICY = 256 * 1024
_LONGEST = 20 * 366 * 86400

Duration = int | str


class Policy(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    rename={"releases": "release"},
):
    """What is acceptable. Field order is the order of the reference page."""

    #: A name for people; the result repeats it.
    name: str = ""
    #: TCB statuses that are accepted. "Revoked" cannot be.
    accepted_tcb_statuses: tuple[TcbStatus, ...] = UP_TO_DATE
    #: QE statuses that are accepted; where absent, the TCB statuses above.
    accepted_qe_statuses: tuple[TcbStatus, ...] | None = None
    #: Where given, no advisory but these may apply to the matched levels.
    accepted_advisories: tuple[str, ...] | None = None
    #: Advisories that may never apply to the matched levels.
    rejected_advisories: tuple[str, ...] = ()
    #: The TCB date must not be before this day (or instant).
    minimum_tcb_date: date | None = None
    #: TCB info and QE identity must both be of this evaluation data number, or later.
    minimum_evaluation_number: int | None = None
    #: How long after its expiry collateral is still accepted ("0s"; "36h", "7d" or seconds).
    collateral_grace_period: Duration = 0
    #: How long after its TCB date an OutOfDate platform is still accepted.
    platform_grace_period: Duration = 0
    #: How old TCB info, QE identity and PCK CRL may be, though they have not expired.
    maximum_collateral_age: Duration | None = None
    #: TDX: every byte of TEE_TCB_SVN must reach this (hex, 16 bytes).
    minimum_tee_tcb_svn: str | None = None
    #: Accept debug enclaves and TDs, whose memory is open to their host.
    allow_debug: bool = False
    #: Accept platforms that packages can be added to.
    allow_dynamic_platform: bool = True
    #: Accept platforms whose root keys Intel's registration service caches.
    allow_cached_keys: bool = True
    #: Accept platforms with simultaneous multithreading enabled.
    allow_smt: bool = True
    #: TDX: accept TDs without SEPT_VE_DISABLE, which their host can attack by removing pages.
    allow_sept_ve: bool = False
    #: TDX: accept TDs that can be migrated to another machine.
    allow_migratable: bool = False
    #: TDX: accept TDs with a bound service TD (MRSERVICETD not zero).
    allow_service_td: bool = False
    #: The report data that the quote must carry (hex; shorter than 64 bytes: zero-padded).
    report_data: str | None = None
    #: SGX: ATTRIBUTES that every accepted enclave must have, under the mask (hex, 16 bytes).
    attributes: str | None = None
    attributes_mask: str | None = None
    #: SGX: MISCSELECT, under the mask (hex, 4 bytes).
    misc_select: str | None = None
    misc_select_mask: str | None = None
    #: TDX: TDATTRIBUTES, under the mask (hex, 8 bytes).
    td_attributes: str | None = None
    td_attributes_mask: str | None = None
    #: TDX: XFAM, under the mask (hex, 8 bytes).
    xfam: str | None = None
    xfam_mask: str | None = None
    #: "any" accepts every enclave or TD on a good platform. Say it only if you mean it.
    identity: Literal["any"] | None = None
    #: The releases that are accepted (`[[release]]` in TOML).
    releases: tuple[Release, ...] = ()

    def __post_init__(self) -> None:
        _check(self)

    @classmethod
    def from_toml(cls, text: str, where: str = "policy") -> "Policy":
        """Read a policy file's text. Raises `ConfigError` with the key and what it should be."""
        if len(text) > MAX_POLICY:
            raise ConfigError("policy-too-large", f"over {MAX_POLICY} characters", where=where)
        try:
            content = tomllib.loads(text)
        except (ValueError, RecursionError) as error:
            raise ConfigError(
                "policy-toml", f"not valid TOML: {error}", where=where, mend="mend that line"
            ) from None
        least = content.get("minimum_tcb_date")
        if isinstance(least, datetime):  # a date, and more; put back below
            content["minimum_tcb_date"] = least.date()
        try:
            policy = msgspec.convert(content, cls)
            return (
                msgspec.structs.replace(policy, minimum_tcb_date=least)
                if isinstance(least, datetime)
                else policy
            )
        except msgspec.ValidationError as error:
            raise ConfigError(
                "policy-key",
                _readable(str(error)),
                where=where,
                mend=_mend(str(error)),
            ) from None
        except ConfigError as error:
            place = f"{where}: {error.where}" if error.where else where
            raise ConfigError(error.code, error.what, where=place, mend=error.mend) from None

    @property
    def qe_statuses(self) -> tuple[TcbStatus, ...]:
        """The QE statuses that are accepted."""
        if self.accepted_qe_statuses is None:
            return self.accepted_tcb_statuses
        return self.accepted_qe_statuses

    @property
    def expected_report_data(self) -> bytes | None:
        """The 64 bytes that the report data must be."""
        return None if self.report_data is None else bytes.fromhex(self.report_data)

    @property
    def minimum_tcb_instant(self) -> datetime | None:
        """`minimum_tcb_date` as an instant: a day is its beginning in UTC."""
        least = self.minimum_tcb_date
        if least is None:
            return None
        if not isinstance(least, datetime):
            return datetime(least.year, least.month, least.day, tzinfo=UTC)
        return least if least.tzinfo else least.replace(tzinfo=UTC)


def duration(value: Duration, where: str) -> timedelta:
    """Seconds, or a number with a unit: 90s, 30m, 36h, 7d, 2w."""
    match = _DURATION.fullmatch(f"{value}s" if isinstance(value, int) else value)
    seconds = int(match[1]) * _UNITS[match[2]] if match else _LONGEST + 1
    if seconds > _LONGEST:
        raise ConfigError(
            "policy-duration",
            f"{str(value)[:40]!r} is not a duration of at most twenty years",
            where=where,
            mend='write seconds, or a number with s, m, h, d or w: "36h", "7d"',
        )
    return timedelta(seconds=seconds)


def padded_report_data(text: str, where: str = "report_data") -> str:
    """Hex of 64 bytes, from hex of at most 64: attesters pad with zeros."""
    cleaned = "".join(text.split()).removeprefix("0x")
    if not cleaned or len(cleaned) > 128 or len(cleaned) % 2:
        raise ConfigError(
            "policy-hex", "report data are 1 to 64 bytes of hex (2 to 128 digits)", where=where
        )
    try:
        return bytes.fromhex(cleaned).ljust(64, b"\0").hex()
    except ValueError:
        raise ConfigError(
            "policy-hex", f"not hex: {text[:40]!r}", where=where, mend="give it in hex digits"
        ) from None


def _check(policy: Policy) -> None:
    """Hold a policy to its types and to itself, and bring its values into one spelling."""
    check_types(policy, "policy")
    _check_statuses(policy)
    _check_durations(policy)
    spelled: dict[str, object] = {}
    for key in ("accepted_advisories", "rejected_advisories"):
        if (ids := getattr(policy, key)) is not None:
            spelled[key] = tuple(_advisory(text, key) for text in ids)
    if policy.minimum_tee_tcb_svn is not None:
        svn = normal_hex(policy.minimum_tee_tcb_svn, 16, "minimum_tee_tcb_svn")
        spelled["minimum_tee_tcb_svn"] = svn
    if policy.report_data is not None:
        spelled["report_data"] = padded_report_data(policy.report_data)
    for key, value in spelled.items():
        msgspec.structs.force_setattr(policy, key, value)
    check_masks(policy, "policy")
    if policy.identity == ANY_IDENTITY and policy.releases:
        raise ConfigError(
            "policy-any-and-releases",
            'identity = "any" stands beside releases, which it makes meaningless',
            mend="take one of them away",
        )
    names = [release.name for release in policy.releases]
    if len(set(names)) != len(names):
        raise ConfigError(
            "policy-release-twice", "two releases have the same name", mend="rename one of them"
        )


def _check_statuses(policy: Policy) -> None:
    revoked = TcbStatus.REVOKED
    if revoked in policy.accepted_tcb_statuses or revoked in (policy.accepted_qe_statuses or ()):
        raise ConfigError(
            "policy-revoked",
            "Revoked cannot be accepted: Intel does not vouch for it any more",
            mend="take it out of the accepted statuses",
        )
    if not policy.accepted_tcb_statuses:
        raise ConfigError(
            "policy-no-status",
            "accepted_tcb_statuses is empty: nothing can pass",
            mend="leave the key out for UpToDate alone",
        )


def _check_durations(policy: Policy) -> None:
    collateral = duration(policy.collateral_grace_period, "collateral_grace_period")
    platform = duration(policy.platform_grace_period, "platform_grace_period")
    if collateral and platform:
        raise ConfigError(
            "policy-two-graces",
            "collateral_grace_period and platform_grace_period exclude each other",
            mend="with old collateral, how long a platform is out of date cannot be known",
        )
    number = policy.minimum_evaluation_number
    if number is not None and not 0 <= number <= 0xFFFF_FFFF:
        raise ConfigError(
            "policy-range",
            f"minimum_evaluation_number is {number}, not a number that Intel uses",
            mend="Intel's numbers are around 20",
        )
    if policy.maximum_collateral_age is not None:
        duration(policy.maximum_collateral_age, "maximum_collateral_age")


def _advisory(text: str, key: str) -> str:
    """An advisory id in Intel's spelling: one that is spelled otherwise would never match."""
    advisory = text.strip().upper()
    if not _ADVISORY.fullmatch(advisory):
        raise ConfigError(
            "policy-advisory",
            f"{text[:40]!r} is not an advisory id",
            where=key,
            mend="write it as Intel does: INTEL-SA-00615",
        )
    return advisory


def _mend(message: str) -> str:
    if "enum value" in message:
        return f"the statuses are {', '.join(ACCEPTABLE)}"
    if "required field" in message:
        return "every [[release]] has a name and what identifies it (mrenclave, mrsigner or mrtd)"
    return "every key is in the policy reference (docs/reference/policy.md; help(dcap.Policy))"


def _readable(message: str) -> str:
    """A message of msgspec for a wrong key, in those of the file."""
    message = message.replace("Object contains unknown field", "unknown key")
    return message.replace(" - at `$", " at `").replace("`.", "`")
