"""The library and the test programs, compiled once for all tests, and how they are run.

    built = built_in(folder)                 # skips the test, aloud, where there is no compiler
    lines = run(built.calls, built.library, "local", "every", socket=path)

Not a test. What is compiled is what `make -C src/dcap/provider/native` compiles.
"""

import fcntl
import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
NATIVE = HERE.parents[1] / "src" / "dcap" / "provider" / "native"
FUZZ = HERE.parent / "fuzz"
#: The system's folder, as the tests' library knows it: nobody makes it.
SYSTEM_FOLDER = "/nonexistent-dcap"
#: How long the tests' library waits for another, when a process that it started has ended.
GRACE_MS = 300
SANITIZED = ("-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-g1")
#: What it says of a fault matters, not how fast it runs.
SANITIZED_LIBRARY = " ".join(("-O0", "-fno-omit-frame-pointer", *SANITIZED))


@dataclass(frozen=True)
class Built:
    """Where everything lies. `asan_…`: with AddressSanitizer and UBSan."""

    folder: Path
    compiler: str

    @property
    def library(self) -> Path:
        """The library as it is installed, but for the tests' folder and patience."""
        return self.folder / "libdcap_quoteprov.so.1"

    @property
    def asan_library(self) -> Path:
        """The same under AddressSanitizer and UBSan."""
        return self.folder / "asan" / "libdcap_quoteprov.so.1"

    @property
    def system_library(self) -> Path:
        """One whose system's folder is `system_folder`."""
        return self.folder / "system" / "libdcap_quoteprov.so.1"

    @property
    def system_folder(self) -> Path:
        """Where that library looks for the system's process; a test makes it."""
        return self.folder / "run"

    def program(self, name: str) -> Path:
        """One of the programs of `PROGRAMS`."""
        return self.folder / name


#: Program -> its source and its flags.
PROGRAMS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "calls": ("calls.c", ()),
    "starving": ("starving.c", ("-rdynamic",)),
    "endurance": ("endurance.c", ("-O1",)),
    "asan_calls": ("calls.c", SANITIZED),
    "asan_endurance": ("endurance.c", SANITIZED),
    "mutations": ("mutations.c", ("-O1", *SANITIZED)),
}
MORE_SOURCES: Mapping[str, tuple[Path, ...]] = {
    "mutations": (NATIVE / "message.c", FUZZ / "provider_response.c"),
}


def compiler() -> str:
    """The C compiler; the test is skipped where there is none."""
    found = shutil.which(os.environ.get("CC", "cc")) or shutil.which("gcc")
    if found is None or shutil.which("make") is None:
        pytest.skip("no C compiler and make here: the native library is not tested")
    return found


def built_in(folder: Path) -> Built:
    """Compile all, once for all workers of the tests."""
    built = Built(folder, compiler())
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "done").exists():
            _compile(built)
            (folder / "done").touch()
    return built


def _compile(built: Built) -> None:
    words = [f"OUT={built.folder}", f"CC={built.compiler}", f"SYSTEM_FOLDER={SYSTEM_FOLDER}"]
    words += [f"CFLAGS=-O2 -g0 -DGRACE_MS={GRACE_MS}", f"SANITIZED={SANITIZED_LIBRARY}"]
    commands = [["make", "-s", "-C", str(NATIVE), target, *words] for target in ("all", "asan")]
    system = (f"OUT={built.system_library.parent}", f"SYSTEM_FOLDER={built.system_folder}")
    commands.append([*commands[0][:5], *words, "CFLAGS=-O0 -U_FORTIFY_SOURCE -g0", *system])
    for name, (source, flags) in PROGRAMS.items():
        more = [str(path) for path in MORE_SOURCES.get(name, ())]
        include = ("-I", str(NATIVE)) if more else ()
        warnings = ("-Wall", "-Wextra", "-Werror", "-std=c11", "-D_GNU_SOURCE")
        more += ["-o", str(built.program(name)), "-ldl", "-lpthread"]
        commands.append([built.compiler, *warnings, *flags, *include, str(HERE / source), *more])
    running = [subprocess.Popen(command, stderr=subprocess.PIPE) for command in commands]
    ended = [(process.communicate()[1].decode(), process.returncode) for process in running]
    for command, (said, code) in zip(commands, ended, strict=True):
        assert code == 0, f"{' '.join(command)}\n{said}"


def environment(socket: Path | None = None, **more: str) -> dict[str, str]:
    """A small environment; the process is at `socket`, or in nobody's folder."""
    made = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "XDG_RUNTIME_DIR": "/nonexistent"}
    if socket is not None:
        made["DCAP_PROVIDER_SOCKET"] = str(socket)
    return made | more


def run(
    *command: str | Path,
    environ: Mapping[str, str],
    seconds: float = 60,
    wrapper: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """The lines of JSON that a program prints; it must end well and say nothing else."""
    done = subprocess.run(
        [*wrapper, *map(str, command)],
        env=dict(environ),
        capture_output=True,
        timeout=seconds,
        check=False,
    )
    assert done.returncode == 0, (done.returncode, done.stdout[-2000:], done.stderr[-4000:])
    assert wrapper or not done.stderr, done.stderr.decode()
    return [json.loads(line) for line in done.stdout.decode().splitlines()]
