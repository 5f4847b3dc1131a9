"""The attester of configfs-tsm, over the simulated folder and over folders that are not like it."""

import errno
import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dcap.attester.configfs_tsm import ConfigfsTsmAttester, refusal_of
from dcap.attester.surroundings import Surroundings
from dcap.errors import AttesterError
from dcap.formats.quote import Quote
from dcap.qpl.discovery_root import Root
from dcap.simulator import World
from dcap.simulator.configfs_tsm import configfs_tsm
from dcap.simulator.platform import Platform

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="TDX guests are Linux's")
MACHINE = World().platform()
NONCE = bytes(range(64))
CONFIG = "sys/kernel/config"
VARIABLE = "DCAP_TDX_QUOTE_CONFIGFS_PATH"


def attester(root: Path, *, seconds: float = 20, **environ: str) -> ConfigfsTsmAttester:
    """The attester on the machine whose files lie there."""
    return ConfigfsTsmAttester(Surroundings(Root(root), environ), seconds=seconds)


def refused(root: Path, *, seconds: float = 20, **environ: str) -> AttesterError:
    """Why there is no quote."""
    with pytest.raises(AttesterError) as caught:
        attester(root, seconds=seconds, **environ).quote(NONCE)
    assert caught.value.exit_status == 7
    assert caught.value.mend
    return caught.value


@pytest.fixture
def report(tmp_path: Path) -> Iterator[Path]:
    """A TD: the scratch root is `tmp_path`, its `tsm/report` this."""
    with configfs_tsm(lambda: MACHINE, tmp_path / CONFIG) as folder:
        yield folder


def test_report_data_become_a_quote_that_binds_them(tmp_path: Path, report: Path) -> None:
    """Through the entry of Intel's library, which is left as it was: a second quote goes as well."""
    assert attester(tmp_path).name == "configfs-tsm"
    for report_data in (NONCE, bytes(64), NONCE):
        quote = Quote(attester(tmp_path).quote(report_data))
        assert (quote.tee, quote.body.report_data) == ("TDX", report_data)
    assert (report / "com.intel.dcap" / "generation").read_text() == "3\n"
    assert [entry.name for entry in report.iterdir()] == ["com.intel.dcap"]


def test_an_entry_can_be_named(tmp_path: Path, report: Path) -> None:
    """By the variable that Intel's library obeys; it is made where it is missing."""
    path = f"/{CONFIG}/tsm/report/mine"
    quote = attester(tmp_path, **{VARIABLE: path}).quote(NONCE)
    assert Quote(quote).body.report_data == NONCE
    assert (report / "mine" / "generation").read_text() == "1\n"
    assert (report / "com.intel.dcap" / "generation").read_text() == "0\n"


def test_an_entry_of_another_user_is_left_alone(tmp_path: Path, report: Path) -> None:
    """One of our own is used instead."""
    if os.geteuid() != 0:
        pytest.skip("only root can give a folder away")
    os.chown(report / "com.intel.dcap", 65534, 65534)
    assert Quote(attester(tmp_path).quote(NONCE)).body.report_data == NONCE
    assert (report / "com.intel.dcap" / "generation").read_text() == "0\n"
    assert (report / f"dcap.{os.getpid()}" / "generation").read_text() == "1\n"


def interfering(root: Path, times: int) -> Callable[[], Platform]:
    """A machine during whose work another program writes into whatever entry is in use."""
    left = [times]

    def machine() -> Platform:
        if left[0]:
            left[0] -= 1
            for inblob in (root / CONFIG / "tsm" / "report").glob("*/inblob"):
                inblob.write_bytes(bytes(64))
        return MACHINE

    return machine


@pytest.mark.parametrize(("times", "entries"), [(1, 1), (2, 1), (3, 2)])
def test_a_quote_that_was_disturbed_is_asked_for_again(
    tmp_path: Path, times: int, entries: int
) -> None:
    """`generation` tells; after three times an entry of our own is taken."""
    with configfs_tsm(interfering(tmp_path, times), tmp_path / CONFIG) as report:
        assert Quote(attester(tmp_path).quote(NONCE)).body.report_data == NONCE
        assert len(list(report.iterdir())) == entries


def test_disturbances_without_end_are_an_error(tmp_path: Path) -> None:
    """Bounded: it says that others ask at the same time."""
    with configfs_tsm(interfering(tmp_path, 99), tmp_path / CONFIG):
        error = refused(tmp_path)
    assert error.code == "attester-tdx-busy"
    assert "at the same time" in error.what


def test_two_at_once_get_each_its_own_quote(tmp_path: Path) -> None:
    """Whatever disturbs them: nobody is given what another asked for."""
    outcomes: dict[int, bytes | AttesterError] = {}

    def ask(number: int) -> None:
        path = f"/{CONFIG}/tsm/report/{number}"
        try:
            outcomes[number] = attester(tmp_path, **{VARIABLE: path}).quote(bytes([number]) * 64)
        except AttesterError as error:
            outcomes[number] = error

    with configfs_tsm(lambda: MACHINE, tmp_path / CONFIG):
        threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for number in range(4):
        quote = outcomes[number]
        assert isinstance(quote, bytes), quote
        assert Quote(quote).body.report_data == bytes([number]) * 64


def test_another_provider_is_refused(tmp_path: Path) -> None:
    """An SEV guest has the same folder: nothing is written there."""
    with configfs_tsm(lambda: MACHINE, tmp_path / CONFIG, provider="sev_guest") as report:
        error = refused(tmp_path)
        assert (report / "com.intel.dcap" / "generation").read_text() == "0\n"
        seen = attester(tmp_path).describe()
    assert error.code == "attester-tdx-provider"
    assert "sev_guest" in error.what
    assert (seen.usable, seen.why_not) == (False, error.what)


def test_an_empty_quote_points_to_the_host(tmp_path: Path) -> None:
    """Row 16: the service on the host is down, and the kernel says nothing but that."""

    def machine() -> Platform:
        raise OSError

    with configfs_tsm(machine, tmp_path / CONFIG):
        error = refused(tmp_path)
    assert error.code == "attester-tdx-empty"
    assert "systemctl status qgsd" in error.mend
    assert "quote-generation-socket" in error.mend


# Entries of plain files: what a kernel would not do, a mistaken set-up does


def entry_of(root: Path, name: str = "com.intel.dcap", outblob: bytes = b"") -> Path:
    """An entry that answers the same for ever."""
    entry = root / CONFIG / "tsm" / "report" / name
    entry.mkdir(parents=True)
    (entry / "provider").write_text("tdx_guest\n")
    (entry / "inblob").touch()
    (entry / "generation").write_text("7\n")
    (entry / "outblob").write_bytes(outblob)
    return entry


def test_a_write_that_was_not_taken_is_noticed(tmp_path: Path) -> None:
    """The kernel takes the bytes as the file is closed, and says nothing if it does not."""
    for name in ("com.intel.dcap", f"dcap.{os.getpid()}"):
        entry_of(tmp_path, name, outblob=MACHINE.quote(NONCE, tee="TDX"))
    assert refused(tmp_path).code == "attester-tdx-busy"


@pytest.mark.parametrize(
    ("name", "target", "code", "word"),
    [
        ("outblob", "/proc/self/mem", "attester-tdx-failed", "EIO"),
        ("inblob", "/dev/full", "attester-tdx-failed", "ENOSPC"),
        ("generation", "/dev/null", "attester-tdx-failed", "generation is no number"),
        ("provider", "/dev/null", "attester-tdx-provider", "nobody"),
        ("outblob", "/", "attester-tdx-failed", "EISDIR"),
    ],
)
def test_errors_of_its_files_are_told(
    tmp_path: Path, name: str, target: str, code: str, word: str
) -> None:
    """Real errors of real files: by their name, never as they are."""
    entry = entry_of(tmp_path)
    (entry / name).unlink()
    (entry / name).symlink_to(target)
    error = refused(tmp_path)
    assert error.code == code
    assert word in error.what


@pytest.mark.parametrize("name", ["inblob", "outblob"])
def test_a_simulator_that_was_killed_is_not_waited_for_without_end(
    tmp_path: Path, name: str
) -> None:
    """Its FIFOs are there, and nobody reads or answers."""
    entry = entry_of(tmp_path)
    (entry / name).unlink()
    os.mkfifo(entry / name)
    error = refused(tmp_path, seconds=0.05)
    assert error.code == "attester-tdx-timeout"


@pytest.mark.parametrize(
    ("number", "code", "word"),
    [
        (errno.EINVAL, "attester-tdx-failed", "64 bytes"),
        (errno.ENXIO, "attester-tdx-failed", "module that answers was removed"),
        (errno.ETIMEDOUT, "attester-tdx-timeout", "in time"),
        (errno.EPERM, "attester-tdx-denied", "root alone"),
        (errno.EACCES, "attester-tdx-denied", "root alone"),
    ],
)
def test_what_the_kernel_says_is_explained(number: int, code: str, word: str) -> None:
    """The errors of drivers/virt/coco that no plain file can be made to give."""
    error = refusal_of(OSError(number, os.strerror(number), "/entry/outblob"), Path("/entry"))
    assert isinstance(error, AttesterError)
    assert (error.code, error.where) == (
        code,
        "/entry" if code == "attester-tdx-timeout" else "/entry/outblob",
    )
    assert word in error.what


@pytest.mark.parametrize("number", [errno.EBUSY, errno.EINTR, errno.EAGAIN])
def test_a_kernel_that_is_busy_is_asked_again(number: int) -> None:
    """These are no errors to show: they count as a disturbance."""
    again = refusal_of(OSError(number, os.strerror(number)), Path("/entry"))
    assert not isinstance(again, AttesterError)


# What lacks


def missing(root: Path) -> AttesterError:
    """Why there is no quote, which is also why the attester is described as not usable."""
    seen, error = attester(root).describe(), refused(root)
    assert (seen.usable, seen.why_not, seen.mend) == (False, error.what, error.mend)
    return error


def test_a_kernel_without_configfs_is_told(tmp_path: Path) -> None:
    """The module, then the mount."""
    error = missing(tmp_path)
    assert error.code == "attester-tdx-module"
    assert "no configfs" in error.what
    assert error.mend.startswith("sudo modprobe configfs && sudo mount -t configfs configfs /sys/")


def test_a_configfs_that_is_not_mounted_is_told(tmp_path: Path) -> None:
    """The folder is there and empty, as in most containers."""
    (tmp_path / CONFIG).mkdir(parents=True)
    error = missing(tmp_path)
    assert (error.code, error.what) == ("attester-tdx-module", "configfs is not mounted")
    assert error.mend == "sudo mount -t configfs configfs /sys/kernel/config"


@pytest.mark.parametrize("holds", ["another subsystem", "nothing, and is mounted"])
def test_a_missing_module_is_told(tmp_path: Path, holds: str) -> None:
    """The kernel has configfs, and no reports in it."""
    (tmp_path / CONFIG).mkdir(parents=True)
    if holds == "another subsystem":
        (tmp_path / CONFIG / "usb_gadget").mkdir()
    else:
        (tmp_path / "proc").mkdir()
        (tmp_path / "proc" / "mounts").write_text(
            "none /sys/kernel/config configfs rw,relatime 0 0\n"
        )
    error = missing(tmp_path)
    assert "tdx_guest is not loaded" in error.what
    assert error.mend.startswith("sudo modprobe tdx_guest")


def test_a_variable_that_leads_nowhere_is_told(tmp_path: Path, report: Path) -> None:
    """Not the kernel is to blame, but what somebody set."""
    assert report.is_dir()
    error = refused(tmp_path, **{VARIABLE: "/nowhere/entry"})
    assert error.code == "attester-tdx-module"
    assert error.mend == f"unset {VARIABLE}"


def test_a_td_is_described(tmp_path: Path, report: Path) -> None:
    """With what was found; nothing was written for it."""
    seen = attester(tmp_path).describe()
    assert (seen.name, seen.tee, seen.usable, seen.why_not) == ("configfs-tsm", "TDX", True, "")
    assert seen.found == (
        "/sys/kernel/config/tsm/report: there",
        "/sys/kernel/config/tsm/report/com.intel.dcap: provider tdx_guest",
    )
    assert (report / "com.intel.dcap" / "generation").read_text() == "0\n"


def test_a_user_who_may_not_is_told_what_to_do(tmp_path: Path) -> None:
    """sudo, or an entry that root gives away."""
    if os.geteuid() == 0:
        pytest.skip("root may everything")
    reports = tmp_path / CONFIG / "tsm" / "report"
    reports.mkdir(parents=True)
    reports.chmod(0o555)
    error = missing(tmp_path)
    assert error.code == "attester-tdx-denied"
    assert VARIABLE in error.mend
