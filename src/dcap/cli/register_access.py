"""What `dcap register …` share: where platform data are, who is told, where certificates come from.

Not here: what is done with them (`platform_registration`).
"""

import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeVar
from urllib.parse import urlsplit

import click

from dcap.cli import arguments
from dcap.cli.collateral_set import instant_text
from dcap.cli.pccs_access import own_certificate
from dcap.errors import ConfigError
from dcap.qpl.qcnl_config import load_qcnl
from dcap.qpl.qcnl_values import VARIABLE as QCNL_FILE
from dcap.verification.anchors import TrustAnchor

if TYPE_CHECKING:
    from dcap.api.http import Handler
    from dcap.platform_registration.machine_certificate import MachineCertificate
    from dcap.platform_registration.platform_sources import Found
    from dcap.platform_registration.uefi import Variables
    from dcap.qpl.discovery_root import Root
    from dcap.sources.environment import Configured

_Command = TypeVar("_Command", bound=Callable[..., Any])

URL: Final = "DCAP_PCCS_URL"
_INTEL: Final = ".trustedservices.intel.com"

_DATA = (
    click.option(
        "--csv",
        "table",
        metavar="FILE",
        help="The table of Intel's PCKIDRetrievalTool.  [default: pckid_retrieval.csv, here or in "
        "/opt/intel/sgx-pck-id-retrieval-tool]",
    ),
    click.option(
        "--list",
        "listed",
        metavar="FILE",
        help="A platform_list.json with this machine alone, or what that tool posts.",
    ),
    click.option(
        "--quote", metavar="FILE", help="A quote of this machine, in any container; - is stdin."
    ),
    click.option(
        "--attest", is_flag=True, help="Make a quote here, as `dcap attest` does, and read that."
    ),
    click.option(
        "--reporter",
        metavar="COMMAND",
        help="With --attest: the program that makes its enclave's report, as for `dcap attest`.",
    ),
    click.option(
        "--root",
        type=click.Path(path_type=Path),
        default=Path("/"),
        metavar="DIR",
        help="Look at the system in DIR (a mounted disk), not at this one.",
    ),
)
_REACH = (
    click.option(
        "--to",
        metavar="PCCS",
        help="The PCCS's URL, or intel[:URL]: Intel itself, directly.  [default: $DCAP_PCCS_URL, else "
        "pccs_url of this machine's QCNL configuration]",
    ),
    click.option(
        "--source",
        "sources",
        multiple=True,
        metavar="SOURCE",
        help="Where the certificate comes from, as for `dcap verify`.  [default: this machine's "
        "sources; where it has none configured, the PCCS]",
    ),
    click.option(
        "--ca",
        "ca_file",
        metavar="FILE",
        help="Trust these certificates (PEM) for servers, instead of the system's.",
    ),
    click.option(
        "--insecure-test-root",
        "test_root",
        metavar="FILE",
        envvar="DCAP_INSECURE_TEST_ROOT",
        help="Trust this root instead of Intel's. For tests only.",
    ),
)


class Target(NamedTuple):
    """Who is told."""

    kind: Literal["pccs", "intel"]
    url: str


def data_options(command: _Command) -> _Command:
    """The options that say where platform data are."""
    return _with(_DATA, command)


def reach_options(command: _Command) -> _Command:
    """The options that say who is told, and asked."""
    return _with(_REACH, command)


def _with(options: tuple[Callable[[Any], Any], ...], command: _Command) -> _Command:
    for option in reversed(options):
        command = option(command)
    return command


def found(flags: Mapping[str, Any]) -> "Found":
    """The platform data, as the flags say."""
    from dcap.platform_registration.platform_sources import look  # noqa: PLC0415 - not for --help
    from dcap.qpl.discovery_root import Root  # noqa: PLC0415

    root = Root(flags["root"])
    return look(
        root,
        quote=_quote(flags, root),
        table=None if flags["table"] is None else Path(flags["table"]),
        listed=None if flags["listed"] is None else Path(flags["listed"]),
        here=Path() if root.is_running else None,
    )


def _quote(flags: Mapping[str, Any], root: "Root") -> tuple[bytes, str] | None:
    """A quote of the machine that was named, or is made now; it binds nothing, and goes nowhere."""
    name = flags["quote"]
    if name is not None and flags["attest"]:
        raise click.UsageError("--quote and --attest exclude each other")
    if flags["reporter"] is not None and not flags["attest"]:
        raise click.UsageError("--reporter goes with --attest")
    if name is not None:
        return arguments.read_input(name), name
    if not flags["attest"]:
        return None
    from dcap.attester.attester import REPORT_DATA_SIZE  # noqa: PLC0415 - only who attests
    from dcap.attester.choice import choose  # noqa: PLC0415
    from dcap.attester.reporter_command import reporter_command  # noqa: PLC0415
    from dcap.attester.surroundings import Surroundings  # noqa: PLC0415

    reporter = None if flags["reporter"] is None else reporter_command(flags["reporter"])
    attester = choose(Surroundings(root, dict(os.environ)), reporter=reporter)
    return attester.quote(bytes(REPORT_DATA_SIZE)), attester.name


def target(to: str | None, variables: "Variables") -> Target:
    """Who is told. Raises `ConfigError` (`registration-no-pccs`)."""
    from dcap.platform_registration.registrar import INTEL_URL  # noqa: PLC0415 - not for --help

    if to is not None and to.lower() != "pccs":
        word, _, url = to.partition(":")
        if word.lower() == "intel":
            known = variables.server.url if variables.server else ""
            return Target("intel", url or (known if known.startswith("https:") else INTEL_URL))
        return _of_url(to)
    if named := os.environ.get(URL):
        return _of_url(named)
    reading = load_qcnl(os.environ)
    if reading.format not in ("absent", "empty"):
        return _of_url(reading.config.pccs_url)
    raise ConfigError(
        "registration-no-pccs",
        "nothing says at which PCCS machines register",
        where=f"--to, {URL}, {QCNL_FILE}, {reading.where}",
        mend="name it: --to https://HOST:8081; `dcap qcnl write --pccs URL` makes it this machine's. "
        "Directly at Intel: --to intel",
    )


def _of_url(url: str) -> Target:
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        host = ""
    if host.endswith(_INTEL):
        return Target("intel", f"https://{host}")
    return Target("pccs", url)


def source(
    flags: Mapping[str, Any],
    anchor: TrustAnchor,
    *,
    offline: bool = False,
    cache: bool = True,
    timeout: float | None = None,
) -> "Configured":
    """Where the certificate comes from: what was named, this machine's, else the PCCS.

    A new one each time: it remembers for a while what there was not.
    """
    from dcap.sources.environment import from_environment  # noqa: PLC0415 - not for --help

    ca = Path(flags["ca_file"]) if flags["ca_file"] else None

    def made(names: list[str] | None, ca: Path | None) -> "Configured":
        return from_environment(
            names,
            ca=ca,
            offline=True if offline else None,
            anchor=anchor,
            cache=cache,
            timeout=timeout,
        )

    if flags["sources"]:
        return made(list(flags["sources"]), ca)
    own = made(None, ca)
    url = flags["to"] or os.environ.get(URL) or ""
    if own.by != "default" or not url.lower().startswith(("https:", "http:")):
        return own
    if _of_url(url).kind == "intel":
        return own
    from dcap.platform_registration.registrar import PccsRegistrar  # noqa: PLC0415

    base = PccsRegistrar(url, _nobody).base
    return made([base], ca or own_certificate(url))


def _nobody(origin: str) -> "Handler":
    """Nothing is asked to know a base."""
    raise AssertionError(origin)


def is_offline() -> bool:
    """Whether this machine's environment forbids to ask over the network."""
    from dcap.sources.environment import OFFLINE  # noqa: PLC0415 - not for --help

    return os.environ.get(OFFLINE, "").strip().lower() not in ("", "0", "false", "no")


def now() -> datetime:
    """The wall clock."""
    return datetime.now(UTC)


def certificate_value(certificate: "MachineCertificate | None") -> dict[str, Any] | None:
    """A certificate as JSON."""
    if certificate is None:
        return None
    return {
        "fmspc": certificate.fmspc.hex(),
        "ca": certificate.ca,
        "tcb_components": certificate.components.hex(),
        "pce_svn": certificate.pce_svn,
        "expires": instant_text(certificate.expires),
        "source": certificate.source,
        "fetched_at": instant_text(certificate.fetched_at),
        "file": None if certificate.file is None else str(certificate.file),
    }


def certificate_line(certificate: "MachineCertificate") -> str:
    """The same, for people."""
    return (
        f"certificate  FMSPC {certificate.fmspc.hex().upper()}, {certificate.ca} CA, TCB "
        f"{certificate.components.hex()} PCESVN {certificate.pce_svn}, until "
        f"{certificate.expires:%Y-%m-%d}"
    )
