"""What mends the way to a server here: commands with this machine's own addresses and paths in them.

One function a finding of `network`. Not here: what was found (`network`), and the same in general
(`network_ailments`).

Source: `quote-provider.md` §1.3, §1.5, §6 rows 2, 3, 5, 15.
"""

import shlex
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from typing import Final, TypeAlias

from dcap.attester.container import container_of
from dcap.doctor.addresses import ROOT_LIST, Asked
from dcap.doctor.configured import SHELL
from dcap.doctor.finding import Mend
from dcap.doctor.probe import Visit
from dcap.doctor.scene import Scene
from dcap.doctor.visits import environ_of
from dcap.qpl.qcnl_config import SYSTEM_PATH

Mends: TypeAlias = Callable[[Scene, Asked, Visit], tuple[Mend, ...]]

_PCCS_PORT: Final = 8081
#: Readers of a configuration whose environment is their unit's.
_DAEMONS: Final = ("aesmd", "qgsd")
RESTART: Final = Mend(
    "restart what reads the file, for it is read once per process: `sudo systemctl restart aesmd` "
    "(a host of trust domains: `qgsd`), or your program"
)
_WRITE: Final = (
    "name your PCCS: `sudo dcap qcnl write --pccs https://HOST:8081/sgx/certification/v4/`"
)


def _is_loopback(host: str) -> bool:
    """Whether a host is this machine itself."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def restart(asked: Asked) -> tuple[Mend, ...]:
    """What Intel's library has read stays with it; dcap reads anew each time."""
    return (RESTART,) if asked.road.by_intels else ()


def against_the_default(scene: Scene, asked: Asked) -> tuple[Mend, ...]:
    """Where an address is asked that nobody wrote: correct the file that was discarded."""
    if not asked.road.why:
        return ()
    file, is_systems = asked.road.name, asked.road.name == str(SYSTEM_PATH)
    write = Mend(_WRITE if is_systems else f"{_WRITE[:-1]} --output {shlex.quote(file)}`")
    if not scene.root.look(file).is_there:
        return (write, RESTART)
    return (
        Mend(f"`dcap qcnl lint {shlex.quote(file)}` shows each line to correct"),
        write,
        RESTART,
    )


def _listening(scene: Scene, asked: Asked, visit: Visit) -> tuple[Mend, ...]:
    """Nothing listens, or is reached: the file, the container, the service."""
    host, port = visit.address.host, visit.address.port
    mends: list[Mend] = []
    if _is_loopback(host) and container_of(scene.root, scene.environ):
        mends.append(
            Mend(
                f"this is a container, in which {host} is the container itself: write the host's own "
                "name or address into the URL (Docker: `--add-host=host.docker.internal:host-gateway` "
                "and https://host.docker.internal:8081/…), or run it with `--network host`"
            )
        )
    elif _is_loopback(host):
        mends.append(
            Mend(
                "start the PCCS: `sudo systemctl start pccs` (`systemctl status pccs` says why it "
                "does not run), or `dcap pccs serve`"
            )
        )
        if not asked.road.why:
            mends += [Mend(_WRITE), *restart(asked)]
    else:
        mends.append(Mend(f"on {host}: `systemctl status pccs`, `ss -ltn 'sport = :{port}'`"))
        mends.append(Mend(f"from here: `curl -kv --connect-timeout 5 {asked.shown}`"))
    if port != _PCCS_PORT and not host.endswith((".intel.com", ".azure.net")):
        mends.append(
            Mend(f"a PCCS listens at {_PCCS_PORT} unless it was told otherwise: see the port")
        )
    return tuple(mends)


def _named(_scene: Scene, asked: Asked, visit: Visit) -> tuple[Mend, ...]:
    host = visit.address.host
    ask = Mend(f"`getent hosts {host}` asks as a program does; see /etc/resolv.conf")
    proxy = Mend("if the way out is a proxy, name it: `export https_proxy=http://PROXY:PORT`")
    if not asked.road.by_intels:
        other = Mend(
            "or name a service that is reached: `export DCAP_SOURCE=https://HOST:8081` (a PCCS)"
        )
        return (ask, proxy, other)
    if asked.setting == ROOT_LIST:
        return (ask, proxy)
    return (ask, Mend(f"correct the host in {asked.place}"), proxy, RESTART)


def _trusting(scene: Scene, asked: Asked, visit: Visit) -> tuple[Mend, ...]:
    """Install what is shown, or its CA, where the system looks."""
    red_hat = scene.root.look("/etc/pki/ca-trust/source/anchors").is_there
    folder = "/etc/pki/ca-trust/source/anchors" if red_hat else "/usr/local/share/ca-certificates"
    update = "update-ca-trust" if red_hat else "update-ca-certificates"
    ends = f"{visit.address.host}:{visit.address.port}"
    shown = visit.certificate
    mends: list[Mend] = []
    if shown is not None and shown.self_signed and shown.fits:
        mends.append(
            Mend(
                f"trust this one, after comparing its SHA-256 with that on the server: `openssl "
                f"s_client -connect {ends} </dev/null | openssl x509 | sudo tee {folder}/pccs.crt && "
                f"sudo {update}`"
            )
        )
    elif shown is not None and shown.self_signed:
        mends.append(
            Mend(
                f"trusting it is not enough, for it is not made for {visit.address.host}: have one "
                f"made with that name (SAN), and install it: `sudo cp pccs.crt {folder}/pccs.crt && "
                f"sudo {update}`"
            )
        )
    else:
        mends.append(Mend(f"trust its CA: `sudo cp ca.crt {folder}/pccs-ca.crt && sudo {update}`"))
    return (*mends, *_unchecked(asked))


def _renamed(_scene: Scene, asked: Asked, visit: Visit) -> tuple[Mend, ...]:
    shown = visit.certificate
    mends = [Mend(f"have a certificate made with the name (SAN) {visit.address.host}")]
    if shown is not None and shown.names:
        mends.insert(
            0, Mend(f"write {shown.names[0]} as host into {asked.place}, if it leads there")
        )
    return (*mends, *_unchecked(asked))


def _renewed(_scene: Scene, asked: Asked, visit: Visit) -> tuple[Mend, ...]:
    return (
        Mend(f"renew the certificate on {visit.address.host}, and restart the service there"),
        Mend("`date` shows this machine's time: is it right?"),
        *_unchecked(asked),
    )


def _unchecked(asked: Asked) -> tuple[Mend, ...]:
    """Not to look at the certificate, which costs privacy and no truth."""
    if not asked.road.by_intels:
        return (Mend("dcap: `--ca FILE`, or `SSL_CERT_FILE=FILE` in the environment"),)
    return (
        Mend(
            f'or write `"use_secure_cert": false` into {asked.road.name}: this does not weaken '
            "attestation, for collateral is proven by Intel's signatures"
        ),
        RESTART,
    )


def _rewritten(scheme: str) -> Mends:
    def mends(_scene: Scene, asked: Asked, _visit: Visit) -> tuple[Mend, ...]:
        rest = asked.shown.partition("://")[2]
        return (
            Mend(f"write {scheme}://{rest} into {asked.place}, or correct the port"),
            *restart(asked),
        )

    return mends


def _looked_into(_scene: Scene, asked: Asked, visit: Visit) -> tuple[Mend, ...]:
    ends = f"{visit.address.host}:{visit.address.port}"
    return (
        Mend(f"`openssl s_client -connect {ends} -servername {visit.address.host}` shows it"),
        Mend(f"correct the port in {asked.place}: a PCCS listens at {_PCCS_PORT} by default"),
    )


def _waited(_scene: Scene, asked: Asked, visit: Visit) -> tuple[Mend, ...]:
    host = visit.address.host
    return (
        Mend(f"`curl -kv --max-time 10 {asked.shown}`; on {host}: `sudo systemctl restart pccs`"),
        Mend("Intel's library waits for ever: stop what hangs, once the service answers again"),
    )


def _proxied(_scene: Scene, asked: Asked, visit: Visit) -> tuple[Mend, ...]:
    return past_the_proxy(asked, visit)


def past_the_proxy(asked: Asked, visit: Visit) -> tuple[Mend, ...]:
    """Ask directly, or mend the proxy."""
    host = visit.address.host
    known = environ_of(asked.road)
    rules = known.get("no_proxy") or known.get("NO_PROXY") or ""
    whole = f"{rules},{host}" if rules else host
    own = [each for each in asked.road.readers if each in _DAEMONS]
    shells = SHELL in asked.road.readers or not own
    usual = ("aesmd",) if asked.road.by_intels else ()
    return (
        *((Mend(f"ask it directly: `export no_proxy={whole}`"),) if shells else ()),
        *(
            Mend(
                f"for {unit}: `sudo systemctl edit {unit}`, and there `[Service]` "
                f"`Environment=no_proxy={whole}`; then `sudo systemctl restart {unit}`"
            )
            for unit in own or usual
        ),
        Mend(f"if it is the way out: check the proxy {visit.proxy}, its name, port and password"),
    )


MENDS: Final[Mapping[str, Mends]] = {
    "server-name": _named,
    "server-refuses": _listening,
    "server-unreachable": _listening,
    "server-silent": _waited,
    "server-not-tls": _rewritten("http"),
    "server-is-tls": _rewritten("https"),
    "server-tls": _looked_into,
    "server-not-http": _looked_into,
    "server-untrusted": _trusting,
    "server-other-name": _renamed,
    "server-certificate-dates": _renewed,
    "proxy-fails": _proxied,
}
