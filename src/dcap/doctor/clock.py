"""This machine's clock against those of the servers it asks.

Answers carry a `Date`: what the walks of `visits` have brought is looked at, nothing is asked anew.
Where servers differ among themselves, one of them is wrong. Not here: collateral's ages (`caches`).

Source: RFC 9110 §5.6.7, §6.6.1; `quote-provider.md` §6 row 12.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final

import msgspec

from dcap.doctor.examination import Check
from dcap.doctor.finding import Ailment, Finding, Mend, Remark, Right, Skipped
from dcap.doctor.probe import Visit
from dcap.doctor.scene import Scene
from dcap.doctor.visits import visits_of
from dcap.qpl.discovery_root import Root

_EXPIRED: Final = (
    "Certificates and collateral hold from one instant to another: to a clock that is ahead they have "
    "expired, to one that is behind they are not valid yet. A verdict reached by a wrong clock is "
    "worth nothing."
)
_SET: Final = (
    "`timedatectl status` shows what sets it; `sudo timedatectl set-ntp true` has it set.",
    "With chrony, at once: `sudo chronyc makestep`.",
    "In a container or a guest it is the host's: set it there.",
)

AILMENTS: Final[tuple[Ailment, ...]] = (
    Ailment(
        code="clock-unset",
        severity="error",
        title="The clock was never set",
        symptom=(
            "0xE065 at the first request, 0xE02C to 0xE030 at verifying; `date` shows a year that is "
            "long gone."
        ),
        causes=("The battery of the board is empty, or a guest began without a clock.",),
        why=_EXPIRED,
        mends=_SET,
        rows=(12,),
    ),
    Ailment(
        code="clock-wrong",
        severity="error",
        title="The clock is wrong by more than ten minutes",
        symptom=(
            "Verdicts say that TCB info, CRL or certificates have expired, or are not valid yet: "
            "0xE02C, 0xE02E, 0xE02F, 0xE030."
        ),
        causes=(
            "Nothing sets the clock: no time service runs, or its server is not reached.",
            "A guest was suspended, or restored from a snapshot.",
            "The board's clock keeps local time, and the system takes it for UTC.",
        ),
        why=_EXPIRED,
        mends=_SET,
        rows=(12,),
    ),
    Ailment(
        code="clock-off",
        severity="warning",
        title="The clock is off by more than a minute",
        symptom="Fresh collateral or a new certificate is not valid yet, now and then.",
        causes=("No time service runs, or it has just begun.",),
        why="What was issued in this very minute does not hold yet; and such a clock drifts on.",
        mends=_SET,
        rows=(12,),
    ),
    Ailment(
        code="server-clock-wrong",
        severity="warning",
        title="A server's clock is wrong",
        symptom="The PCCS throws away or keeps collateral at the wrong time.",
        causes=("The PCCS's host has no time service.",),
        why="A PCCS decides by its own clock whether what it keeps still holds.",
        mends=("On that server: `timedatectl status`, `sudo timedatectl set-ntp true`.",),
        rows=(12,),
    ),
)

_OFF: Final = timedelta(minutes=1)
_WRONG: Final = timedelta(minutes=10)
_FIRST_YEAR: Final = 2024
_UNITS: Final = ("systemd-timesyncd", "chrony", "chronyd", "ntpsec", "ntp", "ntpd", "openntpd")
_MENDS: Final = (
    Mend("`timedatectl status` shows what sets it; `sudo timedatectl set-ntp true` has it set"),
    Mend("with chrony, at once: `sudo chronyc makestep`"),
    Mend("in a container or a guest it is the host's clock: set it there"),
)


class _Told(msgspec.Struct, frozen=True):
    """What one server's clock says: how far it is ahead of ours."""

    host: str
    date: datetime
    seen_at: datetime

    @property
    def ahead(self) -> timedelta:
        return self.date - self.seen_at

    def __str__(self) -> str:
        return f"{self.host} says {self.date:%Y-%m-%d %H:%M:%S}, here it is {_text(self.seen_at)}"


def _look(scene: Scene) -> Iterator[Remark]:
    now = scene.clock()
    if now.year < _FIRST_YEAR:
        what = f"the clock says {now:%Y-%m-%d %H:%M}: it was never set"
        yield Finding("clock-unset", what, _setters(scene.root), _MENDS)
        return
    if scene.offline:
        yield Skipped("the clock", "no server is to be asked what time it is")
        return
    told = [each for _, visit in visits_of(scene).visits if visit and (each := _told(visit))]
    told = list({each.host: each for each in told}.values())
    if not told:
        yield Skipped("the clock", "no server that was asked has said what time it is")
        return
    yield from _judged(scene, told)


CHECKS: Final = (Check("clock", _look),)


def _judged(scene: Scene, told: list[_Told]) -> Iterator[Remark]:
    evidence = (*map(str, told), *_setters(scene.root))
    near = [each for each in told if abs(each.ahead) <= _OFF]
    far = [each for each in told if abs(each.ahead) > _OFF]
    if near and far:
        for each in far:
            what = (
                f"the clock of {each.host} is {_amount(each.ahead)}; others agree with this machine"
            )
            mend = Mend(f"on {each.host}: `sudo timedatectl set-ntp true`")
            yield Finding("server-clock-wrong", what, evidence, (mend,))
        return
    if near:
        yield Right(f"the clock is right: {near[0].host} agrees", evidence)
        return
    nearest = min(far, key=lambda each: abs(each.ahead))
    code = "clock-wrong" if abs(nearest.ahead) > _WRONG else "clock-off"
    alone = (
        f" (or that of {nearest.host}: no other server was asked)"
        if len(told) == 1 and not nearest.host.endswith((".intel.com", ".azure.net"))
        else ""
    )
    what = (
        f"this machine's clock is wrong{alone}: that of {nearest.host} is {_amount(nearest.ahead)}"
    )
    yield Finding(code, what, evidence, _MENDS)


def _told(visit: Visit) -> _Told | None:
    """What a server says, as old as the caches on the way say that it is."""
    if visit.seen_at is None:
        return None
    try:
        date = parsedate_to_datetime(visit.header("Date") or "")
        age = visit.header("Age") or "0"
        seconds = int(age) if age.isascii() and age.isdigit() and len(age) < 8 else 0
        return _Told(
            visit.address.host, date.astimezone(UTC) + timedelta(seconds=seconds), visit.seen_at
        )
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def _amount(ahead: timedelta) -> str:
    """How far a server's clock is from ours, in words."""
    seconds = abs(int(ahead.total_seconds()))
    sizes = (("days", 86400), ("hours", 3600), ("minutes", 60), ("seconds", 1))
    name, size = next(each for each in sizes if seconds >= 2 * each[1] or each[1] == 1)
    return f"{seconds // size} {name} {'ahead' if ahead > timedelta() else 'behind'}"


def _setters(root: Root) -> tuple[str, ...]:
    """What sets the clock of this machine."""
    if root.look("/run/systemd/timesync/synchronized").is_there:
        return ("systemd-timesyncd says that it has set the clock",)
    folder = "/etc/systemd/system"
    wanted = [
        unit
        for unit in _UNITS
        for wants in root.names(folder)
        if wants.endswith(".wants") and root.look(f"{folder}/{wants}/{unit}.service").link
    ]
    if wanted:
        return (f"enabled, to set the clock: {', '.join(dict.fromkeys(wanted))}",)
    return (f"no time service is enabled (looked for: {', '.join(_UNITS)})",)


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
