"""The attester of Intel's quoting library, over a library in C that does what a file tells it to."""

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dcap import Policy, Quote, appraise
from dcap.attester.attester import Reporter
from dcap.attester.dcap_ql import LIBRARY, DcapQlAttester, DcapQlLimits
from dcap.attester.dcap_ql_messages import Part
from dcap.attester.surroundings import Surroundings
from dcap.errors import AttesterError
from dcap.qpl.discovery_root import Root
from dcap.simulator import World
from dcap.simulator.reports import is_genuine, make_report, qe_target_info
from dcap.verification import TrustAnchor
from qpl.calling_plugins import built, children

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the library is Linux's")
SOURCE = Path(__file__).parent / "libraries" / "quoting_library.c"
WORLD = World("quoting library")
MACHINE = WORLD.platform("node-1")
DATA = bytes(range(64))
FOLDER = "usr/lib/x86_64-linux-gnu"
SECRET = "00112233445566778899AABBCCDDEEFF"
LIMITS = DcapQlLimits(load=20, step=20)


def enclave(target_info: bytes, report_data: bytes) -> bytes:
    """An enclave of the machine, with an identity of its own."""
    return make_report(MACHINE, target_info, report_data, isv_svn=9)


class Site:
    """An SGX machine in a scratch root, with the library; its devices are plain files."""

    def __init__(self, root: Path, *flags: str) -> None:
        self.root = root
        self.environ = {"QL_FILES": str(root), "PATH": os.defpath}
        self.library = root / FOLDER / LIBRARY
        self.library.parent.mkdir(parents=True)
        shutil.copy(built(*flags, source=SOURCE), self.library)
        (root / "dev").mkdir()
        for name in ("sgx_enclave", "sgx_provision"):
            (root / "dev" / name).touch()
        (root / "target_info").write_bytes(qe_target_info(MACHINE))
        (root / "quote").write_bytes(MACHINE.quote(DATA, isv_svn=9))

    def misbehave(self, function: str, mode: str) -> None:
        """From now on the function does so."""
        (self.root / "misbehave").write_text(f"{function} {mode}\n")

    def attester(
        self,
        reporter: Reporter | None = enclave,
        *,
        parts: dict[Part, Path] | None = None,
        limits: DcapQlLimits = LIMITS,
    ) -> DcapQlAttester:
        """The attester of this machine."""
        surroundings = Surroundings(Root(self.root), self.environ)
        return DcapQlAttester(surroundings, reporter, parts=parts, limits=limits)

    def refused(self, *, limits: DcapQlLimits = LIMITS) -> AttesterError:
        """Why there is no quote; each refusal says where, and what to do, and names no machine."""
        with pytest.raises(AttesterError) as caught:
            self.attester(limits=limits).quote(DATA)
        error = caught.value
        assert error.exit_status == 7
        assert error.where
        assert error.mend
        assert SECRET not in str(error)
        return error

    @property
    def calls(self) -> list[str]:
        """Which functions were called, with what."""
        return (self.root / "calls").read_text().splitlines()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A machine; no process is left behind."""
    yield Site(tmp_path)
    assert not children()


# ── quotes ──────────────────────────────────────────────────────────────────────────────────────


def test_the_quote_is_accepted_and_over_the_enclaves_report(site: Site) -> None:
    """The steps come in Intel's order; the report was made for the quoting enclave."""
    quote = site.attester().quote(DATA)
    enclave_of = Quote(quote).enclave
    assert enclave_of is not None
    assert (enclave_of.report_data, enclave_of.isv_svn) == (DATA, 9)
    assert is_genuine(MACHINE, (site.root / "report").read_bytes())
    assert [line.split()[0] for line in site.calls] == [
        "sgx_qe_set_enclave_load_policy",
        "sgx_qe_get_target_info",
        "sgx_qe_get_quote_size",
        "sgx_qe_get_quote",
        "sgx_qe_cleanup_by_policy",
    ]
    anchor = TrustAnchor.insecure_test_root(WORLD.intel.root.certificate)
    policy = Policy(identity="any")
    verdict = appraise(quote, WORLD.collateral(MACHINE), policy, at=WORLD.at, anchor=anchor)
    assert verdict.accepted


def test_the_places_of_its_parts_are_told_first(site: Site) -> None:
    """By Intel's numbers: 0 the QE, 2 the quote provider plugin."""
    site.attester(parts={"qe3": Path("/opt/qe.so"), "qpl": Path("/opt/plugin.so")}).quote(DATA)
    assert site.calls[:2] == ["sgx_ql_set_path 0 /opt/qe.so", "sgx_ql_set_path 2 /opt/plugin.so"]


def test_it_is_described_without_being_loaded(site: Site) -> None:
    """Devices and library are facts; nothing was called."""
    description = site.attester().describe()
    assert (description.name, description.tee, description.usable) == ("dcap-ql", "SGX", True)
    assert description.found == (
        "/dev/sgx_enclave: there, and may be opened",
        "/dev/sgx_provision: there, and may be opened",
        f"{site.library}: there",
    )
    assert not (site.root / "calls").exists()


# ── what is missing ─────────────────────────────────────────────────────────────────────────────


def test_without_a_reporter_it_is_there_but_cannot_quote(site: Site) -> None:
    """Only an enclave can make its report: the flag that names its program is told."""
    description = site.attester(None).describe()
    assert len(description.found) == 3
    assert not description.usable
    assert "--reporter" in description.mend
    with pytest.raises(AttesterError, match="only that enclave can make it"):
        site.attester(None).quote(DATA)


@pytest.mark.parametrize("name", ["sgx_enclave", "sgx_provision"])
def test_a_device_that_is_not_there_is_named(site: Site, name: str) -> None:
    """Switched off, or a container that was not given it."""
    (site.root / "dev" / name).unlink()
    error = site.refused()
    assert error.code == "attester-sgx-device"
    assert f"no /dev/{name}" in error.what
    assert "container-args" in error.mend


def test_devices_under_their_older_names_serve(site: Site) -> None:
    """As Intel's driver and its udev rules have them."""
    (site.root / "dev" / "sgx").mkdir()
    for name in ("enclave", "provision"):
        (site.root / "dev" / f"sgx_{name}").rename(site.root / "dev" / "sgx" / name)
    assert "/dev/sgx/provision: there, and may be opened" in site.attester().describe().found
    assert Quote(site.attester().quote(DATA)).body.report_data == DATA


def test_a_machine_without_the_library_is_told_its_package(site: Site) -> None:
    """What was found of the rest is told as well."""
    site.library.unlink()
    error = site.refused()
    assert error.code == "attester-dcap-ql-absent"
    assert "libsgx-dcap-ql" in error.mend
    assert len(site.attester().describe().found) == 2


def test_it_does_not_quote_where_aesm_is_to_be_asked(site: Site) -> None:
    """SGX_AESM_ADDR turns the library into a client of AESM, which is another attester."""
    site.environ["SGX_AESM_ADDR"] = "1"
    error = site.refused()
    assert error.code == "attester-dcap-ql-aesm"
    assert "--by aesm" in error.mend


# ── what goes wrong in it ───────────────────────────────────────────────────────────────────────

_TARGET_INFO = "sgx_qe_get_target_info"
CODES = [
    (_TARGET_INFO, 0xE011, "SGX_QL_NO_PLATFORM_CERT_DATA", True),
    (_TARGET_INFO, 0xE019, "SGX_QL_NETWORK_ERROR", True),
    (_TARGET_INFO, 0xE044, "SGX_QL_UNKNOWN_MESSAGE_RESPONSE", True),
    (_TARGET_INFO, 0xE00E, "SGX_QL_PLATFORM_LIB_UNAVAILABLE", True),
    (_TARGET_INFO, 0xE00D, "SGX_QL_INTERFACE_UNAVAILABLE", False),
    (_TARGET_INFO, 0xE035, "SGX_QL_ERROR_INVALID_PRIVILEGE", False),
    ("sgx_qe_set_enclave_load_policy", 0xE00C, "SGX_QL_UNSUPPORTED_LOADING_POLICY", False),
    ("sgx_qe_get_quote_size", 0xE00F, "SGX_QL_ATT_KEY_NOT_INITIALIZED", False),
    ("sgx_qe_get_quote", 0xE014, "SGX_QL_ENCLAVE_LOST", False),
    ("sgx_qe_get_quote", 0xE015, "SGX_QL_INVALID_REPORT", False),
]


@pytest.mark.parametrize(("function", "code", "name", "of_plugin"), CODES)
def test_a_code_is_explained(
    site: Site, function: str, code: int, name: str, *, of_plugin: bool
) -> None:
    """With its function, its name, and how to look further; of the plugin's codes, that it was asked."""
    site.misbehave(function, f"code {code}")
    error = site.refused()
    assert error.code == "attester-dcap-ql-code"
    assert f"{function} returned 0x{code:04X} {name}" in error.what
    assert f"dcap explain 0x{code:04X}" in error.mend
    assert ("dcap provider test" in error.mend.rpartition(";")[2]) is of_plugin
    assert 'it said "[QL] code of …"' in error.what


@pytest.mark.parametrize(
    ("mode", "said"), [("abort", "SIGABRT"), ("segv", "SIGSEGV"), ("exit", "exit status 3")]
)
def test_what_ends_its_process_is_an_error_and_no_end_of_ours(
    site: Site, mode: str, said: str
) -> None:
    """In the midst of a step, which is named."""
    site.misbehave("sgx_qe_get_quote", mode)
    error = site.refused()
    assert error.code == "attester-dcap-ql-died"
    assert said in error.what
    assert "sgx_qe_get_quote" in error.what


def test_what_hangs_is_given_up(site: Site) -> None:
    """Within the limit of the step; the process is ended."""
    site.misbehave("sgx_qe_get_target_info", "hang")
    error = site.refused(limits=DcapQlLimits(load=20, step=0.2))
    assert error.code == "attester-dcap-ql-timeout"
    assert "sgx_qe_get_target_info" in error.what


def test_what_it_prints_is_not_printed_by_us(site: Site, capfd: pytest.CaptureFixture[str]) -> None:
    """Standard output belongs to the evidence."""
    site.misbehave("sgx_qe_get_quote", "print")
    assert Quote(site.attester().quote(DATA)).body.report_data == DATA
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("size", [0, 65537, 0xFFFFFFFF])
def test_a_size_that_no_quote_has_is_refused(site: Site, size: int) -> None:
    """Nothing is allocated for it."""
    site.misbehave("sgx_qe_get_quote_size", f"size {size}")
    error = site.refused()
    assert error.code == "attester-dcap-ql-answer"
    assert f"{size} bytes" in error.what


def test_a_library_that_lacks_a_function_is_told_which(tmp_path: Path) -> None:
    """An old release, or something else under the name."""
    error = Site(tmp_path, "-DOLD").refused()
    assert error.code == "attester-dcap-ql-symbol"
    assert "sgx_qe_get_quote_size" in error.what


def test_a_library_that_cannot_be_loaded_tells_the_loaders_reason(site: Site) -> None:
    """As of a file that is none."""
    site.library.write_bytes(b"\x7fELF, and then nothing of it")
    error = site.refused()
    assert error.code == "attester-dcap-ql-load"
    assert "cannot be loaded" in error.what


def test_a_quote_over_something_else_is_refused(site: Site) -> None:
    """Over other report data, and over another enclave's report with the same."""
    (site.root / "quote").write_bytes(MACHINE.quote(bytes(64), isv_svn=9))
    assert site.refused().code == "attester-binding"
    (site.root / "quote").write_bytes(MACHINE.quote(DATA, isv_svn=8))
    assert site.refused().code == "attester-unreported"


def test_a_reporter_that_fails_is_the_error(site: Site) -> None:
    """What it raises comes through, and the process is gone."""

    def failing(_target_info: bytes, _report_data: bytes) -> bytes:
        raise AttesterError("attester-reporter", "no enclave", where="./app", mend="build it")

    with pytest.raises(AttesterError, match="no enclave"):
        site.attester(failing).quote(DATA)
