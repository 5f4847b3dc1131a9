"""A Handler on a socket: real HTTPS on loopback, with Python's clients and with curl."""

import http.client
import json
import shutil
import socket
import ssl
import subprocess
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from dcap.api.http import HttpRequest, HttpResponse
from dcap.api.pcs import PckCertsRequest
from dcap.serving import CUT_AFTER, MAX_BODY, Server, serving
from dcap.simulator import World
from dcap.simulator.services import services
from dcap.simulator.tls import WRONG_NAMES, tls_files, tls_pems

CURL = shutil.which("curl")
needs_curl = pytest.mark.skipif(CURL is None, reason="curl is not installed")
IDENTITY = "/sgx/certification/v4/qe/identity"


@pytest.fixture(scope="module")
def intel() -> World:
    """A world with one machine."""
    made = World("serving")
    made.platform()
    return made


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where TLS files are put."""
    return tmp_path_factory.mktemp("tls")


@pytest.fixture(scope="module")
def server(intel: World, directory: Path) -> Iterator[Server]:
    """Its services on HTTPS."""
    certificate, key, _ = tls_files(intel, directory)
    with serving(services(intel), tls=(certificate, key)) as running:
        yield running


def urlopen(url: str, ca: Path) -> Any:
    """Open with the standard library, past any proxy of the environment."""
    context = ssl.create_default_context(cafile=str(ca))
    direct = urllib.request.ProxyHandler({})
    opener = urllib.request.build_opener(direct, urllib.request.HTTPSHandler(context=context))
    return opener.open(url, timeout=20)


def curl(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Run curl as a user would."""
    return subprocess.run(
        [CURL or "curl", "-sS", "--noproxy", "*", "--max-time", "20", *arguments],
        capture_output=True,
        check=False,
        timeout=30,
    )


def test_urllib_gets_what_the_handler_answers(
    intel: World, server: Server, directory: Path
) -> None:
    """Status, headers and body arrive as the handler gave them."""
    answer = services(intel)(HttpRequest(target=IDENTITY))
    with urlopen(server.url + IDENTITY, directory / "tls_ca.pem") as response:
        assert response.status == 200
        assert response.read() == answer.body
        assert set(answer.headers) <= set(response.headers.items())


@needs_curl
def test_curl_gets_what_the_handler_answers(intel: World, server: Server, directory: Path) -> None:
    """`curl --cacert tls_ca.pem` trusts the server and gets the very bytes."""
    done = curl("--cacert", str(directory / "tls_ca.pem"), server.url + IDENTITY)
    assert done.returncode == 0, done.stderr
    assert done.stdout == services(intel)(HttpRequest(target=IDENTITY)).body


@needs_curl
def test_curl_posts_a_manifest(intel: World, server: Server, directory: Path) -> None:
    """The documented request: JSON posted to `pckcerts`."""
    machine = intel.platform()
    asked = PckCertsRequest(pce_id=machine.pce_id, platform_manifest=machine.manifest).to_http()
    (directory / "manifest.json").write_bytes(asked.body)
    done = curl(
        "--cacert",
        str(directory / "tls_ca.pem"),
        "-H",
        "Content-Type: application/json",
        "--data-binary",
        f"@{directory / 'manifest.json'}",
        server.url + asked.target,
    )
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)) == len(machine.certificates())


@needs_curl
def test_curl_registers_a_machine(intel: World, server: Server, directory: Path) -> None:
    """The documented request: a manifest posted as octets is answered 201 with the PPID."""
    machine = intel.platform()
    (directory / "manifest.bin").write_bytes(machine.manifest)
    done = curl(
        "--cacert",
        str(directory / "tls_ca.pem"),
        "-H",
        "Content-Type: application/octet-stream",
        "--data-binary",
        f"@{directory / 'manifest.bin'}",
        "-w",
        " %{http_code}",
        f"{server.url}/sgx/registration/v1/platform",
    )
    assert done.stdout.decode() == f"{machine.ppid.hex().upper()} 201"


@needs_curl
def test_curl_refuses_another_ca(intel: World, server: Server, directory: Path) -> None:
    """Neither the SGX root nor the system's CAs vouch for the server."""
    root = directory / "root.pem"
    root.write_bytes(intel.root_pem)
    assert curl("--cacert", str(root), server.url + IDENTITY).returncode == 60
    assert curl(server.url + IDENTITY).returncode == 60


def test_the_certificate_of_another_host_is_refused(intel: World, tmp_path: Path) -> None:
    """A certificate of the same CA for another host fails the check of the name, and only that."""
    certificate, key, ca = tls_files(intel, tmp_path, names=WRONG_NAMES)
    context = ssl.create_default_context(cafile=str(ca))
    with serving(services(intel), tls=(certificate, key)) as other:
        connection = http.client.HTTPSConnection(
            "127.0.0.1", other.port, timeout=10, context=context
        )
        with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
            connection.request("GET", IDENTITY)
        connection.close()


def test_localhost_is_a_name_of_the_server(server: Server, directory: Path) -> None:
    """The certificate is good for 127.0.0.1 and for localhost."""
    context = ssl.create_default_context(cafile=str(directory / "tls_ca.pem"))
    connection = http.client.HTTPSConnection("127.0.0.1", server.port, timeout=10, context=context)
    connection.connect()
    names = connection.sock.getpeercert()["subjectAltName"]
    connection.close()
    assert set(names) == {("IP Address", "127.0.0.1"), ("DNS", "localhost")}


def test_tls_files_are_the_same_each_time_and_the_key_is_private(
    intel: World, directory: Path, tmp_path: Path
) -> None:
    """Files of one world are the same bytes; another seed has others; nobody else reads the key."""
    first, second = tls_files(intel, directory), tls_files(intel, tmp_path)
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]
    assert second[1].stat().st_mode & 0o077 == 0
    assert tls_pems(World("another seed"))[2] != second[2].read_bytes()


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_openssl_accepts_the_chain(intel: World, tmp_path: Path) -> None:
    """OpenSSL's own strict verification finds nothing to object to."""
    certificate, _, ca = tls_files(intel, tmp_path)
    done = subprocess.run(
        ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", ca, certificate],
        capture_output=True,
        check=False,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr + done.stdout


def test_tls_1_2_is_the_least(server: Server, directory: Path) -> None:
    """TLS 1.2 is spoken, and nothing older is offered, as with Intel's own servers."""
    context = ssl.create_default_context(cafile=str(directory / "tls_ca.pem"))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    connection = http.client.HTTPSConnection("127.0.0.1", server.port, timeout=10, context=context)
    connection.request("GET", IDENTITY)
    assert connection.getresponse().status == 200
    connection.close()
    assert server._http.socket.context.minimum_version == ssl.TLSVersion.TLSv1_2


def test_one_connection_serves_many_requests() -> None:
    """HTTP/1.1 without TLS: a connection is kept, whatever method it is asked with."""

    def echo(request: HttpRequest) -> HttpResponse:
        return HttpResponse(status=200, body=request.method.encode() + b" " + request.body)

    with serving(echo) as running:
        connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=10)
        seen = []
        for method in ("GET", "POST", "PUT", "DELETE", "HEAD"):
            connection.request(method, "/", body=b"x" if method in ("POST", "PUT") else None)
            response = connection.getresponse()
            seen.append((response.read(), response.getheader("Content-Length")))
        connection.close()
    assert seen == [
        (b"GET ", "4"),
        (b"POST x", "6"),
        (b"PUT x", "5"),
        (b"DELETE ", "7"),
        (b"", "5"),
    ]


def test_bodies_have_a_limit() -> None:
    """A body over the limit is 413, and the handler never sees it."""
    seen: list[HttpRequest] = []

    def keep(request: HttpRequest) -> HttpResponse:
        seen.append(request)
        return HttpResponse(status=200)

    with serving(keep) as running:
        connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=10)
        connection.putrequest("POST", "/")
        connection.putheader("Content-Length", str(MAX_BODY + 1))
        connection.endheaders()
        assert connection.getresponse().status == 413
        connection.close()
    assert seen == []


def test_a_body_may_be_cut_off() -> None:
    """The order to cut does not leave the process; the announced length does."""

    def cut(_request: HttpRequest) -> HttpResponse:
        return HttpResponse(status=200, headers=((CUT_AFTER, "3"),), body=b"whole body")

    with serving(cut) as running:
        connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=10)
        connection.request("GET", "/")
        response = connection.getresponse()
        assert response.getheader(CUT_AFTER) is None
        assert response.getheader("Content-Length") == "10"
        with pytest.raises(http.client.IncompleteRead) as caught:
            response.read()
        assert caught.value.partial == b"who"
        connection.close()


def test_many_clients_at_once(intel: World, server: Server, directory: Path) -> None:
    """Thirty clients at once all get the same genuine answer."""

    def fetch(_: int) -> bytes:
        with urlopen(server.url + IDENTITY, directory / "tls_ca.pem") as answer:
            return bytes(answer.read())

    with ThreadPoolExecutor(30) as pool:
        bodies = set(pool.map(fetch, range(30)))
    assert bodies == {services(intel)(HttpRequest(target=IDENTITY)).body}


def test_a_port_is_free_again_after_the_block() -> None:
    """The server ends with the block it was started for."""
    with serving(lambda _: HttpResponse(status=200)) as running:
        port = running.port
    with serving(lambda _: HttpResponse(status=204), port=port) as again:
        connection = http.client.HTTPConnection("127.0.0.1", again.port, timeout=10)
        connection.request("GET", "/")
        assert connection.getresponse().status == 204
        connection.close()


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nContent-Length: many\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nContent-Length: \xb2\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 411),
        (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 200 + b"\r\n", 431),
        (b"GET / HTTP/7.5\r\n\r\n", 505),
        (b"nonsense that is no request\r\n\r\n", 400),
        (b"BREW / HTTP/1.1\r\n\r\n", 501),
        (b"CONNECT localhost:443 HTTP/1.1\r\n\r\n", 501),
        (b"GET /fail HTTP/1.1\r\nConnection: close\r\n\r\n", 500),
    ],
)
def test_what_the_server_refuses_itself_has_no_page(sent: bytes, status: int) -> None:
    """A bare status and a `Request-ID`, as from Intel's gateway: no HTML, no word of Python."""

    def fail(_request: HttpRequest) -> HttpResponse:
        raise ValueError("a bug")

    with serving(fail) as running, socket.create_connection(("127.0.0.1", running.port)) as client:
        client.settimeout(10)
        client.sendall(sent)
        answer = b""
        with suppress(ConnectionResetError):  # it closes on what it has not read
            while more := client.recv(65536):
                answer += more
    head, _, body = answer.partition(b"\r\n\r\n")
    assert int(head.split()[1]) == status
    assert body == b""
    names = [line.partition(b":")[0] for line in head.splitlines()[1:]]
    assert b"Request-ID" in names
    assert b"Server" not in names
    assert b"ython" not in answer
