"""An internet in a box: real host names, asked through the proxy, are the simulated services."""

import http.client
import json
import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import urllib3

from dcap.api.http import HttpRequest
from dcap.simulator import World
from dcap.simulator.internet import Asked, Internet, internet
from dcap.simulator.services import services
from dcap.simulator.thim import LOCATION
from dcap.simulator.tls import WRONG_NAMES
from dcap.simulator.wire_faults import WIRE_FAULTS

NEED_CURL = pytest.mark.skipif(shutil.which("curl") is None, reason="no curl on this machine")
IDENTITY = "/sgx/certification/v4/qe/identity"
#: A URL as it is in the world outside -> what `services` calls it.
PLACES = {
    f"https://api.trustedservices.intel.com{IDENTITY}": IDENTITY,
    "https://api.trustedservices.intel.com/tdx/certification/v4/tcb?fmspc=90C0A5000000": (
        "/tdx/certification/v4/tcb?fmspc=90C0A5000000"
    ),
    "https://api.trustedservices.intel.com:443/sgx/certification/v4/fmspcs": (
        "/sgx/certification/v4/fmspcs"
    ),
    "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der": "/IntelSGXRootCA.der",
    f"https://global.acccache.azure.net{IDENTITY}": f"/thim{IDENTITY}",
    "https://westeurope.thim.azure.net/tdx/certification/v4/qe/identity": (
        "/thim/tdx/certification/v4/qe/identity"
    ),
    f"https://sgx-dcap-server.cn-hangzhou.aliyuncs.com{IDENTITY}": f"/alibaba{IDENTITY}",
    "https://sgx-dcap-server-vpc.cn-hangzhou.aliyuncs.com/sgx/certification/v4/rootcacrl": (
        "/alibaba/sgx/certification/v4/rootcacrl"
    ),
}


@pytest.fixture(scope="module")
def intel() -> World:
    """A world with one machine."""
    made = World("internet")
    made.platform()
    return made


@pytest.fixture
def box(intel: World, tmp_path: Path) -> Iterator[Internet]:
    """Its services under their real names."""
    with internet(services(intel), intel, tmp_path) as running:
        yield running


def ask(box: Internet, url: str, method: str = "GET", **headers: str) -> urllib3.BaseHTTPResponse:
    """Ask a URL through the proxy, TLS verified."""
    context = ssl.create_default_context(cafile=box.ca_pem)
    with urllib3.ProxyManager(
        box.proxy_url, ssl_context=context, timeout=20, retries=False
    ) as pool:
        return pool.request(method, url, headers=headers or None, redirect=False)


def curl(box: Internet, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Run curl as a user would, through the proxy."""
    return subprocess.run(
        ["curl", "-sS", "-x", box.proxy_url, "--noproxy", "", "--cacert", box.ca_pem, *arguments],
        capture_output=True,
        check=False,
        timeout=30,
    )


@pytest.mark.parametrize("url", PLACES)
def test_a_real_url_leads_to_the_simulated_service(intel: World, box: Internet, url: str) -> None:
    """Status, body and headers are those of the simulated service, under a certificate of the host."""
    answer = ask(box, url)
    expected = services(intel)(HttpRequest(target=PLACES[url]))
    assert (answer.status, answer.data) == (200, expected.body)
    for name, value in expected.headers:
        if name != "Request-ID":
            assert answer.headers[name] == value


def test_a_vm_asks_its_host(intel: World, box: Internet) -> None:
    """Plain HTTP to 169.254.169.254: the region of the VM, and PCK certificates, with `metadata`."""
    region = "http://169.254.169.254/metadata/instance?api-version=2021-02-01"
    assert json.loads(ask(box, region, metadata="true").data) == {"compute": {"location": LOCATION}}
    assert ask(box, region).status == 400
    machine = intel.platform()
    query = (
        f"qeid={machine.qe_id.hex()}&cpusvn={machine.cpu_svn.hex()}&pcesvn=0d00&pceid=0000"
        "&api-version=2021-07-22-preview"
    )
    url = f"http://169.254.169.254/metadata/THIM/sgx/certification/v4/pckcert?{query}"
    assert json.loads(ask(box, url, metadata="true").data)["pckCert"].startswith("-----BEGIN")


def test_a_machine_registers_under_the_real_name(intel: World, box: Internet) -> None:
    """The registration service is on Intel's API host; bodies arrive whole."""
    context = ssl.create_default_context(cafile=box.ca_pem)
    with urllib3.ProxyManager(box.proxy_url, ssl_context=context) as pool:
        answer = pool.request(
            "POST",
            "https://api.trustedservices.intel.com/sgx/registration/v1/platform",
            body=intel.platform().manifest,
            headers={"Content-Type": "application/octet-stream"},
        )
    assert answer.status == 201


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/",
        f"https://api.trustedservices.intel.com.example.com{IDENTITY}",
        f"https://sgx-dcap-server.aliyuncs.com{IDENTITY}",
        f"https://a.b.thim.azure.net{IDENTITY}",
        f"https://api.trustedservices.intel.com:8443{IDENTITY}",
        "https://169.254.169.254/metadata/instance",
        "https://127.0.0.1/",
    ],
)
def test_no_other_host_is_there(box: Internet, url: str) -> None:
    """A tunnel to any other host or port is refused with 502: nothing leaves the machine."""
    with pytest.raises(urllib3.exceptions.ProxyError, match="502"):
        ask(box, url)
    assert [asked.method for asked in box.log] == ["CONNECT"]


@pytest.mark.parametrize(
    ("url", "status"),
    [
        ("http://example.com/", 502),
        (f"http://api.trustedservices.intel.com{IDENTITY}", 502),
        ("http://169.254.169.254:8080/metadata/instance", 502),
        ("http://169.254.169.254/latest/meta-data/", 404),
    ],
)
def test_plain_http_leads_to_the_metadata_service_alone(
    box: Internet, url: str, status: int
) -> None:
    """Without TLS there is the host of a VM, with the paths it has."""
    assert ask(box, url).status == status


@pytest.mark.parametrize(
    "url",
    [
        f"https://api.trustedservices.intel.com/thim{IDENTITY}",
        "https://api.trustedservices.intel.com/IntelSGXRootCA.der",
        f"https://certificates.trustedservices.intel.com{IDENTITY}",
        f"https://global.acccache.azure.net/alibaba{IDENTITY}",
        "https://westeurope.thim.azure.net/",
    ],
)
def test_a_host_has_its_own_paths_and_no_others(box: Internet, url: str) -> None:
    """What is one origin on loopback is told apart by host here."""
    assert ask(box, url).status == 404


def test_every_host_shows_a_certificate_of_its_own(box: Internet) -> None:
    """The certificate names the very host that was asked for, and is the same each time."""
    seen = {}
    for host in ("api.trustedservices.intel.com", "westeurope.thim.azure.net") * 2:
        context = ssl.create_default_context(cafile=box.ca_pem)
        port = int(box.proxy_url.rpartition(":")[2])
        connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=10, context=context)
        connection.set_tunnel(host, 443)
        connection.connect()
        assert connection.sock.getpeercert()["subjectAltName"] == (("DNS", host),)
        certificate = connection.sock.getpeercert(binary_form=True)
        assert seen.setdefault(host, certificate) == certificate
        connection.close()
    assert len(set(seen.values())) == 2
    assert list(box.ca_pem.parent.iterdir()) == [box.ca_pem]


def test_a_tunnel_serves_many_requests(box: Internet) -> None:
    """A connection is kept inside the tunnel."""
    context = ssl.create_default_context(cafile=box.ca_pem)
    port = int(box.proxy_url.rpartition(":")[2])
    connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=10, context=context)
    connection.set_tunnel("api.trustedservices.intel.com")
    for _ in range(3):
        connection.request("GET", IDENTITY)
        assert connection.getresponse().read()
    connection.close()
    assert [asked.target for asked in box.log] == [IDENTITY] * 3


def test_the_log_has_requests_as_they_came(box: Internet) -> None:
    """Method, scheme, host, target and headers of every request, refused tunnels too."""
    url = f"https://api.trustedservices.intel.com{IDENTITY}"
    ask(box, f"{url}?update=early", Accept="x/y")
    ask(box, "http://169.254.169.254/metadata/instance?api-version=1", metadata="true")
    with pytest.raises(urllib3.exceptions.ProxyError):
        ask(box, "https://example.com/")
    first, second, third = box.log
    assert (first.method, first.scheme) == ("GET", "https")
    assert (first.host, first.target) == (
        "api.trustedservices.intel.com",
        f"{IDENTITY}?update=early",
    )
    assert ("Accept", "x/y") in first.headers
    assert second.scheme == "http"
    assert second.target == "/metadata/instance?api-version=1"
    assert third == Asked("CONNECT", "https", "example.com", "", ())


def test_faults_of_the_wire_reach_the_real_names(intel: World, tmp_path: Path) -> None:
    """Whatever handler is given answers, faulty ones too."""
    faulty = WIRE_FAULTS["unavailable"](services(intel))
    with internet(faulty, intel, tmp_path) as box:
        assert ask(box, f"https://api.trustedservices.intel.com{IDENTITY}").status == 503


def test_a_certificate_of_another_host_is_refused(intel: World, tmp_path: Path) -> None:
    """With the names of another host on every certificate, the check of the name fails."""
    refused = pytest.raises(urllib3.exceptions.SSLError, match="mismatch")
    with internet(services(intel), intel, tmp_path, names=WRONG_NAMES) as box, refused:
        ask(box, f"https://api.trustedservices.intel.com{IDENTITY}")


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"GET / HTTP/1.1", b"400"),
        (b"GET ftp://api.trustedservices.intel.com/ HTTP/1.1", b"400"),
        (b"GET http://[/ HTTP/1.1", b"400"),
        (b"GET http://169.254.169.254:99999/ HTTP/1.1", b"400"),
        (b"CONNECT api.trustedservices.intel.com HTTP/1.1", b"200"),
        (b"CONNECT API.trustedservices.INTEL.com:443 HTTP/1.0", b"200"),
        (b"CONNECT /path HTTP/1.1", b"502"),
        (b"CONNECT host:port HTTP/1.1", b"502"),
        (b"CONNECT [::1:443 HTTP/1.1", b"502"),
    ],
)
def test_odd_request_lines_are_answered(box: Internet, line: bytes, status: bytes) -> None:
    """What is no absolute target is 400, no such tunnel 502; a host's name is of any case."""
    port = int(box.proxy_url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.sendall(line + b"\r\n\r\n")
        assert client.recv(4096).split()[1] == status


def test_a_client_that_takes_its_proxy_from_the_environment(box: Internet) -> None:
    """`environment` has all that a client of the standard library needs, in a process of its own."""
    code = (
        "import urllib.request as r\n"
        f"print(r.urlopen('https://api.trustedservices.intel.com{IDENTITY}').status)\n"
        "q = r.Request('http://169.254.169.254/metadata/instance?api-version=1')\n"
        "q.add_header('metadata', 'true')\n"
        "print(r.urlopen(q).read())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=box.environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.stdout.startswith("200\n"), done.stderr
    assert LOCATION in done.stdout


@NEED_CURL
def test_curl_asks_intel_by_name(intel: World, box: Internet) -> None:
    """`curl -x PROXY --cacert tls_ca.pem https://api.trustedservices.intel.com/…` has the answer."""
    done = curl(box, f"https://api.trustedservices.intel.com{IDENTITY}")
    assert done.returncode == 0, done.stderr
    assert done.stdout == services(intel)(HttpRequest(target=IDENTITY)).body
    elsewhere = curl(box, "https://example.com/")
    assert elsewhere.returncode != 0
    assert b"502" in elsewhere.stderr
