"""Reading a structure whose parts carry their own lengths, without ever trusting one of them.

A length is compared with the bytes that are really there before anything is sliced, so a hostile
length costs a comparison and never an allocation. Not here: fixed structures (`layout`).
"""

from dcap.errors import FormatError


class Cursor:
    """A place in a buffer that only moves forward and never past `end`.

    `name` is how errors call the buffer ("quote", "Open Enclave evidence"); `code` is the stable
    code of "bytes are missing here".
    """

    __slots__ = ("buffer", "code", "end", "name", "position")

    def __init__(
        self, buffer: bytes, name: str, *, code: str, position: int = 0, end: int | None = None
    ) -> None:
        self.buffer = buffer
        self.name = name
        self.code = code
        self.position = position
        self.end = len(buffer) if end is None else end

    def take(self, size: int, what: str) -> bytes:
        """The next `size` bytes."""
        start = self.position
        stop = start + size
        if size < 0 or stop > self.end:
            raise self.missing(size, what)
        self.position = stop
        return self.buffer[start:stop]

    def integer(self, size: int, what: str) -> int:
        """The next `size` bytes as an unsigned little-endian integer."""
        return int.from_bytes(self.take(size, what), "little")

    def integer_big(self, size: int, what: str) -> int:
        """The next `size` bytes as an unsigned big-endian integer (Java's containers)."""
        return int.from_bytes(self.take(size, what), "big")

    def close(self, what: str) -> None:
        """Insist that nothing is left. Lengths must close exactly at every level."""
        left = self.end - self.position
        if left:
            raise FormatError(
                self.code,
                f"{left} bytes are left over after the {what}: its lengths do not add up",
                where=f"{self.name}, byte {self.position}",
                mend="the bytes were altered or two files were joined; get the original",
            )

    def missing(self, size: int, what: str) -> FormatError:
        """The error for a part that claims more bytes than there are."""
        return FormatError(
            self.code,
            f"the {what} claims {size} bytes, {self.end - self.position} are left",
            where=f"{self.name}, byte {self.position}",
            mend="get the whole file; a copy was probably cut off or a length altered",
        )
