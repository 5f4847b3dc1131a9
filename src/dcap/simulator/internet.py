"""An internet in a box: a proxy on loopback, beyond which real host names are simulated services.

    with internet(services(world), world, directory) as box:
        ...  # https_proxy=box.proxy_url SSL_CERT_FILE=box.ca_pem: Intel's own URLs lead here

Configurations and clients stay as they are: what they ask of Intel, Azure or Alibaba by its real name
is answered by the simulated one. A host that is none of theirs is 502: nothing leaves this machine.

Hosts that clients reach with TLS get a certificate of their own from the world's TLS CA; the proxy
speaks TLS in their place. Not here: the services (`services`), faults (`wire_faults`, which are put
around them before).

Source: RFC 9110 §9.3.6 (CONNECT), RFC 9112 §3.2.2 (absolute form); for the hosts `pccs-and-pcs-api.md`
§5, `quote-provider.md` §1.6, §4.1.
"""

import re
import ssl
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit

import msgspec

from dcap.api.http import Handler, Headers, HttpRequest, HttpResponse
from dcap.serving import serving, tls_context
from dcap.simulator.pcs import ROOT_CRL_PATH
from dcap.simulator.services import ALIBABA, HOST_AGENT, INSTANCE, PCS, REGISTRATION, THIM
from dcap.simulator.tls import CA, tls_pems
from dcap.simulator.world import World


class Place(NamedTuple):
    """A kind of host: its scheme, its name, the paths it has, and where those are in `services`."""

    scheme: str
    host: re.Pattern[str]
    paths: tuple[str, ...]
    prefix: str


_REGION = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
PLACES = (
    Place("https", re.compile(r"api\.trustedservices\.intel\.com"), (*PCS, REGISTRATION), ""),
    Place("https", re.compile(r"certificates\.trustedservices\.intel\.com"), (ROOT_CRL_PATH,), ""),
    Place("https", re.compile(r"global\.acccache\.azure\.net"), PCS, THIM),
    Place("https", re.compile(rf"{_REGION}\.thim\.azure\.net"), PCS, THIM),
    Place("http", re.compile(r"169\.254\.169\.254"), (f"{HOST_AGENT}/", INSTANCE), ""),
    Place(
        "https", re.compile(rf"sgx-dcap-server(?:-vpc)?\.{_REGION}\.aliyuncs\.com"), PCS, ALIBABA
    ),
)
_PORTS = {"https": 443, "http": 80}
#: What a proxy keeps to itself.
_HOP_BY_HOP = ("proxy-connection", "proxy-authorization")
_PROXY_NAMES = ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")


class Asked(msgspec.Struct, frozen=True):
    """One request as it came: for tests, in memory alone, for it may identify a machine.

    `target` is path and query. Where no tunnel could be had, `method` is CONNECT and `target` empty.
    """

    method: str
    scheme: str
    host: str
    target: str
    headers: Headers


class Internet:
    """A Handler of absolute targets, the certificates of its hosts, and what was asked of them."""

    def __init__(
        self,
        handler: Handler,
        world: World,
        directory: Path,
        names: tuple[str, ...] | None = None,
    ) -> None:
        self.log: list[Asked] = []
        self.ca_pem = directory / CA
        self.proxy_url = ""
        self._handler = handler
        self._world = world
        self._directory = directory
        self._names = names
        self._contexts: dict[tuple[str, ...], ssl.SSLContext] = {}
        self._lock = threading.Lock()
        self.ca_pem.write_bytes(tls_pems(world)[2])

    @property
    def environment(self) -> dict[str, str]:
        """The variables by which clients come here, for every host."""
        proxies = dict.fromkeys(_PROXY_NAMES, self.proxy_url)
        ca_pem = str(self.ca_pem)
        trust = {"SSL_CERT_FILE": ca_pem, "CURL_CA_BUNDLE": ca_pem}
        return {**proxies, "no_proxy": "", "NO_PROXY": "", **trust}

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """The answer of the host whose name it is: 502 where there is none, 400 for no such target."""
        url = _url(request.target)
        if url is None:
            return HttpResponse(status=400)
        host = url.hostname or ""
        kept = tuple(h for h in request.headers if h[0].lower() not in _HOP_BY_HOP)
        path = url.path or "/"
        target = f"{path}?{url.query}" if url.query else path
        self.log.append(Asked(request.method, url.scheme, host, target, kept))
        place = _place(url.scheme, host, url.port)
        if place is None:
            return HttpResponse(status=502)
        if not target.startswith(place.paths):
            return HttpResponse(status=404)
        inner = HttpRequest(
            method=request.method, target=place.prefix + target, headers=kept, body=request.body
        )
        return self._handler(inner)

    def tunnel(self, authority: str) -> ssl.SSLContext | None:
        """As whom to speak inside a tunnel; None where the host is none of ours."""
        url = _url(f"https://{authority}")
        host = "" if url is None else url.hostname or ""
        if url is None or _place("https", host, url.port) is None:
            self.log.append(Asked("CONNECT", "https", host or authority, "", ()))
            return None
        names = self._names or (host,)
        with self._lock:
            if names not in self._contexts:
                self._contexts[names] = self._context(names)
            return self._contexts[names]

    def _context(self, names: tuple[str, ...]) -> ssl.SSLContext:
        certificate, key, _ = tls_pems(self._world, names)
        # Through files, for the standard library reads a key from nowhere else.
        with tempfile.TemporaryDirectory(dir=self._directory, prefix=".host.") as folder:
            files = Path(folder) / "certificate.pem", Path(folder) / "key.pem"
            for file, content in zip(files, (certificate, key), strict=True):
                file.write_bytes(content)
            return tls_context(*files)


@contextmanager
def internet(
    handler: Handler,
    world: World,
    directory: Path,
    *,
    port: int = 0,
    names: tuple[str, ...] | None = None,
) -> Iterator[Internet]:
    """The proxy, for as long as the block runs; `handler` is what `services` makes of the world.

    `tls_ca.pem`, the world's, is written into the directory. With `names`, every host shows a
    certificate of those instead of its own (`tls.WRONG_NAMES`).
    """
    box = Internet(handler, world, directory, names)
    with serving(box, port=port, tunnel=box.tunnel) as server:
        box.proxy_url = server.url
        yield box


def _url(target: str) -> SplitResult | None:
    """An absolute target, taken apart; None where it is none, or has no port that can be."""
    try:
        url = urlsplit(target)
        _ = url.port
    except ValueError:
        return None
    return url if url.scheme in _PORTS and url.hostname else None


def _place(scheme: str, host: str, port: int | None) -> Place | None:
    """The place of a host's name, on the usual port of its scheme alone."""
    if port not in (None, _PORTS[scheme]):
        return None
    found = (p for p in PLACES if p.scheme == scheme and p.host.fullmatch(host))
    return next(found, None)
