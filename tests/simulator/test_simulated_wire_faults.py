"""Wire faults: each departs from the truth as its name says, and a client is not taken in by it."""

import base64
import http.client
import json
import ssl
import time
from pathlib import Path
from typing import Any

import pytest
from pcs_client import anchor, fetch_collateral, https, pck_cert_request

from dcap import FormatError, Policy, Unavailable, appraise
from dcap.api import pcs
from dcap.api.http import HttpRequest, HttpResponse
from dcap.api.pcs_responses import PckCertResponse, PckCertsResponse, PckCrlResponse
from dcap.api.thim import ThimPckCertRequest, ThimPckCertResponse
from dcap.formats.certificate import Certificate
from dcap.formats.crl import Crl
from dcap.serving import serving
from dcap.simulator import World, wire_faults
from dcap.simulator.services import Services, services
from dcap.simulator.tls import WRONG_NAMES, tls_files
from dcap.simulator.wire_faults import WIRE_FAULTS

ANY = Policy(identity="any")
#: A client that waits less than `slow` takes.
IMPATIENT = 0.4
#: Fault -> what a client sees of it that fetches all collateral: an error, or what the verifier
#: finds of each signed piece.
SEEN: dict[str, type[BaseException] | str] = {
    "slow": TimeoutError,
    "hanging": TimeoutError,
    "cut-off": http.client.IncompleteRead,
    "redirecting": Unavailable,
    "wrong-encoding": FormatError,
    "plus-for-space": FormatError,
    "missing-headers": FormatError,
    "oversized": "format",
    "throttling": Unavailable,
    "unavailable": Unavailable,
    "failing": Unavailable,
    "unauthorised": Unavailable,
    "clock-skewed": "validity-start",
    "wrong-certificate": ssl.SSLCertVerificationError,
    "poisoned": "signature",
    "empty": FormatError,
    "html-page": FormatError,
}


@pytest.fixture(scope="module")
def intel() -> World:
    """A world with one machine."""
    made = World("wire")
    made.platform()
    return made


@pytest.fixture
def genuine(intel: World) -> Services:
    """Its services, nothing wrong with them."""
    return services(intel)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where TLS files are put."""
    return tmp_path_factory.mktemp("tls")


def test_every_fault_is_told() -> None:
    """Every fault says in a sentence what departs from the truth, without words of Python."""
    assert set(SEEN) == set(WIRE_FAULTS)
    for fault in WIRE_FAULTS.values():
        sentence = (fault.__doc__ or "").partition("\n")[0]
        assert sentence.endswith(".")
        assert "`times`" not in sentence
        assert "tls." not in sentence


@pytest.mark.parametrize("name", WIRE_FAULTS)
def test_no_client_is_taken_in(intel: World, genuine: Services, directory: Path, name: str) -> None:
    """Over HTTPS each fault ends in the error it stands for, or in findings of the verifier."""
    names = WRONG_NAMES if name == "wrong-certificate" else ("127.0.0.1", "localhost")
    certificate, key, ca = tls_files(intel, directory, names=names)
    timeout = IMPATIENT if name in ("slow", "hanging") else 10
    seen = SEEN[name]
    machine = intel.platform()
    with serving(WIRE_FAULTS[name](genuine), tls=(certificate, key)) as server:
        send = https(server.url, ca, timeout=timeout)
        if not isinstance(seen, str):
            with pytest.raises(seen):
                fetch_collateral(send, machine)
            return
        fetched = fetch_collateral(send, machine)
    judged = appraise(machine.quote(), fetched, ANY, at=intel.at, anchor=anchor(intel))
    assert not judged.accepted
    pieces = ("root-ca-crl", "pck-crl", "tcb-info", "qe-identity")
    assert [finding.code for finding in judged.failures] == [f"{piece}-{seen}" for piece in pieces]


def test_slow_answers_come_in_the_end(intel: World, genuine: Services, directory: Path) -> None:
    """Who waits long enough gets the genuine answer, without a trace of the order to the server."""
    certificate, key, ca = tls_files(intel, directory)
    asked = pcs.IdentityRequest(name="QE").to_http()
    faulty = wire_faults.slow(genuine, seconds=0.3)
    with serving(faulty, tls=(certificate, key)) as server:
        began = time.monotonic()
        answer = https(server.url, ca)(asked)
        took = time.monotonic() - began
    assert took >= 0.3
    assert answer.body == genuine(asked).body
    assert not [name for name, _ in answer.headers if name.lower().startswith("x-dcap")]


@pytest.mark.parametrize(
    ("fault", "status", "wait"),
    [
        (wire_faults.throttling, 429, "30"),
        (wire_faults.unavailable, 503, None),
        (wire_faults.failing, 500, None),
    ],
)
def test_a_service_recovers(genuine: Services, fault: Any, status: int, wait: str | None) -> None:
    """For so many requests it refuses, with the status it stands for; then it answers."""
    asked = pcs.IdentityRequest(name="QE").to_http()
    faulty = fault(genuine, times=2)
    answers = [faulty(asked) for _ in range(3)]
    assert [one.status for one in answers] == [status, status, 200]
    assert answers[0].header("Retry-After") == wait
    assert answers[2] == genuine(asked)


def test_poisoned_documents_differ_in_the_signature_alone(genuine: Services) -> None:
    """The document and all headers are genuine; only the signature is a stranger's."""
    asked = pcs.IdentityRequest(name="QE").to_http()
    true, false = genuine(asked), wire_faults.poisoned(genuine)(asked)
    assert false.headers == true.headers
    first, second = json.loads(true.body), json.loads(false.body)
    assert first["enclaveIdentity"] == second["enclaveIdentity"]
    assert first["signature"] != second["signature"]
    assert len(false.body) == len(true.body)


def test_without_a_right_key_there_is_nothing(genuine: Services) -> None:
    """Unauthorised: 401 for what everybody may ask, and whatever key is sent."""
    for key in (None, "whatever"):
        asked = pcs.IdentityRequest(name="QE", api_key=key).to_http()
        assert wire_faults.unauthorised(genuine)(asked).status == 401


@pytest.mark.parametrize("encoding", ["pem", "der"])
def test_poisoned_lists(genuine: Services, encoding: str) -> None:
    """A revocation list keeps its content and encoding and gets another signature."""
    asked = pcs.PckCrlRequest(ca="platform", encoding=encoding).to_http()
    true, false = genuine(asked), wire_faults.poisoned(genuine)(asked)
    assert (b"-----BEGIN" in true.body) == (b"-----BEGIN" in false.body) == (encoding == "pem")
    true_list = Crl.parse(PckCrlResponse.from_http(true).crl)
    false_list = Crl.parse(PckCrlResponse.from_http(false).crl)
    assert true_list.tbs == false_list.tbs
    assert true_list.signature != false_list.signature


def test_poisoned_hex_lists(genuine: Services) -> None:
    """A list in a PCCS's hex is poisoned as well."""
    asked = HttpRequest(target="/alibaba/sgx/certification/v4/rootcacrl")
    true, false = genuine(asked), wire_faults.poisoned(genuine)(asked)
    assert Crl.parse(true.body).tbs == Crl.parse(false.body).tbs
    assert Crl.parse(true.body).signature != Crl.parse(false.body).signature


def test_poisoned_certificates(intel: World, genuine: Services) -> None:
    """Every certificate keeps its content and gets another signature: one, all, and Azure's JSON."""
    machine = intel.platform()
    machine.set_status("SWHardeningNeeded")
    poisoned = wire_faults.poisoned(genuine)
    one = pck_cert_request(machine).to_http()
    everything = pcs.PckCertsRequest(
        pce_id=machine.pce_id, encrypted_ppid=machine.encrypted_ppid
    ).to_http()
    azure = ThimPckCertRequest(
        qe_id=machine.qe_id, cpu_svn=machine.cpu_svn, pce_svn=13, pce_id=machine.pce_id
    ).to_http("/thim/sgx/certification")
    for asked, read in ((one, _one), (everything, _all), (azure, _azure)):
        true, false = read(genuine(asked)), read(poisoned(asked))
        assert [c.tbs for c in true] == [c.tbs for c in false]
        assert all(t.signature != f.signature for t, f in zip(true, false, strict=True))
        assert true
    machine.set_status("UpToDate")


def _one(answer: HttpResponse) -> list[Certificate]:
    return list(Certificate.parse_chain(PckCertResponse.from_http(answer).certificate))


def _all(answer: HttpResponse) -> list[Certificate]:
    entries = PckCertsResponse.from_http(answer).entries
    assert [entry.certificate for entry in entries if entry.certificate is None]
    return [Certificate.parse_chain(e.certificate)[0] for e in entries if e.certificate]


def _azure(answer: HttpResponse) -> list[Certificate]:
    return list(Certificate.parse_chain(ThimPckCertResponse.from_http(answer).certificate))


def test_clock_skew_shows_in_the_date(genuine: Services) -> None:
    """The service's `Date` is a year ahead, and so is what it issues."""
    asked = pcs.IdentityRequest(name="QE").to_http()
    answer = wire_faults.clock_skewed(genuine)(asked)
    assert answer.header("Date") == "Fri, 01 Jan 2027 12:00:00 GMT"
    assert b'"issueDate":"2027-01-01T00:00:00Z"' in answer.body
    assert genuine(asked).header("Date") is None


def test_wrong_encodings_hold_the_genuine_content(genuine: Services) -> None:
    """JSON comes in UTF-16 and a list in base64 without armour: the content is there, unreadable."""
    document = pcs.IdentityRequest(name="QE").to_http()
    crl = pcs.PckCrlRequest(ca="platform", encoding="der").to_http()
    faulty = wire_faults.wrong_encoding(genuine)
    assert faulty(document).body.decode("utf-16").encode() == genuine(document).body
    assert base64.b64decode(faulty(crl).body) == genuine(crl).body


def test_oversized_is_too_much_for_every_reader(genuine: Services) -> None:
    """The body begins as the genuine one and goes on for megabytes."""
    asked = pcs.IdentityRequest(name="QE").to_http()
    answer = wire_faults.oversized(genuine)(asked)
    assert answer.body.startswith(genuine(asked).body)
    assert len(answer.body) > 16 * 1024 * 1024


@pytest.mark.parametrize("name", WIRE_FAULTS)
def test_refusals_pass_through_every_fault(genuine: Services, name: str) -> None:
    """A fault over an answer that has no body does not break."""
    answer = WIRE_FAULTS[name](genuine)(HttpRequest(target="/nowhere"))
    assert answer.status in (200, 302, 401, 404, 429, 500, 503)
