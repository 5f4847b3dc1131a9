"""`dcap pccs serve`: the service, until SIGTERM or SIGINT; SIGHUP reads settings and TLS again.

The first start makes everything it needs. Once it answers, it says where, on stdout; tokens that it
made are shown on stderr, once, or written to files. Not here: what the settings mean (`pccs.config`).
"""

import os
import socket
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from dcap.cli import output
from dcap.cli.pccs_settings import require_server, settings_of, settings_options
from dcap.errors import ConfigError
from dcap.pccs.config import read_settings
from dcap.pccs.listener import listen
from dcap.pccs.setting_table import Settings

if TYPE_CHECKING:
    from dcap.pccs.auth import Role


@click.command("serve")
@settings_options()
@click.option(
    "--tokens-to",
    metavar="DIR",
    help="Write the tokens that the first start makes to DIR/user.token and DIR/admin.token, for "
    "their owner alone, and show none.",
)
@click.option("--json", "as_json", is_flag=True, help="When ready, print one line of JSON.")
def serve(*, tokens_to: str | None, as_json: bool, **flags: Any) -> None:
    """Serve SGX and TDX collateral on https://localhost:8081, in place of Intel's PCCS.

    The first start makes a TLS key and certificate and two tokens, and shows the tokens once (or see
    --tokens-to). `dcap pccs config` shows every setting, also those that have no flag.
    """
    require_server()
    settings = settings_of(flags)
    if settings.insecure_test_root is not None:
        output.warn(
            f"believing the test root of {settings.insecure_test_root}: "
            "whoever holds its key can make anything look genuine"
        )
    # Listening first: who connects from now on waits, and is answered.
    listener = listen(settings.host, settings.port)
    from dcap.pccs import supervisor  # noqa: PLC0415 - slow to load

    settings = msgspec.structs.replace(settings, port=listener.getsockname()[1])
    try:
        made = _prepare(
            settings, _show_token if tokens_to is None else _token_files(Path(tokens_to))
        )
    except BaseException:
        listener.close()
        raise

    def ready() -> None:
        value = _value(settings)
        if as_json:
            click.echo(msgspec.json.encode({"schema": output.SCHEMA, **value}))
        else:
            output.emit(value, _lines(settings, value, made=made), as_json=False)

    status = supervisor.serve(settings, listener, reread=lambda: read_settings(flags), ready=ready)
    sys.exit(status)


def _prepare(settings: Settings, show: "Callable[[Role, str], None]") -> bool:
    """The first start's work; whether a certificate was made."""
    from dcap.pccs.assembly import prepare  # noqa: PLC0415 - slow to load

    return prepare(settings, at=datetime.now(UTC), show=show).made_certificate


def _show_token(role: str, token: str) -> None:
    click.echo(f"{role} token (shown this once): {token}", err=True)


def _token_files(folder: Path) -> "Callable[[Role, str], None]":
    """Write each token, before it is kept, to a file of its own; none is written over."""
    from dcap.pccs.client import files  # noqa: PLC0415 - the first start alone needs it

    def write(role: str, token: str) -> None:
        file = folder / f"{role}.token"
        try:
            files.write_chunks(file, [f"{token}\n".encode()])
        except ConfigError as error:
            error.mend = (
                "a token of before, or of another service: move it away, or name another folder"
            )
            raise
        click.echo(f"{role} token: {file.absolute()}", err=True)

    return write


def _value(settings: Settings) -> dict[str, Any]:
    name = settings.host
    if name in ("127.0.0.1", "::1"):
        name = "localhost"
    elif name in ("0.0.0.0", "::", ""):  # noqa: S104 - what others ask it by; the certificate has it
        name = socket.gethostname() or "localhost"
    bracketed = f"[{name}]" if ":" in name else name
    origin = f"https://{bracketed}:{settings.port}"
    return {
        "url": origin,
        "pccs_url": f"{origin}/sgx/certification/v4/",
        "certificate": str(settings.certificate_file.absolute()),
        "data": str(settings.data.absolute()),
        "mode": settings.mode.upper(),
        "upstream": list(settings.upstream),
        "pid": os.getpid(),
    }


def _upstream(settings: Settings) -> str:
    return "not asked" if settings.mode == "offline" else ", ".join(settings.upstream)


def _lines(settings: Settings, value: dict[str, Any], *, made: bool) -> list[str]:
    lines = [
        f"serving      {value['url']}",
        f"pccs_url     {value['pccs_url']}",
        f"certificate  {value['certificate']}{' (made now; clients pin it)' if made else ''}",
        f"data         {value['data']}",
        f"mode         {value['mode']}",
        f"upstream     {_upstream(settings)}",
    ]
    if settings.host in ("127.0.0.1", "::1", "localhost"):
        lines.append("             this machine alone can connect; --host 0.0.0.0 lets others in")
    return [*lines, "ready        ask it: curl -k " + value["pccs_url"] + "rootcacrl"]
