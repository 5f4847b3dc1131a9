"""One attempt: what is sent byte by byte, what is taken, and what is refused."""

from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from listening import (
    ASKED,
    OK,
    SECRET,
    Conversation,
    answering,
    closing_after,
    listening,
    refusal,
)

from dcap import __version__
from dcap.api.http import HttpRequest, HttpResponse
from dcap.errors import Unavailable
from dcap.transport import Limits, Network

ONCE = Limits(connect=2, read=2, total=3, attempts=1, max_size=1000)


def network(**named: object) -> Network:
    """A network without an environment, that tries once."""
    return Network(**{"environ": {}, "limits": ONCE, **named})  # type: ignore[arg-type]


def asked(request: HttpRequest, **named: object) -> list[str]:
    """The lines that a server hears, its own port written as PORT."""
    with listening(answering(OK)) as server, network(**named) as own:
        own.handler(server.url)(request)
        text = server.requests[0].decode("latin-1").replace(str(server.port), "PORT")
    return text.split("\r\n")


def answered(answer: bytes, request: HttpRequest = ASKED) -> HttpResponse:
    """What becomes of the bytes of an answer, after which the connection is closed."""
    with listening(closing_after(answer)) as server, network() as own:
        return own.handler(server.url)(request)


# -- what is sent


def test_a_get_is_these_lines() -> None:
    """Host, that nothing be packed, who asks, and that anything is welcome: no more."""
    assert asked(ASKED) == [
        f"GET {ASKED.target} HTTP/1.1",
        "Host: 127.0.0.1:PORT",
        "Accept-Encoding: identity",
        f"User-Agent: dcap/{__version__}",
        "Accept: */*",
        "",
        "",
    ]


def test_a_plain_get_is_what_intels_library_sends() -> None:
    """Host and Accept, as libcurl writes them for QCNL, then the request's own headers."""
    request = HttpRequest(target=ASKED.target, headers=(("metadata", "true"),))
    assert asked(request, plain=True) == [
        f"GET {ASKED.target} HTTP/1.1",
        "Host: 127.0.0.1:PORT",
        "Accept: */*",
        "metadata: true",
        "",
        "",
    ]


def test_the_requests_own_headers_stand_for_ours() -> None:
    """Agent and Accept may be the request's; what belongs to the connection may not."""
    headers = (
        ("user-agent", "Intel(R) DCAP"),
        ("accept", "application/json"),
        ("X-Two", "1"),
        ("Content-Length", "77"),
        ("Transfer-Encoding", "chunked"),
        ("Host", "elsewhere"),
        ("Connection", "close"),
        ("Accept-Encoding", "gzip"),
        ("X-Two", "2"),
    )
    assert asked(HttpRequest(target="/", headers=headers)) == [
        "GET / HTTP/1.1",
        "Host: 127.0.0.1:PORT",
        "Accept-Encoding: identity",
        "user-agent: Intel(R) DCAP",
        "accept: application/json",
        "X-Two: 1",
        "X-Two: 2",
        "",
        "",
    ]


@pytest.mark.parametrize("body", [b"", b'{"platformManifest": "00"}'])
def test_a_post_says_how_long_it_is(body: bytes) -> None:
    """A POST has its length and its body, also where that is empty."""
    lines = asked(HttpRequest(method="POST", target="/", body=body))
    assert lines[-3:] == [f"Content-Length: {len(body)}", "", body.decode()]


@pytest.mark.parametrize(
    "request_",
    [
        HttpRequest(target=f"/{SECRET}\r\nX: y"),
        HttpRequest(target=f"/{SECRET} HTTP/1.1"),
        HttpRequest(target=f"/{SECRET}\u00fc"),
        HttpRequest(target=SECRET),
        HttpRequest(target=""),
        HttpRequest(target="/", method="GET /"),
        HttpRequest(target="/", headers=(("X", f"{SECRET}\r\nY: z"),)),
        HttpRequest(target="/", headers=(("X", f"{SECRET}\x00"),)),
        HttpRequest(target="/", headers=(("X", f"{SECRET}\u20ac"),)),
        HttpRequest(target="/", headers=((f"X: {SECRET}\r\nY", "z"),)),
        HttpRequest(target="/", headers=(("", "z"),)),
    ],
    ids=range(11),
)
def test_a_request_that_would_become_another_is_not_sent(request_: HttpRequest) -> None:
    """Line breaks, blanks and letters beyond Latin never reach the wire."""
    with listening(answering(OK)) as server, network() as own:
        assert refusal(own.handler(server.url), request_).code == "network-request"
        assert server.conversations == []


# -- what is taken


def test_headers_come_as_they_are() -> None:
    """Order and case stay, what is repeated stays apart, and a folded value is put on one line."""
    response = answered(
        b"HTTP/1.1 200 OK\r\nb-second: 1\r\nA-First:2  \r\nB-Second: 3\r\nLong: x\r\n  y\r\n"
        b"Latin: \xe9\r\nEmpty:\r\nContent-Length: 0\r\n\r\n"
    )
    assert response.headers == (
        ("b-second", "1"),
        ("A-First", "2"),
        ("B-Second", "3"),
        ("Long", "x y"),
        ("Latin", "\u00e9"),
        ("Empty", ""),
        ("Content-Length", "0"),
    )


@pytest.mark.parametrize(
    ("answer", "status", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n4;x=y\r\n two\r\n0\r\n\r\n",
         200, b"one two"),
        (b"HTTP/1.0 200 OK\r\n\r\nto the end", 200, b"to the end"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno", 404, b"no"),
        (b"HTTP/1.1 461 Platform Unknown\r\nContent-Length: 0\r\n\r\n", 461, b""),
        (b"HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n", 304, b""),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200\r\nContent-Length: 1\r\n\r\nx", 200, b"x"),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: identity\r\nContent-Length: 1\r\n\r\nx", 200, b"x"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx", 200, b"x"),
        (b"HTTP/1.1 200 OK\r\nContent-Type: multipart/mixed\r\nContent-Length: 1\r\n\r\nx", 200, b"x"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b"x" * 1000, 200, b"x" * 1000),
    ],
)  # fmt: skip
def test_an_answer_is_taken_whole(answer: bytes, status: int, body: bytes) -> None:
    """Whatever way the end of a body is told, the body is the one that was sent."""
    response = answered(answer)
    assert (response.status, response.body) == (status, body)


def test_the_answer_to_head_has_no_body() -> None:
    """The length that it announces is that of another answer."""
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n"
    response = answered(head, HttpRequest(method="HEAD", target="/"))
    assert (response.body, response.header("Content-Length")) == (b"", "5000")


# -- what is refused

HEAD = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("code", "answer"),
    [
        ("network-cut-off", b""),
        ("network-cut-off", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort"),
        ("network-cut-off", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"),
        ("network-cut-off", HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nabc"),
        ("network-cut-off", HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"),
        ("network-too-large", b"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n"),
        ("network-too-large", b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 1001),
        ("network-too-large", HEAD + b"Transfer-Encoding: chunked\r\n\r\n3e9\r\n" + b"x" * 1001),
        ("network-too-large", HEAD + b"Long: " + b"x" * 70_000 + b"\r\n\r\n"),
        ("network-too-large", HEAD + b"Many: 1\r\n" * 101 + b"\r\n"),
        ("network-too-large", HEAD + (b"Long: " + b"x" * 60_000 + b"\r\n") * 5 + b"\r\n"),
        ("network-encoding", HEAD + b"Content-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx"),
        ("network-encoding", HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
        ("network-protocol", b"SSH-2.0-OpenSSH_9.2\r\n"),
        ("network-protocol", b"HTTP/2.0 200 OK\r\n\r\n"),
        ("network-protocol", b"HTTP/1.1 abc\r\n\r\n"),
        ("network-protocol", b"\x15\x03\x01\x00\x02\x02\x46"),
        ("network-protocol", b"<html>hello</html>"),
        ("network-protocol", HEAD + b"no colon here\r\nContent-Length: 1\r\n\r\nx"),
        ("network-protocol", HEAD + b" folded: first\r\n\r\n"),
        ("network-protocol", HEAD + b"A: b\r\r\nContent-Length: 1\r\n\r\nx"),
        ("network-protocol", HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx"),
        ("network-protocol", HEAD + b"Content-Length: -1\r\n\r\nxx"),
        ("network-protocol", HEAD + b"Content-Length: 0x1\r\n\r\nx"),
        ("network-protocol", b"HTTP/1.1 101 Switching Protocols\r\n\r\n"),
    ],
)
def test_what_is_no_answer_is_refused(code: str, answer: bytes) -> None:
    """Each departure has its code, and no error tells the query."""
    with listening(closing_after(answer)) as server, network() as own:
        error = refusal(own.handler(server.url))
    assert isinstance(error, Unavailable)
    assert error.code == code
    assert error.where == f"{server.url}/sgx/certification/v4/pckcert"


@pytest.mark.parametrize("size", [b"-1", b"-5", b"fffffffffff", b"zz", b""])
def test_the_size_of_a_chunk_may_lie(size: bytes) -> None:
    """No size of a chunk makes us take more than the limit."""
    answer = HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + size + b"\r\n" + b"x" * 200_000
    with listening(closing_after(answer)) as server, network() as own:
        code = refusal(own.handler(server.url)).code
    assert code in ("network-cut-off", "network-too-large", "network-protocol")


def test_a_body_without_end_is_not_read_to_the_end() -> None:
    """The limit of size holds while reading: a server that never stops is left after little more."""
    sent = 0

    def endless(conversation: Conversation) -> None:
        nonlocal sent
        conversation.hear()
        conversation.say(HEAD + b"\r\n")
        while not conversation.stopping.is_set():
            conversation.say(b"x" * 65_536)
            sent += 65_536

    with listening(endless) as server, network() as own:
        assert refusal(own.handler(server.url)).code == "network-too-large"
    # What is beyond stands in the buffers of the two sockets.
    assert sent < 20_000_000


@pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308])
def test_redirects_are_not_followed(status: int) -> None:
    """The error names the host that the answer leads to, and nothing else of the address."""
    with listening(answering(OK)) as elsewhere:
        location = f"{elsewhere.url}/x?{SECRET}"
        head = f"HTTP/1.1 {status} Moved\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"
        with listening(answering(head.encode())) as server, network() as own:
            error = refusal(own.handler(server.url))
        assert elsewhere.conversations == []
    assert error.code == "network-redirect"
    assert "leads on to 127.0.0.1, " in error.what
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("host", "shown"),
    [
        (f"{SECRET}.evil.example", "….evil.example"),
        (f"a.{SECRET[:8]}-{SECRET[8:16]}.example", "a.….example"),
        (f"a.{SECRET[:15]}.example", f"a.{SECRET[:15].lower()}.example"),
    ],
)
def test_a_redirect_does_not_tell_what_was_asked(host: str, shown: str) -> None:
    """A host whose name repeats the query is told without the part that may be an identifier."""
    head = f"HTTP/1.1 302 Found\r\nLocation: https://{host}/\r\nContent-Length: 0\r\n\r\n"
    with listening(answering(head.encode())) as server, network() as own:
        error = refusal(own.handler(server.url))
    assert f"leads on to {shown}, " in error.what


@pytest.mark.parametrize("location", ["/login", "https://[", "", "\x1b[2J"])
def test_a_redirect_to_nowhere_is_one_too(location: str) -> None:
    """Whatever stands in Location, it is the same error, and fit for a terminal."""
    head = f"HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"
    with listening(answering(head.encode())) as server, network() as own:
        error = refusal(own.handler(server.url))
    assert error.code == "network-redirect"
    assert str(error).isprintable()


ANSWER_PIECES = st.sampled_from(
    [
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 ",
        b"Content-Length: ",
        b"Transfer-Encoding: chunked\r\n",
        b"Content-Type: multipart/mixed; boundary=x\r\n",
        b"\r\n\r\n",
        b"\r\n",
        b"\n",
        b"\r",
        b": ",
        b"5",
        b"\x00",
        b"-1",
        b"\xff" * 9,
        b"x" * 70_000,
    ]
)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.one_of(ANSWER_PIECES, st.binary(max_size=30)), max_size=12))
def test_garbage_is_an_answer_or_our_error(pieces: list[bytes]) -> None:
    """Whatever bytes come, an `HttpResponse` or an `Unavailable` comes of them."""
    answer = b"".join(pieces)
    with suppress(Unavailable):
        assert len(answered(answer).body) <= ONCE.max_size
    with suppress(Unavailable):
        assert len(answered(HEAD + answer).body) <= ONCE.max_size
