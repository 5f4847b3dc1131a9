"""`dcap provider serve`: the process behind `libdcap_quoteprov.so.1`, until SIGTERM or SIGINT.

Not here: what it answers (`dcap.provider`), the unit that runs it (`deploy/`).
"""

import os
from pathlib import Path

import click

from dcap.cli import arguments, output
from dcap.provider.settings import IDLE, Settings, default_socket


@click.command("serve")
@click.option(
    "--socket",
    "path",
    metavar="PATH",
    help="Listen here. Default: where the library looks: $DCAP_PROVIDER_SOCKET, else this user's own "
    "place; /run/dcap/provider.sock is that of the whole machine.",
)
@click.option(
    "--source",
    "sources",
    multiple=True,
    metavar="SOURCE",
    help="Where collateral is fetched, for every program, whatever its environment says: pcs, azure, "
    "alibaba:REGION, qcnl[:FILE], bundled, a PCCS's URL, a path; no plugin. Repeatable: the next is "
    "asked where one fails. Default: $DCAP_SOURCE, else bundled, as each program has them.",
)
@click.option(
    "--ca",
    metavar="FILE",
    help="Trust these certificates for servers (PEM), instead of the system's.",
)
@click.option("--cache/--no-cache", default=True, help="Keep what was proven.  [default: cache]")
@click.option("--shared", is_flag=True, help="Let every user of the machine connect.")
@click.option(
    "--on-demand",
    is_flag=True,
    help="As the library starts it: end when nobody asks, say nothing, and where another runs "
    "already, leave it alone.",
)
@click.option(
    "--idle",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help=f"End after so long without a request.  [default: never; {IDLE:.0f} on demand]",
)
@click.option(
    "--insecure-test-root",
    "test_root",
    metavar="FILE",
    help="Tests only: believe this root instead of Intel's.",
)
def command(
    *,
    path: str | None,
    sources: tuple[str, ...],
    ca: str | None,
    cache: bool,
    shared: bool,
    on_demand: bool,
    idle: float | None,
    test_root: str | None,
) -> int:
    """Answer programs that ask libdcap_quoteprov.so.1 for collateral and PCK certificates.

    It listens at a Unix socket, and gets what they ask for from dcap's sources. Nothing is handed out
    that does not prove. As a service: docs/quote-provider.md.
    """
    from dcap.provider.server import serve  # noqa: PLC0415 - not before the flags are right

    if test_root is not None:
        arguments.anchor(test_root)  # says aloud what is believed
    settings = Settings(
        socket=Path(path) if path else default_socket(os.environ),
        on_demand=on_demand,
        idle=idle,
        shared=shared,
        sources=sources,
        ca=Path(ca) if ca else None,
        cache=cache,
        test_root=Path(test_root) if test_root else None,
    )

    def ready() -> None:
        if not on_demand:
            output.emit(
                {"socket": str(settings.socket.absolute()), "pid": os.getpid()},
                [f"serving      {settings.socket.absolute()}"],
                as_json=False,
            )

    return serve(settings, ready=ready, environ=dict(os.environ))
