"""What an examination has seen of the network: each address is walked to once, all side by side.

    visits_of(scene)        # [(asked, visit), …]: the clock, the network and the requests share them

They are kept with their scene (`once`). Not here: the walk (`probe`), the addresses (`addresses`).

Source: `quote-provider.md` §1.5 for whose certificates and proxies count.
"""

import ssl
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from dcap.doctor.addresses import Asked, Road, asked_on, roads_of
from dcap.doctor.probe import Context, Visit, probe
from dcap.doctor.scene import Scene, once
from dcap.errors import ConfigError
from dcap.qpl.discovery_root import Root
from dcap.transport.address import Address
from dcap.transport.proxies import Proxies, Proxy

_BUNDLES: Final = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
_THREADS: Final = 8


class Seen(msgspec.Struct, frozen=True):
    """All addresses of the roles, in order, with their visits (`None`: it cannot be asked at all).

    `problems` are of the proxies in the environment of who goes by a road; nobody is then asked on it.
    """

    roads: tuple[Road, ...]
    visits: tuple[tuple[Asked, Visit | None], ...]
    problems: tuple[tuple[Road, ConfigError], ...] = ()

    def of(self, road: Road, setting: str) -> Visit | None:
        """The visit of one setting of a road."""
        found = (visit for asked, visit in self.visits if _is(asked, road, setting))
        return next(found, None)


@once
def visits_of(scene: Scene) -> Seen:
    """What is at the addresses that this machine asks. Nothing is asked where the scene is offline."""
    roads = roads_of(scene)
    if scene.offline:
        return Seen(roads, ())
    proxies: dict[int, Proxies] = {}
    problems: list[tuple[Road, ConfigError]] = []
    for road in roads:
        try:
            proxies[id(road)] = Proxies.from_environ(environ_of(road))
        except ConfigError as error:
            problems.append((road, error))
    fine = [road for road in roads if id(road) in proxies]
    asked = [each for road in fine for each in asked_on(road, scene)]
    keys = [_key(each, proxies[id(each.road)]) for each in asked]
    wanted = {key: each for key, each in zip(keys, asked, strict=True) if key is not None}
    contexts = {by: context_of(bundle_for(scene, intels=by)) for _, by, _ in wanted}
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="dcap doctor") as pool:
        walks = {
            key: pool.submit(
                probe,
                key[0],
                each.target,
                trust=contexts[key[1]],
                timeout=scene.timeout,
                clock=scene.clock,
                proxy=key[2],
            )
            for key, each in wanted.items()
        }
        found = {key: walk.result() for key, walk in walks.items()}
    visits = (None if key is None else found[key] for key in keys)
    return Seen(roads, tuple(zip(asked, visits, strict=True)), tuple(problems))


def _key(asked: Asked, proxies: Proxies) -> tuple[Address, bool, Proxy | None] | None:
    """What makes a walk another one."""
    if asked.address is None:
        return None
    return asked.address, asked.road.by_intels, proxies.proxy_for(asked.address)


def environ_of(road: Road) -> Mapping[str, str]:
    """The environment as who asks sees it: libcurl knows no HTTP_PROXY, and no files of CAs."""
    if not road.by_intels:
        return road.environ
    deaf = ("HTTP_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR")
    return {name: value for name, value in road.environ.items() if name not in deaf}


def bundle_for(scene: Scene, *, intels: bool) -> Path | None:
    """Whose certificates count: the system's; for dcap, those that the environment names first."""
    named = "" if intels else scene.environ.get("SSL_CERT_FILE", "")
    if named and (file := _file(scene.root, named)) is not None:
        return file
    return next((file for path in _BUNDLES if (file := _file(scene.root, path)) is not None), None)


def context_of(bundle: Path | None) -> Context:
    """TLS with these certificates: as libcurl, whatever stands in the bundle is an end of a chain."""
    checking = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    checking.minimum_version = ssl.TLSVersion.TLSv1_2
    checking.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    if bundle is None:
        checking.load_default_certs()
    else:
        with suppress(OSError, ValueError):  # an empty bundle: then nobody is trusted
            checking.load_verify_locations(cafile=str(bundle))
    blind = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    blind.check_hostname = False
    blind.verify_mode = ssl.CERT_NONE
    return Context(checking, blind)


def _file(root: Root, path: str) -> Path | None:
    place = root.look(path)
    return root.host(place.real) if place.kind == "file" else None


def _is(asked: Asked, road: Road, setting: str) -> bool:
    return asked.road is road and asked.setting == setting
