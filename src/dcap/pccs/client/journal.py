"""What is done already, on disk, so that a second run goes on where the first one ended.

    path = beside(file, "put")                          # each command has its own
    with Journal.at(path, "put", of=…) as journal:      # another subject: what is there is not for it
        journal.lines; journal.note({"done": 5})
    journal.remove()

One JSON object a line, the first of which says what it is about; a last line that was cut off by
whatever ended the first run counts for nothing. It is for its owner alone: answers name machines.
"""

import hashlib
import os
import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import msgspec

from dcap.errors import ConfigError

_SCHEMA: Final = 1


def beside(file: Path, kind: str) -> Path:
    """Where the journal of a file is."""
    return file.with_name(f"{file.name}.{kind}-progress")


class Journal:
    """A journal that is open. Made by `at`; safe for threads."""

    def __init__(self, path: Path, lines: tuple[dict[str, Any], ...], handle: int) -> None:
        self.path = path
        self.lines = lines
        #: Lines written by this run, the first one included.
        self.noted = 0
        self._handle: int | None = handle
        self._lock = threading.Lock()

    @classmethod
    def at(cls, path: Path, kind: str, *, of: bytes) -> "Journal":
        """Open the journal of a subject, and begin it where there is none, or that of another.

        Raises `ConfigError` (`output-unwritable`).
        """
        head, lines = _head(kind, of), _read(path)
        fits = lines[:1] == (head,)
        try:
            flags = os.O_WRONLY | os.O_CREAT | (os.O_APPEND if fits else os.O_TRUNC)
            handle = os.open(path, flags, 0o600)
        except OSError as error:
            raise _unwritable(path, error) from None
        journal = cls(path, lines[1:] if fits else (), handle)
        if not fits:
            journal.note(head)
        else:
            # What was cut off must not run into what follows.
            journal._write(b"\n")
        return journal

    @staticmethod
    def is_of(path: Path, kind: str, *, of: bytes) -> bool:
        """Whether there is a journal of this subject."""
        return _read(path)[:1] == (_head(kind, of),)

    def note(self, line: dict[str, Any]) -> None:
        """Write a line. Raises `ConfigError` (`output-unwritable`)."""
        self._write(msgspec.json.encode(line) + b"\n")
        self.noted += 1

    def remove(self) -> None:
        """All is done: nothing is to go on with."""
        self.close()
        with suppress(OSError):
            self.path.unlink()

    def close(self) -> None:
        """Leave it as it is."""
        with self._lock:
            if self._handle is not None:
                os.close(self._handle)
                self._handle = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _write(self, data: bytes) -> None:
        try:
            with self._lock:
                if self._handle is not None:
                    view = memoryview(data)
                    while view:
                        view = view[os.write(self._handle, view) :]
        except OSError as error:
            raise _unwritable(self.path, error) from None


def _head(kind: str, of: bytes) -> dict[str, Any]:
    return {"schema": _SCHEMA, "kind": kind, "of": hashlib.sha256(of).hexdigest()}


def _read(path: Path) -> tuple[dict[str, Any], ...]:
    try:
        data = path.read_bytes()
    except OSError:
        return ()
    lines = []
    for line in data.split(b"\n"):
        with suppress(msgspec.DecodeError, UnicodeDecodeError):
            lines.append(msgspec.json.decode(line, type=dict[str, Any]))
    return tuple(lines)


def _unwritable(path: Path, error: OSError) -> ConfigError:
    return ConfigError(
        "output-unwritable",
        f"the file of what is done cannot be written: {error.strerror or error}",
        where=str(path),
        mend="write elsewhere, or make room",
    )
