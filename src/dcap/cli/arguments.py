"""What commands share in reading their arguments: inputs, instants, anchors."""

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from dcap.cli import output
from dcap.errors import ConfigError, FormatError
from dcap.formats.certificate import Certificate
from dcap.formats.pem import is_armoured
from dcap.sources.directory import read_bounded
from dcap.verification.anchors import INTEL_SGX_ROOT, TrustAnchor

#: What may come in as evidence or anything to be inspected.
MAX_INPUT = 1024 * 1024
_SECOND = timedelta(seconds=1)
#: Nothing that can be verified is older than SGX's DCAP, or of another age.
EARLIEST, LATEST = datetime(2016, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)


def read_input(name: str, limit: int = MAX_INPUT) -> bytes:
    """A file's bytes, at most `limit` of them, or those of standard input for `-`."""
    if name == "-":
        data, where = sys.stdin.buffer.read(limit + 1), "standard input"
    else:
        data, where = read_bounded(Path(name)), name
    if len(data) > limit:
        raise FormatError(
            "evidence-too-large",
            f"more than {limit} bytes",
            where=where,
            mend="give the quote alone",
        )
    return data


def instant(text: str | None) -> datetime:
    """Unix seconds or RFC 3339; now, where nothing was given."""
    if text is None:
        return datetime.now(UTC)
    try:
        if text.strip().isdigit():
            moment = datetime.fromtimestamp(int(text), UTC)
        else:
            moment = datetime.fromisoformat(text.strip())
        moment = moment.astimezone(UTC) if moment.tzinfo else EARLIEST - _SECOND
    except (ValueError, OverflowError, OSError):
        raise _not_an_instant(text) from None
    if not EARLIEST <= moment < LATEST:
        raise _not_an_instant(text)
    return moment


def day(text: str) -> datetime:
    """A date (its beginning, in UTC) or an instant."""
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ConfigError(
            "date", f"{text[:40]!r} is not a date", mend="write it as 2025-07-04"
        ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def fmspc(text: str, mend: str = "`dcap inspect QUOTE --field fmspc` prints a quote's") -> bytes:
    """The six bytes of an FMSPC. Raises `ConfigError` (`fmspc-hex`)."""
    try:
        found = bytes.fromhex(text.strip())
    except ValueError:
        found = b""
    if len(found) != 6:
        raise ConfigError(
            "fmspc-hex", f"{text[:20]!r} is not 12 hex digits", where="--fmspc", mend=mend
        )
    return found


def anchor(test_root: str | None) -> TrustAnchor:
    """Intel's root, or the test root that was loudly asked for."""
    if test_root is None:
        return INTEL_SGX_ROOT
    data = read_bounded(Path(test_root), MAX_INPUT)
    try:
        found = Certificate.parse_chain(data) if is_armoured(data) else (Certificate.parse(data),)
    except FormatError as error:
        raise _not_a_root(test_root, error.what) from None
    certificate = found[0]
    if len(found) != 1 or not certificate.self_issued or not certificate.is_ca:
        raise _not_a_root(test_root, "not one self-issued CA certificate alone")
    chosen = TrustAnchor.insecure_test_root(certificate)
    if chosen != INTEL_SGX_ROOT:
        output.warn(
            f'trusting the test root "{certificate.common_name}" of {test_root}: '
            "whoever holds its key can make anything look genuine"
        )
    return chosen


def _not_a_root(test_root: str, why: str) -> ConfigError:
    return ConfigError(
        "test-root",
        f"not a root certificate: {why}",
        where=test_root,
        mend="give the file of the test root that you made, with nothing else in it",
    )


def _not_an_instant(text: str) -> ConfigError:
    return ConfigError(
        "instant",
        f"{text[:40]!r} is not an instant",
        where="--at",
        mend="write Unix seconds (1751624924) or RFC 3339 with a zone (2025-07-04T10:28:44Z), "
        "from 2016 on",
    )
