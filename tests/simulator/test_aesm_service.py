"""The simulated AESM: it speaks and refuses as Intel's does, and hears each client alone."""

import socket
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from dcap import Quote
from dcap.formats.aesm import (
    ECDSA_P256,
    HEAD_SIZE,
    AttestationKeyId,
    GetQuoteEx,
    GetQuoteSizeEx,
    GetSupportedAttKeyIds,
    InitQuoteEx,
    Request,
    Response,
    SelectAttKeyId,
    Unsupported,
    message_size,
    read_key_ids,
    read_response,
    write_request,
)
from dcap.simulator.aesm import aesm_service
from dcap.simulator.documents import QE_MRSIGNER
from dcap.simulator.platform import Platform
from dcap.simulator.reports import make_report, qe_target_info
from dcap.simulator.world import World

WORLD = World("aesm service")
MACHINE = WORLD.platform("node-1")
KEY = AttestationKeyId.ecdsa(bytes.fromhex(QE_MRSIGNER), 1)
KEY_ID = KEY.to_bytes()
REPORT = make_report(MACHINE, qe_target_info(MACHINE), b"data")
INIT = InitQuoteEx(att_key_id=KEY_ID, b_pub_key_id=True, buf_size=32)
QUOTE = GetQuoteEx(report=REPORT, att_key_id=KEY_ID, buf_size=10_000)


@pytest.fixture
def address() -> Iterator[Path]:
    """Where the daemon listens: a short path, for a socket's has 107 bytes at most."""
    with tempfile.TemporaryDirectory(prefix="aesm-") as folder:
        yield Path(folder) / "aesm.socket"


def machine() -> Platform:
    """The machine of all tests."""
    return MACHINE


def exchange(address: Path, octets: bytes) -> bytes:
    """What comes back until the daemon hangs up: a client that knows nothing of ours."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(20)
        client.connect(str(address))
        client.sendall(octets)
        client.shutdown(socket.SHUT_WR)
        answer = b""
        with suppress(ConnectionResetError):  # it hung up over what it had not read
            while more := client.recv(65536):
                answer += more
    return answer


def ask(address: Path, request: Request) -> Response:
    """The answer to one request."""
    return read_response(exchange(address, write_request(request)))


def code(response: Response) -> int | None:
    """The error of an answer."""
    return response.error_code


def test_a_key_is_made_before_a_quote(address: Path) -> None:
    """Size and quote need `initQuoteEx` first (error 42), and asking for the id's size is not enough."""
    size = GetQuoteSizeEx(att_key_id=KEY_ID)
    with aesm_service(machine, address):
        assert [code(ask(address, one)) for one in (size, QUOTE)] == [42, 42]
        ask(address, InitQuoteEx(att_key_id=KEY_ID, b_pub_key_id=False))
        assert code(ask(address, QUOTE)) == 42
        ask(address, INIT)
        assert [code(ask(address, one)) for one in (size, QUOTE)] == [0, 0]


def test_the_key_does_not_outlive_the_service(address: Path) -> None:
    """After a restart there is no key: error 42 again."""
    with aesm_service(machine, address):
        ask(address, INIT)
    with aesm_service(machine, address):
        assert code(ask(address, QUOTE)) == 42


def test_the_answers_of_the_flow_fit_together(address: Path) -> None:
    """The id's size is the id's, the target is the QE's, the size is the quote's."""
    with aesm_service(machine, address):
        first = ask(address, InitQuoteEx(att_key_id=KEY_ID, b_pub_key_id=False))
        second = ask(address, INIT)
        size = ask(address, GetQuoteSizeEx(att_key_id=KEY_ID))
        answer = ask(address, QUOTE)

    assert first.pub_key_id_size == len(second.pub_key_id) == 32
    assert first.target_info is None
    assert second.target_info == qe_target_info(MACHINE)
    assert size.quote_size == len(answer.quote)
    assert Quote.parse(answer.quote).body.to_bytes() == REPORT[:384]


def test_the_key_that_is_offered_is_ecdsa(address: Path) -> None:
    """Both ways of asking give the id of the QE's ECDSA P-256 key."""
    with aesm_service(machine, address):
        listed = ask(address, GetSupportedAttKeyIds(buf_size=256)).att_key_ids
        selected = ask(address, SelectAttKeyId()).selected_att_key_id

    assert listed == selected == KEY_ID
    assert read_key_ids(listed)[0].algorithm_id == ECDSA_P256


CHANGED = bytes((REPORT[0] ^ 1,)) + REPORT[1:]
OTHER_TARGET = make_report(MACHINE, bytes(512), b"data")
OTHER_MACHINE = WORLD.platform("node-2")
ELSEWHERE = make_report(OTHER_MACHINE, qe_target_info(OTHER_MACHINE), b"data")
EPID_KEY = KEY_ID[:154] + bytes(4) + KEY_ID[158:]


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        (GetQuoteEx(report=CHANGED, att_key_id=KEY_ID, buf_size=10_000), 45),
        (GetQuoteEx(report=OTHER_TARGET, att_key_id=KEY_ID, buf_size=10_000), 45),
        (GetQuoteEx(report=ELSEWHERE, att_key_id=KEY_ID, buf_size=10_000), 45),
        (GetQuoteEx(report=REPORT[:-1], att_key_id=KEY_ID, buf_size=10_000), 3),
        (GetQuoteEx(report=REPORT, att_key_id=KEY_ID, buf_size=1000), 3),
        (GetQuoteEx(report=REPORT, att_key_id=KEY_ID), 3),
        (GetQuoteEx(report=REPORT, buf_size=10_000), 3),
        (GetQuoteEx(report=REPORT, att_key_id=EPID_KEY, buf_size=10_000), 38),
        (GetQuoteSizeEx(att_key_id=EPID_KEY), 38),
        (GetQuoteSizeEx(att_key_id=KEY_ID[:-1]), 3),
        (InitQuoteEx(att_key_id=EPID_KEY, b_pub_key_id=False), 38),
        (InitQuoteEx(att_key_id=KEY_ID, b_pub_key_id=True, buf_size=31), 3),
        (InitQuoteEx(att_key_id=KEY_ID, b_pub_key_id=True), 3),
        (GetSupportedAttKeyIds(buf_size=255), 3),
    ],
)
def test_what_is_wrong_with_a_request_is_answered(
    address: Path, request_: Request, error: int
) -> None:
    """A false report (45), a key of EPID (38), a buffer or structure of another size (3)."""
    with aesm_service(machine, address):
        ask(address, INIT)
        assert code(ask(address, request_)) == error


def test_an_unknown_call_is_unsupported(address: Path) -> None:
    """EPID's initQuote gets the answer to calls that no plugin has."""
    with aesm_service(machine, address):
        assert isinstance(read_response(exchange(address, b"\2\0\0\0\x0a\0")), Unsupported)


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"\1",
        b"\0\0\0\0",
        b"\xff\xff\xff\xff" + bytes(64),
        b"\2\0\0\0\x0a",
        b"\3\0\0\0\x7a\1\7",
    ],
    ids=["nothing", "half a head", "no length", "4 GiB", "cut off", "malformed"],
)
def test_what_cannot_be_read_gets_no_answer(address: Path, octets: bytes) -> None:
    """The connection is closed, and the next client is served."""
    with aesm_service(machine, address):
        assert exchange(address, octets) == b""
        assert code(ask(address, INIT)) == 0


def test_one_connection_is_one_request(address: Path) -> None:
    """What follows a request is not answered: its length says where it ends, and there it ends."""
    with aesm_service(machine, address):
        answer = exchange(address, write_request(INIT) * 2)

    assert len(answer) == HEAD_SIZE + message_size(answer[:HEAD_SIZE])


def test_clients_at_once_get_their_own(address: Path) -> None:
    """Each of several at a time has a quote over its own report."""
    reports = [make_report(MACHINE, qe_target_info(MACHINE), bytes((n,))) for n in range(8)]
    requests = [GetQuoteEx(report=one, att_key_id=KEY_ID, buf_size=10_000) for one in reports]
    with aesm_service(machine, address), ThreadPoolExecutor(8) as pool:
        ask(address, INIT)
        quotes = [answer.quote for answer in pool.map(lambda one: ask(address, one), requests)]

    assert [Quote.parse(quote).body.to_bytes() for quote in quotes] == [r[:384] for r in reports]


def test_the_machine_is_asked_for_at_each_request(address: Path) -> None:
    """What happens to the simulated machine shows at once: another QE is another target."""
    world = World("updated")
    node = world.platform("node-1")
    with aesm_service(lambda: node, address):
        before = ask(address, INIT).target_info
        node.qe_svn += 1
        after = ask(address, INIT).target_info

    assert before != after == qe_target_info(node)


def test_a_call_that_does_not_exist_cannot_be_ordered_to_fail(address: Path) -> None:
    """A misspelt call would order nothing: it is refused."""
    with (
        pytest.raises(ValueError, match="getQoute"),
        aesm_service(machine, address, failing={"getQoute": 1}),
    ):
        pass
