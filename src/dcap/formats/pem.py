"""PEM armour: text to DER and back, strict in content, lenient in what surrounds it.

Quotes carry chains with trailing NULs and extra newlines, PCCSes percent-encode them into headers;
explanatory text between blocks is allowed (RFC 7468 §5.2). What stands inside a block is strict
base64: no stray characters, no missing padding.
"""

import binascii
import re

from dcap.errors import FormatError

_BLOCK = re.compile(
    rb"-----BEGIN ([A-Z0-9 ]{1,64})-----\s*([A-Za-z0-9+/=\s]*?)-----END ([A-Z0-9 ]{1,64})-----"
)
#: More blocks than any chain or bundle of this field has.
MAX_BLOCKS = 16


def blocks(text: bytes, label: str) -> tuple[bytes, ...]:
    """The DER of every block of `label`, in order of appearance.

    Raises `FormatError` (`pem`) where there is none, a block is of another label, or its base64 is
    not valid.
    """
    found: list[bytes] = []
    wanted = label.encode()
    for match in _BLOCK.finditer(text):
        begin, body, end = match.groups()
        if begin != wanted or end != wanted:
            raise FormatError(
                "pem", f"a block of {begin.decode()!r} stands where {label!r} belongs"
            )
        found.append(decode(body))
        if len(found) > MAX_BLOCKS:
            raise FormatError("pem", f"more than {MAX_BLOCKS} blocks of {label!r}")
    if len(found) != text.count(b"-----BEGIN ") or not found:
        raise FormatError(
            "pem",
            f"no complete PEM block of {label!r}" if not found else "a PEM block is malformed",
            mend=f"a block starts with -----BEGIN {label}----- and ends with -----END {label}-----",
        )
    return tuple(found)


def decode(body: bytes) -> bytes:
    """Strict base64 between the two lines of a block; white space is ignored."""
    try:
        return binascii.a2b_base64(b"".join(body.split()), strict_mode=True)
    except binascii.Error as error:
        raise FormatError("pem", f"the base64 of a PEM block is not valid: {error}") from None


def encode(der: bytes, label: str) -> bytes:
    """One block, 64 characters a line, with a final newline."""
    text = binascii.b2a_base64(der, newline=False)
    lines = [text[i : i + 64] for i in range(0, len(text), 64)]
    name = label.encode()
    return b"\n".join(
        [b"-----BEGIN " + name + b"-----", *lines, b"-----END " + name + b"-----", b""]
    )


def is_armoured(data: bytes) -> bool:
    """Whether the bytes look like PEM."""
    return b"-----BEGIN " in data[:4096]
