"""A service as it really runs: `dcap pccs serve` in a process, a simulated Intel on HTTPS before it.

Not a home for assertions: each test states its own.
"""

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from dcap.api.http import Handler, HttpRequest, HttpResponse
from dcap.serving import serving
from dcap.simulator.services import services
from dcap.simulator.tls import tls_files
from dcap.simulator.world import World
from worlds import ROOT

START = "from dcap.cli.main import main; main()"
V4 = "/sgx/certification/v4/"


class Intel:
    """The simulated Intel, on HTTPS, its clock that of the wall. `answer` may be replaced."""

    def __init__(self, folder: Path) -> None:
        self.world = World("pccs")
        self.world.at = datetime.now(UTC).replace(microsecond=0)
        self.services = services(self.world)
        self.answer: Handler = self.services
        self.folder = folder
        certificate, key, ca = tls_files(self.world, folder)
        self.tls, self.ca = (certificate, key), ca
        self.root = folder / "root.pem"
        self.root.write_bytes(self.world.root_pem)
        self.url = ""

    def handle(self, request: HttpRequest) -> HttpResponse:
        """What it answers now."""
        return self.answer(request)

    @property
    def calls(self) -> list[str]:
        """The paths that it was asked for."""
        return [logged.path for logged in self.services.log]

    @property
    def flags(self) -> list[str]:
        """How a service is told of it."""
        return [
            *("--upstream", f"{self.url}{V4}", "--upstream-ca", str(self.ca)),
            *("--insecure-test-root", str(self.root)),
        ]


@contextmanager
def intel(folder: Path) -> Iterator[Intel]:
    """It answers, for as long as the block runs."""
    folder.mkdir(exist_ok=True)
    simulated = Intel(folder)
    with serving(simulated.handle, tls=simulated.tls) as server:
        simulated.url = server.url
        yield simulated


class Answer(NamedTuple):
    """An answer as it stood on the wire. `fields` have their names in the case that was sent."""

    status: int
    reason: str
    fields: tuple[tuple[str, str], ...]
    body: bytes

    def field(self, name: str) -> str | None:
        """The value of a header, its name compared exactly."""
        return dict(self.fields).get(name)


class Wire:
    """One connection to a service, its bytes in the test's hands."""

    def __init__(self, port: int, ca: Path, *, pair: tuple[Path, Path] | None = None) -> None:
        context = ssl.create_default_context(cafile=str(ca))
        if pair is not None:
            context.load_cert_chain(*pair)
        plain = socket.create_connection(("127.0.0.1", port), timeout=30)
        try:
            self.socket = context.wrap_socket(plain, server_hostname="localhost")
        except BaseException:
            plain.close()
            raise
        self._buffer = b""

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.socket.sendall(data)

    def get(self, target: str, *fields: str, method: str = "GET", body: bytes = b"") -> Answer:
        """Ask, and read the answer."""
        lines = [f"{method} {target} HTTP/1.1", "Host: localhost", *fields]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        self.send(("\r\n".join(lines) + "\r\n\r\n").encode() + body)
        return self.read(has_body=method != "HEAD")

    def read(self, *, has_body: bool = True) -> Answer:
        """The next answer."""
        while b"\r\n\r\n" not in self._buffer:
            self._more()
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        version, status, reason = first.split(" ", 2)
        assert version == "HTTP/1.1"
        fields = tuple((name, value) for name, _, value in (one.partition(": ") for one in lines))
        length = int(dict(fields).get("Content-Length", "0")) if has_body else 0
        while len(self._buffer) < length:
            self._more()
        body, self._buffer = self._buffer[:length], self._buffer[length:]
        return Answer(int(status), reason, fields, body)

    def ends(self) -> bool:
        """Whether the service ends the connection, with nothing more said."""
        self._buffer += self.socket.recv(65536)
        return not self._buffer

    def _more(self) -> None:
        data = self.socket.recv(65536)
        if not data:
            raise EOFError
        self._buffer += data

    def close(self) -> None:
        """End it."""
        self.socket.close()


class Service:
    """A running service: `said` is its line of JSON, `log` what stands on stderr so far."""

    def __init__(
        self, process: "subprocess.Popen[str]", said: Mapping[str, Any], log: Path
    ) -> None:
        self.process = process
        self.said = said
        self.port = int(str(said["url"]).rsplit(":", 1)[1])
        self.certificate = Path(str(said["certificate"]))
        self._log = log
        self._wires: list[Wire] = []

    @property
    def log(self) -> str:
        """Everything on stderr so far."""
        return self._log.read_text()

    def token(self, role: str) -> str:
        """The token that was shown at the first start."""
        found = [line for line in self.log.splitlines() if line.startswith(f"{role} token")]
        return found[0].rpartition(" ")[2]

    def wire(self, **given: Any) -> Wire:
        """A connection, TLS verified."""
        self._wires.append(Wire(self.port, self.certificate, **given))
        return self._wires[-1]

    def hang_up(self) -> None:
        """End all connections that were made."""
        for wire in self._wires:
            wire.close()

    def get(self, target: str, *fields: str, **given: Any) -> Answer:
        """One answer, on a connection of its own."""
        wire = self.wire()
        try:
            return wire.get(target, *fields, **given)
        finally:
            wire.close()

    def tell(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)


@contextmanager
def serve(
    folder: Path, *given: str, environ: Mapping[str, str] | None = None, name: str = "data"
) -> Iterator[Service]:
    """`dcap pccs serve` on a free port, for as long as the block runs; it must end well then."""
    folder.mkdir(exist_ok=True)
    log = folder / f"{name}.log"
    command = [sys.executable, "-c", START, "pccs", "serve", "--json", "--port", "0"]
    with log.open("w") as errors:
        process = subprocess.Popen(
            [*command, "--data", str(folder / name), *given],
            env={**os.environ, "PYTHONPATH": str(ROOT / "src"), **(environ or {})},
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, log.read_text()
        service = Service(process, json.loads(line), log)
        try:
            yield service
        finally:
            service.hang_up()
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=40) == 0, log.read_text()
        assert "code=internal" not in log.read_text()
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        process.wait(timeout=20)
        process.stdout.close()


def until(true: Callable[[], bool], seconds: float = 10) -> bool:
    """Whether something becomes true in time."""
    last = time.monotonic() + seconds
    while not true():
        if time.monotonic() > last:
            return False
        time.sleep(0.02)
    return True
