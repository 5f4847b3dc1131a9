"""What Intel's quote provider reads off a host's disk, so that quotes are made there without a PCCS.

    for name, content in quote_provider_caches(records, holdings, items, expires=…): …

Everything given was proven. Needs no store, and none of its libraries. Not here: the form of an entry
(`sources.foreign_caches`), writing the files.

Source: `pccs-and-pcs-api.md` §4.4.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime

import msgspec

from dcap.api.pccs_admin import PlatformRecord
from dcap.api.pcs_responses import write_chain
from dcap.pccs.items import Holding, Item, RawReport, TcbInfoKey
from dcap.pccs.transfer.arrangement import certificates_of
from dcap.sources.foreign_caches import write_intel_entry


def quote_provider_caches(
    records: Iterable[PlatformRecord],
    holdings: Iterable[Holding],
    items: Iterable[Item],
    *,
    expires: datetime,
) -> Iterator[tuple[str, bytes]]:
    """Names and contents for a host's `.dcap-qcnl`: quotes can then be made without a PCCS.

    One for each machine whose certificates and SGX TCB info are given, for the TCB that it has now
    (`latest`); the early info where there is one, as the selection is made with it. The names identify
    machines.
    """
    raw: dict[tuple[str, str], PlatformRecord] = {}
    for record in records:
        machine = (record.qe_id.upper(), record.pce_id.upper())
        before = raw.get(machine)
        raw[machine] = record if before is None else latest(before, record)
    infos = {
        (item.key.fmspc, item.key.update): item.body
        for item in items
        if isinstance(item.key, TcbInfoKey) and item.key.tee == "SGX" and item.key.version == 4
    }
    for holding in holdings:
        platform = holding.platform
        info = infos.get((platform.fmspc, "EARLY")) or infos.get((platform.fmspc, "STANDARD"))
        if info is None:
            continue
        named = raw.get((platform.qe_id, platform.pce_id))
        if named is not None:
            yield write_intel_entry(
                qe_id=platform.qe_id,
                pce_id=platform.pce_id,
                cpu_svn=named.cpu_svn,
                tcb_info=info,
                issuer_chain=write_chain(holding.issuer_chain).encode(),
                certificates=msgspec.json.encode(certificates_of(holding)),
                expires=expires,
            )


def latest(one: PlatformRecord, other: PlatformRecord) -> PlatformRecord:
    """Of two entries of a machine the one of the TCB that it has now: updates raise SVNs.

    Where each has something higher, the later in the list. One that names no TCB gives way.
    """
    if not (one.cpu_svn and other.cpu_svn):
        return one if one.cpu_svn else other
    first = RawReport(one.cpu_svn, one.pce_svn).tcb
    second = RawReport(other.cpu_svn, other.pce_svn).tcb
    return one if first != second and first.reaches(second) else other
