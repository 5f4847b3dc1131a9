"""Intel's PCS as a source: v4 and v3, both TEEs, every generation, and what goes wrong on the way."""

import threading
import time
from urllib.parse import quote

import pytest
from upstream import INTEL, LISTS, Upstream, machine_need, need, recovering, without_pck

from dcap import CollateralError, ConfigError, NotFound
from dcap.api.http import Handler, HttpRequest, HttpResponse
from dcap.errors import Unavailable
from dcap.simulator import World, wire_faults
from dcap.simulator.pcs import pcs
from dcap.simulator.tls import tls_pems
from dcap.sources import assembly
from dcap.sources.need import Update
from dcap.sources.pcs import PcsService, intel_pcs
from dcap.sources.service import ServiceSource

V4 = f"{INTEL}/sgx/certification/v4/"
V3 = f"{INTEL}/sgx/certification/v3/"


@pytest.fixture
def intel() -> World:
    """A world with two machines and an announced recovery."""
    return recovering()


@pytest.fixture
def upstream(intel: World) -> Upstream:
    """Its services."""
    return Upstream(intel)


@pytest.mark.parametrize(
    ("update", "number"), [("standard", None), ("early", None), ("standard", 17), ("standard", 18)]
)
@pytest.mark.parametrize(("name", "tee"), [("node", "SGX"), ("node", "TDX"), ("single", "SGX")])
def test_a_set_for_every_need(
    intel: World, upstream: Upstream, name: str, tee: str, update: Update, number: int | None
) -> None:
    """Both CAs, both TEEs, standard, early and by number: exactly what Intel publishes."""
    machine = intel.platform(name)
    fetched = intel_pcs(upstream.connect).collateral(
        need(machine, tee, update=update, number=number)
    )
    expected = intel.collateral(machine, tee, update=update, number=number)
    assert fetched.collateral == without_pck(expected)
    generation = number or (18 if update == "early" else 17)
    assert b'"tcbEvaluationDataNumber":%d,' % generation in fetched.collateral.tcb_info


def test_each_piece_says_where_it_came_from(intel: World, upstream: Upstream) -> None:
    """Origins name piece, source and URL without its query, and an instant with a zone."""
    fetched = intel_pcs(upstream.connect).collateral(need(intel.platform("node")))
    told = {origin.piece: origin.address for origin in fetched.origins}
    assert told == {
        "pck_crl": f"{V4}pckcrl",
        "tcb_info": f"{V4}tcb",
        "qe_identity": f"{V4}qe/identity",
        "root_ca_crl": f"{LISTS}/IntelSGXRootCA.der",
    }
    assert {origin.source for origin in fetched.origins} == {"Intel PCS"}
    assert all(origin.fetched_at.tzinfo for origin in fetched.origins)


def test_version_three(intel: World, upstream: Upstream) -> None:
    """v3 gives TCB info version 2; it has neither TDX nor evaluation numbers, and is not asked."""
    source = intel_pcs(upstream.connect, base=V3)
    machine = intel.platform("node")
    expected = intel.collateral(machine, tcb_info_version=2)
    assert source.collateral(need(machine)).collateral == without_pck(expected)
    for impossible in (need(machine, "TDX"), need(machine, number=17)):
        with pytest.raises(NotFound) as caught:
            source.collateral(impossible)
        assert caught.value.code == "source-version"


def test_a_mirror_follows_the_roots_distribution_point(intel: World) -> None:
    """Elsewhere than at Intel's, only the root says where its list is: it is asked afterwards."""
    upstream = Upstream(intel)
    upstream.handlers["https://mirror.example"] = pcs(intel)
    source = intel_pcs(upstream.connect, base="https://mirror.example")
    machine = intel.platform("node")
    assert source.collateral(need(machine)).collateral == without_pck(intel.collateral(machine))
    assert upstream.asked[-1][0] == LISTS
    assert source.name == "PCS https://mirror.example"


@pytest.mark.parametrize("place", ["https://evil.example/IntelSGXRootCA.der", "ldap://x/y", "x"])
def test_other_hosts_are_not_followed(intel: World, upstream: Upstream, place: str) -> None:
    """An unproven certificate cannot send us to any host it likes."""
    upstream.handlers["https://evil.example"] = upstream.handlers[INTEL]
    with pytest.raises(CollateralError) as caught:
        PcsService(upstream.connect).root_ca_crl(place)
    assert caught.value.code == "source-crl-address"
    assert upstream.asked == []


def test_a_chain_whose_root_names_no_list(intel: World, upstream: Upstream) -> None:
    """A root without a distribution point: the error says that its list cannot be found."""
    stranger = quote(tls_pems(intel)[2])

    def foreign(handler: Handler) -> Handler:
        def answer(request: HttpRequest) -> HttpResponse:
            response = handler(request)
            headers = tuple(
                (name, stranger if name == "SGX-Enclave-Identity-Issuer-Chain" else value)
                for name, value in response.headers
            )
            return HttpResponse(status=response.status, headers=headers, body=response.body)

        return answer

    upstream.handlers["https://mirror.example"] = foreign(pcs(intel))
    with pytest.raises(CollateralError) as caught:
        intel_pcs(upstream.connect, base="https://mirror.example").collateral(
            need(intel.platform("node"))
        )
    assert caught.value.code == "source-no-crl-address"


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("empty", "source-answer"),
        ("html-page", "source-answer"),
        ("wrong-encoding", "source-answer"),
        ("plus-for-space", "source-answer"),
        ("missing-headers", "source-answer"),
        ("oversized", "source-answer"),
        ("redirecting", "pcs-status"),
        ("throttling", "pcs-429"),
        ("unavailable", "pcs-503"),
        ("failing", "pcs-500"),
    ],
)
def test_wire_faults_without_a_network(
    intel: World, upstream: Upstream, fault: str, code: str
) -> None:
    """What a service may send instead of its answer is a `CollateralError`, never a `FormatError`."""
    upstream.change(INTEL, wire_faults.WIRE_FAULTS[fault])
    with pytest.raises(CollateralError) as caught:
        intel_pcs(upstream.connect).collateral(need(intel.platform("node")))
    assert (caught.value.code, caught.value.exit_status) == (code, 6)
    assert caught.value.mend
    assert "?" not in caught.value.where
    assert caught.value.where.startswith(f"{V4}pckcrl")


@pytest.mark.parametrize(
    ("fmspc", "number", "code"),
    [
        (bytes(6), None, "pcs-404"),
        (None, 16, "pcs-410"),
        (None, 99, "pcs-404"),
    ],
)
def test_what_intel_has_not(
    intel: World, upstream: Upstream, fmspc: bytes | None, number: int | None, code: str
) -> None:
    """An unknown FMSPC, a retired and a future number: it answered, and it has none."""
    wanted = need(intel.platform("node"), number=number)
    if fmspc is not None:
        wanted = type(wanted)(tee=wanted.tee, fmspc=fmspc, ca=wanted.ca)
    with pytest.raises(NotFound) as caught:
        intel_pcs(upstream.connect).collateral(wanted)
    assert caught.value.code == code


def test_errors_name_intels_code(intel: World, upstream: Upstream) -> None:
    """What Intel's provider would say stands in the text, by the piece that is missing."""
    wanted = need(intel.platform("node"))
    unknown = type(wanted)(tee=wanted.tee, fmspc=bytes(6), ca=wanted.ca)
    with pytest.raises(NotFound, match="0xE062 SGX_QL_TCBINFO_NOT_FOUND"):
        intel_pcs(upstream.connect).collateral(unknown)
    del upstream.handlers[INTEL]
    with pytest.raises(Unavailable, match=r"0xE019 SGX_QL_NETWORK_ERROR \(QCNL 0xB005\)"):
        intel_pcs(upstream.connect).collateral(wanted)


def test_requests_of_a_set_go_out_side_by_side(intel: World, upstream: Upstream) -> None:
    """All four are on their way before the first is answered: a set costs one round trip."""
    all_there = threading.Barrier(4, timeout=10)

    def together(handler: Handler) -> Handler:
        def answer(request: HttpRequest) -> HttpResponse:
            all_there.wait()
            return handler(request)

        return answer

    upstream.change(INTEL, together)
    upstream.change(LISTS, together)
    machine = intel.platform("node")
    fetched = intel_pcs(upstream.connect).collateral(need(machine))
    assert fetched.collateral == without_pck(intel.collateral(machine))


def test_the_first_piece_that_fails_decides(intel: World, upstream: Upstream) -> None:
    """With several errors the one raised depends on the order of pieces, not on who was faster."""

    def late(handler: Handler) -> Handler:
        def answer(request: HttpRequest) -> HttpResponse:
            if "pckcrl" in request.target:
                time.sleep(assembly.GRACE_SECONDS / 5)
                return HttpResponse(status=503)
            return HttpResponse(status=500)

        return answer

    upstream.change(INTEL, late)
    with pytest.raises(Unavailable) as caught:
        intel_pcs(upstream.connect).collateral(need(intel.platform("node")))
    assert caught.value.code == "pcs-503"


def test_a_hanging_piece_does_not_hold_up_an_error(intel: World, upstream: Upstream) -> None:
    """One piece that fails ends the set, whatever the others do."""
    release = threading.Event()

    def hanging(handler: Handler) -> Handler:
        def answer(request: HttpRequest) -> HttpResponse:
            if "/tcb?" in request.target:
                return HttpResponse(status=404)
            release.wait(timeout=30)
            return handler(request)

        return answer

    upstream.change(INTEL, hanging)
    begun = time.monotonic()
    try:
        with pytest.raises(NotFound) as caught:
            intel_pcs(upstream.connect).collateral(need(intel.platform("node")))
    finally:
        release.set()
    assert caught.value.code == "pcs-404"
    assert time.monotonic() - begun < 10


def test_a_source_survives_its_failures(intel: World, upstream: Upstream) -> None:
    """Threads of failed sets give their places back: a hundred failures, and the next set is had."""
    genuine = upstream.handlers[INTEL]
    source = intel_pcs(upstream.connect)
    wanted = need(intel.platform("node"))
    upstream.handlers[INTEL] = lambda _request: HttpResponse(status=500)
    for _ in range(100):
        with pytest.raises(Unavailable):
            source.collateral(wanted)
    upstream.handlers[INTEL] = genuine
    assert source.collateral(wanted).collateral.tcb_info


def test_an_answer_of_another_number_is_refused(intel: World, upstream: Upstream) -> None:
    """A service that ignores the number asked for is found out."""

    def deaf(handler: Handler) -> Handler:
        return lambda request: handler(HttpRequest(target=request.target.partition("&")[0]))

    upstream.change(INTEL, deaf)
    with pytest.raises(CollateralError) as caught:
        intel_pcs(upstream.connect).collateral(
            need(intel.platform("node"), number=intel.intel.early)
        )
    assert caught.value.code == "source-evaluation-number"


@pytest.mark.parametrize("name", ["node", "single"])
def test_pck_certificates(intel: World, upstream: Upstream, name: str) -> None:
    """By the encrypted PPID: leaf, CA and root in one text, and the TCB they are for."""
    machine = intel.platform(name)
    found = intel_pcs(upstream.connect).pck_certificate(machine_need(machine))
    assert found.chain == machine.pck_chain()
    assert found.tcbm[:16] == machine.cpu_svn
    assert found.origin.address == f"{V4}pckcert"
    assert machine.encrypted_ppid.hex() not in repr(found).lower()


def test_without_a_ppid_intel_has_no_certificate(intel: World, upstream: Upstream) -> None:
    """Intel does not know QE ids: nothing is asked."""
    unknown = machine_need(intel.platform("node"), encrypted_ppid=None)
    with pytest.raises(NotFound) as caught:
        intel_pcs(upstream.connect).pck_certificate(unknown)
    assert caught.value.code == "source-no-pck"
    assert upstream.asked == []


def test_a_subscription_key(intel: World) -> None:
    """The key goes with requests for PCK certificates, and with nothing else."""
    upstream = Upstream(intel)
    upstream.handlers[INTEL] = pcs(intel, api_key="secret")
    machine = intel.platform("node")
    with pytest.raises(Unavailable) as caught:
        intel_pcs(upstream.connect).pck_certificate(machine_need(machine))
    assert caught.value.code == "pcs-401"
    source = intel_pcs(upstream.connect, api_key="secret")
    assert source.pck_certificate(machine_need(machine)).chain == machine.pck_chain()
    source.collateral(need(machine))
    with_key = [
        request for _, request in upstream.asked if request.header("Ocp-Apim-Subscription-Key")
    ]
    assert len(with_key) == 1
    assert "secret" not in repr(source) + repr(source.service)


def test_the_catalogue(intel: World, upstream: Upstream) -> None:
    """All FMSPCs, all certificates of a machine, and the evaluation numbers."""
    service = PcsService(upstream.connect)
    machine = intel.platform("node")
    listed = service.fmspcs().value.fmspcs
    assert machine.fmspc.hex().upper() in {entry.fmspc for entry in listed}
    assert len(service.fmspcs("E3").value.fmspcs) < len(listed)
    by_ppid = service.pck_certs(pce_id=machine.pce_id, encrypted_ppid=machine.encrypted_ppid)
    by_manifest = service.pck_certs(pce_id=machine.pce_id, platform_manifest=machine.manifest)
    assert by_ppid.value == by_manifest.value
    assert by_ppid.value.ca == "platform"
    assert b"tcbEvalNumbers" in service.evaluation_numbers("TDX").value.body
    assert service.identity("QAE").value.body != service.identity("QVE").value.body


@pytest.mark.parametrize(
    "base",
    [
        "api.trustedservices.intel.com",
        "ftp://api.trustedservices.intel.com/sgx/certification/v4/",
        "https://user:secret@host/sgx/certification/v4/",
        "https://host/sgx/certification/v5/",
        "https://host/sgx/certification/v4/pckcert",
        "https://host/sgx/certification/v4/?x=y",
        "https://host:99999/sgx/certification/v4/",
        "https://",
    ],
)
def test_urls_that_are_none(upstream: Upstream, base: str) -> None:
    """A base URL that cannot be one is a configuration error, and shows no password."""
    with pytest.raises(ConfigError) as caught:
        intel_pcs(upstream.connect, base=base)
    assert caught.value.code == "source-url"
    assert "secret" not in str(caught.value)


def test_a_prefix_before_the_service(intel: World) -> None:
    """A service below a path of its own is asked there, posts included."""
    upstream = Upstream(intel)
    genuine = pcs(intel)

    def below(request: HttpRequest) -> HttpResponse:
        assert request.target.startswith("/intel/")
        target = request.target.removeprefix("/intel")
        return genuine(
            HttpRequest(
                method=request.method, target=target, headers=request.headers, body=request.body
            )
        )

    upstream.handlers["https://mirror.example"] = below
    service = PcsService(upstream.connect, base="https://mirror.example/intel/sgx/certification/v4")
    machine = intel.platform("node")
    source = ServiceSource("mirror", service)
    assert source.collateral(need(machine, "TDX")).collateral == without_pck(
        intel.collateral(machine, "TDX")
    )
    found = service.pck_certs(pce_id=machine.pce_id, platform_manifest=machine.manifest)
    assert found.value.fmspc == machine.fmspc
