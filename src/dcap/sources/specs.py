"""What people write for a source, and the source that they mean.

    maker = Maker(os.environ)
    maker.make("alibaba:cn-hangzhou").source

The names are listed in `environment`, which also says who gives them, in which order they are asked, and
what is kept. Each source gets a network of its own patience: a QCNL configuration its attempts and its
checks, a cloud's host agent little time and no proxy.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec

from dcap.api.http import Handler, HttpRequest, HttpResponse
from dcap.errors import ConfigError, FormatError, Unavailable
from dcap.qpl.qcnl_values import SYSTEM_PATH, VARIABLE
from dcap.sources.need import Update
from dcap.sources.source import Source

if TYPE_CHECKING:
    from dcap.qpl.qcnl_config import QcnlConfig
    from dcap.transport import Limits, Network

ALIBABA = "https://sgx-dcap-server.{region}.aliyuncs.com/sgx/certification/v4/"
#: What may be written as a source, for people.
SPECS = "pcs, azure, alibaba:REGION, qcnl[:FILE], plugin[:PATH], bundled, a URL, or a path"
#: Where a machine says in which cloud it runs, and what it says in Azure.
CHASSIS = "sys/class/dmi/id/chassis_asset_tag"
AZURE_CHASSIS = "7783-7084-3265-9085-8269-3286-77"
#: Intel's subscription key, for machines' certificates alone.
API_KEY = "DCAP_PCS_API_KEY"
_REGION = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_INTEL = ".trustedservices.intel.com"
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
#: Azure's client waits one second for the metadata service of a VM, which elsewhere is not there.
_AGENT_SECONDS = 1.0
#: An hour: who would wait longer has mistaken the unit.
_LONGEST_TIMEOUT = 3600
#: A configuration that asks for more attempts would keep a verdict waiting.
_MOST_ATTEMPTS = 10
_NOT_THE_PLUGINS_CA = (
    "the certificates of --ca do not count for a plugin, which trusts the system's"
)
_NOT_INTELS = (
    "Intel's library would not do what this file says, and dcap does: see `dcap qcnl lint`"
)


class Made(msgspec.Struct, frozen=True):
    """One source, and whether it is asked over the network."""

    source: Source
    remote: bool


class Maker:
    """Makes sources of names. `update` is what the QCNL configurations among them ask for."""

    def __init__(
        self,
        environ: Mapping[str, str],
        *,
        ca: Path | None = None,
        timeout: float | None = None,
        offline: bool = False,
        system: Path = SYSTEM_PATH,
        machine: Path = Path("/"),
    ) -> None:
        self._environ = environ
        self._machine = machine
        self._ca = ca
        self._timeout = _seconds(timeout)
        self._offline = offline
        self._system = system
        self._network: Network | None = None
        self.update: Update | None = None

    def make(self, name: str) -> Made:
        """The source of a name. Raises `ConfigError` (`source-spec`)."""
        kind, _, rest = name.partition(":")
        match kind.lower():
            case "pcs" if not rest or _is_url(rest):
                return self._pcs(rest or None)
            case "azure" if not rest:
                return self._azure()
            case "alibaba":
                return self._alibaba(rest)
            case "qcnl":
                return self._qcnl(Path(rest) if rest else None)
            case "bundled" if not rest:
                return self.make(bundled(self._environ, system=self._system, machine=self._machine))
            case "plugin":
                return self._plugin(Path(rest) if rest else None)
            case "http" | "https" if _is_url(name):
                host = urlsplit(name).hostname or ""
                return self._pcs(name) if host.endswith(_INTEL) else self._pccs(name)
        if _SCHEME.match(name) or (kind.lower() == "pcs" and _SCHEME.match(rest)):
            raise ConfigError(
                "source-spec",
                f"{name[:40]!r} is no source: its scheme is neither https nor http",
                where="--source",
                mend=f"write {SPECS}",
            )
        return Made(_files(name), remote=False)

    def _pcs(self, base: str | None) -> Made:
        from dcap.sources.pcs import INTEL_BASE, intel_pcs  # noqa: PLC0415 - only what is used

        key = self._environ.get(API_KEY) or None
        return Made(intel_pcs(self._connect, base=base or INTEL_BASE, api_key=key), remote=True)

    def _pccs(self, base: str, name: str | None = None) -> Made:
        from dcap.sources.pccs import pccs  # noqa: PLC0415 - only what is used

        return Made(pccs(self._connect, base, name=name), remote=True)

    def _alibaba(self, region: str) -> Made:
        if not _REGION.fullmatch(region):
            raise ConfigError(
                "source-spec",
                f"{region[:40]!r} is no region of Alibaba's",
                where="alibaba:REGION",
                mend="write it as Alibaba does: alibaba:cn-hangzhou",
            )
        return self._pccs(ALIBABA.format(region=region), f"Alibaba {region}")

    def _azure(self) -> Made:
        from dcap.sources.azure_config import AzureConfig  # noqa: PLC0415 - only what is used
        from dcap.sources.thim import AzureSource  # noqa: PLC0415

        config = AzureConfig.from_environ(self._environ)
        return Made(AzureSource(config, self._connect, agent=self._agent()), remote=True)

    def _agent(self) -> Callable[[str], Handler]:
        """The VM's host agent: on this machine's link, so briefly waited for, and without a proxy."""
        if self._offline:
            return _off_the_network
        from dcap.transport import Limits, Network  # noqa: PLC0415 - only what is used
        from dcap.transport.proxies import without_proxies  # noqa: PLC0415

        patience = min(_AGENT_SECONDS, self._timeout or _AGENT_SECONDS)
        limits = Limits(connect=patience, read=patience, total=3 * patience, attempts=1)
        environ = without_proxies(self._environ)
        return Network(ca=self._ca, limits=limits, environ=environ).handler

    def _plugin(self, path: Path | None) -> Made:
        """A quote provider library. Where none is installed, or it is our own: the bundled client."""
        from dcap.qpl.discovery import conclave_choice  # noqa: PLC0415 - only what is used

        if path is not None and not path.is_file():
            raise ConfigError(
                "file-unreadable",
                "there is no such quote provider library",
                where=str(path),
                mend="`dcap provider list` shows what is installed",
            )
        path = path or conclave_choice(self._machine)
        if path is None or _is_our_own(path):
            return self.make("bundled")
        from dcap.qpl.plugin import Plugin, PluginLimits  # noqa: PLC0415 - only what is used
        from dcap.sources.plugin import PluginSource  # noqa: PLC0415

        limits = PluginLimits() if self._timeout is None else PluginLimits(call=self._timeout)
        remarks = () if self._ca is None else (_NOT_THE_PLUGINS_CA,)
        plugin = Plugin(path, environ=self._environ, limits=limits)
        source = PluginSource(plugin, environ=self._environ, offline=self._offline, remarks=remarks)
        return Made(source, remote=True)

    def _qcnl(self, path: Path | None) -> Made:
        from dcap.qpl.qcnl_config import load_qcnl  # noqa: PLC0415 - only what is used
        from dcap.sources.qcnl import qcnl  # noqa: PLC0415

        if path is not None and not path.is_file():
            raise ConfigError(
                "file-unreadable",
                "there is no such QCNL configuration",
                where=str(path),
                mend="check its name; `dcap qcnl write` makes one",
            )
        reading = load_qcnl(self._environ, path=path, system=self._system)
        config = reading.config
        self.update = self.update or config.tcb_update_type
        if self._ca is not None:  # a pin is a check
            config = msgspec.structs.replace(config, use_secure_cert=True)
        remarks = () if reading.intel == reading.config else (f"{reading.where}: {_NOT_INTELS}",)
        default = ""
        if reading.format == "absent":
            default = (
                f"{reading.where}, the QCNL configuration, cannot be read, so that Intel's default "
                f"{config.pccs_url} was asked"
            )
            remarks = (*remarks, default)
        source = qcnl(config, self._obeying(config), remarks=remarks, default=default)
        return Made(source, remote=True)

    def _obeying(self, config: "QcnlConfig") -> Callable[[str], Handler]:
        """The network as a QCNL configuration wants it: plain requests, its checks, its attempts."""
        if self._offline:
            return _off_the_network
        from dcap.transport import Network  # noqa: PLC0415 - only what is used
        from dcap.transport.proxies import is_link_local  # noqa: PLC0415

        usual = self._limits()
        attempts = min(max(usual.attempts, config.retry_times + 1), _MOST_ATTEMPTS)
        limits = msgspec.structs.replace(usual, attempts=attempts)
        # A host agent is near, or not there at all.
        near = msgspec.structs.replace(limits, connect=min(limits.connect, _AGENT_SECONDS))

        def network(limits: "Limits") -> "Network":
            return Network(
                ca=self._ca,
                verify=config.use_secure_cert,
                limits=limits,
                environ=self._environ,
                plain=True,
            )

        usually, agents = network(limits), network(near)

        def connect(origin: str) -> Handler:
            is_near = is_link_local(urlsplit(origin).hostname or "")
            return (agents if is_near else usually).handler(origin)

        return connect

    def _connect(self, origin: str) -> Handler:
        if self._offline:
            return _off_the_network(origin)
        if self._network is None:
            from dcap.transport import Network  # noqa: PLC0415 - urllib3, only if there is a need

            self._network = Network(ca=self._ca, limits=self._limits(), environ=self._environ)
        return self._network.handler(origin)

    def _limits(self) -> "Limits":
        """The usual limits, none of which outlasts the time that was given."""
        from dcap.transport import Limits  # noqa: PLC0415 - only what is used

        usual = Limits()
        if self._timeout is None:
            return usual
        return msgspec.structs.replace(
            usual,
            connect=min(usual.connect, self._timeout),
            read=min(usual.read, self._timeout),
            total=self._timeout,
        )


def bundled(
    environ: Mapping[str, str], *, system: Path = SYSTEM_PATH, machine: Path = Path("/")
) -> str:
    """Whom dcap's own client asks: `qcnl` where it is configured, `azure` in Azure, else `pcs`."""
    if VARIABLE in environ or system.exists():
        return "qcnl"
    return "azure" if is_azure(machine) else "pcs"


def is_azure(machine: Path = Path("/")) -> bool:
    """Whether this machine's firmware says that it is a virtual machine of Azure's."""
    try:
        with (machine / CHASSIS).open("rb") as file:
            return file.read(len(AZURE_CHASSIS) + 2).strip() == AZURE_CHASSIS.encode()
    except OSError:
        return False


def _is_our_own(path: Path) -> bool:
    """Whether a plugin is dcap's: it would only ask this same client, in another process, or itself."""
    from dcap.qpl.elf import load_elf  # noqa: PLC0415 - only what is used

    try:
        return "dcap_quoteprov_version" in load_elf(path).exports
    except (FormatError, OSError):
        return False  # what it is, its loading tells


def _seconds(timeout: float | None) -> float | None:
    if timeout is None or 0 < timeout <= _LONGEST_TIMEOUT:
        return timeout
    raise ConfigError(
        "source-timeout",
        f"{timeout} is no time to wait for an answer",
        where="--timeout",
        mend=f"give seconds above zero, {_LONGEST_TIMEOUT} at most",
    )


def _files(name: str) -> Source:
    """A folder, a bundle or a JSON file by its path."""
    path = Path(name)
    if not name or (not path.exists() and not any(mark in name for mark in "/\\.")):
        raise ConfigError(
            "source-spec",
            f"{name[:40]!r} is no source",
            where="--source",
            mend=f"write {SPECS}",
        )
    from dcap.sources.directory import DirectorySource  # noqa: PLC0415 - only what is used

    return DirectorySource(path)


def _is_url(text: str) -> bool:
    return text.lower().startswith(("https://", "http://"))


def _off_the_network(origin: str) -> Handler:
    """Where an answer would have to come over the network, which was not to be asked."""

    def refuse(request: HttpRequest) -> HttpResponse:  # noqa: ARG001 - it is not sent
        raise Unavailable(
            "offline",
            "the network was not to be asked, and nothing that is kept serves",
            where=origin,
            mend="leave out --offline (and DCAP_OFFLINE), or give --collateral, or name a folder or "
            "bundle with --source",
        )

    return refuse
