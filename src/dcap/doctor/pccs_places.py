"""The PCCSs of this machine: dcap's and Intel's, by their units, folders and configuration files.

Values of settings that are secrets are never kept: of an API key only whether there is one. Not here:
what is wrong with a service (`pccs_service`).

Source: `pccs-and-pcs-api.md` §3.1; `dcap.pccs.setting_table` for ours.
"""

import posixpath
import tomllib
from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

from dcap.doctor.processor import number_in
from dcap.doctor.scene import Scene
from dcap.doctor.services import Service, services
from dcap.qpl.discovery_root import Root
from dcap.qpl.qcnl_json import parse

PORT: Final = 8081
INTEL_FOLDER: Final = "/opt/intel/sgx-dcap-pccs"
#: A later file overrides an earlier one, as node-config has it.
_INTEL_FILES: Final = ("config/default.json", "config/production.json")
_DATA: Final = "/var/lib/dcap-pccs"
_OF_DATA: Final = ("pccs.db", "tokens.json", "tls_certificate.pem")


_WHERE: Final = ("host", "port", "client_ca")
_EVERYWHERE: Final = ("", "0.0.0.0", "::", "127.0.0.1", "::1", "localhost")  # noqa: S104 - read, not bound
#: Columns of /proc/net/tcp, and the state of a socket that listens.
_STATE: Final = 3
_INODE: Final = 9
_LISTENS: Final = "0A"


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """One PCCS: whose it is, by what one can tell, where it listens.

    `unreadable` names a file of settings that could not be understood. Of Intel's alone: `mode`,
    `upstream` (an origin and path), and whether it has an API key.
    """

    kind: Literal["dcap", "intel"]
    sign: str
    host: str = "localhost"
    port: int = PORT
    #: Its clients have to show a certificate: it cannot be asked from here.
    wants_certificate: bool = False
    unit: str = ""
    running: bool = False
    file: str = ""
    unreadable: str = ""
    mode: str = "lazy"
    upstream: str = ""
    has_key: bool = True


def places(scene: Scene) -> tuple[Place, ...]:
    """Every PCCS that this machine seems to have, dcap's first."""
    found = {service.name: service for service in services(scene) if service.work == "pccs"}
    ours = _ours(scene, found.get("dcap-pccs"))
    intels = _intels(scene.root, found.get("pccs"))
    return tuple(place for place in (ours, intels) if place is not None)


def _ours(scene: Scene, service: Service | None) -> Place | None:
    environ: Mapping[str, str] = scene.environ if service is None else service.environ
    home = scene.account.home if service is None else service.home
    base = environ.get("XDG_DATA_HOME") or posixpath.join(home or "/", ".local/share")
    folders = [environ.get("DCAP_PCCS_DATA", ""), posixpath.join(base, "dcap/pccs"), _DATA]
    kept = (posixpath.join(folder, name) for folder in folders if folder for name in _OF_DATA)
    sign = next((path for path in kept if scene.root.look(path).is_there), "")
    if service is None and not sign:
        return None
    file = environ.get("DCAP_PCCS_CONFIG", "")
    settings, unreadable = _settings_of_ours(scene.root, environ, file)
    return Place(
        kind="dcap",
        sign=_sign(sign, service),
        host=_address(settings["host"]),
        port=_listening(scene.root, service) or _number(settings["port"]),
        wants_certificate=bool(settings["client_ca"]),
        unit="" if service is None else service.unit,
        running=service is not None and service.pid is not None,
        file=file,
        unreadable=unreadable,
    )


def _settings_of_ours(
    root: Root, environ: Mapping[str, str], file: str
) -> tuple[Mapping[str, Any], str]:
    """Those that say where it listens, the environment's first; and the file, where it is unreadable."""
    try:
        written = tomllib.loads(root.text(file)) if file else {}
    except tomllib.TOMLDecodeError:
        written, unreadable = {}, file
    else:
        unreadable = ""
    named = {name: environ.get(f"DCAP_PCCS_{name.upper()}", "") for name in _WHERE}
    return {name: named[name] or written.get(name, "") for name in _WHERE}, unreadable


def _number(port: Any) -> int:  # noqa: ANN401 - what a person wrote
    return number_in(str(port)) or PORT


def _address(host: Any) -> str:  # noqa: ANN401 - what a person wrote
    """Where it is asked: localhost, unless it listens at one other address alone."""
    first = str(host).split(",")[0].strip()
    if first in _EVERYWHERE:
        return "localhost"
    return f"[{first}]" if ":" in first else first


def _intels(root: Root, service: Service | None) -> Place | None:
    settings: dict[str, Any] = {}
    first = unreadable = ""
    for path in (posixpath.join(INTEL_FOLDER, name) for name in _INTEL_FILES):
        if not root.look(path).is_there:
            continue
        first = first or path
        document = parse(root.text(path).removeprefix("\ufeff"))
        if document.root is None or document.root.kind != "object":
            unreadable = unreadable or path
            continue
        settings |= {one.key: one.value.content for one in document.root.members()}
    if service is None and not first:
        return None
    return Place(
        kind="intel",
        sign=_sign(first, service),
        host=_address(settings.get("hosts", "")),
        port=_listening(root, service) or _number(settings.get("HTTPS_PORT", PORT)),
        unit="" if service is None else service.unit,
        running=service is not None and service.pid is not None,
        file=first,
        unreadable=unreadable,
        mode=str(settings.get("CachingFillMode", "LAZY")).lower(),
        upstream=str(settings.get("uri", "")),
        has_key=not first or bool(settings.get("ApiKey")),
    )


def _sign(path: str, service: Service | None) -> str:
    if path or service is None:
        return f"{path} is there"
    return f"process {service.pid} is one" if service.pid else f"there is a unit {service.unit}"


def _listening(root: Root, service: Service | None) -> int | None:
    """The port at which the service's process really listens, where that can be seen."""
    if service is None or service.pid is None:
        return None
    process = f"/proc/{service.pid}"
    sockets = {_target(root, f"{process}/fd/{name}") for name in root.names(f"{process}/fd")}
    ports = set()
    for table in ("tcp", "tcp6"):
        for line in root.text(f"{process}/net/{table}").splitlines()[1:]:
            fields = line.split()
            if len(fields) <= _INODE or fields[_STATE] != _LISTENS:
                continue
            if f"socket:[{fields[_INODE]}]" in sockets:
                ports.add(int(fields[1].rpartition(":")[2], 16))
    return PORT if PORT in ports else min(ports, default=None)


def _target(root: Root, path: str) -> str:
    try:
        return str(root.host(path).readlink())
    except OSError:
        return ""
