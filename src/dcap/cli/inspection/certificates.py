"""Certificates and revocation lists as values; certificates outside Intel's profile in short."""

import hashlib
from collections.abc import Iterable, Sequence

from dcap.cli.inspection.tree import (
    NOT_CHECKED,
    PlatformId,
    Tree,
    attempt,
    hex_or_none,
    moment,
    serial,
)
from dcap.errors import FormatError
from dcap.formats.certificate import Certificate
from dcap.formats.crl import Crl
from dcap.formats.pck_extensions import PckExtensions, SgxType

#: Names of RFC 5280 §4.2.1.3, by bit.
KEY_USAGES = (
    "digital_signature",
    "non_repudiation",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)
#: Extensions under which certificates of attested TLS carry evidence.
EVIDENCE_EXTENSIONS = {
    "1.3.6.1.4.1.311.105.1": "Open Enclave report (also EGo)",
    "1.2.840.113556.10.1.1": "Open Enclave report, old",
    "1.3.6.1.4.1.311.105.2": "Open Enclave evidence",
    "1.2.840.113556.10.1.2": "Open Enclave evidence, old",
    "0.6.9.42.840.113741.1337.6": "Gramine quote, legacy",
    "1.2.840.113741.1337.6": "Gramine quote",
    "2.23.133.5.4.9": "TCG DICE tagged evidence (interoperable RA-TLS)",
}


def chain_tree(certificates: Sequence[Tree]) -> Tree:
    """One certificate, or several as a chain."""
    if len(certificates) == 1:
        return {"kind": "certificate", **certificates[0]}
    return {"kind": "certificate-chain", "certificates": list(certificates)}


def certificate_tree(data: bytes) -> Tree:
    """A certificate of Intel's profile, or what can be said of another."""
    try:
        found = Certificate.parse(data)
    except FormatError as error:
        return _foreign_certificate(data, error)
    optional: Tree = {
        "ca": found.is_ca,
        "key_usage": None if found.key_usage is None else _usages(found.key_usage),
        "subject_key_id": hex_or_none(found.subject_key_id),
        "authority_key_id": hex_or_none(found.authority_key_id),
        "crl_distribution_point": found.crl_distribution_point,
    }
    value: Tree = {
        "subject": found.common_name,
        "issuer": found.issuer_common_name,
        "serial": serial(found.serial),
        "not_before": moment(found.not_before),
        "not_after": moment(found.not_after),
        "key": "ECDSA P-256",
        "public_key": found.public_key.hex(),
        **{name: member for name, member in optional.items() if member is not None},
        "sha256": hashlib.sha256(data).hexdigest(),
        "signature": NOT_CHECKED,
    }
    if (extension := found.sgx_extension) is not None:
        issuer = found.issuer_common_name
        value["platform"] = attempt(lambda: _platform(PckExtensions.parse(extension), issuer))
    return value


def _foreign_certificate(data: bytes, refusal: FormatError) -> Tree:
    """A certificate outside Intel's profile (TLS, attested TLS), through `cryptography`.

    Raises `refusal`, our own reader's reason, where that cannot read it either.
    """
    import warnings  # noqa: PLC0415 - a certificate of Intel's needs neither

    from cryptography import x509  # noqa: PLC0415
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415

    unreadable = (
        ValueError,
        TypeError,
        UnsupportedAlgorithm,
        x509.InvalidVersion,
        x509.DuplicateExtension,
        x509.UnsupportedGeneralNameType,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = x509.load_der_x509_certificate(data)
            oids = [extension.oid.dotted_string for extension in found.extensions]
            key = type(found.public_key()).__name__.strip("_")
            return {
                "subject": found.subject.rfc4514_string(),
                "issuer": found.issuer.rfc4514_string(),
                "serial": serial(abs(found.serial_number)),
                "not_before": moment(found.not_valid_before_utc),
                "not_after": moment(found.not_valid_after_utc),
                "key": key,
                "extensions": oids,
                "evidence_extensions": [
                    f"{oid} {EVIDENCE_EXTENSIONS[oid]}"
                    for oid in oids
                    if oid in EVIDENCE_EXTENSIONS
                ],
                "sha256": hashlib.sha256(data).hexdigest(),
                "signature": NOT_CHECKED,
                "profile": f"not Intel's: {refusal.what}",
            }
        except unreadable:
            raise refusal from None


def _platform(extensions: PckExtensions, issuer: str) -> Tree:
    instance = extensions.platform_instance_id
    flags = {
        "dynamic_platform": extensions.dynamic_platform,
        "cached_keys": extensions.cached_keys,
        "smt_enabled": extensions.smt_enabled,
    }
    return {
        "fmspc": extensions.fmspc.hex(),
        "pce_id": extensions.pce_id.hex(),
        "pce_svn": extensions.pce_svn,
        "tcb_components": extensions.components.hex(),
        "sgx_type": SgxType(extensions.sgx_type).name.lower(),
        "ca": next((ca for ca in ("processor", "platform") if ca in issuer.lower()), issuer),
        **{name: flag for name, flag in flags.items() if flag is not None},
        "ppid": PlatformId(extensions.ppid.hex()),
        "pck_cpu_svn": PlatformId(extensions.cpu_svn.hex()),
        **({} if instance is None else {"platform_instance_id": PlatformId(instance.hex())}),
    }


def crl_tree(crl: Crl) -> Tree:
    """A revocation list, its serials in hex."""
    optional = {
        "next_update": None if crl.next_update is None else moment(crl.next_update),
        "crl_number": crl.crl_number,
        "authority_key_id": hex_or_none(crl.authority_key_id),
    }
    return {
        "issuer": crl.issuer_common_name,
        "this_update": moment(crl.this_update),
        **{name: member for name, member in optional.items() if member is not None},
        "revoked_count": len(crl.revoked),
        "revoked": [serial(number) for number in sorted(crl.revoked)],
        "signature": NOT_CHECKED,
    }


def _usages(bits: Iterable[int]) -> list[str]:
    return [KEY_USAGES[bit] if bit < len(KEY_USAGES) else f"bit_{bit}" for bit in sorted(bits)]
