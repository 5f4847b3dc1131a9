"""`dcap pccs serve`: the service, until SIGTERM or SIGINT; SIGHUP reads settings and TLS again.

The first start makes everything it needs. Once it answers, it says where, on stdout; tokens that it
made are shown on stderr, once. Not here: what the settings mean (`pccs.config`).
"""

import os
import sys
from datetime import UTC, datetime
from typing import Any

import click
import msgspec

from dcap.cli import output
from dcap.cli.pccs_settings import require_server, settings_options
from dcap.pccs.config import read_settings
from dcap.pccs.listener import listen
from dcap.pccs.setting_table import Settings


@click.command("serve")
@settings_options()
@click.option("--json", "as_json", is_flag=True, help="When ready, print one line of JSON.")
def serve(*, as_json: bool, **flags: Any) -> None:
    """Serve SGX and TDX collateral on https://localhost:8081, in place of Intel's PCCS.

    The first start makes a TLS key and certificate and two tokens, and shows the tokens once. What every
    setting is for, also those that have no flag, and what happens when one is wrong:
    docs/reference/pccs-settings.md.
    """
    require_server()
    settings = read_settings(flags)
    if settings.insecure_test_root is not None:
        output.warn(
            f"believing the test root of {settings.insecure_test_root}: "
            "whoever holds its key can make anything look genuine"
        )
    # Listening first: who connects from now on waits, and is answered.
    listener = listen(settings.host, settings.port)
    from dcap.pccs import supervisor  # noqa: PLC0415 - slow to load

    settings = msgspec.structs.replace(settings, port=listener.getsockname()[1])
    made = _prepare(settings)

    def ready() -> None:
        value = _value(settings)
        if as_json:
            click.echo(msgspec.json.encode({"schema": output.SCHEMA, **value}))
        else:
            output.emit(value, _lines(settings, value, made=made), as_json=False)

    status = supervisor.serve(settings, listener, reread=lambda: read_settings(flags), ready=ready)
    sys.exit(status)


def _prepare(settings: Settings) -> bool:
    """The first start's work; whether a certificate was made."""
    from dcap.pccs.assembly import prepare  # noqa: PLC0415 - slow to load
    from dcap.pccs.store.store import Store  # noqa: PLC0415

    prepared = prepare(settings, at=datetime.now(UTC))
    if settings.workers > 1:
        Store.open(settings.database_url).close()  # made once, before there are several
    for role, token in prepared.tokens.items():
        click.echo(f"{role} token (shown this once): {token}", err=True)
    return prepared.made_certificate


def _value(settings: Settings) -> dict[str, Any]:
    host = settings.host
    name = "localhost" if host in ("127.0.0.1", "::1", "0.0.0.0", "::", "") else host  # noqa: S104
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


def _lines(settings: Settings, value: dict[str, Any], *, made: bool) -> list[str]:
    lines = [
        f"serving      {value['url']}",
        f"pccs_url     {value['pccs_url']}",
        f"certificate  {value['certificate']}{' (made now; clients pin it)' if made else ''}",
        f"data         {value['data']}",
        f"mode         {value['mode']}",
        f"upstream     {', '.join(settings.upstream)}",
    ]
    if settings.host in ("127.0.0.1", "::1", "localhost"):
        lines.append("             this machine alone can connect; --host 0.0.0.0 lets others in")
    return [*lines, "ready        ask it: curl -k " + value["pccs_url"] + "rootcacrl"]
