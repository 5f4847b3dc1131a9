"""What the tests of a PCCS stand on: a simulated Intel, a store in a file, and the service between.

Not a home for assertions: each test states its own.
"""

import json
import weakref
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

from dcap.api.http import Handler, Headers, HttpRequest, HttpResponse
from dcap.formats.certificate import Certificate
from dcap.pccs.auth import Role
from dcap.pccs.handler import pccs_handler
from dcap.pccs.mode import Mode
from dcap.pccs.service import Expired, PccsService
from dcap.pccs.store.store import Store
from dcap.pccs.suppliers import Supplier, supplier
from dcap.pccs.upstream import Upstream
from dcap.simulator.platform import Platform
from dcap.simulator.services import Services, services
from dcap.simulator.world import World
from dcap.verification import TrustAnchor

BASE = "https://intel.simulated/sgx/certification/v4/"
TOKENS = {"user": "the user's token", "admin": "the administrator's token"}
USER: Headers = (("user-token", TOKENS["user"]),)
ADMIN: Headers = (("admin-token", TOKENS["admin"]),)
JSON_TYPE: Headers = (("Content-Type", "application/json"),)


def anchor_of(world: World) -> TrustAnchor:
    """The simulated root."""
    return TrustAnchor.insecure_test_root(Certificate.parse_chain(world.root_pem)[0])


class Rig:
    """A service over a store of its own, or over that of another rig (`beside`).

    `wire` stands around the simulated Intel; `suppliers` replace it; `calls` counts what it was asked.
    """

    def __init__(
        self,
        directory: Path,
        *,
        mode: Mode = Mode.LAZY,
        wire: Callable[[Handler], Handler] = lambda handler: handler,
        expired: Expired = Expired.REFUSE,
        beside: "Rig | None" = None,
        store: Store | None = None,
        api_key: str | None = None,
        asks_with: str | None = None,
        suppliers: Sequence[Supplier] | None = None,
        imports: Callable[[bytes, int], object] | None = None,
        budget: float = 60.0,
        max_body: int = 2 * 1024 * 1024,
    ) -> None:
        self.world = World("pccs") if beside is None else beside.world
        self.simulated: Services = (
            services(self.world, api_key=api_key) if beside is None else beside.simulated
        )
        self.store = store or Store.open(f"sqlite:///{directory}/pccs.db")
        if store is None:
            weakref.finalize(self, self.store.close)
        self.wire = wire(self.simulated)
        given = suppliers if suppliers is not None else [self.supplier(BASE, api_key=asks_with)]
        self.upstream = Upstream(
            given,
            self.store,
            anchor=anchor_of(self.world),
            clock=self.clock,
            monotonic=self.monotonic,
            budget=budget,
        )
        self.service = PccsService(
            self.store, self.upstream, mode=mode, expired=expired, imports=imports
        )
        self.errors: list[BaseException] = []
        self.handler = pccs_handler(
            self.service, authorise=authorise, max_body=max_body, report=self.errors.append
        )

    def clock(self) -> datetime:
        """The world's."""
        return self.world.at

    def monotonic(self) -> float:
        """Pauses and rests pass with the world's time."""
        return self.world.at.timestamp()

    def supplier(self, url: str, *, api_key: str | None = None) -> Supplier:
        """An upstream that leads to the simulated Intel, whatever its host."""
        return supplier(
            url,
            lambda _: self.wire,
            api_key=api_key,
            clock=self.clock,
            monotonic=self.monotonic,
        )

    def ask(
        self,
        line: str,
        *,
        tee: str = "sgx",
        version: int = 4,
        method: str = "GET",
        headers: Headers = (),
        body: bytes = b"",
    ) -> HttpResponse:
        """The answer to a resource and its query."""
        target = f"/{tee}/certification/v{version}/{line}"
        request = HttpRequest(method=method, target=target, headers=headers, body=body)
        return self.handler(request)

    def register(
        self, record: dict[str, object], *, line: str = "platforms", version: int = 4
    ) -> HttpResponse:
        """A machine registers."""
        return self.ask(
            line,
            version=version,
            method="POST",
            headers=(*USER, *JSON_TYPE),
            body=json.dumps(record).encode(),
        )

    @property
    def calls(self) -> list[str]:
        """The paths that the simulated Intel was asked for, so far."""
        return [logged.path for logged in self.simulated.log]

    def fill(self, machine: Platform) -> None:
        """Keep a machine and all collateral: what a rack's cache has after its first quotes."""
        helper = Rig(Path(), beside=self, store=self.store)
        assert helper.register(record_of(machine), line="platforms?update=all").status == 200


def authorise(token: str | None, role: Role) -> bool:
    """The right token for the role."""
    return token == TOKENS[role]


def record_of(machine: Platform, **other: object) -> dict[str, object]:
    """What PCKIDRetrievalTool posts for a machine that Intel knows by its PPID."""
    return {
        "qe_id": machine.qe_id.hex(),
        "pce_id": machine.pce_id.hex(),
        "cpu_svn": machine.cpu_svn.hex(),
        "pce_svn": "0d00",
        "enc_ppid": machine.encrypted_ppid.hex(),
        "platform_manifest": "",
        **other,
    }


def manifest_of(machine: Platform) -> dict[str, object]:
    """What it posts for a machine of several packages."""
    return {
        "qe_id": machine.qe_id.hex(),
        "pce_id": machine.pce_id.hex(),
        "platform_manifest": machine.manifest.hex(),
    }


def pck_line(machine: Platform, *, with_ppid: bool = True, **other: str) -> str:
    """What Intel's quote provider asks for a machine's certificate."""
    query = {
        "qeid": machine.qe_id.hex().upper(),
        **({"encrypted_ppid": machine.encrypted_ppid.hex().upper()} if with_ppid else {}),
        "cpusvn": machine.cpu_svn.hex().upper(),
        "pcesvn": "0D00",
        "pceid": machine.pce_id.hex().upper(),
        **other,
    }
    return "pckcert?" + "&".join(f"{name}={value}" for name, value in query.items())
