"""A binary structure of fixed size, read and written from one table: the type's own fields.

Every field of a record is annotated with its width (`U16`, `Octets[64]` …), reserved bytes
included, so that what is read can be written back to the same bytes. Integers are little-endian,
as everywhere in Intel's structures. Not here: anything with a length that varies (`cursor`).
"""

import struct
from typing import Annotated, Any, Generic, TypeVar, get_args, get_type_hints

import msgspec

from dcap.errors import FormatError

Record = TypeVar("Record", bound=msgspec.Struct)


class Width:
    """How a field lies in memory: a `struct` code and its size in bytes."""

    def __init__(self, code: str) -> None:
        self.code = code
        self.size = struct.calcsize("<" + code)


U8 = Annotated[int, Width("B")]
U16 = Annotated[int, Width("H")]
U32 = Annotated[int, Width("I")]
U64 = Annotated[int, Width("Q")]
Octets2 = Annotated[bytes, Width("2s")]
Octets8 = Annotated[bytes, Width("8s")]
Octets12 = Annotated[bytes, Width("12s")]
Octets16 = Annotated[bytes, Width("16s")]
Octets20 = Annotated[bytes, Width("20s")]
Octets32 = Annotated[bytes, Width("32s")]
Octets42 = Annotated[bytes, Width("42s")]
Octets48 = Annotated[bytes, Width("48s")]
Octets64 = Annotated[bytes, Width("64s")]
Octets256 = Annotated[bytes, Width("256s")]
Octets384 = Annotated[bytes, Width("384s")]


class Layout(Generic[Record]):
    """The reader and the writer of one record type.

    `code` is the error where bytes are missing. `size` is in bytes; `offsets` gives each field's
    place, for messages and for documentation.
    """

    def __init__(self, record: type[Record], name: str, *, code: str = "") -> None:
        self.record = record
        self.name = name
        self.code = code or f"{name.replace(' ', '-').lower()}-truncated"
        self.offsets: dict[str, int] = {}
        self.widths: dict[str, int] = {}
        codes = "<"
        hints = get_type_hints(record, include_extras=True)
        for field in record.__struct_fields__:
            width = next(a for a in get_args(hints[field]) if isinstance(a, Width))
            self.offsets[field] = struct.calcsize(codes)
            self.widths[field] = width.size
            codes += width.code
        self._struct = struct.Struct(codes)
        self._unpack = self._struct.unpack_from
        self.size = self._struct.size

    def read(self, buffer: bytes, offset: int = 0) -> Record:
        """The record at `offset`. Raises `FormatError` (`…-truncated`) where bytes are missing."""
        try:
            fields = self._unpack(buffer, offset)
        except struct.error:
            raise FormatError(
                self.code,
                f"the {self.name} needs {self.size} bytes from byte {offset}, "
                f"only {max(0, len(buffer) - offset)} are there",
                where=f"{self.name}, byte {offset}",
                mend="get the whole file; a copy was probably cut off",
            ) from None
        return self.record(*fields)

    def write(self, record: Record) -> bytes:
        """The record's bytes, `size` of them. Raises `FormatError` where a field does not fit."""
        values: tuple[Any, ...] = msgspec.structs.astuple(record)
        for field, value in zip(self.offsets, values, strict=True):
            if isinstance(value, bytes) and len(value) != self.widths[field]:
                raise self._misfit(field, f"has {len(value)} bytes, needs {self.widths[field]}")
        try:
            return self._struct.pack(*values)
        except struct.error as error:
            raise self._misfit("a field", str(error)) from None

    def _misfit(self, field: str, why: str) -> FormatError:
        return FormatError(
            "field-does-not-fit", f"{field} of the {self.name} {why}", where=self.name
        )
