"""Every way by which `dcap verify` fetches, over real HTTPS, and everything that can go wrong on it.

A `Desk` is a folder with quotes of a simulated machine, before a simulated internet; a `Way` is what a
person configures there. Not here: what each of them comes to (`test_fetch_matrix`).
"""

import json
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from dcap.api.http import Handler, HttpRequest, HttpResponse
from dcap.serving import serving
from dcap.simulator.internet import Internet, internet
from dcap.simulator.services import services
from dcap.simulator.tls import WRONG_NAMES, tls_files
from dcap.simulator.wire_faults import WIRE_FAULTS, slow
from dcap.simulator.world import World
from dcap.sources.cache_entry import read_dcap_cache
from transcripts.desk import Outcome, run

#: Seconds that are waited for one request; where nobody answers, and everywhere else.
SHORT, LONG = 0.6, 15.0
AZURE_REGION = "westeurope"
_INTEL = "https://api.trustedservices.intel.com"
_PATH = "/sgx/certification/v4/"
_ALIBABA = "https://sgx-dcap-server.cn-hangzhou.aliyuncs.com"


class Way(NamedTuple):
    """How a person has it: `--source`, configuration, environment. `{url}` is the server on loopback.

    With `names` real hosts are asked, through the proxy. `at` is the same way to another origin, where
    a person can say so.
    """

    source: str = ""
    qcnl: Mapping[str, object] | None = None
    names: bool = True
    environ: Mapping[str, str] = {}
    at: Callable[[str], "Way"] | None = None


def _qcnl(url: str, version: str = "3.1", **more: object) -> dict[str, object]:
    return {"pccs_url": url, "pccs_api_version": version, **more}


def _pcs(base: str) -> Way:
    return Way(source=f"pcs:{base}{_PATH}", names=False)


def _pccs(base: str) -> Way:
    return Way(source=f"{base}{_PATH}", names=False)


def _of_qcnl(version: str) -> Callable[[str], Way]:
    return lambda base: Way(qcnl=_qcnl(f"{base}{_PATH}", version), names=False)


def _of_qcnl_pcs(base: str) -> Way:
    # The host's name is anywhere in the URL, as Intel's library looks for it.
    documents = f"{base}/trustedservices.intel.com{_PATH}"
    return Way(qcnl=_qcnl(f"{base}{_PATH}", collateral_service=documents), names=False)


def _azure(base: str) -> Way:
    below = f"{base}/sgx/certification"
    names = ("AZDCAP_BASE_CERT_URL", "AZDCAP_SECONDARY_BASE_CERT_URL")
    return Way(source="azure", names=False, environ=dict.fromkeys(names, below))


#: The ways of the fault table, by the heading of their column.
WAYS: Mapping[str, Way] = {
    "PCS": Way(source="pcs", at=_pcs),
    "PCCS": Way(source="{url}/alibaba/sgx/certification/v4/", names=False, at=_pccs),
    "Azure": Way(source="azure", environ={"AZDCAP_REGION_URL": AZURE_REGION}, at=_azure),
    "Alibaba": Way(source="alibaba:cn-hangzhou"),
    "qcnl 3.0": Way(
        qcnl=_qcnl("{url}/alibaba/sgx/certification/v4/", "3.0"), names=False, at=_of_qcnl("3.0")
    ),
    "qcnl 3.1": Way(
        qcnl=_qcnl("{url}/alibaba/sgx/certification/v4/"), names=False, at=_of_qcnl("3.1")
    ),
    "qcnl, PCS": Way(
        qcnl=_qcnl("{url}/alibaba/sgx/certification/v4/", collateral_service=_INTEL + _PATH),
        at=_of_qcnl_pcs,
    ),
}
#: More ways, on which nothing can go wrong that does not go wrong on those.
MORE_WAYS: Mapping[str, Way] = {
    "PCS v3": Way(source=f"pcs:{_INTEL}/sgx/certification/v3/"),
    "PCCS v3": Way(source="{url}/alibaba/sgx/certification/v3/", names=False),
    "Intel's URL": Way(source=f"{_INTEL}{_PATH}"),
    "qcnl, Azure": Way(
        qcnl=_qcnl(
            f"https://global.acccache.azure.net{_PATH}",
            collateral_service=_INTEL + _PATH,
            local_pck_url=f"http://169.254.169.254/metadata/THIM{_PATH}",
            custom_request_options={
                "get_cert": {
                    "headers": {"metadata": "true"},
                    "params": {"api-version": "2021-07-22-preview"},
                }
            },
        )
    ),
    "qcnl, Alibaba": Way(qcnl=_qcnl(f"{_ALIBABA}{_PATH}")),
    "$DCAP_SOURCE": Way(environ={"DCAP_SOURCE": "pcs"}),
}


class Desk:
    """Quotes in a folder, the services of their world, and what stands between them."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self.world = World(at=datetime.now(UTC).replace(microsecond=0))
        machine = self.world.platform()
        (folder / "root.pem").write_bytes(self.world.root_pem)
        for tee in ("sgx", "tdx"):
            (folder / f"{tee}.bin").write_bytes(machine.quote(tee=tee.upper()))
        (folder / "type3.bin").write_bytes(machine.quote(certification=3))
        self.genuine: Handler = services(self.world)
        self.handler = self.genuine
        self.asked: list[str] = []
        net, wrong = folder / "net", folder / "wrong"
        for place in (net, wrong):
            place.mkdir()
        certificate, key, self.ca = tls_files(self.world, net)
        self.url = stack.enter_context(serving(self, tls=(certificate, key))).url
        self.box = stack.enter_context(internet(self, self.world, net))
        misnamed = tls_files(self.world, wrong, names=WRONG_NAMES)
        self.wrong_url = stack.enter_context(serving(self, tls=misnamed[:2])).url
        self.wrong_box = stack.enter_context(internet(self, self.world, wrong, names=WRONG_NAMES))
        stranger = folder / "stranger"
        stranger.mkdir()
        self.stranger_ca = tls_files(World("stranger"), stranger)[2]

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """What the services answer now."""
        self.asked.append(f"{request.method} {request.target}")
        return self.handler(request)

    def verify(self, way: Way, *arguments: str, **given: Any) -> Outcome:
        """`dcap verify` of one who has it that way; `given` as for `run`."""
        return self.run("verify", *arguments, "--any-identity", way=way, **given)

    def run(
        self,
        *arguments: str,
        way: Way,
        url: str | None = None,
        box: Internet | None = None,
        ca: Path | None = None,
        cache: str = "off",
        **environ: str,
    ) -> Outcome:
        """`dcap` of one who has it that way; by default all is well."""
        url = url or self.url
        given = {
            "DCAP_OFFLINE": "",
            "DCAP_CACHE": cache,
            "DCAP_INSECURE_TEST_ROOT": "root.pem",
            **((box or self.box).environment if way.names else {}),
            "no_proxy": "127.0.0.1" if way.names else "*",
            "SSL_CERT_FILE": str(ca or self.ca),
            **{name: value.replace("{url}", url) for name, value in way.environ.items()},
            **environ,
        }
        if way.qcnl is not None:
            text = json.dumps(way.qcnl).replace("{url}", url)
            (self.folder / "qcnl.conf").write_text(text)
            given["QCNL_CONF_PATH"] = "qcnl.conf"
        if way.source:
            arguments += ("--source", way.source.replace("{url}", url))
        return run(self.folder, *arguments, **given)


@contextmanager
def desk_in(folder: Path) -> Iterator[Desk]:
    """A desk, for as long as the block runs."""
    with ExitStack() as stack:
        yield Desk(folder, stack)


class Course(NamedTuple):
    """What a run came to: its output, how long it took, how many entries are kept after it."""

    outcome: Outcome
    seconds: float
    kept: int


#: Faults that are none of the services': what stands in the table beside those of the wire.
PLACES = ("nothing listens", "unknown host", "wrong CA", "proxy down")
FAULTS = (*WIRE_FAULTS, *PLACES)
_PROXIES = ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")
#: What `slow` means here: late, and not for long.
_LATE = 0.15


def can_happen(fault: str, way: Way) -> bool:
    """Whether a way can have a fault: only real names have a proxy, and not all have other hosts."""
    if fault == "proxy down":
        return way.names
    return fault not in ("nothing listens", "unknown host") or way.at is not None


def run_with(desk: Desk, way: Way, fault: str, cache: Path, tee: str = "sgx") -> Course:
    """`dcap verify` while one thing is wrong that can happen on this way."""
    given: dict[str, Any] = {}
    if fault in WIRE_FAULTS:
        faulty = partial(slow, seconds=_LATE) if fault == "slow" else WIRE_FAULTS[fault]
        desk.handler = faulty(desk.genuine)
    if fault == "wrong-certificate":
        given = {"url": desk.wrong_url, "box": desk.wrong_box}
    elif fault == "wrong CA":
        given = {"ca": desk.stranger_ca}
    elif fault == "proxy down":
        given = dict.fromkeys(_PROXIES, f"http://127.0.0.1:{_closed_port()}")
    elif fault in PLACES:
        assert way.at is not None
        way = way.at(
            f"https://127.0.0.1:{_closed_port()}"
            if fault == "nothing listens"
            else "https://pccs.invalid"
        )
    seconds = SHORT if fault == "hanging" else LONG
    begun = time.monotonic()
    try:
        outcome = desk.verify(
            way, f"{tee}.bin", "--timeout", str(seconds), cache=str(cache), **given
        )
    finally:
        desk.handler = desk.genuine
    took = time.monotonic() - begun
    kept = len(read_dcap_cache(cache)) if cache.is_dir() else 0
    return Course(outcome, took, kept)


def _closed_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port: int = held.getsockname()[1]
        return port
