"""Why something is not handed out: the call is wrong, it does not prove, or its time is over.

Not here: which of Intel's numbers that is (`sources.intel_codes`).
"""

from datetime import datetime

from dcap.errors import CollateralError, NotFound


class Refused(Exception):  # noqa: N818 - what the caller is, not an error of ours
    """The call has a number for it, and nobody was asked. Never leaves `provider`."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(status, why)
        self.status = status
        self.why = why


def unproven(why: str) -> CollateralError:
    """What does not prove under the anchor; `why` is the check that failed."""
    return CollateralError(
        "provider-unproven",
        f"what the source gave does not prove, and is not handed out: {why}",
        mend="see which service answered: `dcap collateral get` says what is false of a set",
    )


def unproven_certificate(why: str) -> CollateralError:
    """A PCK certificate that does not prove, or is none of that machine."""
    return CollateralError(
        "provider-certificate",
        f"the PCK certificate that the source gave is not handed out: {why}",
        mend="see whether the caching service has the machine as it now is: register it again after a "
        "BIOS update",
    )


def expired(expires: datetime) -> NotFound:
    """What is genuine, and no longer in force: nothing that is could be had."""
    return NotFound(
        "provider-expired",
        f"what the source gave expired on {expires:%Y-%m-%d %H:%M} UTC, and is not handed out",
        mend="see whether the caching service still gets anything from Intel, and this machine's clock",
    )
