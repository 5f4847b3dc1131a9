"""Sources as the provider asks them: as every other command does, and three things more.

    asking = Asking(environ)
    made = asking.make("qcnl")             # as `specs.Maker`
    asking.services                        # who gives single items
    asking.policies                        # who gives appraisal policies

An empty answer of status 200 is told from an unreadable one, as Intel's library tells it; and with a
`parameter` each request of a QCNL configuration carries it (`…_with_params`), but for one to the host of
the root's list. Not here: what the names of sources mean (`sources.specs`).

Source: `quote-provider.md` §2.1, §2.5.
"""

from base64 import b64encode
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from msgspec import structs

from dcap.api.http import Handler, HttpRequest, HttpResponse
from dcap.api.pccs import PolicyRequest
from dcap.api.pccs_responses import accepted
from dcap.errors import CollateralError
from dcap.qpl.qcnl_values import SYSTEM_PATH
from dcap.sources.endpoint import Answer, Connect, Endpoint, origin_of, target_of
from dcap.sources.pcs import certification_base
from dcap.sources.qcnl import QcnlService
from dcap.sources.service import Service, ServiceSource
from dcap.sources.specs import Made, Maker

if TYPE_CHECKING:
    from dcap.qpl.qcnl_config import QcnlConfig

#: The FMSPC -> the policy.
AskPolicy = Callable[[bytes], Answer[bytes]]


class Asking(Maker):
    """A `Maker` that remembers whom it made."""

    def __init__(
        self,
        environ: Mapping[str, str],
        *,
        ca: Path | None = None,
        timeout: float | None = None,
        offline: bool = False,
        system: Path = SYSTEM_PATH,
        machine: Path = Path("/"),
        parameter: bytes = b"",
    ) -> None:
        super().__init__(
            environ, ca=ca, timeout=timeout, offline=offline, system=system, machine=machine
        )
        self._parameter = quote(b64encode(parameter), safe="")
        self.services: list[Service] = []
        self.policies: list[AskPolicy] = []

    def make(self, name: str) -> Made:
        """The source of a name. Raises `ConfigError` (`source-spec`)."""
        made = super().make(name)
        if isinstance(made.source, ServiceSource):
            self.services.append(made.source.service)
        return made

    @property
    def is_hex(self) -> bool:
        """Whether lists are handed out in hex: where the first QCNL configuration has it so."""
        obeyed = (service for service in self.services if isinstance(service, QcnlService))
        return next((service.is_hex for service in obeyed), False)

    def _pccs(self, base: str, name: str | None = None) -> Made:
        endpoint, prefix, version = certification_base(base, self._connect)

        def ask(fmspc: bytes) -> Answer[bytes]:
            request = PolicyRequest(fmspc=fmspc, version=version).to_http(prefix)
            return endpoint.ask(request, _read_policy)

        self.policies.append(ask)
        return super()._pccs(base, name)

    def _azure(self) -> Made:
        from dcap.sources.azure_config import AzureConfig  # noqa: PLC0415 - only what is used
        from dcap.sources.thim import ThimService  # noqa: PLC0415

        # Identities and the root's list are SGX's, and the VM's agent has no part in them.
        config = AzureConfig.from_environ(self._environ)
        self.services.append(ThimService(config, self._connect))
        return super()._azure()

    def _obeying(self, config: "QcnlConfig") -> Connect:
        connect = super()._obeying(config)
        base = config.pccs_url if config.pccs_url.endswith("/") else f"{config.pccs_url}/"

        def ask(fmspc: bytes) -> Answer[bytes]:
            url = base + PolicyRequest(fmspc=fmspc).line
            endpoint = Endpoint(origin_of(url), _looked_through(connect))
            return endpoint.ask(HttpRequest(target=target_of(url)), _read_policy)

        self.policies.append(ask)
        if not self._parameter:
            return _looked_through(connect)
        return _looked_through(_with_parameter(connect, self._parameter))

    def _connect(self, origin: str) -> Handler:
        return _full(super()._connect(origin))


def _looked_through(connect: Connect) -> Connect:
    return lambda origin: _full(connect(origin))


def _full(handler: Handler) -> Handler:
    """A handler whose empty answers are errors of their own."""

    def answer(request: HttpRequest) -> HttpResponse:
        response = handler(request)
        if response.status == 200 and not response.body:
            raise CollateralError(
                "source-empty",
                "the service answered 200, and nothing else",
                mend="look at the answer with `curl -v`, and into the service's log",
            )
        return response

    return answer


def _with_parameter(connect: Connect, text: str) -> Connect:
    """`customParameter` on each request to a service; the host of the root's list is none."""

    def connected(origin: str) -> Handler:
        handler = connect(origin)

        def ask(request: HttpRequest) -> HttpResponse:
            if "/certification/" not in request.path:
                return handler(request)
            mark = "&" if "?" in request.target else "?"
            target = f"{request.target}{mark}customParameter={text}"
            return handler(structs.replace(request, target=target))

        return ask

    return connected


def _read_policy(response: HttpResponse) -> bytes:
    accepted(response)
    return response.body
