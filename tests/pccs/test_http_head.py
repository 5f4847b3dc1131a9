"""`dcap.pccs.http_head`: what is a request, and what two readers could understand differently."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcap.pccs.http_head import Chunks, Malformed, read_head, write_fields, write_status

GOOD = b"GET /a?b=1 HTTP/1.1\r\nHost: x\r\nRequest-ID: abc\r\n"


def test_a_head_is_read_as_it_stands() -> None:
    """Line, target, headers in their order and case; without a body its length is 0."""
    head = read_head(GOOD)
    assert head.line == b"GET /a?b=1 HTTP/1.1"
    assert (head.method, head.target, head.length) == (b"GET", b"/a?b=1", 0)
    assert head.request().headers == (("Host", "x"), ("Request-ID", "abc"))
    assert head.fields[b"request-id"] == b"abc"
    assert head.keeps_alive


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ((b"GET ", b"get "), 400),
        ((b"/a?b=1", b"a?b=1"), 400),
        ((b"/a?b=1", b"/a b"), 400),
        ((b"HTTP/1.1", b"HTTP/2.0"), 505),
        ((b"HTTP/1.1", b"HTTP/1.1x"), 400),
        ((b"Host: x\r\n", b""), 400),
        ((b"Host: x\r\n", b"Host: x\r\nHost: y\r\n"), 400),
        ((b"Host: x", b"Host : x"), 400),
        ((b"Host: x", b" Host: x"), 400),
        ((b"Host: x\r\n", b"Host: x\r\n folded\r\n"), 400),
        ((b"Host: x\r\n", b"Host: x\nA: b\r\n"), 400),
        ((b"Host: x", b"Host: \x00x"), 400),
        ((b"Host: x\r\n", b"Host: x\r\n: x\r\n"), 400),
        ((b"Host: x\r\n", b"Host: x\r\nContent-Length: -1\r\n"), 400),
        ((b"Host: x\r\n", b"Host: x\r\nContent-Length: +1\r\n"), 400),
        ((b"Host: x\r\n", b"Host: x\r\nContent-Length: 1, 1\r\n"), 400),
        ((b"Host: x\r\n", b"Host: x\r\nContent-Length: 1\r\nContent-Length: 1\r\n"), 400),
        (
            (b"Host: x\r\n", b"Host: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n"),
            400,
        ),
        ((b"Host: x\r\n", b"Host: x\r\nTransfer-Encoding: gzip, chunked\r\n"), 501),
        ((b"Host: x\r\n", b"Host: x\r\nTransfer-Encoding: xchunked\r\n"), 501),
        ((b"1.1\r\nHost: x\r\n", b"1.0\r\nTransfer-Encoding: chunked\r\n"), 400),
    ],
)
def test_what_could_be_read_two_ways_is_refused(change: tuple[bytes, bytes], status: int) -> None:
    """One departure from a good head, and it is no request."""
    with pytest.raises(Malformed) as caught:
        read_head(GOOD.replace(*change, 1))
    assert caught.value.status == status


@pytest.mark.parametrize(
    ("line", "keeps"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n", True),
        (b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Close\r\n", False),
        (b"GET / HTTP/1.0\r\n", False),
        (b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n", True),
        (b"GET / HTTP/1.0\r\nConnection: te, Keep-Alive\r\n", True),
        (b"GET / HTTP/1.1\r\nHost: x\r\nConnection: TE, close\r\n", False),
        (b"GET / HTTP/1.1\r\nHost: x\r\nConnection: TE\r\nConnection: close ,x\r\n", False),
        (b"GET / HTTP/1.1\r\nHost: x\r\nConnection: enclose\r\n", True),
    ],
)
def test_who_wants_the_connection_kept(line: bytes, keeps: bool) -> None:
    """HTTP/1.1 keeps it unless told otherwise, 1.0 only where asked; it is said in a list of words."""
    assert read_head(line).keeps_alive is keeps


def test_a_proxys_target_is_understood() -> None:
    """Of an absolute target, path and query count."""
    head = read_head(b"GET http://h:8081/a?b HTTP/1.1\r\nHost: h\r\n")
    assert head.target == b"/a?b"
    assert read_head(b"GET http://h HTTP/1.1\r\nHost: h\r\n").target == b"/"


@given(st.binary(max_size=200))
def test_nothing_but_malformed_escapes(data: bytes) -> None:
    """Whatever bytes come, they are a head, or `Malformed`."""
    try:
        head = read_head(data)
    except Malformed:
        return
    assert head.target.startswith(b"/")


@given(st.binary(max_size=300), st.lists(st.integers(1, 40), max_size=8), st.integers(1, 60))
def test_chunks_arrive_in_any_pieces(body: bytes, cuts: list[int], size: int) -> None:
    """However a body is cut into chunks, and those into packets, it is the same body."""
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    wire = b"".join(b"%x;e=1\r\n%b\r\n" % (len(part), part) for part in parts)
    wire += b"0\r\nTrailer: x\r\n\r\nNEXT"
    chunks = Chunks(1000)
    rest: bytes | None = None
    position = 0
    for cut in [*cuts, len(wire)]:
        rest = chunks.feed(wire[position : position + cut])
        position += cut
        if rest is not None:
            break
    assert bytes(chunks.body) == body
    assert rest is not None
    assert (rest + wire[position:]).endswith(b"NEXT")


@pytest.mark.parametrize(
    ("wire", "status"),
    [
        (b"x\r\n", 400),
        (b"-1\r\n", 400),
        (b"1\r\nab\r\n", 400),
        (b"11\r\n", 413),
        (b"fffffffff\r\n", 400),
        (b"a" * 2000, 400),
        (b"0\r\n" + b"A: b\r\n" * 9, 413),
        (b"1;e\nx\r\n", 400),
        (b"1;e=" + b"a" * 2000 + b"\r\nx\r\n", 400),
        (b"1 x\r\n", 400),
        (b"0\r\nno field\r\n\r\n", 400),
    ],
)
def test_bad_chunks_are_refused(wire: bytes, status: int) -> None:
    """Sizes that are none, chunks that are longer than they say, and too much of it all."""
    with pytest.raises(Malformed) as caught:
        Chunks(16).feed(wire)
    assert caught.value.status == status


def test_chunks_of_a_byte_cost_what_other_bytes_cost() -> None:
    """Two hundred thousand of them at once are read in no time to speak of."""
    chunks, size = Chunks(1 << 20), 200_000
    began = time.monotonic()
    assert chunks.feed(b"1\r\nx\r\n" * size + b"0\r\n\r\nNEXT") == b"NEXT"
    assert time.monotonic() - began < 10  # each copied the rest of what came: some 200 GB
    assert bytes(chunks.body) == b"x" * size


def test_answers_keep_the_case_of_names_and_no_line_can_be_smuggled() -> None:
    """Names stand as given; an empty value, and one with a line end, are left out."""
    fields = (("SGX-TCBm", "AA"), ("Empty", ""), ("Bad", "x\r\nSet-Cookie: y"))
    assert write_fields(fields) == b"SGX-TCBm: AA\r\n"
    assert write_status(200) == b"HTTP/1.1 200 OK\r\n"
    assert write_status(461) == b"HTTP/1.1 461 unknown\r\n"
