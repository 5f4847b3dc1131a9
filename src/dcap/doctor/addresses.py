"""Whom this machine asks: the configurations that are obeyed here, and the addresses in them.

A `Road` is one way of asking: Intel's library by its `qcnl.conf`, as that library really reads it in a
process of this machine; and dcap itself, where that is another one (`DCAP_SOURCE`, Azure, Intel's PCS).
Not here: a connection (`probe`, `visits`), which files there are (`configured`), what stands wrong in
them (`configuration`).

Source: `quote-provider.md` §1.1-1.6, §2.1, §4.1.
"""

from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from dcap.doctor.configured import (
    SHELL,
    Configured,
    Reader,
    configured,
    has_intels_library,
    listed,
)
from dcap.doctor.scene import Scene
from dcap.errors import DcapError
from dcap.qpl.qcnl_checks import without_credentials
from dcap.qpl.qcnl_config import MAX_SIZE, read_qcnl
from dcap.qpl.qcnl_values import QcnlConfig, Reading
from dcap.sources import specs
from dcap.sources.azure_config import AzureConfig
from dcap.sources.endpoint import origin_of, target_of
from dcap.sources.pcs import INTEL_BASE
from dcap.sources.qcnl import PCS_MARK
from dcap.transport.address import Address

SOURCE: Final = "DCAP_SOURCE"
#: The settings that hold an address; the root's list has none, and is fetched from Intel's own host.
PCCS, COLLATERAL, LOCAL, ROOT_LIST = (
    "pccs_url",
    "collateral_service",
    "local_pck_url",
    "the root's revocation list",
)
ROOT_CRL: Final = "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der"
IDENTITY: Final = "qe/identity?update=standard"
_PATH: Final = "/sgx/certification/v4/"
_DEFAULTS_HOLD: Final = ("qcnl-file-absent", "qcnl-file-empty")


class Road(msgspec.Struct, frozen=True, kw_only=True):
    """A configuration that is obeyed: where it stands, and whether Intel's library (else dcap) does.

    `readers` are the processes that do, `environ` theirs. `why` says, where it is not what somebody
    wrote, why. `lines` has the place of each setting.
    """

    name: str
    config: QcnlConfig
    by_intels: bool
    environ: Mapping[str, str]
    readers: tuple[str, ...] = ()
    why: str = ""
    lines: Mapping[str, str] = {}

    def __repr__(self) -> str:
        return f"<Road {self.name}>"

    @property
    def who(self) -> str:
        """Who asks by it."""
        others = [reader for reader in self.readers if reader != SHELL]
        within = f" in {listed(others)}" if others else ""
        return f"Intel's library{within}" if self.by_intels else "dcap"


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """An address of a road. Without `needed`, whoever asks goes on where it fails.

    `address` is `None` where `url` is none that can be asked; `problem` then says why.
    """

    road: Road
    setting: str
    url: str
    target: str = "/"
    address: Address | None = None
    problem: str = ""
    needed: bool = True

    @property
    def shown(self) -> str:
        """The URL, without what may be secret in it."""
        return without_credentials(self.url)

    @property
    def place(self) -> str:
        """Where it is written."""
        line = self.road.lines.get(self.setting, "")
        if self.setting == ROOT_LIST:
            return f"{self.setting}, to which Intel's certificates point"
        if not self.road.by_intels and not self.road.lines:
            return self.road.name
        return f"{self.setting} of {self.road.name}" + (f", {line}" if line else "")

    @property
    def secure(self) -> bool:
        """Whether the server has to prove its name."""
        return self.road.config.use_secure_cert


def roads_of(scene: Scene) -> tuple[Road, ...]:
    """All ways of asking of this machine, that of Intel's library first."""
    names = [name.strip() for name in scene.environ.get(SOURCE, "").split(",") if name.strip()]
    files = configured(scene)
    installed = has_intels_library(scene.root)
    roads = [road for file in files if _counts(file, installed) for road in _intels(file)]
    reading = files[0].reading
    if not names and not roads:
        roads.append(_bundled(scene, "dcap's default source"))
    elif not names and reading is not None and roads[0].by_intels:
        meant = _meant(reading, scene)
        if reading.format != "absent" and _bases(meant.config) != _bases(roads[0].config):
            roads.append(meant)
    for name in names:
        road = _named(name, scene, reading)
        if road is not None and all(road.config != other.config for other in roads):
            roads.append(road)
    return tuple(roads)


def asked_on(road: Road, scene: Scene) -> Iterator[Asked]:
    """The addresses of a road that the machine's roles ask."""
    config = road.config
    attests, verifies = scene.wants("attester"), scene.wants("verifier")
    if attests or (verifies and config.collateral_service is None):
        yield _asked(road, PCCS, config.pccs_url)
    judges = verifies or scene.quote is not None
    if judges and config.collateral_service is not None:
        yield _asked(road, COLLATERAL, config.collateral_service)
    if attests and config.local_pck_url:
        yield _asked(road, LOCAL, config.local_pck_url, needed=False)
    if verifies and PCS_MARK in config.collateral_url:
        yield _asked(road, ROOT_LIST, ROOT_CRL)


def _counts(file: Configured, installed: bool) -> bool:  # noqa: FBT001 - one question
    """Whether Intel's library asks by a file: one that is not there counts where the library is."""
    if file.reading is None:
        return False
    return file.named or installed or file.reading.format != "absent"


def _intels(file: Configured) -> Iterator[Road]:
    """A road for each way in which a file's readers see it, and the proxies."""
    ways: dict[tuple[object, ...], list[Reader]] = {}
    for reader in file.readers:
        proxies = ((k, v) for k, v in reader.environ.items() if k.lower().endswith("_proxy"))
        ways.setdefault((reader.trouble, *sorted(proxies)), []).append(reader)
    for readers in ways.values():
        yield _road(file, readers)


def _road(file: Configured, readers: list[Reader]) -> Road:
    reading, trouble = file.reading, readers[0].trouble
    assert reading is not None  # `_counts` has asked
    known = Road(
        name=file.path,
        config=QcnlConfig() if trouble else reading.intel,
        by_intels=True,
        environ=readers[0].environ,
        readers=tuple(reader.name for reader in readers),
    )
    if trouble:
        why = f"{file.path}: {trouble}; the built-in defaults of Intel's library then hold"
        return msgspec.structs.replace(known, why=why)
    telling = [each for each in reading.remarks if each.severity == "discarded"]
    telling += [each for each in reading.remarks if each.code in _DEFAULTS_HOLD]
    if not telling:
        return msgspec.structs.replace(known, lines=_lines(reading))
    line = f", line {telling[0].line}" if telling[0].line else ""
    return msgspec.structs.replace(known, why=f"{file.path}{line}: {telling[0].what}")


def _lines(reading: Reading) -> dict[str, str]:
    return {key: str(origin) for key, origin in reading.origins.items()}


def _meant(reading: Reading, scene: Scene) -> Road:
    """The file as its author meant it, which dcap obeys."""
    return Road(
        name=reading.where,
        config=reading.config,
        by_intels=False,
        environ=scene.environ,
        lines=_lines(reading),
    )


def _named(name: str, scene: Scene, reading: Reading | None) -> Road | None:
    """What a name in `DCAP_SOURCE` means; `None` for what is not asked over the network."""
    kind, _, rest = name.partition(":")
    title = f"{SOURCE}={without_credentials(name)}"
    services = {
        "pcs": rest or INTEL_BASE,
        "alibaba": specs.ALIBABA.format(region=rest),
        "http": name,
        "https": name,
    }
    match kind.lower():
        case service if service in services:
            return _service(title, services[service], scene)
        case "azure":
            return _azure(title, scene)
        case "qcnl" if rest:
            data = scene.root.content(rest, MAX_SIZE)
            return _meant(read_qcnl(data, where=rest), scene) if data else None
        case "qcnl" | "bundled" | "plugin" if not rest:
            absent = reading is None or reading.format == "absent"
            return _bundled(scene, title) if absent or reading is None else _meant(reading, scene)
    return None


def _bundled(scene: Scene, title: str) -> Road:
    if specs.is_azure(scene.root.top):
        return _azure("Azure's defaults", scene)
    return _service(title, INTEL_BASE, scene)


def _service(title: str, base: str, scene: Scene) -> Road:
    """A PCCS, or Intel's PCS, as dcap asks it: lists in DER."""
    whole = base if base.endswith("/") else f"{base}/"
    whole = whole if "/certification" in whole else f"{whole.rstrip('/')}{_PATH}"
    config = QcnlConfig(pccs_url=whole, pccs_api_version="3.1")
    return Road(name=title, config=config, by_intels=False, environ=scene.environ)


def _azure(title: str, scene: Scene) -> Road:
    """Azure's caches, as a configuration of QCNL would name them."""
    azure = AzureConfig.from_environ(scene.environ)
    config = QcnlConfig(
        pccs_url=f"{azure.secondary}/{azure.version}/",
        collateral_service=f"{azure.base}/{azure.version}/",
        local_pck_url="" if azure.bypass_primary else f"{azure.primary}/{azure.version}/",
        pccs_api_version="3.1",
        request_headers=(("metadata", "true"),),
        request_params=(("api-version", "2021-07-22-preview"),),
    )
    return Road(name=title, config=config, by_intels=False, environ=scene.environ)


def _bases(config: QcnlConfig) -> tuple[str, str]:
    """What two readings of a file have to share to be one road: a slash more is none the less."""
    return config.pccs_url.rstrip("/"), config.collateral_url.rstrip("/")


def _asked(road: Road, setting: str, url: str, *, needed: bool = True) -> Asked:
    known = Asked(road=road, setting=setting, url=url, needed=needed)
    if not url.isprintable() or " " in url:
        problem = "it has white space or a control character in it"
        return msgspec.structs.replace(known, problem=problem)
    try:
        address = Address.parse(origin_of(url))
    except DcapError as error:
        return msgspec.structs.replace(known, problem=error.what)
    whole = url + IDENTITY if setting in (PCCS, COLLATERAL) else url
    return msgspec.structs.replace(known, address=address, target=target_of(whole))
