"""Parameters of requests, read as strictly as Intel's services read them.

What they refuse is a `FormatError`: `pcs-request` is answered with 400, `pcs-media-type` with 415.
"""

import re
from collections.abc import Mapping

from dcap.api.http import HttpRequest
from dcap.errors import FormatError

HEX = re.compile(r"[0-9a-fA-F]*")


def read_hex(given: Mapping[str, str], name: str, size: int) -> bytes:
    """So many bytes, in hex of either case."""
    text = given.get(name, "")
    if len(text) != 2 * size or not HEX.fullmatch(text):
        raise malformed(f"{name} is not {2 * size} hexadecimal digits")
    return bytes.fromhex(text)


def read_choice(
    given: Mapping[str, str], name: str, choices: tuple[str, ...], default: str | None = None
) -> str:
    """One of a few words, in the case they are written in."""
    value = given.get(name, default)
    if value not in choices:
        raise malformed(f"{name} is not one of {', '.join(choices)}")
    return str(value)


def expect_media_type(request: HttpRequest, media_type: str) -> None:
    """The body is of this type; parameters of the type (charset) are ignored."""
    given = (request.header("Content-Type") or "").partition(";")[0].strip().lower()
    if given != media_type:
        raise FormatError("pcs-media-type", f"the body is not {media_type}", where="request")


def malformed(what: str) -> FormatError:
    """A request that is answered with 400."""
    return FormatError("pcs-request", what, where="request")
