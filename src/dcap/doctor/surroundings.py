"""The environment of the services as well as of the shell: HOME, cache folders and owners, proxies.

A daemon has another environment than the shell in which a person looks: proxies above all. Here are
proxies, CAs, and units that were edited and not restarted; `homes` has HOME and caches, `variables` the
rest. Not here: whether a proxy lets anything through (`network`).

Source: `quote-provider.md` §1.5, §6 (rows 2, 3, 8, 13, 14).
"""

import shlex
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from dcap.doctor.accounts import status
from dcap.doctor.configured import SHELL, Configured, Reader, configured, has_intels_library
from dcap.doctor.examination import Check
from dcap.doctor.finding import Finding, Mend, Remarks, Right
from dcap.doctor.homes import look_at_homes
from dcap.doctor.scene import Scene
from dcap.doctor.services import Service, services
from dcap.doctor.surroundings_ailments import AILMENTS
from dcap.doctor.units import unit_named
from dcap.doctor.variables import look_at_variables
from dcap.qpl.qcnl_checks import host_of
from dcap.qpl.qcnl_environment import environment_remarks, proxies
from dcap.qpl.qcnl_values import QcnlConfig, Remark

__all__ = ["AILMENTS", "CHECKS"]

#: What Intel's library says of an environment -> what it is to the doctor.
_CODES: Final = {
    "qcnl-proxy-local": "surroundings-proxy",
    "qcnl-proxy-upper": "surroundings-proxy-capitals",
    "qcnl-ca-variable": "surroundings-ca-variable",
}
_GRAIN: Final = timedelta(seconds=1)


def look_at_proxies(scene: Scene) -> Remarks:
    """Proxies and CAs of each process, against the addresses that it asks."""
    files = configured(scene)
    asking = [(reader, _asked(file)) for file in files for reader in file.readers]
    shell = next(reader for reader, _ in asking if reader.name == SHELL)
    uses_intels = has_intels_library(scene.root) or any(file.changed for file in files)
    for reader, config in asking:
        if reader.service is None and not uses_intels:
            continue
        found = [*environment_remarks(reader.environ, config)]
        for remark in found:
            yield _finding(reader, remark)
        if lacking := _lacking(shell, reader, config):
            yield lacking
        elif not found:
            listed = proxies(reader.environ)
            about = tuple(f"{name}={value}" for name, value in listed.items())
            what = "reach what they should" if listed else "are none"
            yield Right(f"proxies of {reader.name} {what}", evidence=about)


def _asked(file: Configured) -> QcnlConfig:
    """What Intel's library asks by a file; its defaults where the file cannot be read."""
    return QcnlConfig() if file.reading is None else file.reading.intel


def _finding(reader: Reader, remark: Remark) -> Finding:
    code, what = _CODES[remark.code], f"{reader.name}: {remark.what}"
    if remark.code == "qcnl-proxy-local":
        host = remark.mend.removeprefix("add ").removesuffix(" to no_proxy")
        listed = reader.environ.get("no_proxy") or reader.environ.get("NO_PROXY")
        value = f"{listed},{host}" if listed else host
        return Finding(
            code,
            f"{what}, which cannot reach it",
            tuple(f"{name}={value}" for name, value in proxies(reader.environ).items()),
            tuple(_set(reader, {"no_proxy": value})),
        )
    if remark.code == "qcnl-proxy-upper":
        value = proxies({"http_proxy": reader.environ["HTTP_PROXY"]})["http_proxy"]
        mends = tuple(_set(reader, {"http_proxy": value}))
        return Finding(code, what, (f"HTTP_PROXY={value}",), mends)
    mend = Mend(
        "`sudo cp CA.crt /usr/local/share/ca-certificates/ && sudo update-ca-certificates`: "
        "the system's bundle is the only one that is read"
    )
    return Finding(code, what, (f"{remark.key} is set",), (mend,))


def _lacking(shell: Reader, reader: Reader, config: QcnlConfig) -> Finding | None:
    """A daemon that asks directly what the shell reaches by a proxy."""
    theirs = {name: value for name, value in shell.environ.items() if name.endswith("_proxy")}
    if reader.service is None or proxies(reader.environ) or not proxies(shell.environ):
        return None
    schemes = {url.partition(":")[0].lower() for url in (config.pccs_url, config.collateral_url)}
    caught = [
        name
        for name in proxies(shell.environ)
        if name.lower() == "all_proxy" or name.lower().removesuffix("_proxy") in schemes
    ]
    far = [
        url
        for url in dict.fromkeys((config.pccs_url, config.collateral_url))
        if not _is_exempt(url, theirs) and "." in host_of(url)
    ]
    if not caught or not far:
        return None
    values = {name: proxies(shell.environ)[name] for name in caught}
    return Finding(
        "surroundings-proxy-absent",
        f"{reader.name} has no proxy, and {SHELL} has one for {host_of(far[0])}",
        evidence=tuple(f"{SHELL}: {name}={value}" for name, value in values.items()),
        mends=(
            *_set(reader, values),
            Mend(f"if {host_of(far[0])} is reached directly, nothing: put it into no_proxy here"),
        ),
    )


def _is_exempt(url: str, environ: Mapping[str, str]) -> bool:
    """Whether the shell's own no_proxy, or the nearness of a host, keeps the proxy out of it."""
    host = host_of(url).lower().partition(":")[0]
    rules = (environ.get("no_proxy") or environ.get("NO_PROXY") or "").replace(",", " ").split()
    suffixes = [rule.lower().lstrip(".") for rule in rules]
    named = any(host == each or host.endswith(f".{each}") for each in suffixes)
    near = host.startswith(("127.", "10.", "192.168.", "169.254.")) or host == "localhost"
    return named or near or "*" in rules


def _set(reader: Reader, values: Mapping[str, str]) -> Iterator[Mend]:
    """How a process is given variables."""
    service = reader.service
    masked = any("…" in value for value in values.values())
    hidden = " (with its user and password in the place of …)" if masked else ""
    if service is None or not service.unit:
        words = " ".join(f"{name}={shlex.quote(value)}" for name, value in values.items())
        yield Mend(f"`export {words}`" + (f", and {service.restart}" if service else "") + hidden)
        return
    lines = "".join(f"\\nEnvironment={name}={value}" for name, value in values.items())
    text = shlex.quote(f"[Service]{lines}\\n".replace("%", "%%"))
    folder = f"/etc/systemd/system/{service.unit}.service.d"
    yield Mend(
        f"`sudo mkdir -p {folder} && printf {text} | "
        f"sudo tee {folder}/{next(iter(values)).lower().replace('_', '-')}.conf && "
        f"sudo systemctl daemon-reload && sudo systemctl restart {service.unit}`{hidden}"
    )


def look_at_units(scene: Scene) -> Remarks:
    """Units and drop-ins that were edited after their daemon had started."""
    for service in services(scene):
        if service.unit and service.started is not None:
            yield from _edited(scene, service, service.started)


def _edited(scene: Scene, service: Service, started: datetime) -> Iterator[Finding]:
    unit = unit_named(scene.root, service.unit)
    files = () if unit is None else unit.files
    later = []
    for path in files:
        about = status(scene.root, path)
        if about is None or not path.startswith("/etc/"):  # a package restarts what it installs
            continue
        changed = datetime.fromtimestamp(about.st_mtime, UTC)
        if changed > started + _GRAIN:
            later.append(f"{path} changed {changed:%Y-%m-%d %H:%M:%S} UTC")
    if later:
        yield Finding(
            "surroundings-not-restarted",
            f"{service.name} has not been restarted since its unit was edited",
            evidence=(*later, f"{service.name} started {started:%Y-%m-%d %H:%M:%S} UTC"),
            mends=(
                Mend(f"`sudo systemctl daemon-reload && sudo systemctl restart {service.unit}`"),
            ),
        )


_ROLES: Final = ("attester", "verifier")
CHECKS: Final[tuple[Check, ...]] = (
    Check("HOME and caches", look_at_homes, _ROLES),
    Check("proxies", look_at_proxies, _ROLES),
    Check("variables", look_at_variables, _ROLES),
    Check("edited units", look_at_units, _ROLES),
)
