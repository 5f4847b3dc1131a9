"""`python -m dcap.provider serve …`: what `dcap provider serve` does, started in less time.

It is what the library starts on demand. Not here: what the flags mean (`settings`).
"""

import argparse
import os
import sys
from pathlib import Path
from typing import NoReturn

from dcap.errors import DcapError
from dcap.provider.settings import Settings, default_socket


def settings_of(arguments: list[str]) -> Settings:
    """The settings that the flags say."""
    parser = argparse.ArgumentParser(prog="python -m dcap.provider", allow_abbrev=False)
    serve = parser.add_subparsers(required=True).add_parser("serve", allow_abbrev=False)
    serve.add_argument("--socket", type=Path)
    serve.add_argument("--on-demand", action="store_true")
    serve.add_argument("--idle", type=_seconds)
    serve.add_argument("--shared", action="store_true")
    serve.add_argument("--source", action="append", default=[], dest="sources")
    serve.add_argument("--ca", type=Path)
    serve.add_argument("--cache", action=argparse.BooleanOptionalAction, default=True)
    serve.add_argument("--insecure-test-root", type=Path, dest="test_root")
    given = parser.parse_args(arguments)
    return Settings(
        socket=given.socket or default_socket(os.environ),
        on_demand=given.on_demand,
        idle=given.idle,
        shared=given.shared,
        sources=tuple(given.sources),
        ca=given.ca,
        cache=given.cache,
        test_root=given.test_root,
    )


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run it, and exit with the house's codes."""
    settings = settings_of(sys.argv[1:] if arguments is None else arguments)
    from dcap.provider.server import serve  # noqa: PLC0415 - not before the flags are right

    try:
        sys.exit(serve(settings, environ=dict(os.environ)))
    except DcapError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(error.exit_status)


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds < float("inf"):
        raise ValueError
    return seconds


if __name__ == "__main__":
    main()
