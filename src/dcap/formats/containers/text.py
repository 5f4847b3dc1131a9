"""Quotes written as text: hex, base64 and PEM, read leniently in form and strictly in content.

Allowed: white space and line breaks anywhere, a UTF-8 byte order mark, either case of hex and a
leading 0x, either alphabet of base64 with or without its padding, text around a PEM block. Refused:
stray characters, half digits, several PEM blocks. Not here: certificates and CRLs in PEM.
"""

import binascii
import re

from dcap.errors import FormatError
from dcap.formats import pem
from dcap.formats.containers.layer import Layer

HEX = "hex"
BASE64 = "base64"
PEM = "pem"
#: The last word of the labels under which quotes are found: QUOTE, SGX QUOTE, TDX QUOTE …
PEM_LABELS = ("QUOTE", "EVIDENCE", "REPORT")
#: Shorter texts are words that happen to consist of hex digits or base64 letters.
_LEAST = 16

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_BEGIN = b"-----BEGIN "
_LABEL = re.compile(rb"^[ \t]*-----BEGIN ([A-Z0-9 ]{1,64})-----", re.MULTILINE)
_HEX = re.compile(rb"(?:0[xX])?([0-9A-Fa-f]+)")
_BASE64 = re.compile(rb"([A-Za-z0-9+/_-]+)={0,2}")
_STANDARD = bytes.maketrans(b"-_", b"+/")


def open_layer(data: bytes) -> Layer | None:
    """The bytes that a text stands for; `None` where `data` is no such text."""
    text = data.removeprefix(_BYTE_ORDER_MARK)
    if not text.isascii() or b"\0" in text:
        return None
    if label := pem_label(text):
        return _open_pem(text, label)
    dense = b"".join(text.split())
    if len(dense) < _LEAST:
        return None
    if match := _HEX.fullmatch(dense):
        return Layer(names=(HEX,), content=_unhex(match[1]))
    if (match := _BASE64.fullmatch(dense)) and len(match[1]) % 4 != 1:
        return Layer(names=(BASE64,), content=_unbase64(match[1]))
    return None


def write_hex(content: bytes) -> bytes:
    """Lower case hex on one line."""
    return binascii.hexlify(content)


def write_base64(content: bytes) -> bytes:
    """Standard base64 with padding, on one line."""
    return binascii.b2a_base64(content, newline=False)


def write_pem(content: bytes, label: str = "QUOTE") -> bytes:
    """One PEM block under a label of `PEM_LABELS`."""
    if not is_quote_label(label):
        raise FormatError(
            "pem", f"{label!r} is no label of a quote", mend=f"end it in {' or '.join(PEM_LABELS)}"
        )
    return pem.encode(content, label)


def is_quote_label(label: str) -> bool:
    """Whether a PEM block of that label may hold a quote."""
    return label.rsplit(" ", maxsplit=1)[-1] in PEM_LABELS


def pem_label(text: bytes) -> str:
    """The label of the first PEM block, which begins on a line of its own; empty without one."""
    match = _LABEL.search(text)
    return match[1].decode("ascii") if match else ""


def _open_pem(text: bytes, label: str) -> Layer | None:
    if not is_quote_label(label):
        return None
    if (count := text.count(_BEGIN)) != 1:
        raise FormatError(
            "evidence-several",
            f"{count} PEM blocks stand where one quote belongs",
            where="PEM",
            mend="give one quote at a time",
        )
    begin, end = (word + label.encode() + b"-----" for word in (_BEGIN, b"-----END "))
    body, closed, _ = text.partition(begin)[2].partition(end)
    if not closed:
        raise FormatError(
            "pem",
            f"the PEM block of {label!r} has no end",
            where="PEM",
            mend=f"copy the text up to and with -----END {label}-----",
        )
    return Layer(names=(PEM,), content=pem.decode(body))


def _unhex(digits: bytes) -> bytes:
    if len(digits) % 2:
        raise FormatError(
            "evidence-unrecognised",
            f"{len(digits)} hex digits: one is missing, or one too many",
            where="hex",
            mend="copy the whole text; a byte has two digits",
        )
    return binascii.unhexlify(digits)


def _unbase64(letters: bytes) -> bytes:
    return binascii.a2b_base64(letters.translate(_STANDARD) + b"=" * (-len(letters) % 4))
