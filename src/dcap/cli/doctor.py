"""`dcap doctor`: what is wrong with this machine's attestation, why, and the command that mends it.

    dcap doctor                          # as what this machine seems to be
    dcap doctor --for attester --fix     # safe mends, each asked for
    dcap doctor report -o FILE.tar.gz    # for a report of a bug

One command and one word: `report` is an examination whose result is an archive. Not here: the checks
(`doctor`), how they are told (`doctor_telling`).
"""

import os
from pathlib import Path
from typing import Any, Final, get_args

import click
import msgspec

from dcap.cli import output
from dcap.doctor.scene import Role

WRONG: Final = 7
REPORT: Final = "report"
_NO: Final = ("", "0", "false", "no")


@click.command("doctor")
@click.argument("what", required=False, type=click.Choice([REPORT]), metavar="[report]")
@click.option(
    "--for",
    "roles",
    multiple=True,
    type=click.Choice(get_args(Role)),
    help="What this machine is to be; more than once for several. Without it: what it seems to be.",
)
@click.option(
    "--quote", "quote_file", metavar="FILE", help="A quote of this machine: its TCB is looked at."
)
@click.option(
    "--platform",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="What identifies it: PCKIDRetrievalTool's CSV, or platform_list.json. Never printed.",
)
@click.option("--offline", is_flag=True, help="Use no network. ($DCAP_OFFLINE)")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="Wait so long for each step over the network.",
)
@click.option(
    "--root",
    type=click.Path(path_type=Path),
    default=Path("/"),
    metavar="DIR",
    help="Look at the system in DIR (an unpacked image, a mounted disk), not at this one.",
)
@click.option("--fix", is_flag=True, help="Run the commands of safe mends, each after asking.")
@click.option("--yes", is_flag=True, help="With --fix: agree to every safe mend.")
@click.option("--output", "-o", "target", metavar="FILE", help="With report: the archive, .tar.gz.")
@click.option("--verbose", "-v", is_flag=True, help="Show on what evidence something is right.")
@click.option("--insecure-test-root", hidden=True, metavar="FILE", help="Trust a simulated root.")
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object.")
def command(*, what: str | None, **flags: Any) -> int:
    """Examine this machine: what is wrong with its attestation, why, and what mends it.

    Processor, kernel, devices, groups, daemons, containers; quote providers and their configuration, of
    the shell and of each service; caches, network step by step, clock, TCB. Nothing is changed without
    --fix, and no quote is made.

    With the word "report" the result goes into an archive for a report of a bug, without secrets and
    without what identifies the machine.

    Exit status 0, or 7 where there is at least one error; of report 0 once it is written.
    """
    from dcap.cli.doctor_telling import examined, lines_of, value_of  # noqa: PLC0415 - the checks
    from dcap.doctor.checks import CHECKS  # noqa: PLC0415

    _refuse_what_does_not_fit(what, flags)
    scene = _scene(flags)
    if flags["fix"]:
        from dcap.cli.doctor_fix import check_possible  # noqa: PLC0415 - only with --fix

        check_possible(is_running=scene.root.is_running, yes=flags["yes"])
    done = examined(scene, CHECKS)
    value = value_of(scene, done)
    if what == REPORT:
        return _report(Path(flags["target"]), scene, value, as_json=flags["as_json"])
    if flags["fix"]:
        from dcap.cli.doctor_fix import mend_all  # noqa: PLC0415 - only with --fix

        mended = mend_all(done, yes=flags["yes"])
        if any(one["done"] for one in mended):
            scene = msgspec.structs.replace(
                scene
            )  # another one: what was seen of this is kept with it
            done = examined(scene, CHECKS)
        value = {**value_of(scene, done), "mended": mended}
    output.emit(value, lines_of(scene, done, verbose=flags["verbose"]), as_json=flags["as_json"])
    return WRONG if any(each.is_error for each in done) else 0


def _refuse_what_does_not_fit(what: str | None, flags: dict[str, Any]) -> None:
    if (what == REPORT) != bool(flags["target"]):
        raise click.UsageError("`dcap doctor report` and -o FILE belong together")
    if what == REPORT and flags["fix"]:
        raise click.UsageError("report and --fix exclude each other")
    if flags["yes"] and not flags["fix"]:
        raise click.UsageError("--yes belongs to --fix")


def _scene(flags: dict[str, Any]) -> Any:  # noqa: ANN401 - Scene, which is imported late
    from dcap.cli import arguments  # noqa: PLC0415 - it brings cryptography
    from dcap.cli.doctor_scene import scene_of  # noqa: PLC0415
    from dcap.qpl.discovery_root import Root  # noqa: PLC0415

    root = Root(flags["root"])
    return scene_of(
        root,
        os.environ if root.is_running else {},
        roles=frozenset(flags["roles"]),
        quote=arguments.read_input(flags["quote_file"]) if flags["quote_file"] else None,
        platform=flags["platform"],
        anchor=arguments.anchor(flags["insecure_test_root"]),
        timeout=flags["timeout"],
        offline=flags["offline"] or os.environ.get("DCAP_OFFLINE", "").strip().lower() not in _NO,
    )


def _report(target: Path, scene: Any, value: dict[str, Any], *, as_json: bool) -> int:  # noqa: ANN401 - as above
    from dcap.cli.doctor_report import lines_of, write_report  # noqa: PLC0415 - only for a report
    from dcap.doctor.report import parts_of  # noqa: PLC0415

    written = write_report(target, parts_of(scene, value))
    output.emit(written, lines_of(written), as_json=as_json)
    return 0
