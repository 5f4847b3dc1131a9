"""The forms in which evidence is written: bare, as text, in Open Enclave's containers; and its writing.

Shared by what makes evidence (`attest`, `sim quote`). Not here: reading them (`formats.containers`),
bundles, Conclave's form.
"""

import sys
from pathlib import Path
from typing import Final

import click

from dcap.errors import ConfigError
from dcap.formats.containers import open_enclave, text

#: What any quote can be put into.
FORMS: Final = ("raw", "hex", "base64", "pem", "oe-report", "oe-evidence")
#: Forms that a terminal shows as they are.
TEXTS: Final = ("hex", "base64", "pem")
_SGX_ALONE: Final = ("oe-report",)


def expect_holds(form: str, tee: str, flag: str) -> None:
    """Refuse a form that cannot hold a quote of the TEE."""
    if tee != "SGX" and form in _SGX_ALONE:
        raise click.UsageError(f"{flag} {form} holds SGX quotes alone")


def put(quote: bytes, form: str, tee: str, claims: bytes = b"") -> bytes:
    """A quote in one of `FORMS`; `claims` is the buffer of custom claims that oe-evidence carries."""
    match form:
        case "hex":
            return text.write_hex(quote) + b"\n"
        case "base64":
            return text.write_base64(quote) + b"\n"
        case "pem":
            return text.write_pem(quote)
        case "oe-report":
            return open_enclave.write_report(quote)
        case "oe-evidence" if tee == "TDX":
            return open_enclave.write_evidence(quote, uuid=open_enclave.TDX_QUOTE_ECDSA)
        case "oe-evidence":
            return open_enclave.write_evidence(quote, custom_claims=claims)
    return quote


def claims_buffer(given: tuple[str, ...]) -> bytes:
    """The custom claims of `--claim NAME=TEXT`, as Open Enclave serializes them; empty without any."""
    return open_enclave.write_custom_claims(map(_claim, given)) if given else b""


def _claim(given: str) -> open_enclave.CustomClaim:
    name, equals, value = given.partition("=")
    if not name or not equals:
        raise click.BadParameter(f"{given[:40]!r} is not NAME=TEXT", param_hint="--claim")
    return open_enclave.CustomClaim(name, value.encode())


def hex_bytes(given: str, flag: str, *, least: int = 1, most: int) -> bytes:
    """The bytes of a flag in hex, with or without 0x. Raises click's usage error."""
    try:
        content = bytes.fromhex(given.strip().removeprefix("0x"))
    except ValueError:
        content = b""
    if not least <= len(content) <= most:
        wanted = f"{least}" if least == most else f"{least} to {most}"
        raise click.BadParameter(f"not {wanted} bytes of hex", param_hint=flag)
    return content


def write_stdout(content: bytes) -> None:
    """Bytes to standard output; a reader that went away ends us as it would end any filter."""
    try:
        sys.stdout.buffer.write(content)
        sys.stdout.flush()
    except BrokenPipeError:
        sys.exit(141)


def write_output(path: Path, content: bytes) -> None:
    """Write a file, or write over it, in a folder that is there."""
    if not path.parent.exists():
        raise ConfigError(
            "output-unwritable",
            f"there is no folder {path.parent}",
            where=str(path),
            mend="make it first, or write elsewhere",
        )
    try:
        path.write_bytes(content)
    except OSError as error:
        raise unwritable(path, error) from None


def unwritable(path: Path, error: OSError) -> ConfigError:
    """What the system says of a file that cannot be written."""
    is_folder = isinstance(error, IsADirectoryError)
    return ConfigError(
        "output-unwritable",
        f"it cannot be written: {error.strerror}",
        where=str(path),
        mend="name a file in it" if is_folder else "make its folder first, or write elsewhere",
    )
