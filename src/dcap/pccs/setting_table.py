"""The table of a PCCS's settings: what each is for, how it is written, what happens when it is wrong.

The name gives the flag (`--upstream-ca`), the variable (`DCAP_PCCS_UPSTREAM_CA`) and the key in TOML
(`upstream_ca`); where there are more names (`APIKEY`, Intel's), the row has them. Secrets have no flag:
a command line is seen by everybody. Flags, reader (`config`) and reference page are made of it.

Source: `pccs-and-pcs-api.md` §3.1.
"""

import ipaddress
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec

PREFIX: Final = "DCAP_PCCS_"
INTEL_UPSTREAM: Final = "https://api.trustedservices.intel.com/sgx/certification/v4/"
DATABASE_FILE: Final = "pccs.db"
_SIZES: Final = {"": 1, "B": 1, "KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30}
_SIZE: Final = re.compile(r"(\d{1,12})\s*(B|KB|MB|GB)?", re.IGNORECASE)
_WORDS: Final = {"true": True, "false": False, "1": True, "0": False, "yes": True, "no": False}


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What a service is started with. What each is for stands in `SETTINGS`."""

    data: Path
    host: str = "127.0.0.1"
    port: int = 8081
    mode: str = "lazy"
    upstream: tuple[str, ...] = (INTEL_UPSTREAM,)
    upstream_ca: Path | None = None
    api_key: str | None = None
    api_key_file: Path | None = None
    proxy: str | None = None
    database: str | None = None
    workers: int = 1
    insecure_test_root: Path | None = None
    insecure_upstream: bool = False
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    client_ca: Path | None = None
    user_token_hash: tuple[str, ...] = ()
    admin_token_hash: tuple[str, ...] = ()
    expired: str = "refuse"
    refresh: bool = True
    max_body: int = 2 * 1024 * 1024
    header_seconds: float = 10
    request_seconds: float = 15
    keep_alive_seconds: float = 60
    stop_seconds: float = 20
    connections: int = 4096
    connections_per_address: int = 1024
    misses: int = 1024
    misses_per_address: int = 512
    threads: int = 64
    threads_per_address: int = 24
    rate: float = 200
    burst: int = 2000
    upstream_rate: float = 10
    upstream_burst: int = 512
    trusted_proxies: tuple[str, ...] = ()
    hot_size: int = 16 * 1024 * 1024
    log: str = "text"
    log_level: str = "info"

    def __repr__(self) -> str:
        return f"<Settings of {self.data}>"

    @property
    def database_url(self) -> str:
        """The database: the one named, else SQLite's beside the rest."""
        return self.database or f"sqlite:///{(self.data / DATABASE_FILE).absolute()}"

    @property
    def certificate_file(self) -> Path:
        """The certificate shown to clients."""
        return self.tls_certificate or self.data / "tls_certificate.pem"

    @property
    def key_file(self) -> Path:
        """Its key."""
        return self.tls_key or self.data / "tls_key.pem"

    @property
    def tokens_file(self) -> Path:
        """Where the hashes of tokens are."""
        return self.data / "tokens.json"


Reader: TypeAlias = Callable[[object], Any]


def _text(value: object) -> str:
    """Text in one line."""
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise ValueError
    return value.strip()


def _path(value: object) -> Path:
    """The name of a file or a folder."""
    return Path(_text(value)).expanduser()


def _flag(value: object) -> bool:
    """True or false."""
    if isinstance(value, bool):
        return value
    return _WORDS[_text(value).lower()]


def _between(read: Reader, least: float, most: float) -> Reader:
    """Numbers that `read` makes of a value, within bounds. TOML's `true` is none."""

    def bounded(value: object) -> Any:  # noqa: ANN401 - what `read` gives
        number = read(value)
        if isinstance(value, bool) or not least <= number <= most:
            raise ValueError
        return number

    return bounded


def _saying(text: str, reader: Reader) -> Reader:
    """The reader, its docstring saying what it takes: errors repeat it."""
    reader.__doc__ = text
    return reader


def _whole(least: int, most: int) -> Reader:
    reader = _between(lambda one: one if isinstance(one, int) else int(_text(one)), least, most)
    return _saying(f"A whole number from {least} to {most}.", reader)


def _seconds(least: float, most: float) -> Reader:
    reader = _between(
        lambda one: float(one if isinstance(one, int | float) else _text(one)), least, most
    )
    return _saying(f"A number from {least:.16g} to {most:.16g}.", reader)


def _size(least: int, most: int) -> Reader:
    said = f"A size from {size_text(least)} to {size_text(most)}, such as 4MB."
    return _saying(said, _between(_bytes, least, most))


def size_text(size: int) -> str:
    """A size as a person writes it."""
    for unit, factor in (("GB", 1 << 30), ("MB", 1 << 20), ("KB", 1 << 10)):
        if size and size % factor == 0:
            return f"{size // factor}{unit}"
    return str(size)


def _bytes(value: object) -> int:
    match = _SIZE.fullmatch(str(value) if isinstance(value, int) else _text(value))
    if match is None:
        raise ValueError
    return int(match[1]) * _SIZES[(match[2] or "").upper()]


def _one_of(*words: str) -> Reader:
    def read(value: object) -> str:
        word = _text(value).lower()
        if word not in words:
            raise ValueError
        return word

    return _saying(f"One of {', '.join(words)}.", read)


def _list_of(one: Reader) -> Reader:
    def read(value: object) -> tuple[Any, ...]:
        parts = value if isinstance(value, list | tuple) else re.split(r"[\s,]+", _text(value))
        return tuple(one(part) for part in parts)

    return _saying(f"{(one.__doc__ or '').rstrip('.')}; several with commas between.", read)


def _hash(value: object) -> str:
    """128 hex digits, SHA-512."""
    text = _text(value).lower()
    if not re.fullmatch(r"[0-9a-f]{128}", text):
        raise ValueError
    return text


def _network(value: object) -> str:
    """An address or a network, such as 10.0.0.0/8."""
    return str(ipaddress.ip_network(_text(value)))


_DEFAULTS: Final = Settings(data=Path())


class Setting(NamedTuple):
    """One row. `form` is how a person writes it; `wrong` is what happens, and how to mend it."""

    name: str
    form: str
    read: Reader
    why: str
    wrong: str
    intel: str = ""
    has_flag: bool = True
    #: Further variables, and those of other images that operators have in their files.
    variables: tuple[str, ...] = ()
    #: Whether a reload (SIGHUP) takes a new value up; others need a restart.
    reloads: bool = True

    @property
    def flag(self) -> str:
        """The option of `dcap pccs serve`; empty where there is none."""
        return f"--{self.name.replace('_', '-')}" if self.has_flag else ""

    @property
    def takes(self) -> str:
        """What a person may write, as part of a sentence."""
        said = (self.read.__doc__ or self.form).rstrip(".")
        return said[:1].lower() + said[1:]

    @property
    def default(self) -> str:
        """What holds where nothing is given, as a person writes it; empty where that is nothing."""
        found = getattr(_DEFAULTS, self.name)
        if found is None or found == () or self.name == "data":
            return ""
        if isinstance(found, tuple):
            return ",".join(found)
        if isinstance(found, bool):
            return str(found).lower()
        if self.form == "SIZE":
            return size_text(found)
        return f"{found:g}" if isinstance(found, float) else str(found)

    @property
    def variable(self) -> str:
        """The environment variable."""
        return PREFIX + self.name.upper()


# A table is read by its rows, so the formatter leaves it alone.
# fmt: off
SETTINGS: Final[tuple[Setting, ...]] = (
    Setting("data", "DIR", _path,
        "Where the service keeps its own: database, TLS key and certificate, hashes of tokens. "
        "Default: /var/lib/dcap-pccs as root, else ~/.local/share/dcap/pccs.",
        "Another folder is another service: new tokens, a new certificate, an empty cache.",
        reloads=False),
    Setting("host", "ADDRESS", _text,
        "The address to listen on. Loopback unless you say otherwise; 0.0.0.0 or :: is every one.",
        "Machines elsewhere cannot connect (0xe019 in Intel's provider), or everybody can.",
        "hosts", reloads=False),
    Setting("port", "N", _whole(0, 65535),
        "The port; 0 is a free one, which is printed.",
        "Taken: the service does not start. Another than 8081: every client must be told.",
        "HTTPS_PORT", reloads=False),
    Setting("mode", "lazy|req|offline", _one_of("lazy", "req", "offline"),
        "What is fetched when: lazy on demand, req when a machine registers, offline never.",
        "offline or req where machines never register: 461 and 404 for them.",
        "CachingFillMode"),
    Setting("upstream", "URL", _list_of(_text),
        "Where what is missing comes from, in order: Intel's PCS, pccs+https://… for another PCCS, "
        "azure. Repeatable.",
        "404 and 502 with the cause in the header Dcap-Cause; `dcap pccs status` shows each upstream.",
        "uri"),
    Setting("upstream_ca", "FILE", _path,
        "Certificates (PEM) that upstream's TLS is checked against, instead of the system's.",
        "Upstream is unreachable (502); what it says is proven by Intel's signatures in any case."),
    Setting("api_key", "KEY", _text,
        "Intel's subscription key, where you have one. In the environment or the file, never on the "
        "command line.",
        "Intel answers 401: 404 with Dcap-Cause wrong-key. An empty one is none.",
        "ApiKey", has_flag=False, variables=("APIKEY",)),
    Setting("api_key_file", "FILE", _path,
        "A file with Intel's subscription key: a secret of Kubernetes or systemd. Wins over api_key.",
        "Unreadable: the service does not start."),
    Setting("proxy", "URL", _text,
        "The proxy for upstream. Without it the usual variables count (https_proxy, no_proxy).",
        "Upstream is unreachable (502).",
        "proxy"),
    Setting("database", "URL", _text,
        "The database: sqlite:////PATH, postgresql://… or mysql://…. Several services may share one of "
        "the latter. Default: SQLite in the data folder. A password belongs in the environment.",
        "The service does not start; gone later: 503 until it is back, ready answers go on for a while.",
        reloads=False),
    Setting("workers", "N", _whole(1, 64),
        "Processes. One serves some ten thousand ready answers a second.",
        "More than cores: memory for nothing.",
        reloads=False),
    Setting("insecure_test_root", "FILE", _path,
        "Believe what this root signed instead of Intel's: for simulated worlds alone.",
        "Whoever has its key can make anything look genuine to who trusts it too."),
    Setting("insecure_upstream", "true|false", _flag,
        "Let upstreams on other machines be asked over http://, where nobody is on the way. A "
        "subscription key is never sent so.",
        "Whoever is on the way reads which machines there are, and may withhold answers."),
    Setting("tls_certificate", "FILE", _path,
        "The certificate shown to clients, with its chain. Default: one of the service's own making.",
        "Does not fit the key or is no PEM: the service does not start; at a reload the old one stays."),
    Setting("tls_key", "FILE", _path,
        "Its key (PEM, not encrypted).",
        "As above."),
    Setting("client_ca", "FILE", _path,
        "Let in only clients with a certificate of these CAs.",
        "Quote providers have none: with this they cannot connect unless something stands between."),
    Setting("user_token_hash", "HEX", _list_of(_hash),
        "SHA-512 of further user tokens (they register machines), as Intel's installer writes them.",
        "Not 128 hex digits: the service does not start. A wrong one: 401.",
        "UserTokenHash", has_flag=False),
    Setting("admin_token_hash", "HEX", _list_of(_hash),
        "SHA-512 of further admin tokens.",
        "As above.",
        "AdminTokenHash", has_flag=False),
    Setting("expired", "refuse|serve", _one_of("refuse", "serve"),
        "What becomes of collateral that has expired and cannot be renewed: refused with 404 or 502, or "
        "served with a Warning.",
        "serve: verifiers see collateral out of date, and most say so late."),
    Setting("refresh", "true|false", _flag,
        "Renew collateral ahead of its end, in the background (not in mode offline).",
        "false: what expires is fetched when somebody asks, and that one waits.",
        has_flag=False),
    Setting("max_body", "SIZE", _size(1024, 1 << 30),
        "The largest body of a request.",
        "Imports are 413: `dcap pccs put` splits them, Intel's tool does not (70 machines in 2 MB).",
        "MaxRequestBodySize"),
    Setting("header_seconds", "SECONDS", _seconds(0.1, 600),
        "For how long a client may send the head of a request, or its TLS handshake.",
        "Too short: slow clients are cut off. Too long: idle attackers hold connections.",
        "HeadersTimeoutSeconds"),
    Setting("request_seconds", "SECONDS", _seconds(0.1, 3600),
        "For how long it may send the body, and leave an answer unread.",
        "As above.",
        "RequestTimeoutSeconds"),
    Setting("keep_alive_seconds", "SECONDS", _seconds(1, 3600),
        "For how long a connection may lie idle.",
        "Too short: a handshake for each request.",
        "KeepAliveTimeoutSeconds"),
    Setting("stop_seconds", "SECONDS", _seconds(0, 600),
        "For how long what is under way may go on after SIGTERM.",
        "Too short: registrations under way are cut off, and must be sent again."),
    Setting("connections", "N", _whole(1, 1_000_000),
        "Connections open at once, in each worker. The limit of open files is raised for them; where it "
        "cannot be, there are fewer, and the log says so.",
        "Clients beyond it are hung up on."),
    Setting("connections_per_address", "N", _whole(1, 1_000_000),
        "Of those, from one address, and never more than half of them; the proxies of trusted_proxies "
        "have no such limit.",
        "Too small: machines behind one address are hung up on. Too large: one address takes them all."),
    Setting("misses", "N", _whole(1, 1_000_000),
        "Requests that wait for upstream, or in line for it, at once; more get 503. What is kept is "
        "answered beside them.",
        "Too small: a rack that boots gets 503, and Intel's provider asks again only if told to."),
    Setting("misses_per_address", "N", _whole(1, 1_000_000),
        "Of those, from one address.",
        "As above, for a rack behind one address."),
    Setting("threads", "N", _whole(1, 1024),
        "Threads that deal with them. Who waits in line for one gets 503 after 15 s; with a token, as "
        "machines that register have, after 120 s: its own patience counts.",
        "Too few: who waits for one upstream waits for who waits for another, slow one."),
    Setting("threads_per_address", "N", _whole(1, 1024),
        "Of those, for one address where others wait, which come first; its other requests wait in "
        "line. While no other address waits it may have up to 28, where that leaves 16 free.",
        "Too many: who asks for hundreds of things that upstream lacks delays everybody's."),
    Setting("rate", "N", _seconds(0, 1_000_000),
        "Requests that are not ready answers, a second from one address, after a burst; 0 is no limit. "
        "Behind a load balancer all have one address, unless trusted_proxies names it.",
        "Too small: 503 with Dcap-Cause busy."),
    Setting("burst", "N", _whole(1, 1_000_000),
        "Such requests at once from one address.",
        "As above."),
    Setting("upstream_rate", "N", _seconds(0, 1_000_000),
        "Machines a second that are looked up with Intel for one address without a token, after a "
        "burst; 0 is no limit. An item of collateral counts as four machines, for there are few; all "
        "addresses together have eight times as much.",
        "Too small: 503 with Dcap-Cause busy where many machines are new. Too large: strangers make "
        "Intel throttle the service."),
    Setting("upstream_burst", "N", _whole(4, 1_000_000),
        "Such machines at once: a rack that boots.",
        "As above."),
    Setting("trusted_proxies", "NETWORK,…", _list_of(_network),
        "Proxies and load balancers that stand in front of this service, as addresses or networks "
        "(10.0.0.0/8): the client that they name in X-Forwarded-For is counted and logged. Without it "
        "the header is ignored.",
        "Too few: all clients are one to rate. Too many: clients that write the header themselves are "
        "whoever they say they are, and no rate holds them."),
    Setting("hot_size", "SIZE", _size(0, 1 << 34),
        "Room for ready answers, in each worker: some 6 KB a machine.",
        "Too small: the database answers, ten times slower."),
    Setting("log", "text|json", _one_of("text", "json"),
        "The form of the log, on stderr. No form of it names machines.",
        "Nothing breaks."),
    Setting("log_level", "error|warning|info|debug", _one_of("error", "warning", "info", "debug"),
        "info has every request that was not a ready answer; debug has those too.",
        "debug at full load costs more than the answers.",
        "LogLevel"),
)
# fmt: on
BY_NAME: Final = {setting.name: setting for setting in SETTINGS}
