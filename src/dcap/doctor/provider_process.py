"""The process behind dcap's own plugin: whether one answers, and else why none could be started.

The library asks a process over a socket and starts one where there is none. Where that fails a program
sees 0xE040 alone: here is why. The rules are the library's own (`provider/native/place.c`, `start.c`).
Not here: which programs load the library (`plugins`).

Spec: `docs/provider-messages.md`, "Where the process is".
"""

import os
import posixpath
import shlex
import socket
import stat
from collections.abc import Iterator
from contextlib import closing
from typing import Final, Literal, TypeAlias

from dcap.doctor.finding import Ailment, Finding, Mend, Remark, Right
from dcap.doctor.scene import Scene
from dcap.provider.install import COMMAND
from dcap.provider.settings import SYSTEM_SOCKET, VARIABLE
from dcap.qpl.discovery_values import Discovery

State: TypeAlias = Literal["answers", "absent", "refused", "denied", "silent"]

_SERVE: Final = (
    "`dcap provider serve`, or its unit: `sudo systemctl enable --now dcap-provider.socket`"
)
_OTHERS: Final = stat.S_IWGRP | stat.S_IWOTH

AILMENTS: Final[tuple[Ailment, ...]] = (
    Ailment(
        code="provider-not-started",
        severity="error",
        title="dcap's plugin has no process, and cannot start one",
        symptom="0xE040 (SGX_QL_SERVICE_UNAVAILABLE) from dcap's libdcap_quoteprov.so; 3 from Azure's "
        "older functions.",
        causes=(
            (
                "libdcap_quoteprov.command is not beside the library's file: the library was copied by "
                "itself."
            ),
            (
                "The file names a Python or a `dcap` that has been removed since: a virtual environment "
                "was deleted or moved."
            ),
            "The file belongs to another user, or others can write to it: then it is not obeyed.",
            "DCAP_PROVIDER_SOCKET names a socket at which nobody listens.",
        ),
        why="The library itself asks nobody: every call of a program ends in 0xE040.",
        mends=(
            "`sudo dcap provider install` places library and command anew.",
            "Or run the process yourself: `dcap provider serve`.",
        ),
    ),
    Ailment(
        code="provider-place",
        severity="error",
        title="The folder of the provider's socket is not believed",
        symptom="0xE040, although a process runs.",
        causes=(
            "The folder was made by another user, or its mode lets others in.",
            "The process was started by another user than the one that asks.",
        ),
        why="Whoever can write there could answer in the process' place, so that the library does not "
        "ask: it must be a folder of the user's own, mode 0700.",
        mends=(
            "`chmod 700 FOLDER`; where it is another user's, remove it, or set XDG_RUNTIME_DIR.",
        ),
    ),
    Ailment(
        code="provider-silent",
        severity="error",
        title="The process behind dcap's plugin does not accept connections",
        symptom="0xE042 (SGX_QL_SERVICE_TIMEOUT) or 0xE040.",
        causes=("The process is stopped (SIGSTOP, a debugger), or all its connections are taken.",),
        why="Every program that loads the plugin waits for it.",
        mends=("End the process: the next call starts another one.",),
    ),
)


def look(scene: Scene, found: Discovery) -> Iterator[Remark]:
    """Each place in the library's order; then whether one could be started."""
    seen = []
    for path in _places(scene):
        if why := _unsafe(scene, path):
            yield Finding(
                "provider-place",
                f"the folder of {path} is not this user's alone ({why}): the library asks nobody there",
                evidence=(f"{posixpath.dirname(path)}: {why}",),
                mends=(_closed(posixpath.dirname(path), why),),
            )
            return
        state = _state(scene, path)
        seen.append(f"{path}: {_SAID[state]}")
        if state == "answers":
            yield Right(f"the process behind dcap's plugin answers at {path}")
            return
        if state == "silent":
            yield Finding(
                "provider-silent",
                f"the process at {path} does not accept a connection within {scene.timeout:g} s",
                evidence=tuple(seen),
                mends=(
                    Mend(f"`fuser {path}` says which it is: end it, and the next call starts one"),
                ),
            )
            return
    yield from _start(scene, found, seen)


_SAID: Final[dict[State, str]] = {
    "answers": "a process listens",
    "absent": "no socket",
    "refused": "a socket that a dead process left",
    "denied": "this user may not connect",
    "silent": "no answer",
}


def _places(scene: Scene) -> tuple[str, ...]:
    if named := scene.environ.get(VARIABLE):
        return (named,)
    runtime = scene.environ.get("XDG_RUNTIME_DIR", "")
    own = runtime if runtime.startswith("/") else f"/tmp/dcap-{scene.account.uid}"  # noqa: S108 - the library's own place
    folder = f"{own}/dcap" if runtime.startswith("/") else own
    return f"{folder}/provider.sock", str(SYSTEM_SOCKET)


def _unsafe(scene: Scene, path: str) -> str:
    """Why the library does not believe the user's own folder; empty where it does."""
    if path == str(SYSTEM_SOCKET) or path == scene.environ.get(VARIABLE):
        return ""
    place = scene.root.look(posixpath.dirname(path))
    if not place.is_there:
        return ""
    try:
        about = scene.root.host(place.name).lstat()
    except OSError:
        return ""
    if not stat.S_ISDIR(about.st_mode):
        return "a link, or no folder"
    if about.st_uid != scene.account.uid:
        return f"it belongs to uid {about.st_uid}"
    if about.st_mode & 0o077:
        return f"mode {stat.S_IMODE(about.st_mode):04o}"
    return ""


def _closed(folder: str, why: str) -> Mend:
    """One's own folder can be closed for the asking; another's is his."""
    if why.startswith("mode"):
        return Mend(f"`chmod 700 {shlex.quote(folder)}`", ("chmod", "700", folder), safe=True)
    return Mend(f"remove {folder}, as whoever made it; the library makes its own")


def _state(scene: Scene, path: str) -> State:
    place = scene.root.look(path)
    if not place.is_there:
        return "denied" if place.kind == "denied" else "absent"
    file = scene.root.host(place.real)
    try:
        folder = os.open(file.parent, os.O_PATH | os.O_DIRECTORY)
    except OSError:
        return "denied"
    try:
        with closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as tried:
            tried.settimeout(scene.timeout)
            # By way of the folder's descriptor: the path of a scratch root may be too long.
            tried.connect(f"/proc/self/fd/{folder}/{file.name}")
    except (TimeoutError, BlockingIOError):
        return "silent"
    except PermissionError:
        return "denied"
    except OSError:
        return "refused"
    finally:
        os.close(folder)
    return "answers"


def _start(scene: Scene, found: Discovery, seen: list[str]) -> Iterator[Remark]:
    """Whether the library could start a process, by the file beside it."""
    ours = next(one for one in found.plugins if one.kind == "dcap" and one.loads)
    file = posixpath.join(posixpath.dirname(ours.real), COMMAND)
    why, command = _command(scene, file)
    if not why:
        yield Right(
            f"no process is behind dcap's plugin now, and the first call starts one: {command}",
            (file,),
        )
        return
    yield Finding(
        "provider-not-started",
        f"no process is behind dcap's plugin, and it can start none: {why}; programs see 0xE040",
        evidence=(*seen, f"{file}: {why}"),
        mends=(
            Mend("`sudo dcap provider install --replace` places library and command anew"),
            Mend(_SERVE),
        ),
    )


def _command(scene: Scene, file: str) -> tuple[str, str]:
    """Why the command beside the library is of no use; and the program that it names."""
    root = scene.root
    place = root.look(file)
    if place.link:
        return f"{file} is a link, which is not followed", ""
    if place.kind != "file":
        return f"there is no {file}", ""
    try:
        about = root.host(place.real).stat()
    except OSError as error:
        return f"{file}: {error.strerror}", ""
    if about.st_mode & _OTHERS or about.st_uid not in (0, scene.account.uid):
        return f"{file} is not root's or {scene.account.name}'s, or others can write to it", ""
    lines = root.text(file).splitlines()
    program = (lines[0] if lines else "").split(" ")[0]
    if not program.startswith("/"):
        return f"{file} does not begin with an absolute path", ""
    if root.look(program).kind != "file":
        return f"{file} names {program}, which is not there", ""
    if not root.host(root.look(program).real).stat().st_mode & 0o111:
        return f"{file} names {program}, which is no program", ""
    return "", program
