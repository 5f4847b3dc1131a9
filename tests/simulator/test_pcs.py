"""The simulated PCS: every route and status, and collateral that the verifier accepts."""

import json
from datetime import timedelta

import pytest
from pcs_client import anchor, fetch_collateral, pck_cert_request

from dcap import NotFound, Policy, Unavailable, appraise
from dcap.api import pcs as api
from dcap.api.http import Handler, HttpRequest
from dcap.api.pcs_responses import (
    FmspcsResponse,
    PckCertResponse,
    PckCertsResponse,
    PckCrlResponse,
    SignedResponse,
)
from dcap.formats.certificate import Certificate
from dcap.formats.tcb_evaluation_numbers import TcbEvaluationNumbers
from dcap.simulator import World
from dcap.simulator.events import (
    EvaluationNumberRetired,
    PlatformReregistered,
    RecoveryAnnounced,
    RecoveryPromoted,
)
from dcap.simulator.pcs import CLOCK_OFFSET
from dcap.simulator.services import services
from dcap.simulator.tcb_model import PCE_SVN, PLATFORM_LADDER

ANY = Policy(identity="any")
FIRST = 17


@pytest.fixture
def intel() -> World:
    """A world with one machine of each CA."""
    made = World("pcs tests")
    made.platform("multi")
    made.platform("single", ca="processor")
    return made


@pytest.fixture
def send(intel: World) -> Handler:
    """Its services."""
    return services(intel)


# Collateral


@pytest.mark.parametrize(("name", "tee"), [("multi", "SGX"), ("multi", "TDX"), ("single", "SGX")])
def test_fetched_collateral_is_the_worlds_and_accepted(
    intel: World, send: Handler, name: str, tee: str
) -> None:
    """Fetched piece by piece it is what the world says, and the verifier accepts a quote with it."""
    machine = intel.platform(name)
    fetched = fetch_collateral(send, machine, tee)
    assert fetched == intel.collateral(machine, tee)
    quote = machine.quote(b"nonce", tee=tee)
    judged = appraise(quote, fetched, ANY, at=intel.at, anchor=anchor(intel))
    assert judged.accepted
    assert judged.tcb_status == "UpToDate"


def test_version_three_answers_with_version_two_documents(intel: World, send: Handler) -> None:
    """v3 serves TCB info version 2, under its own chain header, with a warning."""
    machine = intel.platform("multi")
    fetched = fetch_collateral(send, machine, version=3)
    assert fetched == intel.collateral(machine, tcb_info_version=2)
    judged = appraise(machine.quote(), fetched, ANY, at=intel.at, anchor=anchor(intel))
    assert judged.accepted
    answer = send(api.TcbInfoRequest(fmspc=machine.fmspc, version=3).to_http())
    assert answer.header("SGX-TCB-Info-Issuer-Chain")
    assert answer.header("TCB-Info-Issuer-Chain") is None
    assert (answer.header("Warning") or "").startswith("299 ")


def test_early_and_standard(intel: World, send: Handler) -> None:
    """Between announcement and promotion, early collateral finds a machine out of date, standard not."""
    machine = intel.platform("multi")
    quote = machine.quote()
    RecoveryAnnounced().apply(intel)
    verdicts = {
        update: appraise(
            quote,
            fetch_collateral(send, machine, update=update),
            ANY,
            at=intel.at,
            anchor=anchor(intel),
        ).tcb_status
        for update in ("standard", "early", None)
    }
    assert verdicts == {"standard": "UpToDate", "early": "OutOfDate", None: "UpToDate"}


def test_collateral_by_number(intel: World, send: Handler) -> None:
    """An evaluation number gives that generation, whatever is standard."""
    machine = intel.platform("multi")
    RecoveryAnnounced().apply(intel)
    for number in (FIRST, FIRST + 1):
        fetched = fetch_collateral(send, machine, number=number)
        assert fetched == intel.collateral(machine, number=number)


def test_time_passes(intel: World, send: Handler) -> None:
    """Tomorrow the documents are new and say so."""
    machine = intel.platform("multi")
    today = fetch_collateral(send, machine)
    intel.advance(timedelta(days=1))
    tomorrow = fetch_collateral(send, machine)
    assert tomorrow == intel.collateral(machine)
    assert tomorrow.tcb_info != today.tcb_info
    assert tomorrow.pck_crl != today.pck_crl


def test_answers_are_deterministic() -> None:
    """Two worlds of one seed and clock answer the same bytes, `Request-ID` included."""
    answers = []
    for _ in range(2):
        made = World("the same")
        machine = made.platform()
        send = services(made)
        asked = (
            pck_cert_request(machine),
            api.TcbInfoRequest(fmspc=machine.fmspc, tee="tdx"),
            api.IdentityRequest(name="QVE"),
            api.PckCrlRequest(ca="platform"),
        )
        answers.append([send(one.to_http()) for one in asked])
    assert answers[0] == answers[1]
    assert [one.status for one in answers[0]] == [200] * 4


def test_request_ids_differ(intel: World, send: Handler) -> None:
    """Each request has an id of its own; the same request at another time has another one."""
    asked = [api.IdentityRequest(name=name).to_http() for name in ("QE", "QVE")]
    ids = {send(one).header("Request-ID") for one in asked}
    intel.advance(timedelta(seconds=1))
    ids |= {send(one).header("Request-ID") for one in asked}
    assert len(ids) == 4


# PCK certificates


@pytest.mark.parametrize("status", [rung.status for rung in PLATFORM_LADDER])
@pytest.mark.parametrize("name", ["multi", "single"])
def test_the_certificate_is_the_one_that_quotes_are_made_with(
    intel: World, send: Handler, name: str, status: str
) -> None:
    """On every rung, selection by raw TCB leads to the certificate of the machine's quotes."""
    machine = intel.platform(name)
    machine.set_status(status)
    answer = send(pck_cert_request(machine).to_http())
    found = PckCertResponse.from_http(answer)
    assert found.certificate + found.issuer_chain == machine.pck_chain()
    assert found.tcbm == machine.cpu_svn + PCE_SVN.to_bytes(2, "little")
    assert (found.fmspc, found.ca) == (machine.fmspc, machine.ca)


def test_a_machine_below_every_level_has_a_certificate(intel: World, send: Handler) -> None:
    """A TCB that is not supported is found out by the verifier, not hidden by a 404."""
    machine = intel.platform("multi")
    machine.set_status("TCB_NOT_SUPPORTED")
    found = PckCertResponse.from_http(send(pck_cert_request(machine).to_http()))
    assert found.certificate == machine.pck().pem


def test_a_raw_tcb_between_rungs_gets_the_rung_below(intel: World, send: Handler) -> None:
    """A raw TCB above a level and below the next one is certified as the level."""
    machine = intel.platform("multi")
    svns = bytearray(machine.cpu_svn)
    svns[15] = 200
    found = PckCertResponse.from_http(
        send(pck_cert_request(machine, cpu_svn=bytes(svns)).to_http())
    )
    assert found.certificate == machine.pck().pem


def test_by_manifest(intel: World, send: Handler) -> None:
    """A multi-package machine is found by its manifest as well."""
    machine = intel.platform("multi")
    asked = pck_cert_request(machine, encrypted_ppid=None, platform_manifest=machine.manifest)
    found = PckCertResponse.from_http(send(asked.to_http()))
    assert found.certificate == machine.pck().pem


def test_all_certificates_with_those_not_available(intel: World, send: Handler) -> None:
    """One entry for each level; those above the machine's TCB are not available."""
    machine = intel.platform("multi")
    machine.set_status("OutOfDate")
    asked = api.PckCertsRequest(pce_id=machine.pce_id, encrypted_ppid=machine.encrypted_ppid)
    answer = send(asked.to_http())
    found = PckCertsResponse.from_http(answer)
    available = [entry.certificate is not None for entry in found.entries]
    assert len(available) == len(PLATFORM_LADDER)
    assert available == [rung.svn <= machine.svn for rung in PLATFORM_LADDER]
    assert b'"Not available"' in answer.body
    certificates = [one.certificate for one in found.entries if one.certificate]
    assert machine.pck().pem in certificates
    assert len(set(certificates)) == len(certificates)


def test_all_certificates_by_manifest_are_the_same(intel: World, send: Handler) -> None:
    """However a machine is named, its certificates are its own."""
    machine = intel.platform("multi")
    by = [
        {"encrypted_ppid": machine.encrypted_ppid},
        {"platform_manifest": machine.manifest},
    ]
    first, second = (
        send(api.PckCertsRequest(pce_id=machine.pce_id, **one).to_http()).body for one in by
    )
    assert first == second


def test_certificates_of_one_configuration(intel: World, send: Handler) -> None:
    """With a CPUSVN, only what that CPUSVN leads to."""
    machine = intel.platform("multi")
    asked = api.PckCertsRequest(
        pce_id=machine.pce_id, encrypted_ppid=machine.encrypted_ppid, cpu_svn=machine.cpu_svn
    )
    found = PckCertsResponse.from_http(send(asked.to_http()))
    assert [entry.components for entry in found.entries] == [machine.cpu_svn]
    assert found.entries[0].certificate == machine.pck().pem


NOT_FOUND = {
    "all-zero PPID": {"encrypted_ppid": bytes(384)},
    "PPID that cannot be decrypted": {"encrypted_ppid": b"\x01" * 384},
    "PPID of another world": {"encrypted_ppid": World("elsewhere").platform().encrypted_ppid},
    "PCEID that the machine has not": {"pce_id": b"\x01\x00"},
    "CPUSVN below the lowest": {"cpu_svn": bytes(16)},
    "PCESVN below the lowest": {"pce_svn": PCE_SVN - 1},
}


@pytest.mark.parametrize("changed", NOT_FOUND.values(), ids=NOT_FOUND.keys())
def test_no_certificate_is_404(intel: World, send: Handler, changed: dict[str, object]) -> None:
    """Whatever Intel cannot find a certificate for is 404, without a word why."""
    answer = send(pck_cert_request(intel.platform("multi"), **changed).to_http())
    assert (answer.status, answer.body) == (404, b"")
    assert answer.header("Request-ID")


@pytest.mark.parametrize("attribute", ["registered", "cached_keys"])
def test_machines_whose_keys_intel_has_not(intel: World, send: Handler, attribute: str) -> None:
    """Not registered, or registered indirectly: 404 by PPID, found by manifest."""
    machine = intel.platform("multi")
    setattr(machine, attribute, False)
    by_manifest = pck_cert_request(machine, encrypted_ppid=None, platform_manifest=machine.manifest)
    assert send(pck_cert_request(machine).to_http()).status == 404
    assert send(by_manifest.to_http()).status == 200


def test_single_package_machines_need_no_registration(intel: World, send: Handler) -> None:
    """A machine of one package is known from the factory."""
    machine = intel.platform("single")
    machine.registered = False
    assert send(pck_cert_request(machine).to_http()).status == 200


def test_an_old_manifest_is_refused(intel: World, send: Handler) -> None:
    """After a change of package the manifest of before is 400, and says so in `Error-Code`."""
    machine = intel.platform("multi")
    old = pck_cert_request(machine, encrypted_ppid=None, platform_manifest=machine.manifest)
    PlatformReregistered("multi").apply(intel)
    answer = send(old.to_http())
    assert answer.status == 400
    assert answer.header("Error-Code") == "InvalidPlatformManifest"


@pytest.mark.parametrize(("key", "status"), [(None, 401), ("wrong", 401), ("right", 200)])
def test_a_key_where_one_is_required(intel: World, key: str | None, status: int) -> None:
    """With a key required, PCK certificates are for its holder; public collateral is for all."""
    machine = intel.platform("multi")
    send = services(intel, api_key="right")
    assert send(pck_cert_request(machine, api_key=key).to_http()).status == status
    public = api.TcbInfoRequest(fmspc=machine.fmspc, api_key=key)
    assert send(public.to_http()).status == 200


def test_a_key_where_none_is_required(intel: World, send: Handler) -> None:
    """Without a key required, any key will do."""
    asked = pck_cert_request(intel.platform("multi"), api_key="whatever")
    assert send(asked.to_http()).status == 200


# Documents and lists


@pytest.mark.parametrize("encoding", ["pem", "der"])
@pytest.mark.parametrize("ca", ["processor", "platform"])
def test_revocation_lists(intel: World, send: Handler, ca: str, encoding: str) -> None:
    """Each CA's list in either encoding, with the chain of the CA that signed it."""
    found = PckCrlResponse.from_http(send(api.PckCrlRequest(ca=ca, encoding=encoding).to_http()))
    assert found.crl == intel.intel.pck_crl(ca, intel.at)
    chain = Certificate.parse_chain(found.issuer_chain)
    assert [c.common_name for c in chain] == [
        f"Intel SGX PCK {ca.capitalize()} CA",
        "Intel SGX Root CA",
    ]


@pytest.mark.parametrize("name", ["QE", "TD_QE", "QVE", "QAE"])
def test_identities(send: Handler, name: str) -> None:
    """Each enclave's identity is at its own route."""
    found = SignedResponse.from_http(send(api.IdentityRequest(name=name).to_http()))
    assert json.loads(found.body)["enclaveIdentity"]["id"] == name


@pytest.mark.parametrize("tee", ["sgx", "tdx"])
def test_evaluation_numbers(intel: World, send: Handler, tee: api.Tee) -> None:
    """The numbers on offer, newest first; a retired one is not among them."""
    RecoveryAnnounced().apply(intel)
    asked = api.EvaluationNumbersRequest(tee=tee).to_http()
    offered = SignedResponse.from_http(send(asked))
    assert _numbers(offered) == [FIRST + 1, FIRST]
    RecoveryPromoted().apply(intel)
    EvaluationNumberRetired().apply(intel)
    assert _numbers(SignedResponse.from_http(send(asked))) == [FIRST + 1]


def _numbers(offered: SignedResponse) -> list[int]:
    body = json.loads(offered.body)["tcbEvaluationDataNumbers"]
    parsed = TcbEvaluationNumbers.parse(json.dumps(body).encode())
    return [number.tcb_evaluation_data_number for number in parsed.tcb_eval_numbers]


@pytest.mark.parametrize("name", ["tcb", "identity"])
def test_retired_and_unknown_numbers(intel: World, send: Handler, name: str) -> None:
    """Below the oldest on offer 410, above the newest 404, between them 200."""
    RecoveryAnnounced().apply(intel)
    RecoveryPromoted().apply(intel)
    EvaluationNumberRetired().apply(intel)
    statuses = {}
    for number in (0, FIRST, FIRST + 1, FIRST + 2, 999_999_999):
        asked: api.PcsRequest = api.IdentityRequest(name="QE", number=number)
        if name == "tcb":
            asked = api.TcbInfoRequest(fmspc=intel.platform("multi").fmspc, number=number)
        statuses[number] = send(asked.to_http()).status
    assert statuses == {0: 410, FIRST: 410, FIRST + 1: 200, FIRST + 2: 404, 999_999_999: 404}


def test_unknown_fmspc_is_404(send: Handler) -> None:
    """An FMSPC of no machine has no TCB info."""
    answer = send(api.TcbInfoRequest(fmspc=b"\xff" * 6).to_http())
    assert answer.status == 404
    with pytest.raises(NotFound):
        SignedResponse.from_http(answer)


def test_machines_without_tdx_have_no_tdx_tcb_info(intel: World, send: Handler) -> None:
    """An FMSPC of the Processor CA is known to SGX and 404 to TDX."""
    fmspc = intel.platform("single").fmspc
    assert send(api.TcbInfoRequest(fmspc=fmspc).to_http()).status == 200
    assert send(api.TcbInfoRequest(fmspc=fmspc, tee="tdx").to_http()).status == 404


def test_fmspcs(intel: World, send: Handler) -> None:
    """All FMSPCs of the world's machines, or those of one kind."""
    new = intel.platform("third", fmspc=b"\x01\x02\x03\x04\x05\x06").fmspc
    all_of_them = FmspcsResponse.from_http(send(api.FmspcsRequest().to_http())).fmspcs
    assert [one.fmspc for one in all_of_them] == sorted(one.fmspc for one in all_of_them)
    assert ("010203040506", "E5") in [(one.fmspc, one.platform) for one in all_of_them]
    assert new.hex() == "010203040506"
    kinds = {
        kind: {
            one.platform
            for one in FmspcsResponse.from_http(
                send(api.FmspcsRequest(platform=kind).to_http())
            ).fmspcs
        }
        for kind in ("client", "E3", "E5")
    }
    assert kinds == {"client": set(), "E3": {"E3"}, "E5": {"E5"}}


def test_root_list_at_its_own_host(intel: World, send: Handler) -> None:
    """The root's list in DER, at the path of its distribution point."""
    answer = send(HttpRequest(target="/IntelSGXRootCA.der"))
    assert answer.body == intel.intel.root_ca_crl(intel.at)
    assert answer.header("Content-Type") == "application/pkix-crl"


# Refusals


def test_malformed_requests_say_so(send: Handler) -> None:
    """400 carries `Error-Code`, `Error-Message` and `Request-ID`."""
    target = "/sgx/certification/v4/tcb?fmspc=00A0A5000000&update=early&tcbEvaluationDataNumber=17"
    answer = send(HttpRequest(target=target))
    assert answer.status == 400
    assert answer.header("Error-Code") == "InvalidRequestSyntax"
    assert "exclude each other" in (answer.header("Error-Message") or "")
    assert len(answer.header("Request-ID") or "") == 32
    with pytest.raises(Unavailable):
        SignedResponse.from_http(answer)


def test_other_media_types_are_415(intel: World, send: Handler) -> None:
    """A manifest that is not sent as JSON is 415."""
    machine = intel.platform("multi")
    asked = pck_cert_request(machine, encrypted_ppid=None, platform_manifest=machine.manifest)
    http = asked.to_http()
    plain = HttpRequest(method="POST", target=http.target, body=http.body)
    assert send(plain).status == 415


@pytest.mark.parametrize(
    "path", ["/", "/sgx/certification/v4/", "/sgx/certification/v4/rootcacrl", "/nowhere"]
)
def test_elsewhere_is_404(send: Handler, path: str) -> None:
    """What is no route is 404."""
    assert send(HttpRequest(target=path)).status == 404


def test_another_instant_may_be_ordered(intel: World, send: Handler) -> None:
    """A request may order the service to live at another instant; the world's clock stays."""
    asked = api.PckCrlRequest(ca="platform", encoding="der").to_http()
    order = ((CLOCK_OFFSET, str(86400)),)
    later = send(HttpRequest(target=asked.target, headers=order))
    assert later.body == intel.intel.pck_crl("platform", intel.at + timedelta(days=1))
    assert later.header("Date") == "Fri, 02 Jan 2026 12:00:00 GMT"
    assert send(asked).body == intel.intel.pck_crl("platform", intel.at)
