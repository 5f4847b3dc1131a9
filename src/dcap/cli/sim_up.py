"""`dcap sim up`: the simulated Intel's services on loopback HTTPS, until SIGTERM or SIGINT.

Beside the world lie, once they answer: `tls_ca.pem`, `qcnl.conf` for Intel's quote provider library,
and `environment`, which a shell sources. The last is there only while they answer.
"""

import os
import shlex
import signal
import threading
from contextlib import ExitStack
from pathlib import Path

import click
import msgspec

from dcap.cli import output
from dcap.cli.sim_place import place, written
from dcap.errors import ConfigError
from dcap.serving import Server, serving
from dcap.simulator.pcs import ROOT_CRL_PATH
from dcap.simulator.services import ALIBABA, THIM, services
from dcap.simulator.state import WorldDirectory
from dcap.simulator.tls import LOOPBACK, WRONG_NAMES, tls_files
from dcap.simulator.wire_faults import WIRE_FAULTS

QCNL_CONF = "qcnl.conf"
ENVIRONMENT = "environment"
_PCCS_PATH = f"{ALIBABA}/sgx/certification/v4/"


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
    "--wire-fault",
    "wire_faults",
    type=click.Choice(list(WIRE_FAULTS)),
    metavar="NAME",
    multiple=True,
    help="Answer, but not as one should (`dcap sim fault --list`). Repeatable.",
)
@click.option("--json", "as_json", is_flag=True, help="When ready, print one line of JSON.")
def up(
    *, directory: WorldDirectory, port: int, wire_faults: tuple[str, ...], as_json: bool
) -> None:
    """Serve PCS, THIM, registration and root CRL on https://127.0.0.1 until SIGTERM or Ctrl-C.

    What other `dcap sim` commands do to the world counts from the next request on. It answers this
    machine alone.
    """
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    world = directory.world()
    (directory.path / ENVIRONMENT).unlink(missing_ok=True)
    names = WRONG_NAMES if "wrong-certificate" in wire_faults else LOOPBACK
    certificate, key, ca = tls_files(world, directory.path, names=names)
    handler = directory.handler(services)
    for name in wire_faults:
        handler = WIRE_FAULTS[name](handler)
    with ExitStack() as stack:
        try:
            server = stack.enter_context(serving(handler, port=port, tls=(certificate, key)))
        except OSError as error:
            raise ConfigError(
                "simulator-port",
                f"port {port} cannot be listened on: {error.strerror}",
                mend="give another --port, or none",
            ) from None
        ready = _ready(directory, server, ca)
        if as_json:
            click.echo(msgspec.json.encode({"schema": output.SCHEMA, **ready}))
        else:
            output.emit(ready, _lines(ready, directory, written(world.at)), as_json=False)
        stop.wait()
    (directory.path / ENVIRONMENT).unlink(missing_ok=True)


def _ready(directory: WorldDirectory, server: Server, ca: Path) -> dict[str, object]:
    """What a client needs to know; the files that say it are written."""
    qcnl_conf = directory.write_file(QCNL_CONF, _qcnl_conf(server.url))
    ready: dict[str, object] = {
        "pcs_url": server.url,
        "thim_url": f"{server.url}{THIM}",
        "registration_url": server.url,
        "root_crl_url": f"{server.url}{ROOT_CRL_PATH}",
        "root_pem": str(directory.root_pem.resolve()),
        "tls_ca_pem": str(ca.resolve()),
        "qcnl_conf": str(qcnl_conf.resolve()),
        "pid": os.getpid(),
    }
    directory.write_file(ENVIRONMENT, _environment(ready))
    return ready


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
    """Shell text: where everything is, for curl, dcap and Intel's library."""
    names = {
        "PCS_URL": ready["pcs_url"],
        "THIM_URL": ready["thim_url"],
        "REGISTRATION_URL": ready["registration_url"],
        "ROOT_CRL_URL": ready["root_crl_url"],
        "CURL_CA_BUNDLE": ready["tls_ca_pem"],
        "QCNL_CONF_PATH": ready["qcnl_conf"],
        "DCAP_INSECURE_TEST_ROOT": ready["root_pem"],
    }
    return "".join(f"export {n}={shlex.quote(str(v))}\n" for n, v in names.items()).encode()


def _lines(ready: dict[str, object], directory: WorldDirectory, at: str) -> list[str]:
    words = {"pid": "pid", "root_pem": "root", "tls_ca_pem": "TLS CA", "qcnl_conf": "QCNL"}
    rows = [(words.get(name, name.removesuffix("_url")), value) for name, value in ready.items()]
    return [
        *(f"{word:<13}{value}" for word, value in rows),
        f"{'environment':<13}{(directory.path / ENVIRONMENT).resolve()}",
        f"clock        {at}",
        "ready        all of this is simulated: nothing here is Intel's",
    ]
