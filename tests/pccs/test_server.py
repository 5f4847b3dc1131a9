"""`dcap.pccs.server`, `front`, `connection`: the service on its socket, as clients meet it."""

import json
import os
import signal
import socket
import ssl
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from dcap.api.http import HttpRequest, HttpResponse
from dcap.pccs.items import RootCrlKey
from dcap.pccs.store.store import Store
from dcap.pccs.tls import self_signed
from pccs.running import V4, Intel, Service, Wire, intel, serve, until

ROOT_CRL = f"{V4}rootcacrl"
PUT = f"{V4}platformcollateral"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the module's service and its Intel keep their files."""
    return tmp_path_factory.mktemp("server")


@pytest.fixture(scope="module")
def simulated(folder: Path) -> Iterator[Intel]:
    """The simulated Intel of the module."""
    with intel(folder / "intel") as running:
        yield running


@pytest.fixture(scope="module")
def service(folder: Path, simulated: Intel) -> Iterator[Service]:
    """A service that no test stops or changes."""
    flags = (*simulated.flags, "--max-body", "64KB", "--header-seconds", "1")
    with serve(folder, *flags, "--request-seconds", "2") as running:
        yield running


@pytest.fixture
def wire(service: Service) -> Iterator[Wire]:
    """A connection."""
    made = service.wire()
    yield made
    made.close()


SMUGGLED = (
    b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
)

# What an answer looks like


def test_names_of_headers_keep_their_case(wire: Wire, simulated: Intel) -> None:
    """As Intel's PCCS writes them, the first time and when the answer was ready."""
    machine = simulated.world.platform()
    target = (
        f"{V4}pckcert?qeid={machine.qe_id.hex()}&encrypted_ppid={machine.encrypted_ppid.hex()}"
        f"&cpusvn={machine.cpu_svn.hex()}&pcesvn=0D00&pceid=0000"
    )
    first, second = wire.get(target), wire.get(target)
    names = [name for name, _ in first.fields]
    for name in ("Request-ID", "SGX-TCBm", "SGX-FMSPC", "SGX-PCK-Certificate-CA-Type"):
        assert name in names
    assert "SGX-PCK-Certificate-Issuer-Chain" in names
    assert [name for name, _ in second.fields] == names
    apart = {name for name, value in first.fields if second.field(name) != value}
    assert apart <= {"Request-ID", "Date"}
    assert "Request-ID" in apart
    assert (first.status, first.body) == (second.status, second.body)


def test_every_answer_has_what_http_wants(wire: Wire) -> None:
    """Date, length, keep-alive as Intel's advertises it."""
    answer = wire.get(ROOT_CRL)
    assert (answer.status, answer.reason) == (200, "OK")
    assert answer.field("Keep-Alive") == "timeout=60"
    assert answer.field("Connection") == "keep-alive"
    assert answer.field("Date")
    assert answer.field("Content-Type") == "application/pkix-crl; charset=utf-8"
    assert bytes.fromhex(answer.body.decode())


def test_a_caller_names_its_request(wire: Wire) -> None:
    """A `Request-ID` that can be handed back is; one that cannot, is replaced."""
    wire.get(ROOT_CRL)
    assert wire.get(ROOT_CRL, "Request-ID: mine-123").field("Request-ID") == "mine-123"
    for wrong in ("a b", "x" * 65, "<script>"):
        given = wire.get(ROOT_CRL, f"Request-ID: {wrong}").field("Request-ID")
        assert given is not None
        assert len(given) == 32


def test_who_has_it_gets_304(wire: Wire) -> None:
    """By the tag, ready or not; the body is left out, the date of it stays."""
    tag = wire.get(ROOT_CRL).field("ETag")
    for given in (f"If-None-Match: {tag}", f'If-None-Match: "other", {tag}', "If-None-Match: *"):
        answer = wire.get(ROOT_CRL, given)
        assert (answer.status, answer.body, answer.field("ETag")) == (304, b"", tag)
    assert wire.get(ROOT_CRL, 'If-None-Match: "other"').status == 200


def test_head_is_get_without_the_body(wire: Wire) -> None:
    """The same headers, ready or not, and the connection goes on."""
    whole = wire.get(ROOT_CRL)
    for _ in range(2):
        answer = wire.get(ROOT_CRL, method="HEAD")
        assert answer.status == 200
        assert answer.field("Content-Length") == str(len(whole.body))
    assert wire.get(ROOT_CRL).body == whole.body


def test_requests_in_a_row_are_answered_in_order(wire: Wire) -> None:
    """Some that are ready behind one that is not, sent at once."""
    wire.get(ROOT_CRL)
    unknown = f"{V4}tcb?fmspc=000000000000"
    asked = [ROOT_CRL, unknown, ROOT_CRL, f"{V4}none", ROOT_CRL]
    for number, target in enumerate(asked):
        wire.send(f"GET {target} HTTP/1.1\r\nHost: x\r\nRequest-ID: r{number}\r\n\r\n".encode())
    found = [wire.read() for _ in asked]
    assert [answer.field("Request-ID") for answer in found] == [f"r{n}" for n in range(5)]
    assert [answer.status for answer in found] == [200, 404, 200, 404, 200]


def test_what_is_ready_asks_nobody(wire: Wire, simulated: Intel) -> None:
    """Upstream is asked once; a thousand more requests are answered without it."""
    target = f"{V4}qve/identity"
    wire.get(target)
    before = len(simulated.calls)
    for _ in range(1000):
        assert wire.get(target).status == 200
    assert len(simulated.calls) == before


# Bodies and tokens


def test_a_wrong_token_is_told_before_the_body(service: Service) -> None:
    """401 for a body far beyond the limit, of which the service reads nothing first."""
    wire = service.wire()
    head = f"PUT {PUT} HTTP/1.1\r\nHost: x\r\nadmin-token: no\r\nContent-Length: 99999999\r\n\r\n"
    wire.send(head.encode())
    answer = wire.read()
    assert (answer.status, answer.body) == (401, b"Authentication failed.")
    assert answer.field("Dcap-Cause") == "bad-token"
    assert answer.field("Connection") == "close"
    assert answer.field("Date")
    assert until(lambda: "cause=bad-token" in service.log)


def test_a_body_that_is_too_large_is_told(service: Service) -> None:
    """413 with Intel's sentence, also to a client that sends it all without looking."""
    wire = service.wire()
    token = f"admin-token: {service.token('admin')}"
    json_type = "Content-Type: application/json"
    answer = wire.get(PUT, token, json_type, method="PUT", body=b"x" * 70_000)
    assert (answer.status, answer.body) == (413, b"Content too large.")
    assert answer.field("Dcap-Cause") == "too-large"
    assert wire.ends()  # what was sent as a body is not taken for requests


def test_a_body_in_chunks_is_a_body(service: Service, wire: Wire) -> None:
    """What comes in pieces is read as what comes whole; then the connection goes on."""
    token = service.token("user")
    fields = f"Host: x\r\nuser-token: {token}\r\nContent-Type: application/json\r\n"
    wire.send(f"POST {V4}platforms HTTP/1.1\r\n{fields}Transfer-Encoding: chunked\r\n\r\n".encode())
    for piece in (b'{"qe', b'_id": 1', b"}"):
        wire.send(b"%x\r\n%b\r\n" % (len(piece), piece))
    wire.send(b"0\r\n\r\n")
    answer = wire.read()
    assert (answer.status, answer.field("Dcap-Cause")) == (400, "bad-request")
    assert wire.get(ROOT_CRL).status == 200


def test_chunks_that_are_too_many_are_told(service: Service) -> None:
    """413 with sentence, cause and request id, though the size was not known before."""
    wire = service.wire()
    wire.send(f"GET {ROOT_CRL} HTTP/1.1\r\nHost: x\r\nRequest-ID: big\r\n".encode())
    wire.send(b"Transfer-Encoding: chunked\r\n\r\n")
    wire.send(b"4001\r\n" + b"x" * 0x4001 + b"\r\n")
    answer = wire.read()
    assert (answer.status, answer.body) == (413, b"Content too large.")
    assert (answer.field("Dcap-Cause"), answer.field("Request-ID")) == ("too-large", "big")
    assert until(lambda: "request_id=big" in service.log)


def test_a_large_body_in_small_packets_is_read_whole(service: Service, wire: Wire) -> None:
    """As large as allowed, in packets of any size; what follows it is the next request."""
    token = f"admin-token: {service.token('admin')}"
    body = b'{"platforms": [' + b" " * 60_000 + b"]}"
    head = f"PUT {PUT} HTTP/1.1\r\nHost: x\r\n{token}\r\nContent-Type: application/json\r\n"
    sent = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    sent += f"GET {ROOT_CRL} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    for at in range(0, len(sent), 7001):
        wire.send(sent[at : at + 7001])
    assert wire.read().status == 400  # it says nothing of what an import needs
    assert wire.read().status == 200


def test_who_asks_first_is_told_to_go_on(service: Service, wire: Wire) -> None:
    """`Expect: 100-continue` gets 100 with a good token, and 401 at once without."""
    fields = "Host: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n"
    good = f"user-token: {service.token('user')}\r\nContent-Type: application/json\r\n"
    wire.send(f"POST {V4}platforms HTTP/1.1\r\n{fields}{good}\r\n".encode())
    assert wire.read(has_body=False).status == 100
    wire.send(b"{}")
    assert wire.read().status == 400
    wire.send(f"POST {V4}platforms HTTP/1.1\r\n{fields}\r\n".encode())
    assert wire.read().status == 401


# Bad clients


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"\r\n" * 2, 400),
        (b"NONSENSE\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\nHost: x\r\n\r\n", 505),
        (b"GET /" + b"a" * 20_000, 431),
        (SMUGGLED, 400),
    ],
)
def test_what_is_no_request_ends_its_connection(
    service: Service, wire: Wire, sent: bytes, status: int
) -> None:
    """A status, `Connection: close`, the end; others are not touched by it."""
    with suppress(OSError):  # it may be refused before all of it is sent
        wire.send(sent)
    answer = wire.read()
    assert (answer.status, answer.field("Connection")) == (status, "close")
    assert answer.body.endswith(b".")
    assert len(answer.field("Request-ID") or "") == 32
    with suppress(ConnectionResetError):
        assert wire.ends()
    assert service.get(ROOT_CRL).status == 200


def test_a_flood_of_empty_lines_touches_nobody_else(service: Service, wire: Wire) -> None:
    """Its connection is ended after the second, and others are answered meanwhile."""
    with suppress(OSError):  # it is refused before all of it is sent
        wire.send(b"\r\n" * 500_000)
    assert service.get(ROOT_CRL).status == 200
    with suppress(OSError, EOFError):  # what was still on its way may reset it before it is read
        assert wire.read().status == 400
    with suppress(ConnectionResetError):
        assert wire.ends()


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /sgx/certification/v4/rootcacrl HTTP/1.1\r\nHo",
        b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc",
    ],
)
def test_who_dawdles_is_let_go(wire: Wire, sent: bytes) -> None:
    """Half a head, or half a body, is waited for as long as the settings say: then 408."""
    began = time.monotonic()
    wire.send(sent)
    assert wire.read().status == 408
    assert wire.ends()
    assert 0.5 < time.monotonic() - began < 10


def test_who_does_not_shake_hands_holds_nobody_up(service: Service) -> None:
    """Connections that never begin TLS are ended, and do not keep others waiting."""
    silent = [socket.create_connection(("127.0.0.1", service.port)) for _ in range(50)]
    try:
        assert service.get(ROOT_CRL).status == 200
        silent[0].settimeout(15)
        assert silent[0].recv(1) == b""
    finally:
        for one in silent:
            one.close()


def test_tls_1_1_and_plain_http_are_refused(service: Service) -> None:
    """Neither an old TLS nor none gets an answer."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is old is the point
        context.minimum_version = ssl.TLSVersion.TLSv1_1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with (
        socket.create_connection(("127.0.0.1", service.port)) as plain,
        pytest.raises(OSError, match=r"(?i)ssl|reset|eof"),
    ):
        context.wrap_socket(plain)
    with socket.create_connection(("127.0.0.1", service.port)) as plain:
        plain.settimeout(15)
        plain.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        with suppress(ConnectionResetError):
            assert b"HTTP" not in plain.recv(100)


# Probes and documents


def test_probes_and_documents_answer(wire: Wire) -> None:
    """Live, ready, started; metrics for Prometheus; OpenAPI; all without a token."""
    for probe in ("live", "ready", "startup"):
        answer = wire.get(f"/healthz/{probe}")
        assert (answer.status, json.loads(answer.body)["status"]) == (200, "ok")
    metrics = wire.get("/metrics")
    assert (metrics.field("Content-Type") or "").startswith("text/plain; version=0.0.4")
    assert b"dcap_pccs_item_expires_timestamp_seconds{item=" in metrics.body
    assert json.loads(wire.get("/openapi.json").body)["openapi"].startswith("3.")
    assert wire.get("/healthz/live", method="POST").status == 405
    assert wire.get("/healthz/live", method="HEAD").status == 200


def test_what_chunks_are_not_is_told(wire: Wire) -> None:
    """A body that is none is 400 with sentence and cause, and ends the connection."""
    wire.send(b"POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
    answer = wire.read()
    assert (answer.status, answer.field("Dcap-Cause")) == (400, "bad-request")
    assert (answer.body, answer.field("Connection")) == (b"Invalid request parameters.", "close")


def test_an_empty_line_before_a_request_is_passed_over(wire: Wire) -> None:
    """One of them, as some clients send after a body."""
    wire.get(ROOT_CRL)
    wire.send(f"\r\nGET {ROOT_CRL} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    assert wire.read().status == 200


def test_every_answer_has_a_request_id(wire: Wire) -> None:
    """Also those that are no resource of the API's: the caller's own, or a new one."""
    for target in ("/healthz/live", "/metrics", "/openapi.json", "/", "/console/none", "/x"):
        assert len(wire.get(target).field("Request-ID") or "") == 32
        assert wire.get(target, "Request-ID: a_b.c:d").field("Request-ID") == "a_b.c:d"


def test_what_is_no_route_is_the_consoles_or_expresss(wire: Wire) -> None:
    """`/` is a page with a strict policy; what is neither the console's nor a resource, Intel's page."""
    page = wire.get("/")
    assert (page.status, page.field("Content-Type")) == (200, "text/html; charset=utf-8")
    assert "default-src 'none'" in (page.field("Content-Security-Policy") or "")
    assert wire.get("/console/none").status == 404
    for target in (f"{V4}none", f"/{V4}rootcacrl", f"/pccs{V4}rootcacrl", "/favicon.ico"):
        answer = wire.get(target)
        assert (answer.status, b"Cannot GET" in answer.body) == (404, True)


def test_nothing_of_machines_is_logged(service: Service, wire: Wire, simulated: Intel) -> None:
    """After all that was asked, the log has none of their ids, and no token beyond the first."""
    machine = simulated.world.platform()
    wire.get(f"{V4}pckcert?qeid={machine.qe_id.hex()}&cpusvn=00")
    log = service.log
    assert "sgx/v4/pckcert" in log
    assert machine.qe_id.hex() not in log.lower()
    assert log.count(service.token("admin")) == 1


# Limits


def test_too_many_from_one_address_get_503_without_a_body(tmp_path: Path, simulated: Intel) -> None:
    """Beyond the burst 503, empty, with the cause; what is ready goes on to be served."""
    with serve(tmp_path, *simulated.flags, "--rate", "0.001", "--burst", "4") as service:
        wire = service.wire()
        assert wire.get(ROOT_CRL).status == 200
        time.sleep(1)  # what was fetched just now is a change, and makes it be computed once more
        assert wire.get(ROOT_CRL).status == 200
        found = [wire.get(f"{V4}none") for _ in range(5)]
        assert [answer.status for answer in found] == [404, 404, 503, 503, 503]
        assert (found[-1].body, found[-1].field("Dcap-Cause")) == (b"", "busy")
        assert wire.get(ROOT_CRL).status == 200
        assert wire.get("/healthz/live").status == 200


def test_too_many_under_way_get_503_and_probes_answer(tmp_path: Path, simulated: Intel) -> None:
    """While upstream hangs, so many wait; the next is refused at once, and the service is live."""
    hold, held = threading.Event(), threading.Semaphore(0)

    def hangs(request: HttpRequest) -> HttpResponse:
        if "tcb" in request.path:
            held.release()
            hold.wait(30)
        return simulated.services(request)

    with serve(tmp_path, *simulated.flags, "--misses", "2", "--threads", "2") as service:
        simulated.answer = hangs
        try:
            waiting = []
            for number in range(2):
                waiting.append(service.wire())
                target = f"{V4}tcb?fmspc=00000000000{number}"
                waiting[-1].send(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            assert held.acquire(timeout=20)
            assert held.acquire(timeout=20)
            began = time.monotonic()
            refused = service.get(f"{V4}tcb?fmspc=000000000003")
            assert (refused.status, refused.field("Dcap-Cause")) == (503, "busy")
            assert service.get("/healthz/ready").status == 200
            assert time.monotonic() - began < 8
        finally:
            hold.set()
            simulated.answer = simulated.services
        assert [one.read().status for one in waiting] == [404, 404]


def test_connections_have_an_end(tmp_path: Path, simulated: Intel) -> None:
    """One more than allowed is hung up on; when one leaves there is room again."""
    with serve(tmp_path, *simulated.flags, "--connections", "2") as service:
        open_ones = [service.wire() for _ in range(2)]
        for one in open_ones:
            assert one.get("/healthz/live").status == 200
        with pytest.raises((OSError, EOFError)):
            service.get("/healthz/live")
        open_ones.pop().close()
        assert until(lambda: _answers(service))


def _answers(service: Service) -> bool:
    try:
        return service.get("/healthz/live").status == 200
    except (OSError, EOFError):
        return False


# Changes, and a database that is gone


def test_a_change_elsewhere_is_seen_within_a_second(tmp_path: Path, simulated: Intel) -> None:
    """Another replica forgets an item: what was ready here is no longer served."""
    with serve(tmp_path, *simulated.flags, "--mode", "lazy") as service:
        wire = service.wire()
        wire.get(ROOT_CRL)
        before = simulated.calls.count("/IntelSGXRootCA.der")
        wire.get(ROOT_CRL)
        with Store.open(f"sqlite:///{tmp_path}/data/pccs.db") as elsewhere:
            elsewhere.items.delete(RootCrlKey())
        time.sleep(1.0)
        wire.get(ROOT_CRL)
        assert simulated.calls.count("/IntelSGXRootCA.der") == before + 1


# Stopping and reloading


def test_what_is_under_way_is_finished(tmp_path: Path, simulated: Intel) -> None:
    """SIGTERM while upstream is slow: the answer comes, the last one; nobody new comes in."""
    asked = threading.Event()

    def slow(request: HttpRequest) -> HttpResponse:
        if "tcb" in request.path:
            asked.set()
            time.sleep(1.5)
        return simulated.services(request)

    with serve(tmp_path, *simulated.flags) as service:
        idle, wire = service.wire(), service.wire()
        assert idle.get(ROOT_CRL).status == 200
        simulated.answer = slow
        try:
            target = f"{V4}tcb?fmspc={simulated.world.platform().fmspc.hex()}"
            wire.send(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            assert asked.wait(20)
            service.tell(signal.SIGTERM)
            assert idle.ends()
            with pytest.raises(OSError, match=r"(?i)refused|reset|eof"):
                service.wire()
            answer = wire.read()
        finally:
            simulated.answer = simulated.services
        assert (answer.status, answer.field("Connection")) == (200, "close")
        assert service.process.wait(timeout=20) == 0


def test_tls_is_reloaded_without_losing_a_connection(tmp_path: Path, simulated: Intel) -> None:
    """SIGHUP: who is connected goes on, who comes is shown the new certificate."""
    with serve(tmp_path, *simulated.flags) as service:
        old = service.wire()
        old.get(ROOT_CRL)
        before = service.certificate.read_bytes()
        certificate, key = self_signed(at=datetime.now(UTC))
        service.certificate.write_bytes(certificate)
        (service.certificate.parent / "tls_key.pem").write_bytes(key)
        stop, failures = threading.Event(), []

        def keep_asking() -> None:
            while not stop.is_set():
                try:
                    if old.get(ROOT_CRL).status != 200:
                        failures.append("status")
                except (OSError, EOFError) as error:
                    failures.append(repr(error))
                    return

        asking = threading.Thread(target=keep_asking)
        asking.start()
        service.tell(signal.SIGHUP)
        assert until(lambda: "reloaded" in service.log)
        assert service.get(ROOT_CRL).status == 200  # verified against the new one
        time.sleep(0.2)
        stop.set()
        asking.join(timeout=10)
        assert failures == []
        service.certificate.write_bytes(before)
        with pytest.raises(ssl.SSLCertVerificationError):
            service.wire()


def test_a_certificate_that_does_not_fit_changes_nothing(tmp_path: Path, simulated: Intel) -> None:
    """SIGHUP with a broken pair: the old one stays in use, and the log says why."""
    with serve(tmp_path, *simulated.flags) as service:
        good = service.certificate.read_bytes()
        service.certificate.write_bytes(self_signed(at=datetime.now(UTC))[0])
        service.tell(signal.SIGHUP)
        assert until(lambda: "not reloaded" in service.log)
        assert "pccs-tls" in service.log
        service.certificate.write_bytes(good)
        assert service.get(ROOT_CRL).status == 200


def test_settings_are_reloaded(tmp_path: Path, simulated: Intel) -> None:
    """A file that changed counts after SIGHUP; what needs a restart is said, and left as it was."""
    file = tmp_path / "pccs.toml"
    file.write_text('mode = "lazy"\n')
    with serve(tmp_path, *simulated.flags, "--config", str(file)) as service:
        target = f"{V4}qe/identity"
        wire = service.wire()
        file.write_text('mode = "offline"\nworkers = 3\n')
        service.tell(signal.SIGHUP)
        assert until(lambda: "reloaded" in service.log)
        assert wire.get(target).status == 404
        assert json.loads(wire.get("/status.json").body)["mode"] == "OFFLINE"
        assert "needs a restart" in service.log
        file.write_text('mode = "lazy"\n')
        service.tell(signal.SIGHUP)
        assert until(lambda: service.log.count(" reloaded") == 2)
        assert wire.get(target).status == 200


def test_only_clients_with_a_certificate_come_in(tmp_path: Path, simulated: Intel) -> None:
    """With a client CA, without a certificate of it nobody is answered."""
    pair = _client_pair(tmp_path)
    with serve(tmp_path, *simulated.flags, "--client-ca", str(pair[0])) as service:
        wire = service.wire(pair=pair)
        assert wire.get(ROOT_CRL).status == 200
        with pytest.raises((OSError, EOFError)):
            service.get(ROOT_CRL)


def _client_pair(folder: Path) -> tuple[Path, Path]:
    """A client's certificate, which is its own issuer, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a client")])
    at = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(at - timedelta(hours=1))
        .not_valid_after(at + timedelta(hours=1))
        .sign(key, SHA256())
    )
    pair = folder / "client.pem", folder / "client.key"
    pair[0].write_bytes(certificate.public_bytes(Encoding.PEM))
    pair[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return pair


# Several workers


def test_several_workers_are_one_service(tmp_path: Path, simulated: Intel) -> None:
    """They share socket, store and counters; one that is killed is replaced; SIGTERM ends all."""
    with serve(tmp_path, *simulated.flags, "--workers", "2") as service:
        assert {service.get(ROOT_CRL).status for _ in range(20)} == {200}
        assert simulated.calls.count("/IntelSGXRootCA.der") >= 1
        children = _children(service.process.pid)
        assert len(children) == 2
        text = service.get("/metrics").body.decode()
        lines = dict(one.rsplit(" ", 1) for one in text.splitlines() if one[0] != "#")
        answered = lines["dcap_pccs_ready_answers_total"], lines["dcap_pccs_computed_answers_total"]
        assert sum(map(float, answered)) == 20
        os.kill(children[0], signal.SIGKILL)
        assert until(lambda: len(_children(service.process.pid)) == 2 and _fresh(service, children))
        assert service.get(ROOT_CRL).status == 200
        assert "worker ended" in service.log


def test_workers_do_not_outlive_who_watches_them(tmp_path: Path, simulated: Intel) -> None:
    """The first process is killed: the workers end by themselves, and the port is free."""
    with serve(tmp_path, *simulated.flags, "--workers", "2") as service:
        children = _children(service.process.pid)
        service.process.kill()
        service.process.wait(timeout=20)
        service.process.returncode = 0  # it was asked for
        gone = [Path(f"/proc/{child}/cmdline") for child in children]
        assert until(lambda: not any(one.exists() and one.read_bytes() for one in gone))
        assert until(lambda: _refuses(service))


def _refuses(service: Service) -> bool:
    try:
        service.wire()
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    return False


def _children(process: int) -> list[int]:
    listed = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return sorted(int(one) for one in listed)


def _fresh(service: Service, before: list[int]) -> bool:
    return bool(set(_children(service.process.pid)) - set(before))


# systemd


def test_systemd_is_told(tmp_path: Path, simulated: Intel) -> None:
    """READY once it answers, WATCHDOG while it lives, RELOADING and STOPPING when it does so."""
    place = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(place))
        listening.settimeout(20)
        environ = {"NOTIFY_SOCKET": str(place), "WATCHDOG_USEC": "600000"}
        heard: list[str] = []
        with serve(tmp_path, *simulated.flags, environ=environ) as service:
            heard += [listening.recv(200).decode(), listening.recv(200).decode()]
            service.tell(signal.SIGHUP)
            while not any(one.startswith("RELOADING") for one in heard):
                heard.append(listening.recv(200).decode())
        while "STOPPING=1" not in heard:
            heard.append(listening.recv(200).decode())
    assert heard[0] == "READY=1"
    assert "WATCHDOG=1" in heard
    reloading = next(one for one in heard if one.startswith("RELOADING"))
    assert "MONOTONIC_USEC=" in reloading
