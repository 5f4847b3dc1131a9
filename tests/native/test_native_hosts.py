"""Hosts that are not C: the Java virtual machine, and a Python of another version than dcap's."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from native_build import HERE, Built, environment, run
from scripted_process import OUTPUTS, ScriptedProcess

#: What a host in whatever language reads out of the struct.
EXPECTED = b"".join(OUTPUTS[tag] + b"\0" for tag in range(50, 57)).hex()


@pytest.fixture
def process(socket_path: Path) -> Iterator[ScriptedProcess]:
    """A good process."""
    with ScriptedProcess(socket_path) as process:
        yield process


def test_a_java_host_calls_it_from_threads(
    built: Built, process: ScriptedProcess, tmp_path: Path
) -> None:
    """Four threads under -Xcheck:jni: every answer whole, and the machine's SIGSEGV still its own.

    The machine turns a SIGSEGV of its code into an exception; a library that touched the handler
    would end it.
    """
    javac, java = shutil.which("javac"), shutil.which("java")
    if javac is None or java is None:
        pytest.skip("no javac and java here")
    include = Path(javac).resolve().parents[1] / "include"
    if not (include / "jni.h").exists():
        pytest.skip("no jni.h in the JDK here")
    stub = tmp_path / "libproviderhost.so"
    command = [built.compiler, "-shared", "-fPIC", "-O1", "-D_GNU_SOURCE", f"-I{include}"]
    command += [f"-I{include}/linux", str(HERE / "provider_jni.c"), "-o", str(stub), "-ldl"]
    subprocess.run(command, check=True)
    flags = ["-Xcheck:jni", "-Xmx64m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
    done = subprocess.run(
        [java, *flags, str(HERE / "ProviderHost.java"), str(stub), str(built.library)],
        env=environment(process.path),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stdout
    assert done.stdout == f'{{"failed": 0, "caught": 40000, "collateral": "{EXPECTED}"}}\n'
    assert len(process.requests) == 101


def _other_python() -> str | None:
    own = sys.version_info[:2]
    for minor in (13, 12, 14, 10, 9, 8, 11):
        name = f"python3.{minor}"
        candidates = [shutil.which(name)]
        candidates += map(str, Path.home().glob(f".pyenv/versions/3.{minor}.*/bin/{name}"))
        for found in candidates:
            if found is not None and (3, minor) != own and _runs(found):
                return found
    return None


def _runs(python: str) -> bool:
    done = subprocess.run([python, "-c", "import ctypes"], capture_output=True, check=False)
    return done.returncode == 0


def test_a_python_of_another_version_calls_it_from_threads(
    built: Built, process: ScriptedProcess
) -> None:
    """By ctypes, on four threads: the library has no interpreter, so it is at odds with none."""
    python = _other_python()
    if python is None:
        pytest.skip("no Python of another version here")
    (found,) = run(
        python, HERE / "ctypes_host.py", built.library, environ=environment(process.path)
    )
    assert found == {"code": 0, "different": 0, "collateral": EXPECTED}
    assert len(process.requests) == 201
