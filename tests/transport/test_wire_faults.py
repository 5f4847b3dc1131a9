"""The simulator's wire faults over real HTTPS: what the network itself makes of each."""

from pathlib import Path

import pytest

from dcap.api.http import HttpRequest
from dcap.errors import Unavailable
from dcap.serving import serving
from dcap.simulator import World
from dcap.simulator.services import services
from dcap.simulator.tls import WRONG_NAMES, tls_files
from dcap.simulator.wire_faults import WIRE_FAULTS
from dcap.transport import Limits, Network

ASKED = HttpRequest(target="/sgx/certification/v4/qe/identity?update=standard")
LIMITS = Limits(read=4, total=6, attempts=2)
#: Who is silent for good is as silent after a second; the others may be slow on a busy machine.
LIMITS_OF = {"hanging": Limits(read=0.8, total=1.2, attempts=2)}
#: What is not an answer has a code; what is one has a status, and is for the service's reader.
OUTCOMES: dict[str, str | int] = {
    "hanging": "network-timeout",
    "cut-off": "network-cut-off",
    "redirecting": "network-redirect",
    "oversized": "network-too-large",
    "wrong-certificate": "network-certificate",
    "throttling": 429,
    "unavailable": 503,
    "failing": 500,
    "unauthorised": 401,
}


@pytest.fixture(scope="module")
def intel() -> World:
    """A world with one machine."""
    made = World("transport")
    made.platform()
    return made


@pytest.mark.parametrize("fault", WIRE_FAULTS)
def test_a_wire_fault_is_a_code_or_an_answer(fault: str, intel: World, tmp_path: Path) -> None:
    """Faults of the way are errors of the network; all else is handed on as it came."""
    faulty = WIRE_FAULTS[fault](services(intel))
    names = WRONG_NAMES if fault == "wrong-certificate" else ("127.0.0.1",)
    certificate, key, ca = tls_files(intel, tmp_path, names=names)
    expected = OUTCOMES.get(fault, 200)
    with (
        serving(faulty, tls=(certificate, key)) as server,
        Network(ca=ca, environ={}, limits=LIMITS_OF.get(fault, LIMITS)) as network,
    ):
        handler = network.handler(server.url)
        if isinstance(expected, str):
            with pytest.raises(Unavailable) as caught:
                handler(ASKED)
            assert caught.value.code == expected
        else:
            assert handler(ASKED).status == expected


def test_what_arrives_is_what_the_service_answers(intel: World, tmp_path: Path) -> None:
    """Status, headers in their order and case, and body, over HTTPS as without a socket."""
    certificate, key, ca = tls_files(intel, tmp_path)
    answer = services(intel)(ASKED)
    with (
        serving(services(intel), tls=(certificate, key)) as server,
        Network(ca=ca, environ={}) as network,
    ):
        arrived = network.handler(server.url)(ASKED)
    assert (arrived.status, arrived.body) == (answer.status, answer.body)
    assert arrived.headers[: len(answer.headers)] == answer.headers
