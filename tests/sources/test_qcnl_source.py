"""A QCNL configuration obeyed on the wire: the requests of Intel's library, to the letter.

The lines compared with are those of `quote-provider.md` §2.1-2.2, observed of the real library.
"""

import pytest
from upstream import (
    ACC_CACHE,
    INTEL,
    LISTS,
    METADATA,
    PCCS,
    Upstream,
    machine_need,
    need,
    recovering,
    without_pck,
)

from dcap import CollateralError, ConfigError, NotFound
from dcap.api.http import Handler, HttpRequest, HttpResponse
from dcap.formats.crl import to_der
from dcap.qpl.qcnl_values import QcnlConfig
from dcap.simulator import World, wire_faults
from dcap.simulator.tcb_model import PCE_SVN
from dcap.sources.need import Update
from dcap.sources.qcnl import QcnlService, qcnl
from dcap.sources.source import scope_of

B = f"{PCCS}/sgx/certification/v4/"
B_TDX = f"{PCCS}/tdx/certification/v4/"
C = f"{INTEL}/sgx/certification/v4/"
C_TDX = f"{INTEL}/tdx/certification/v4/"
ROOT = f"{LISTS}/IntelSGXRootCA.der"


@pytest.fixture
def intel() -> World:
    """A world with two machines and an announced recovery."""
    return recovering()


@pytest.fixture
def upstream(intel: World) -> Upstream:
    """Its services."""
    return Upstream(intel)


def config(**changed: object) -> QcnlConfig:
    """A configuration for the PCCS of these tests."""
    return QcnlConfig(**{"pccs_url": B, **changed})  # type: ignore[arg-type]


#: Configuration, TEE -> the four requests, in the reference's notation; F is the FMSPC.
MODES = {
    "3.0": (
        config(pccs_api_version="3.0"),
        "SGX",
        [
            f"{B}pckcrl?ca=platform",
            f"{B}tcb?fmspc=F&update=standard",
            f"{B}qe/identity?update=standard",
            f"{B}rootcacrl",
        ],
    ),
    "3.1": (
        config(pccs_api_version="3.1"),
        "SGX",
        [
            f"{B}pckcrl?ca=platform&encoding=der",
            f"{B}tcb?fmspc=F&update=standard",
            f"{B}qe/identity?update=standard",
            f"{B}crl?uri={ROOT}",
        ],
    ),
    "3.0, TDX": (
        config(pccs_api_version="3.0"),
        "TDX",
        [
            f"{B}pckcrl?ca=platform",
            f"{B_TDX}tcb?fmspc=F&update=standard",
            f"{B_TDX}qe/identity?update=standard",
            f"{B}rootcacrl",
        ],
    ),
    "3.1, TDX": (
        config(pccs_api_version="3.1"),
        "TDX",
        [
            f"{B}pckcrl?ca=platform&encoding=der",
            f"{B_TDX}tcb?fmspc=F&update=standard",
            f"{B_TDX}qe/identity?update=standard",
            f"{B}crl?uri={ROOT}",
        ],
    ),
    "PCS, version unset": (
        config(collateral_service=C),
        "SGX",
        [
            f"{C}pckcrl?ca=platform&encoding=der",
            f"{C}tcb?fmspc=F&update=standard",
            f"{C}qe/identity?update=standard",
            ROOT,
        ],
    ),
    "PCS, 3.1, TDX": (
        config(collateral_service=C, pccs_api_version="3.1"),
        "TDX",
        [
            f"{C}pckcrl?ca=platform&encoding=der",
            f"{C_TDX}tcb?fmspc=F&update=standard",
            f"{C_TDX}qe/identity?update=standard",
            ROOT,
        ],
    ),
}


@pytest.mark.parametrize("mode", MODES)
def test_the_requests_of_a_set(intel: World, upstream: Upstream, mode: str) -> None:
    """Method, line and headers of each mode are those of Intel's library; the set is whole."""
    configured, tee, expected = MODES[mode]
    machine = intel.platform("node")
    fetched = qcnl(configured, upstream.connect).collateral(need(machine, tee))
    fmspc = machine.fmspc.hex().upper()
    assert upstream.urls == sorted(url.replace("=F&", f"={fmspc}&") for url in expected)
    assert all(request.headers == () for _, request in upstream.asked)
    assert {request.method for _, request in upstream.asked} == {"GET"}
    assert fetched.collateral == without_pck(intel.collateral(machine, tee))
    assert fetched.remarks == ()


@pytest.mark.parametrize("update", ["standard", "early"])
def test_update_is_always_there(intel: World, upstream: Upstream, update: Update) -> None:
    """`update=` stands on both documents, also when it is the default."""
    machine = intel.platform("single")
    fetched = qcnl(config(), upstream.connect).collateral(need(machine, update=update))
    assert sum(url.endswith(f"update={update}") for url in upstream.urls) == 2
    assert f"{B}pckcrl?ca=processor" in upstream.urls
    assert fetched.collateral == without_pck(intel.collateral(machine, update=update))


@pytest.mark.parametrize(
    ("base", "sent"), [(config(collateral_service=C), True), (config(), False)]
)
def test_an_evaluation_number(
    intel: World, upstream: Upstream, base: QcnlConfig, *, sent: bool
) -> None:
    """It stands in place of `update`: Intel's PCS obeys it, a PCCS of Intel's does not."""
    machine = intel.platform("node")
    wanted = need(machine, number=18)
    source = qcnl(base, upstream.connect)
    if sent:
        expected = without_pck(intel.collateral(machine, number=18))
        assert source.collateral(wanted).collateral == expected
    else:
        with pytest.raises(CollateralError) as caught:
            source.collateral(wanted)
        assert caught.value.code == "source-evaluation-number"
    documents = [url for url in upstream.urls if "/tcb?" in url or "/qe/" in url]
    assert [url.rpartition("tcbEvaluationDataNumber=")[2] for url in documents] == ["18", "18"]
    assert not any("update=" in url for url in documents)


def pckcert_line(intel: World, *, zeros: bool = False) -> str:
    """What Intel's library asks for the machine: upper case, integers little-endian."""
    machine = intel.platform("node")
    ppid = bytes(384) if zeros else machine.encrypted_ppid
    return (
        f"pckcert?qeid={machine.qe_id.hex().upper()}&encrypted_ppid={ppid.hex().upper()}"
        f"&cpusvn={machine.cpu_svn.hex().upper()}"
        f"&pcesvn={PCE_SVN.to_bytes(2, 'little').hex().upper()}&pceid={machine.pce_id.hex().upper()}"
    )


@pytest.mark.parametrize("zeros", [False, True])
def test_the_request_for_a_certificate(intel: World, upstream: Upstream, *, zeros: bool) -> None:
    """Intel's order; a PPID that is not known is 768 zeros."""
    machine = intel.platform("node")
    changed = {"encrypted_ppid": None} if zeros else {}
    found = qcnl(config(collateral_service=C), upstream.connect).pck_certificate(
        machine_need(machine, **changed)
    )
    assert upstream.urls == [B + pckcert_line(intel, zeros=zeros)]
    assert found.chain == machine.pck_chain()


AZURE = config(
    pccs_url=f"{ACC_CACHE}/sgx/certification/v4/",
    collateral_service=C,
    pccs_api_version="3.1",
    local_pck_url=f"{METADATA}/metadata/THIM/sgx/certification/v4/",
    request_headers=(("metadata", "true"),),
    request_params=(("api-version", "2021-07-22-preview"),),
)


def test_intels_profile_for_azure(intel: World, upstream: Upstream) -> None:
    """The host agent first, with the custom header and parameter, answers in JSON; lists are Intel's."""
    machine = intel.platform("node")
    source = qcnl(AZURE, upstream.connect)
    found = source.pck_certificate(machine_need(machine))
    assert found.chain == machine.pck_chain()
    line = f"{pckcert_line(intel)}&api-version=2021-07-22-preview"
    assert upstream.urls == [f"{METADATA}/metadata/THIM/sgx/certification/v4/{line}"]
    assert upstream.asked[0][1].headers == (("metadata", "true"),)
    source.collateral(need(machine))
    assert all(request.headers == () for _, request in upstream.asked[1:])
    assert not any("api-version" in url for url in upstream.urls[1:] if "/tcb" in url)


def test_whatever_fails_locally_leads_on(intel: World, upstream: Upstream) -> None:
    """Without a host agent the same request goes to `pccs_url`."""
    upstream.change(METADATA, wire_faults.failing)
    found = qcnl(AZURE, upstream.connect).pck_certificate(machine_need(intel.platform("node")))
    line = f"{pckcert_line(intel)}&api-version=2021-07-22-preview"
    assert [origin + request.target for origin, request in upstream.asked] == [
        f"{METADATA}/metadata/THIM/sgx/certification/v4/{line}",
        f"{ACC_CACHE}/sgx/certification/v4/{line}",
    ]
    assert found.origin.address == f"{ACC_CACHE}/sgx/certification/v4/pckcert"
    (told,) = found.passing
    assert told in found.remarks
    assert told.startswith("local_pck_url was passed over: HTTP 500")


def test_when_both_addresses_fail_both_are_told(intel: World, upstream: Upstream) -> None:
    """One error: that of `pccs_url`, and before it that of `local_pck_url`; Intel's code once."""
    upstream.change(METADATA, wire_faults.failing)
    upstream.change(ACC_CACHE, wire_faults.unavailable)
    with pytest.raises(CollateralError) as caught:
        qcnl(AZURE, upstream.connect).pck_certificate(machine_need(intel.platform("node")))
    told = caught.value.what
    assert told.index(ACC_CACHE) < told.index("before it local_pck_url") < told.index(METADATA)
    assert told.count("Intel's code") == 1


def test_parameters_go_out_verbatim(intel: World, upstream: Upstream) -> None:
    """Custom parameters are appended as they were written, unescaped."""
    odd = config(request_params=(("a", "x/y:z"), ("b", "")))
    qcnl(odd, upstream.connect).pck_certificate(machine_need(intel.platform("node")))
    assert upstream.urls == [f"{B}{pckcert_line(intel)}&a=x/y:z&b="]


def test_local_cache_only(intel: World, upstream: Upstream) -> None:
    """The network is not asked for certificates; collateral is unaffected."""
    source = qcnl(config(local_cache_only=True), upstream.connect)
    with pytest.raises(NotFound) as caught:
        source.pck_certificate(machine_need(intel.platform("node")))
    assert caught.value.code == "source-no-pck"
    assert upstream.asked == []
    assert source.collateral(need(intel.platform("node"))).collateral.tcb_info


def test_lists_in_hex_become_der(intel: World, upstream: Upstream) -> None:
    """What API 3.0 sends as text is the same list."""
    service = QcnlService(config(), upstream.connect)
    genuine = upstream.handlers[PCCS](HttpRequest(target="/sgx/certification/v4/rootcacrl"))
    assert genuine.body[:2] == b"30"
    assert service.root_ca_crl("rootcacrl").value == to_der(genuine.body)


def test_no_sgx_in_the_url(intel: World) -> None:
    """Without /sgx/ Intel's library cannot make a TDX URL of it; SGX works."""
    upstream = Upstream(intel)
    genuine = upstream.handlers[PCCS]

    def elsewhere(request: HttpRequest) -> HttpResponse:
        target = request.target.replace("/cache/", "/sgx/certification/v4/", 1)
        return genuine(HttpRequest(target=target))

    upstream.handlers[PCCS] = elsewhere
    source = qcnl(config(pccs_url=f"{PCCS}/cache/"), upstream.connect)
    machine = intel.platform("node")
    assert source.collateral(need(machine)).collateral == without_pck(intel.collateral(machine))
    with pytest.raises(NotFound) as caught:
        source.collateral(need(machine, "TDX"))
    assert caught.value.code == "source-no-tdx"


def test_a_missing_slash_is_added_and_told(intel: World, upstream: Upstream) -> None:
    """Intel's library would ask …/v4pckcrl; a remark says so."""
    source = qcnl(config(pccs_url=B.rstrip("/")), upstream.connect)
    fetched = source.collateral(need(intel.platform("node")))
    assert f"{B}rootcacrl" in upstream.urls
    assert "does not end in a slash" in fetched.remarks[0]


def test_unproven_servers_are_told(intel: World, upstream: Upstream) -> None:
    """`use_secure_cert: false` is spoken about with whatever comes that way."""
    source = qcnl(config(use_secure_cert=False), upstream.connect)
    machine = intel.platform("node")
    assert "use_secure_cert is false" in source.collateral(need(machine)).remarks[0]
    found = source.pck_certificate(machine_need(machine))
    assert "use_secure_cert is false" in found.remarks[0]


def test_in_pcs_mode_other_hosts_are_not_followed(intel: World, upstream: Upstream) -> None:
    """The root's list is had from Intel, not from wherever an unproven certificate points."""
    service = QcnlService(config(collateral_service=C), upstream.connect)
    with pytest.raises(CollateralError) as caught:
        service.root_ca_crl("https://evil.example/x.der")
    assert caught.value.code == "source-crl-address"


@pytest.mark.parametrize("key", ["pccs_url", "collateral_service", "local_pck_url"])
def test_urls_that_are_none(upstream: Upstream, key: str) -> None:
    """A URL without a scheme is found when the source is made, not when it is asked."""
    with pytest.raises(ConfigError) as caught:
        qcnl(config(**{key: "localhost:8081/sgx/certification/v4/"}), upstream.connect)
    assert caught.value.code == "source-url"


def test_other_identities(upstream: Upstream) -> None:
    """QVE's is asked by its route; Intel's library knows no other."""
    service = QcnlService(config(), upstream.connect)
    assert service.identity("QVE").address == f"{B}qve/identity"
    with pytest.raises(NotFound):
        service.identity("QAE")


def test_a_user_in_a_url_is_refused_with_what_to_do(upstream: Upstream) -> None:
    """Intel's library would send it; dcap says that it sends none, and shows no password."""
    with pytest.raises(ConfigError) as caught:
        qcnl(config(pccs_url="https://user:hunter2@h/sgx/certification/v4/"), upstream.connect)
    assert caught.value.code == "source-url"
    assert "take them out" in caught.value.mend
    assert "hunter2" not in str(caught.value)


def test_the_scope_is_the_whole_configuration(upstream: Upstream) -> None:
    """Another host for certificates, or no check of the servers, is another source to a cache."""
    changes: tuple[dict[str, object], ...] = (
        {},
        {"local_pck_url": f"{METADATA}/x/"},
        {"use_secure_cert": False},
        {"pccs_api_version": "3.1"},
    )
    scopes = {scope_of(qcnl(config(**change), upstream.connect)) for change in changes}
    assert len(scopes) == 4


@pytest.mark.parametrize("version", ["3.0", "3.1"])
def test_a_pccs_that_is_asked_for_a_uri_of_intels_stays_a_pccs(
    intel: World, upstream: Upstream, version: str
) -> None:
    """Its refusal of the root's list is a PCCS's, whatever stands in the query."""

    def refusing(origin: str) -> Handler:
        def answer(request: HttpRequest) -> HttpResponse:
            if "crl" in request.path.rpartition("/")[2] and "pckcrl" not in request.path:
                return HttpResponse(status=461)
            return upstream.connect(origin)(request)

        return answer

    configured = config(pccs_api_version=version)
    with pytest.raises(CollateralError) as told:
        qcnl(configured, refusing).collateral(need(intel.platform("node")))
    assert told.value.code == "pccs-461"
