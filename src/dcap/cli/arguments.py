"""What commands share in reading their arguments: inputs, instants, anchors."""

import sys
from datetime import UTC, datetime
from pathlib import Path

from dcap.cli import output
from dcap.errors import ConfigError, FormatError
from dcap.formats.certificate import Certificate
from dcap.formats.pem import is_armoured
from dcap.sources.directory import read_bounded
from dcap.verification.anchors import INTEL_SGX_ROOT, TrustAnchor

#: What may come in as evidence or anything to be inspected.
MAX_INPUT = 1024 * 1024
_EARLIEST, _LATEST = 0, 253402300799  # 1970 … 9999, what a datetime can say


def read_input(name: str) -> bytes:
    """A file's bytes, or those of standard input for `-`."""
    if name != "-":
        return read_bounded(Path(name), MAX_INPUT)
    data = sys.stdin.buffer.read(MAX_INPUT + 1)
    if len(data) > MAX_INPUT:
        raise FormatError("file-too-large", f"more than {MAX_INPUT} bytes", where="standard input")
    return data


def instant(text: str | None) -> datetime:
    """Unix seconds or RFC 3339; now, where nothing was given."""
    if text is None:
        return datetime.now(UTC)
    try:
        if text.strip().isdigit():
            return datetime.fromtimestamp(min(int(text), _LATEST + 1), UTC)
        moment = datetime.fromisoformat(text.strip())
    except (ValueError, OverflowError, OSError):
        raise _not_an_instant(text) from None
    if moment.tzinfo is None:
        raise _not_an_instant(text)
    return moment.astimezone(UTC)


def day(text: str) -> datetime:
    """A date (its beginning, in UTC) or an instant."""
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ConfigError(
            "date", f"{text[:40]!r} is not a date", mend="write it as 2025-07-04"
        ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def anchor(test_root: str | None) -> TrustAnchor:
    """Intel's root, or the test root that was loudly asked for."""
    if test_root is None:
        return INTEL_SGX_ROOT
    data = read_bounded(Path(test_root), MAX_INPUT)
    try:
        certificate = (
            Certificate.parse_chain(data)[-1] if is_armoured(data) else Certificate.parse(data)
        )
    except FormatError as error:
        raise ConfigError(
            "test-root", f"not a root certificate: {error.what}", where=test_root
        ) from None
    chosen = TrustAnchor.insecure_test_root(certificate)
    if chosen is not INTEL_SGX_ROOT:
        output.warn(
            f'trusting the test root "{certificate.common_name}" of {test_root}: '
            "whoever holds its key can make anything look genuine"
        )
    return chosen


def _not_an_instant(text: str) -> ConfigError:
    return ConfigError(
        "instant",
        f"{text[:40]!r} is not an instant",
        where="--at",
        mend="write Unix seconds (1751624924) or RFC 3339 with a zone (2025-07-04T10:28:44Z)",
    )
