"""PEM armour: text to DER and back, strict in content, lenient in what surrounds it.

Quotes carry chains with trailing NULs and extra newlines, PCCSes percent-encode them into headers;
explanatory text between blocks is allowed (RFC 7468 §5.2). What stands inside a block is strict
base64: no stray characters, no missing padding.
"""

import binascii

from dcap.errors import FormatError

_BLANKS = b" \t\r\n\v\f"
#: More blocks than any chain or bundle of this field has.
MAX_BLOCKS = 16


def blocks(text: bytes, label: str) -> tuple[bytes, ...]:
    """The DER of every block of `label`, in order of appearance.

    Raises `FormatError` (`pem`) where there is none, a block is of another label, or its base64 is
    not valid.
    """
    begin, end = b"-----BEGIN %b-----" % label.encode(), b"-----END %b-----" % label.encode()
    found: list[bytes] = []
    at = text.find(begin)
    while at >= 0:
        start = at + len(begin)
        stop = text.find(end, start)
        if stop < 0:
            raise _malformed(label)
        found.append(decode(text[start:stop]))
        if len(found) > MAX_BLOCKS:
            raise FormatError("pem", f"more than {MAX_BLOCKS} blocks of {label!r}")
        at = text.find(begin, stop + len(end))
    if not found or text.count(b"-----BEGIN ") != len(found):
        raise _malformed(label)
    return tuple(found)


def _malformed(label: str) -> FormatError:
    return FormatError(
        "pem",
        f"not PEM blocks of {label!r} alone, each with its first and last line",
        mend=f"a block starts with -----BEGIN {label}----- and ends with -----END {label}-----",
    )


def decode(body: bytes) -> bytes:
    """Strict base64 between the two lines of a block; white space is ignored."""
    try:
        return binascii.a2b_base64(body.translate(None, _BLANKS), strict_mode=True)
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
