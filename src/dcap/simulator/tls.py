"""TLS certificates for services on loopback: a CA of the world's own, which is not its SGX root.

The same world has the same files. Valid from 2018 to 2048, for they are judged by the wall clock and
not by the world's. They protect nothing: whoever knows the seed has the keys.
"""

import ipaddress
from pathlib import Path
from typing import TYPE_CHECKING

from dcap.simulator.intel import EPOCH, ORGANIZATION
from dcap.simulator.keys import SigningKey, derive, signing_key
from dcap.simulator.world import World

if TYPE_CHECKING:
    from cryptography import x509

CERTIFICATE, KEY, CA = "tls_certificate.pem", "tls_key.pem", "tls_ca.pem"
LOOPBACK = ("127.0.0.1", "localhost")
#: For the wire fault `wrong-certificate`: the certificate of a host that is not the one asked.
WRONG_NAMES = ("another-host.invalid",)
_LAST_YEAR = 2048


def tls_files(
    world: World, directory: Path, *, names: tuple[str, ...] = LOOPBACK
) -> tuple[Path, Path, Path]:
    """Write certificate, key and CA into a directory: the paths of the three, PEM."""
    certificate, key, ca = tls_pems(world, names)
    paths = directory / CERTIFICATE, directory / KEY, directory / CA
    paths[0].write_bytes(certificate)
    paths[1].touch(mode=0o600)
    paths[1].chmod(0o600)
    paths[1].write_bytes(key)
    paths[2].write_bytes(ca)
    return paths


def tls_pems(world: World, names: tuple[str, ...] = LOOPBACK) -> tuple[bytes, bytes, bytes]:
    """The certificate for these hosts, its key, and the CA that signed it."""
    from cryptography.hazmat.primitives.serialization import Encoding  # noqa: PLC0415 - as below

    authority = signing_key(world.seed, "tls ca")
    server = signing_key(world.seed, "tls", *names)
    ca = _certificate(world, "TLS CA", authority, authority, None)
    certificate = _certificate(world, "TLS", server, authority, names)
    return (
        certificate.public_bytes(Encoding.PEM),
        server.to_pem(),
        ca.public_bytes(Encoding.PEM),
    )


def _certificate(
    world: World,
    subject: str,
    key: SigningKey,
    issuer: SigningKey,
    names: tuple[str, ...] | None,
) -> "x509.Certificate":
    """A certificate for hosts, or, where there are none, for a CA."""
    from cryptography import x509  # noqa: PLC0415 - slow to load, and only servers need it
    from cryptography.hazmat.primitives.hashes import SHA256  # noqa: PLC0415
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID  # noqa: PLC0415

    def name(common_name: str) -> x509.Name:
        return x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, ORGANIZATION),
                x509.NameAttribute(NameOID.COMMON_NAME, f"dcap simulator {common_name}"),
            ]
        )

    is_ca = names is None
    public, issuing = key.private.public_key(), issuer.private.public_key()
    digest = derive(world.seed, "tls serial", subject, *(names or ()))
    builder = (
        x509.CertificateBuilder()
        .subject_name(name(subject))
        .issuer_name(name("TLS CA"))
        .public_key(public)
        .serial_number(int.from_bytes(digest[:16], "big") >> 1 | 1)
        .not_valid_before(EPOCH)
        .not_valid_after(EPOCH.replace(year=_LAST_YEAR))
        .add_extension(
            x509.BasicConstraints(ca=is_ca, path_length=0 if is_ca else None), critical=True
        )
        .add_extension(_key_usage(is_ca=is_ca), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuing), critical=False)
    )
    if names is not None:
        server_auth = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
        alternatives = x509.SubjectAlternativeName([_general_name(host) for host in names])
        builder = builder.add_extension(server_auth, critical=False)
        builder = builder.add_extension(alternatives, critical=False)
    return builder.sign(issuer.private, SHA256(), ecdsa_deterministic=True)


def _key_usage(*, is_ca: bool) -> "x509.KeyUsage":
    from cryptography import x509  # noqa: PLC0415

    return x509.KeyUsage(
        digital_signature=not is_ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=is_ca,
        crl_sign=is_ca,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(host: str) -> "x509.GeneralName":
    from cryptography import x509  # noqa: PLC0415

    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
