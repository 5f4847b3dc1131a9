"""configfs-tsm: a file for the report data, a file for the quote, in a folder of the kernel's.

    attester = ConfigfsTsmAttester(surroundings)
    quote = attester.quote(report_data)

The road of TDX guests since Linux 6.7: the kernel makes the TDREPORT and asks the host for the quote by
a hypercall. Each folder under `report/` is an entry of its own; `com.intel.dcap` is the one that Intel's
library uses, and so do we, unless it is another user's. Two that use one entry at once disturb each
other and see it by `generation`, which counts the writes. Not here: `sev_guest`, the older device
(`tdx_guest`), service TDs (`service_provider`).

Source: Linux, Documentation/ABI/testing/configfs-tsm, drivers/virt/coco; `quote-provider.md` §5.6.
"""

import errno
import os
import posixpath
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from dcap.attester.attester import Description, described
from dcap.attester.bound_quote import bound_quote
from dcap.attester.pseudo_file import read_answer, write_whole
from dcap.attester.surroundings import Surroundings
from dcap.errors import AttesterError

NAME: Final = "configfs-tsm"
CONFIG: Final = "/sys/kernel/config"
REPORTS: Final = f"{CONFIG}/tsm/report"
ENTRY: Final = "com.intel.dcap"
#: Intel's library obeys it too: the path of an entry.
PATH_VARIABLE: Final = "DCAP_TDX_QUOTE_CONFIGFS_PATH"
PROVIDER: Final = "tdx_guest"
#: The kernel itself gives the host 30 seconds.
SECONDS: Final = 40.0
#: How often somebody else may come between, before an entry of our own is taken.
TRIES: Final = 3
_MOST: Final = 64 * 1024
_MOST_TEXT: Final = 64
#: Within which a new entry has its files. The kernel fills it at once; `dcap sim up` in a moment.
_FILLED: Final = 2.0
_PAUSE: Final = 0.002
#: Seconds more to wait with each time that somebody came between.
_TURN: Final = 0.05

_MODPROBE: Final = "sudo modprobe tdx_guest"
_MOUNT: Final = f"sudo mount -t configfs configfs {CONFIG}"
_HOST: Final = (
    "on the host: `systemctl status qgsd` and `journalctl -u qgsd`; QEMU needs "
    "`quote-generation-socket` of its tdx-guest object to lead there"
)
#: What comes between two that use one entry, or a quote that another still waits for.
_DISTURBED: Final = (errno.EBUSY, errno.EAGAIN, errno.EINTR)
_DENIED: Final = (errno.EACCES, errno.EPERM, errno.EROFS)


class _Disturbed(Exception):  # noqa: N818 - an event, caught in this file
    """Somebody else used the entry meanwhile."""


class ConfigfsTsmAttester:
    """The kernel's reports folder. `seconds` is how long one quote may take."""

    name = NAME

    def __init__(self, surroundings: Surroundings, *, seconds: float = SECONDS) -> None:
        self._surroundings = surroundings
        self._seconds = seconds

    def describe(self) -> Description:
        """What there is; nothing is made or written."""
        return found(self._surroundings)

    def quote(self, report_data: bytes) -> bytes:
        """A quote over 64 bytes. Raises `AttesterError` (`attester-tdx-…`, `attester-…`)."""
        entry = self._shared()
        until = time.monotonic() + self._seconds
        if entry is not None:
            for turn in range(TRIES):
                with suppress(_Disturbed):
                    return _exchange(entry, report_data, until)
                time.sleep(turn * _TURN)
        entry = self._own()
        try:
            return _exchange(entry, report_data, until)
        except _Disturbed:
            raise AttesterError(
                "attester-tdx-busy",
                "somebody else asks for quotes there at the same time, again and again",
                where=str(entry),
                mend="ask again in a moment: the host answers one request of a guest after another",
            ) from None
        finally:
            with suppress(
                OSError
            ):  # that which a simulator made is not empty, and its own to remove
                entry.rmdir()

    def _shared(self) -> Path | None:
        """The entry that Intel's library uses too; None where it is another user's."""
        entry = _entry_of(self._surroundings)
        if not entry.is_dir():
            self._make(entry)
        foreign = PATH_VARIABLE not in self._surroundings.environ and _is_foreign(entry)
        return None if foreign else entry

    def _own(self) -> Path:
        """An entry that nobody else knows."""
        entry = _entry_of(self._surroundings).with_name(f"dcap.{os.getpid()}")
        self._make(entry)
        return entry

    def _make(self, entry: Path) -> None:
        try:
            entry.mkdir(exist_ok=True)
        except OSError as error:
            raise _unmade(self._surroundings, entry, error) from None
        filled = time.monotonic() + _FILLED
        while not (entry / "provider").exists() and time.monotonic() < filled:
            time.sleep(_PAUSE)


def found(surroundings: Surroundings) -> Description:
    """What there is of it: the folder, an entry's provider, and whether we may write there."""
    entry = _entry_of(surroundings)
    problem = _missing(surroundings, entry)
    facts = []
    if problem is None:
        name = _named(surroundings)
        facts.append(f"{posixpath.dirname(name)}: there")
        problem = _entry_problem(entry, name, facts)
    return described(NAME, "TDX", tuple(facts), problem)


def _entry_problem(entry: Path, name: str, facts: list[str]) -> AttesterError | None:
    """What is wrong with the entry that would be used, or with making it."""
    if not entry.is_dir():
        return None if os.access(entry.parent, os.W_OK) else _denied(entry.parent)
    with suppress(OSError):
        provider = _text(entry / "provider", time.monotonic())
        facts.append(f"{name}: provider {provider}")
        if provider != PROVIDER:
            return _other_provider(entry, provider)
    may = os.access(entry / "inblob", os.W_OK) or os.access(entry.parent, os.W_OK)
    return None if may else _denied(entry / "inblob")


def _named(surroundings: Surroundings) -> str:
    """The path of the entry that would be used, as the machine knows it."""
    return surroundings.environ.get(PATH_VARIABLE) or f"{REPORTS}/{ENTRY}"


def _entry_of(surroundings: Surroundings) -> Path:
    return surroundings.host(_named(surroundings))


def _is_foreign(entry: Path) -> bool:
    """Whether an entry belongs to another user, who may be about to use it; root's are for all."""
    try:
        return entry.stat().st_uid not in (os.geteuid(), 0)
    except OSError:
        return False


def _exchange(entry: Path, report_data: bytes, until: float) -> bytes:
    """Report data in, a quote out, nobody else between."""
    answered = _within(entry, lambda: _ask(entry, report_data, until))
    if not answered.strip(b"\0"):
        raise AttesterError(
            "attester-tdx-empty",
            "the kernel gave an empty quote: the host did not make one",
            where=str(entry / "outblob"),
            mend=_HOST,
        )
    return bound_quote(answered, report_data, by=str(entry / "outblob"), tee="TDX")


def _ask(entry: Path, report_data: bytes, until: float) -> bytes:
    # 1. the right kernel answers
    provider = _text(entry / "provider", until)
    if provider != PROVIDER:
        raise _other_provider(entry, provider)
    # 2. how often was written before
    before = _generation(entry, until)
    # 3. the report data, in one write; the kernel takes them as the file is closed
    _write(entry / "inblob", report_data, until)
    # 4. the quote
    answered = read_answer(entry / "outblob", until, _MOST)
    # 5. nobody wrote but we, and we did
    if _generation(entry, until) != before + 1:
        raise _Disturbed
    return answered


def _write(file: Path, report_data: bytes, until: float) -> None:
    written = write_whole(file, report_data, until)
    if written != len(report_data):
        raise OSError(errno.EPROTO, f"{written} of {len(report_data)} bytes were taken")


def _generation(entry: Path, until: float) -> int:
    text = _text(entry / "generation", until)
    try:
        return int(text)
    except ValueError:
        raise OSError(errno.EPROTO, f"generation is no number: {text!r}") from None


def _text(file: Path, until: float) -> str:
    return read_answer(file, until, _MOST_TEXT).decode("ascii", "replace").strip()


# What the system says, in our words


def _within(entry: Path, ask: Callable[[], bytes]) -> bytes:
    try:
        return ask()
    except OSError as error:
        raise refusal_of(error, entry) from None


def refusal_of(error: OSError, entry: Path) -> Exception:
    """What an error of the entry's files means."""
    if error.errno in _DISTURBED:
        return _Disturbed()
    if error.errno in _DENIED:
        return _denied(Path(error.filename or entry))
    if isinstance(error, TimeoutError) or error.errno == errno.ETIMEDOUT:
        return AttesterError(
            "attester-tdx-timeout",
            "the host did not answer in time",
            where=str(entry),
            mend=_HOST,
        )
    number = errno.errorcode.get(error.errno or 0, "")
    meaning = {
        errno.EINVAL: "the kernel takes no such report data (it wants 64 bytes)",
        errno.ENXIO: "the module that answers was removed",
        errno.EIO: "the hypercall for a quote failed: the host does not offer it, or answers wrongly",
    }.get(error.errno or 0, error.strerror or str(error))
    mends = {errno.ENXIO: _MODPROBE, errno.ENOENT: f"{_MODPROBE}; then ask again"}
    return AttesterError(
        "attester-tdx-failed",
        f"no quote: {meaning}" + (f" ({number})" if number else ""),
        where=str(error.filename or entry),
        mend=mends.get(error.errno or 0, f"`dmesg | grep -i tdx` in the guest; {_HOST}"),
    )


def _unmade(surroundings: Surroundings, entry: Path, error: OSError) -> AttesterError:
    """Why there is no entry, and none can be made."""
    if error.errno in _DENIED:
        return _denied(entry.parent)
    return _missing(surroundings, entry) or AttesterError(
        "attester-tdx-module",
        f"the kernel makes no entry: {error.strerror}",
        where=str(entry),
        mend=f"the module that answers may not be loaded: {_MODPROBE}",
    )


def _missing(surroundings: Surroundings, entry: Path) -> AttesterError | None:
    """What lacks of the folder of all entries, or None."""
    if entry.parent.is_dir():
        return None
    root = surroundings.root
    if PATH_VARIABLE in surroundings.environ:
        what, mend = f"{PATH_VARIABLE} names no place for an entry", f"unset {PATH_VARIABLE}"
    elif root.look(f"{CONFIG}/tsm").kind == "folder" or _is_mounted(surroundings):
        what = "the kernel has configfs, and no reports in it: the module tdx_guest is not loaded"
        mend = f"{_MODPROBE} (Linux 6.7 or later, in a TDX guest)"
    elif root.look(CONFIG).kind == "folder":
        what, mend = "configfs is not mounted", _MOUNT
    else:
        what = "the kernel has no configfs"
        mend = f"sudo modprobe configfs && {_MOUNT}"
    return AttesterError("attester-tdx-module", what, where=str(entry.parent), mend=mend)


def _is_mounted(surroundings: Surroundings) -> bool:
    mounts = surroundings.root.text("/proc/mounts")
    return bool(surroundings.root.names(CONFIG)) or f" {CONFIG} configfs " in mounts


def _denied(path: Path) -> AttesterError:
    return AttesterError(
        "attester-tdx-denied",
        "this user may not use it: most kernels let root alone ask for quotes here",
        where=str(path),
        mend="run it with sudo; or let root give an entry away: "
        f"`sudo mkdir {REPORTS}/mine && sudo chown -R $USER {REPORTS}/mine`, and "
        f"{PATH_VARIABLE}={REPORTS}/mine",
    )


def _other_provider(entry: Path, provider: str) -> AttesterError:
    return AttesterError(
        "attester-tdx-provider",
        f"reports are made there by {provider or 'nobody'!r}: this is no TDX guest",
        where=str(entry / "provider"),
        mend=f"in a TDX guest, {_MODPROBE}; quotes of other machines are not made here",
    )
