"""TLS: which servers are believed to be who they say, and what is said of the others."""

import shutil
import ssl
import subprocess
import warnings
from datetime import timedelta
from pathlib import Path

import pytest
from listening import ASKED, OK, answering, closing_after, listening, refusal
from shown_certificates import DAY, write_self_signed

from dcap.errors import CollateralError, ConfigError
from dcap.simulator import World
from dcap.simulator.tls import tls_files
from dcap.transport import Limits, Network

ONCE = Limits(connect=5, read=5, total=8, attempts=1)


@pytest.fixture(scope="module")
def of_a_ca(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """Certificate, key, and the CA that signed it."""
    return tls_files(World("transport"), tmp_path_factory.mktemp("ca"))


def outcome(
    tls: tuple[Path, ...],
    *,
    ca: Path | None = None,
    verify: bool = True,
    host: str = "127.0.0.1",
    **environ: str,
) -> CollateralError | None:
    """The error that a server with this certificate ends in, or None where it is believed."""
    with (
        listening(answering(OK), tls=tls[:2]) as server,
        Network(ca=ca, verify=verify, environ=environ, limits=ONCE) as network,
    ):
        handler = network.handler(server.url.replace("127.0.0.1", host))
        try:
            assert handler(ASKED).status == 200
        except CollateralError:
            return refusal(handler)
        return None


def test_an_unknown_ca_is_refused(of_a_ca: tuple[Path, Path, Path]) -> None:
    """The system's certificates count; the error shows the one refused, and how to accept it."""
    error = outcome(of_a_ca)
    assert error is not None
    assert error.code == "network-certificate"
    assert "its issuer is not known" in error.what
    assert "issuer CN=dcap simulator TLS CA" in error.what
    assert "names 127.0.0.1, localhost" in error.what
    assert "--ca FILE" in error.mend
    assert "use_secure_cert" in error.mend


def test_a_ca_that_is_given_is_believed(of_a_ca: tuple[Path, Path, Path]) -> None:
    """The chain ends in the file given, for each name of the certificate."""
    assert outcome(of_a_ca, ca=of_a_ca[2]) is None
    assert outcome(of_a_ca, ca=of_a_ca[2], host="localhost") is None


def test_the_environment_may_name_the_certificates(
    of_a_ca: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    """`SSL_CERT_FILE`, and `SSL_CERT_DIR` in OpenSSL's form, of the environment given."""
    assert outcome(of_a_ca, SSL_CERT_FILE=str(of_a_ca[2])) is None
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    shutil.copy(of_a_ca[2], tmp_path / "ca.pem")
    subprocess.run(["openssl", "rehash", tmp_path], check=True, timeout=30)
    assert outcome(of_a_ca, SSL_CERT_DIR=str(tmp_path)) is None


def test_the_environment_of_the_process_does_not_count_where_one_is_given(
    of_a_ca: tuple[Path, Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenSSL would read it by itself."""
    monkeypatch.setenv("SSL_CERT_FILE", str(of_a_ca[2]))
    assert outcome(of_a_ca) is not None


def test_a_file_given_is_a_pin(of_a_ca: tuple[Path, Path, Path], tmp_path: Path) -> None:
    """It stands instead of the environment's certificates, not beside them."""
    other, _ = write_self_signed(tmp_path)
    error = outcome(of_a_ca, ca=other, SSL_CERT_FILE=str(of_a_ca[2]))
    assert error is not None
    assert error.code == "network-certificate"


@pytest.mark.parametrize("is_ca", [True, False, None])
def test_a_self_signed_certificate_can_be_given_itself(is_ca: bool | None, tmp_path: Path) -> None:
    """Whether it calls itself a CA or not, or says nothing; another one like it is refused."""
    own = write_self_signed(tmp_path / "own", is_ca=is_ca)
    other = write_self_signed(tmp_path / "other", is_ca=is_ca)
    assert outcome(own, ca=own[0]) is None
    assert outcome(own, ca=own[0], host="localhost") is None
    assert outcome(own) is not None
    error = outcome(own, ca=other[0])
    assert error is not None
    assert "self-signed" in error.what


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_what_openssl_makes_by_default_can_be_given(tmp_path: Path) -> None:
    """`openssl req -x509`, as a PCCS is set up: the host stands in the common name alone."""
    certificate, key = tmp_path / "file.crt", tmp_path / "private.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost"]
    subprocess.run(
        [*command, "-keyout", key, "-out", certificate], check=True, capture_output=True, timeout=60
    )
    assert outcome((certificate, key), ca=certificate, host="localhost") is None


@pytest.mark.parametrize(
    ("begins", "ends", "hosts", "said", "mend"),
    [
        (-9 * DAY, -DAY, ("127.0.0.1",), "it has expired", "clock"),
        (DAY, 9 * DAY, ("127.0.0.1",), "it is not valid yet", "clock"),
        (-DAY, DAY, ("pccs.example",), "it is for another address", "have one made for this"),
    ],
)
def test_the_error_says_what_is_wrong_with_a_certificate(
    begins: timedelta, ends: timedelta, hosts: tuple[str, ...], said: str, mend: str, tmp_path: Path
) -> None:
    """Expired, of the future, for another host: each with its own advice, and what is shown."""
    own = write_self_signed(tmp_path, begins=begins, ends=ends, hosts=hosts)
    error = outcome(own, ca=own[0])
    assert error is not None
    assert error.code == "network-certificate"
    assert said in error.what
    assert mend in error.mend
    assert f"subject CN=a PCCS, issuer CN=a PCCS, names {hosts[0]}, valid from" in error.what


def test_a_certificate_for_another_name_is_refused(tmp_path: Path) -> None:
    """The host asked is `localhost`, and the certificate is for others."""
    own = write_self_signed(tmp_path, hosts=("pccs.example", *"abcdef"))
    error = outcome(own, ca=own[0], host="localhost")
    assert error is not None
    assert "it is for another host; it shows" in error.what
    assert "names pccs.example, a, b, c, d …" in error.what


def test_a_certificate_may_hold_anything(tmp_path: Path) -> None:
    """What a stranger writes into a name is told in a form fit for a terminal."""
    own = write_self_signed(tmp_path, common_name="\x1b[2J evil")
    error = outcome(own)
    assert error is not None
    assert str(error).isprintable()


def test_without_verification_anyone_may_answer(tmp_path: Path) -> None:
    """`use_secure_cert: false`: neither chain nor host nor dates are looked at."""
    own = write_self_signed(tmp_path, begins=-9 * DAY, ends=-DAY, hosts=("pccs.example",))
    assert outcome(own, verify=False) is None


def test_a_pin_holds_without_verification_too(tmp_path: Path) -> None:
    """A file given is checked against, whatever else is said."""
    own = write_self_signed(tmp_path / "own")
    other = write_self_signed(tmp_path / "other")
    assert outcome(own, verify=False, ca=own[0]) is None
    assert outcome(own, verify=False, ca=other[0]) is not None
    pinned = Network(ca=own[0], verify=False, environ={})
    assert pinned.handler("https://pccs.example").verified


@pytest.mark.parametrize(
    "text",
    [
        None,
        b"",
        b"not a certificate",
        b"-----BEGIN CERTIFICATE-----\nMIIB",
        b"-----BEGIN CERTIFICATE-----\n\xff\n-----END CERTIFICATE-----\n",
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ],
    ids=["absent", "empty", "text", "cut", "latin", "garbage"],
)
def test_a_file_without_certificates_is_the_callers_fault(
    text: bytes | None, tmp_path: Path
) -> None:
    """It is an error of configuration that names the file."""
    path = tmp_path / "ca.pem"
    if text is not None:
        path.write_bytes(text)
    with pytest.raises(ConfigError) as caught:
        Network(ca=path, environ={}).handler("https://127.0.0.1:1")(ASKED)
    assert caught.value.code == "network-ca"
    assert str(path) in caught.value.where


def test_a_variable_that_names_no_certificates_is_an_error_too(tmp_path: Path) -> None:
    """OpenSSL would say nothing, and then trust nobody."""
    network = Network(environ={"SSL_CERT_FILE": str(tmp_path / "absent.pem")})
    with pytest.raises(ConfigError) as caught:
        network.handler("https://127.0.0.1:1")(ASKED)
    assert caught.value.code == "network-ca"
    assert "SSL_CERT_FILE" in caught.value.where


def test_a_file_of_certificates_may_hold_text(tmp_path: Path) -> None:
    """Several certificates, with remarks between them in any encoding."""
    own = write_self_signed(tmp_path / "own")
    other = write_self_signed(tmp_path / "other")
    both = tmp_path / "both.pem"
    both.write_bytes(other[0].read_bytes() + b"# f\xfcr die PCCS\n" + own[0].read_bytes())
    assert outcome(own, ca=both) is None


def test_https_where_http_is_spoken_says_so() -> None:
    """TLS is offered to a port that answers in plain text."""
    plain = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"

    def script(conversation: object) -> None:
        conversation.say(plain)  # type: ignore[attr-defined]

    with listening(script) as server, Network(environ={}, limits=ONCE) as network:
        error = refusal(network.handler(server.url.replace("http:", "https:")))
    assert error.code == "network-tls"
    assert "the server does not speak TLS" in error.what
    assert "http://" in error.mend


def test_http_where_https_is_spoken_says_so(tmp_path: Path) -> None:
    """Plain text is offered to a port that speaks TLS."""
    with (
        listening(answering(OK), tls=write_self_signed(tmp_path)) as server,
        Network(environ={}, limits=ONCE) as network,
    ):
        error = refusal(network.handler(server.url.replace("https:", "http:")))
    assert error.code in ("network-protocol", "network-cut-off")


def test_tls_below_1_2_is_refused(tmp_path: Path) -> None:
    """A server of TLS 1.1 is told apart from one without TLS."""
    certificate, key = write_self_signed(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    with (
        listening(answering(OK), tls=context) as server,
        Network(ca=certificate, environ={}, limits=ONCE) as network,
    ):
        error = refusal(network.handler(server.url))
    assert error.code == "network-tls"
    assert "1.2 or later" in error.what


def test_a_server_that_wants_to_know_us_says_so(tmp_path: Path) -> None:
    """A client certificate, which we have none of, is asked for: an error of TLS."""
    certificate, key = write_self_signed(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.load_verify_locations(certificate)
    context.verify_mode = ssl.CERT_REQUIRED
    with (
        listening(answering(OK), tls=context) as server,
        Network(ca=certificate, environ={}, limits=ONCE) as network,
    ):
        error = refusal(network.handler(server.url))
    assert error.code in ("network-tls", "network-cut-off")


def test_an_end_without_goodbye_is_a_cut(tmp_path: Path) -> None:
    """A body that ends with the connection counts only where TLS says that this is the end."""
    tls = write_self_signed(tmp_path)
    with (
        listening(closing_after(b"HTTP/1.0 200 OK\r\n\r\nhalf of it"), tls=tls) as server,
        Network(ca=tls[0], environ={}, limits=ONCE) as network,
    ):
        assert refusal(network.handler(server.url)).code == "network-cut-off"


def test_an_ipv6_address_is_checked_like_any_other(tmp_path: Path) -> None:
    """The certificate has the address ::1."""
    tls = write_self_signed(tmp_path)
    with (
        listening(answering(OK), tls=tls, host="::1") as server,
        Network(ca=tls[0], environ={}, limits=ONCE) as network,
    ):
        assert network.handler(server.url)(ASKED).status == 200
        assert server.requests[0].split(b"\r\n")[1] == b"Host: [::1]:%d" % server.port


def test_a_certificate_cannot_fill_the_screen(tmp_path: Path) -> None:
    """Names of a certificate that was refused are told in part: they are the server's own words."""
    files = write_self_signed(tmp_path, hosts=("a" * 15_000,) * 6)
    with listening(answering(OK), tls=files) as server, Network(environ={}) as network:
        error = refusal(network.handler(server.url))
    assert error.code == "network-certificate"
    assert "it shows subject" in error.what
    assert len(str(error)) < 3_000
