"""What can go wrong with AESM, as our errors: the code, what it comes to here, and what mends it.

Each is a pattern: `aesm` raises one with what happened and where. Not here: what the daemon's own
numbers mean (`formats.aesm`).

Source: `quote-provider.md` §5.3-5.4, §6 rows 1, 2, 6, 11, 19 and 20.
"""

from collections.abc import Mapping
from typing import Final

from dcap.errors import AttesterError

_LOG: Final = "`sudo journalctl -u aesmd` says more"
_RESTART: Final = "`sudo systemctl restart aesmd`"

# There is no connection.

ABSENT: Final = AttesterError(
    "aesm-absent",
    "AESM's socket is not there",
    mend="install sgx-aesm-service, `sudo systemctl start aesmd`; into a container mount /var/run/aesmd",
)
DENIED: Final = AttesterError(
    "aesm-denied",
    "AESM's socket may not be opened by this user",
    mend="`ls -ld /var/run/aesmd /var/run/aesmd/aesm.socket`: each of them must let this user in",
)
REFUSED: Final = AttesterError(
    "aesm-refused",
    "nobody listens at AESM's socket: the daemon has ended and left it behind",
    mend=f"{_RESTART}; into a container mount the folder /var/run/aesmd, not the socket alone",
)
UNREACHABLE: Final = AttesterError(
    "aesm-unreachable",
    "AESM's socket cannot be connected to",
    mend="`ls -l /var/run/aesmd/aesm.socket` must show a socket; its path has 107 bytes at most",
)

# There is, and no answer comes.

SILENT: Final = AttesterError(
    "aesm-silent",
    "AESM does not answer in time",
    mend=f"{_LOG}: a quote provider without a limit of time may wait for its service; {_RESTART}",
)
TRUNCATED: Final = AttesterError(
    "aesm-truncated",
    "AESM hung up in the midst of an answer",
    mend=f"{_LOG}: it may have crashed, or been restarted; ask again",
)
UNSUPPORTED: Final = AttesterError(
    "aesm-unsupported",
    "AESM does not know ECDSA's calls",
    mend="install libsgx-aesm-quote-ex-plugin and libsgx-aesm-ecdsa-plugin; restart aesmd",
)

# An answer comes, and is an error.

NO_DEVICE: Final = AttesterError(
    "aesm-no-device",
    "AESM has no SGX device",
    mend="`ls -l /dev/sgx*`: aesmd's group is sgx_prv; map the devices into its container; restart it",
)
REQUEST: Final = AttesterError(
    "aesm-request",
    "AESM does not take the request",
    mend=f"{_LOG}; its release may be older than DCAP 1.3: update sgx-aesm-service",
)
NETWORK: Final = AttesterError(
    "aesm-network",
    "AESM did not reach a service",
    mend=f"`dcap qcnl show` has the address that is asked; {_LOG}",
)
BUSY: Final = AttesterError(
    "aesm-busy",
    "AESM is busy, or being stopped",
    mend=f"ask again in a few seconds; {_LOG}",
)
MEMORY: Final = AttesterError(
    "aesm-epc",
    "no memory is left for enclaves",
    mend="end enclaves that are not needed, or give more of it in the BIOS (PRMRR size)",
)
UNAVAILABLE: Final = AttesterError(
    "aesm-unavailable",
    "the plugin of AESM that would answer did not start",
    mend=f"{_LOG}; install libsgx-aesm-ecdsa-plugin and libsgx-aesm-pce-plugin; {_RESTART}",
)
NO_ECDSA: Final = AttesterError(
    "aesm-no-ecdsa",
    "AESM cannot quote with ECDSA",
    mend="install libsgx-aesm-ecdsa-plugin, libsgx-aesm-quote-ex-plugin, libsgx-ae-qe3; restart aesmd",
)
INTERFACE: Final = AttesterError(
    "aesm-interface",
    "AESM could not load the quoting interface",
    mend=f"install libsgx-qe3-logic and libsgx-pce-logic, of the release of aesmd; {_RESTART}",
)
NO_PROVIDER: Final = AttesterError(
    "aesm-no-provider",
    "AESM found no quote provider library",
    mend=f"`dcap provider list --explain`; `dcap provider install` makes one; {_RESTART}",
)
KEY_LOST: Final = AttesterError(
    "aesm-key-lost",
    "AESM forgot its attestation key twice in one quote",
    mend=f"the daemon is restarted over and over: {_LOG}",
)
NO_CERTIFICATE: Final = AttesterError(
    "aesm-no-certificate",
    "AESM got no PCK certificate of this machine",
    mend="`dcap provider test` makes the same request and shows the answer; register the machine",
)
REPORT: Final = AttesterError(
    "aesm-report",
    "AESM does not take the enclave's report",
    mend="make the report for the TARGETINFO that was given, on this machine, and anew each time",
)
ENCLAVE_LOST: Final = AttesterError(
    "aesm-enclave-lost",
    "AESM's quoting enclave was lost",
    mend=f"{_RESTART}; `dpkg -l | grep libsgx` must show one release",
)
ENCLAVE_LOAD: Final = AttesterError(
    "aesm-enclave-load",
    "AESM could not load the quoting enclave",
    mend=f"`ls -l /dev/sgx_provision`: aesmd's group is sgx_prv; install libsgx-ae-qe3; {_RESTART}",
)
OTHER: Final = AttesterError(
    "aesm-error",
    "AESM answered with an error",
    mend=f"{_LOG}; {_RESTART}",
)

#: AESM's number -> what it comes to; those that are missing are `OTHER`.
REFUSALS: Final[Mapping[int, AttesterError]] = {
    2: NO_DEVICE,
    3: REQUEST,
    12: NETWORK,
    13: NETWORK,
    14: NETWORK,
    17: BUSY,
    18: BUSY,
    19: NETWORK,
    22: REQUEST,
    24: NO_DEVICE,
    27: UNAVAILABLE,
    29: MEMORY,
    30: UNAVAILABLE,
    38: NO_ECDSA,
    40: INTERFACE,
    41: NO_PROVIDER,
    42: KEY_LOST,
    44: NO_CERTIFICATE,
    45: REPORT,
    46: ENCLAVE_LOST,
    47: REPORT,
    48: ENCLAVE_LOAD,
}


def unconnected(error: OSError) -> AttesterError:
    """What it comes to where there is no connection."""
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        return ABSENT
    if isinstance(error, PermissionError):
        return DENIED
    if isinstance(error, ConnectionRefusedError):
        return REFUSED
    if isinstance(error, TimeoutError):
        return SILENT
    return UNREACHABLE
