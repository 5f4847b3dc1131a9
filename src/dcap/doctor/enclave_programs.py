"""Programs that run an enclave: those that hold an SGX device open, and when each started.

Seen by `/proc/PID/fd`, as far as this account may look there. Not here: daemons (`services`).
"""

from typing import Final

import msgspec

from dcap.doctor.nodes import ENCLAVE
from dcap.doctor.processor import number_in
from dcap.errors import printable
from dcap.qpl.discovery_root import Root

_START_FIELD: Final = 19  # the 22nd of /proc/PID/stat, counted behind the command's name


class EnclaveProgram(msgspec.Struct, frozen=True):
    """`started` counts in ticks since the machine's start."""

    pid: int
    command: str
    started: int


def enclave_programs(root: Root) -> list[EnclaveProgram]:
    """All that are to be seen, by number."""
    pids = sorted(number_in(name) for name in root.names("/proc") if name.isdecimal())
    return [
        EnclaveProgram(pid, printable(root.text(f"/proc/{pid}/comm").strip()), start_of(root, pid))
        for pid in pids
        if _holds_enclave(root, pid)
    ]


def start_of(root: Root, pid: int) -> int:
    """When a process started, in ticks since the machine did; 0 where it cannot be seen."""
    fields = root.text(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return number_in(fields[_START_FIELD]) if len(fields) > _START_FIELD else 0


def _holds_enclave(root: Root, pid: int) -> bool:
    folder = root.host(root.look(f"/proc/{pid}/fd").real)
    for name in root.names(f"/proc/{pid}/fd"):
        try:
            if str((folder / name).readlink()) in ENCLAVE:
                return True
        except OSError:  # closed meanwhile, or no link
            continue
    return False
