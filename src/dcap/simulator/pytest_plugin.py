"""Fixtures for tests of relying parties: a simulated Intel, a machine, its collateral, its services.

    def test_my_service_refuses_old_machines(dcap_platform, dcap_collateral, dcap_root):
        dcap_platform.set_status("OutOfDate")
        quote, collateral = dcap_platform.quote(b"nonce"), dcap_collateral()
        ...

pytest loads this file at every start wherever dcap is installed: it imports nothing heavy, and each
fixture imports what it needs. Not here: the verifier; give it `dcap_root` and `dcap_world.at`.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple, Protocol

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from dcap.formats.certificate import Certificate
    from dcap.formats.collateral import Collateral
    from dcap.simulator.platform import Platform
    from dcap.simulator.world import World

_MARKER = (
    "dcap_world(seed='dcap', at=None): the seed and the first instant of the test's simulated world"
)


class CollateralOf(Protocol):
    """What `dcap_collateral` is."""

    def __call__(
        self, tee: str = "SGX", *, platform: "Platform | None" = None, update: str = "standard"
    ) -> "Collateral":
        """What Intel would answer at this moment of the world."""


class Services(NamedTuple):
    """Running services. `url` has no path; `ca_pem` is the CA of their TLS certificate."""

    url: str
    ca_pem: "Path"
    world: "World"


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line("markers", _MARKER)


@pytest.fixture
def dcap_world(request: pytest.FixtureRequest) -> "World":
    """A fresh world, the same one every time: nothing a test does to it reaches another test."""
    from dcap.simulator.world import AT, World  # noqa: PLC0415 - nothing heavy at pytest's start

    marker = request.node.get_closest_marker("dcap_world")
    given = {} if marker is None else dict(marker.kwargs)
    world = World(given.pop("seed", "dcap"), given.pop("at", None) or AT)
    if given or (marker is not None and marker.args):
        pytest.fail(f"the marker takes seed and at alone: {_MARKER}", pytrace=False)
    return world


@pytest.fixture
def dcap_platform(dcap_world: "World") -> "Platform":
    """The first machine of the world: several packages, Platform CA, up to date."""
    return dcap_world.platform()


@pytest.fixture
def dcap_collateral(dcap_world: "World", dcap_platform: "Platform") -> CollateralOf:
    """A function: the collateral of a machine at this moment, for one TEE."""

    def collateral(
        tee: str = "SGX", *, platform: "Platform | None" = None, update: str = "standard"
    ) -> "Collateral":
        return dcap_world.collateral(platform or dcap_platform, tee.upper(), update=update)

    return collateral


@pytest.fixture
def dcap_root(dcap_world: "World") -> "Certificate":
    """The world's root: `dcap.TrustAnchor.insecure_test_root(dcap_root)`."""
    return dcap_world.intel.root.certificate


@pytest.fixture
def dcap_pcs(dcap_world: "World", tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    """The world's services (PCS, THIM, registration, root CRL) on loopback HTTPS while the test runs.

    They answer for the world as it is at each request, and for its first machine from the start.
    """
    from dcap.serving import serving  # noqa: PLC0415 - nothing heavy at pytest's start
    from dcap.simulator.services import services  # noqa: PLC0415
    from dcap.simulator.tls import tls_files  # noqa: PLC0415

    dcap_world.platform()
    certificate, key, ca = tls_files(dcap_world, tmp_path_factory.mktemp("dcap-tls"))
    with serving(services(dcap_world), tls=(certificate, key)) as server:
        yield Services(server.url, ca, dcap_world)
