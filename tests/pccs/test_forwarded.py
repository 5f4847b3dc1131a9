"""`dcap.pccs.forwarded`: whose request it is where a load balancer stands between."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from dcap.errors import ConfigError
from dcap.pccs.config import read_settings
from dcap.pccs.forwarded import MAX_HOPS, Proxies
from dcap.pccs.http_head import read_head
from pccs.test_front import Desk, open_desk

OURS = Proxies(("10.0.0.0/8", "fd00::/8"))
#: The peer, the header's lines, and who it is.
WHO = {
    "nobody says anything": ("10.0.0.1", [], "10.0.0.1"),
    "our proxy names its client": ("10.0.0.1", ["192.0.2.7"], "192.0.2.7"),
    "a client that invents others": ("10.0.0.1", ["198.51.100.1, 192.0.2.7"], "192.0.2.7"),
    "two proxies of ours in a row": ("10.0.0.1", ["192.0.2.7, 10.9.9.9"], "192.0.2.7"),
    "each on its own line": ("10.0.0.1", ["192.0.2.7", "10.9.9.9"], "192.0.2.7"),
    "a stranger that claims to be a proxy": ("192.0.2.7", ["198.51.100.1"], "192.0.2.7"),
    "a machine of ours behind our proxy": ("10.0.0.1", ["10.3.3.3"], "10.3.3.3"),
    "what is no address ends it": ("10.0.0.1", ["192.0.2.7, unknown"], "10.0.0.1"),
    "with a port": ("10.0.0.1", ["192.0.2.7:5123"], "192.0.2.7"),
    "IPv6 with a port": ("fd00::1", ["[2001:db8::7]:5123"], "2001:db8::7"),
    "IPv6 alone": ("fd00::1", ["2001:db8::7"], "2001:db8::7"),
    "IPv4 within IPv6": ("::ffff:10.0.0.1", ["::ffff:192.0.2.7"], "192.0.2.7"),
    "empty entries": ("10.0.0.1", [" , 192.0.2.7, ,"], "192.0.2.7"),
    "no address at all": ("local", ["192.0.2.7"], "local"),
}


@pytest.mark.parametrize(("peer", "lines", "client"), WHO.values(), ids=WHO)
def test_the_nearest_address_that_is_no_proxy_of_ours(
    peer: str, lines: list[str], client: str
) -> None:
    """What our own proxies wrote is believed, from the end, and nothing before it."""
    headers = tuple(("x-forwarded-FOR", line) for line in lines)
    assert OURS.client_of(peer, headers) == client


@pytest.mark.parametrize("lines", [[], ["192.0.2.7"]])
def test_without_a_trusted_proxy_the_header_is_ignored(lines: list[str]) -> None:
    """Whoever is connected is the client, whatever it writes."""
    headers = tuple(("X-Forwarded-For", line) for line in lines)
    assert Proxies(()).client_of("10.0.0.1", headers) == "10.0.0.1"


def test_a_chain_of_any_length_is_read_to_a_limit() -> None:
    """The client does not decide how much is looked at."""
    chain = ", ".join(["192.0.2.7"] + ["10.0.0.1"] * MAX_HOPS)
    assert OURS.client_of("10.0.0.1", (("X-Forwarded-For", chain),)) == "10.0.0.1"


@contextmanager
def behind(folder: Path, *, trusted: str) -> Iterator[Desk]:
    """A service that lets each address ask twice, and whose peer is always 10.0.0.1."""
    with open_desk(folder) as desk:
        given = read_settings(
            {"data": str(folder / "data")}, {"DCAP_PCCS_TRUSTED_PROXIES": trusted}
        )
        settings = msgspec.structs.replace(given, rate=0.001, burst=2)
        desk.front.take(msgspec.structs.replace(desk.parts, settings=settings), desk.log)
        yield desk


def ask_as(desk: Desk, client: str) -> int:
    """The status that a client of the load balancer gets; each request is another one."""
    block = (
        f"GET /sgx/certification/v4/nothing HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: {client}\r\n"
    )
    return desk.ask(block.encode()).status


@pytest.mark.parametrize(("trusted", "last"), [("10.0.0.0/8 fd00::1", 404), ("", 503)])
def test_rates_and_log_go_by_the_client(tmp_path: Path, trusted: str, last: int) -> None:
    """Behind a trusted proxy each client has its own rate; without one they share the proxy's."""
    with behind(tmp_path, trusted=trusted) as desk:
        assert [ask_as(desk, "192.0.2.7") for _ in range(3)] == [404, 404, 503]
        assert ask_as(desk, "192.0.2.8") == last
        shown = "192.0.2.8" if trusted else "10.0.0.1"
        assert f"client={shown} " in desk.lines[-1]


@pytest.mark.parametrize("wrong", ["10.0.0.1/8", "proxy.example", "10.0.0.0/33", ","])
def test_what_is_no_network_is_refused(wrong: str) -> None:
    """A service with such a setting does not start: it would believe the wrong ones."""
    with pytest.raises(ConfigError, match="the value of trusted_proxies cannot be used"):
        read_settings({"trusted_proxies": wrong}, {})


def test_a_head_with_several_lines_is_read_whole() -> None:
    """The reader of heads keeps each of them."""
    block = (
        b"GET / HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 192.0.2.7\r\nX-Forwarded-For: 10.2.2.2\r\n"
    )
    request = read_head(block).request()
    assert OURS.client_of("10.0.0.1", request.headers) == "192.0.2.7"
