"""Quotes by AESM: over its real protocol, with each of its errors, and whatever else may answer."""

import errno
import os
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Self

import pytest

from dcap import AttestationResult, ConfigError, Policy, Quote, appraise
from dcap.attester import aesm_errors
from dcap.attester.aesm import ABSTRACT, SOCKET, AesmAttester
from dcap.attester.attester import Attester, Reporter
from dcap.attester.surroundings import Surroundings
from dcap.errors import AttesterError
from dcap.formats.aesm import (
    CALLS,
    ERRORS,
    GetQuoteExAnswer,
    GetQuoteSizeExAnswer,
    GetSupportedAttKeyIdNumAnswer,
    GetSupportedAttKeyIdsAnswer,
    InitQuoteExAnswer,
    Response,
    Unsupported,
    read_request,
    read_response,
    write_response,
)
from dcap.formats.certification import CertificationType
from dcap.qpl.discovery_root import Root
from dcap.simulator.aesm import aesm_service
from dcap.simulator.platform import Platform
from dcap.simulator.reports import make_report
from dcap.simulator.stream_server import receive, stream_server, unix_listener
from dcap.simulator.world import World
from dcap.verification import TrustAnchor

WORLD = World("aesm")
MACHINE = WORLD.platform("node-1")
DATA = bytes(range(64))
SHORT = 0.05


@pytest.fixture
def address() -> Iterator[Path]:
    """Where the daemon listens: a short path, for a socket's has 107 bytes at most."""
    with tempfile.TemporaryDirectory(prefix="aesm-") as folder:
        yield Path(folder) / "aesm.socket"


def machine() -> Platform:
    """The machine of all tests."""
    return MACHINE


def reporter(target_info: bytes, report_data: bytes) -> bytes:
    """An enclave of the machine."""
    return make_report(MACHINE, target_info, report_data)


def attester(address: Path, ask: Reporter | None = reporter, timeout: float = 20) -> Attester:
    """The attester, as the command line makes it."""
    return AesmAttester(ask, address, timeout=timeout)


def refusal(attester: Attester) -> AttesterError:
    """How it refuses to quote; each refusal says where, and what to do."""
    with pytest.raises(AttesterError) as refused:
        attester.quote(DATA)
    assert refused.value.exit_status == 7
    assert refused.value.mend
    assert refused.value.where
    return refused.value


def judged(quote: bytes) -> AttestationResult:
    """What a verifier that trusts the simulated root makes of a quote."""
    anchor = TrustAnchor.insecure_test_root(WORLD.intel.root.certificate)
    collateral = WORLD.collateral(MACHINE)
    return appraise(quote, collateral, Policy(identity="any"), at=WORLD.at, anchor=anchor)


# ── quotes ──────────────────────────────────────────────────────────────────────────────────────


def test_the_quote_is_genuine_and_over_the_enclaves_report(address: Path) -> None:
    """What comes out is accepted, and tells of the enclave that reported, with its report data."""

    def enclave(target_info: bytes, report_data: bytes) -> bytes:
        return make_report(MACHINE, target_info, report_data, mr_enclave=b"\x07" * 32, isv_svn=9)

    with aesm_service(machine, address):
        octets = attester(address, enclave).quote(DATA)

    body = Quote.parse(octets).enclave
    assert body is not None
    assert (body.report_data, body.mr_enclave, body.isv_svn) == (DATA, b"\x07" * 32, 9)
    assert judged(octets).accepted


def test_short_report_data_are_filled_up(address: Path) -> None:
    """Report data of fewer bytes are followed by zeros; of more they are refused before any call."""
    with aesm_service(machine, address):
        octets = attester(address).quote(b"nonce")

    assert Quote.parse(octets).body.report_data == b"nonce" + bytes(59)
    with pytest.raises(ConfigError, match="report-data-size"):
        attester(address).quote(bytes(65))


def test_a_quote_without_a_provider_is_handed_on(address: Path) -> None:
    """Where no provider is installed AESM gives an encrypted PPID in place of a chain: still a quote."""
    kind = CertificationType.PPID_RSA3072_ENCRYPTED
    with aesm_service(machine, address, certification=kind):
        octets = attester(address).quote(DATA)

    assert Quote.parse(octets).certification.type == kind


def test_a_buffers_zeros_are_left_out(address: Path) -> None:
    """Where AESM fills its buffer up behind the quote, the quote alone is handed on."""
    sent = instead(GetQuoteExAnswer(error_code=0, quote=MACHINE.quote(DATA) + bytes(40)))
    with aesm_service(machine, address, sent=sent):
        octets = attester(address).quote(DATA)

    assert octets == MACHINE.quote(DATA)


# ── a restart ───────────────────────────────────────────────────────────────────────────────────


class Daemon:
    """AESM as systemd has it: restarted whenever an enclave makes a report, `restarts` times."""

    def __init__(self, address: Path, restarts: int) -> None:
        self.address = address
        self.left = restarts
        self.reports = 0
        self._running = ExitStack()

    def __enter__(self) -> Self:
        self._running.enter_context(aesm_service(machine, self.address))
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()

    def report(self, target_info: bytes, report_data: bytes) -> bytes:
        """The reporter; the daemon that comes after a restart has no attestation key."""
        self.reports += 1
        if self.left:
            self.left -= 1
            self.__exit__()
            self.__enter__()
        return reporter(target_info, report_data)


def test_after_a_restart_the_key_is_made_anew(address: Path) -> None:
    """Error 42, of a daemon restarted in between, is answered by beginning anew, report and all."""
    with Daemon(address, restarts=1) as daemon:
        octets = attester(address, daemon.report).quote(DATA)

    assert judged(octets).accepted
    assert daemon.reports == 2


def test_it_is_begun_anew_once_alone(address: Path) -> None:
    """A daemon that forgets its key each time is not asked for ever."""
    with Daemon(address, restarts=5) as daemon:
        refused = refusal(attester(address, daemon.report))

    assert refused.code == "aesm-key-lost"
    assert "42, AESM_ATT_KEY_NOT_INITIALIZED" in refused.what
    assert daemon.reports == 2


# ── AESM's errors ───────────────────────────────────────────────────────────────────────────────

CODES = {
    1: "aesm-error",
    2: "aesm-no-device",
    3: "aesm-request",
    12: "aesm-network",
    18: "aesm-busy",
    29: "aesm-epc",
    30: "aesm-unavailable",
    34: "aesm-error",
    38: "aesm-no-ecdsa",
    40: "aesm-interface",
    41: "aesm-no-provider",
    42: "aesm-key-lost",
    44: "aesm-no-certificate",
    45: "aesm-report",
    46: "aesm-enclave-lost",
    47: "aesm-report",
    48: "aesm-enclave-load",
}


@pytest.mark.parametrize("number", CODES)
def test_an_error_of_aesm_is_explained(address: Path, number: int) -> None:
    """Each number is told with Intel's name, its meaning, the call, and what mends it here."""
    with aesm_service(machine, address, failing={"getQuoteEx": number}):
        refused = refusal(attester(address))

    assert refused.code == CODES[number]
    assert f"getQuoteEx: error {number}, {ERRORS[number].name}: " in refused.what
    assert ERRORS[number].meaning in refused.what
    assert refused.where == str(address)


def test_a_number_of_a_later_release_is_told(address: Path) -> None:
    """A number that no list has is an error of AESM all the same."""
    with aesm_service(machine, address, failing={"getQuoteEx": 99}):
        refused = refusal(attester(address))

    assert (refused.code, "error 99" in refused.what) == ("aesm-error", True)


@pytest.mark.parametrize("call", [call.name for call in CALLS if call.name != "selectAttKeyID"])
def test_whichever_call_fails_is_named(address: Path, call: str) -> None:
    """Each of the calls that a quote takes may fail, and the error says which did."""
    with aesm_service(machine, address, failing={call: 30}):
        refused = refusal(attester(address))

    assert refused.code == "aesm-unavailable"
    assert f"{call}: error 30" in refused.what


def test_each_number_with_a_mend_is_one_of_intels() -> None:
    """No row of the mends is for a number that AESM does not have."""
    assert set(aesm_errors.REFUSALS) <= set(ERRORS)


# ── the reporter ────────────────────────────────────────────────────────────────────────────────


def test_without_a_reporter_nothing_is_asked(address: Path) -> None:
    """Outside an enclave there is nobody to make the report, and the error says what to give."""
    with aesm_service(machine, address):
        refused = refusal(attester(address, None))

    assert refused.code == "attester-no-reporter"
    assert "--reporter" in refused.mend


def test_a_report_of_another_machine_is_refused(address: Path) -> None:
    """AESM checks the report's MAC, which an enclave elsewhere cannot make: error 45."""
    other = WORLD.platform("node-2")
    with aesm_service(machine, address):
        refused = refusal(attester(address, lambda t, d: make_report(other, t, d)))

    assert refused.code == "aesm-report"
    assert "AESM_ERROR_REPORT" in refused.what


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda report: report[:-1], "431 bytes"),
        (lambda report: report[:0], "0 bytes"),
        (lambda report: report.hex().encode(), "864 bytes"),
        (lambda report: report[:320] + bytes(64) + report[384:], "binds other report data"),
    ],
    ids=["cut off", "empty", "hex", "old"],
)
def test_what_the_reporter_gives_is_looked_at(
    address: Path, answer: Callable[[bytes], bytes], said: str
) -> None:
    """What is no report, or one over other report data, never reaches AESM."""
    with aesm_service(machine, address, failing={"getQuoteSizeEx": 1}):
        refused = refusal(attester(address, lambda t, d: answer(reporter(t, d))))

    assert refused.code == "attester-report"
    assert said in refused.what


# ── what else may answer ────────────────────────────────────────────────────────────────────────


def instead(answer: Response) -> Callable[[bytes], bytes]:
    """What a false daemon sends in place of the true answer to the same call."""

    def sent(octets: bytes) -> bytes:
        same = isinstance(read_response(octets), type(answer))
        return write_response(answer) if same else octets

    return sent


OTHER_BODY = MACHINE.quote(DATA, mr_enclave=bytes(32))


@pytest.mark.parametrize(
    ("answer", "code", "said"),
    [
        (GetSupportedAttKeyIdNumAnswer(error_code=0, att_key_id_num=0), "aesm-no-ecdsa", "0 kinds"),
        (GetSupportedAttKeyIdNumAnswer(error_code=0), "aesm-no-ecdsa", "0 kinds"),
        (
            GetSupportedAttKeyIdNumAnswer(error_code=0, att_key_id_num=2**32 - 1),
            "aesm-answer",
            "4294967295 kinds",
        ),
        (
            GetSupportedAttKeyIdsAnswer(error_code=0, att_key_ids=bytes(256)),  # EPID
            "aesm-no-ecdsa",
            "1 kinds",
        ),
        (
            GetSupportedAttKeyIdsAnswer(error_code=0, att_key_ids=bytes(255)),
            "aesm-answer",
            "255 bytes",
        ),
        (InitQuoteExAnswer(error_code=0), "aesm-answer", "0 bytes"),
        (InitQuoteExAnswer(error_code=0, pub_key_id_size=2**40), "aesm-answer", "1099511627776"),
        (
            InitQuoteExAnswer(error_code=0, pub_key_id_size=32, target_info=bytes(511)),
            "aesm-answer",
            "511 bytes",
        ),
        (GetQuoteSizeExAnswer(error_code=0, quote_size=0), "aesm-answer", "0 bytes"),
        (GetQuoteSizeExAnswer(error_code=0, quote_size=2**31), "aesm-answer", "2147483648 bytes"),
        (GetQuoteExAnswer(error_code=0), "attester-empty", "empty"),
        (GetQuoteExAnswer(error_code=0, quote=bytes(4800)), "attester-empty", "empty"),
        (GetQuoteExAnswer(error_code=0, quote=b"quote" * 200), "attester-quote", "no quote"),
        (
            GetQuoteExAnswer(error_code=0, quote=MACHINE.quote(DATA, tee="TDX")),
            "attester-unreported",
            "another report",
        ),
        (
            GetQuoteExAnswer(error_code=0, quote=MACHINE.quote(b"other")),
            "attester-binding",
            "does not bind",
        ),
        (GetQuoteExAnswer(error_code=0, quote=OTHER_BODY), "attester-unreported", "another report"),
    ],
)
def test_a_false_answer_makes_no_quote(
    address: Path, answer: Response, code: str, said: str
) -> None:
    """Impossible sizes, no ECDSA key, no quote, a quote of another: each is refused, by its own code."""
    with aesm_service(machine, address, sent=instead(answer)):
        refused = refusal(attester(address))

    assert refused.code == code
    assert said in refused.what


@pytest.mark.parametrize(
    ("octets", "code"),
    [
        (write_response(Unsupported()), "aesm-unsupported"),
        (write_response(GetQuoteExAnswer(error_code=0)), "aesm-answer"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "aesm-answer"),
        (b"\xff\xff\xff\xff", "aesm-answer"),
        (bytes(4), "aesm-answer"),
        (b"\4\0\0\0\xaa\1\2\x08", "aesm-answer"),
        (b"", "aesm-truncated"),
        (b"\4\0", "aesm-truncated"),
        (b"\4\0\0\0\xaa", "aesm-truncated"),
    ],
    ids=[
        "unsupported",
        "another call's",
        "another protocol",
        "4 GiB announced",
        "nothing announced",
        "malformed",
        "hung up",
        "hung up in the head",
        "hung up in the body",
    ],
)
def test_whatever_answers_is_an_error_of_its_own(address: Path, octets: bytes, code: str) -> None:
    """A daemon without ECDSA, a stranger, one that hangs up: none is taken for another."""

    def serve(connection: socket.socket) -> None:
        size = int.from_bytes(receive(connection, 4), "little")
        receive(connection, size)
        connection.sendall(octets)

    with stream_server(unix_listener(address), serve):
        assert refusal(attester(address)).code == code


@pytest.mark.parametrize("begun", [b"", b"\x06\0\0\0\xaa"], ids=["silent", "stuck"])
def test_a_silent_daemon_is_not_waited_for(address: Path, begun: bytes) -> None:
    """Each request has a deadline, here and, in microseconds, in what the daemon is told."""
    told = []

    def serve(connection: socket.socket) -> None:
        head = receive(connection, 4)
        told.append(read_request(head + receive(connection, int.from_bytes(head, "little"))))
        connection.sendall(begun)
        with suppress(OSError):
            connection.recv(1)

    with stream_server(unix_listener(address), serve):
        started = time.monotonic()
        refused = refusal(attester(address, timeout=SHORT))
        assert time.monotonic() - started < 5

    assert refused.code == "aesm-silent"
    assert "getSupportedAttKeyIDNum within 0.05 s" in refused.what
    assert [request.timeout for request in told] == [50_000]


# ── no connection ───────────────────────────────────────────────────────────────────────────────


def test_an_absent_socket_says_what_to_install(address: Path) -> None:
    """Where nothing stands, the daemon is not installed, or was not brought into the container."""
    refused = refusal(attester(address))

    assert refused.code == "aesm-absent"
    assert "/var/run/aesmd" in refused.mend


def test_a_dead_socket_is_told_from_an_absent_one(address: Path) -> None:
    """A file that a daemon left behind refuses connections: nobody listens."""
    with closing(socket.socket(socket.AF_UNIX)) as left:
        left.bind(str(address))

    assert refusal(attester(address)).code == "aesm-refused"


def test_a_forbidden_socket_is_told_from_an_absent_one(address: Path) -> None:
    """A folder that does not let this user in is a matter of rights, and said to be."""
    with aesm_service(machine, address):
        address.parent.chmod(0o000)
        before = os.geteuid()
        try:
            if before == 0:
                os.seteuid(65534)
            refused = refusal(attester(address))
        finally:
            os.seteuid(before)
            address.parent.chmod(0o700)

    assert refused.code == "aesm-denied"


def test_a_path_that_no_socket_can_have_is_said(address: Path) -> None:
    """A path of more than 107 bytes is no place for a socket."""
    refused = refusal(attester(address.with_name("a" * 120)))

    assert refused.code == "aesm-unreachable"
    assert "107" in refused.mend


def test_a_full_queue_is_waited_for_until_the_deadline(address: Path) -> None:
    """A daemon that no longer accepts is as silent as one that does not answer."""
    with ExitStack() as opened:
        listener = opened.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(str(address))
        listener.listen(0)
        full = 0
        while full != errno.EAGAIN:
            waiting = opened.enter_context(socket.socket(socket.AF_UNIX))
            waiting.settimeout(0)
            full = waiting.connect_ex(str(address))

        refused = refusal(attester(address, timeout=SHORT))

    assert refused.code == "aesm-silent"
    assert "(timed out)" in refused.what


# ── what is told of it ──────────────────────────────────────────────────────────────────────────


def test_it_is_described_without_a_request(address: Path) -> None:
    """The socket, its rights, and that somebody listens: usable; no call is made for it."""
    with aesm_service(machine, address, failing=dict.fromkeys([call.name for call in CALLS], 1)):
        description = attester(address).describe()

    assert description.usable
    assert (description.name, description.tee) == ("aesm", "SGX")
    assert description.found[0].startswith(f"{address}: a socket, mode 0666, owner ")
    assert description.found[1] == "it takes connections"
    assert (description.why_not, description.mend) == ("", "")


def test_it_is_there_but_of_no_use_without_a_reporter(address: Path) -> None:
    """Where the daemon runs and no reporter is named, that is why, with what to name."""
    with aesm_service(machine, address):
        description = attester(address, None).describe()

    assert not description.usable
    assert "only that enclave can make it" in description.why_not
    assert "--reporter" in description.mend


def test_an_absent_one_is_described(address: Path) -> None:
    """Where there is none, the description says so as the error would."""
    description = attester(address).describe()

    assert not description.usable
    assert description.found == (f"{address}: No such file or directory",)
    assert "is not there" in description.why_not
    assert "sgx-aesm-service" in description.mend


def test_a_socket_of_the_abstract_namespace_is_connected_to() -> None:
    """An address that begins with @ has no file: older daemons listened at such."""
    name = f"dcap-test-aesm-{os.getpid()}"
    with closing(socket.socket(socket.AF_UNIX)) as listener:
        listener.bind(f"\0{name}")
        listener.listen()
        assert AesmAttester(reporter, f"@{name}").describe().usable

    assert not AesmAttester(reporter, f"@{name}").describe().usable


def test_it_is_found_where_it_may_be(tmp_path: Path) -> None:
    """The usual path; what SGX_AESM_ADDR names, where that is an address; an abstract socket last."""

    def found(value: str | None = None) -> str:
        environ = {} if value is None else {"SGX_AESM_ADDR": value}
        return AesmAttester.found(Surroundings(Root(tmp_path), environ)).address

    usual = tmp_path / SOCKET[1:]
    assert found() == found("1") == str(usual)
    assert found("/run/other.socket") == str(tmp_path / "run/other.socket")
    assert found("@other") == "@other"
    table = tmp_path / "proc/net/unix"
    table.parent.mkdir(parents=True)
    table.write_text(f"Num RefCount …\n0000: 00000002 00000000 00010000 0001 01 7 {ABSTRACT}\n")
    assert found() == ABSTRACT
    usual.parent.mkdir(parents=True)
    usual.touch()
    assert found() == str(usual)
