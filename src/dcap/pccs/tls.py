"""TLS of the service: a key and certificate made at the first start, contexts from files, their end.

    make_missing(certificate_file, key_file, at=now)
    context = server_context(certificate_file, key_file, client_ca=None)

What is made is its own issuer, for ten years: clients pin it. Its names are localhost, the loopback
addresses and the host's; for other names give a certificate of your own. A reload makes a new context,
so that a new pair that does not fit leaves the old one in use. Not here: sockets (`server`).

Source: RFC 5280; RFC 6125; NIST SP 800-52r2 for what is offered.
"""

import ipaddress
import socket
import ssl
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import msgspec

from dcap.errors import ConfigError
from dcap.pccs.private_files import write_private

LIFETIME: Final = timedelta(days=3650)
_NAMES: Final = ("localhost",)
_ADDRESSES: Final = ("127.0.0.1", "::1")
_LONGEST_NAME: Final = 253
_CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"


def make_missing(certificate: Path, key: Path, *, at: datetime, host: str | None = None) -> bool:
    """Make key and certificate where they are missing; whether it did. Raises `ConfigError`.

    A key that is there already stays: a first start that was killed in between left it alone.
    """
    if certificate.exists():
        return False
    try:
        kept = key.read_bytes() if key.exists() else None
        made_certificate, made_key = self_signed(at=at, host=host, key=kept)
    except (OSError, ValueError, TypeError):
        return False  # of a key that cannot be used; whoever loads the pair says so
    if kept is None:
        write_private(key, made_key)
    write_private(certificate, made_certificate)
    certificate.chmod(0o644)  # clients are given it
    return True


def self_signed(
    *, at: datetime, host: str | None = None, key: bytes | None = None
) -> tuple[bytes, bytes]:
    """A certificate that is its own issuer, and its key, both PEM: the given one, or a new one (P-256).

    Raises `ValueError`, `TypeError` where the given one is no EC or RSA key, or is encrypted.
    """
    from cryptography import x509  # noqa: PLC0415 - slow to load, and only a first start needs it
    from cryptography.hazmat.primitives.asymmetric import ec, rsa  # noqa: PLC0415
    from cryptography.hazmat.primitives.hashes import SHA256  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415
        Encoding,
        NoEncryption,
        PrivateFormat,
        load_pem_private_key,
    )
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID  # noqa: PLC0415

    signer = (
        ec.generate_private_key(ec.SECP256R1()) if key is None else load_pem_private_key(key, None)
    )
    if not isinstance(signer, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise TypeError
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "dcap PCCS")])
    alternatives = [
        *(x509.DNSName(one) for one in _names(socket.gethostname() if host is None else host)),
        *(x509.IPAddress(ipaddress.ip_address(one)) for one in _ADDRESSES),
    ]
    identifier = x509.SubjectKeyIdentifier.from_public_key(signer.public_key())
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,  # it is its own issuer: some clients want a CA where they trust one
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(signer.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(at - timedelta(days=1))
        .not_valid_after(at + LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(identifier, critical=False)
        .sign(signer, SHA256())
    )
    pem = signer.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return certificate.public_bytes(Encoding.PEM), pem if key is None else key


def _names(host: str) -> list[str]:
    """The names it is valid for: localhost, and the host's, if that can stand in a certificate."""
    usable = host.isascii() and 0 < len(host) <= _LONGEST_NAME and host not in _NAMES
    return [
        *_NAMES,
        *([host] if usable and host.replace("-", "").replace(".", "").isalnum() else []),
    ]


def server_context(
    certificate: Path, key: Path, *, client_ca: Path | None = None
) -> ssl.SSLContext:
    """How the service speaks TLS: 1.2 at least. Raises `ConfigError` (`pccs-tls`)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.num_tickets = 1  # a client has one connection, or a few
    context.set_alpn_protocols(["http/1.1"])
    # Never ask for a password: nobody sits there.
    try:
        context.load_cert_chain(certificate, key, password=lambda: "")
    except (OSError, ValueError) as error:
        unusable = _unusable(certificate, key, error)
        if key.exists() and not certificate.exists():
            unusable.what = "the key for TLS is without its certificate, and cannot be used for one"
            unusable.mend = f"remove {key}: a pair is made at the next start"
        raise unusable from None
    if client_ca is not None:
        try:
            context.load_verify_locations(client_ca)
        except OSError as error:
            raise _unusable(client_ca, client_ca, error) from None
        context.verify_mode = ssl.CERT_REQUIRED
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context


class TlsFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What clients are shown: until when it is valid, and its SHA-256, to pin it by."""

    not_after: datetime
    sha256: str


def facts_of(certificate: Path) -> TlsFacts:
    """Of the first certificate in a file. Raises `ConfigError` (`pccs-tls`)."""
    from cryptography import x509  # noqa: PLC0415 - slow to load, and only who reports needs it
    from cryptography.hazmat.primitives.hashes import SHA256  # noqa: PLC0415

    try:
        shown = x509.load_pem_x509_certificates(certificate.read_bytes())[0]
    except (OSError, ValueError, IndexError) as error:
        raise _unusable(certificate, certificate, error) from None
    return TlsFacts(not_after=shown.not_valid_after_utc, sha256=shown.fingerprint(SHA256()).hex())


def _unusable(certificate: Path, key: Path, error: Exception) -> ConfigError:
    place = str(certificate) if certificate == key else f"{certificate}, {key}"
    if isinstance(error, ssl.SSLError):
        why = (error.reason or "not PEM, or they do not fit each other").replace("_", " ").lower()
    else:
        why = getattr(error, "strerror", None) or "not PEM"
    return ConfigError(
        "pccs-tls",
        f"the TLS certificate or key cannot be used: {why}",
        where=place,
        mend="give a PEM certificate with its chain, and its key (not encrypted)",
    )
