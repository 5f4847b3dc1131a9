"""What the cache says to people: beside what it serves, and in errors where nothing that is kept serves.

Not here: what is served (`cache`), and the texts of the sources themselves.
"""

import copy
from datetime import UTC, datetime, timedelta

import msgspec

from dcap.errors import CollateralError
from dcap.sources.disk import Disk
from dcap.sources.freshness import CLOCK_SKEW, Term
from dcap.sources.source import Fetched, FetchedPck

_DAY = timedelta(days=1)


class Mark(msgspec.Struct, frozen=True):
    """What is said of an answer on its way out."""

    cached: bool
    stale: bool
    remarks: tuple[str, ...]


def mark_set(answer: Fetched, mark: Mark) -> Fetched:
    """A set that says whether it was kept."""
    origins = answer.origins
    if mark.cached:
        origins = tuple(
            msgspec.structs.replace(origin, cached=True, stale=mark.stale) for origin in origins
        )
    remarks = (*answer.remarks, *mark.remarks)
    return msgspec.structs.replace(answer, origins=origins, remarks=remarks)


def mark_certificate(answer: FetchedPck, mark: Mark) -> FetchedPck:
    """A certificate that says whether it was kept."""
    origin = answer.origin
    if mark.cached:
        origin = msgspec.structs.replace(origin, cached=True, stale=mark.stale)
    remarks = (*answer.remarks, *mark.remarks)
    return msgspec.structs.replace(answer, origin=origin, remarks=remarks)


def used(what: str, kept_at: datetime, why: str, *, stale: bool) -> str:
    """That something kept is used, and why nothing newer is."""
    state = "is past its time and used by your leave (--stale-for)" if stale else "is used"
    text = f"{what} kept since {day(kept_at)} {state}"
    return f"{text}, and could not be renewed: {why}" if why else text


def troubles(disk: Disk) -> tuple[str, ...]:
    """What keeps the disk from being used."""
    found = (disk.distrust,) if disk.distrust else ()
    if disk.trouble:
        place, why = disk.directory, disk.trouble
        text = f"the cache at {place} cannot be written ({why}): nothing is kept on the disk"
        found = (*found, text)
    return found


def is_offline(error: CollateralError) -> bool:
    """Whether nobody was asked at all: the error, or each one that it is made of, is `offline`."""
    attempts = getattr(error, "attempts", ())
    codes = {attempt.error.code for attempt in attempts} or {error.code}
    return codes == {"offline"}


def told(
    error: CollateralError,
    what: str,
    kept_at: datetime,
    term: Term,
    *,
    now: datetime,
    at: datetime,
    maximum_age: timedelta | None,
) -> CollateralError:
    """The source's error, with why what is kept does not serve, and what would make it."""
    if kept_at - now > CLOCK_SKEW or at < term.begins:
        return error
    since = f"the {what} kept since {day(kept_at)}"
    said = copy.copy(error)
    if at >= term.expires:
        said.what = f"{error.what}; {since} expired on {day(term.expires)}"
    elif maximum_age is not None:
        overdue = now - kept_at - maximum_age
        mine = f"or use what is kept: --stale-for {overdue // _DAY + 1}d"
        said.what = f"{error.what}; {since} is older than {_span(maximum_age)}"
        said.mend = f"{error.mend}; {mine}" if error.mend else mine
    return said


def day(moment: datetime) -> str:
    """An instant, to the minute."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _span(span: timedelta) -> str:
    hours = span // timedelta(hours=1)
    return f"{hours} hours" if span < 2 * _DAY else f"{span.days} days"
