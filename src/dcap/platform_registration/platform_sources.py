"""Where a machine's platform data is looked for, and what came of each place.

    found = look(root, quote=quote, table=Path("pckid_retrieval.csv"))
    found.data      # all of it together; `None` where there is none
    found.places    # each place: whether anything was there

A quote tells the raw TCB of now, a table or list that of the day it was written, the BIOS the manifest:
in this order they complete each other. Where nothing is named, a table is looked for where Intel's tool
leaves it, and the BIOS is always looked at. All is only read. Not here: making a quote (`attester`).
"""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Final, Literal, TypeAlias

import msgspec

from dcap.api.pccs_admin import PlatformRecord
from dcap.api.platform_list import read_csv, read_platform_list
from dcap.errors import AttesterError, ConfigError, FormatError
from dcap.formats import containers
from dcap.formats.quote import Quote
from dcap.platform_registration.platform_data import PlatformData, of_quote, of_record
from dcap.platform_registration.uefi import FOLDER, Variables, read_variables
from dcap.qpl.discovery_root import Root
from dcap.sources.directory import read_regular

Source: TypeAlias = Literal["quote", "table", "list", "UEFI"]

TABLE: Final = "pckid_retrieval.csv"
#: Where Intel's package puts the tool, which writes into the folder that it is run in.
TOOL_FOLDER: Final = "/opt/intel/sgx-pck-id-retrieval-tool"
#: A machine with its manifest is 230 KB.
_MOST: Final = 4 * 1024 * 1024


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """A place that was looked at. `members` are what it tells, by name; `trouble` why not more."""

    source: Source
    where: str
    is_there: bool
    members: tuple[str, ...] = ()
    trouble: str = ""


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What was found, in all. `data` is `None` where no place tells anything."""

    data: PlatformData | None
    places: tuple[Place, ...]
    variables: Variables

    def expected(self) -> PlatformData:
        """The data. Raises `AttesterError` (`registration-no-platform-data`)."""
        if self.data is not None:
            return self.data
        troubles = [f"{one.where}: {one.trouble}" for one in self.places if one.trouble]
        looked = ", ".join(one.where for one in self.places)
        raise AttesterError(
            "registration-no-platform-data",
            "nothing here tells which machine this is"
            + (f" ({'; '.join(troubles)})" if troubles else ""),
            where=f"looked at {looked}",
            mend="on a host with SGX, run `sudo PCKIDRetrievalTool -f pckid_retrieval.csv` and give "
            "that file: --csv; or give a quote of the machine: --quote FILE, or --attest to make one",
        )


def look(
    root: Root,
    *,
    quote: tuple[bytes, str] | None = None,
    table: Path | None = None,
    listed: Path | None = None,
    here: Path | None = None,
) -> Found:
    """Look everywhere. `quote` is its bytes and their origin; in `here` a table may lie.

    Raises `ConfigError` (`registration-two-machines`, `registration-many-machines`, `file-unreadable`)
    and `FormatError` for what was named and is not of use; what merely lies about is passed over.
    """
    told: list[tuple[Place, PlatformData]] = []
    if quote is not None:
        told.append(_told("quote", quote[1], _of_evidence(quote[0])))
    if table is not None:
        told.append(_told("table", str(table), _of_file(table, read_csv)))
    if listed is not None:
        told.append(_told("list", str(listed), _of_file(listed, _listed)))
    for (_, one), (place, other) in pairwise(told):
        if not one.is_of(other):
            raise ConfigError(
                "registration-two-machines",
                "the QE id differs: what was named is of two machines",
                where=place.where,
                mend="name what is of this machine alone; "
                "`sudo PCKIDRetrievalTool -f pckid_retrieval.csv` writes it anew",
            )
    named = [place for place, _ in told]
    passed: list[Place] = []
    if table is None and listed is None:
        lying, passed = _lying_about(root, here, [data for _, data in told])
        told += lying
        passed += [place for place, _ in lying]
    variables = read_variables(root)
    bios = _of_bios(variables)
    places = (*named, *passed, _bios_place(variables, bios))
    # The BIOS shows a manifest while it is to be sent: it is newer than that of any file.
    found = bios
    for _, data in told:
        found = found.completed(data)
    is_any = bool(found.members or found.certificate)
    return Found(data=found if is_any else None, places=places, variables=variables)


def _told(source: Source, where: str, data: PlatformData) -> tuple[Place, PlatformData]:
    trouble = "its encrypted PPID is all zeros, and so none" if data.has_zero_ppid else ""
    members = (*data.members, *(("certificate",) if data.certificate else ()))
    return (
        Place(source=source, where=where, is_there=True, members=members, trouble=trouble),
        data,
    )


def _of_evidence(data: bytes) -> PlatformData:
    return of_quote(Quote.parse(containers.recognise(data).quote))


def _of_file(path: Path, read: Callable[[bytes], tuple[PlatformRecord, ...]]) -> PlatformData:
    """The one machine of a file that was named."""
    data = read_regular(path, _MOST)
    try:
        entries = read(data)
    except FormatError as error:
        raise error.within(str(path)) from None
    return _only(entries, str(path))


def _listed(data: bytes) -> tuple[PlatformRecord, ...]:
    """A list, or the one object that Intel's tool posts."""
    if data.lstrip()[:1] == b"{":
        data = b"[" + data + b"]"
    return read_platform_list(data)


def _only(entries: tuple[PlatformRecord, ...], where: str) -> PlatformData:
    """The one machine of a file. Raises `ConfigError` (`registration-many-machines`)."""
    if len(entries) == 1:
        return of_record(entries[0])
    raise ConfigError(
        "registration-many-machines",
        f"{len(entries)} machines stand in it, and one is registered at a time",
        where=where,
        mend="give the file of this machine alone; lists of many are for `dcap pccs fetch`",
    )


def _lying_about(
    root: Root, here: Path | None, named: list[PlatformData]
) -> tuple[list[tuple[Place, PlatformData]], list[Place]]:
    """The first table that lies where Intel's tool leaves one, and is of the machine that is named."""
    candidates: list[tuple[str, bytes]] = []
    if here is not None:
        candidates.append((TABLE, _content(here / TABLE)))
    installed = f"{TOOL_FOLDER}/{TABLE}"
    candidates.append((installed, root.content(installed, _MOST)))
    passed: list[Place] = []
    for where, content in candidates:
        if not content:
            passed.append(Place(source="table", where=where, is_there=False))
            continue
        try:
            place, data = _told("table", where, _only(read_csv(content), where))
        except (FormatError, ConfigError) as error:
            passed.append(Place(source="table", where=where, is_there=True, trouble=error.what))
            continue
        if all(one.is_of(data) for one in named):
            return [(place, data)], passed
        passed.append(
            Place(source="table", where=where, is_there=True, trouble="it is of another machine")
        )
    return [], passed


def _content(path: Path) -> bytes:
    try:
        return read_regular(path, _MOST)
    except ConfigError:
        return b""


def _of_bios(variables: Variables) -> PlatformData:
    request = variables.request
    if request is None or request.content != "manifest":
        return PlatformData()
    return PlatformData(platform_manifest=request.body.hex().upper())


def _bios_place(variables: Variables, data: PlatformData) -> Place:
    troubles = [f"{name}: {why}" for name, why in variables.unreadable]
    if variables.request is not None and variables.request.content == "add-request":
        troubles.append("a package was added: mpa_registration tells Intel, and not dcap")
    return Place(
        source="UEFI",
        where=FOLDER,
        is_there=variables.is_multi_package,
        members=data.members,
        trouble="; ".join(troubles),
    )
