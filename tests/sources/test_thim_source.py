"""Azure's caches asked as Azure's client asks: request lines, order, environment.

The lines compared with are those of `quote-provider.md` §4.2, observed of the real client.
"""

import pytest
from upstream import (
    ACC_CACHE,
    METADATA,
    REGION,
    Upstream,
    machine_need,
    need,
    recovering,
    without_pck,
)

from dcap import CollateralError, ConfigError, NotFound
from dcap.api.http import HttpResponse
from dcap.errors import Unavailable
from dcap.simulator import World, wire_faults
from dcap.simulator.tcb_model import PCE_SVN
from dcap.simulator.thim import thim
from dcap.sources.azure_config import VARIABLES, AzureConfig
from dcap.sources.source import scope_of
from dcap.sources.thim import SKIP_SECONDS, AzureSource, ThimService

BASE = f"{ACC_CACHE}/sgx/certification/v4/"
REGIONAL = f"{REGION}/sgx/certification/v4/"
REGIONAL_TDX = f"{REGION}/tdx/certification/v4/"
CLIENT = "clientid=production_client"
DOCUMENT = f"{CLIENT}&api-version=2018-10-01-preview"
LIST = f"{CLIENT}&api-version=2020-02-12-preview"
PROCESSOR = (
    "https%253A%252F%252Fcertificates.trustedservices.intel.com%252Fintelsgxpckprocessor.crl"
)
PLATFORM = (
    "https%253A%252F%252Fapi.trustedservices.intel.com%252Fsgx%252Fcertification%252Fv3%252F"
    "pckcrl%253Fca%253Dplatform%2526encoding%253Dpem"
)
ROOT = "https%253A%252F%252Fcertificates.trustedservices.intel.com%252Fintelsgxrootca.crl"
WHERE = f"{METADATA}/metadata/instance?api-version=2021-02-01"


@pytest.fixture
def intel() -> World:
    """A world with two machines and an announced recovery."""
    return recovering()


@pytest.fixture
def upstream(intel: World) -> Upstream:
    """Its services."""
    return Upstream(intel)


def azure(upstream: Upstream, **environ: str) -> AzureSource:
    """The source in an environment."""
    return AzureSource(AzureConfig.from_environ(environ), upstream.connect)


@pytest.mark.parametrize(("name", "uri"), [("single", PROCESSOR), ("node", PLATFORM)])
def test_the_requests_of_an_sgx_set(intel: World, upstream: Upstream, name: str, uri: str) -> None:
    """Lists by their doubly encoded URI, documents with client and version; hex in lower case."""
    machine = intel.platform(name)
    fetched = azure(upstream).collateral(need(machine))
    assert upstream.urls == sorted(
        [
            f"{BASE}pckcrl?uri={uri}&{LIST}",
            f"{BASE}pckcrl?uri={ROOT}&{LIST}",
            f"{BASE}tcb?fmspc={machine.fmspc.hex()}&{DOCUMENT}",
            f"{BASE}qe/identity?{DOCUMENT}",
        ]
    )
    assert fetched.collateral == without_pck(intel.collateral(machine))


def test_the_requests_of_a_tdx_set(intel: World, upstream: Upstream) -> None:
    """The region is asked of the metadata service, once; the rest of the region's service."""
    machine = intel.platform("node")
    source = azure(upstream)
    assert source.collateral(need(machine, "TDX")).collateral == without_pck(
        intel.collateral(machine, "TDX")
    )
    metadata = [request for origin, request in upstream.asked if origin == METADATA]
    assert {request.header("metadata") for request in metadata} == {"true"}
    assert sorted(set(upstream.urls)) == sorted(
        [
            WHERE,
            f"{REGIONAL}pckcrl?ca=platform&{CLIENT}",
            f"{REGIONAL}rootcacrl?{CLIENT}",
            f"{REGIONAL_TDX}tcb?fmspc={machine.fmspc.hex()}&{DOCUMENT}",
            f"{REGIONAL_TDX}qe/identity?{DOCUMENT}",
        ]
    )
    asked = len(upstream.asked)
    source.collateral(need(machine, "TDX"))
    assert len(upstream.asked) == asked + 4


def test_the_region_is_asked_once_per_set(intel: World, upstream: Upstream) -> None:
    """Four pieces at once need the region; the metadata service hears one question."""
    azure(upstream).collateral(need(intel.platform("node"), "TDX"))
    assert upstream.urls.count(WHERE) == 1


def test_a_region_by_environment(intel: World, upstream: Upstream) -> None:
    """AZDCAP_REGION_URL says the region: the metadata service is left alone."""
    upstream.handlers["https://eastus.thim.azure.net"] = thim(intel)
    source = azure(upstream, AZDCAP_REGION_URL="eastus")
    assert source.collateral(need(intel.platform("node"), "TDX")).collateral.tcb_info
    assert {origin for origin, _ in upstream.asked} == {"https://eastus.thim.azure.net"}


def test_outside_azure(intel: World, upstream: Upstream) -> None:
    """Where nobody answers for the region, the error says which variable to set."""
    del upstream.handlers[METADATA]
    with pytest.raises(CollateralError, match="AZDCAP_REGION_URL") as caught:
        azure(upstream).collateral(need(intel.platform("node"), "TDX"))
    assert caught.value.code == "network-name"
    assert azure(upstream).collateral(need(intel.platform("node"))).collateral.tcb_info


@pytest.mark.parametrize("body", [b"{}", b"<html>", b'{"compute":{"location":"evil.example/"}}'])
def test_regions_that_are_none(intel: World, upstream: Upstream, body: bytes) -> None:
    """What is not the first part of a host name is not made into a host."""
    upstream.handlers[METADATA] = lambda _request: HttpResponse(status=200, body=body)
    with pytest.raises(CollateralError) as caught:
        azure(upstream).collateral(need(intel.platform("node"), "TDX"))
    assert caught.value.code == "source-answer"
    with pytest.raises(ConfigError):
        azure(upstream, AZDCAP_REGION_URL="evil.example/")


def pckcert_line(intel: World, *, ppid: bool = True) -> str:
    """What Azure's client asks for the machine."""
    machine = intel.platform("node")
    with_ppid = f"&encrypted_ppid={machine.encrypted_ppid.hex()}" if ppid else ""
    return (
        f"pckcert?qeid={machine.qe_id.hex()}&cpusvn={machine.cpu_svn.hex()}"
        f"&pcesvn={PCE_SVN.to_bytes(2, 'little').hex()}&pceid={machine.pce_id.hex()}{with_ppid}"
        f"&{CLIENT}&api-version=2021-07-22-preview"
    )


AGENT = f"{METADATA}/metadata/THIM/sgx/certification/v4/"


def test_the_host_agent_first(intel: World, upstream: Upstream) -> None:
    """PCK certificates come from the VM's own agent, asked with its header."""
    machine = intel.platform("node")
    found = azure(upstream).pck_certificate(machine_need(machine))
    assert found.chain == machine.pck_chain()
    assert upstream.urls == [AGENT + pckcert_line(intel)]
    assert upstream.asked[0][1].headers == (("metadata", "true"),)


def test_after_a_failure_it_is_skipped_for_a_while(intel: World, upstream: Upstream) -> None:
    """Acccache stands in; within 30 s the agent is not asked again, then it is."""
    upstream.change(METADATA, lambda handler: wire_faults.failing(handler, times=1))
    instant = 0.0
    service = ThimService(AzureConfig(), upstream.connect, monotonic=lambda: instant)
    need_of_node = machine_need(intel.platform("node"))
    first, second = AGENT + pckcert_line(intel), BASE + pckcert_line(intel)
    service.pck_cert(need_of_node)
    instant = SKIP_SECONDS - 1
    service.pck_cert(need_of_node)
    instant = SKIP_SECONDS
    service.pck_cert(need_of_node)
    asked = [origin + request.target for origin, request in upstream.asked]
    assert asked == [first, second, second, first]
    assert upstream.asked[1][1].headers == (("Content-Type", "application/json"),)


def test_bypass_and_no_ppid(intel: World, upstream: Upstream) -> None:
    """AZDCAP_BYPASS_BASE_URL skips the agent, AZDCAP_DISABLE_ONDEMAND leaves the PPID out."""
    source = azure(upstream, AZDCAP_BYPASS_BASE_URL="true", AZDCAP_DISABLE_ONDEMAND="1")
    source.pck_certificate(machine_need(intel.platform("node")))
    assert upstream.urls == [BASE + pckcert_line(intel, ppid=False)]


def test_an_older_version_by_environment(intel: World, upstream: Upstream) -> None:
    """AZDCAP_COLLATERAL_VERSION is in the SGX URLs; what is no version is v4."""
    machine = intel.platform("node")
    source = azure(upstream, AZDCAP_COLLATERAL_VERSION="v3", AZDCAP_CLIENT_ID="mine")
    expected = intel.collateral(machine, tcb_info_version=2)
    assert source.collateral(need(machine)).collateral == without_pck(expected)
    assert all("/v3/" in url and "clientid=mine" in url for url in upstream.urls)
    assert AzureConfig.from_environ({"AZDCAP_COLLATERAL_VERSION": "v9"}).version == "v4"


def test_the_defaults_are_those_of_the_table() -> None:
    """An empty environment and a new `AzureConfig` are the same; fourteen variables are known."""
    assert AzureConfig.from_environ({}) == AzureConfig()
    assert (
        AzureConfig.from_environ(dict.fromkeys((row.name for row in VARIABLES), ""))
        == AzureConfig()
    )
    assert len(VARIABLES) == 14


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AZDCAP_BASE_CERT_URL", "acccache"),
        ("AZDCAP_PRIMARY_BASE_CERT_URL", "ftp://x/"),
        ("AZDCAP_SECONDARY_BASE_CERT_URL", "https://user:secret@host/"),
        ("AZDCAP_BASE_CERT_URL_TDX", "@evil.example/"),
    ],
)
def test_variables_that_are_no_urls(upstream: Upstream, name: str, value: str) -> None:
    """A variable that cannot be obeyed is found when the source is made."""
    with pytest.raises(ConfigError) as caught:
        azure(upstream, **{name: value})
    assert caught.value.code == "source-url"


def test_early_is_not_to_be_had(intel: World, upstream: Upstream) -> None:
    """Azure has one generation: early collateral is left to the next source, unasked."""
    with pytest.raises(NotFound) as caught:
        azure(upstream).collateral(need(intel.platform("node"), update="early"))
    assert caught.value.code == "source-no-early"


def test_another_number_than_azures(intel: World, upstream: Upstream) -> None:
    """A number that Azure happens to serve is taken; another is found out."""
    machine = intel.platform("node")
    source = azure(upstream)
    assert source.collateral(need(machine, number=17)).collateral.tcb_info
    with pytest.raises(CollateralError) as caught:
        source.collateral(need(machine, number=18))
    assert caught.value.code == "source-evaluation-number"


@pytest.mark.parametrize(
    "fault", ["empty", "html-page", "missing-headers", "failing", "unavailable"]
)
def test_wire_faults(intel: World, upstream: Upstream, fault: str) -> None:
    """What is no answer of Azure's is a `CollateralError` with a mend, without an identifier."""
    upstream.change(ACC_CACHE, wire_faults.WIRE_FAULTS[fault])
    with pytest.raises(CollateralError) as caught:
        azure(upstream).collateral(need(intel.platform("node")))
    assert caught.value.mend
    assert "clientid" not in str(caught.value)


def test_the_agents_failure_is_told(intel: World, upstream: Upstream) -> None:
    """Acccache's answer comes with why the agent gave none; also while it is not asked again."""
    upstream.change(METADATA, wire_faults.failing)
    source = azure(upstream)
    for _ in range(2):
        found = source.pck_certificate(machine_need(intel.platform("node")))
        (told,) = found.passing
        assert told in found.remarks
        assert told.startswith("the VM's host agent was passed over: HTTP 500")
        assert METADATA in told


def test_when_both_fail_both_are_told(intel: World, upstream: Upstream) -> None:
    """One error, with the agent's cause and acccache's, and without what was asked."""
    upstream.change(METADATA, wire_faults.failing)
    upstream.change(ACC_CACHE, wire_faults.unavailable)
    machine = intel.platform("node")
    with pytest.raises(CollateralError) as caught:
        azure(upstream).pck_certificate(machine_need(machine))
    told = caught.value.what
    assert (
        told.index(ACC_CACHE) < told.index("before it the VM's host agent") < told.index(METADATA)
    )
    assert machine.qe_id.hex() not in str(caught.value)


def test_who_has_none_does_not_speak_for_who_failed(intel: World, upstream: Upstream) -> None:
    """The agent fails and acccache has none: the agent may have it, so it is no absence."""
    stranger = World("another").platform("x")
    upstream.change(METADATA, wire_faults.failing)
    with pytest.raises(Unavailable) as caught:
        azure(upstream).pck_certificate(machine_need(stranger))
    assert "after it" in caught.value.what


def test_the_scope_is_the_whole_configuration(upstream: Upstream) -> None:
    """Azure asked elsewhere, or otherwise, is another source to a cache."""
    sources = [azure(upstream), azure(upstream, AZDCAP_COLLATERAL_VERSION="v3")]
    assert len({scope_of(source) for source in sources}) == 2
