"""What the administrator's commands share: the PCCS that is meant, its token, TLS, progress on stderr.

A token is never an argument, for a command line is seen by everybody: it comes from a file, from
`$DCAP_PCCS_TOKEN`, or is asked for. Not here: what is asked of the PCCS (`pccs.client.remote`).
"""

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import click

from dcap.cli import arguments, output
from dcap.errors import CollateralError, ConfigError

if TYPE_CHECKING:
    from dcap.api.http import Handler, HttpRequest, HttpResponse
    from dcap.pccs.client.remote import RemotePccs
    from dcap.sources.endpoint import Connect
    from dcap.transport import Network

_Command = TypeVar("_Command", bound=Callable[..., Any])

TOKEN = "DCAP_PCCS_TOKEN"  # noqa: S105 - the variable's name
DEFAULT_URL = "https://localhost:8081"
#: Imports take their time, and lists of ten thousand machines their bytes.
_SILENCE, _ANSWER = 300.0, 1 << 30
_LONGEST_SECRET = 1024
#: Where plain HTTP was sent to a port that speaks TLS, the answer is none.
_NOT_PLAIN = frozenset({"network-protocol", "network-cut-off", "network-refused", "network-tls"})
_MENDS = {
    "network-certificate": "give the certificate that the service made: --ca "
    "DIR/tls_certificate.pem of its folder, or on its own host DCAP_PCCS_DATA=DIR; and ask it by a "
    "name that stands in it",
}
_LOOPBACK = ("localhost", "127.0.0.1", "::1")

#: For one request: of an administrator who imports, of monitoring that must not hang.
_PATIENCE, BRIEF = 600.0, 10.0

_TRUST = (
    click.option(
        "--ca",
        "ca_file",
        metavar="FILE",
        envvar="DCAP_PCCS_CA",
        help="Trust these certificates (PEM) for the server, instead of the system's: a CA's, or the "
        "server's own. [env: DCAP_PCCS_CA]",
    ),
    click.option(
        "--insecure-no-tls-check",
        "unchecked",
        is_flag=True,
        help="Believe whoever answers. A token that is sent so is no longer a secret.",
    ),
)
_PCCS = (
    click.option(
        "-u",
        "--url",
        default=DEFAULT_URL,
        show_default=True,
        envvar="DCAP_PCCS_URL",
        metavar="URL",
        help="The PCCS: origin, base, or the URL that Intel's tool is given. [env: DCAP_PCCS_URL]",
    ),
    click.option(
        "--token-file",
        metavar="FILE",
        help="The admin token; - is stdin. Else $DCAP_PCCS_TOKEN; else it is asked for.",
    ),
)


def pccs_options(command: _Command) -> _Command:
    """The options that say which PCCS, and with what token."""
    return _with((*_PCCS, *_TRUST, _timeout(_PATIENCE)), command)


def tls_options(command: _Command) -> _Command:
    """The options of a connection alone."""
    return _with((*_TRUST, _timeout(_PATIENCE)), command)


def brief_options(command: _Command) -> _Command:
    """The same for who only looks: ten seconds, unless told otherwise."""
    return _with((*_TRUST, _timeout(BRIEF)), command)


def _timeout(seconds: float) -> Callable[[Any], Any]:
    return click.option(
        "--timeout",
        type=click.FloatRange(min=0, min_open=True),
        default=seconds,
        show_default=True,
        metavar="SECONDS",
        help="Wait so long for one request.",
    )


def _with(options: tuple[Callable[[Any], Any], ...], command: _Command) -> _Command:
    for option in reversed(options):
        command = option(command)
    return command


def network(
    flags: Mapping[str, Any],
    *,
    ca: Path | None = None,
    attempts: int = 3,
    max_size: int = _ANSWER,
) -> "Network":
    """The network as the flags say; `ca` is what is trusted where they name nothing."""
    from dcap.transport import Limits, Network  # noqa: PLC0415 - only who connects needs it

    if flags["unchecked"]:
        if flags["ca_file"]:
            raise click.UsageError("--ca and --insecure-no-tls-check exclude each other")
        output.warn(
            "the server's certificate is not checked: whoever is on the way can read the token and "
            "answer in its place"
        )
    chosen = Path(flags["ca_file"]) if flags["ca_file"] else None
    limits = Limits(
        total=flags["timeout"],
        read=min(_SILENCE, flags["timeout"]),
        max_size=max_size,
        attempts=attempts,
    )
    trusted = chosen or (None if flags["unchecked"] else ca)
    return Network(ca=trusted, verify=not flags["unchecked"], limits=limits)


def explained(connect: "Connect") -> "Connect":
    """The network, whose errors say what helps where it is a PCCS that is asked."""

    def to(origin: str) -> "Handler":
        handler = connect(origin)

        def ask(request: "HttpRequest") -> "HttpResponse":
            try:
                return handler(request)
            except CollateralError as error:
                mend = _MENDS.get(error.code)
                if origin.startswith("http://") and error.code in _NOT_PLAIN:
                    mend = "the service speaks TLS: write https://"
                if mend:
                    error.mend = mend
                raise

        return ask

    return to


def remote(flags: Mapping[str, Any]) -> "RemotePccs":
    """The PCCS that is meant, with its token."""
    from dcap.pccs.client.remote import RemotePccs  # noqa: PLC0415 - only who connects needs it

    connect = explained(network(flags, ca=own_certificate(flags["url"])).handler)
    RemotePccs(
        connect, flags["url"]
    )  # what is wrong with the URL is said before a token is asked for
    return RemotePccs(
        connect, flags["url"], token=secret(flags["token_file"], TOKEN, "Admin token")
    )


def own_certificate(url: str, data: str | None = None) -> Path | None:
    """The certificate that a service on this machine made for itself, where that one is asked.

    `data` is the folder of a service whose certificate is meant, whatever the URL's host.
    """
    from dcap.pccs.config import default_data  # noqa: PLC0415 - as above

    try:
        host = urlsplit(url).hostname
    except ValueError:
        return None
    named = data or os.environ.get("DCAP_PCCS_DATA")
    file = (Path(named) if named else default_data(os.environ)) / "tls_certificate.pem"
    is_meant = bool(data) or host in _LOOPBACK
    return file if is_meant and os.access(file, os.R_OK) else None


def secret(file: str | None, variable: str, prompt: str, *, needed: bool = True) -> str | None:
    """A token or key: of a file, a variable, or asked for on a terminal.

    Raises `ConfigError` (`pccs-token-missing`, `pccs-token-unusable`).
    """
    if file is not None:
        given, where = arguments.read_input(file, _LONGEST_SECRET).decode("latin-1"), file
    else:
        given, where = os.environ.get(variable, ""), f"${variable}"
    given = given.strip()
    if not given and needed:
        if not sys.stdin.isatty():
            raise ConfigError(
                "pccs-token-missing",
                "no admin token was given",
                mend=f"name a file with --token-file, or set {variable}",
            )
        given, where = click.prompt(prompt, hide_input=True, err=True).strip(), "prompt"
    if not given:
        return None
    if not (given.isascii() and given.isprintable()):
        raise ConfigError(
            "pccs-token-unusable",
            "the token or key cannot be sent: it is not printable ASCII",
            where=where,
            mend="see that it is the file of the token, in one line",
        )
    return given


class Progress:
    """One line on a terminal that says how far it is; nothing elsewhere."""

    def __init__(self) -> None:
        self._shown = sys.stderr.isatty()
        self._width = 0

    def __call__(self, what: str, done: int, of: int) -> None:
        """So many of so many are done."""
        if not self._shown or not of:
            return
        filled = 24 * done // of
        line = f"{what:<12} [{'#' * filled}{'.' * (24 - filled)}] {done}/{of}"
        click.echo("\r" + line.ljust(self._width), nl=False, err=True)
        self._width = len(line)

    def end(self) -> None:
        """Leave the line."""
        if self._width:
            click.echo(err=True)
            self._width = 0
