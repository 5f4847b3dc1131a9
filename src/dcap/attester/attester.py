"""What an attester is: 64 bytes of report data in, a quote out.

    attester = choose(surroundings)             # `choice`: what this machine offers, in a fixed order
    quote = attester.quote(report_data)

A quote binds its report data and nothing else; what they mean is the caller's. An SGX attester outside
an enclave (AESM, Intel's quoting library) signs the *report* of an enclave, which only that enclave can
make: a `Reporter` is how it is asked for one. Not here: which attesters there are (`choice`).

Source: `quote-provider.md` §5.3-5.7; Intel SDM vol. 3D (EREPORT, TARGETINFO).
"""

from collections.abc import Callable
from typing import Literal, Protocol, TypeAlias

import msgspec

from dcap.errors import AttesterError, ConfigError

#: Of every report, SGX and TDX alike.
REPORT_DATA_SIZE = 64

Tee: TypeAlias = Literal["SGX", "TDX"]
#: TARGETINFO of the quoting enclave (512 bytes) and report data (64) -> the enclave's REPORT (432).
Reporter: TypeAlias = Callable[[bytes, bytes], bytes]


class Description(msgspec.Struct, frozen=True, kw_only=True):
    """An attester as people see it: what was found of it, and why it serves or does not.

    `found` are facts, each a line ("/dev/tdx_guest: there, mode 0660, group tdx"). `why_not` is empty
    where it is usable; `mend` then too.
    """

    name: str
    tee: Tee
    usable: bool
    found: tuple[str, ...] = ()
    why_not: str = ""
    mend: str = ""


def described(
    name: str, tee: Tee, found: tuple[str, ...], problem: AttesterError | None
) -> Description:
    """An attester that serves, or that does not because of a problem."""
    return Description(
        name=name,
        tee=tee,
        usable=problem is None,
        found=found,
        why_not=problem.what if problem else "",
        mend=problem.mend if problem else "",
    )


class Attester(Protocol):
    """One way in which this machine makes quotes.

    Raises `AttesterError` where the machine does not make one: a device, daemon, library or right is
    missing, or it answered with an error, whose number the error names and explains.
    """

    @property
    def name(self) -> str:
        """A word: "gramine", "configfs-tsm", "tdx-qgs", "tdx-guest", "dcap-ql", "aesm"."""

    def describe(self) -> Description:
        """What there is of it on this machine. Asks no daemon for a quote."""

    def quote(self, report_data: bytes) -> bytes:
        """A quote over the report data, 64 bytes (`padded`)."""


def padded(report_data: bytes) -> bytes:
    """Report data as reports hold them. Raises `ConfigError` (`report-data-size`) above 64 bytes."""
    if len(report_data) > REPORT_DATA_SIZE:
        raise ConfigError(
            "report-data-size",
            f"{len(report_data)} bytes: a report binds {REPORT_DATA_SIZE} at most",
            where="report data",
            mend="bind a hash of them: --bind FILE does",
        )
    return report_data.ljust(REPORT_DATA_SIZE, b"\0")
