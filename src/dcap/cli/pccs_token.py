"""`dcap pccs token`: make, list and revoke the tokens of a service of this machine.

What it does counts at once, also for a service that runs. A token is shown once, when it is made; kept
are hashes. Not here: what a token allows (`pccs.auth`, `pccs.handler`).
"""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from dcap.cli import arguments, output
from dcap.cli.pccs_settings import expect_service, settings_of, settings_options
from dcap.pccs.setting_table import Settings

if TYPE_CHECKING:
    from dcap.pccs.auth import Tokens

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
    """Make a token called NAME, and show it for the only time. A service must have run on the folder."""
    chosen = None
    if from_file is not None:
        chosen = arguments.read_input(from_file, _LONGEST).decode("latin-1").strip()
    settings = _settings(flags)
    kept = _tokens(settings)
    click.echo(f"a token of the service of {settings.data.absolute()}:", err=True)

    def tell(made: str | None) -> None:
        lines = [f"{name}: kept"] if made is None else [made]
        output.emit({"name": name, "role": role, "token": made}, lines, as_json=as_json)

    # Shown, and then kept: a token that counts and that nobody saw is worth nothing.
    show = tell if chosen is None else _is_known
    kept.new(
        name,
        "admin" if role == "admin" else "user",
        at=datetime.now(UTC),
        chosen=chosen,
        show=show,
    )
    if chosen is not None:
        tell(None)


def _is_known(_: str) -> None:
    """One of one's own choice need not be shown."""


@token.command("list")
@settings_options("data")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def list_(*, as_json: bool, **flags: Any) -> None:
    """List the tokens by name. Hashes that stand in settings are not among them."""
    found = _tokens(_settings(flags)).all()
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
    settings = _settings(flags)
    kept = _tokens(settings)
    kept.revoke(name)
    output.emit({"revoked": name}, [f"{name}: revoked"], as_json=False)
    if not settings.admin_token_hash and not any(one.role == "admin" for one in kept.all()):
        output.warn(
            "no admin token is left, but for a hash in the service's own settings: nobody can import, "
            "and it is not ready; `dcap pccs token new NAME --role admin` makes one"
        )


def _settings(flags: dict[str, Any]) -> Settings:
    """Those of a service that has run. Raises `ConfigError` (`store-missing`)."""
    settings = settings_of(flags)
    expect_service(settings)
    return settings


def _tokens(settings: Settings) -> "Tokens":
    from dcap.pccs.auth import Tokens  # noqa: PLC0415 - none of it is for --help
    from dcap.pccs.private_files import make_folder  # noqa: PLC0415

    make_folder(settings.data)
    return Tokens(settings.tokens_file)
