"""`dcap pccs token`: make, list and revoke the tokens of a service of this machine.

What it does counts at once, also for a service that runs. A token is shown once, when it is made; kept
are hashes. Not here: what a token allows (`pccs.auth`, `pccs.handler`).
"""

from datetime import UTC, datetime
from typing import Any

import click

from dcap.cli import arguments, output
from dcap.cli.pccs_settings import settings_options

_LONGEST = 4096


@click.group("token")
def token() -> None:
    """Make, list and revoke tokens: user tokens register machines, admin tokens do everything else."""


@token.command("new")
@settings_options("data")
@click.argument("name")
@click.option(
    "--role",
    type=click.Choice(["user", "admin"]),
    default="user",
    show_default=True,
    help="What it is for.",
)
@click.option(
    "--from-file",
    metavar="FILE",
    help="Take a token of your own choice, from a file or stdin (-); one that is weak is refused.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def new(*, name: str, role: str, from_file: str | None, as_json: bool, **flags: Any) -> None:
    """Make a token called NAME, and show it for the only time."""
    chosen = None
    if from_file is not None:
        chosen = arguments.read_input(from_file, _LONGEST).decode("latin-1").strip()
    kept = _tokens(flags)
    made = kept.new(
        name, "admin" if role == "admin" else "user", at=datetime.now(UTC), chosen=chosen
    )
    value = {"name": name, "role": role, "token": made if chosen is None else None}
    output.emit(value, [made] if chosen is None else [f"{name}: kept"], as_json=as_json)


@token.command("list")
@settings_options("data")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def list_(*, as_json: bool, **flags: Any) -> None:
    """List the tokens by name. Hashes that stand in settings are not among them."""
    found = _tokens(flags).all()
    value = [
        {"name": one.name, "role": one.role, "created": one.created.isoformat(timespec="seconds")}
        for one in found
    ]
    lines = [f"{one['role']:<6} {one['created']}  {one['name']}" for one in value]
    output.emit({"tokens": value}, lines or ["no tokens"], as_json=as_json)


@token.command("revoke")
@settings_options("data")
@click.argument("name")
def revoke(*, name: str, **flags: Any) -> None:
    """Forget the token called NAME."""
    _tokens(flags).revoke(name)
    output.emit({"revoked": name}, [f"{name}: revoked"], as_json=False)


def _tokens(flags: dict[str, Any]) -> Any:  # noqa: ANN401 - pccs.auth.Tokens
    from dcap.pccs.auth import Tokens  # noqa: PLC0415 - none of it is for --help
    from dcap.pccs.config import read_settings  # noqa: PLC0415
    from dcap.pccs.private_files import make_folder  # noqa: PLC0415

    settings = read_settings(flags)
    make_folder(settings.data)
    return Tokens(settings.tokens_file)
