"""Every departure is the flaw that it is called, said by verifiers that share no code with dcap.

dcap-qvl (Phala) judges quotes and collateral, OpenSSL judges chains and CRLs, `cryptography` reads
what was written, and `_walk` reads a quote with plain offsets. Nothing here asks dcap's own reader or
verifier: what our writers misplace, these see.
"""

import hashlib
import json
import shutil
import struct
import subprocess
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from departures import COLLATERAL_MEMBERS, Lengths, Pck, World, documents
from departures.documents import COMPONENTS
from departures.issued import malleate
from departures.world import AT

DAY = timedelta(days=1)
WORLD = World()

GENUINE: list[dict[str, Any]] = [
    {},
    {"ca": "platform"},
    {"tee": "tdx"},
    {"tee": "tdx", "ca": "processor"},
    {"tee": "tdx", "version": 5, "body_type": 2},
    {"tee": "tdx", "version": 5},
    {"tee": "tdx", "version": 5, "body_type": 4},
]
#: Sound by the specification, but dcap-qvl 0.7.0 takes SGX in version 3 only.
GENUINE_UNJUDGED: list[dict[str, Any]] = [{"version": 4}, {"version": 5}]


def judged(quote: bytes, collateral: dict[str, bytes], root: bytes = WORLD.root.der) -> Any:
    """What dcap-qvl reports; ValueError if it refuses."""
    dcap_qvl = pytest.importorskip("dcap_qvl")
    binary = ("crl", "signature")
    text = {
        name: value.hex() if name.endswith(binary) else value.decode()
        for name, value in collateral.items()
    }
    document = dcap_qvl.QuoteCollateralV3.from_json(json.dumps(text))
    return dcap_qvl.verify_with_root_ca(quote, document, root, int(AT.timestamp()))


def _of(quote: dict[str, Any]) -> dict[str, bytes]:
    return WORLD.collateral(quote.get("tee", "sgx"), quote.get("ca"))


@pytest.mark.parametrize("quote", GENUINE, ids=str)
def test_a_default_quote_with_default_collateral_is_genuine_and_up_to_date(
    quote: dict[str, Any],
) -> None:
    """Quotes of every kind that dcap-qvl supports pass it, with nothing against them."""
    report = judged(WORLD.quote(**quote), _of(quote))
    assert (report.status, report.advisory_ids) == ("UpToDate", [])


@pytest.mark.parametrize("quote", GENUINE + GENUINE_UNJUDGED, ids=str)
def test_every_signature_and_length_in_a_quote_holds(quote: dict[str, Any]) -> None:
    """Read with plain offsets, both signatures, the binding and every length of a quote are right."""
    _walk(WORLD.quote(**quote), WORLD.pck(quote.get("ca") or _usual_ca(quote)).der)


def _usual_ca(quote: dict[str, Any]) -> str:
    return "platform" if quote.get("tee") == "tdx" else "processor"


def _walk(quote: bytes, leaf: bytes) -> None:
    """Read a quote with plain offsets and check its two signatures, its binding and its ends."""
    version, _, tee = struct.unpack_from("<HHI", quote)
    signed = 48 + (384 if tee == 0 else 584)
    if version == 5:
        kind, size = struct.unpack_from("<HI", quote, 48)
        assert size == {1: 384, 2: 584, 3: 648, 4: 885}[kind]
        signed = 54 + size
    (length,) = struct.unpack_from("<I", quote, signed)
    section = quote[signed + 4 :]
    assert len(section) == length
    signature, point, rest = section[:64], section[64:128], section[128:]
    attestation_key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), b"\4" + point)
    _check(attestation_key, signature, quote[:signed])
    if version >= 4:
        outer, length = struct.unpack_from("<HI", rest)
        rest = rest[6:]
        assert (outer, length) == (6, len(rest))
    report, signature = rest[:384], rest[384:448]
    (length,) = struct.unpack_from("<H", rest, 448)
    auth, certification = rest[450 : 450 + length], rest[450 + length :]
    assert report[320:] == hashlib.sha256(point + auth).digest() + bytes(32)
    kind, length = struct.unpack_from("<HI", certification)
    assert (kind, length) == (5, len(certification) - 6)
    certificate = x509.load_pem_x509_certificates(certification[6:].rstrip(b"\0"))[0]
    assert certificate == x509.load_der_x509_certificate(leaf)
    pck_key = certificate.public_key()
    assert isinstance(pck_key, ec.EllipticCurvePublicKey)
    _check(pck_key, signature, report)


def _check(key: ec.EllipticCurvePublicKey, signature: bytes, message: bytes) -> None:
    r, s = (int.from_bytes(half, "big") for half in (signature[:32], signature[32:]))
    key.verify(encode_dss_signature(r, s), message, ec.ECDSA(hashes.SHA256()))


def _below(place: int) -> Pck:
    components = list(COMPONENTS)
    components[place] -= 1
    return WORLD.pck(components=components)


def _tdx(**body: bytes | int) -> dict[str, Any]:
    return {"tee": "tdx", "body": body}


def _tee_tcb_svn(*svns: int) -> dict[str, Any]:
    return _tdx(tee_tcb_svn=bytes(svns))


STATUS: list[tuple[str, dict[str, Any], dict[str, Any], str]] = [
    ("component 1 one lower", {"pck": _below(0)}, {}, "SWHardeningNeeded"),
    (
        "component 5 one lower",
        {"pck": _below(4)},
        {"tcb_info_levels": [World.tcb_level("UpToDate"), World.tcb_level("OutOfDate", bytes(16))]},
        "OutOfDate",
    ),
    (
        "PCESVN one lower",
        {"pck": WORLD.pck(pce_svn=12)},
        {
            "tcb_info_levels": [
                World.tcb_level("UpToDate"),
                World.tcb_level("OutOfDate", pce_svn=12),
            ]
        },
        "OutOfDate",
    ),
    (
        "component 1 four lower",
        {"pck": WORLD.pck(components=documents.components_of("OutOfDate"))},
        {},
        "OutOfDate",
    ),
    ("TDX component 3 one lower", _tee_tcb_svn(6, 1, 7), {}, "SWHardeningNeeded"),
    ("TDX module old", _tee_tcb_svn(5, 1, 8), {}, "OutOfDate"),
    ("TDX module 3", _tee_tcb_svn(3, 3, 8), {}, "UpToDate"),
    ("TDX module 3 old", _tee_tcb_svn(2, 3, 8), {}, "OutOfDate"),
    ("TDX 1.0 numbering", _tee_tcb_svn(5, 0, 8), {}, "UpToDate"),
    ("QE old", {"qe_isvsvn": 6}, {}, "OutOfDate"),
    ("TD QE old", {"tee": "tdx", "qe_isvsvn": 6}, {}, "OutOfDate"),
    ("other auth data", {"auth_data": b"\xff" * 32}, {}, "UpToDate"),
    ("malleated", {"signature": "malleated"}, {}, "UpToDate"),
    (
        "configuration needed",
        {},
        {"tcb_info_levels": [World.tcb_level("ConfigurationNeeded")]},
        "ConfigurationNeeded",
    ),
]


@pytest.mark.parametrize(
    ("quote", "collateral", "status"), [row[1:] for row in STATUS], ids=[row[0] for row in STATUS]
)
def test_a_change_of_tcb_changes_the_status(
    quote: dict[str, Any], collateral: dict[str, Any], status: str
) -> None:
    """What is said of a platform, module or QE reaches dcap-qvl as the status meant."""
    if quote.get("signature") == "malleated":
        at = 48 + 384 + 4
        quote = {"signature": malleate(WORLD.quote()[at : at + 64])}
    made = WORLD.collateral(quote.get("tee", "sgx"), **collateral)
    assert judged(WORLD.quote(**quote), made).status == status


OTHER = World(seed=b"other")
EDGE = {"tee": "tdx"}

# What is wrong, what dcap-qvl 0.7.0 says about it, the change to the quote, to the collateral.
REFUSED: list[tuple[str, str, dict[str, Any], dict[str, Any]]] = [
    ("quote signature zero", "ISV enclave report signature", {"signature": bytes(64)}, {}),
    (
        "quote signed by another key",
        "ISV enclave report signature",
        {"signing_key": WORLD.key("other")},
        {},
    ),
    ("attestation key not bound", "QE report hash", {"qe_report_data": bytes(32)}, {}),
    (
        "attestation key replaced",
        "ISV enclave report signature",
        {"attestation_public_key": bytes(64)},
        {},
    ),
    (
        "QE report signed by another key",
        "invalid for qe_report",
        {"qe_signing_key": WORLD.key("other")},
        {},
    ),
    ("QE report edited after the fact", "invalid for qe_report", {"qe_signature": bytes(64)}, {}),
    ("QE of another signer", "QE MRSIGNER", {"qe_report": {"mr_signer": bytes(32)}}, {}),
    ("QE in debug mode", "QE report validation", {"qe_report": {"attributes": b"\x17"}}, {}),
    ("other vendor", "vendor ID", {"header": {"qe_vendor_id": bytes(16)}}, {}),
    ("key type 3", "key type", {"header": {"attestation_key_type": 3}}, {}),
    ("auth data longer than the quote", "qe_auth_data", {"lengths": Lengths(auth_data=0xFFFF)}, {}),
    (
        "v5 body size off by one",
        "body size",
        {**EDGE, "version": 5, "lengths": Lengths(body=647)},
        {},
    ),
    ("debug enclave", "Debug mode", {"body": {"attributes": b"\x07"}}, {}),
    (
        "debug TD",
        "Debug mode",
        _tdx(td_attributes=1 << 28 | 1),
        {},
    ),
    ("foreign SEAM signer", "module MRSIGNER", _tdx(mr_signer_seam=b"\1" * 48), {}),
    ("unknown module version", "TDX_09", _tee_tcb_svn(6, 9, 8), {}),
    ("platform of another world", "InvalidSignatureForPublicKey", {"pck": OTHER.pck()}, {}),
    ("other FMSPC", "Fmspc mismatch", {"pck": WORLD.pck(fmspc=bytes(6))}, {}),
    ("no SGX extension", "extension not found", {"pck": WORLD.pck(without_sgx_extension=True)}, {}),
    ("leaf not yet valid", "CertNotValidYet", {"pck": WORLD.pck(not_before=AT + DAY)}, {}),
    ("leaf expired", "CertExpired", {"pck": WORLD.pck(not_after=AT - DAY)}, {}),
    ("leaf revoked", "CertRevoked", {}, {"pck_crl_revoked": [WORLD.pck()]}),
    ("intermediate revoked", "CertRevoked", {}, {"root_ca_crl_revoked": [WORLD.processor_ca]}),
    ("TCB signer revoked", "CertRevoked", {}, {"root_ca_crl_revoked": [WORLD.tcb_signing]}),
    ("CRL by another key", "InvalidCrlSignature", {}, {"pck_crl_signer": OTHER.processor_ca}),
    ("CRL expired", "CrlExpired", {}, {"pck_crl_next_update": AT - DAY}),
    ("TCB Info expired", "TCBInfo expired", {}, {"tcb_info_next_update": AT - DAY}),
    ("TCB Info not yet issued", "in the future", {}, {"tcb_info_issue_date": AT + DAY}),
    ("TCB Info signed by the root", "invalid for tcb_info", {}, {"tcb_info_key": WORLD.root.key}),
    ("TCB Info of another tee", "non-SGX TCB info", {}, {"tcb_info_tee": "TDX"}),
    ("TCB level revoked", "Revoked", {}, {"tcb_info_levels": [World.tcb_level("Revoked")]}),
    ("QE identity unsigned", "invalid for qe_identity", {}, {"qe_identity_signature": bytes(64)}),
    ("QE identity of the TD QE", "QE Identity id", {}, {"qe_identity_id": "TD_QE"}),
    (
        "QE identity edited",
        "ISVPRODID",
        {},
        {"qe_identity_edit": lambda identity: identity.update(isvprodid=9)},
    ),
]


@pytest.mark.parametrize(
    ("reason", "quote", "collateral"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED]
)
def test_a_departure_is_refused_for_its_one_flaw(
    reason: str, quote: dict[str, Any], collateral: dict[str, Any]
) -> None:
    """dcap-qvl refuses each departure, in words that name it."""
    made = WORLD.collateral(quote.get("tee", "sgx"), **collateral)
    with pytest.raises(ValueError, match=reason):
        judged(WORLD.quote(**quote), made)


def _openssl(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("openssl is not installed")
    return subprocess.run(
        [program, *arguments], cwd=folder, capture_output=True, text=True, check=False
    )


def _verify(folder: Path, leaf: bytes, ca: str, pck_crl: bytes) -> subprocess.CompletedProcess[str]:
    (folder / "root.pem").write_bytes(WORLD.root.pem)
    (folder / "ca.pem").write_bytes(WORLD.pck_ca(ca).pem)
    (folder / "leaf.pem").write_bytes(leaf)
    (folder / "crl.pem").write_bytes(WORLD.crl(WORLD.root, encoding="pem") + pck_crl)
    return _openssl(
        folder,
        *("verify", "-x509_strict", "-check_ss_sig", "-attime", str(int(AT.timestamp()))),
        *("-crl_check_all", "-CRLfile", "crl.pem"),
        *("-CAfile", "root.pem", "-untrusted", "ca.pem", "leaf.pem"),
    )


@pytest.mark.parametrize("ca", ["processor", "platform"])
def test_openssl_accepts_chain_and_crls_and_sees_a_revocation(tmp_path: Path, ca: str) -> None:
    """A strict OpenSSL accepts leaf, CA and lists, and the same leaf no more once it is revoked."""
    leaf, issuer = WORLD.pck(ca), WORLD.pck_ca(ca)
    verdict = _verify(tmp_path, leaf.pem, ca, WORLD.crl(issuer, encoding="pem"))
    assert verdict.returncode == 0, verdict.stderr
    verdict = _verify(tmp_path, leaf.pem, ca, WORLD.crl(issuer, revoked=[leaf], encoding="pem"))
    assert "certificate revoked" in verdict.stderr


def test_openssl_accepts_the_tcb_signer(tmp_path: Path) -> None:
    """The signer of documents verifies under the root."""
    crl = WORLD.crl(encoding="pem")
    verdict = _verify(tmp_path, WORLD.tcb_signing.pem, "processor", crl)
    assert verdict.returncode == 0, verdict.stderr


def test_openssl_reads_an_explicit_curve(tmp_path: Path) -> None:
    """The spelt curve is the one that is spelt, not a named one."""
    odd = WORLD.certificate("Intel SGX TCB Signing", explicit_curve=True)
    (tmp_path / "odd.pem").write_bytes(odd.pem)
    text = _openssl(tmp_path, "x509", "-in", "odd.pem", "-noout", "-text").stdout
    assert "Field Type: prime-field" in text
    assert "ASN1 OID" not in text


def test_a_crl_may_lack_next_update_number_and_key_identifier() -> None:
    """What RFC 5280 or the profile wants of a list can be left out, and nothing else is."""
    odd = x509.load_der_x509_crl(
        WORLD.crl(next_update=None, number=None, with_authority_key_id=False)
    )
    assert odd.next_update_utc is None
    assert list(odd.extensions) == []


def test_certificates_have_the_extensions_of_intels_in_their_order() -> None:
    """The five extensions of the profile, and Intel's own on a leaf, in the order of real ones."""
    order = ["2.5.29.35", "2.5.29.31", "2.5.29.14", "2.5.29.15", "2.5.29.19"]
    for issued in (WORLD.root, WORLD.processor_ca, WORLD.platform_ca, WORLD.tcb_signing):
        assert _extensions(issued.der) == order
    for leaf in (WORLD.pck("processor"), WORLD.pck("platform")):
        assert _extensions(leaf.der) == [*order, "1.2.840.113741.1.13.1"]


def _extensions(certificate: bytes) -> list[str]:
    return [e.oid.dotted_string for e in x509.load_der_x509_certificate(certificate).extensions]


def test_the_platform_ca_certifies_what_dcap_qvl_reads_back() -> None:
    """What is certified of a platform is what another reader reads of it."""
    dcap_qvl = pytest.importorskip("dcap_qvl")
    leaf = WORLD.pck("platform", fmspc=bytes(range(6)), pce_svn=0x1234)
    read = dcap_qvl.parse_pck_extension_from_pem(leaf.chain_pem)
    assert (read.fmspc, read.pce_svn) == (bytes(range(6)), 0x1234)
    assert read.ppid == leaf.platform.ppid


def test_two_equal_worlds_are_the_same_and_two_seeds_share_nothing() -> None:
    """The seed is everything: names do not tell two worlds apart, keys do."""
    assert World().quote(tee="tdx") == WORLD.quote(tee="tdx")
    assert World().collateral() == WORLD.collateral()
    assert OTHER.root.name == WORLD.root.name
    assert OTHER.root.key_identifier != WORLD.root.key_identifier


def test_collateral_has_its_nine_members_and_takes_no_unknown_word() -> None:
    """A misspelt departure is an error, not a genuine set."""
    assert tuple(WORLD.collateral()) == COLLATERAL_MEMBERS
    with pytest.raises(TypeError, match="colour"):
        WORLD.collateral(colour="red")
    with pytest.raises(TypeError, match="tcb_info_evaluation"):
        WORLD.collateral(tcb_info=b"{}", tcb_info_evaluation=1)


def test_a_replaced_document_is_signed_anew() -> None:
    """A test's own document is signed by the TCB signer, like the genuine one."""
    body = documents.encode({"id": "SGX"})
    made = WORLD.collateral(tcb_info=body)
    assert made["tcb_info"] == body
    assert made["tcb_info_signature"] == WORLD.sign_json(body)


def test_without_a_departure_everything_is_the_simulators_own() -> None:
    """Certificates, quotes and collateral that depart in nothing are the simulator's to the byte."""
    for tee, ca in (("sgx", "processor"), ("tdx", "platform")):
        machine = WORLD.machine(ca)
        genuine = WORLD.simulated.collateral(machine, tee.upper())
        made = WORLD.collateral(tee)
        assert WORLD.pck(ca).chain_pem == machine.pck_chain()
        assert made["root_ca_crl"] == genuine.root_ca_crl
        assert made["pck_crl"] == genuine.pck_crl
        for piece, member in (("tcb_info", "tcbInfo"), ("qe_identity", "enclaveIdentity")):
            envelope = b'{"%b":%b,"signature":"%b"}' % (
                member.encode(), made[piece], made[f"{piece}_signature"].hex().encode()
            )  # fmt: skip
            assert envelope == getattr(genuine, piece)
            assert made[f"{piece}_issuer_chain"] == getattr(genuine, f"{piece}_issuer_chain")
    enclave = {"isv_prod_id": 7, "isv_svn": 3}
    assert WORLD.quote() == WORLD.machine("processor").quote(**enclave)
    for version, body_type in ((4, 2), (5, 2), (5, 3), (5, 4)):
        told = {"tee": "TDX", "version": version, "body_type": body_type}
        genuine_quote = WORLD.machine("platform").quote(**told)
        assert WORLD.quote(version, "tdx", body_type=body_type) == genuine_quote
