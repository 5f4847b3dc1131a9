"""`dcap sim event`, `clock`, `reset`: what happens to a simulated world, and when."""

from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import click

from dcap.appraisal.policy import duration
from dcap.cli import arguments, output
from dcap.cli.sim_place import place, written
from dcap.errors import ConfigError
from dcap.simulator.events import (
    EVENTS,
    MACHINE,
    ClockAdvanced,
    ClockSet,
    Part,
    Status,
    StatusOf,
    Trait,
    make_event,
)
from dcap.simulator.state import SEED, WorldDirectory
from dcap.simulator.world import AT, World

_CLOCK = ("clock-set", "clock-advanced")
_PARTS = list(dict.fromkeys((*get_args(Part), *get_args(StatusOf))))


def _events(as_json: bool) -> None:  # noqa: FBT001 - a flag's value
    rows = {name: kind for name, kind in EVENTS.items() if name not in _CLOCK}
    value = {
        "events": [
            {"name": name, "takes": list(kind.__struct_fields__), "what": _first_line(kind)}
            for name, kind in rows.items()
        ]
    }
    width = max(map(len, rows))
    lines = [f"{name:<{width}}  {_first_line(kind)}" for name, kind in rows.items()]
    output.emit(value, lines, as_json=as_json)


def _first_line(kind: type) -> str:
    return (kind.__doc__ or "").partition("\n")[0]


@click.command("event")
@click.argument("name", required=False)
@place
@click.option("--platform", metavar="NAME", help=f"The machine.  [default: {MACHINE}]")
@click.option(
    "--ca",
    type=click.Choice(["platform", "processor", "tcb-signing"]),
    help="The CA that is meant.",
)
@click.option(
    "--status",
    type=click.Choice(get_args(Status)),
    metavar="STATUS",
    help="For status-set: UpToDate, OutOfDate … as Intel spells them; TCB_NOT_SUPPORTED.",
)
@click.option(
    "--part", type=click.Choice(_PARTS), help="What is updated, or what the status is of."
)
@click.option("--no-relaunch", is_flag=True, help="For platform-updated: TDs go on running.")
@click.option("--number", type=int, metavar="N", help="For evaluation-number-retired.")
@click.option("--fmspc", metavar="HEX", help="For platform-added.")
@click.option(
    "--without",
    type=click.Choice(get_args(Trait)),
    multiple=True,
    help="For platform-added: what the machine has not. Repeatable.",
)
@click.option("--list", "listing", is_flag=True, help="List the events.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def event(
    name: str | None,
    *,
    directory: WorldDirectory,
    no_relaunch: bool,
    listing: bool,
    as_json: bool,
    **fields: Any,
) -> None:
    """Let the event NAME happen in the world, at its clock's time.

    `dcap sim event --list` lists the events. Running services (`dcap sim up`) answer accordingly
    from the next request on.
    """
    if listing:
        _events(as_json)
        return
    if name is None:
        raise click.UsageError("which event? `dcap sim event --list` lists them")
    if name in _CLOCK:
        raise click.UsageError("use `dcap sim clock --set TIME` or `--advance DURATION`")
    given = {field: value for field, value in fields.items() if value not in (None, ())}
    if no_relaunch:
        given["relaunch"] = False
    world = directory.record(make_event(name, given))
    output.emit(
        {"event": {"name": name, **given}, **_value(world)},
        [f"event        {name}{_told(given)}", *_moment(world)],
        as_json=as_json,
    )


def _told(given: dict[str, Any]) -> str:
    words = ", ".join(f"{field} {value}" for field, value in given.items() if value is not False)
    return f"   ({words})" if words else ""


@click.command("clock")
@place
@click.option("--set", "setting", metavar="TIME", help="Unix seconds, RFC 3339, or now.")
@click.option("--advance", metavar="DURATION", help="Such as 30d; -30d goes back.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def clock(
    *, directory: WorldDirectory, setting: str | None, advance: str | None, as_json: bool
) -> None:
    """Print the world's time, for `dcap verify --at`; or move it.

    The clock stands still unless it is moved: the same commands give the same bytes tomorrow. For
    clients that look at their own clock, say `dcap sim clock --set now`.
    """
    if setting is not None and advance is not None:
        raise click.UsageError("--set and --advance exclude each other")
    if setting is not None:
        world = directory.record(ClockSet(_instant(setting, "--set")))
    elif advance is not None:
        world = directory.record(ClockAdvanced(_seconds(advance)))
    else:
        world = directory.world()
    output.emit({"at": written(world.at)}, [written(world.at)], as_json=as_json)


def _instant(text: str, flag: str) -> datetime:
    if text == "now":
        return datetime.now(UTC)
    try:
        return arguments.instant(text)
    except ConfigError as error:
        raise click.BadParameter(error.what, param_hint=flag) from None


def _seconds(text: str) -> int:
    back = text.startswith("-")
    size = text[1:] if text.startswith(("-", "+")) else text
    try:
        passed = duration(size, "--advance")
    except ConfigError as error:
        why = error.what.replace(repr(size[:40]), repr(text[:40]))
        raise click.BadParameter(why, param_hint="--advance") from None
    return int((-passed if back else passed) / timedelta(seconds=1))


@click.command("reset")
@place
@click.option("--seed", default=SEED, show_default=True, help="What all keys are derived from.")
@click.option("--at", metavar="TIME", help=f"The first instant, or now.  [default: {written(AT)}]")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def reset(*, directory: WorldDirectory, seed: str, at: str | None, as_json: bool) -> None:
    """Begin the world anew: one machine, up to date, and nothing that happened.

    Another seed makes another world: stop `dcap sim up` first, whose certificate is of the old one.
    """
    if not seed:
        raise click.BadParameter("it is empty", param_hint="--seed")
    world = directory.reset(seed, AT if at is None else _instant(at, "--at"))
    output.emit(
        {"seed": seed, "root_pem": str(directory.root_pem), **_value(world)},
        [
            f"world        seed {seed}, root {directory.root_pem}",
            *_machines(world),
            *_moment(world),
        ],
        as_json=as_json,
    )


def _value(world: World) -> dict[str, Any]:
    intel = world.intel
    return {
        "at": written(world.at),
        "evaluation_numbers": {
            "standard": intel.standard,
            "early": intel.early,
            "offered": sorted(n for n in intel.generations if n >= intel.retired_below),
        },
        "platforms": [
            {"name": name, "ca": machine.ca, "fmspc": machine.fmspc.hex().upper()}
            for name, machine in world.platforms.items()
        ],
    }


def _machines(world: World) -> list[str]:
    return [
        f"platform     {name}   {machine.ca.capitalize()} CA   FMSPC {machine.fmspc.hex().upper()}"
        for name, machine in world.platforms.items()
    ]


def _moment(world: World) -> list[str]:
    intel = world.intel
    early = f", early {intel.early}" if intel.early != intel.standard else ""
    return [
        f"evaluation   standard {intel.standard}{early}",
        f"clock        {written(world.at)}",
    ]
