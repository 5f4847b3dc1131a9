"""Proxies: which one the environment names, and what goes through it."""

import base64
import os
from collections.abc import Mapping
from pathlib import Path

import pytest
from listening import (
    ASKED,
    OK,
    Listening,
    answering,
    closing_after,
    dripping,
    forwarding,
    free_port,
    listening,
    refusal,
    silent,
)
from shown_certificates import write_self_signed

from dcap.errors import CollateralError, ConfigError
from dcap.sources.endpoint import Connect
from dcap.sources.pccs import PccsService
from dcap.transport import Limits, Network
from dcap.transport.address import Address
from dcap.transport.proxies import Proxies, Proxy, without_proxies

ORIGIN = Address.parse("https://pccs.example:8081")
ONCE = Limits(connect=2, read=2, total=3, attempts=1)


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Certificate and key of a server on loopback."""
    return write_self_signed(tmp_path_factory.mktemp("tls"))


def chosen(environ: Mapping[str, str], origin: Address = ORIGIN) -> str:
    """The proxy for an origin, as text; empty for none."""
    return str(Proxies.from_environ(environ).proxy_for(origin) or "")


@pytest.mark.parametrize(
    ("environ", "https", "http"),
    [
        ({}, "", ""),
        ({"https_proxy": "http://a:1"}, "a:1", ""),
        ({"HTTPS_PROXY": "http://a:1"}, "a:1", ""),
        ({"http_proxy": "http://a:1"}, "", "a:1"),
        ({"HTTP_PROXY": "http://a:1"}, "", "a:1"),
        ({"all_proxy": "http://a:1"}, "a:1", "a:1"),
        ({"ALL_PROXY": "http://a:1"}, "a:1", "a:1"),
        ({"ALL_PROXY": "http://a:1", "HTTPS_PROXY": "http://b:2"}, "b:2", "a:1"),
        ({"HTTPS_PROXY": "http://a:1", "https_proxy": "http://b:2"}, "b:2", ""),
        ({"HTTPS_PROXY": "http://a:1", "https_proxy": ""}, "", ""),
        ({"ALL_PROXY": "http://a:1", "https_proxy": ""}, "", "a:1"),
        ({"HTTP_PROXY": "http://a:1", "REQUEST_METHOD": "GET"}, "", ""),
        ({"http_proxy": "http://a:1", "REQUEST_METHOD": "GET"}, "", "a:1"),
        ({"https_proxy": "a:1"}, "a:1", ""),
        ({"https_proxy": "a"}, "a:80", ""),
        ({"https_proxy": "https://a"}, "a:443", ""),
        ({"https_proxy": "http://[::1]:3128"}, "[::1]:3128", ""),
    ],
)
def test_the_environment_names_the_proxy(environ: dict[str, str], https: str, http: str) -> None:
    """Small letters win over capitals, the scheme's own over one for all, and empty means none."""
    assert chosen(environ) == https
    assert chosen(environ, Address.parse("http://pccs.example")) == http


@pytest.mark.parametrize(
    ("rules", "origin", "direct"),
    [
        ("*", "https://pccs.example", True),
        ("pccs.example", "https://pccs.example", True),
        ("PCCS.Example", "https://pccs.example", True),
        ("example", "https://pccs.example", True),
        (".example", "https://pccs.example", True),
        (".pccs.example", "https://pccs.example", True),
        ("cs.example", "https://pccs.example", False),
        ("other.example", "https://pccs.example", False),
        ("a, pccs.example ,b", "https://pccs.example", True),
        ("a pccs.example", "https://pccs.example", True),
        ("pccs.example:8081", "https://pccs.example:8081", True),
        ("pccs.example:8081", "https://pccs.example", False),
        ("pccs.example:443", "https://pccs.example", True),
        ("127.0.0.1", "https://127.0.0.1:8081", True),
        ("127.0.0.0/8", "https://127.1.2.3", True),
        ("10.0.0.0/8", "https://127.0.0.1", False),
        ("10.0.0.0/8", "https://pccs.example", False),
        ("::1", "https://[::1]:8081", True),
        ("[::1]", "https://[::1]:8081", True),
        ("[::1]:8081", "https://[::1]:8081", True),
        ("[::1]:8081", "https://[::1]", False),
        ("fd00::/8", "https://[fd00::7]", True),
        ("127.0.0.0/8", "https://[::1]", False),
        ("", "https://pccs.example", False),
        (".", "https://pccs.example", False),
        ("1/2/3,[,:,]", "https://127.0.0.1", False),
    ],
)
@pytest.mark.parametrize("name", ["no_proxy", "NO_PROXY"])
def test_some_origins_need_no_proxy(name: str, rules: str, origin: str, direct: bool) -> None:
    """Hosts, domains, addresses and networks, with or without a port, are asked directly."""
    environ = {"all_proxy": "http://proxy:3128", name: rules}
    assert (chosen(environ, Address.parse(origin)) == "") is direct


@pytest.mark.parametrize(
    "value",
    ["socks5://hunter2@a:1", "http://", "http://:1", "http://hunter2:x@a:port", "http://a\t:1"],
)
def test_a_proxy_that_cannot_be_used_is_refused(value: str) -> None:
    """The variable is at fault, and named; its value, with its password, is not told."""
    with pytest.raises(ConfigError) as caught:
        Network(environ={"HTTPS_PROXY": value})
    assert caught.value.code == "network-proxy-url"
    assert "HTTPS_PROXY" in caught.value.where
    assert "hunter2" not in str(caught.value)


def test_a_proxy_never_shows_its_password() -> None:
    """Neither text nor representation has it."""
    proxy = Proxy.parse("http://user:hunter2@proxy:3128", "all_proxy")
    assert proxy.authorization == "Basic " + base64.b64encode(b"user:hunter2").decode()
    assert str(proxy) == "proxy:3128"
    assert repr(proxy) == "<Proxy proxy:3128>"


def through(server: Listening, user: str = "") -> dict[str, str]:
    """An environment whose proxy is a server."""
    return {"all_proxy": server.url.replace("://", f"://{user}")}


def test_https_passes_a_proxy_by_connect(tls: tuple[Path, Path]) -> None:
    """The proxy is told host and port alone, and the password that it wants, percent-decoded."""
    with (
        listening(answering(OK), tls=tls) as origin,
        listening(forwarding()) as proxy,
        Network(ca=tls[0], environ=through(proxy, "user:p%40ss@")) as network,
    ):
        handler = network.handler(origin.url)
        assert handler(ASKED).body == b"body"
        assert handler.proxy == f"127.0.0.1:{proxy.port}"
    (asked,) = proxy.requests
    lines = asked.split(b"\r\n")
    assert lines[0].startswith(f"CONNECT 127.0.0.1:{origin.port} HTTP/1.".encode())
    assert b"Proxy-Authorization: Basic " + base64.b64encode(b"user:p@ss") in lines
    assert b"roxy" not in origin.requests[0]


def test_http_passes_a_proxy_in_absolute_form() -> None:
    """The proxy is told the whole URL, and the host is the origin's."""
    with (
        listening(answering(OK)) as proxy,
        Network(environ=through(proxy, "user:pass@")) as network,
    ):
        assert network.handler("http://pccs.example:8081")(ASKED).status == 200
    lines = proxy.requests[0].decode().split("\r\n")
    assert lines[0] == f"GET http://pccs.example:8081{ASKED.target} HTTP/1.1"
    assert lines[1] == "Host: pccs.example:8081"
    assert "Proxy-Authorization: Basic dXNlcjpwYXNz" in lines


def test_a_proxy_may_speak_tls_itself(tls: tuple[Path, Path], tmp_path: Path) -> None:
    """TLS to the proxy, by the environment's certificates, and TLS in it to the origin, by the pin."""
    own = write_self_signed(tmp_path / "proxy")
    with (
        listening(answering(OK), tls=tls) as origin,
        listening(forwarding(), tls=own) as proxy,
    ):
        environ = {**through(proxy), "SSL_CERT_FILE": str(own[0])}
        with Network(ca=tls[0], environ=environ) as network:
            assert network.handler(origin.url)(ASKED).body == b"body"
        with Network(ca=tls[0], environ=through(proxy), limits=ONCE) as network:
            assert refusal(network.handler(origin.url)).code == "network-proxy"


def test_http_passes_a_proxy_of_tls_in_absolute_form(tmp_path: Path) -> None:
    """A proxy that speaks TLS forwards plain requests too."""
    own = write_self_signed(tmp_path)
    with listening(answering(OK), tls=own) as proxy:
        environ = {**through(proxy), "SSL_CERT_FILE": str(own[0])}
        with Network(environ=environ) as network:
            assert network.handler("http://pccs.example")(ASKED).status == 200
    assert proxy.requests[0].startswith(b"GET http://pccs.example/")


def test_the_environment_given_is_the_one_that_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """With an environment of its own, a network leaves the proxies of the process alone."""
    monkeypatch.setenv("all_proxy", "http://127.0.0.1:1")
    with listening(answering(OK)) as server, Network(environ={}) as network:
        assert network.handler(server.url)(ASKED).status == 200
    assert Network(environ=os.environ).handler("http://a").proxy == "127.0.0.1:1"


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "407"),
        (b"HTTP/1.1 403 Forbidden\r\n\r\n", "403"),
        (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", "502"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "does not speak HTTP"),
        (b"", "closed the connection"),
    ],
)
def test_a_proxy_that_does_not_lead_there_is_named(
    reply: bytes, said: str, tls: tuple[Path, Path]
) -> None:
    """The error says that it is the proxy, which one, and what it answers, without the password."""
    with listening(closing_after(reply)) as proxy:
        environ = through(proxy, "user:hunter2@")
        with Network(ca=tls[0], limits=ONCE, environ=environ) as network:
            error = refusal(network.handler("https://pccs.example"))
    assert error.code == "network-proxy"
    assert said in error.what
    assert f"through the proxy 127.0.0.1:{proxy.port}" in error.where
    assert "hunter2" not in str(error)
    assert ("USER:PASSWORD@" in error.mend) is (said == "407")


def test_a_proxy_that_wants_a_password_for_http_says_so_too() -> None:
    """407 is never handed on as the origin's answer."""
    denied = b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n"
    with (
        listening(answering(denied)) as proxy,
        Network(environ=through(proxy)) as network,
    ):
        assert refusal(network.handler("http://pccs.example")).code == "network-proxy"


def test_a_proxy_that_is_not_there_is_named() -> None:
    """It is the proxy that is not reached, not the origin."""
    environ = {"all_proxy": f"http://127.0.0.1:{free_port()}"}
    with Network(environ=environ, limits=ONCE) as network:
        error = refusal(network.handler("https://pccs.example"))
    assert error.code == "network-proxy"
    assert "cannot be reached" in error.what


@pytest.mark.parametrize(
    "script", [silent, dripping(b"HTTP/1.1 200 OK\r\n", b"A: b\r\n")], ids=["silent", "dripping"]
)
def test_a_proxy_has_no_more_time_than_a_server(script: object) -> None:
    """A proxy that is silent, or drips headers for ever, runs into the limit for connecting."""
    limits = Limits(connect=0.5, read=2, total=3, attempts=1)
    with listening(script) as proxy, Network(environ=through(proxy), limits=limits) as network:
        error = refusal(network.handler("https://pccs.example"))
    assert error.code == "network-timeout"
    assert "asking the proxy (connect limit, 0.5 s)" in error.what


def test_an_ipv6_origin_is_reached_through_a_proxy(tls: tuple[Path, Path]) -> None:
    """Its address stands in brackets for the proxy, and without them in the certificate."""
    with (
        listening(answering(OK), tls=tls, host="::1") as origin,
        listening(forwarding()) as proxy,
        Network(ca=tls[0], environ=through(proxy)) as network,
    ):
        assert network.handler(origin.url)(ASKED).status == 200
    assert proxy.requests[0].startswith(f"CONNECT [::1]:{origin.port} ".encode())


@pytest.mark.parametrize(
    "origin", ["http://169.254.169.254", "https://169.254.0.1:8443", "http://[fe80::1]"]
)
def test_a_link_local_address_is_never_asked_through_a_proxy(origin: str) -> None:
    """A host agent identifies this machine, and no proxy could reach it: whatever the variables say."""
    environ = {"all_proxy": "http://proxy:3128", "no_proxy": ""}
    assert chosen(environ, Address.parse(origin)) == ""
    assert chosen(environ, Address.parse("http://169.253.169.254")) == "proxy:3128"


def test_without_proxies_the_rest_of_the_environment_stays() -> None:
    """All variables of proxies are taken out, in both letter cases, and nothing else."""
    proxies = dict.fromkeys(("https_proxy", "HTTP_PROXY", "all_proxy", "NO_PROXY"), "http://a:1")
    assert without_proxies({**proxies, "SSL_CERT_FILE": "ca.pem"}) == {"SSL_CERT_FILE": "ca.pem"}


def test_an_answer_that_a_proxy_may_have_made_names_it(tls: tuple[Path, Path]) -> None:
    """Over http a 502 may be the proxy's own; through a tunnel an answer is the origin's."""
    bad = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n"
    with (
        listening(answering(bad)) as proxy,
        Network(environ=through(proxy), limits=ONCE) as network,
    ):
        answer = network.handler("http://pccs.example")(ASKED)
        error = said_of(network.handler, "http://pccs.example")
    assert (answer.status, getattr(answer, "proxy", None)) == (502, f"127.0.0.1:{proxy.port}")
    assert error.where.endswith(f", through the proxy 127.0.0.1:{proxy.port}")
    with (
        listening(answering(bad), tls=tls) as origin,
        listening(forwarding()) as proxy,
        Network(ca=tls[0], environ=through(proxy), limits=ONCE) as network,
    ):
        error = said_of(network.handler, origin.url)
    assert "proxy" not in str(error)


def said_of(connect: Connect, base: str) -> CollateralError:
    """The error of a PCCS that is asked there."""
    with pytest.raises(CollateralError) as caught:
        PccsService(connect, base).root_ca_crl()
    return caught.value
