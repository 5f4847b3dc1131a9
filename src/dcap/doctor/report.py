"""What goes into a report of a bug: findings, versions, configurations, units, plugins; without secrets.

    for part in parts_of(scene, findings): part.name, part.content, part.what

Every part goes through one `Redactor`, which has seen all of them: there is no other way in. Not here:
the archive (`cli.doctor_report`), what is masked (`redaction`).
"""

import platform
import posixpath
import re
import ssl
import stat
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

import msgspec

from dcap import __version__
from dcap.doctor.installed import installed
from dcap.doctor.pccs_places import INTEL_FOLDER
from dcap.doctor.redaction import Redactor
from dcap.doctor.scene import Scene
from dcap.doctor.services import Service, services
from dcap.doctor.units import unit_named
from dcap.qpl.discovery import discover
from dcap.qpl.discovery_root import Root, encodable

_MOST: Final = 256 * 1024
_DEPENDENCIES: Final = ("cryptography", "msgspec", "click", "urllib3", "sqlalchemy", "starlette")
_PACKAGES: Final = re.compile(
    r"sgx|tdx|tdqe|dcap|pccs|qpl|\bego\b|open-?enclave|gramine|occlum|attest", re.IGNORECASE
)
#: Variables that have a say; all others stay where they are.
_VARIABLES: Final = re.compile(
    r"(?:DCAP|AZDCAP|QCNL|SGX|TDX|TCB|RA_TLS|OE|EDG|EGO|XDG|PCCS|KUBERNETES_SERVICE)_\w+"
    r"|(?:https?|no|all)_proxy|HOME|USER|PATH|LANG|TMPDIR|LD_LIBRARY_PATH|SSL_CERT_\w+|CURL_CA_BUNDLE"
    r"|NODE_\w+|APIKEY",
    re.IGNORECASE,
)
_FILES: Final = (
    "/etc/sgx_default_qcnl.conf",
    "/etc/aesmd.conf",
    "/etc/qgs.conf",
    "/etc/tdx-attest.conf",
    "/etc/os-release",
    f"{INTEL_FOLDER}/config/default.json",
    f"{INTEL_FOLDER}/config/production.json",
)
#: Variables that name a file of settings.
_NAMING: Final = ("QCNL_CONF_PATH", "DCAP_PCCS_CONFIG")
_UNITS: Final = ("aesmd", "qgsd", "pccs", "dcap-pccs", "dcap-provider")
_DEVICES: Final = re.compile(r"sgx.*|isgx|tdx.*|vsock|vhost-vsock")


class Part(msgspec.Struct, frozen=True):
    """One file of the archive: its name, its bytes, what it is."""

    name: str
    content: bytes
    what: str


def parts_of(scene: Scene, findings: Mapping[str, Any]) -> tuple[Part, ...]:
    """All parts, masked; `findings` is the examination as `--json` prints it."""
    clean = Redactor()
    here = services(scene)
    for environ in (scene.environ, *(service.environ for service in here)):
        clean.learn_all(environ)
    if scene.machine is not None:
        machine = scene.machine
        clean.know(
            machine.qe_id.hex(), machine.cpu_svn.hex(), (machine.encrypted_ppid or b"").hex()
        )
    texts = list(_texts(scene, here))
    for _, text, _ in texts:
        clean.learn(text)
    parts = [
        Part("findings.json", _json(clean.value(findings)), "what the doctor found"),
        Part("versions.json", _json(clean.value(_versions())), "of dcap and what it stands on"),
        Part(
            "plugins.json",
            _json(clean.value(_plugins(scene))),
            "quote providers, and who loads which",
        ),
    ]
    parts += [Part(name, clean(text).encode(), what) for name, text, what in texts]
    return tuple(parts)


def _texts(scene: Scene, here: tuple[Service, ...]) -> Iterator[tuple[str, str, str]]:
    root = scene.root
    yield "machine.txt", "\n".join(_machine(root)) + "\n", "kernel, processor, device nodes"
    yield "packages.txt", _packages(root), "versions of packages that have to do with SGX and TDX"
    yield "environment.txt", _environment(scene.environ), "of the shell, as far as it has a say"
    for service in here:
        account = service.account.name if service.account else "not known"
        about = f"account {account}\nstarted {service.started}\ntold by {service.told}\n"
        name = re.sub(r"[^\w.-]+", "-", service.name)
        yield (
            f"services/{name}.txt",
            about + _environment(service.environ),
            f"{service.name} runs so",
        )
    for name in _UNITS:
        unit = unit_named(root, name)
        if unit is not None:
            whole = "".join(f"# {file}\n{_text(root, file)}\n" for file in unit.files)
            yield f"units/{name}.service", whole, f"unit of {name}, with drop-ins"
    environs = (scene.environ, *(service.environ for service in here))
    named = [environ.get(name, "") for environ in environs for name in _NAMING]
    for path in dict.fromkeys((*_FILES, *filter(None, named))):
        if root.look(path).kind == "file":
            inside = posixpath.normpath(f"/{path.lstrip('/')}")
            yield f"configuration{inside}", _text(root, path), f"{path}"


def _text(root: Root, path: str) -> str:
    return root.content(path, _MOST).decode("utf-8", "replace") or "(empty, or not readable)\n"


def _environment(environ: Mapping[str, str]) -> str:
    kept = sorted(name for name in environ if _VARIABLES.fullmatch(name))
    lines = [f"{name}={environ[name]}".replace("\n", " ") for name in kept]
    return "\n".join((*lines, f"({len(environ) - len(kept)} others left out)")) + "\n"


def _packages(root: Root) -> str:
    found = installed(root)
    if found is None:
        return "(no dpkg status: ask rpm)\n"
    lines = [f"{name} {found[name]}" for name in sorted(found) if _PACKAGES.search(name)]
    return "\n".join(lines or ["(none)"]) + "\n"


def _machine(root: Root) -> Iterator[str]:
    yield f"kernel {root.text('/proc/version').strip() or 'not known'}"
    cpuinfo = root.text("/proc/cpuinfo")
    for name in ("vendor_id", "model name"):
        found = re.search(rf"^{name}\s*:\s*(.*)$", cpuinfo, re.MULTILINE)
        yield f"{name} {found[1] if found else 'not known'}"
    flags = set(re.findall(r"\b(?:sgx\w*|tdx_guest|hypervisor)\b", cpuinfo))
    yield f"flags {' '.join(sorted(flags)) or 'neither sgx nor tdx_guest'}"
    for folder in ("/dev", "/dev/sgx"):
        for name in root.names(folder):
            if folder == "/dev/sgx" or _DEVICES.fullmatch(name):
                yield _listed(root, f"{folder}/{name}")


def _listed(root: Root, path: str) -> str:
    place = root.look(path)
    try:
        about = root.host(place.real).stat()
    except OSError as error:
        return f"{path} {error.strerror}"
    arrow = f" -> {place.real}" if place.link else ""
    return f"{path}{arrow} {stat.filemode(about.st_mode)} uid {about.st_uid} gid {about.st_gid}"


def _versions() -> dict[str, str]:
    found = {
        "dcap": __version__,
        "python": platform.python_version(),
        "openssl": ssl.OPENSSL_VERSION,
    }
    for name in _DEPENDENCIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def _plugins(scene: Scene) -> Any:  # noqa: ANN401 - a document
    return msgspec.to_builtins(discover(scene.root.top, environ=scene.environ))


def _json(value: Any) -> bytes:  # noqa: ANN401 - a document
    return msgspec.json.format(msgspec.json.encode(encodable(value)), indent=2) + b"\n"
