"""How the console writes instants, durations, sizes, identifiers and the names of items.

Instants are of UTC, to the minute. Of an identifier of a machine the last four characters are shown, so
that who knows it finds it again, and nobody else learns it.
"""

from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from dcap.pccs.items import (
    CrlKey,
    EvaluationNumbersKey,
    IdentityKey,
    Key,
    PckCrlKey,
    RootCrlKey,
    TcbInfoKey,
)

_LONGEST: Final = 120
#: A shorter one would be half given away by its last four characters.
_MASKED_FROM: Final = 16
_MINUTE, _HOUR, _DAY = 60, 3600, 86400


class ItemName(msgspec.Struct, frozen=True, kw_only=True):
    """An item's name for people: what it is, of what, and of which generation."""

    kind: str
    of: str = ""
    generation: str = ""

    @property
    def text(self) -> str:
        """All of it on one line."""
        return " · ".join(part for part in (self.kind, self.of, self.generation) if part)


def name_of(key: Key) -> ItemName:
    """The name of the item that is kept under a key."""
    match key:
        case TcbInfoKey():
            kind = f"TCB info, {key.tee}" + (", version 2" if key.version < 4 else "")
            return ItemName(
                kind=kind,
                of=key.fmspc.hex().upper(),
                generation=_generation(key.update, key.number),
            )
        case IdentityKey():
            kind = f"{key.name.replace('_', ' ')} identity" + (" (v3)" if key.version < 4 else "")
            return ItemName(kind=kind, generation=_generation(key.update, key.number))
        case PckCrlKey():
            return ItemName(kind="PCK CRL", of=f"{key.ca.capitalize()} CA")
        case RootCrlKey():
            return ItemName(kind="Root CA CRL")
        case CrlKey():
            return ItemName(kind="CRL by its address", of=shortened(key.uri))
        case EvaluationNumbersKey():
            return ItemName(kind="TCB evaluation numbers", of=key.tee)
        case _:
            return ItemName(kind="List of FMSPCs")


def _generation(update: str | None, number: int | None) -> str:
    return update.lower() if update is not None else f"number {number}"


def shortened(text: str) -> str:
    """Text that somebody else chose, cut where it is long."""
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def masked(identifier: str) -> str:
    """An identifier of a machine: its last four characters, or nothing of a short one."""
    return "…" + identifier[-4:] if len(identifier) >= _MASKED_FROM else "…"


def instant(at: datetime) -> str:
    """`2026-11-22 00:38 UTC`."""
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def machine_instant(at: datetime) -> str:
    """The same for programs: the attribute of `<time>`."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def duration(span: timedelta) -> str:
    """A span as `dcap pccs status` has it, `23.2 days`; a short one in units: `4 h 10 min`, `12 s`."""
    seconds = int(abs(span.total_seconds()))
    days, hours, minutes = seconds // _DAY, seconds % _DAY // _HOUR, seconds % _HOUR // _MINUTE
    if days >= 3:
        return f"{seconds / _DAY:.1f} days"
    if days:
        return f"{days} d {hours} h" if hours else f"{days} d"
    if hours:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{minutes} min" if minutes else f"{seconds} s"


def until(end: datetime, at: datetime) -> str:
    """How far off an instant is: `in 23.2 days`, `2 h ago`."""
    return f"in {duration(end - at)}" if end > at else f"{duration(at - end)} ago"


def size(number: int) -> str:
    """A number of bytes."""
    return f"{number} B" if number < 1024 else f"{number / 1024:.1f} KB"


def count(number: int, one: str, many: str = "") -> str:
    """`1 item`, `2 items`, `1 204 items`."""
    return f"{whole(number)} {one if number == 1 else many or one + 's'}"


def sentence(text: str) -> str:
    """Words as a sentence: an upper-case letter first, a full stop last."""
    return text[:1].upper() + text[1:].rstrip(".") + "."


def whole(number: int) -> str:
    """A number, its thousands apart by a narrow space."""
    return f"{number:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")
