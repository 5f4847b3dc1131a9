"""/dev/tdx_guest: the TDREPORT of the TD that we run in, and the older way from it to a quote.

    report = td_report(surroundings, report_data)            # 1024 bytes, ioctl 'T',1
    quote = TdxGuestAttester(surroundings).quote(report_data)     # and ioctl 'T',4

The first is in every kernel of TDX guests; the second (GetQuote: a framed message of the quote service,
carried to the host by a hypercall) only in those before Linux 6.7 that Intel and distributions patched:
newer ones have `configfs_tsm`. Not here: RTMRs; the ioctls of still older kernels (/dev/tdx-guest,
/dev/tdx-attest), which have other structures.

Source: Linux, include/uapi/linux/tdx-guest.h; Intel `tdx_attest.c`; `quote-provider.md` §5.6.
"""

import ctypes
import errno
import os
import queue
import struct
import threading
from pathlib import Path
from typing import Final

from dcap.attester.attester import REPORT_DATA_SIZE, Description, described
from dcap.attester.bound_quote import bound_quote
from dcap.attester.qgs_answer import quote_in
from dcap.attester.surroundings import Surroundings
from dcap.errors import AttesterError, FormatError
from dcap.formats import qgs, td_local_report
from dcap.formats.td_local_report import TdLocalReport

NAME: Final = "tdx-guest"
DEVICE: Final = "/dev/tdx_guest"
#: Kernels before Linux 6.2 had these, of other structures.
OLDER_DEVICES: Final = ("/dev/tdx-guest", "/dev/tdx-attest")
#: The kernel waits for the host, some of them without end.
SECONDS: Final = 40.0

#: _IOWR('T', 1, struct {u8 reportdata[64]; u8 tdreport[1024];})
GET_REPORT: Final = 3 << 30 | (REPORT_DATA_SIZE + td_local_report.SIZE) << 16 | ord("T") << 8 | 1
_QUOTE_REQUEST: Final = struct.Struct("<QQ")
#: _IOR('T', 4, struct {u64 buf; u64 len;})
GET_QUOTE: Final = 2 << 30 | _QUOTE_REQUEST.size << 16 | ord("T") << 8 | 4
#: version, status, in_len, out_len; the message follows.
_QUOTE_HEADER: Final = struct.Struct("<QQII")
_BUFFER_SIZE: Final = 16 * 1024
_IN_FLIGHT: Final = 0xFFFFFFFFFFFFFFFF
_UNAVAILABLE: Final = 0x8000000000000001

_MODPROBE: Final = "sudo modprobe tdx_guest"
_HOST: Final = "on the host: `systemctl status qgsd` and `journalctl -u qgsd`"


class TdxGuestAttester:
    """The device's GetQuote. `seconds` is how long one quote may take."""

    name = NAME

    def __init__(self, surroundings: Surroundings, *, seconds: float = SECONDS) -> None:
        self._surroundings = surroundings
        self._seconds = seconds

    def describe(self) -> Description:
        """What there is. Whether the kernel has GetQuote is seen by asking alone."""
        return found(self._surroundings)

    def quote(self, report_data: bytes) -> bytes:
        """A quote over 64 bytes. Raises `AttesterError` (`attester-tdx-…`, `qgs-…`, `attester-…`)."""
        report = td_report(self._surroundings, report_data)
        asked = qgs.framed(qgs.write_message(qgs.QuoteRequest(report)))
        answered = self._carried(asked)
        return bound_quote(quote_in(answered, DEVICE), report_data, by=DEVICE, tee="TDX")

    def _carried(self, message: bytes) -> bytes:
        """The message's answer, by the host. In a thread: the kernel may wait without end."""
        device = self._surroundings.host(DEVICE)
        done: queue.Queue[bytes | Exception] = queue.Queue()

        def carry() -> None:
            try:
                done.put(_get_quote(device, message))
            except (OSError, AttesterError) as error:
                done.put(error)

        threading.Thread(target=carry, name=NAME, daemon=True).start()
        try:
            answered = done.get(timeout=self._seconds)
        except queue.Empty:
            raise AttesterError(
                "attester-tdx-timeout", "the host did not answer in time", where=DEVICE, mend=_HOST
            ) from None
        if isinstance(answered, OSError):
            raise _failed(answered, "quote") from None
        if isinstance(answered, Exception):
            raise answered
        return answered


def found(surroundings: Surroundings) -> Description:
    """What there is of it: the device, and whether we may open it."""
    facts, problem = look(surroundings)
    return described(NAME, "TDX", facts, problem)


def look(surroundings: Surroundings) -> tuple[tuple[str, ...], AttesterError | None]:
    """What is seen of the device, each fact a line, and what keeps it from serving."""
    place = surroundings.root.look(DEVICE)
    older = [name for name in OLDER_DEVICES if surroundings.root.look(name).is_there]
    facts = tuple(f"{name}: there, of an older kernel" for name in older)
    if not place.is_there:
        return facts, _absent(older)
    device = surroundings.host(DEVICE)
    facts += (f"{DEVICE}: there, mode {device.stat().st_mode & 0o777:04o}",)
    return facts, None if os.access(device, os.R_OK | os.W_OK) else _denied()


def td_report(surroundings: Surroundings, report_data: bytes) -> bytes:
    """The TDREPORT of this TD over 64 bytes, 1024 bytes. Raises `AttesterError` (`attester-tdx-…`)."""
    if not surroundings.root.look(DEVICE).is_there:
        raise _absent([n for n in OLDER_DEVICES if surroundings.root.look(n).is_there])
    argument = bytearray(report_data.ljust(REPORT_DATA_SIZE, b"\0") + bytes(td_local_report.SIZE))
    try:
        _ioctl(surroundings.host(DEVICE), GET_REPORT, argument)
    except OSError as error:
        raise _failed(error, "report") from None
    report = bytes(argument[REPORT_DATA_SIZE:])
    try:
        made = TdLocalReport.parse(report).mac.report_data
    except FormatError as error:
        raise AttesterError(
            "attester-tdx-failed",
            f"what the device gave is no report: {error.what}",
            where=DEVICE,
            mend="`dmesg | grep -i tdx` may say more",
        ) from None
    if made != report_data:
        raise AttesterError(
            "attester-tdx-failed",
            "the device's report binds other report data than were asked for",
            where=DEVICE,
            mend="`dmesg | grep -i tdx` may say more",
        )
    return report


def _get_quote(device: Path, message: bytes) -> bytes:
    """Ask by ioctl 'T',4: the answer, framed as the message is."""
    start = _QUOTE_HEADER.pack(1, 0, len(message), 0) + message
    buffer = ctypes.create_string_buffer(start, _BUFFER_SIZE)
    _ioctl(
        device, GET_QUOTE, bytearray(_QUOTE_REQUEST.pack(ctypes.addressof(buffer), _BUFFER_SIZE))
    )
    _, status, _, size = _QUOTE_HEADER.unpack_from(buffer.raw)
    if status:
        raise _refused(status)
    if size > _BUFFER_SIZE - _QUOTE_HEADER.size:
        raise _refused(status, f"the answer has {size} bytes, more than there is place for")
    if not size:
        raise AttesterError(
            "attester-tdx-empty", "the host gave an empty quote", where=DEVICE, mend=_HOST
        )
    return buffer.raw[_QUOTE_HEADER.size :][:size]


def _ioctl(device: Path, request: int, argument: bytearray) -> None:
    import fcntl  # noqa: PLC0415 - Windows has none

    descriptor = os.open(device, os.O_RDWR | os.O_SYNC | os.O_CLOEXEC)
    try:
        fcntl.ioctl(descriptor, request, argument, True)  # noqa: FBT003 - "into the same buffer"
    finally:
        os.close(descriptor)


# What the system says, in our words


def _refused(status: int, what: str = "") -> AttesterError:
    if status == _IN_FLIGHT:
        return AttesterError(
            "attester-tdx-busy",
            "the host has not answered yet: another quote is under way",
            where=DEVICE,
            mend="ask again in a moment",
        )
    if status == _UNAVAILABLE:
        what = "the host offers no quotes to this guest"
    return AttesterError(
        "attester-tdx-failed",
        what or f"the hypercall for a quote failed with status 0x{status:X}",
        where=DEVICE,
        mend=f"{_HOST}; QEMU needs `quote-generation-socket` of its tdx-guest object to lead there",
    )


def _absent(older: list[str]) -> AttesterError:
    if older:
        what = f"there is {older[0]}, of a kernel before Linux 6.2, and no {DEVICE}"
        mend = "run the guest with Linux 6.7 or later"
    else:
        what = f"no {DEVICE}: this is no TDX guest, or its module is not loaded"
        mend = f"in a TDX guest (`grep tdx_guest /proc/cpuinfo`): {_MODPROBE}"
    return AttesterError("attester-tdx-device", what, where=DEVICE, mend=mend)


def _denied() -> AttesterError:
    return AttesterError(
        "attester-tdx-denied",
        "this user may not open the device",
        where=DEVICE,
        mend=f"`ls -l {DEVICE}` shows its group: `sudo usermod -aG GROUP $USER` and a new login, or "
        "sudo for this one command",
    )


def _failed(error: OSError, asked: str) -> AttesterError:
    """What an error of opening the device, or of an ioctl, means."""
    if error.errno in (errno.EACCES, errno.EPERM):
        return _denied()
    if error.errno in (errno.EBUSY, errno.EINTR):
        return _refused(_IN_FLIGHT)
    number = errno.errorcode.get(error.errno or 0, str(error.errno))
    if error.errno == errno.ENOTTY and asked == "quote":
        return AttesterError(
            "attester-tdx-ioctl",
            f"this kernel's device makes reports, and no quotes ({number})",
            where=DEVICE,
            mend="use configfs-tsm, which Linux has since 6.7: `dcap attest --by configfs-tsm`",
        )
    return AttesterError(
        "attester-tdx-ioctl",
        f"the device gave no {asked}: {error.strerror} ({number})",
        where=DEVICE,
        mend="`dmesg | grep -i tdx` may say more; is it the device of the module tdx_guest?",
    )
