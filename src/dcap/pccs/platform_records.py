"""Machines as lists and Intel's tools name them, of what a PCCS keeps.

Not here: the form of a list (`api.pccs_admin`), which machines are listed (`registration`, `transfer`).

Source: `pccs-and-pcs-api.md` §1.5.
"""

from collections.abc import Iterator

from dcap.api.pccs_admin import PlatformRecord
from dcap.pccs.items import Holding, Registration


def records_of(holding: Holding) -> Iterator[PlatformRecord]:
    """A machine as lists name it: once for each raw TCB that is known, once where none is."""
    platform = holding.platform
    for raw in holding.raw_tcbs or (None,):
        yield PlatformRecord(
            qe_id=platform.qe_id,
            pce_id=platform.pce_id,
            cpu_svn="" if raw is None else raw.cpu_svn,
            pce_svn="" if raw is None else raw.pce_svn,
            enc_ppid=(platform.encrypted_ppid or b"").hex().upper(),
            platform_manifest=(platform.manifest or b"").hex().upper() or None,
        )


def record_waiting(one: Registration) -> PlatformRecord:
    """A machine of the queue: PPID and manifest in lower case, as they are listed there."""
    return PlatformRecord(
        qe_id=one.qe_id,
        pce_id=one.pce_id,
        cpu_svn=one.cpu_svn,
        pce_svn=one.pce_svn,
        enc_ppid=(one.encrypted_ppid or b"").hex(),
        platform_manifest=(one.manifest or b"").hex(),
    )
