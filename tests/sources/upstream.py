"""The simulated services at their origins, as a `Connect`, and what was asked of them.

No mock: every answer is the simulator's, for whatever is asked.
"""

from collections.abc import Callable
from threading import Lock
from urllib.parse import urlsplit

from dcap.api.http import Handler, HttpRequest, HttpResponse
from dcap.errors import Unavailable
from dcap.formats.collateral import Collateral
from dcap.formats.quote import Quote
from dcap.simulator import Platform, World
from dcap.simulator.alibaba import alibaba
from dcap.simulator.events import RecoveryAnnounced
from dcap.simulator.services import services
from dcap.simulator.tcb_model import PCE_SVN
from dcap.simulator.thim import thim
from dcap.sources.need import CollateralNeed, MachineNeed, Update, need_of

INTEL = "https://api.trustedservices.intel.com"
LISTS = "https://certificates.trustedservices.intel.com"
PCCS = "https://pccs.example:8081"
ACC_CACHE = "https://global.acccache.azure.net"
REGION = "https://westeurope.thim.azure.net"
METADATA = "http://169.254.169.254"


class Upstream:
    """Services by origin. `asked` holds (origin, request), in the order in which they came."""

    def __init__(self, world: World) -> None:
        everything = services(world)
        self.handlers: dict[str, Handler] = {
            INTEL: everything,
            LISTS: everything,
            METADATA: everything,
            PCCS: alibaba(world),
            ACC_CACHE: thim(world),
            REGION: thim(world),
        }
        self.asked: list[tuple[str, HttpRequest]] = []
        self._lock = Lock()

    def connect(self, origin: str) -> Handler:
        """Who answers at an origin; nobody, where there is no such host."""

        def answer(request: HttpRequest) -> HttpResponse:
            with self._lock:
                self.asked.append((origin, request))
            if origin not in self.handlers:
                host = urlsplit(origin).hostname
                raise Unavailable("network-name", f"{host} is not known", where=origin)
            return self.handlers[origin](request)

        return answer

    def change(self, origin: str, changed: Callable[[Handler], Handler]) -> None:
        """Put something between an origin and whoever asks it."""
        self.handlers[origin] = changed(self.handlers[origin])

    @property
    def urls(self) -> list[str]:
        """What was asked, in alphabetical order: the requests of a set go out side by side."""
        return sorted(origin + request.target for origin, request in self.asked)


def recovering(name: str = "sources") -> World:
    """A world with one machine of each CA, where the early generation is not the standard one."""
    world = World(name)
    world.platform("node")
    world.platform("single", ca="processor")
    RecoveryAnnounced().apply(world)
    return world


def need(
    machine: Platform, tee: str = "SGX", *, update: Update = "standard", number: int | None = None
) -> CollateralNeed:
    """What a quote of a machine needs."""
    quote = Quote.parse(machine.quote(tee=tee))
    return need_of(quote, update=update, evaluation_number=number)


def machine_need(machine: Platform, **changed: object) -> MachineNeed:
    """What names a machine."""
    fields: dict[str, object] = {
        "qe_id": machine.qe_id,
        "cpu_svn": machine.cpu_svn,
        "pce_svn": PCE_SVN,
        "pce_id": machine.pce_id,
        "encrypted_ppid": machine.encrypted_ppid,
    }
    return MachineNeed(**{**fields, **changed})  # type: ignore[arg-type]


def without_pck(collateral: Collateral) -> Collateral:
    """What a source gives for a need: the PCK chain is not part of it."""
    pieces = {name: getattr(collateral, name) for name in Collateral.__struct_fields__}
    return Collateral(**{**pieces, "pck_certificate_chain": None})
