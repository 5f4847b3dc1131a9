"""A PCCS as a source, in our own way: v4 and v3, both TEEs, every generation, and its refusals."""

import pytest
from upstream import PCCS, Upstream, machine_need, need, recovering, without_pck

from dcap import CollateralError, ConfigError, NotFound
from dcap.api.http import HttpRequest, HttpResponse
from dcap.api.pccs_responses import PccsRefusal
from dcap.errors import Unavailable
from dcap.simulator import World, wire_faults
from dcap.simulator.alibaba import alibaba
from dcap.simulator.services import services
from dcap.sources.need import Update
from dcap.sources.pccs import PccsService, pccs

V4 = f"{PCCS}/sgx/certification/v4/"
TDX = f"{PCCS}/tdx/certification/v4/"


@pytest.fixture
def intel() -> World:
    """A world with two machines and an announced recovery."""
    return recovering()


@pytest.fixture
def upstream(intel: World) -> Upstream:
    """Its services."""
    return Upstream(intel)


@pytest.mark.parametrize("update", ["standard", "early"])
@pytest.mark.parametrize(("name", "tee"), [("node", "SGX"), ("node", "TDX"), ("single", "SGX")])
def test_a_set_for_every_need(
    intel: World, upstream: Upstream, name: str, tee: str, update: Update
) -> None:
    """Both CAs, both TEEs, standard and early: exactly what Intel publishes."""
    machine = intel.platform(name)
    fetched = pccs(upstream.connect, V4).collateral(need(machine, tee, update=update))
    assert fetched.collateral == without_pck(intel.collateral(machine, tee, update=update))


@pytest.mark.parametrize("tee", ["SGX", "TDX"])
def test_the_requests_of_a_set(intel: World, upstream: Upstream, tee: str) -> None:
    """Lists in DER where there is such a form, the root's by its route, each once."""
    machine = intel.platform("node")
    pccs(upstream.connect, V4).collateral(need(machine, tee))
    documents = V4 if tee == "SGX" else TDX
    fmspc = machine.fmspc.hex().upper()
    assert upstream.urls == sorted(
        [
            f"{V4}pckcrl?ca=platform&encoding=der",
            f"{V4}rootcacrl",
            f"{documents}tcb?fmspc={fmspc}&update=standard",
            f"{documents}qe/identity?update=standard",
        ]
    )


def test_version_three(intel: World, upstream: Upstream) -> None:
    """v3 gives TCB info version 2, and has no TDX."""
    source = pccs(upstream.connect, f"{PCCS}/sgx/certification/v3/")
    machine = intel.platform("node")
    expected = without_pck(intel.collateral(machine, tcb_info_version=2))
    assert source.collateral(need(machine)).collateral == expected
    with pytest.raises(NotFound) as caught:
        source.collateral(need(machine, "TDX"))
    assert caught.value.code == "source-version"


@pytest.mark.parametrize("base", [PCCS, f"{PCCS}/", V4.rstrip("/"), V4])
def test_short_forms_of_the_url(intel: World, upstream: Upstream, base: str) -> None:
    """An origin alone stands for v4, and the last slash may be missing."""
    machine = intel.platform("node")
    assert pccs(upstream.connect, base).collateral(need(machine)).collateral.tcb_info
    assert all(url.startswith(V4) for url in upstream.urls)


def test_a_path_that_is_none(upstream: Upstream) -> None:
    """A path that is not a certification service's is refused before anything is asked."""
    with pytest.raises(ConfigError) as caught:
        pccs(upstream.connect, f"{PCCS}/certification/")
    assert caught.value.code == "source-url"


def test_below_a_prefix(intel: World) -> None:
    """A PCCS below a path of its own, as Alibaba's in the simulator."""
    upstream = Upstream(intel)
    upstream.handlers["https://clouds.example"] = services(intel)
    source = pccs(upstream.connect, "https://clouds.example/alibaba/sgx/certification/v4/")
    machine = intel.platform("node")
    fetched = source.collateral(need(machine, "TDX"))
    assert fetched.collateral == without_pck(intel.collateral(machine, "TDX"))
    assert source.name == "PCCS https://clouds.example"


def test_a_number_that_the_pccs_ignores(intel: World, upstream: Upstream) -> None:
    """Intel's PCCS answers with the standard generation whatever is asked: that is found out."""
    machine = intel.platform("node")
    source = pccs(upstream.connect, V4)
    standard = need(machine, number=intel.intel.standard)
    assert source.collateral(standard).collateral == without_pck(intel.collateral(machine))
    with pytest.raises(CollateralError) as caught:
        source.collateral(need(machine, number=intel.intel.early))
    assert caught.value.code == "source-evaluation-number"
    assert any(
        url.endswith(f"tcbEvaluationDataNumber={intel.intel.early}") for url in upstream.urls
    )


def test_pck_certificates(intel: World, upstream: Upstream) -> None:
    """By QE id and PPID, in the order of Intel's library; by QE id alone where there is no PPID."""
    machine = intel.platform("node")
    source = pccs(upstream.connect, V4)
    found = source.pck_certificate(machine_need(machine))
    assert found.chain == machine.pck_chain()
    assert found.tcbm[:16] == machine.cpu_svn
    without = source.pck_certificate(machine_need(machine, encrypted_ppid=None))
    assert without.chain == found.chain
    names = [
        [part.partition("=")[0] for part in request.target.partition("?")[2].split("&")]
        for _, request in upstream.asked
    ]
    assert names == [
        ["qeid", "encrypted_ppid", "cpusvn", "pcesvn", "pceid"],
        ["qeid", "cpusvn", "pcesvn", "pceid"],
    ]


@pytest.mark.parametrize(
    ("status", "kind", "intels"),
    [
        (400, Unavailable, "0xE044"),
        (403, Unavailable, "0xE019"),
        (404, NotFound, "0xE011"),
        (461, NotFound, "0xE047"),
        (462, NotFound, "0xE049"),
        (500, Unavailable, "0xE044"),
        (502, Unavailable, "0xE044"),
        (503, Unavailable, "0xE040"),
        (302, Unavailable, "0xE044"),
    ],
)
def test_refusals(
    intel: World, upstream: Upstream, status: int, kind: type[CollateralError], intels: str
) -> None:
    """Each status as the error it means, with the code that Intel's provider would give."""
    upstream.handlers[PCCS] = lambda _request: PccsRefusal(status=status).to_http()
    with pytest.raises(kind) as caught:
        pccs(upstream.connect, V4).pck_certificate(machine_need(intel.platform("node")))
    assert f"Intel's code {intels} " in caught.value.what
    assert caught.value.where == f"{V4}pckcert"
    assert caught.value.mend


@pytest.mark.parametrize(
    ("piece", "intels"),
    [("pckcrl", "0xE01B"), ("rootcacrl", "0xE01B"), ("/tcb", "0xE062"), ("/qe/", "0xE061")],
)
def test_absence_depends_on_the_piece(
    intel: World, upstream: Upstream, piece: str, intels: str
) -> None:
    """404 has a code of its own for each piece, as in Intel's provider."""
    genuine = upstream.handlers[PCCS]

    def lacking(request: HttpRequest) -> HttpResponse:
        missing = piece in request.path
        return PccsRefusal(status=404).to_http() if missing else genuine(request)

    upstream.handlers[PCCS] = lacking
    with pytest.raises(NotFound, match=f"{intels} .*QCNL 0xB00F"):
        pccs(upstream.connect, V4).collateral(need(intel.platform("node")))


@pytest.mark.parametrize(
    "fault", ["empty", "html-page", "plus-for-space", "missing-headers", "oversized"]
)
def test_unreadable_answers(intel: World, upstream: Upstream, fault: str) -> None:
    """What is no answer of a PCCS is `source-answer`, for collateral and for certificates."""
    upstream.change(PCCS, wire_faults.WIRE_FAULTS[fault])
    source = pccs(upstream.connect, V4)
    with pytest.raises(CollateralError) as caught:
        source.collateral(need(intel.platform("node")))
    assert caught.value.code == "source-answer"
    if (
        fault != "oversized"
    ):  # white space after PEM is no fault, however long; `transport` bounds it
        with pytest.raises(CollateralError) as caught:
            source.pck_certificate(machine_need(intel.platform("node")))
        assert caught.value.code == "source-answer"
    assert "?" not in str(caught.value)


def test_errors_hold_no_identifier(intel: World, upstream: Upstream) -> None:
    """QE id and PPID stand in no text of an error."""
    stranger = World("another").platform("stranger")
    with pytest.raises(NotFound) as caught:
        pccs(upstream.connect, V4).pck_certificate(machine_need(stranger))
    told = (str(caught.value) + repr(caught.value)).lower()
    assert stranger.qe_id.hex() not in told
    assert stranger.encrypted_ppid.hex()[:64] not in told


def test_single_items(intel: World, upstream: Upstream) -> None:
    """A cache asks item by item: each method is one request."""
    service = PccsService(upstream.connect, V4)
    root = "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der"
    assert service.root_ca_crl().value == service.root_ca_crl(root).value
    assert upstream.urls == [f"{V4}crl?uri={root}", f"{V4}rootcacrl"]
    assert service.identity("QVE").value.body
    with pytest.raises(NotFound):
        service.identity("QAE")
    assert len(upstream.asked) == 4  # ours has it, and Intel's says that there is none


def test_alibaba_is_a_pccs(intel: World) -> None:
    """The same source under the name of a region's host."""
    upstream = Upstream(intel)
    origin = "https://sgx-dcap-server.cn-hangzhou.aliyuncs.com"
    upstream.handlers[origin] = alibaba(intel)
    source = pccs(upstream.connect, f"{origin}/sgx/certification/v4/", name="Alibaba cn-hangzhou")
    machine = intel.platform("single")
    fetched = source.collateral(need(machine))
    assert fetched.collateral == without_pck(intel.collateral(machine))
    assert {told.source for told in fetched.origins} == {"Alibaba cn-hangzhou"}
