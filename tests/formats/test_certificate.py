"""Certificates of Intel's profile: what they say, and every shape that is not of the profile."""

import time
import tracemalloc
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from dcap.errors import FormatError
from dcap.formats import der, pem
from dcap.formats.certificate import (
    CRL_SIGN,
    DIGITAL_SIGNATURE,
    KEY_CERT_SIGN,
    MAX_SIZE,
    Certificate,
    common_name,
    write_public_key,
)
from dcap.simulator.faults.forgery import spelt_curve
from dcap.simulator.intel import ROOT_CRL_URL
from departures import Issued, World, extension, oid
from departures.issued import (
    AUTHORITY_KEY_IDENTIFIER,
    BASIC_CONSTRAINTS,
    CRL_DISTRIBUTION_POINTS,
    KEY_USAGE,
    SUBJECT_KEY_IDENTIFIER,
)
from worlds import AT

_COMMON_NAME = bytes.fromhex("0603550403")


def refusal(data: bytes) -> FormatError:
    """The error with which a certificate is refused."""
    with pytest.raises(FormatError) as raised:
        Certificate.parse(data)
    return raised.value


def test_a_root_says_what_it_is(world: World) -> None:
    """Every field of a CA certificate is what was put into it."""
    issued = world.root

    read = Certificate.parse(issued.der)

    assert read.der == issued.der
    assert read.serial == issued.serial
    assert read.subject == read.issuer == issued.name
    assert read.self_issued
    assert (read.common_name, read.issuer_common_name) == ("Intel SGX Root CA",) * 2
    assert read.public_key == issued.key.public_key
    assert (read.is_ca, read.path_length) == (True, 1)
    assert read.key_usage == {KEY_CERT_SIGN, CRL_SIGN}
    assert read.subject_key_id == read.authority_key_id == issued.key_identifier
    assert read.crl_distribution_point == ROOT_CRL_URL
    assert read.sgx_extension is None
    assert not read.unknown_critical


def test_a_leaf_says_what_it_is(world: World) -> None:
    """Every field of a PCK certificate is what was put into it."""
    pck = world.pck(ca="platform")

    read = Certificate.parse(pck.der)

    assert (read.is_ca, read.path_length) == (False, None)
    assert read.key_usage is not None
    assert DIGITAL_SIGNATURE in read.key_usage
    assert KEY_CERT_SIGN not in read.key_usage
    assert read.issuer == world.platform_ca.name
    assert read.authority_key_id == world.platform_ca.key_identifier
    assert not read.self_issued
    assert read.sgx_extension == pck.platform.to_der()


def test_validity_reaches_beyond_2049(world: World) -> None:
    """Both forms of time are read."""
    far = AT + timedelta(days=365 * 60)

    read = Certificate.parse(world.certificate("x", not_before=AT, not_after=far).der)

    assert (read.not_before, read.not_after) == (AT, far)


def test_absent_extensions_are_none(world: World) -> None:
    """What a certificate does not say is `None`, not a default."""
    omitted = (
        BASIC_CONSTRAINTS,
        KEY_USAGE,
        AUTHORITY_KEY_IDENTIFIER,
        SUBJECT_KEY_IDENTIFIER,
        CRL_DISTRIBUTION_POINTS,
    )
    keep = extension("1.2.3.4", b"\x05\x00")

    read = Certificate.parse(world.certificate("x", omit=omitted, extra=[keep]).der)

    assert read.is_ca is read.path_length is read.key_usage is None
    assert read.authority_key_id is read.subject_key_id is read.crl_distribution_point is None


@pytest.mark.parametrize("critical", [False, True])
def test_unknown_critical_extensions_are_noted(world: World, critical: bool) -> None:
    """An extension that is not of the profile matters where it is critical."""
    extra = [extension("1.2.3.4", b"\x05\x00", critical=critical)]

    assert Certificate.parse(world.certificate("x", extra=extra).der).unknown_critical == critical


def test_chains_both_ways(world: World) -> None:
    """A chain in PEM reads in order, with text, NULs and blanks around it, and writes back."""
    pck = world.pck()

    chain = Certificate.parse_chain(
        b"subject=x\r\n" + pck.chain_pem.replace(b"\n", b"\r\n") + b"\n\0"
    )

    assert [c.common_name for c in chain] == [
        "Intel SGX PCK Certificate",
        "Intel SGX PCK Processor CA",
        "Intel SGX Root CA",
    ]
    assert b"".join(c.to_pem() for c in chain) == pck.chain_pem
    assert Certificate.parse(pck.der) == chain[0]


#: What is made otherwise, and words of the refusal.
FLAWS: dict[str, tuple[Callable[[World], Issued], str]] = {
    "version 1": (
        lambda w: replaced(w.certificate("x"), b"\xa0\x03\x02\x01\x02", b""),
        "not an X.509 version 3",
    ),
    "version 2": (
        lambda w: replaced(w.certificate("x"), b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x01"),
        "not an X.509 version 3",
    ),
    "SHA-384": (lambda w: w.certificate("x", sha384=True), "not ecdsa-with-SHA256"),
    "a key on P-384": (lambda w: w.certificate("x", spki=p384()), "named curve P-256"),
    "explicit curve parameters": (
        lambda w: w.certificate("x", explicit_curve=True),
        "named curve P-256",
    ),
    "another generator": (
        lambda w: w.certificate(
            "x", spki=with_generator(spelt_curve(w.key("x").public_key), b"\x04" + b"\1" * 64)
        ),
        "named curve P-256",
    ),
    "a compressed point": (
        lambda w: w.certificate("x", spki=compressed(write_public_key(w.key("x").public_key))),
        "named curve P-256",
    ),
    "serial number zero octets": (
        lambda w: replaced(w.certificate("x", serial=1), b"\x02\x01\x01\x30", b"\x02\x00\x30"),
        "an integer is empty or negative",
    ),
    "a negative serial number": (
        lambda w: replaced(w.certificate("x", serial=1), b"\x02\x01\x01\x30", b"\x02\x01\x81\x30"),
        "an integer is empty or negative",
    ),
    "an extension twice": (
        lambda w: w.certificate("x", extra=[extension("1.2.3.4", b"\x05\x00")] * 2),
        "an extension occurs twice",
    ),
    "the SGX extension twice": (
        lambda w: w.pck(extra=[w.pck().extension]),
        "an extension occurs twice",
    ),
    "critical that is no boolean": (
        lambda w: replaced(w.root, b"\x01\x01\xff\x04", b"\x01\x01\x01\x04"),
        "neither 0x00 nor 0xFF",
    ),
}


def p384() -> bytes:
    """A key on another curve."""
    key = ec.derive_private_key(5, ec.SECP384R1()).public_key()
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def with_generator(spki: bytes, generator: bytes) -> bytes:
    """The same curve, spelt out around another generator."""
    at = spki.index(b"\x04\x41\x04") + 2
    return spki[:at] + generator + spki[at + 65 :]


def compressed(spki: bytes) -> bytes:
    """The same key as a compressed point."""
    return spki[:26] + bytes((2 + (spki[-1] & 1),)) + spki[27:59]


def replaced(issued: Issued, old: bytes, new: bytes) -> Issued:
    """The certificate with `old` replaced, and all lengths around it mended."""
    inner = issued.der
    assert old in inner
    changed = inner.replace(old, new, 1)
    shift = len(new) - len(old)
    data = bytearray(changed)
    for at in (2, 6):  # the outer SEQUENCE and the signed part, both 30 82 xx xx
        size = int.from_bytes(data[at : at + 2], "big") + shift
        data[at : at + 2] = size.to_bytes(2, "big")
    return msgspec.structs.replace(issued, der=bytes(data))


@pytest.mark.parametrize("flaw", FLAWS)
def test_what_is_not_of_the_profile_is_refused(world: World, flaw: str) -> None:
    """Other versions, algorithms and keys cannot even be represented (pitfall 22)."""
    make, words = FLAWS[flaw]

    error = refusal(make(world).der)

    assert words in error.what
    assert error.code in ("certificate", "der")


def test_every_truncation_is_refused(world: World) -> None:
    """A certificate cut anywhere, or with a byte after it, is refused."""
    data = world.pck().der

    for size in range(len(data)):
        assert refusal(data[:size]).code in ("certificate", "der")
    assert "1 bytes stand after" in refusal(data + b"\0").what


def test_every_flip_is_read_or_refused(world: World) -> None:
    """No flipped byte makes anything else than a certificate or our error come out."""
    data = world.pck(ca="platform").der

    for at in range(len(data)):
        for mask in (0x01, 0x80, 0xFF):
            changed = data[:at] + bytes((data[at] ^ mask,)) + data[at + 1 :]
            try:
                read = Certificate.parse(changed)
            except FormatError:
                continue
            assert read.der == changed
            assert isinstance(read.common_name, str)
            assert isinstance(read.issuer_common_name, str)


def test_an_extension_may_end_its_certificate_too_early(world: World) -> None:
    """An extension of nothing but an identifier, at the very end of the bytes, is refused."""
    tbs = Certificate.parse(world.root.der).tbs
    body = tbs[4 : tbs.index(certificates_spki(world.root)) + 91]
    bare = der.element(
        0xA3, der.sequence(der.sequence(der.element(der.OBJECT_IDENTIFIER, oid("1.2.3"))))
    )

    assert refusal(der.sequence(der.sequence(body + bare))).code in ("certificate", "der")


def certificates_spki(issued: Issued) -> bytes:
    """The certificate's public key, as it stands in it."""
    return write_public_key(issued.key.public_key)


def test_a_certificate_has_a_largest_size() -> None:
    """More than 16 KB is refused before anything is read."""
    assert "the limit is" in refusal(bytes(MAX_SIZE + 1)).what


NAMES: dict[str, tuple[bytes, str]] = {
    "none": (b"", ""),
    "nothing after the identifier": (_COMMON_NAME, ""),
    "UTF-8": (_COMMON_NAME + b"\x0c\x02\xc3\xa9", "é"),
    "printable": (_COMMON_NAME + b"\x13\x02ab", "ab"),
    "of another string type": (_COMMON_NAME + b"\x1e\x02ab", ""),
    "past its end": (_COMMON_NAME + b"\x0c\x7fab", ""),
    "of indefinite length": (_COMMON_NAME + b"\x0c\x80ab\0\0", ""),
    "no length": (_COMMON_NAME + b"\x0c", ""),
}


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_is_no_text_is_empty(name: str) -> None:
    """The common name of a malformed name is empty: it is shown and matched, never trusted."""
    data, expected = NAMES[name]

    assert common_name(data) == expected


BLOCKS: dict[str, Any] = {
    "nothing": b"",
    "no PEM": b"hello",
    "no end": b"-----BEGIN CERTIFICATE-----\nAAAA\n",
    "another end": b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END X509 CRL-----",
    "another label": b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----",
    "stray characters": b"-----BEGIN CERTIFICATE-----\nA*AA\n-----END CERTIFICATE-----",
    "padding in the middle": b"-----BEGIN CERTIFICATE-----\nAA==AAAA\n-----END CERTIFICATE-----",
    "padding missing": b"-----BEGIN CERTIFICATE-----\nAAA\n-----END CERTIFICATE-----",
    "one good block and half of one": (
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n-----BEGIN CERTIFICATE-----"
    ),
    "17 blocks": b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n" * 17,
    "a block in a block": (
        b"-----BEGIN CERTIFICATE-----\n-----BEGIN CERTIFICATE-----\nAAAA\n"
        b"-----END CERTIFICATE-----\n-----END CERTIFICATE-----"
    ),
}


@pytest.mark.parametrize("name", BLOCKS)
def test_malformed_pem_is_refused(name: str) -> None:
    """Blocks that do not close, of another label, or of no strict base64 are refused."""
    with pytest.raises(FormatError) as raised:
        pem.blocks(BLOCKS[name], "CERTIFICATE")
    assert raised.value.code == "pem"


HOSTILE: dict[str, bytes] = {
    "blanks without an end": b"-----BEGIN CERTIFICATE-----" + b" " * 60_000,
    "newlines without an end": b"-----BEGIN CERTIFICATE-----" + b"\n" * 60_000,
    "letters without an end": b"-----BEGIN CERTIFICATE-----" + b"A" * 60_000,
    "beginnings": b"-----BEGIN CERTIFICATE-----" * 2_400,
    "dashes": b"-" * 60_000,
    "a label without an end": b"-----BEGIN " + b"A " * 30_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_pem_costs_linear_time(name: str) -> None:
    """60 KB of armour, which fit into one quote, are refused within a second."""
    started = time.perf_counter()

    with pytest.raises(FormatError):
        pem.blocks(HOSTILE[name], "CERTIFICATE")

    assert time.perf_counter() - started < 1


def test_a_hostile_length_allocates_nothing(world: World) -> None:
    """A certificate that claims to be 4 GB long costs a comparison."""
    tracemalloc.start()
    try:
        assert refusal(b"\x30\x84\xff\xff\xff\xff" + world.root.der[4:]).code == "der"
        assert tracemalloc.get_traced_memory()[1] < 200_000
    finally:
        tracemalloc.stop()
