"""Every Intel-signed piece ever found (the vectors' `_pool`), read by dcap and by somebody else.

Certificates and CRLs: `cryptography.x509` (Rust). The SGX extension: a small walk of its own DER below.
Documents: what is read must write back to the same bytes.
"""

from collections.abc import Iterator

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtensionOID

from dcap.formats import enclave_identity, tcb_info
from dcap.formats.certificate import Certificate
from dcap.formats.crl import Crl
from dcap.formats.enclave_identity import EnclaveIdentity
from dcap.formats.pck_extensions import PckExtensions
from dcap.formats.tcb_info import TcbInfo
from worlds import vectors_path

POOL = vectors_path() / "_pool"
SGX_EXTENSION = x509.ObjectIdentifier("1.2.840.113741.1.13.1")
#: How many there were when this was written; fewer would mean that something is not looked at.
LEAST = {"tcb_info": 63, "qe_identity": 59, "crl": 54, "pck_cert": 165, "ca_cert": 6}
SUFFIX = {
    "tcb_info": "json",
    "qe_identity": "json",
    "crl": "der",
    "pck_cert": "der",
    "ca_cert": "pem",
}
#: 1.2.840.113741.1.13.1 in DER, and its members: name -> last arcs.
_PREFIX = bytes.fromhex("2a864886f84d010d01")
_OCTETS = {"ppid": b"\x01", "pce_id": b"\x03", "fmspc": b"\x04", "platform_instance_id": b"\x06"}
_FLAGS = {"dynamic_platform": 1, "cached_keys": 2, "smt_enabled": 3}


def pieces(kind: str) -> list[bytes]:
    """The pool's pieces of one kind; skips where the pool is absent."""
    if not POOL.is_dir():
        pytest.skip(f"no pool at {POOL} (set DCAP_VECTORS)")
    found = [path.read_bytes() for path in sorted((POOL / kind).glob(f"*.{SUFFIX[kind]}"))]
    assert len(found) >= LEAST[kind]
    return found


def certificates(kind: str) -> Iterator[tuple[Certificate, x509.Certificate]]:
    """Each certificate of one kind as dcap reads it, and as cryptography does."""
    for data in pieces(kind):
        if SUFFIX[kind] == "pem":
            yield Certificate.parse_chain(data)[0], x509.load_pem_x509_certificate(data)
        else:
            yield Certificate.parse(data), x509.load_der_x509_certificate(data)


@pytest.mark.parametrize("kind", ["pck_cert", "ca_cert"])
def test_certificates_say_the_same_to_cryptography(kind: str) -> None:
    """Every field of every certificate is what cryptography reads."""
    for ours, theirs in certificates(kind):
        assert ours.der == theirs.public_bytes(Encoding.DER)
        assert ours.tbs == theirs.tbs_certificate_bytes
        assert ours.signature == theirs.signature
        assert ours.serial == theirs.serial_number
        assert ours.issuer == theirs.issuer.public_bytes()
        assert ours.subject == theirs.subject.public_bytes()
        assert ours.not_before == theirs.not_valid_before_utc
        assert ours.not_after == theirs.not_valid_after_utc
        key = theirs.public_key()
        assert isinstance(key, EllipticCurvePublicKey)
        point = key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        assert ours.public_key == point[1:]
        assert Certificate.parse_chain(ours.to_pem()) == (ours,)


@pytest.mark.parametrize("kind", ["pck_cert", "ca_cert"])
def test_extensions_say_the_same_to_cryptography(kind: str) -> None:
    """Every extension of every certificate is what cryptography reads."""
    for ours, certificate in certificates(kind):
        theirs = certificate.extensions
        constraints = theirs.get_extension_for_class(x509.BasicConstraints).value
        usage = theirs.get_extension_for_class(x509.KeyUsage).value
        authority = theirs.get_extension_for_class(x509.AuthorityKeyIdentifier).value
        subject = theirs.get_extension_for_class(x509.SubjectKeyIdentifier).value
        point = theirs.get_extension_for_class(x509.CRLDistributionPoints).value[0]
        assert (ours.is_ca, ours.path_length) == (constraints.ca, constraints.path_length)
        assert ours.key_usage == bits_of(usage)
        assert ours.authority_key_id == authority.key_identifier
        assert ours.subject_key_id == subject.digest
        assert point.full_name is not None
        assert ours.crl_distribution_point == point.full_name[0].value
        assert (ours.sgx_extension is not None) == (kind == "pck_cert")
        assert not ours.unknown_critical


def bits_of(usage: x509.KeyUsage) -> frozenset[int]:
    """The bit numbers of RFC 5280 §4.2.1.3 that are set."""
    flags = (
        usage.digital_signature,
        usage.content_commitment,
        usage.key_encipherment,
        usage.data_encipherment,
        usage.key_agreement,
        usage.key_cert_sign,
        usage.crl_sign,
    )
    return frozenset(number for number, flag in enumerate(flags) if flag)


def test_sgx_extensions_say_the_same_to_another_reader() -> None:
    """Every SGX extension reads as cryptography's bytes of it do, and writes back to them."""
    for certificate, theirs in certificates("pck_cert"):
        extension = theirs.extensions.get_extension_for_oid(SGX_EXTENSION)
        value = extension.value.public_bytes()
        members = dict(leaves(value))

        ours = PckExtensions.parse(certificate.sgx_extension or b"")

        for name, arcs in _OCTETS.items():
            assert getattr(ours, name) == members.get(arcs), name
        svns = bytes(int.from_bytes(members[bytes((2, i))], "big") for i in range(1, 17))
        assert ours.components == svns
        assert ours.pce_svn == int.from_bytes(members[b"\x02\x11"], "big")
        assert ours.cpu_svn == members[b"\x02\x12"]
        assert ours.sgx_type == int.from_bytes(members[b"\x05"], "big")
        for name, number in _FLAGS.items():
            flag = members.get(bytes((7, number)))
            assert getattr(ours, name) == (None if flag is None else flag == b"\xff"), name
        assert ours.to_der() == value


def leaves(value: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(arcs after 1.2.840.113741.1.13.1, content) of every leaf of an SGX extension in DER."""
    arcs = b""
    for tag, content in elements(value):
        if tag == 0x06:
            assert content.startswith(_PREFIX)
            arcs = content[len(_PREFIX) :]
        elif tag == 0x30:
            yield from leaves(content)
        else:
            yield arcs, content


def elements(value: bytes) -> Iterator[tuple[int, bytes]]:
    """(tag, content) of adjoining DER elements of well-formed input."""
    at = 0
    while at < len(value):
        tag, size = value[at], value[at + 1]
        at += 2
        if size & 0x80:
            octets = size & 0x7F
            size = int.from_bytes(value[at : at + octets], "big")
            at += octets
        yield tag, value[at : at + size]
        at += size


def test_crls_say_the_same_to_cryptography() -> None:
    """Every field of every CRL, revoked serial numbers included, is what cryptography reads."""
    revoked = 0
    for data in pieces("crl"):
        ours = Crl.parse(data)
        theirs = x509.load_der_x509_crl(data)

        assert ours.tbs == theirs.tbs_certlist_bytes
        assert ours.signature == theirs.signature
        assert ours.issuer == theirs.issuer.public_bytes()
        assert ours.this_update == theirs.last_update_utc
        assert ours.next_update == theirs.next_update_utc
        assert ours.revoked == {entry.serial_number for entry in theirs}
        number = theirs.extensions.get_extension_for_oid(ExtensionOID.CRL_NUMBER).value
        assert isinstance(number, x509.CRLNumber)
        assert ours.crl_number == number.crl_number
        authority = theirs.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
        assert ours.authority_key_id == authority.key_identifier
        assert not ours.unknown_critical
        revoked += len(ours.revoked)
    assert revoked > 0


def test_crls_are_the_same_in_all_their_encodings() -> None:
    """A CRL read as DER, PEM and hex, in either case, is one value."""
    for data in pieces("crl"):
        ours = Crl.parse(data)
        pem = x509.load_der_x509_crl(data).public_bytes(Encoding.PEM)

        assert Crl.parse(pem) == ours
        assert Crl.parse(ours.to_pem()) == ours
        assert Crl.parse(data.hex().encode()) == ours
        assert Crl.parse(data.hex().upper().encode() + b"\n\0") == ours


def test_tcb_infos_write_back_to_their_bytes() -> None:
    """What Intel signed of TCB infos, of both versions, is read and written to the same bytes."""
    versions = set()
    for body in pieces("tcb_info"):
        wire = tcb_info.parse_wire(body)
        versions.add(wire.version)

        assert tcb_info.write_wire(wire) == body
        assert TcbInfo.parse(body).body == body
    assert versions == {2, 3}


def test_enclave_identities_write_back_to_their_bytes() -> None:
    """What Intel signed of QE, TD_QE and QVE identities is read and written to the same bytes."""
    names = set()
    for body in pieces("qe_identity"):
        wire = enclave_identity.parse_wire(body)
        names.add(wire.id)

        assert enclave_identity.write_wire(wire) == body
        assert EnclaveIdentity.parse(body).body == body
    assert names >= {"QE", "TD_QE"}
