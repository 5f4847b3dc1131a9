"""All services of a simulated world behind one origin, told apart by the beginning of the path.

    /sgx/certification/v3|v4/…  /tdx/certification/v4/…   Intel's PCS
    /sgx/registration/v1/…                                Intel's Registration Service
    /IntelSGXRootCA.der                                   the host of the root's revocation list
    /thim/sgx/certification/v4/…  /thim/tdx/…             Azure's acccache and regional THIM
    /metadata/THIM/sgx/certification/v4/pckcert           Azure's metadata service, in the VM
    /metadata/instance                                    the same: in which region the VM runs
    /alibaba/sgx/certification/v3|v4/…  /alibaba/tdx/…    Alibaba's, a plain PCCS

Not here: the socket (`serving`), its TLS certificate (`tls`), their real names (`internet`).
"""

from collections import deque

import msgspec

from dcap.api.http import Handler, HttpRequest, HttpResponse
from dcap.errors import NotFound
from dcap.simulator.alibaba import alibaba
from dcap.simulator.pcs import ROOT_CRL_PATH, answered, pcs, root_crl_host
from dcap.simulator.registration import registration
from dcap.simulator.thim import host_agent, instance, thim
from dcap.simulator.world import World

PCS = ("/sgx/certification/", "/tdx/certification/")
REGISTRATION = "/sgx/registration/"
THIM = "/thim"
HOST_AGENT = "/metadata/THIM"
INSTANCE = "/metadata/instance"
ALIBABA = "/alibaba"
#: What stands in the log for a path that no service has.
ELSEWHERE = "(no service)"
_LOG_LENGTH = 10_000


class Logged(msgspec.Struct, frozen=True):
    """One request that was answered: no query, no body, no header, for those identify machines."""

    method: str
    path: str
    status: int


class Services:
    """A Handler; `log` holds the requests so far, oldest first, the last ten thousand of them."""

    def __init__(self, world: World, *, api_key: str | None = None) -> None:
        self.world = world
        self.log: deque[Logged] = deque(maxlen=_LOG_LENGTH)
        intel = pcs(world, api_key=api_key)
        #: Beginning of the path, how much of it the service does not see, the service.
        self._services: tuple[tuple[str, str, Handler], ...] = (
            *((prefix, "", intel) for prefix in PCS),
            (REGISTRATION, "", registration(world, api_key=api_key)),
            (ROOT_CRL_PATH, "", root_crl_host(world)),
            (THIM + "/", THIM, thim(world)),
            (HOST_AGENT + "/", HOST_AGENT, host_agent(world)),
            (INSTANCE, INSTANCE, instance(world)),
            (ALIBABA + "/", ALIBABA, alibaba(world)),
        )

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """The answer of the service whose path it is; 404 where there is none."""
        for prefix, hidden, service in self._services:
            if request.target.startswith(prefix):
                response = service(_below(request, hidden))
                path = request.path if _is_plain(request) else ELSEWHERE
                break
        else:
            path, response = ELSEWHERE, answered(self.world, request, _nothing)
        self.log.append(Logged(request.method, path, response.status))
        return response


def services(world: World, *, api_key: str | None = None) -> Services:
    """All services of a world; with `api_key`, those that may ask for a subscription key do."""
    return Services(world, api_key=api_key)


def _below(request: HttpRequest, prefix: str) -> HttpRequest:
    """The request as a service below a prefix sees it."""
    return HttpRequest(
        method=request.method,
        target=request.target.removeprefix(prefix),
        headers=request.headers,
        body=request.body,
    )


def _nothing() -> HttpResponse:
    raise NotFound("pcs-route", "no service has such a resource")


def _is_plain(request: HttpRequest) -> bool:
    """Whether a path is short words alone, and so cannot hold an identifier."""
    return all(len(part) <= 24 for part in request.path.split("/"))
