"""A JSON text as a tree of values that know where they stand, and what was wrong on the way.

Made by `qcnl_json`. Not here: what the keys mean (`qcnl_members`).
"""

import re
from bisect import bisect_right
from typing import Any, Literal, TypeAlias

import msgspec

Kind: TypeAlias = Literal["string", "integer", "real", "boolean", "null", "object", "array"]


class Value(msgspec.Struct, frozen=True):
    """One value: a string, number, boolean or null, a tuple of `Value`s, or one of `Member`s."""

    kind: Kind
    content: Any
    at: int

    def members(self) -> "tuple[Member, ...]":
        """The members of an object, in the order of the file; none of anything else."""
        return tuple(self.content) if self.kind == "object" else ()


class Member(msgspec.Struct, frozen=True):
    """One member of an object; `at` is the offset of its key."""

    key: str
    value: Value
    at: int


class Fault(msgspec.Struct, frozen=True):
    """What makes rapidjson refuse the whole text: a code of `qcnl_remarks`, and where."""

    code: str
    at: int
    detail: str = ""


class Document(msgspec.Struct, frozen=True):
    """A text as it was read. `root` is `None` where nothing at all could be read."""

    root: Value | None
    faults: tuple[Fault, ...]


class Places:
    """Offsets of a text as lines and columns, both from 1."""

    def __init__(self, text: str) -> None:
        self._starts = [0, *(match.end() for match in re.finditer("\n", text))]

    def __call__(self, at: int) -> tuple[int, int]:
        """Line and column of an offset."""
        line = bisect_right(self._starts, at)
        return line, at - self._starts[line - 1] + 1
