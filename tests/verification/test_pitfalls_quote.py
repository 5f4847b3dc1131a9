"""The pitfalls of the field that live in the quote itself and around it: one test each.

The numbers are those of the reference's table "Pitfalls = our security tests"; each test changes one
thing of an accepted truth and names the check that must see it. Three of them are about things this
package does not have (18, 30, 31): their tests state the nearest property that it has. Pitfalls of
collateral stand in `test_pitfalls_collateral`.
"""

import base64
import json
import tracemalloc
from typing import Any

import pytest
from trial import (
    ANY,
    LOOSE,
    assert_accepted,
    assert_rejected,
    assert_vector_rejected,
    endorsed,
    judged,
)

from dcap import ConfigError, FormatError, Policy, Quote
from dcap.formats import der as asn1
from dcap.formats import pem
from dcap.formats.containers import open_enclave
from dcap.verification import Evidence, check_endorsements, verify
from departures import Lengths, World
from departures.documents import QE_MRSIGNER
from departures.issued import P256_ORDER, malleate
from departures.quotes import an_enclave
from worlds import AT, anchor_of

SGX_QE_REPORT_AT = 436 + 64 + 64
UINT32 = 0xFFFFFFFF
LEVEL_6 = bytes((6, 1, 8))


def test_pitfall_02_qe_vendor_id_not_checked(world: World) -> None:
    """A quote whose QE is of another vendor is refused, though the attestation key signed it."""
    assert_accepted(judged(world))
    other = world.quote(header={"qe_vendor_id": bytes(15) + b"\x01"})
    assert_rejected(judged(world, other), "qe-vendor")
    for tee in ("sgx", "tdx4"):  # changed after it was signed, so the signature breaks too
        assert_vector_rejected(f"neg-{tee}-vendor-id", "qe-vendor", "quote-signature")


@pytest.mark.parametrize("svn", [LEVEL_6, bytes((5, 0, 8))], ids=["major 1", "major 0"])
def test_pitfall_03_tdx_module_identity_ignored(world: World, svn: bytes) -> None:
    """Signer, attributes and version of the TDX module count, whichever its major version."""
    assert_accepted(judged(world, world.quote(tee="tdx", body={"tee_tcb_svn": svn}), tee="tdx"))
    for field, value in (("mr_signer_seam", b"\x01" * 48), ("seam_attributes", 1 << 63)):
        quote = world.quote(tee="tdx", body={"tee_tcb_svn": svn, field: value})
        assert_rejected(judged(world, quote, tee="tdx"), "tdx-module")
    blind = world.module_identity("TDX_01", [world.isvsvn_level("UpToDate", 6)], mask=bytes(8))
    changes = {
        "tcb_info_tdx_module": world.module(mask=bytes(8)),
        "tcb_info_tdx_module_identities": [blind],
    }
    quote = world.quote(tee="tdx", body={"tee_tcb_svn": svn, "seam_attributes": 1})
    result = judged(world, quote, endorsed(world, "tdx", **changes))
    assert_rejected(result, "tdx-module")
    unknown = world.quote(tee="tdx", body={"tee_tcb_svn": bytes((6, 2, 8))})
    assert_rejected(judged(world, unknown, tee="tdx"), "tdx-module")
    old = world.quote(tee="tdx", body={"tee_tcb_svn": bytes((5, 1, 8))})
    result = assert_rejected(judged(world, old, tee="tdx"), "tcb-status", exit_status=4)
    assert (result.tcb_status, result.tcb and result.tcb.tdx_module) == ("OutOfDate", "OutOfDate")


def test_pitfall_07_unbounded_allocation_and_recursion(world: World) -> None:
    """A length of 4 GB costs a comparison, and 3,000 nested elements cost no stack."""
    assert_accepted(judged(world))
    for lengths, code in (
        (Lengths(signature_data=UINT32), "quote-truncated"),
        (Lengths(auth_data=0xFFFF), "quote-length"),
        (Lengths(certification_data=UINT32), "quote-length"),
    ):
        quote = world.quote(lengths=lengths)
        tracemalloc.start()
        result = judged(world, quote)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert_rejected(result, code, exit_status=2)
        assert peak < 1 << 20
    nested = b""
    for _ in range(3000):
        nested = asn1.sequence(nested)
    quote = world.quote(cert_data=pem.encode(nested, "CERTIFICATE"))
    assert_rejected(judged(world, quote), "pck-chain-format")
    assert_vector_rejected("neg-tdx4-authlen-huge", "quote-truncated", exit_status=2)


@pytest.mark.parametrize("cert_type", [1, 2, 3])
def test_pitfall_08_panic_without_a_pck_chain(world: World, cert_type: int) -> None:
    """A quote that names its platform instead of bringing a chain is a result, not a crash."""
    quote = world.quote(cert_type=cert_type)
    assert_rejected(judged(world, quote), "pck-chain-present", exit_status=6)
    chain = world.pck().chain_pem
    beside = Evidence(quote=Quote.parse(quote), size=len(quote), pck_certificate_chain=chain)
    assert_accepted(judged(world, beside))
    forged = world.quote(cert_type=cert_type, signing_key=world.key("thief"))
    assert_rejected(judged(world, forged), "pck-chain-present", "quote-signature")


def test_pitfall_08_leaf_without_its_chain(world: World) -> None:
    """A quote with a leaf alone is completed by the proven CA of the collateral, or refused."""
    quote = world.quote(cert_type=4)
    assert_accepted(judged(world, quote))
    other_ca = endorsed(world, ca="platform")
    assert_rejected(judged(world, quote, other_ca), "pck-chain-signature")
    thief = world.quote(cert_type=4, pck=world.pck(signing_key=world.key("thief")))
    assert_rejected(judged(world, thief), "pck-chain-signature")
    nothing = world.quote(cert_type=4, cert_data=b"")
    assert_rejected(judged(world, nothing), "pck-chain-roles")


@pytest.mark.parametrize(
    ("launch", "current", "status"),
    [
        ((5, 1, 8), LEVEL_6, "TDRelaunchAdvised"),
        (LEVEL_6, LEVEL_6, "UpToDate"),
        ((2, 1, 8), LEVEL_6, "Revoked"),
        (LEVEL_6, (5, 1, 8), "UpToDate"),
        ((5, 1, 8), (5, 1, 8), "OutOfDate"),
        ((5, 1, 8), (2, 1, 8), "OutOfDate"),
    ],
)
def test_pitfall_13_relaunch_after_a_wrong_preliminary_status(
    world: World, launch: tuple[int, ...], current: tuple[int, ...], status: str
) -> None:
    """A relaunch is advised where launch is out of date and now is not, and nowhere else."""
    body = {"tee_tcb_svn": bytes(launch), "tee_tcb_svn_2": bytes(current)}
    quote = world.quote(5, "tdx", body=body)
    result = judged(world, quote, tee="tdx", policy=LOOSE)
    assert result.tcb_status == status
    if status == "Revoked" or current[0] == 2:  # nothing that is revoked is ever accepted
        assert_rejected(result, "tcb-status", exit_status=4)
    else:
        assert_accepted(result)


@pytest.mark.parametrize(
    ("offset", "code", "exit_status"),
    [
        (64, "", 0),  # MRENCLAVE: no identity names it
        (16, "qe-identity-match", 3),  # MISCSELECT
        (48, "qe-identity-match", 3),  # ATTRIBUTES
        (128, "qe-identity-match", 3),  # MRSIGNER
        (256, "qe-identity-match", 3),  # ISVPRODID
        (320, "qe-report-data", 3),  # REPORTDATA
    ],
)
def test_pitfall_15_wrong_qe_report_offsets(
    world: World, offset: int, code: str, exit_status: int
) -> None:
    """Each field of the QE report is read where Intel puts it: a signed change of it is seen."""

    def flip(report: bytearray) -> None:
        report[offset] ^= 0x80

    result = judged(world, world.quote(edit_qe_report=flip))
    if code:
        assert_rejected(result, code, exit_status=exit_status)
    else:
        assert_accepted(result)
    after_signing = bytearray(world.quote())
    after_signing[SGX_QE_REPORT_AT + offset] ^= 0x80
    codes = {"qe-report-signature", code} - {""}
    assert_rejected(judged(world, bytes(after_signing)), *codes)


def test_pitfall_18_report_without_a_quote_as_evidence(world: World) -> None:
    """A local SGX report, which any host can write, is not evidence, bare or in a container.

    No QvE is trusted here, so there is no nonce to rewrite; this is the nearest property.
    """
    assert_accepted(judged(world))
    local = an_enclave() + bytes(48)
    assert_rejected(judged(world, local), "evidence-unrecognised", exit_status=2)
    framed = bytearray(open_enclave.write_report(local))
    framed[4] = 1
    assert_rejected(judged(world, bytes(framed)), "open-enclave-format", exit_status=2)


@pytest.mark.parametrize(
    ("tee", "body", "code", "exit_status", "allowance"),
    [
        ("sgx", {"attributes": b"\x07"}, "debug", 5, "allow_debug"),
        ("tdx", {"td_attributes": 1 << 28 | 1}, "debug", 5, "allow_debug"),
        ("tdx", {"td_attributes": 1 << 28 | 0x80}, "debug", 5, "allow_debug"),
        ("tdx", {"td_attributes": 0}, "td-attributes", 5, "allow_sept_ve"),
        ("tdx", {"td_attributes": 1 << 28 | 1 << 29}, "td-attributes", 5, "allow_migratable"),
        ("tdx", {"mr_service_td": b"\x01" * 48}, "service-td", 5, "allow_service_td"),
        ("tdx", {"mr_signer_seam": b"\x01" * 48}, "tdx-module", 3, ""),
    ],
)
def test_pitfall_19_what_intels_library_does_not_look_at(
    world: World, tee: str, body: dict[str, Any], code: str, exit_status: int, allowance: str
) -> None:
    """Debug, SEPT_VE, migration and service TDs are refused until the policy names them."""
    version = 5 if "mr_service_td" in body else None
    assert_accepted(judged(world, world.quote(version, tee), tee=tee))
    quote = world.quote(version, tee, body=body)
    assert_rejected(judged(world, quote, tee=tee), code, exit_status=exit_status)
    if allowance:
        allowed = Policy(identity="any", **{allowance: True})
        assert_accepted(judged(world, quote, tee=tee, policy=allowed))
    else:
        assert_rejected(judged(world, quote, tee=tee, policy=LOOSE), code, exit_status=exit_status)


def test_pitfall_19_module_of_a_signer_that_a_document_names(world: World) -> None:
    """Even where a signed document names another SEAM signer, the policy's step refuses it."""
    other = b"\x01" * 48
    collateral = endorsed(world, "tdx", tcb_info_tdx_module=world.module(mrsigner=other))
    quote = world.quote(tee="tdx", body={"tee_tcb_svn": bytes((5, 0, 8)), "mr_signer_seam": other})
    assert_rejected(judged(world, quote, collateral, policy=LOOSE), "seam", exit_status=5)


@pytest.mark.parametrize(("version", "tee"), [(4, "sgx"), (4, "tdx"), (5, "tdx")])
def test_pitfall_20_outer_certification_type_ignored(world: World, version: int, tee: str) -> None:
    """The outer certification data of v4 and v5, which nobody signs, must be of type 6."""
    assert_accepted(judged(world, world.quote(version, tee), tee=tee))
    for kind in (5, 7):
        quote = world.quote(version, tee, outer_cert_type=kind)
        result = judged(world, quote, tee=tee)
        assert_rejected(result, "quote-certification-data", exit_status=2)


def test_pitfall_21_bytes_after_the_quote(world: World) -> None:
    """Bytes after a quote are refused; padding of zeros is not part of it, and named."""
    assert_accepted(judged(world))
    trailing = world.quote(trailing=bytes(15) + b"\x01")
    assert_rejected(judged(world, trailing), "quote-trailing-bytes", exit_status=2)
    padded = assert_accepted(judged(world, world.quote(trailing=bytes(16))))
    assert padded.evidence is not None
    assert padded.evidence.wrappings == ("zero-padded",)
    assert padded.evidence.size == len(world.quote())
    for tee in ("sgx", "tdx4"):
        assert_vector_rejected(f"neg-{tee}-trailing-16", "quote-trailing-bytes", exit_status=2)


ORDER = P256_ORDER.to_bytes(32, "big")
ONE, ZERO, TOP = (1).to_bytes(32, "big"), bytes(32), b"\xff" * 32


@pytest.mark.parametrize(
    "signature",
    [ZERO + ZERO, ZERO + ONE, ONE + ZERO, ORDER + ONE, ONE + ORDER, TOP + TOP, ONE + ONE],
    ids=lambda value: f"{value[:1].hex()}..{value[31:33].hex()}..{value[-1:].hex()}",
)
def test_pitfall_24_degenerate_signatures(world: World, signature: bytes) -> None:
    """R or s of zero, of the group's order or above is no signature, of a quote or a QE report."""
    assert_accepted(judged(world))
    assert_rejected(judged(world, world.quote(signature=signature)), "quote-signature")
    assert_rejected(judged(world, world.quote(qe_signature=signature)), "qe-report-signature")
    collateral = endorsed(world, tcb_info_signature=signature)
    assert_rejected(judged(world, collateral=collateral), "tcb-info-signature")


def test_pitfall_24_report_data_beyond_the_hash_and_points_off_the_curve(world: World) -> None:
    """The QE's report data are a hash and 32 zeros; an attestation key is a point of P-256."""
    assert_accepted(judged(world))

    def dirty(report: bytearray) -> None:
        report[383] = 1

    assert_rejected(judged(world, world.quote(edit_qe_report=dirty)), "qe-report-data")
    for point in (ZERO + ZERO, ONE + ONE, TOP + TOP):
        quote = world.quote(attestation_public_key=point)
        assert_rejected(judged(world, quote), "quote-signature")
    assert_vector_rejected("neg-tdx4-sig-zero", "quote-signature")
    for tee in ("sgx", "tdx4"):
        assert_vector_rejected(f"neg-{tee}-attkey-flip", "qe-report-data", "quote-signature")


def test_pitfall_26_tdx_svn_compared_from_the_wrong_index(world: World) -> None:
    """With a module of major version above 0 its own two bytes are not compared with the level."""
    levels = [world.tcb_level("UpToDate", tdx=(200, 200, 3, *bytes(13)))]
    collateral = endorsed(world, "tdx", tcb_info_levels=levels)
    major_1 = world.quote(tee="tdx", body={"tee_tcb_svn": bytes((6, 1, 3))})
    assert_accepted(judged(world, major_1, collateral))
    major_0 = world.quote(tee="tdx", body={"tee_tcb_svn": bytes((199, 0, 3))})
    assert_rejected(judged(world, major_0, collateral), "tcb-level", exit_status=4)
    loader = world.quote(tee="tdx", body={"tee_tcb_svn": bytes((6, 1, 2))})
    assert_rejected(judged(world, loader, collateral), "tcb-level", exit_status=4)


def test_pitfall_29_malleated_signatures(world: World) -> None:
    """(r, n-s) is as good as (r, s), so nothing is looked up by a quote's bytes or a signature."""
    quote = world.quote()
    other = world.quote(signature=malleate(quote[436:500]))
    assert other != quote
    endorsements = check_endorsements(endorsed(world), at=AT, anchor=anchor_of(world)).require()
    for bytes_ in (quote, other, quote):
        check = verify(Evidence.recognise(bytes_), endorsements)
        assert check.verified is not None
        assert check.verified.quote.signed_bytes == quote[:432]
    replayed = world.quote(report_data=b"another challenge", signature=quote[436:500])
    assert verify(Evidence.recognise(replayed), endorsements).verified is None


def _jwt(algorithm: str, content: bytes) -> bytes:
    def part(value: bytes) -> bytes:
        return base64.urlsafe_b64encode(value).rstrip(b"=")

    return b".".join(
        (part(json.dumps({"alg": algorithm, "typ": "JWT"}).encode()), part(content), part(b"sign"))
    )


@pytest.mark.parametrize("algorithm", ["none", "ES384"])
def test_pitfall_30_tokens_trusted_as_signed(world: World, algorithm: str) -> None:
    """No token is made or read here; nearest property: a JWT is neither evidence nor a policy."""
    assert_accepted(judged(world))
    for content in (world.quote(), b'{"policy_payload":"{}"}', b'{"overall_appraisal_result":1}'):
        token = _jwt(algorithm, content)
        result = judged(world, token)
        assert {finding.step for finding in result.failures} == {"1.1"}
        assert (result.exit_status, result.verified) == (2, None)
        with pytest.raises(ConfigError):
            Policy.from_toml(token.decode())


def test_pitfall_31_length_that_the_guest_controls(world: World) -> None:
    """The kernel's own defence is not ours; nearest property: a length past the buffer is refused."""
    quote = world.quote(tee="tdx")
    assert_accepted(judged(world, quote, tee="tdx"))
    true_length = len(quote) - 636
    for length in (true_length + 1, UINT32):
        longer = world.quote(tee="tdx", lengths=Lengths(signature_data=length))
        result = judged(world, longer, tee="tdx")
        assert_rejected(result, "quote-truncated", exit_status=2)
    for cut in (1, 2000, len(quote) - 48, len(quote) - 1):
        with pytest.raises(FormatError):
            Quote.parse(quote[:-cut])


def test_pitfall_documents_of_the_qve_do_not_serve_a_quote(world: World) -> None:
    """The identity of the QvE, which Intel signs too, is no QE's (pitfalls 11 and 18)."""
    qve = endorsed(world, qe_identity_id="QVE")
    made_by_qve = world.quote(qe_report={"mr_signer": QE_MRSIGNER, "isv_prod_id": 2})
    assert_rejected(judged(world, made_by_qve, qve, policy=ANY), "qe-identity-tee")
