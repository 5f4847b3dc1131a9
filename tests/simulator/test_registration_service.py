"""The simulated Registration Service: machines of several packages become known, or are refused."""

import pytest
from pcs_client import pck_cert_request

from dcap.api import registration as api
from dcap.api.http import Handler, HttpRequest
from dcap.simulator import World
from dcap.simulator.events import PlatformReregistered
from dcap.simulator.registration import add_request, membership_certificate
from dcap.simulator.services import services


@pytest.fixture
def intel() -> World:
    """A world with one machine of each CA."""
    made = World("registration tests")
    made.platform("multi")
    made.platform("single", ca="processor")
    return made


@pytest.fixture
def send(intel: World) -> Handler:
    """Its services."""
    return services(intel)


def test_a_machine_registers_and_is_known(intel: World, send: Handler) -> None:
    """Before, its PPID is unknown; registration answers 201 with the PPID; after, it is known."""
    machine = intel.platform("multi")
    machine.registered = False
    assert send(pck_cert_request(machine).to_http()).status == 404
    answer = send(api.RegisterRequest(manifest=machine.manifest).to_http())
    assert answer.status == 201
    assert api.RegisterResponse.from_http(answer).ppid == machine.ppid
    assert send(pck_cert_request(machine).to_http()).status == 200


def test_registering_twice_changes_nothing(intel: World, send: Handler) -> None:
    """The same manifest may be sent again."""
    asked = api.RegisterRequest(manifest=intel.platform("multi").manifest).to_http()
    assert send(asked) == send(asked)


def test_unknown_and_old_manifests(intel: World, send: Handler) -> None:
    """What is no machine's manifest, or one's of before a change of package, is 400."""
    machine = intel.platform("multi")
    old = machine.manifest
    PlatformReregistered("multi").apply(intel)
    for manifest in (old, b"not a manifest", intel.platform("single").manifest):
        answer = send(api.RegisterRequest(manifest=manifest).to_http())
        assert answer.status == 400
        assert answer.header("Error-Code") == "InvalidPlatformManifest"


def test_keys_that_are_not_to_be_kept(intel: World, send: Handler) -> None:
    """A machine that is registered indirectly cannot register directly, nor add packages."""
    machine = intel.platform("multi")
    machine.cached_keys = False
    for asked in (
        api.RegisterRequest(manifest=machine.manifest),
        api.AddPackageRequest(add_request=add_request(machine)),
    ):
        answer = send(asked.to_http())
        assert answer.status == 400
        assert answer.header("Error-Code") == "CachedKeysPolicyViolation"


def test_adding_a_package(intel: World, send: Handler) -> None:
    """A registered machine gets one membership certificate, in the first of eight slots."""
    machine = intel.platform("multi")
    answer = send(api.AddPackageRequest(add_request=add_request(machine)).to_http())
    assert answer.header("Certificate-Count") == "1"
    assert len(answer.body) == 8 * len(membership_certificate(machine))
    found = api.AddPackageResponse.from_http(answer)
    assert found.certificates == (membership_certificate(machine),)


@pytest.mark.parametrize(
    ("registered", "body", "code"),
    [(False, None, "PlatformNotFound"), (True, b"nonsense", "InvalidAddRequest")],
)
def test_packages_that_cannot_be_added(
    intel: World, send: Handler, registered: bool, body: bytes | None, code: str
) -> None:
    """Only to a registered machine, and only by a genuine request."""
    machine = intel.platform("multi")
    machine.registered = registered
    asked = api.AddPackageRequest(add_request=body or add_request(machine))
    answer = send(asked.to_http())
    assert (answer.status, answer.header("Error-Code")) == (400, code)


@pytest.mark.parametrize(("key", "status"), [(None, 401), ("wrong", 401), ("right", 200)])
def test_packages_need_a_key_where_one_is_required(
    intel: World, key: str | None, status: int
) -> None:
    """Registering needs no key, adding a package does."""
    machine = intel.platform("multi")
    send = services(intel, api_key="right")
    asked = api.AddPackageRequest(add_request=add_request(machine), api_key=key)
    assert send(asked.to_http()).status == status
    assert send(api.RegisterRequest(manifest=machine.manifest).to_http()).status == 201


def test_other_media_types_and_routes(send: Handler) -> None:
    """JSON is 415, an empty body 400, another path or method 404."""
    octets = (("Content-Type", api.OCTETS),)
    json = (("Content-Type", "application/json"),)
    statuses = [
        send(HttpRequest(method="POST", target=api.PLATFORM, headers=json, body=b"{}")).status,
        send(HttpRequest(method="POST", target=api.PLATFORM, headers=octets)).status,
        send(HttpRequest(target=api.PLATFORM)).status,
        send(HttpRequest(method="POST", target="/sgx/registration/v1/x", headers=octets)).status,
    ]
    assert statuses == [415, 400, 404, 404]
