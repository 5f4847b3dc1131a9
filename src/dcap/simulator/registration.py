"""The simulated Intel's Registration Service v1, as a Handler: machines of several packages register.

A registered machine is known by its encrypted PPID from then on (`pcs`). Unlike all other services,
this one changes the world: `Platform.registered`.

Source: Intel SGX Registration Service API; `pccs-and-pcs-api.md` §2.3, §5.
"""

from dcap.api.http import Handler, HttpRequest, HttpResponse
from dcap.api.registration import (
    ERRORS,
    AddPackageRequest,
    AddPackageResponse,
    RegisterRequest,
    RegisterResponse,
    read_request,
)
from dcap.simulator.keys import derive
from dcap.simulator.pcs import Refused, answered, by_manifest
from dcap.simulator.platform import Platform
from dcap.simulator.world import World

_ADD_REQUEST = b"SIMULATED ADD REQUEST "


def registration(world: World, *, api_key: str | None = None) -> Handler:
    """The service; with `api_key`, packages are added only for who sends that key."""

    def answer(request: HttpRequest) -> HttpResponse:
        return answered(world, request, lambda: _answer(world, request, api_key))

    return answer


def add_request(machine: Platform) -> bytes:
    """What a machine sends to have a package added."""
    return _ADD_REQUEST + machine.ppid


def membership_certificate(machine: Platform) -> bytes:
    """Opaque bytes that stand for the certificate of a package's membership."""
    return b"SIMULATED MEMBERSHIP".ljust(32, b"\0") + derive(
        machine.world.seed, "membership", machine.name, str(machine.package)
    )


def _answer(world: World, request: HttpRequest, api_key: str | None) -> HttpResponse:
    asked = read_request(request)
    if isinstance(asked, RegisterRequest):
        return _register(world, asked)
    if api_key is not None and asked.api_key != api_key:
        raise Refused(401)
    return _add_package(world, asked)


def _register(world: World, asked: RegisterRequest) -> HttpResponse:
    machine = by_manifest(world, asked.manifest)
    if not machine.cached_keys:
        raise _invalid("CachedKeysPolicyViolation")
    machine.registered = True
    return RegisterResponse(ppid=machine.ppid).to_http()


def _add_package(world: World, asked: AddPackageRequest) -> HttpResponse:
    for machine in list(world.platforms.values()):
        if machine.ca == "platform" and add_request(machine) == asked.add_request:
            break
    else:
        raise _invalid("InvalidAddRequest")
    if not machine.cached_keys:
        raise _invalid("CachedKeysPolicyViolation")
    if not machine.registered:
        raise _invalid("PlatformNotFound")
    return AddPackageResponse(certificates=(membership_certificate(machine),)).to_http()


def _invalid(code: str) -> Refused:
    return Refused(400, code, ERRORS[code])
