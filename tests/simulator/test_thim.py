"""The simulated Azure: what Azure's client asks, answered in Azure's shapes."""

from datetime import timedelta

import pytest

from dcap import Collateral
from dcap.api import thim as api
from dcap.api.http import Handler, HttpRequest, target
from dcap.api.pcs_responses import PckCrlResponse, SignedResponse
from dcap.formats.certificate import Certificate
from dcap.simulator import Platform, World
from dcap.simulator.events import RecoveryAnnounced, RecoveryPromoted
from dcap.simulator.services import services
from dcap.simulator.tcb_model import PCE_SVN
from dcap.simulator.thim import thim

ACC_CACHE = "/thim/sgx/certification"
HOST_AGENT = "/metadata/THIM/sgx/certification"
REGION = (("clientid", "production_client"),)
DOCUMENT = (*REGION, ("api-version", api.DOCUMENT_VERSION))


@pytest.fixture
def intel() -> World:
    """A world with one machine."""
    made = World("azure tests")
    made.platform("vm")
    return made


@pytest.fixture
def send(intel: World) -> Handler:
    """Its services."""
    return services(intel)


def asked_for(machine: Platform, **changed: object) -> api.ThimPckCertRequest:
    """What Azure's client asks for a machine's certificate."""
    fields: dict[str, object] = {
        "qe_id": machine.qe_id,
        "cpu_svn": machine.cpu_svn,
        "pce_svn": PCE_SVN,
        "pce_id": machine.pce_id,
        "encrypted_ppid": machine.encrypted_ppid,
    }
    return api.ThimPckCertRequest(**{**fields, **changed})  # type: ignore[arg-type]


def get(path: str, *parameters: tuple[str, str]) -> HttpRequest:
    """A GET."""
    return HttpRequest(target=target(path, parameters))


@pytest.mark.parametrize(
    "changed",
    [{}, {"encrypted_ppid": None}, {"encrypted_ppid": bytes(384)}, {"qe_id": bytes(16)}],
    ids=["both", "QE id", "QE id and an all-zero PPID", "PPID"],
)
def test_certificate_from_the_host_agent(
    intel: World, send: Handler, changed: dict[str, object]
) -> None:
    """By QE id or by PPID: JSON with certificate, chain and TCBm, and how long it may be kept."""
    machine = intel.platform("vm")
    answer = send(asked_for(machine, **changed).to_http(HOST_AGENT, metadata=True))
    assert answer.header("Content-Type") == "application/json"
    found = api.ThimPckCertResponse.from_http(answer)
    assert found.certificate + found.issuer_chain == machine.pck_chain()
    assert found.tcbm == machine.cpu_svn + PCE_SVN.to_bytes(2, "little")
    assert found.max_age == 86400


def test_the_host_agent_wants_its_header(intel: World, send: Handler) -> None:
    """Without `metadata: true` the metadata service answers 400."""
    asked = asked_for(intel.platform("vm"))
    assert send(asked.to_http(HOST_AGENT)).status == 400


def test_the_cache_gives_certificates_too(intel: World, send: Handler) -> None:
    """The acccache answers as the host agent does, without that header."""
    machine = intel.platform("vm")
    found = api.ThimPckCertResponse.from_http(send(asked_for(machine).to_http(ACC_CACHE)))
    assert found.certificate == machine.pck().pem


def test_unknown_machines_are_404(intel: World, send: Handler) -> None:
    """A QE id and PPID of no machine; a PCEID that the machine has not."""
    machine = intel.platform("vm")
    stranger = asked_for(World("other").platform())
    assert send(stranger.to_http(ACC_CACHE)).status == 404
    assert send(asked_for(machine, pce_id=b"\x01\x00").to_http(ACC_CACHE)).status == 404


@pytest.mark.parametrize("encoded", [1, 2])
@pytest.mark.parametrize("ca", ["processor", "platform", "root"])
def test_lists_by_distribution_point(intel: World, send: Handler, ca: str, encoded: int) -> None:
    """Each list by its URI, encoded once or twice: PEM, with the chain of its issuer."""
    answer = send(api.ThimCrlRequest(ca=ca).to_http(ACC_CACHE, encoded=encoded))
    assert answer.body.startswith(b"-----BEGIN X509 CRL-----")
    assert answer.header("Cache-Control") == "max-age=86400"
    found = PckCrlResponse.from_http(answer)
    genuine = intel.intel
    lists = {
        "processor": genuine.pck_crl("processor", intel.at),
        "platform": genuine.pck_crl("platform", intel.at),
        "root": genuine.root_ca_crl(intel.at),
    }
    assert found.crl == lists[ca]
    assert len(Certificate.parse_chain(found.issuer_chain)) == (1 if ca == "root" else 2)


def test_other_uris_are_refused(send: Handler) -> None:
    """A URI that is not Intel's is 400, not fetched."""
    query = (("uri", "https://example.com/x.crl"), ("api-version", api.CRL_VERSION))
    assert send(get(f"{ACC_CACHE}/v4/pckcrl", *query)).status == 400


@pytest.mark.parametrize(
    ("version", "headers"),
    [
        (2, {"SGX-TCB-Info-Issuer-Chain"}),
        (3, {"SGX-TCB-Info-Issuer-Chain"}),
        (4, {"SGX-TCB-Info-Issuer-Chain", "TCB-Info-Issuer-Chain"}),
    ],
)
def test_tcb_info_by_version(intel: World, send: Handler, version: int, headers: set[str]) -> None:
    """Before v4 TCB info version 2 under one chain header, in v4 version 3 under both."""
    machine = intel.platform("vm")
    path = f"{ACC_CACHE}/v{version}/tcb"
    answer = send(get(path, ("fmspc", machine.fmspc.hex()), *DOCUMENT))
    shape = 3 if version == 4 else 2
    assert answer.body == intel.collateral(machine, tcb_info_version=shape).tcb_info
    assert {name for name, _ in answer.headers if "Issuer-Chain" in name} == headers
    assert answer.header("Cache-Control") == "max-age=86400"


@pytest.mark.parametrize("resource", ["qe", "qve"])
def test_identities(send: Handler, resource: str) -> None:
    """QE and QVE, under Intel's chain header."""
    answer = send(get(f"{ACC_CACHE}/v4/{resource}/identity", *DOCUMENT))
    assert b'"id":"%b"' % resource.upper().encode() in answer.body
    assert answer.header("SGX-Enclave-Identity-Issuer-Chain")


def test_all_that_tdx_needs_from_a_region(intel: World, send: Handler) -> None:
    """The regional form: lists by CA, the root's in hex, TDX documents; together the world's."""
    machine = intel.platform("vm")
    sgx, tdx = f"{ACC_CACHE}/v4", "/thim/tdx/certification/v4"
    crl = PckCrlResponse.from_http(send(get(f"{sgx}/pckcrl", ("ca", "platform"), *REGION)))
    tcb = send(get(f"{tdx}/tcb", ("fmspc", machine.fmspc.hex()), *REGION))
    identity = SignedResponse.from_http(send(get(f"{tdx}/qe/identity", *REGION)))
    tcb_info = SignedResponse.from_http(tcb)
    assert tcb.header("SGX-TCB-Info-Issuer-Chain") is None
    fetched = Collateral(
        pck_crl_issuer_chain=crl.issuer_chain,
        root_ca_crl=bytes.fromhex(send(get(f"{sgx}/rootcacrl", *REGION)).body.decode()),
        pck_crl=crl.crl,
        tcb_info_issuer_chain=tcb_info.issuer_chain,
        tcb_info=tcb_info.body,
        qe_identity_issuer_chain=identity.issuer_chain,
        qe_identity=identity.body,
        pck_certificate_chain=machine.pck_chain(),
    )
    assert fetched == intel.collateral(machine, "TDX")


def test_an_older_baseline(intel: World) -> None:
    """Azure may serve a generation that Intel's standard has left behind."""
    machine = intel.platform("vm")
    RecoveryAnnounced().apply(intel)
    RecoveryPromoted().apply(intel)
    path = "/sgx/certification/v4/tcb"
    answer = thim(intel, number=17)(get(path, ("fmspc", machine.fmspc.hex())))
    assert answer.body == intel.collateral(machine, number=17).tcb_info
    assert answer.body != intel.collateral(machine).tcb_info


def test_copies_may_be_old(intel: World) -> None:
    """With a lag, `nextUpdate` may lie in the past."""
    lagging = thim(intel, lag=timedelta(days=40), max_age=60)
    answer = lagging(get("/sgx/certification/v4/qe/identity"))
    assert b'"nextUpdate":"2025-12-2' in answer.body
    assert answer.header("Cache-Control") == "max-age=60"


@pytest.mark.parametrize(
    "path",
    [
        "/thim/sgx/certification/v5/tcb",
        "/thim/tdx/certification/v3/tcb",
        "/thim/tdx/certification/v4/pckcert",
        "/thim/sgx/certification/v4/pckcerts",
        "/metadata/THIM/sgx/certification/v4/tcb",
    ],
)
def test_what_azure_does_not_have(send: Handler, path: str) -> None:
    """Other resources and versions are 404."""
    assert send(get(path, ("fmspc", "00" * 6))).status == 404


@pytest.mark.parametrize(
    ("query", "headers", "status"),
    [
        ("?api-version=2021-02-01", (("metadata", "true"),), 200),
        ("?api-version=2021-02-01", (), 400),
        ("", (("metadata", "true"),), 400),
    ],
)
def test_a_vm_is_told_its_region(
    intel: World, query: str, headers: tuple[tuple[str, str], ...], status: int
) -> None:
    """The metadata service names the region, for who says which version and sends the header."""
    answer = services(intel)(HttpRequest(target=f"/metadata/instance{query}", headers=headers))
    assert answer.status == status
    assert (answer.body == b'{"compute":{"location":"westeurope"}}') == (status == 200)
