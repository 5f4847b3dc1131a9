"""Lists of machines as files: `platform_list.json`, and the CSV of Intel's PCK ID retrieval tool.

    records = read_platform_list(data)      data = write_platform_list(records)
    records = read_csv(data)                data = write_csv(records)

Identifiers and manifests of machines stand in these files, and in no error of theirs. Members that are
not known (`pckid_filename`) are passed over. Not here: `GET /platforms` (`api.pccs_admin`).

Source: `pccs-and-pcs-api.md` §4.1, §4.2.
"""

import csv
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from dcap.api.parameters import HEX
from dcap.api.pccs import MAX_QE_ID
from dcap.api.pccs_admin import PlatformRecord
from dcap.errors import FormatError
from dcap.formats.signed_json import decode

#: A machine with a manifest is 230 KB.
MAX_SIZE: Final = 1024 * 1024 * 1024
#: The columns of a row, which has no header.
COLUMNS: Final = ("enc_ppid", "pce_id", "cpu_svn", "pce_svn", "qe_id", "platform_manifest")
_LIST: Final = "platform list"
_TABLE: Final = "table of the PCK ID retrieval tool"
_LONGEST_FIELD: Final = 16 * 1024 * 1024
#: A line with its end, which has to stay: a field in quotes may go over several.
_LINE: Final = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")


def read_platform_list(data: bytes) -> tuple[PlatformRecord, ...]:
    """The machines of a `platform_list.json`. Raises `FormatError` (`platform-list`, `json`)."""
    records = decode(data, list[PlatformRecord], _LIST, MAX_SIZE)
    return tuple(
        checked(record, f"{_LIST}, entry {place}") for place, record in enumerate(records, 1)
    )


def write_platform_list(records: Iterable[PlatformRecord]) -> bytes:
    """The file, every member of every machine in it, one machine a line."""
    lines = b",\n".join(msgspec.json.encode(members(record)) for record in records)
    return b"[" + lines + b"]\n"


def read_csv(data: bytes) -> tuple[PlatformRecord, ...]:
    """The machines of a table; empty lines count for nothing. Raises `FormatError`."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise _wrong("it is not text", _TABLE) from None
    found = []
    csv.field_size_limit(_LONGEST_FIELD)
    try:
        for number, row in enumerate(csv.reader(_LINE.findall(text)), 1):
            fields = [field.strip() for field in row]
            if not any(fields):
                continue
            if len(fields) not in (len(COLUMNS) - 1, len(COLUMNS)):
                what = f"it has {len(fields)} of {len(COLUMNS)} fields"
                raise _wrong(what, f"{_TABLE}, line {number}")
            named: Mapping[str, Any] = dict(zip(COLUMNS, fields, strict=False))
            where = f"{_TABLE}, line {number}"
            found.append(checked(_without_empty_manifest(named), where))
    except csv.Error:
        raise _wrong("it is not a table with commas between the fields", _TABLE) from None
    return tuple(found)


def write_csv(records: Iterable[PlatformRecord]) -> bytes:
    """The table, as the tool writes it."""
    rows = (members(record) for record in records)
    lines = (",".join(row[name] for name in COLUMNS) for row in rows)
    return "".join(f"{line}\n" for line in lines).encode()


def members(record: PlatformRecord) -> dict[str, str]:
    """Every member as text: what is absent is empty, as Intel's tools write it."""
    return {name: value or "" for name, value in msgspec.structs.asdict(record).items()}


def checked(record: PlatformRecord, where: str) -> PlatformRecord:
    """The record, its hex in upper case. Raises `FormatError` (`platform-list`)."""
    if not 1 <= len(record.qe_id) <= MAX_QE_ID:
        raise _wrong(f"qe_id does not have 1 to {MAX_QE_ID} characters", where)
    fields: dict[str, str | None] = {"qe_id": record.qe_id.upper()}
    for name, digits in PlatformRecord.DIGITS.items():
        value = getattr(record, name)
        is_absent = value == "" and name != "pce_id"
        if not is_absent and (len(value) != digits or not HEX.fullmatch(value)):
            raise _wrong(f"{name} is not {digits} hexadecimal digits", where)
        fields[name] = value.upper()
    manifest = record.platform_manifest or None
    if manifest is not None and (len(manifest) % 2 or not HEX.fullmatch(manifest)):
        raise _wrong("platform_manifest is not hexadecimal", where)
    fields["platform_manifest"] = manifest
    return msgspec.structs.replace(record, **fields)


def _without_empty_manifest(named: Mapping[str, Any]) -> PlatformRecord:
    return PlatformRecord(**{**named, "platform_manifest": named.get("platform_manifest") or None})


def _wrong(what: str, where: str) -> FormatError:
    return FormatError(
        "platform-list",
        what,
        where=where,
        mend="give the file as Intel's tool or `dcap pccs get` wrote it",
    )
