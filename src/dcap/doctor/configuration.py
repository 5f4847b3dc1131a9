"""What Intel's provider is configured to, as it really reads it: `qcnl.conf` and its neighbours.

Every process has its own view (`configured`); each file is judged once, for all who read it. What is
wrong with a file is `qpl.qcnl_remarks`' to say: here it becomes findings, with who is hurt and the
commands that mend it. Not here: whether the addresses answer (`network`, `requests`).

Source: `quote-provider.md` §1, §6 (rows 1, 2, 4, 14, 15, 17).
"""

import shlex
from collections.abc import Iterable, Iterator
from typing import Final

from dcap.doctor.configuration_ailments import AILMENTS
from dcap.doctor.configuration_mends import make_readable, profile, restart, rewrite, to_file
from dcap.doctor.configured import Configured, configured, has_intels_library, listed
from dcap.doctor.edits import look_at_edits
from dcap.doctor.examination import Check
from dcap.doctor.finding import Finding, Mend, Remarks, Right, Skipped
from dcap.doctor.scene import Scene
from dcap.doctor.services import services
from dcap.qpl.qcnl_checks import OLD_API, is_intels_host, without_credentials, without_secrets
from dcap.qpl.qcnl_config import DEFAULT_PCCS_URL, VARIABLE
from dcap.qpl.qcnl_values import QcnlConfig, Remark

__all__ = ["AILMENTS", "CHECKS"]

#: Remark of a file -> what it is to the doctor; others go by their severity.
_CODES: Final = {
    "qcnl-symlink": "configuration-symlink",
    "qcnl-slash": "configuration-slash",
    "qcnl-old-api": "configuration-api-old",
    "qcnl-pcs-pck": "configuration-intel-pccs-url",
    "qcnl-address": "configuration-address",
    "qcnl-scheme": "configuration-address",
    "qcnl-api-version": "configuration-address",
    "qcnl-retry-forever": "configuration-retry-forever",
    "qcnl-delay-forever": "configuration-retry-forever",
    "qcnl-retry-long": "configuration-retry-long",
    "qcnl-tls-off": "configuration-tls-off",
    "qcnl-key-legacy": "configuration-discarded",
}
_BY_SEVERITY: Final = {
    "discarded": "configuration-discarded",
    "ignored": "configuration-ignored",
    "differs": "configuration-differs",
}
_WHAT: Final = {
    "configuration-symlink": "{path} is a symbolic link: Intel's library follows none since 2026",
    "configuration-ignored": "Intel's library ignores {keys} in {path}{effect}",
    "configuration-slash": "{keys} in {path} does not end in /",
    "configuration-api-retired": "{keys} in {path} is of API {version}, {retired}",
    "configuration-api-old": "{keys} in {path} is of API {version}, which Intel has retired",
    "configuration-intel-pccs-url": (
        "pccs_url in {path} is Intel's own service, which gives no PCK certificate without a key"
    ),
    "configuration-address": "{keys} in {path} cannot work",
    "configuration-differs": "{keys} in {path} does something else than it says",
    "configuration-retry-forever": "{keys} in {path} is negative, which means for ever",
    "configuration-retry-long": "{path} makes each request wait {seconds} s while the server is away",
    "configuration-tls-off": "use_secure_cert is false in {path}: no server's certificate is checked",
}
#: That a file is thrown away is told before what else stands in it.
_ORDER: Final = [ailment.code for ailment in AILMENTS]
_INIT: Final = {
    0: "and reports no error",
    0xE067: "and initialization says 0xE067",
    0xE001: "and initialization says 0xE001",
}


def look_at_files(scene: Scene) -> Remarks:
    """What each configuration that somebody reads comes to."""
    for file in configured(scene):
        yield from _unread(scene, file)
        if file.reading is None:
            yield Skipped(file.path, file.unread)
        elif file.reading.format in ("absent", "empty"):
            yield from _absent(scene, file)
        elif any(not reader.trouble for reader in file.readers):
            yield from _judged(scene, file)


CHECKS: Final[tuple[Check, ...]] = (
    Check("configuration", look_at_files, ("attester", "verifier")),
    Check("configuration in force", look_at_edits, ("attester", "verifier")),
)


# ── a file ──────────────────────────────────────────────────────────────────────────────────────


def _unread(scene: Scene, file: Configured) -> Iterator[Finding]:
    """Who looks for a file and cannot have it. That the system's is not there is another matter."""
    hurt = [reader for reader in file.readers if reader.trouble]
    if not hurt or (not file.named and _is_absent(scene, file)):
        return
    by = (
        f"{VARIABLE} of {listed([reader.name for reader in hurt])}" if file.named else "the default"
    )
    yield Finding(
        "configuration-unread",
        f"{listed([reader.name for reader in hurt])} cannot read its configuration "
        f"{file.path or '(no name)'}: Intel's library says nothing and asks https://localhost:8081",
        evidence=(
            f"{file.path or VARIABLE + '='}: named by {by}",
            *dict.fromkeys(f"{reader.name}: {reader.trouble}" for reader in hurt),
        ),
        mends=(*make_readable(scene, file), *restart(file)),
    )


def _is_absent(scene: Scene, file: Configured) -> bool:
    place = scene.root.look(file.path)
    return place.kind == "absent" and not place.link


def _absent(scene: Scene, file: Configured) -> Remarks:
    """No file, or an empty one: Intel's library takes its defaults."""
    if file.named and any(reader.trouble for reader in file.readers):
        return
    there = "is empty" if scene.root.look(file.path).is_there else "is not there"
    if not has_intels_library(scene.root):
        yield Skipped(
            "configuration of Intel's library",
            f"{file.path} {there}, nor is a library of Intel's that would read it",
        )
        return
    yield Finding(
        "configuration-absent",
        f"{file.path} {there}: Intel's library asks https://localhost:8081",
        evidence=(f"looked for by {file.who}",),
        mends=(Mend(f"`sudo dcap qcnl write {profile(scene)}`"), *restart(file)),
    )


def _judged(scene: Scene, file: Configured) -> Remarks:
    reading = file.reading
    assert reading is not None
    groups: dict[str, list[Remark]] = {}
    for remark in reading.remarks:
        if code := _code(scene, file, remark):
            groups.setdefault(code, []).append(remark)
    for code in sorted(groups, key=_ORDER.index):
        remarks = groups[code]
        yield Finding(
            code,
            _what(file, code, remarks),
            evidence=(*_evidence(file, remarks), f"read by {file.who}"),
            mends=(*_mends(scene, file, code, remarks), *restart(file)),
        )
    if reading.obeyed:
        advice = [each for each in reading.remarks if _code(scene, file, each) is None]
        yield Right(
            f"Intel's library does what {file.path} says: {_asks(reading.intel)}",
            evidence=(f"read by {file.who}", *_evidence(file, advice)),
        )


def _code(scene: Scene, file: Configured, remark: Remark) -> str | None:
    """What a remark is to the doctor; `None` for advice that hurts nobody here."""
    code = _CODES.get(remark.code) or _BY_SEVERITY.get(remark.severity)
    if remark.code == "qcnl-old-api" and (_is_intels(file, remark) or _has_tdx(scene)):
        return "configuration-api-retired"
    if remark.code == "qcnl-pcs-pck" and not scene.wants("attester"):
        return None
    if remark.code in ("qcnl-tdx-path", "qcnl-pcs-mode"):
        return "configuration-address" if _has_tdx(scene) else "configuration-differs"
    return code


def _is_intels(file: Configured, remark: Remark) -> bool:
    assert file.reading is not None
    value = getattr(file.reading.config, remark.key, "")
    return isinstance(value, str) and is_intels_host(value)


def _has_tdx(scene: Scene) -> bool:
    root = scene.root
    host = root.text("/sys/module/kvm_intel/parameters/tdx").strip() in ("Y", "1")
    guest = any(root.look(f"/dev/{name}").is_there for name in ("tdx_guest", "tdx-guest"))
    return host or guest or any(each.name == "qgsd" for each in services(scene))


def _what(file: Configured, code: str, remarks: list[Remark]) -> str:
    reading = file.reading
    assert reading is not None
    if code == "configuration-discarded":
        return (
            f"Intel's library throws {file.path} away {_INIT[reading.init]}; it asks "
            f"{_shown(reading.intel.pccs_url)} instead of {_shown(reading.config.pccs_url)}"
        )
    asked, meant = reading.intel.pccs_url, reading.config.pccs_url
    lost = not reading.discarded and asked == DEFAULT_PCCS_URL != meant
    version = next(
        (old[1] for url in _urls(reading.config, remarks) if (old := OLD_API.search(url))), "v3"
    )
    intels = any(_is_intels(file, remark) for remark in remarks)
    return _WHAT[code].format(
        path=file.path,
        keys=listed(list(dict.fromkeys(remark.key or "a setting" for remark in remarks))),
        effect=f", and so asks {asked}" if lost else "",
        version=version,
        retired="which Intel's service has ended" if intels else "which has no TDX",
        seconds=_seconds(reading.config),
    )


def _urls(config: QcnlConfig, remarks: Iterable[Remark]) -> Iterator[str]:
    """The addresses as they are written: `mended` changes no more of them than a last /."""
    for remark in remarks:
        value = getattr(config, remark.key, None)
        if isinstance(value, str):
            yield value


def _seconds(config: QcnlConfig) -> int:
    times, delay = config.retry_times, config.retry_delay
    return times * delay if delay > 0 else 2 ** min(times, 32) - 1


def _evidence(file: Configured, remarks: Iterable[Remark]) -> Iterator[str]:
    for remark in remarks:
        yield f"{_place(file, remark)}: {without_secrets(remark.what, _config(file))}"


def _place(file: Configured, remark: Remark) -> str:
    return f"{file.path}:{remark.line}:{remark.column}" if remark.line else file.path


def _asks(config: QcnlConfig) -> str:
    """Which addresses are asked for what."""
    if config.collateral_url == config.pccs_url:
        return f"it asks {_shown(config.pccs_url)}"
    return (
        f"it asks {_shown(config.pccs_url)} for PCK certificates and "
        f"{_shown(config.collateral_url)} for collateral"
    )


def _shown(url: str) -> str:
    return without_credentials(url)


# ── mends ───────────────────────────────────────────────────────────────────────────────────────


def _mends(scene: Scene, file: Configured, code: str, remarks: Iterable[Remark]) -> Iterator[Mend]:
    if code == "configuration-symlink":
        real = scene.root.look(file.path).real
        yield Mend(f"`sudo cp --remove-destination {shlex.quote(real)} {shlex.quote(file.path)}`")
        yield Mend("in Kubernetes mount the file with `subPath`")
        return
    if code == "configuration-tls-off":
        url, target = _shown(_config(file).pccs_url), to_file(scene, file)
        yield Mend(
            f"`sudo dcap qcnl write --pccs {url} --ca FILE{target}` with "
            "the server's CA switches it on, and says how that CA is installed"
        )
        return
    if code == "configuration-intel-pccs-url":
        target = to_file(scene, file)
        yield Mend(f"`sudo dcap qcnl write --pccs https://HOST:8081/ --intel-pcs{target}`")
        return
    if (anew := rewrite(scene, file)) and code != "configuration-retry-long":
        yield anew
    for remark in remarks:
        mend = without_secrets(remark.mend, _config(file))
        yield Mend(f"{_place(file, remark)}: {mend}")


def _config(file: Configured) -> QcnlConfig:
    assert file.reading is not None
    return file.reading.config
