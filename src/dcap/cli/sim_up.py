"""`dcap sim up`: the simulated Intel's services on loopback HTTPS, until SIGTERM or SIGINT.

Beside the world lie, once they answer: `tls_ca.pem`, `qcnl.conf` for Intel's quote provider library,
and `environment`, which a shell sources: addresses and files, and nothing that changes what any program
trusts (`QCNL_CONF_PATH` steers Intel's library alone). It is there only while they answer, or after
they were killed. One process serves a world at a time. On request there is also what programs of a
machine get quotes from: sockets and folders (`simulator.devices`). Their places have names of ours
(SIM_AESM …): those that steer other programs, such as SGX_AESM_ADDR, are set by whoever wants it.
"""

import os
import shlex
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from dcap.cli import arguments, output
from dcap.cli.sim_place import machine_of, place, written
from dcap.errors import ConfigError
from dcap.serving import serving
from dcap.simulator.devices import DEVICES, machine_of_directory
from dcap.simulator.events import MACHINE
from dcap.simulator.internet import internet
from dcap.simulator.pcs import ROOT_CRL_PATH
from dcap.simulator.services import ALIBABA, HOST_AGENT, THIM, services
from dcap.simulator.state import WorldDirectory
from dcap.simulator.tls import LOOPBACK, WRONG_NAMES, tls_files
from dcap.simulator.wire_faults import WIRE_FAULTS

QCNL_CONF = "qcnl.conf"
ENVIRONMENT = "environment"
_LONGEST_KEY = 1024
_PCCS_PATH = f"{ALIBABA}/sgx/certification/v4/"
_Command = TypeVar("_Command", bound=Callable[..., Any])


def _devices(command: _Command) -> _Command:
    """An option for each row of the table, and whose quotes they give."""
    command = click.option(
        "--platform",
        metavar="NAME",
        help=f"The machine whose quotes these give.  [default: {MACHINE}]",
    )(command)
    for name, device in reversed(list(DEVICES.items())):
        command = click.option(
            device.flag, name, metavar=device.metavar, type=click.Path(), help=device.help
        )(command)
    return command


@click.command("up")
@place
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=0,
    metavar="N",
    help="On 127.0.0.1.  [default: a free one]",
)
@click.option(
    "--proxy-port",
    type=click.IntRange(0, 65535),
    metavar="N",
    help="Also be a proxy there, beyond which the real hosts of Intel, Azure and Alibaba are these "
    "services. 0: a free port.  [default: none]",
)
@click.option(
    "--api-key",
    metavar="KEY",
    envvar="DCAP_SIM_API_KEY",
    help="Answer 401 to who asks for PCK certificates, or adds a package, without this subscription "
    "key. [env: DCAP_SIM_API_KEY]",
)
@click.option("--api-key-file", metavar="FILE", help="The same, its key in a file; - is stdin.")
@click.option(
    "--wire-fault",
    "wire_faults",
    type=click.Choice(list(WIRE_FAULTS)),
    metavar="NAME",
    multiple=True,
    help="Answer, but not as one should (`dcap sim fault --list`). Repeatable.",
)
@_devices
@click.option("--json", "as_json", is_flag=True, help="When ready, print one line of JSON.")
def up(
    *,
    directory: WorldDirectory,
    port: int,
    proxy_port: int | None,
    api_key: str | None,
    api_key_file: str | None,
    wire_faults: tuple[str, ...],
    platform: str | None,
    as_json: bool,
    **devices: str | None,
) -> None:
    """Serve PCS, THIM, registration and root CRL on https://127.0.0.1 until SIGTERM or Ctrl-C.

    What other `dcap sim` commands do to the world counts from the next request on. It answers this
    machine alone.
    """
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    key_wanted = _api_key(api_key, api_key_file)
    with ExitStack() as stack:
        stack.enter_context(directory.claim())
        environment = directory.path / ENVIRONMENT
        environment.unlink(missing_ok=True)
        world = directory.world()
        names = WRONG_NAMES if "wrong-certificate" in wire_faults else None
        certificate, key, ca = tls_files(world, directory.path, names=names or LOOPBACK)
        handler = directory.handler(lambda world: services(world, api_key=key_wanted))
        for name in wire_faults:
            handler = WIRE_FAULTS[name](handler)
        with _listening(port):
            server = stack.enter_context(serving(handler, port=port, tls=(certificate, key)))
        ready = _ready(directory, server.url, ca)
        if proxy_port is not None:
            with _listening(proxy_port):
                proxy = internet(handler, world, directory.path, port=proxy_port, names=names)
                ready["proxy_url"] = stack.enter_context(proxy).proxy_url
        ready |= _start(stack, directory, devices, platform)
        stack.callback(environment.unlink, missing_ok=True)
        directory.write_file(ENVIRONMENT, _environment(ready))
        if as_json:
            click.echo(msgspec.json.encode({"schema": output.SCHEMA, **ready}))
        else:
            output.emit(ready, _lines(ready, environment, written(world.at)), as_json=False)
        stop.wait()


def _start(
    stack: ExitStack,
    directory: WorldDirectory,
    devices: Mapping[str, str | None],
    platform: str | None,
) -> dict[str, str]:
    """Serve what is asked for, until the stack is closed: each with its place."""
    wanted = {name: Path(path) for name, path in devices.items() if path is not None}
    if platform is not None and not wanted:
        flags = ", ".join(device.flag for device in DEVICES.values())
        raise click.UsageError(f"--platform says whose quotes are given: by {flags}")
    named = platform or MACHINE
    if wanted:
        machine_of(directory.world(), named)
    machine = machine_of_directory(directory, lambda folder: machine_of(folder.world(), named))
    for name, path in wanted.items():
        stack.enter_context(DEVICES[name].serve(machine, path))
    return {name: str(DEVICES[name].place(path)) for name, path in wanted.items()}


def _api_key(given: str | None, file: str | None) -> str | None:
    """The subscription key that is asked for; a header must be able to carry it."""
    if file is not None:
        if given is not None:
            raise click.UsageError("--api-key and --api-key-file exclude each other")
        given = arguments.read_input(file, _LONGEST_KEY).decode("latin-1").strip()
    if given is not None and not (given and given.isascii() and given.isprintable()):
        raise click.UsageError("the API key is empty, or not printable ASCII")
    return given


@contextmanager
def _listening(port: int) -> Iterator[None]:
    """What the system says of a port, in our words."""
    try:
        yield
    except OSError as error:
        raise ConfigError(
            "simulator-port",
            f"port {port} cannot be listened on: {error.strerror}",
            mend="give another port, or none",
        ) from None


def _ready(directory: WorldDirectory, url: str, ca: Path) -> dict[str, object]:
    """What a client needs to know; `qcnl.conf` is written."""
    qcnl_conf = directory.write_file(QCNL_CONF, _qcnl_conf(url))
    return {
        "pcs_url": url,
        "thim_url": f"{url}{THIM}",
        "thim_agent_url": f"{url}{HOST_AGENT}",
        "registration_url": url,
        "root_crl_url": f"{url}{ROOT_CRL_PATH}",
        "root_pem": str(directory.root_pem.resolve()),
        "tls_ca_pem": str(ca.resolve()),
        "qcnl_conf": str(qcnl_conf.resolve()),
        "pid": os.getpid(),
    }


def _qcnl_conf(url: str) -> bytes:
    """A configuration of Intel's QCNL. It trusts the system's CAs alone, hence no certificate check."""
    base = f"{url}{_PCCS_PATH}"
    return (
        msgspec.json.format(
            msgspec.json.encode(
                {
                    "pccs_url": base,
                    "collateral_service": base,
                    "use_secure_cert": False,
                    "pccs_api_version": "3.1",
                    "retry_times": 0,
                    "pck_cache_expire_hours": 0,
                    "verify_collateral_cache_expire_hours": 0,
                }
            ),
            indent=2,
        )
        + b"\n"
    )


def _environment(ready: dict[str, object]) -> bytes:
    """Shell text: where everything is."""
    names = ("qcnl_conf", "tls_ca_pem", *(name for name in ready if name.endswith("_url")))
    rows = {name.upper(): str(ready[name]) for name in names}
    rows["QCNL_CONF_PATH"] = rows.pop("QCNL_CONF")
    rows |= {f"SIM_{name.upper()}": str(ready[name]) for name in DEVICES if name in ready}
    return "".join(f"export {n}={shlex.quote(v)}\n" for n, v in sorted(rows.items())).encode()


def _lines(ready: dict[str, object], environment: Path, at: str) -> list[str]:
    words = {"pid": "pid", "root_pem": "root", "tls_ca_pem": "TLS CA", "qcnl_conf": "QCNL"}
    words |= {name: DEVICES[name].flag.removeprefix("--") for name in DEVICES}
    rows = [(words.get(name, name.removesuffix("_url")), value) for name, value in ready.items()]
    return [
        *(f"{word:<13}{value}" for word, value in rows),
        f"{'environment':<13}{environment.resolve()}",
        f"clock        {at}",
        "ready        all of this is simulated: nothing here is Intel's",
    ]
