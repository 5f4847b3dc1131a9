"""The line to one upstream: what makes a host rest, and what does not."""

import pytest

from dcap.api.http import HttpRequest, HttpResponse
from dcap.errors import Unavailable
from dcap.pccs.circuit import FAILURES, Circuit

HOST = "https://upstream.example"


def line(status: int) -> Circuit:
    """A circuit to a host that answers everything but /well with this status."""

    def host(request: HttpRequest) -> HttpResponse:
        return HttpResponse(status=200 if request.path == "/well" else status)

    return Circuit("upstream", lambda _origin: host)


@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_host_that_is_down_rests(status: int) -> None:
    """After five failures in a row nothing is sent there for a while."""
    ask = line(status).connect(HOST)
    for _ in range(FAILURES):
        assert ask(HttpRequest(target="/ill")).status == status
    with pytest.raises(Unavailable) as refused:
        ask(HttpRequest(target="/well"))
    assert refused.value.code in ("upstream-resting", "upstream-throttled")


def test_one_thing_that_fails_hurts_no_other() -> None:
    """A service that has an error of its own with one FMSPC is asked for the others."""
    circuit = line(500)
    ask = circuit.connect(HOST)
    for _ in range(2 * FAILURES):
        assert ask(HttpRequest(target="/ill")).status == 500
    assert ask(HttpRequest(target="/well")).status == 200
    (health,) = circuit.health()
    assert (health.state, health.failures) == ("closed", 2 * FAILURES)
