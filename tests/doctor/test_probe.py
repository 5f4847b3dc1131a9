"""A walk to an address: its steps, its certificate, its limits; on loopback, against real servers."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from asked_machine import closed_port

from dcap.api.http import HttpRequest, HttpResponse
from dcap.doctor import probe as walking
from dcap.doctor.answer_head import exchange
from dcap.doctor.probe import Visit, probe
from dcap.doctor.visits import context_of
from dcap.serving import serving, tls_context
from dcap.simulator import World
from dcap.simulator.tls import tls_files
from dcap.transport.address import Address
from dcap.transport.proxies import Proxy

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """Certificate, key and CA."""
    return tls_files(World("doctor's probe"), tmp_path_factory.mktemp("tls"))


def answer(request: HttpRequest) -> HttpResponse:
    """An answer that repeats what was asked."""
    return HttpResponse(status=200, headers=(("X-Path", request.target),), body=b"whole")


def walk(url: str, ca: Path | None = None, proxy: str = "", timeout: float = 2.0) -> Visit:
    """A walk with that CA, through that proxy."""
    return probe(
        Address.parse(url),
        "/path",
        trust=context_of(ca),
        timeout=timeout,
        clock=lambda: NOW,
        proxy=Proxy.parse(proxy, "https_proxy") if proxy else None,
    )


def test_each_step_is_told_with_its_time(files: tuple[Path, Path, Path]) -> None:
    """Name, TCP, TLS, HTTP; the answer's beginning, and when it was seen."""
    with serving(answer, tls=files[:2]) as server:
        visit = walk(server.url, files[2])
    assert [step.name for step in visit.steps] == ["name", "TCP", "TLS", "HTTP"]
    assert not visit.fault()
    assert all(0 <= step.seconds < 2 for step in visit.steps)
    assert visit.evidence[0].startswith("name: 127.0.0.1 is 127.0.0.1 (")
    assert (visit.status, visit.beginning, visit.header("x-path")) == (200, b"whole", "/path")
    assert visit.seen_at == NOW
    assert visit.certificate is not None
    assert visit.certificate.fits


def test_behind_a_refused_certificate_is_still_looked(files: tuple[Path, Path, Path]) -> None:
    """The certificate stops who checks it; what it says and what is behind it is seen."""
    with serving(answer, tls=files[:2]) as server:
        visit = walk(server.url)
    fault = visit.fault()
    assert fault is not None
    assert fault.fault == walking.UNKNOWN_ISSUER
    assert visit.certificate is not None
    assert "TLS CA" in visit.certificate.issuer
    assert visit.status == 200


def test_through_a_proxy_that_leads_there(files: tuple[Path, Path, Path]) -> None:
    """CONNECT is a step of its own, between TCP and TLS; the name looked up is the proxy's."""
    asked_for: list[str] = []

    def inside(request: HttpRequest) -> HttpResponse:
        asked_for.append(request.target)
        return answer(request)

    with serving(inside, tunnel=lambda _: tls_context(*files[:2])) as proxy:
        visit = walk("https://localhost:4711", files[2], proxy.url)
    assert [step.name for step in visit.steps] == ["name", "TCP", "proxy", "TLS", "HTTP"]
    assert not visit.fault()
    assert visit.steps[2].seconds < 1.5, "it waits for no body behind the head"
    assert asked_for == ["https://localhost:4711/path"]


def test_plain_http_through_a_proxy() -> None:
    """A proxy that forwards is given the whole URL, as libcurl does."""
    with serving(answer) as proxy:
        visit = walk("http://pccs.invalid:8081", proxy=proxy.url)
    assert visit.header("X-Path") == "http://pccs.invalid:8081/path"


@contextmanager
def saying(say: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server that says something to each connection, whatever it hears; its URL."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    peer, _ = server.accept()
                except OSError:
                    return
                with peer:
                    try:
                        peer.settimeout(2)
                        peer.recv(4096)
                        say(peer)
                    except OSError:
                        pass

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        thread.join(5)


@pytest.mark.parametrize(
    "greeting", [b"SSH-2.0-OpenSSH_9.6 and more of it\r\n", b"", b"HTTP/9 200 fine\r\n\r\n"]
)
def test_what_is_no_http(greeting: bytes) -> None:
    """Whatever speaks another tongue, or none, is told as that, and raises nothing."""
    with saying(lambda peer: peer.sendall(greeting)) as url:
        fault = walk(url).fault()
    assert fault is not None
    assert fault.fault == walking.NOT_HTTP


def test_a_server_that_drips_ends_in_time() -> None:
    """A byte now and then does not prolong a step: its time is over all the same."""
    over = threading.Event()

    def drip(peer: socket.socket) -> None:
        peer.sendall(b"HTTP/1.1 200 OK\r\nX-Long: ")
        for _ in range(200):
            peer.sendall(b"x")
            if over.wait(0.02):
                return

    started = time.monotonic()
    with saying(drip) as url:
        fault = walk(url, timeout=0.1).fault()
        spent = time.monotonic() - started
        over.set()
    assert fault is not None
    assert fault.fault == walking.SILENT
    assert spent < 3


def test_nobody_listens() -> None:
    """The walk ends at TCP, and says that the connection was refused."""
    visit = walk(f"http://127.0.0.1:{closed_port()}")
    assert [(step.name, step.fault) for step in visit.steps] == [
        ("name", ""),
        ("TCP", walking.REFUSED),
    ]
    assert visit.status is None


def test_a_chunked_body_begins_behind_its_size() -> None:
    """What is shown of a body is the body, not its framing."""
    whole = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nwhole\r\n0\r\n\r\n"
    with saying(lambda peer: peer.sendall(whole)) as url:
        assert walk(url).beginning.startswith(b"whole")


def test_what_comes_after_the_time_is_not_read() -> None:
    """Bytes that are always there, and never a head: the time ends it, not the bytes."""
    ours, peer = socket.socketpair()
    with ours, peer:
        peer.sendall(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 20_000)
        with pytest.raises(TimeoutError):
            exchange(ours, b"", 0.0)
        assert len(ours.recv(65536)) > 20_000
