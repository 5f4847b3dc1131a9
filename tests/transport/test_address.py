"""Origins: what is read as one, and what is refused."""

import pytest

from dcap.errors import CollateralError
from dcap.transport import Network
from dcap.transport.address import Address


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("https://pccs.example", Address("https", "pccs.example", 443)),
        ("https://pccs.example/", Address("https", "pccs.example", 443)),
        ("HTTPS://PCCS.example:8081", Address("https", "pccs.example", 8081)),
        ("http://127.0.0.1:80", Address("http", "127.0.0.1", 80)),
        ("https://[::1]:8081", Address("https", "::1", 8081)),
        ("https://b\u00fccher.example", Address("https", "xn--bcher-kva.example", 443)),
    ],
)
def test_an_origin_is_scheme_host_and_port(url: str, address: Address) -> None:
    """An origin is read in small letters, its port by the scheme where none stands there."""
    assert Address.parse(url) == address


@pytest.mark.parametrize(
    ("address", "text"),
    [
        (Address("https", "pccs.example", 443), "https://pccs.example"),
        (Address("http", "pccs.example", 443), "http://pccs.example:443"),
        (Address("https", "::1", 8081), "https://[::1]:8081"),
    ],
)
def test_an_origin_is_written_as_it_is_read(address: Address, text: str) -> None:
    """The text of an origin has a port where it is not the scheme's, and is read as the same."""
    assert str(address) == text
    assert Address.parse(text) == address


@pytest.mark.parametrize(
    "url",
    [
        "",
        "pccs.example",
        "ftp://pccs.example",
        "file:///etc/passwd",
        "https://",
        "https://user@pccs.example",
        "https://user:hunter2@pccs.example",
        "https://pccs.example:0",
        "https://pccs.example:port",
        "https://pccs.example:65536",
        "https://pccs.example/sgx/",
        "https://pccs.example?a=b",
        "https://pccs.example#top",
        "https://pccs .example",
        "https://pccs.example\r\nX: y",
        "https://pccs\t.example",
        "https://[::1",
        "https://a..example",
        "https://" + "a" * 64 + ".example",
    ],
)
def test_anything_else_is_no_origin(url: str) -> None:
    """What is more or less is refused, and its text, which may hold a password, is not told."""
    with pytest.raises(CollateralError) as caught:
        Network(environ={}).handler(url)
    assert caught.value.code == "network-url"
    assert "hunter2" not in str(caught.value)
    assert caught.value.mend
