"""A desk to sit at: a folder with a simulated world in files, and `dcap` run in it, in this process.

The same world every time, byte for byte, so that what `dcap` prints can be written down verbatim.
"""

import contextlib
import io
import os
import shlex
import sys
from base64 import encodebytes
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dcap.cli.main import main
from dcap.formats.collateral import Collateral
from departures import World, components_of
from worlds import AT, collateral_of

PROMPT = "$ "
#: The instant of the simulated world, as --at takes it.
NOW = "2026-01-01T00:00:00Z"

POLICY = """\
# What our verifier accepts, as of release 1.4.
name = "prod"
maximum_collateral_age = "7d"

[[release]]
name = "v1.4"
mrsigner = "{mrsigner}"
product_id = 7
minimum_svn = 3
"""
#: The names of a folder of collateral, by piece.
_FILES = {
    "pck_crl_issuer_chain": "pck_crl_issuer_chain.pem",
    "root_ca_crl": "root_ca_crl.der",
    "pck_crl": "pck_crl.der",
    "tcb_info_issuer_chain": "tcb_info_issuer_chain.pem",
    "tcb_info": "tcb_info_response.json",
    "qe_identity_issuer_chain": "qe_identity_issuer_chain.pem",
    "qe_identity": "qe_identity_response.json",
}


@dataclass(frozen=True)
class Outcome:
    """What a command came to."""

    status: int
    out: str
    err: str
    screen: str


def write_world(folder: Path, world: World | None = None) -> Path:
    """Write the simulated world into `folder`: quotes, collateral, root, a policy."""
    world = world or World(at=AT)
    old = world.pck(components=components_of("OutOfDate"))
    genuine = world.quote()
    files = {
        "quote.bin": genuine,
        "quote.b64": encodebytes(genuine),
        "quote.hex": genuine.hex().encode(),
        "td.bin": world.quote(tee="tdx"),
        "old.bin": world.quote(pck=old),
        "debug.bin": world.quote(body={"attributes": b"\x07"}),
        "forged.bin": world.quote(signing_key=world.key("somebody else")),
        "cut.bin": genuine[:-500],
        "raw-ppid.bin": world.quote(cert_type=3),
        "root.pem": world.root.pem,
        "policy.toml": POLICY.format(mrsigner=genuine[48 + 128 : 48 + 160].hex()).encode(),
    }
    for name, content in files.items():
        (folder / name).write_bytes(content)
    _write_collateral(folder / "collateral", collateral_of(world.collateral()))
    _write_collateral(folder / "collateral-tdx", collateral_of(world.collateral("tdx")))
    (folder / "collateral.json").write_bytes(collateral_of(world.collateral()).to_json())
    return folder


def _write_collateral(folder: Path, collateral: Collateral) -> None:
    folder.mkdir()
    for piece, name in _FILES.items():
        (folder / name).write_bytes(getattr(collateral, piece))


class _Screen(io.StringIO):
    """One stream of a terminal: what it gets is also seen on the screen."""

    def __init__(self, screen: io.StringIO) -> None:
        super().__init__()
        self.screen = screen

    def write(self, text: str) -> int:
        self.screen.write(text)
        return super().write(text)


@contextlib.contextmanager
def _environment(more: dict[str, str]) -> Iterator[None]:
    """The environment without anything that steers `dcap`, off the network, and with `more`."""
    before = dict(os.environ)
    for name in before:
        if name.startswith("DCAP_") or name in ("NO_COLOR", "QCNL_CONF_PATH"):
            del os.environ[name]
    os.environ.update({"DCAP_OFFLINE": "1", "DCAP_CACHE": "off", **more})
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextlib.contextmanager
def _standard_input(content: bytes) -> Iterator[None]:
    before, sys.stdin = sys.stdin, io.TextIOWrapper(io.BytesIO(content))
    try:
        yield
    finally:
        sys.stdin = before


def run(folder: Path, *arguments: str, stdin: bytes = b"", **environment: str) -> Outcome:
    """Run `dcap` in `folder`."""
    screen = io.StringIO()
    out, err = _Screen(screen), _Screen(screen)
    with (
        contextlib.chdir(folder),
        _environment(environment),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        _standard_input(stdin),
    ):
        try:
            main(list(arguments))
        except SystemExit as end:
            status = end.code
    return Outcome(
        status if isinstance(status, int) else 0,
        out.getvalue(),
        err.getvalue(),
        screen.getvalue(),
    )


def replay(session: str, folder: Path) -> str:
    """Run a session's commands in `folder`; the session as it is today.

    A command begins with "$ " and may go on after a backslash; `< FILE` is its input, and
    `$ echo $?` is the last exit status. What stands before the first command stays.
    """
    replayed: list[str] = []
    status = 0
    lines = iter(session.splitlines())
    before = True
    for line in lines:
        if not line.startswith(PROMPT):
            if before:
                replayed.append(line)
            continue
        if not before:
            _end_paragraph(replayed)
        before = False
        replayed.append(line)
        command = line.removeprefix(PROMPT)
        while command.endswith("\\"):
            replayed.append(next(lines))
            command = command[:-1] + replayed[-1]
        if command == "echo $?":
            replayed.append(str(status))
            continue
        outcome = _run_line(command, folder)
        status = outcome.status
        replayed += outcome.screen.splitlines()
    return "\n".join(replayed) + "\n"


def _end_paragraph(replayed: list[str]) -> None:
    """Sessions are separated by one empty line, but the exit status stands with its command."""
    if replayed[-1].isdigit():
        replayed.append("")


def _run_line(command: str, folder: Path) -> Outcome:
    name, *arguments = shlex.split(command)
    if name != "dcap":
        raise ValueError(f"a transcript runs dcap alone, not {name!r}")
    stdin = b""
    if "<" in arguments:
        at = arguments.index("<")
        stdin = (folder / arguments[at + 1]).read_bytes()
        del arguments[at : at + 2]
    return run(folder, *arguments, stdin=stdin)
