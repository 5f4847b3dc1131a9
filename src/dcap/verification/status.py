"""TCB statuses, how they converge, and when a TD should be relaunched. Tables, as Intel gives them.

Source: Intel PCS API "TCB status"; QVL `QuoteVerifier.cpp` (convergence, 4.1.2.5.18-20);
`verification.md` §6. A maximum by severity is *not* the rule: it loses "ConfigurationNeeded" when a
component is out of date (pitfall 32).
"""

from enum import StrEnum


class TcbStatus(StrEnum):
    """Intel's words for where a platform stands."""

    UP_TO_DATE = "UpToDate"
    SW_HARDENING_NEEDED = "SWHardeningNeeded"
    CONFIGURATION_NEEDED = "ConfigurationNeeded"
    CONFIGURATION_AND_SW_HARDENING_NEEDED = "ConfigurationAndSWHardeningNeeded"
    OUT_OF_DATE = "OutOfDate"
    OUT_OF_DATE_CONFIGURATION_NEEDED = "OutOfDateConfigurationNeeded"
    TD_RELAUNCH_ADVISED = "TDRelaunchAdvised"
    TD_RELAUNCH_ADVISED_CONFIGURATION_NEEDED = "TDRelaunchAdvisedConfigurationNeeded"
    REVOKED = "Revoked"


S = TcbStatus

#: What Intel may write in each document; anything else is unrecognised.
PLATFORM_STATUSES = frozenset(
    {
        S.UP_TO_DATE,
        S.SW_HARDENING_NEEDED,
        S.CONFIGURATION_NEEDED,
        S.CONFIGURATION_AND_SW_HARDENING_NEEDED,
        S.OUT_OF_DATE,
        S.OUT_OF_DATE_CONFIGURATION_NEEDED,
        S.REVOKED,
    }
)
QE_STATUSES = frozenset(
    {
        S.UP_TO_DATE,
        S.OUT_OF_DATE,
        S.CONFIGURATION_NEEDED,
        S.OUT_OF_DATE_CONFIGURATION_NEEDED,
        S.REVOKED,
    }
)
TDX_MODULE_STATUSES = frozenset({S.UP_TO_DATE, S.OUT_OF_DATE, S.REVOKED})

#: The platform's status when a component (QE, TDX module) is out of date; others are unchanged.
WITH_OUT_OF_DATE_COMPONENT = {
    S.UP_TO_DATE: S.OUT_OF_DATE,
    S.SW_HARDENING_NEEDED: S.OUT_OF_DATE,
    S.CONFIGURATION_NEEDED: S.OUT_OF_DATE_CONFIGURATION_NEEDED,
    S.CONFIGURATION_AND_SW_HARDENING_NEEDED: S.OUT_OF_DATE_CONFIGURATION_NEEDED,
}

_STALE = frozenset({S.OUT_OF_DATE, S.OUT_OF_DATE_CONFIGURATION_NEEDED})
_GOOD_AFTER_RELAUNCH = frozenset(
    {
        S.UP_TO_DATE,
        S.SW_HARDENING_NEEDED,
        S.CONFIGURATION_NEEDED,
        S.CONFIGURATION_AND_SW_HARDENING_NEEDED,
    }
)
_NEEDS_CONFIGURATION = frozenset(
    {
        S.CONFIGURATION_NEEDED,
        S.CONFIGURATION_AND_SW_HARDENING_NEEDED,
        S.OUT_OF_DATE_CONFIGURATION_NEEDED,
    }
)


def converge(platform: TcbStatus, components: tuple[TcbStatus, ...]) -> TcbStatus:
    """The status of a platform together with its QE and, for TDX 1.5, its module."""
    if platform == S.REVOKED or S.REVOKED in components:
        return S.REVOKED
    if S.OUT_OF_DATE in components:
        return WITH_OUT_OF_DATE_COMPONENT.get(platform, platform)
    return platform


def relaunch(launch: TcbStatus, current: TcbStatus) -> TcbStatus:
    """What launch-time and current TCB of a TD mean together (TDX 1.5)."""
    if launch in _STALE and current in _GOOD_AFTER_RELAUNCH:
        if launch in _NEEDS_CONFIGURATION or current in _NEEDS_CONFIGURATION:
            return S.TD_RELAUNCH_ADVISED_CONFIGURATION_NEEDED
        return S.TD_RELAUNCH_ADVISED
    return launch


def known(text: str, allowed: frozenset[TcbStatus]) -> TcbStatus | None:
    """The status of that spelling, where the document may use it."""
    try:
        status = TcbStatus(text)
    except ValueError:
        return None
    return status if status in allowed else None
