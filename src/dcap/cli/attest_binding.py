"""What a quote of `dcap attest` binds, and how `dcap verify` is told to expect it.

    --report-data HEX            the bytes, then zeros
    --nonce HEX                  the bytes, then zeros
    --bind FILE                  SHA-256 of the file, then zeros        (or its SHA-512: all 64 bytes)
    --bind FILE --nonce HEX      SHA-256 of the file, then the nonce, 1 to 32 bytes, then zeros
    --format oe-evidence         SHA-256 of the custom claims buffer, then zeros, as Open Enclave does

Each is something that a verifier computes by itself. Not here: bindings of attested TLS.
"""

import hashlib
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from dcap.attester.attester import REPORT_DATA_SIZE
from dcap.cli.evidence_forms import hex_bytes
from dcap.sources.directory import read_bounded

HASHES: Final = ("sha256", "sha512")
_MOST: Final = 64 * 1024 * 1024
_BESIDE: Final = 32


class Binding(msgspec.Struct, frozen=True, kw_only=True):
    """Report data, in words, and the flags of `dcap verify` that expect them."""

    report_data: bytes
    what: str
    expect: tuple[str, ...] = ()


NOTHING: Final = Binding(report_data=bytes(REPORT_DATA_SIZE), what="nothing: report data zero")


def binding(flags: dict[str, Any]) -> Binding:
    """What the flags ask to bind. Raises click's usage errors, `ConfigError` (`file-…`)."""
    text, file, nonce = flags["report_data"], flags["bound_file"], flags["nonce"]
    if text is not None and (file is not None or nonce is not None):
        raise click.UsageError("--report-data excludes --bind and --nonce, which make it")
    if text is not None:
        given = hex_bytes(text, "--report-data", most=REPORT_DATA_SIZE)
        return _exactly(given, "the report data given")
    if file is None:
        if nonce is None:
            return NOTHING
        return _exactly(hex_bytes(nonce, "--nonce", most=REPORT_DATA_SIZE), "the nonce")
    name: str = flags["hash_name"]
    written = f"{name.upper().replace('SHA', 'SHA-')} of {file}"
    if nonce is None:
        digest = _digest(file, name)
        if name == "sha256":
            expect = ("--report-data-sha256-of", file)
            return Binding(report_data=digest, what=written, expect=expect)
        return _exactly(digest, written)
    if name != "sha256":
        raise click.UsageError(
            "SHA-512 fills the report data: no nonce has room; --hash sha256 has"
        )
    beside = hex_bytes(nonce, "--nonce", most=_BESIDE)
    return _exactly(_digest(file, name) + beside, f"{written}, then the nonce")


def claims_binding(buffer: bytes) -> Binding:
    """What Open Enclave's evidence binds: its custom claims, be there any or not."""
    what = "the custom claims" if buffer else "no custom claims"
    return Binding(report_data=hashlib.sha256(buffer).digest(), what=what)


def _exactly(content: bytes, what: str) -> Binding:
    return Binding(report_data=content, what=what, expect=("--report-data", content.hex()))


def _digest(file: str, name: str) -> bytes:
    return hashlib.new(name, read_bounded(Path(file), _MOST)).digest()
