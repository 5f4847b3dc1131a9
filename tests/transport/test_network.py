"""Time and patience: limits that hold, and attempts that are made again or not."""

import socket
import threading
import time
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from listening import (
    ASKED,
    OK,
    SECRET,
    Script,
    answering,
    closing_after,
    dripping,
    free_port,
    listening,
    refusal,
    silent,
)
from shown_certificates import write_self_signed

from dcap.api.http import HttpRequest, HttpResponse
from dcap.transport import Limits, Network, NetworkHandler
from dcap.transport.connection import dial, look_up
from dcap.transport.network import full_jitter, retry_after
from dcap.transport.patience import Patience

SHORT = Limits(connect=0.6, read=0.6, total=1.2, attempts=1)
#: What the machine may add to a limit when it is busy.
MARGIN = 5.0
HEAD = b"HTTP/1.1 200 OK\r\n"
BUSY = b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy"


class Waits:
    """Stands for chance and for sleeping: the longest wait is always drawn, and none is slept."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    def network(self, **named: object) -> Network:
        """A network that waits here."""
        given = {"environ": {}, "jitter": lambda longest: longest, "sleep": self.slept.append}
        return Network(**{**given, **named})  # type: ignore[arg-type]


@pytest.fixture
def waits() -> Waits:
    """Nothing waited for yet."""
    return Waits()


# -- limits of time


@pytest.mark.parametrize(
    ("script", "limit"),
    [
        (silent, "waiting for the answer (read limit, 0.6 s)"),
        (dripping(b"", b"H"), "reading the answer (total limit, 1.2 s)"),
        (dripping(HEAD, b"A: b\r\n"), "reading the answer (total limit, 1.2 s)"),
        (dripping(HEAD + b"A: ", b"b"), "reading the answer (total limit, 1.2 s)"),
        (
            dripping(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
            "reading the answer (total limit, 1.2 s)",
        ),
        (dripping(HEAD + b"Content-Length: 9999\r\n\r\n", b"x"), "(total limit, 1.2 s)"),
        (dripping(HEAD + b"\r\n", b"x"), "reading the answer (total limit, 1.2 s)"),
        (
            dripping(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
            "(total limit, 1.2 s)",
        ),
        (dripping(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"0"), "(total limit, 1.2 s)"),
        (
            dripping(HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"Trailer: x\r\n"),
            "(total limit, 1.2 s)",
        ),
        (
            dripping(HEAD + b"Content-Length: 9\r\n\r\nx", b""),
            "reading the answer (read limit, 0.6 s)",
        ),
    ],
    ids=range(11),
)
@pytest.mark.parametrize("secured", [False, True], ids=["tcp", "tls"])
def test_neither_silence_nor_drips_outlast_the_limits(
    script: Script, limit: str, secured: bool, tmp_path: Path
) -> None:
    """A byte now and then, wherever in the answer, gains a server nothing beyond the total limit."""
    tls = write_self_signed(tmp_path) if secured else None
    ca = tls[0] if tls else None
    with (
        listening(script, tls=tls) as server,
        Network(environ={}, ca=ca, limits=SHORT) as network,
    ):
        begun = time.monotonic()
        error = refusal(network.handler(server.url))
        assert time.monotonic() - begun < SHORT.total + MARGIN
    assert error.code == "network-timeout"
    assert error.what.endswith(limit)


@pytest.mark.parametrize("piece", [b"", b"\x16"], ids=["silent", "dripping"])
def test_a_handshake_has_an_end(piece: bytes) -> None:
    """A server that takes the connection and never shakes hands runs into the connect limit."""

    def script(conversation: object) -> None:
        conversation.drip(piece)  # type: ignore[attr-defined]

    with listening(script) as server, Network(environ={}, limits=SHORT) as network:
        begun = time.monotonic()
        error = refusal(network.handler(server.url.replace("http:", "https:")))
        assert time.monotonic() - begun < SHORT.total + MARGIN
    assert error.code in ("network-timeout", "network-tls")
    if not piece:
        assert error.what.endswith("while the TLS handshake (connect limit, 0.6 s)")


def test_a_body_that_nobody_takes_has_an_end() -> None:
    """A server that does not read what is posted runs into the read limit."""
    posted = HttpRequest(method="POST", target="/", body=b"x" * 50_000_000)
    with listening(silent) as server, Network(environ={}, limits=SHORT) as network:
        error = refusal(network.handler(server.url), posted)
    assert error.code == "network-timeout"


def test_a_name_server_that_is_silent_has_an_end() -> None:
    """The resolver is not waited for beyond the time there is."""
    asked_again = threading.Event()

    def resolve(host: str, port: int, **named: int) -> list[object]:
        if "flags" in named:
            raise socket.gaierror(socket.EAI_NONAME, "not a number")
        asked_again.set()
        time.sleep(1)
        return []

    begun = time.monotonic()
    with pytest.raises(TimeoutError):
        look_up("pccs.example", 443, 0.1, resolve)
    assert time.monotonic() - begun < 0.9
    assert asked_again.is_set()


def test_each_address_of_a_host_has_its_share_of_the_time() -> None:
    """A first address that swallows packets leaves time for the second, which answers."""
    with ExitStack() as stack:
        swallowing = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):  # its queue is full, and nobody takes from it
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(swallowing.getsockname())
        good = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        found = [
            (socket.AF_INET, socket.SOCK_STREAM, 0, "", one.getsockname())
            for one in (swallowing, good)
        ]
        patience = Patience(connect=2, read=2, total=2)
        patience.begin(time.monotonic() + 2, connecting=True)
        with dial("pccs.example", 443, patience, lambda *_, **__: found) as connected:
            assert connected.getpeername() == good.getsockname()


def test_a_name_that_nobody_knows_is_named_so() -> None:
    """The host is the fault, and not the service."""
    with Network(environ={}, limits=Limits(connect=20, total=30, attempts=1)) as network:
        error = refusal(network.handler("https://no-such-host.invalid"))
    assert error.code in ("network-name", "network-timeout")
    assert error.where == "https://no-such-host.invalid/sgx/certification/v4/pckcert"


def test_limits_are_above_zero() -> None:
    """A limit of nothing is refused before anything is asked."""
    for name in ("connect", "read", "total", "max_size", "attempts"):
        with pytest.raises(ValueError, match="above zero"):
            Limits(**{name: 0})


# -- what is tried again


def test_a_busy_service_is_asked_again(waits: Waits) -> None:
    """Two 503 and then an answer: the answer, with nothing of the bodies before it."""
    with listening(answering(BUSY, BUSY, OK)) as server, waits.network() as network:
        assert network.handler(server.url)(ASKED).body == b"body"
        assert len(server.requests) == 3
        assert len(server.conversations) == 1
    assert waits.slept == [0.5, 1.0]


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_service_that_stays_busy_is_believed_in_the_end(status: int, waits: Waits) -> None:
    """After the last attempt its answer is handed back, for the service's own reader to judge."""
    busy = b"HTTP/1.1 %d Busy\r\nContent-Length: 0\r\n\r\n" % status
    with (
        listening(answering(busy)) as server,
        waits.network(limits=Limits(attempts=4)) as network,
    ):
        assert network.handler(server.url)(ASKED).status == status
        assert len(server.requests) == 4
    assert waits.slept == [0.5, 1.0, 2.0]


@pytest.mark.parametrize("status", [200, 400, 401, 404, 461, 500])
def test_other_answers_are_final(status: int, waits: Waits) -> None:
    """No answer of another status is asked for twice."""
    final = b"HTTP/1.1 %d Final\r\nContent-Length: 0\r\n\r\n" % status
    with listening(answering(final)) as server, waits.network() as network:
        assert network.handler(server.url)(ASKED).status == status
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    "broken",
    [closing_after(), closing_after(HEAD + b"Content-Length: 9\r\n\r\nhalf")],
    ids=["nothing", "half"],
)
def test_a_connection_that_breaks_is_made_again(broken: Script, waits: Waits) -> None:
    """What was cut off is fetched again, whole, and nothing of the first half remains."""
    with listening(broken, answering(OK)) as server, waits.network() as network:
        assert network.handler(server.url)(ASKED).body == b"body"
    assert waits.slept == [0.5]


def test_silence_is_broken_by_another_attempt(waits: Waits) -> None:
    """Where the first attempt falls silent, the second is made in what is left of the time."""
    limits = Limits(read=0.3)
    with listening(silent, answering(OK)) as server, waits.network(limits=limits) as network:
        assert network.handler(server.url)(ASKED).body == b"body"


def test_the_error_says_how_often_it_was_tried(waits: Waits) -> None:
    """Nobody listens: the error comes after the last of three attempts, and says so."""
    with waits.network() as network:
        error = refusal(network.handler(f"http://127.0.0.1:{free_port()}"))
    assert error.code == "network-refused"
    assert "connection refused, in the last of 3 attempts" in error.what
    assert waits.slept == [0.5, 1.0]


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        HEAD + b"Content-Encoding: gzip\r\nContent-Length: 0\r\n\r\n",
        HEAD + b"Content-Length: 99999999\r\n\r\n",
    ],
    ids=["redirect", "protocol", "encoding", "size"],
)
def test_what_will_be_no_better_is_not_tried_again(answer: bytes, waits: Waits) -> None:
    """Redirects, other protocols, encodings and sizes are found out once."""
    with listening(closing_after(answer)) as server, waits.network() as network:
        refusal(network.handler(server.url))
        assert len(server.conversations) == 1
    assert waits.slept == []


@pytest.mark.parametrize("script", [closing_after(), answering(BUSY)], ids=["cut off", "busy"])
def test_a_post_that_was_sent_is_not_sent_again(script: Script, waits: Waits) -> None:
    """It may have had its effect."""
    posted = HttpRequest(method="POST", target="/", body=SECRET.encode())
    limits = Limits(read=1)
    with listening(script) as server, waits.network(limits=limits) as network:
        handler = network.handler(server.url)
        if script.__qualname__.startswith("answering"):
            assert handler(posted).status == 503
        else:
            assert refusal(handler, posted).code == "network-cut-off"
        assert len(server.requests) == 1
    assert waits.slept == []


def test_a_post_that_was_never_sent_is_tried_again(waits: Waits) -> None:
    """Without a connection nothing can have had an effect."""
    posted = HttpRequest(method="POST", target="/", body=SECRET.encode())
    with waits.network() as network:
        error = refusal(network.handler(f"http://127.0.0.1:{free_port()}"), posted)
    assert "3 attempts" in error.what


# -- how long is waited


def throttled(header: str) -> bytes:
    """429 with a header that says when to come again."""
    return f"HTTP/1.1 429 Slow\r\n{header}\r\nContent-Length: 0\r\n\r\n".encode()


def test_retry_after_is_obeyed(waits: Waits) -> None:
    """The wait is at least what the service asks for; chance comes on top."""
    with (
        listening(answering(throttled("Retry-After: 7"), OK)) as server,
        waits.network() as network,
    ):
        assert network.handler(server.url)(ASKED).status == 200
    assert waits.slept == [7.5]


def test_retry_after_may_be_a_date_of_the_services_own_clock(waits: Waits) -> None:
    """A date is held against the `Date` of the same answer: the service's clock may be wrong."""
    now = datetime(2031, 5, 6, 7, 8, 9, tzinfo=UTC)
    later = format_datetime(now + timedelta(seconds=9), usegmt=True)
    header = f"Date: {format_datetime(now, usegmt=True)}\r\nRetry-After: {later}"
    with listening(answering(throttled(header), OK)) as server, waits.network() as network:
        assert network.handler(server.url)(ASKED).status == 200
    assert waits.slept == [9.5]


@pytest.mark.parametrize("wait", ["30", "99999999999999999999", "Fri, 31 Dec 2199 23:59:59 GMT"])
def test_a_wait_that_does_not_fit_is_not_waited(wait: str, waits: Waits) -> None:
    """The answer is handed back at once, and says itself when to come again."""
    with (
        listening(answering(throttled(f"Retry-After: {wait}"))) as server,
        waits.network() as network,
    ):
        answer = network.handler(server.url)(ASKED)
        assert len(server.requests) == 1
    assert (answer.status, answer.header("Retry-After")) == (429, wait)
    assert waits.slept == []


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        (" 12 ", 12.0),
        ("Thu, 01 Jan 1970 00:00:30 GMT", 20.0),
        ("Thu, 01 Jan 1970 00:00:01 GMT", 0.0),
        ("soon", None),
        ("-1", None),
        ("1.5", None),
        ("", None),
        ("Thu, 99 Jan 1970 00:00:01 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str, seconds: float | None) -> None:
    """Anything else asks for nothing."""
    answer = HttpResponse(status=429, headers=(("Retry-After", value),))
    assert retry_after(answer, now=10.0) == seconds


@given(st.text())
def test_retry_after_never_fails(value: str) -> None:
    """Whatever stands there, it is a time of none or more, or nothing."""
    wait = retry_after(HttpResponse(status=429, headers=(("Retry-After", value),)), now=10.0)
    assert wait is None or wait >= 0


def test_waits_grow_up_to_a_bound(waits: Waits) -> None:
    """Half a second, then twice as much each time, and never above eight."""
    network = waits.network()
    assert [network.wait_after(n) for n in (1, 2, 3, 4, 5, 6, 5000)] == [0.5, 1, 2, 4, 8, 8, 8]


def test_chance_spreads_waits_over_all_of_the_time() -> None:
    """Full jitter: of many waits some are short, some long, and none is out of bounds."""
    drawn = [full_jitter(1.0) for _ in range(500)]
    assert 0 <= min(drawn) < 0.2
    assert 0.8 < max(drawn) <= 1


def test_waiting_never_outlasts_the_total_limit() -> None:
    """A service that stays busy is given up within the total limit, by the real clock."""
    limits = Limits(total=1.0, attempts=1000)
    begun = time.monotonic()
    with (
        listening(answering(BUSY)) as server,
        Network(environ={}, limits=limits) as network,
    ):
        assert network.handler(server.url)(ASKED).status == 503
        assert len(server.requests) > 1
    assert time.monotonic() - begun < limits.total + MARGIN


def test_a_handler_tells_where_it_leads() -> None:
    """Origin, proxy and whether the server has to show who it is."""
    plain = Network(environ={}).handler("http://pccs.example:8081/")
    lax = Network(environ={}, verify=False).handler("https://pccs.example")
    strict = Network(environ={}).handler("https://pccs.example")
    assert isinstance(plain, NetworkHandler)
    assert repr(plain) == "<NetworkHandler http://pccs.example:8081>"
    assert (plain.origin, plain.proxy) == ("http://pccs.example:8081", None)
    assert [one.verified for one in (plain, lax, strict)] == [False, False, True]
