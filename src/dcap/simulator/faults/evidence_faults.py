"""Step 1: evidence that cannot be read, and what came beside a quote without being bound by it.

Codes are those of the readers (`formats.quote`, `formats.containers`).
Source: `verification.md` §1, §9 (7, 16, 18, 20, 21, 30, 31); the negative vectors of formats.
"""

import base64

import msgspec

from dcap.formats.certification import CertificationData
from dcap.formats.containers import conclave, open_enclave, text
from dcap.formats.quote import HEADER_SIZE
from dcap.simulator.faults.fault import SINGLE, TDX, TDX15, Fault
from dcap.simulator.faults.scene import CONCLAVE, ENCLAVE_KEYS, OPEN_ENCLAVE, Case, Scene, Setting

_SGX_BODY = 384
_TD_BODY = 584
#: Where the signature data of a v3 SGX and a v4 TDX quote begin.
_SGX_DATA = HEADER_SIZE + _SGX_BODY + 4
_TDX_DATA = HEADER_SIZE + _TD_BODY + 4
#: v3: signature, attestation key, QE report and its signature stand before the authentication data.
_AUTH_SIZE = _SGX_DATA + 64 + 64 + _SGX_BODY + 64
_AUTHENTICATION = 32
_CERT_SIZE = _AUTH_SIZE + 2 + _AUTHENTICATION + 2
#: v4: signature, attestation key, then type and size of the outer certification data.
_OUTER_TYPE = _TDX_DATA + 64 + 64
_TDX_AUTH_SIZE = _OUTER_TYPE + 6 + _SGX_BODY + 64
_TRAILER = b"\xaa" * 16
_CONCLAVE = Setting(container=CONCLAVE)
_OPEN_ENCLAVE = Setting(container=OPEN_ENCLAVE)


def _cut(scene: Scene) -> Case:
    return scene.case(quote=scene.quote()[:-1])


def _halved(scene: Scene) -> Case:
    quote = scene.quote()
    return scene.case(quote=quote[: len(quote) // 2])


def _body_type(scene: Scene) -> Case:
    return scene.case(quote=scene.patched(HEADER_SIZE, b"\x02\0"))


def _body_size(scene: Scene) -> Case:
    return scene.case(quote=scene.patched(HEADER_SIZE + 2, (885).to_bytes(4, "little")))


def _certified_by(kind: int) -> Fault:
    words = {0: "nothing", 6: "another QE report", 7: "a platform manifest"}

    def departure(scene: Scene) -> Case:
        data = CertificationData(kind, scene.machine.manifest)
        return scene.case(quote=scene.signed(certification=data))

    return Fault(
        f"quote-certified-by-type-{kind}",
        "quote-certification-data",
        f"The certification data are of type {kind}, {words[kind]}, which certifies no QE.",
        departure,
        SINGLE,
    )


def _too_large(scene: Scene) -> Case:
    return scene.case(quote=scene.signed(authentication_data=bytes(0xFFFF)))


def _bare_report(scene: Scene) -> Case:
    """REPORT: the body, the key id and a MAC that only the same CPU can check."""
    return scene.case(quote=scene.draft().body.to_bytes() + bytes(32) + bytes(16))


def _token(scene: Scene) -> Case:
    parts = (b'{"alg":"none"}', b'{"iss":"qvl","qvl_result":"[]"}', b"")
    token = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)
    return scene.case(quote=token)


def _error_page(scene: Scene) -> Case:
    return scene.case(quote=b"<html><body>502 Bad Gateway</body></html>")


def _huge(scene: Scene) -> Case:
    return scene.case(quote=scene.quote() + bytes(1024 * 1024))


def _nested(scene: Scene) -> Case:
    quote = scene.quote()
    for _ in range(5):
        quote = text.write_base64(quote)
    return scene.case(quote=quote)


def _two_quotes(scene: Scene) -> Case:
    return scene.case(quote=text.write_pem(scene.quote()) * 2)


def _mock_conclave(scene: Scene) -> Case:
    """The type stands after the magic and the two sized keys."""
    keys = sum(4 + len(key) for key in ENCLAVE_KEYS.values())
    return scene.case(quote=scene.patched(3 + keys, b"\x02"))


def _split_elsewhere(scene: Scene) -> Case:
    """The report data bind the two keys as one text: another split gives other keys."""
    text_of_keys = b"".join(ENCLAVE_KEYS.values())
    info = conclave.EnclaveInstanceInfo.parse(scene.quote())
    odd = msgspec.structs.replace(
        info, data_signing_key=text_of_keys[:43], encryption_key=text_of_keys[43:]
    )
    return scene.case(quote=odd.to_bytes())


def _cut_conclave(scene: Scene) -> Case:
    return scene.case(quote=scene.quote()[:-1])


def _local_report(scene: Scene) -> Case:
    report = open_enclave.write_report(scene.quote())
    return scene.case(quote=report[:4] + b"\x01" + report[5:])


def _cut_report(scene: Scene) -> Case:
    return scene.case(quote=open_enclave.write_report(scene.quote())[:-1])


def _foreign_claims(scene: Scene) -> Case:
    claims = open_enclave.write_custom_claims([open_enclave.CustomClaim("key", b"of the host")])
    return scene.case(quote=scene.wrapped(scene.machine.sign(scene.draft()), claims=claims))


def _foreign_key(scene: Scene) -> Case:
    quote = scene.machine.sign(scene.draft())
    return scene.case(quote=scene.wrapped(quote, encryption_key=bytes(32)))


FAULTS = (
    Fault("quote-of-version-9", "quote-version",
          "The header names a version that does not exist.",
          lambda scene: scene.case(quote=scene.patched(0, b"\x09"))),
    Fault("quote-of-version-1", "evidence-unrecognised",
          "An EPID quote, version 1, stands where a DCAP quote belongs.",
          lambda scene: scene.case(quote=b"\x01\0\x01\0" + bytes(428))),
    Fault("quote-key-type-p384", "quote-attestation-key-type",
          "The attestation key claims to be ECDSA P-384.",
          lambda scene: scene.case(quote=scene.patched(2, b"\x03\0"))),
    Fault("quote-v3-of-tdx", "quote-tee-type",
          "A version 3 quote claims to be of TDX, which came with version 4.",
          lambda scene: scene.case(quote=scene.patched(4, b"\x81"))),
    Fault("quote-of-unknown-tee", "quote-tee-type", "The TEE type is neither SGX nor TDX.",
          lambda scene: scene.case(quote=scene.patched(4, b"\x82")), TDX),
    Fault("quote-tdx-as-sgx", "quote-truncated",
          "A TDX quote claims to be of SGX, so that its lengths stand elsewhere.",
          lambda scene: scene.case(quote=scene.patched(4, b"\0")), TDX),
    Fault("quote-v5-body-of-the-other-tee", "quote-body-type",
          "A version 5 SGX quote announces the body of a TD.", _body_type, Setting(version=5)),
    Fault("quote-v5-body-of-another-size", "quote-body-type",
          "A version 5 quote announces a body longer than its type.", _body_size, TDX15),
    Fault("quote-cut-by-one-byte", "quote-truncated", "The last byte is missing.", _cut),
    Fault("quote-cut-in-half", "quote-truncated", "The second half is missing.", _halved, TDX),
    Fault("quote-header-alone", "quote-truncated", "Only the header is there.",
          lambda scene: scene.case(quote=scene.quote()[:HEADER_SIZE])),
    Fault("quote-of-four-gigabytes", "quote-truncated",
          "The signature data claim 4 GB, more than the buffer holds.",
          lambda scene: scene.case(quote=scene.patched(_SGX_DATA - 4, b"\xff" * 4))),
    Fault("quote-authentication-too-long", "quote-length",
          "The QE authentication data claim more bytes than are left.",
          lambda scene: scene.case(quote=scene.patched(_TDX_AUTH_SIZE, b"\xff\xff")), TDX),
    Fault("quote-authentication-too-short", "quote-length",
          "The QE authentication data claim one byte less than they have.",
          lambda scene: scene.case(quote=scene.patched(_AUTH_SIZE, bytes((_AUTHENTICATION - 1, 0))))),
    Fault("quote-certification-too-long", "quote-length",
          "The certification data claim 4 GB.",
          lambda scene: scene.case(quote=scene.patched(_CERT_SIZE, b"\xff" * 4))),
    Fault("quote-outer-certification-type-5", "quote-certification-data",
          "The outer certification data of a version 4 quote, which nobody signs, are of type 5.",
          lambda scene: scene.case(quote=scene.patched(_OUTER_TYPE, b"\x05")), TDX),
    _certified_by(0),
    _certified_by(6),
    _certified_by(7),
    Fault("quote-with-a-trailer", "quote-trailing-bytes",
          "Sixteen bytes that nobody signs stand after the quote.",
          lambda scene: scene.case(quote=scene.quote() + _TRAILER)),
    Fault("quote-too-large", "quote-too-large",
          "The authentication data make the quote larger than any.", _too_large),
    Fault("report-instead-of-a-quote", "evidence-unrecognised",
          "A local REPORT, which any host can write, stands where a quote belongs.", _bare_report),
    Fault("token-instead-of-a-quote", "evidence-unrecognised",
          'A JWT of algorithm "none" stands where a quote belongs.', _token),
    Fault("error-page-instead-of-a-quote", "evidence-unrecognised",
          "A web server's error page was saved as the quote.", _error_page),
    Fault("evidence-of-a-megabyte", "evidence-too-large",
          "A megabyte of zeros follows the quote.", _huge),
    Fault("evidence-wrapped-five-times", "evidence-nested",
          "The quote is wrapped in base64 five times.", _nested),
    Fault("evidence-of-two-quotes", "evidence-several",
          "Two quotes stand where one belongs.", _two_quotes),
    Fault("conclave-of-a-mock", "conclave-attestation-type",
          "The EnclaveInstanceInfo holds a mock attestation, in which nothing is signed.",
          _mock_conclave, _CONCLAVE),
    Fault("conclave-cut-by-one-byte", "conclave-size",
          "The EnclaveInstanceInfo lacks its last byte.", _cut_conclave, _CONCLAVE),
    Fault("conclave-keys-split-elsewhere", "conclave-size",
          "The two bound keys are split at another byte, which makes two other keys of them.",
          _split_elsewhere, _CONCLAVE),
    Fault("open-enclave-local-report", "open-enclave-format",
          "An Open Enclave local report, without a quote, stands where a remote one belongs.",
          _local_report),
    Fault("open-enclave-cut-by-one-byte", "open-enclave-size",
          "The Open Enclave report lacks its last byte.", _cut_report),
    Fault("open-enclave-claims-of-the-host", "evidence-binding",
          "The custom claims beside the quote are the host's: the report data do not bind them.",
          _foreign_claims, _OPEN_ENCLAVE),
    Fault("conclave-key-of-the-host", "evidence-binding",
          "The encryption key beside the quote is the host's: the report data do not bind it.",
          _foreign_key, _CONCLAVE),
)  # fmt: skip
