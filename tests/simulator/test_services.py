"""All services behind one origin: who answers, and what is written down of it."""

import pytest
from pcs_client import pck_cert_request

from dcap.api.http import HttpRequest
from dcap.simulator import World
from dcap.simulator.services import ELSEWHERE, Logged, services


def test_the_log_holds_no_identifiers() -> None:
    """Method, path and status of each request, and nothing that identifies a machine."""
    intel = World("log")
    machine = intel.platform()
    send = services(intel)
    send(pck_cert_request(machine).to_http())
    send(HttpRequest(target="/IntelSGXRootCA.der"))
    send(HttpRequest(target=f"/sgx/certification/v4/{machine.ppid.hex()}"))
    send(HttpRequest(target=f"/{machine.ppid.hex()}"))
    assert list(send.log) == [
        Logged("GET", "/sgx/certification/v4/pckcert", 200),
        Logged("GET", "/IntelSGXRootCA.der", 200),
        Logged("GET", ELSEWHERE, 404),
        Logged("GET", ELSEWHERE, 404),
    ]


@pytest.mark.parametrize(
    "path",
    [
        "/sgx/certification/v4/qe/identity",
        "/tdx/certification/v4/qe/identity",
        "/IntelSGXRootCA.der",
        "/thim/sgx/certification/v4/qe/identity",
        "/thim/tdx/certification/v4/qe/identity",
        "/metadata/instance?api-version=2021-02-01",
        "/alibaba/sgx/certification/v4/rootcacrl",
        "/alibaba/tdx/certification/v4/qe/identity",
    ],
)
def test_each_service_answers_below_its_prefix(path: str) -> None:
    """The beginning of the path tells the service."""
    asked = HttpRequest(target=path, headers=(("Metadata", "true"),))
    assert services(World("log"))(asked).status == 200


@pytest.mark.parametrize(
    "path",
    [
        "/metadata/THIM/sgx/certification/v4/qe/identity",
        "/metadata/instances?api-version=2021-02-01",
        "/metadata/instance/compute?api-version=2021-02-01",
        "/alibaba/IntelSGXRootCA.der",
        "/thim",
        "/thimble/sgx/certification/v4/qe/identity",
        "/sgx/certification/v4/../v4/qe/identity",
    ],
)
def test_nothing_answers_elsewhere(path: str) -> None:
    """A service has its own routes and no other's; a 404 has its `Request-ID` all the same."""
    answer = services(World("log"))(HttpRequest(target=path))
    assert answer.status == 404
    assert answer.header("Request-ID")
