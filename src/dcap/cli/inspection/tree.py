"""The value of an inspection, and the words in which its leaves are written."""

from collections.abc import Callable
from datetime import datetime
from typing import TypeAlias

import msgspec

from dcap.errors import FormatError

NOT_CHECKED = "not checked"


class PlatformId(msgspec.Struct, frozen=True):
    """A value that identifies one machine."""

    text: str


#: Members are str, int, bool, PlatformId, lists of str, trees, or lists of trees; never None.
Tree: TypeAlias = dict[str, object]


def moment(when: datetime) -> str:
    """A time as Intel writes it: UTC, whole seconds."""
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")


def serial(number: int) -> str:
    """A serial number in hex, whole bytes."""
    digits = f"{number:x}"
    return digits.zfill(len(digits) + len(digits) % 2)


def hex_or_none(value: bytes | None) -> str | None:
    """Hex in lower case; nothing for nothing."""
    return None if value is None else value.hex()


def attempt(read: Callable[[], Tree]) -> Tree:
    """What `read` gives, or its refusal as the value."""
    try:
        return read()
    except FormatError as error:
        return {"problem": str(error)}
