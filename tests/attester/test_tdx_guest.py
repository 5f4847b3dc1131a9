"""/dev/tdx_guest over its ioctls, which a small library answers in a process of its own.

It is loaded before the system's (`LD_PRELOAD`), and takes only ioctls on the file that it is told:
'T',1 goes to a socket that makes TDREPORTs, 'T',4 to the simulated Quote Generation Service, as a host
would carry it. Everything else is the real thing: the device is opened, structures lie in memory.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from dcap.attester.surroundings import Surroundings
from dcap.attester.tdx_guest import GET_QUOTE, GET_REPORT, TdxGuestAttester
from dcap.errors import AttesterError
from dcap.formats.quote import Quote
from dcap.qpl.discovery_root import Root
from dcap.simulator import World
from dcap.simulator.qgs import qgs_service
from dcap.simulator.stream_server import receive, stream_server, unix_listener
from dcap.simulator.td_reports import make_td_report
from worlds import ROOT

MACHINE = World().platform()
NONCE = bytes(range(64))
COMPILER = shutil.which("gcc") or shutil.which("cc")

SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <linux/ioctl.h>

struct report { uint8_t data[64]; uint8_t report[1024]; };
struct request { uint64_t buffer; uint64_t size; };
struct header { uint64_t version; uint64_t status; uint32_t in; uint32_t out; uint8_t data[]; };

/* Everything that the socket at `path` answers to these bytes, at most `most`. */
static size_t ask(const char *path, const void *bytes, size_t size, uint8_t *into, size_t most)
{
    struct sockaddr_un place = { .sun_family = AF_UNIX };
    int s = socket(AF_UNIX, SOCK_STREAM, 0);
    size_t got = 0;
    ssize_t more;
    strncpy(place.sun_path, path, sizeof(place.sun_path) - 1);
    if (connect(s, (struct sockaddr *)&place, sizeof(place)) || write(s, bytes, size) < 0)
        most = 0;
    while (got < most && (more = read(s, into + got, most - got)) > 0)
        got += (size_t)more;
    close(s);
    return got;
}

static int is_device(int fd)
{
    struct stat ours, told;
    return !fstat(fd, &ours) && !stat(getenv("SHIM_DEVICE"), &told)
        && ours.st_ino == told.st_ino && ours.st_dev == told.st_dev;
}

static int answer(unsigned long number, void *argument)
{
    const char *failing = getenv("SHIM_ERRNO"), *status = getenv("SHIM_STATUS");
    if (number == _IOWR('T', 1, struct report)) {
        struct report *report = argument;
        if (failing && failing[0] == '1') {
            errno = atoi(failing + 2);
            return -1;
        }
        ask(getenv("SHIM_REPORTS"), report->data, 64, report->report, 1024);
        return 0;
    }
    if (number == _IOR('T', 4, struct request)) {
        struct request *request = argument;
        struct header *header = (struct header *)(uintptr_t)request->buffer;
        if (failing && failing[0] == '4') {
            errno = atoi(failing + 2);
            return -1;
        }
        if (header->version != 1 || header->status || header->out || request->size != 16384) {
            errno = EINVAL;
            return -1;
        }
        header->out = (uint32_t)ask(getenv("SHIM_QGS"), header->data, header->in, header->data,
                                    request->size - sizeof(*header));
        header->status = status ? strtoull(status, 0, 16) : 0;
        if (getenv("SHIM_SLEEP"))
            sleep(60);
        return 0;
    }
    errno = ENOTTY;
    return -1;
}

int ioctl(int fd, unsigned long number, ...)
{
    static int (*next)(int, unsigned long, ...);
    va_list arguments;
    void *argument;
    va_start(arguments, number);
    argument = va_arg(arguments, void *);
    va_end(arguments);
    if (is_device(fd))
        return answer(number, argument);
    if (!next)
        next = (int (*)(int, unsigned long, ...))dlsym(RTLD_NEXT, "ioctl");
    return next(fd, number, argument);
}
"""
#: What the process does: the quote in hex, or the error's code and what it says.
PROGRAM = """
import os, sys
from pathlib import Path
from dcap.attester.surroundings import Surroundings
from dcap.attester.tdx_guest import TdxGuestAttester
from dcap.errors import AttesterError
from dcap.qpl.discovery_root import Root
surroundings = Surroundings(Root(Path(sys.argv[1])), {})
try:
    print(TdxGuestAttester(surroundings, seconds=float(sys.argv[2])).quote(bytes(range(64))).hex())
except AttesterError as error:
    print(error.code, error.what, sep="\\n")
sys.stdout.flush()
os._exit(0)
"""


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library, compiled."""
    if COMPILER is None or sys.platform != "linux":
        pytest.skip(
            "no C compiler on this machine, or no Linux: the device's ioctls are not tested"
        )
    folder = tmp_path_factory.mktemp("shim")
    (folder / "shim.c").write_text(SHIM)
    library = folder / "shim.so"
    built = [COMPILER, "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
    subprocess.run([*built, "-o", library, folder / "shim.c", "-ldl"], check=True, timeout=60)
    return library


@pytest.fixture
def guest() -> Iterator[Path]:
    """A TD's root: the device, and beside it (no guest has them) the sockets of what answers."""
    with tempfile.TemporaryDirectory(prefix="dcap-") as name, ExitStack() as stack:
        root = Path(name)
        (root / "dev").mkdir()
        (root / "dev" / "tdx_guest").touch()
        stack.enter_context(
            stream_server(
                unix_listener(root / "reports"),
                lambda asking: asking.sendall(make_td_report(MACHINE, receive(asking, 64))),
            )
        )
        yield root


def asked(shim: Path, guest: Path, *, seconds: float = 30, **shimmed: str) -> list[str]:
    """The lines that the process prints."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT / "src"),
        "LD_PRELOAD": str(shim),
        "SHIM_DEVICE": str(guest / "dev" / "tdx_guest"),
        "SHIM_REPORTS": str(guest / "reports"),
        "SHIM_QGS": str(guest / "qgs"),
        **shimmed,
    }
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(guest), str(seconds)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def test_the_numbers_are_those_of_the_kernel() -> None:
    """As the C library's macros make them, for x86-64 and arm64."""
    assert (hex(GET_REPORT), hex(GET_QUOTE)) == ("0xc4405401", "0x80105404")


def test_the_device_gives_a_quote_that_binds_the_report_data(shim: Path, guest: Path) -> None:
    """TDREPORT by one ioctl, through the host by the other, back into the same buffer."""
    with qgs_service(lambda: MACHINE, guest / "qgs"):
        (line,) = asked(shim, guest)
    quote = Quote(bytes.fromhex(line))
    assert (quote.tee, quote.body.report_data) == ("TDX", NONCE)


REFUSED = {
    "the kernel makes no report": ({"SHIM_ERRNO": "1 5"}, "attester-tdx-ioctl", "no report: Input"),
    "the kernel has no GetQuote": ({"SHIM_ERRNO": "4 25"}, "attester-tdx-ioctl", "and no quotes"),
    "the kernel is busy": ({"SHIM_ERRNO": "4 16"}, "attester-tdx-busy", "another quote is under"),
    "the host has not answered": ({"SHIM_STATUS": "ffffffffffffffff"}, "attester-tdx-busy", "not"),
    "the host offers none": (
        {"SHIM_STATUS": "8000000000000001"},
        "attester-tdx-failed",
        "offers no",
    ),
    "the host failed": ({"SHIM_STATUS": "8000000000000000"}, "attester-tdx-failed", "0x80000000"),
    "nobody is at the host": ({"SHIM_QGS": "/nowhere"}, "attester-tdx-empty", "empty quote"),
    "no report is made": ({"SHIM_REPORTS": "/nowhere"}, "attester-tdx-failed", "type 0x00"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_goes_wrong_there_is_told(shim: Path, guest: Path, what: str) -> None:
    """One thing at a time, each by its code."""
    shimmed, code, words = REFUSED[what]
    with qgs_service(lambda: MACHINE, guest / "qgs"):
        said = asked(shim, guest, **shimmed)
    assert said[0] == code
    assert words in said[1]


def test_an_error_of_the_service_comes_through(shim: Path, guest: Path) -> None:
    """The host answered: what it says is the service's, and explained as such."""
    with qgs_service(lambda: MACHINE, guest / "qgs", failing={1: 0x12001}):
        said = asked(shim, guest)
    assert said[0] == "qgs-refused"
    assert "0x12001" in said[1]


def test_a_kernel_that_waits_without_end_is_not_waited_for(shim: Path, guest: Path) -> None:
    """Some of the older drivers do: there is a limit, and the process can end."""
    with qgs_service(lambda: MACHINE, guest / "qgs"):
        said = asked(shim, guest, seconds=0.2, SHIM_SLEEP="1")
    assert said[0] == "attester-tdx-timeout"


# Without the device


def refused(root: Path) -> AttesterError:
    """Why there is no quote."""
    with pytest.raises(AttesterError) as caught:
        TdxGuestAttester(Surroundings(Root(root), {})).quote(NONCE)
    assert caught.value.exit_status == 7
    return caught.value


def test_a_machine_without_the_device_is_told(tmp_path: Path) -> None:
    """It is no TDX guest, or the module lacks; described as it is refused."""
    error, seen = refused(tmp_path), TdxGuestAttester(Surroundings(Root(tmp_path), {})).describe()
    assert error.code == "attester-tdx-device"
    assert "sudo modprobe tdx_guest" in error.mend
    assert (seen.usable, seen.why_not, seen.mend) == (False, error.what, error.mend)


def test_the_device_of_an_older_kernel_is_named(tmp_path: Path) -> None:
    """/dev/tdx-guest has other ioctls: the kernel is to be newer."""
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / "tdx-guest").touch()
    error = refused(tmp_path)
    assert "/dev/tdx-guest, of a kernel before" in error.what
    seen = TdxGuestAttester(Surroundings(Root(tmp_path), {})).describe()
    assert seen.found == ("/dev/tdx-guest: there, of an older kernel",)


def test_a_file_that_is_no_device_is_told(tmp_path: Path) -> None:
    """The system's own ENOTTY, for the report already."""
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / "tdx_guest").touch()
    error = refused(tmp_path)
    assert error.code == "attester-tdx-ioctl"
    assert "ENOTTY" in error.what


def test_a_device_that_may_not_be_opened_is_told(tmp_path: Path) -> None:
    """With the group to join."""
    if os.geteuid() == 0:
        pytest.skip("root may everything")
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / "tdx_guest").touch(mode=0o000)
    error = refused(tmp_path)
    assert error.code == "attester-tdx-denied"
    assert "usermod -aG" in error.mend
    assert not TdxGuestAttester(Surroundings(Root(tmp_path), {})).describe().usable
