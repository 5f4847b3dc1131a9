"""`dcap.pccs.tls`: the certificate of the first start, and contexts from files."""

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dcap.errors import ConfigError
from dcap.pccs.tls import LIFETIME, facts_of, make_missing, server_context

AT = datetime.now(UTC).replace(microsecond=0)


def files(folder: Path) -> tuple[Path, Path]:
    """Where the pair lies."""
    folder.mkdir(exist_ok=True)
    return folder / "tls_certificate.pem", folder / "tls_key.pem"


def shakes_hands(server: ssl.SSLContext, ca: Path, name: str, **client: object) -> str:
    """A handshake in memory; the version of TLS, or the error is raised."""
    context = ssl.create_default_context(cafile=str(ca))
    for attribute, value in client.items():
        setattr(context, attribute, value)
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    asking = context.wrap_bio(back, there, server_hostname=name)
    answering = server.wrap_bio(there, back, server_side=True)
    for _ in range(8):
        done = 0
        for side in (asking, answering):
            try:
                side.do_handshake()
                done += 1
            except ssl.SSLWantReadError:
                continue
        if done == 2:
            return asking.version() or ""
    raise AssertionError


def test_the_made_certificate_is_good_for_this_host(tmp_path: Path) -> None:
    """A client that pins it verifies localhost and both loopback addresses, and the host's name."""
    certificate, key = files(tmp_path)
    assert make_missing(certificate, key, at=AT, host="node-7.rack.example")
    context = server_context(certificate, key)
    for name in ("localhost", "127.0.0.1", "::1", "node-7.rack.example"):
        assert shakes_hands(context, certificate, name) == "TLSv1.3"
    with pytest.raises(ssl.SSLCertVerificationError):
        shakes_hands(context, certificate, "another.example")


def test_the_key_is_for_its_owner_alone(tmp_path: Path) -> None:
    """0600; the certificate is for clients."""
    certificate, key = files(tmp_path)
    make_missing(certificate, key, at=AT)
    assert key.stat().st_mode & 0o777 == 0o600
    assert certificate.stat().st_mode & 0o777 == 0o644


def test_what_is_there_is_not_replaced(tmp_path: Path) -> None:
    """Clients pin it."""
    certificate, key = files(tmp_path)
    make_missing(certificate, key, at=AT)
    before = certificate.read_bytes(), key.read_bytes()
    assert not make_missing(certificate, key, at=AT)
    assert (certificate.read_bytes(), key.read_bytes()) == before


def test_a_start_that_was_killed_between_the_two_files_is_ended(tmp_path: Path) -> None:
    """A key alone gets its certificate, and stays the same; one that is of no use stays alone."""
    certificate, key = files(tmp_path)
    make_missing(certificate, key, at=AT)
    before = key.read_bytes()
    certificate.unlink()
    assert make_missing(certificate, key, at=AT)
    assert key.read_bytes() == before
    assert shakes_hands(server_context(certificate, key), certificate, "localhost") == "TLSv1.3"
    for useless in (b"", b"not a key", before[:100]):
        certificate.unlink(missing_ok=True)
        key.write_bytes(useless)
        assert not make_missing(certificate, key, at=AT)
        assert key.read_bytes() == useless
        with pytest.raises(ConfigError, match="pccs-tls"):
            server_context(certificate, key)


def test_a_strange_host_name_does_not_spoil_it(tmp_path: Path) -> None:
    """A name that cannot stand in a certificate is left out."""
    for number, host in enumerate(("", "x" * 300, "knöten", "a b", "localhost")):
        certificate, key = files(tmp_path / str(number))
        make_missing(certificate, key, at=AT, host=host)
        assert shakes_hands(server_context(certificate, key), certificate, "localhost")


def test_tls_1_1_is_refused(tmp_path: Path) -> None:
    """1.2 is the least; it works."""
    certificate, key = files(tmp_path)
    make_missing(certificate, key, at=AT)
    context = server_context(certificate, key)
    older = {"maximum_version": ssl.TLSVersion.TLSv1_2}
    assert shakes_hands(context, certificate, "localhost", **older) == "TLSv1.2"
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2


def test_a_pair_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    """Another's key, no PEM, no file: an error that says which files, and nothing of the key."""
    one, other = files(tmp_path / "a"), files(tmp_path / "b")
    make_missing(*one, at=AT)
    make_missing(*other, at=AT)
    garbage = tmp_path / "garbage"
    garbage.write_bytes(b"\x00garbage")
    for certificate, key in (
        (one[0], other[1]),
        (one[0], garbage),
        (garbage, one[1]),
        (tmp_path / "none", one[1]),
    ):
        with pytest.raises(ConfigError) as caught:
            server_context(certificate, key)
        assert caught.value.code == "pccs-tls"
        assert str(certificate) in caught.value.where


def test_clients_without_a_certificate_are_refused_where_one_is_wanted(tmp_path: Path) -> None:
    """With a client CA only who has a certificate of it comes in."""
    certificate, key = files(tmp_path / "server")
    make_missing(certificate, key, at=AT)
    client = files(tmp_path / "client")
    make_missing(*client, at=AT)
    context = server_context(certificate, key, client_ca=client[0])
    assert context.verify_mode is ssl.CERT_REQUIRED
    garbage = tmp_path / "garbage"
    garbage.write_text("none")
    with pytest.raises(ConfigError):
        server_context(certificate, key, client_ca=garbage)


def test_its_facts_are_told(tmp_path: Path) -> None:
    """When it ends, and its fingerprint."""
    certificate, key = files(tmp_path)
    make_missing(certificate, key, at=AT)
    facts = facts_of(certificate)
    assert abs(facts.not_after - (AT + LIFETIME)) < timedelta(seconds=2)
    assert len(facts.sha256) == 64
