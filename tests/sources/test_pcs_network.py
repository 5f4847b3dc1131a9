"""Sources over real HTTPS: the network as their Handlers, the simulated services behind a socket."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from upstream import LISTS, machine_need, need, recovering, without_pck

from dcap import CollateralError
from dcap.api.http import Handler
from dcap.qpl.qcnl_values import QcnlConfig
from dcap.serving import serving
from dcap.simulator import World, wire_faults
from dcap.simulator.alibaba import alibaba
from dcap.simulator.services import services
from dcap.simulator.tls import tls_files
from dcap.sources.first_of import FirstOf
from dcap.sources.pccs import pccs
from dcap.sources.pcs import PcsService
from dcap.sources.qcnl import qcnl
from dcap.sources.service import ServiceSource
from dcap.transport import Limits, Network

HASTY = Limits(connect=2, read=1, total=2, attempts=1)


@pytest.fixture(scope="module")
def intel() -> World:
    """A world with two machines and an announced recovery."""
    return recovering()


@pytest.fixture(scope="module")
def tls(intel: World, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """Certificate, key and CA for loopback."""
    return tls_files(intel, tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def url(intel: World, tls: tuple[Path, Path, Path]) -> Iterator[str]:
    """All services behind one socket."""
    with serving(services(intel), tls=tls[:2]) as server:
        yield server.url


def network(tls: tuple[Path, Path, Path], limits: Limits = HASTY, **given: object) -> Network:
    """The network that trusts the world's TLS CA, and no proxy."""
    return Network(ca=tls[2], limits=limits, environ={}, **given)  # type: ignore[arg-type]


@pytest.mark.parametrize("tee", ["SGX", "TDX"])
def test_pcs(intel: World, tls: tuple[Path, Path, Path], url: str, tee: str) -> None:
    """Set and certificate from Intel's PCS, the root's list from a mirror."""
    machine = intel.platform("node")
    service = PcsService(network(tls).handler, base=url, root_crl=f"{url}/IntelSGXRootCA.der")
    source = ServiceSource("PCS", service)
    fetched = source.collateral(need(machine, tee))
    assert fetched.collateral == without_pck(intel.collateral(machine, tee))
    assert source.pck_certificate(machine_need(machine)).chain == machine.pck_chain()


@pytest.mark.parametrize("version", ["3.0", "3.1"])
@pytest.mark.parametrize("tee", ["SGX", "TDX"])
def test_qcnl(intel: World, tls: tuple[Path, Path, Path], url: str, tee: str, version: str) -> None:
    """Intel's own way over the wire, with its bare headers."""
    machine = intel.platform("node")
    config = QcnlConfig(pccs_url=f"{url}/alibaba/sgx/certification/v4/", pccs_api_version=version)
    source = qcnl(config, network(tls, plain=True).handler)
    fetched = source.collateral(need(machine, tee))
    assert fetched.collateral == without_pck(intel.collateral(machine, tee))
    assert source.pck_certificate(machine_need(machine)).chain == machine.pck_chain()


FAULTS = {
    "hanging": "network-timeout",
    "cut-off": "network-cut-off",
    "redirecting": "network-redirect",
    "oversized": "network-too-large",
    "unavailable": "pccs-503",
    "html-page": "source-answer",
    "empty": "source-answer",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_wire_faults_and_failover(
    intel: World, tls: tuple[Path, Path, Path], url: str, fault: str
) -> None:
    """Each fault ends in its code within the limit, and a second source still gives the set."""
    faulty: Handler = wire_faults.WIRE_FAULTS[fault](alibaba(intel))
    machine = intel.platform("node")
    with serving(faulty, tls=tls[:2]) as server:
        broken = pccs(network(tls).handler, server.url)
        begun = time.monotonic()
        with pytest.raises(CollateralError) as caught:
            broken.collateral(need(machine))
        assert time.monotonic() - begun < 10
        assert caught.value.code == FAULTS[fault]
        genuine = pccs(network(tls).handler, f"{url}/alibaba/sgx/certification/v4/")
        fetched = FirstOf([broken, genuine]).collateral(need(machine))
    assert fetched.collateral == without_pck(intel.collateral(machine))
    assert FAULTS[fault] in fetched.remarks[0]


def test_a_stranger_in_the_servers_place(
    intel: World, tls: tuple[Path, Path, Path], url: str, tmp_path: Path
) -> None:
    """A server whose certificate does not prove: with Intel's code, and no byte of its answers."""
    others = tls_files(World("another"), tmp_path)
    with pytest.raises(CollateralError, match="0xE065 SGX_QL_ROOT_CA_UNTRUSTED") as caught:
        pccs(network(others).handler, f"{url}/alibaba/sgx/certification/v4/").collateral(
            need(intel.platform("node"))
        )
    assert caught.value.code == "network-certificate"


def test_lists_of_the_root_are_not_had_from_anywhere(
    intel: World, tls: tuple[Path, Path, Path], url: str
) -> None:
    """The root of a simulated world names Intel's host; without a mirror Intel's host is asked."""
    asked: list[str] = []
    connect = network(tls).handler

    def recorded(origin: str) -> Handler:
        asked.append(origin)
        if origin == LISTS:
            return services(intel)
        return connect(origin)

    source = ServiceSource("PCS", PcsService(recorded, base=url))
    assert source.collateral(need(intel.platform("node"))).collateral.root_ca_crl
    assert asked[-1] == LISTS


def test_how_often_was_asked_is_told(intel: World, tls: tuple[Path, Path, Path]) -> None:
    """A service that answers 503 each time: the error counts the attempts, as it does for silence."""
    with serving(wire_faults.unavailable(alibaba(intel)), tls=tls[:2]) as server:
        limits = Limits(attempts=2)
        connect = Network(ca=tls[2], environ={}, limits=limits, jitter=lambda _: 0.0).handler
        with pytest.raises(CollateralError, match="in the last of 2 attempts") as caught:
            pccs(connect, server.url).collateral(need(intel.platform("node")))
    assert caught.value.code == "pccs-503"
