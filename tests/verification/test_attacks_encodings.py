"""An attacker who plays with encodings: ECDSA, DER, PEM. None of it makes the false true.

Each test hands in another way of writing something. Where the writing is one that is allowed, what
was read must be exactly the truth; everything else is a finding, and never another exception. JSON
has a file of its own, `test_attacks_json`.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from trial import (
    assert_accepted,
    assert_rejected,
    endorsed,
    failed,
    judged,
    pck_ca_twin,
    tcb_signing_twin,
    twin,
)

from dcap.formats import der as asn1
from dcap.formats import pem
from dcap.formats.certificate import ECDSA_WITH_SHA256, Extension, write_public_key
from departures import World, extension
from departures.issued import BASIC_CONSTRAINTS, KEY_USAGE, P256_ORDER
from worlds import AT

N = P256_ORDER
DAY = timedelta(days=1)


def _pair(r: bytes, s: bytes) -> bytes:
    return asn1.sequence(asn1.element(2, r), asn1.element(2, s))


def _minimal(value: int) -> bytes:
    return value.to_bytes(value.bit_length() // 8 + 1, "big")


#: Other ways to write the ECDSA signature (r, s); none of them is DER of two integers in 1..n-1.
WRITINGS: dict[str, Callable[[int, int], bytes]] = {
    "zero": lambda _, __: _pair(b"\0", b"\0"),
    "r is zero": lambda _, s: _pair(b"\0", _minimal(s)),
    "s is zero": lambda r, _: _pair(_minimal(r), b"\0"),
    "padded r": lambda r, s: _pair(b"\0\0" + _minimal(r), _minimal(s)),
    "padded s": lambda r, s: _pair(_minimal(r), b"\0\0" + _minimal(s)),
    "negative r": lambda r, s: _pair(
        (r - (1 << 256)).to_bytes(33, "big", signed=True), _minimal(s)
    ),
    "negative s": lambda r, s: _pair(_minimal(r), (-s).to_bytes(33, "big", signed=True)),
    "r + n": lambda r, s: _pair(_minimal(r + N), _minimal(s)),
    "s + n": lambda r, s: _pair(_minimal(r), _minimal(s + N)),
    "raw": lambda r, s: r.to_bytes(32, "big") + s.to_bytes(32, "big"),
    "with a third integer": lambda r, s: asn1.sequence(*map(asn1.integer, (r, s, 1))),
    "followed by a byte": lambda r, s: _pair(_minimal(r), _minimal(s)) + b"\0",
    "of a long length": lambda r, s: (
        b"\x30\x81" + _pair(_minimal(r), _minimal(s))[1:]  # DER wants the short form here
    ),
    "of indefinite length": lambda r, s: (
        b"\x30\x80" + _pair(_minimal(r), _minimal(s))[2:] + b"\0\0"
    ),
    "empty": lambda _, __: b"",
}


def _signature(certificate: bytes) -> tuple[int, int]:
    return _integers(x509.load_der_x509_certificate(certificate).signature)


def _integers(signature: bytes) -> tuple[int, int]:
    r_end = 4 + signature[3]
    return int.from_bytes(signature[4:r_end], "big"), int.from_bytes(signature[r_end + 2 :], "big")


@pytest.mark.parametrize("writing", WRITINGS)
def test_a_certificate_signature_has_one_writing(world: World, writing: str) -> None:
    """A chain whose CA signature is written otherwise is refused; (r, n-s), a true one, is not."""

    def judged_with(signature: bytes) -> Any:
        ca = pck_ca_twin(world, signature=signature)
        return judged(world, world.quote(pck=world.pck(chain=(ca, world.root))))

    r, s = _signature(pck_ca_twin(world).der)
    assert_accepted(judged_with(_pair(_minimal(r), _minimal(s))))
    assert_accepted(judged_with(_pair(_minimal(r), _minimal(N - s))))
    assert_rejected(judged_with(WRITINGS[writing](r, s)), "pck-chain-signature")


@pytest.mark.parametrize("writing", WRITINGS)
def test_a_crl_signature_has_one_writing(world: World, writing: str) -> None:
    """A CRL whose signature is written otherwise is refused."""
    r, s = _integers(x509.load_der_x509_crl(world.crl()).signature)
    truth = endorsed(world, pck_crl_signature=_pair(_minimal(r), _minimal(s)))
    assert_accepted(judged(world, collateral=truth))
    other = endorsed(world, pck_crl_signature=WRITINGS[writing](r, s))
    assert_rejected(judged(world, collateral=other), "pck-crl-signature")


def test_signatures_of_other_algorithms_are_refused(world: World) -> None:
    """The profile has one algorithm: a true signature over SHA-384 is not readable, nor is P-384."""
    ca = pck_ca_twin(world, sha384=True)
    quote = world.quote(pck=world.pck(chain=(ca, world.root)))
    assert_rejected(judged(world, quote), "pck-chain-format")
    collateral = endorsed(world, pck_crl_sha384=True)
    assert_rejected(judged(world, collateral=collateral), "pck-crl-format")
    wide = ec.derive_private_key(5, ec.SECP384R1()).public_key()
    spki = wide.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    quote = world.quote(pck=world.pck(spki=spki))
    assert_rejected(judged(world, quote), "pck-chain-format")


# Certificates


VERSION_3 = bytes.fromhex("a003020102")


def _without_version(tbs: bytes) -> bytes:
    """A signed part as version 1 has it."""
    start, _ = asn1.whole(tbs, asn1.SEQUENCE)
    assert tbs.startswith(VERSION_3, start)
    return asn1.sequence(tbs[start + len(VERSION_3) :])


def _known_twice(_: World) -> dict[str, Any]:
    return {"extra": [Extension(KEY_USAGE, b"\x03\x02\x01\x06")]}


CERTIFICATES: dict[str, tuple[Callable[[World], dict[str, Any]], str]] = {
    "an extension twice": (_known_twice, "pck-chain-format"),
    "an unknown critical extension": (
        lambda _: {"extra": [extension("1.2.3.4", b"\x05\x00", critical=True)]},
        "pck-chain-roles",
    ),
    "no basic constraints": (
        lambda _: {"omit": [BASIC_CONSTRAINTS]},
        "pck-chain-roles",
    ),
    "no key usage": (lambda _: {"omit": [KEY_USAGE]}, "pck-chain-roles"),
    "a leaf's key usage": (lambda _: {"key_cert_sign": False}, "pck-chain-roles"),
    "not a CA": (lambda _: {"ca": False, "path_length": None}, "pck-chain-roles"),
    "an SGX extension": (
        lambda world: {"extra": [world.pck().extension]},
        "pck-chain-roles",
    ),
    "version 1": (lambda _: {"edit": _without_version}, "pck-chain-format"),
    "version 2": (
        lambda _: {"edit": lambda tbs: tbs.replace(VERSION_3, b"\xa0\x03\x02\x01\x01", 1)},
        "pck-chain-format",
    ),
    "a negative serial": (
        lambda _: {
            "serial": 127,
            "edit": lambda tbs: tbs.replace(b"\x02\x01\x7f", b"\x02\x01\xff"),
        },
        "pck-chain-format",
    ),
    "a spelt curve": (lambda _: {"explicit_curve": True}, "pck-chain-format"),
    "another issuer's name": (
        lambda world: {"issuer_name": world.name("Intel SGX TCB Signing")},
        "pck-chain-signature",
    ),
}


@pytest.mark.parametrize("oddity", CERTIFICATES)
def test_an_odd_ca_certificate_is_refused_though_the_root_signed_it(
    world: World, oddity: str
) -> None:
    """What departs from Intel's profile is refused, even under a true signature of the root."""
    changes, code = CERTIFICATES[oddity]
    quote = world.quote(pck=world.pck(chain=(pck_ca_twin(world), world.root)))
    assert_accepted(judged(world, quote))
    odd = world.quote(pck=world.pck(chain=(pck_ca_twin(world, **changes(world)), world.root)))
    assert_rejected(judged(world, odd), code)


@pytest.mark.parametrize(
    "changes",
    [{"ca": True, "key_cert_sign": False}, {"key_cert_sign": True}, {"omit": [KEY_USAGE]}],
    ids=["a CA", "signs certificates", "no key usage"],
)
def test_an_odd_end_certificate_is_refused_though_the_root_signed_it(
    world: World, changes: dict[str, Any]
) -> None:
    """A TCB signer, or a PCK, that could act as a CA, or says nothing of it, is neither."""
    chain = world.chain(tcb_signing_twin(world, **changes), world.root)
    collateral = endorsed(world, tcb_info_issuer_chain=chain)
    assert_rejected(judged(world, collateral=collateral), "tcb-info-chain-roles")
    pck = world.pck()
    leaf = twin(
        world,
        pck,
        "Intel SGX PCK Certificate",
        issuer=world.processor_ca,
        **{**changes, "extra": [pck.extension]},
    )
    chain = world.chain(leaf, world.processor_ca, world.root)
    assert_rejected(judged(world, world.quote(cert_data=chain)), "pck-chain-roles")
    fit = twin(
        world,
        pck,
        "Intel SGX PCK Certificate",
        issuer=world.processor_ca,
        extra=[pck.extension],
    )
    chain = world.chain(fit, world.processor_ca, world.root)
    assert_accepted(judged(world, world.quote(cert_data=chain)))


@pytest.mark.parametrize("oddity", ["trailing", "truncated", "nested"])
def test_bytes_around_a_certificate_are_refused(world: World, oddity: str) -> None:
    """A block holds one certificate to its last byte."""
    leaf = world.pck().der
    der = {"trailing": leaf + b"\0", "truncated": leaf[:-1], "nested": asn1.sequence(leaf)}[oddity]
    rest = world.chain(world.processor_ca, world.root)
    quote = world.quote(cert_data=pem.encode(der, "CERTIFICATE") + rest)
    assert_rejected(judged(world, quote), "pck-chain-format")


#: A common name whose length runs past the name.
_BROKEN_NAME = asn1.sequence(b"\x06\x03\x55\x04\x03\x0c\x7fab")


def test_a_broken_name_is_a_finding(world: World) -> None:
    """A name that is no DER, in a certificate or a CRL, is found, and raises nothing."""
    anyone = world.certificate("anyone", name=_BROKEN_NAME)
    result = judged(world, world.quote(cert_data=anyone.pem * 3))
    assert failed(result) <= {"pck-chain-format", "pck-chain-roles"}
    assert (result.verdict, result.exit_status in (2, 3)) == ("rejected", True)
    collateral = endorsed(world, pck_crl_issuer_name=_BROKEN_NAME)
    result = judged(world, collateral=collateral)
    assert failed(result) <= {"pck-crl-format", "pck-crl-issuer"}
    assert (result.verdict, result.exit_status in (3, 6)) == ("rejected", True)


def test_an_extension_without_a_value_is_a_finding(world: World) -> None:
    """A certificate that ends inside its last extension is found, and raises nothing."""
    name = world.name("Intel SGX PCK Certificate")
    bare = asn1.sequence(asn1.sequence(asn1.element(asn1.OBJECT_IDENTIFIER, KEY_USAGE)))
    tbs = asn1.sequence(
        VERSION_3, asn1.integer(1), ECDSA_WITH_SHA256, name,
        asn1.sequence(asn1.write_moment(AT - DAY), asn1.write_moment(AT + DAY)), name,
        write_public_key(world.key("x").public_key), asn1.element(0xA3, bare),
    )  # fmt: skip
    cut = pem.encode(asn1.sequence(tbs), "CERTIFICATE")
    assert_rejected(judged(world, world.quote(cert_data=cut)), "pck-chain-format")


# PEM


def _pems(world: World) -> tuple[bytes, bytes, bytes]:
    return world.pck().pem, world.processor_ca.pem, world.root.pem


WRITTEN_CHAINS: dict[str, tuple[Callable[[bytes, bytes, bytes], bytes], str]] = {
    "in another order": (lambda leaf, ca, root: root + leaf + ca, ""),
    "with text between": (lambda leaf, ca, root: b"a\n" + leaf + b"b\n" + ca + b"c" + root, ""),
    "with NULs at the end": (lambda leaf, ca, root: leaf + ca + root + bytes(9), ""),
    "with CRLF": (lambda leaf, ca, root: (leaf + ca + root).replace(b"\n", b"\r\n"), ""),
    "twice": (lambda leaf, ca, root: (leaf + ca + root) * 2, "pck-chain-roles"),
    "with two leaves": (lambda leaf, _, root: leaf + leaf + root, "pck-chain-roles"),
    "with two CAs": (lambda leaf, ca, _: leaf + ca + ca, "pck-chain-roles"),
    "with two roots": (lambda leaf, _, root: leaf + root + root, "pck-chain-roles"),
    "with a leaf too many": (lambda leaf, ca, root: leaf + leaf + ca + root, "pck-chain-roles"),
    "without a leaf": (lambda _, ca, root: ca + root, "pck-chain-roles"),
    "with a key before it": (
        lambda leaf, ca, root: pem.encode(b"k", "PUBLIC KEY") + leaf + ca + root,
        "pck-chain-format",
    ),
    "under another label": (
        lambda leaf, ca, root: leaf.replace(b"CERTIFICATE", b"X509 CERTIFICATE") + ca + root,
        "pck-chain-format",
    ),
    "with an end of another label": (
        lambda leaf, ca, root: leaf.replace(b"END CERTIFICATE", b"END QUOTE") + ca + root,
        "pck-chain-format",
    ),
    "with a beginning inside": (
        lambda leaf, ca, root: b"-----BEGIN CERTIFICATE-----\n" + leaf + ca + root,
        "pck-chain-format",
    ),
    "without its last line": (
        lambda leaf, ca, root: leaf + ca + root.replace(b"-----END CERTIFICATE-----", b""),
        "pck-chain-format",
    ),
    "with a letter too many": (
        lambda leaf, ca, root: leaf.replace(b"MII", b"MIIA", 1) + ca + root,
        "pck-chain-format",
    ),
    "with a comment inside": (
        lambda leaf, ca, root: leaf.replace(b"MII", b"#MII", 1) + ca + root,
        "pck-chain-format",
    ),
    "in DER": (lambda leaf, _, __: leaf[40:], "pck-chain-format"),
    "a thousand times": (lambda leaf, _, __: leaf * 30, "pck-chain-format"),
}


@pytest.mark.parametrize("way", WRITTEN_CHAINS)
def test_a_chain_is_read_as_its_three_certificates_or_not_at_all(world: World, way: str) -> None:
    """Order and text around do not matter; another number, label or role does."""
    write, code = WRITTEN_CHAINS[way]
    result = judged(world, world.quote(cert_data=write(*_pems(world))))
    if code:
        assert_rejected(result, code)
    else:
        assert_accepted(result)
