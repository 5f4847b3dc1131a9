"""Rows of Intel's PCCS as values: what any of the drivers, and any age of the database, gives.

Every function raises `FormatError`, `KeyError`, `TypeError` or `ValueError` for what does not belong in
its place; `readable` makes a `LeftOut` of it, which tells nothing that stands in the row.

Source: `pccs-and-pcs-api.md` §2.1, §3.2.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias, TypeVar

from dcap.errors import FormatError
from dcap.pccs.items import MAX_QE_ID, MAX_URI, AppraisalPolicy, Ca, Registration, State, Update
from dcap.pccs.policies import read_policy
from dcap.pccs.transfer.report import UNREADABLE, Kind, LeftOut

T = TypeVar("T")
Row: TypeAlias = Mapping[str, Any]

STATES: Final[Mapping[int, State]] = {0: "NEW", 1: "NOT_AVAILABLE", 9: "DELETED"}
_CAS: Final[Mapping[str, Ca]] = {"PROCESSOR": "PROCESSOR", "PLATFORM": "PLATFORM"}
_PPID_SIZE: Final = 384


def registration_of(row: Row, at: datetime) -> Registration:
    """A machine in the queue."""
    return Registration(
        qe_id=qe_id_of(row["qe_id"]),
        pce_id=hex_of(row["pce_id"], 2),
        cpu_svn=hex_of(row["cpu_svn"], 16) if row.get("cpu_svn") else "",
        pce_svn=_pce_svn(str(row.get("pce_svn") or "")),
        encrypted_ppid=ppid_of(row.get("enc_ppid")),
        manifest=blob(row.get("platform_manifest")) or None,
        state=STATES[int(row["state"])],
        created=moment(row.get("created_time")) or at,
    )


def _pce_svn(text: str) -> str:
    """Hex, little-endian; rows of machines without certificates have a decimal number there."""
    if text and len(text) != 4:
        return int(text).to_bytes(2, "little").hex().upper()
    return hex_of(text, 2) if text else ""


def policy_of(row: Row) -> AppraisalPolicy:
    """A policy that is the one that its id names."""
    text = blob(row["policy"]).decode()
    if hashlib.sha384(text.encode()).hexdigest() != str(row["id"]).lower():
        raise ValueError("the policy is not the one that its id names")
    fmspc = bytes.fromhex(hex_of(row["fmspc"], 6))
    return read_policy(text, fmspc, is_default=bool(int(row["is_default"])))


def readable(
    kind: Kind, name: str, read: Callable[..., T], *given: object
) -> Iterator[T | LeftOut]:
    """What can be made of a row; the error would say what stands in it, so it is not told."""
    try:
        yield read(*given)
    except FormatError as error:
        yield LeftOut(kind, name, UNREADABLE, error.what)
    except (KeyError, TypeError, ValueError, OverflowError):
        yield LeftOut(kind, name, UNREADABLE, "a value in its row is not what belongs there")


def blob(value: object) -> bytes:
    """Bytes, of a column that some drivers give as text; none for NULL."""
    if value is None:
        return b""
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    raise TypeError("neither bytes nor text")


def text_of(value: object) -> str:
    """Text that can be part of a key."""
    if not isinstance(value, str) or not 0 < len(value) <= MAX_URI:
        raise TypeError("no text, or too long")
    return value


def qe_id_of(value: object) -> str:
    """The name of a machine, in upper case."""
    text = text_of(value).upper()
    if len(text) > MAX_QE_ID:
        raise ValueError("a QE id that is too long")
    return text


def ppid_of(value: object) -> bytes | None:
    """Binary since version 1 of the schema, hex before it."""
    data = blob(value)
    if len(data) == 2 * _PPID_SIZE:
        data = bytes.fromhex(data.decode("ascii", "replace"))
    return data or None


def ca_of(value: object) -> Ca:
    """Which of the two CAs."""
    return _CAS[str(value).upper()]


def update_of(row: Row) -> Update:
    """Before version 5 of the schema all was of the standard generation."""
    return "EARLY" if str(row.get("update_type") or "").upper() == "EARLY" else "STANDARD"


def hex_of(value: object, size: int) -> str:
    """So many bytes in hex, upper case."""
    data = bytes.fromhex(str(value))
    if len(data) != size:
        raise ValueError("hex of another length")
    return data.hex().upper()


def moment(value: object) -> datetime | None:
    """`2026-01-01 12:00:00.000 +00:00` as SQLite has it, or what MySQL's driver makes of it."""
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    try:
        found = datetime.fromisoformat(str(value).replace(" +", "+"))
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
