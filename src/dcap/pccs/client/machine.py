"""Machines as lists have them: one of several entries, each of a raw TCB.

What identifies one stands in no text of these values. Not here: reading lists (`api.platform_list`).

Source: `pccs-and-pcs-api.md` §4.2.
"""

import hashlib
from collections.abc import Iterable
from typing import NamedTuple

from dcap.api.pccs_admin import PlatformRecord


class Machine(NamedTuple):
    """A machine of a list: its first entry's place, and what it introduces itself with."""

    place: int
    qe_id: str
    pce_id: str
    enc_ppid: str
    manifest: str

    def __repr__(self) -> str:
        return f"<Machine {self.place}>"

    @property
    def digest(self) -> str:
        """Tells machines apart in a journal."""
        parts = (self.qe_id, self.pce_id, self.enc_ppid, self.manifest)
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def machines_of(records: Iterable[PlatformRecord]) -> tuple[Machine, ...]:
    """Each machine of a list once: an entry stands there for each of its raw TCBs."""
    found: dict[tuple[str, str], Machine] = {}
    for place, record in enumerate(records, 1):
        key = record.qe_id.upper(), record.pce_id.upper()
        manifest = (record.platform_manifest or "").upper()
        known = found.get(key)
        if known is None:
            found[key] = Machine(place, *key, record.enc_ppid.upper(), manifest)
        else:
            found[key] = known._replace(
                enc_ppid=known.enc_ppid or record.enc_ppid.upper(),
                manifest=manifest or known.manifest,
            )
    return tuple(found.values())
