"""Freshness: how long what was kept may be used, and when it is asked for anew.

    refresh_after   asked for anew; where that fails, what is kept still serves, and a remark says so
    maximum_age     never served after it, counted from the fetch …
    (nextUpdate)    … nor after the earliest expiry that Intel signed into one of the pieces
    stale_for       unless a policy allows so much longer: served then, and labelled stale

Two instants count: what this machine's clock shows, for ages, and the one that verdicts are for, for
what Intel signed. They are one, unless somebody asks how it was, or will be, at another.

Intel renews everything at least monthly and its CRLs about daily; a day and a week are the defaults,
so that a week without the source goes unnoticed, and nobody acts on older news. Not here: what may
be kept at all (`kept`), and whether a verdict accepts stale collateral (`appraisal.Policy`).

Source: `quote-provider.md` §1.3 and §2.8 (Intel's 168 hours, its cache's blindness to nextUpdate).
"""

from datetime import datetime, timedelta
from enum import Enum

import msgspec

from dcap.errors import ConfigError

#: Machines that share a cache have clocks that differ; kept further in the future, it is not used.
CLOCK_SKEW = timedelta(minutes=5)


class Standing(Enum):
    """What may be done with something kept."""

    FRESH = "served without asking"
    DUE = "asked for anew, and served where that fails"
    STALE = "as due, but by the policy's leave alone, and labelled"
    SPENT = "never served"


class Term(msgspec.Struct, frozen=True):
    """From when to when something proven is in force: the latest issue, the earliest expiry."""

    begins: datetime
    expires: datetime


class Freshness(msgspec.Struct, frozen=True, kw_only=True):
    """The durations. Raises `ConfigError` (`cache-freshness`) where one is negative.

    `certificate_refresh_after` is for the PCK certificate of a machine, which serves until its own
    expiry where no newer one can be had: revocation is told by the CRL, not by its age.
    """

    refresh_after: timedelta = timedelta(hours=24)
    maximum_age: timedelta = timedelta(days=7)
    stale_for: timedelta = timedelta(0)
    certificate_refresh_after: timedelta = timedelta(hours=168)

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            if getattr(self, name) < timedelta(0):
                raise ConfigError(
                    "cache-freshness",
                    "a duration of the cache is negative",
                    where=name,
                    mend="give zero or more; a maximum age of zero keeps nothing",
                )

    def of_collateral(self, kept_at: datetime, term: Term, now: datetime, at: datetime) -> Standing:
        """The standing of a set of collateral: its age counts `now`, what Intel signed `at`."""
        if kept_at - now > CLOCK_SKEW or at < term.begins:
            return Standing.SPENT
        age = max(now - kept_at, timedelta(0))
        overdue = max(age - self.maximum_age, at - term.expires)
        if overdue >= timedelta(0):
            return Standing.STALE if overdue < self.stale_for else Standing.SPENT
        return _fresh_or_due(kept_at, term, now, self.refresh_after)

    def of_certificate(
        self, kept_at: datetime, term: Term, now: datetime, at: datetime
    ) -> Standing:
        """The standing of a PCK certificate: it has no maximum age but its own."""
        if kept_at - now > CLOCK_SKEW or not term.begins <= at < term.expires:
            return Standing.SPENT
        return _fresh_or_due(kept_at, term, now, self.certificate_refresh_after)


# Instants are subtracted and never added to, so that none can overflow.


def _fresh_or_due(
    kept_at: datetime, term: Term, now: datetime, refresh_after: timedelta
) -> Standing:
    """Ahead of an expiry that is near, half of what was left of it at the fetch is waited for."""
    wait = min(refresh_after, (term.expires - kept_at) / 2)
    return Standing.FRESH if now - kept_at < wait else Standing.DUE
