"""What `dcap inspect` shows of a file: whatever it is, as one value of plain types.

The value's first member is `kind`. What tells one machine from another is marked `PlatformId`, so
that no printer shows it unasked. What cannot be read *inside* something readable stands there as
`problem`; only a file that is nothing known is an error. Not here: printing (`inspect`), and any
judgement: nothing below is checked.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import TypeAlias

import msgspec

from dcap.appraisal.claims import claims_of, flag_names
from dcap.errors import FormatError
from dcap.formats import der, pem
from dcap.formats.certificate import Certificate
from dcap.formats.certification import CertificationType, PpidCleartext
from dcap.formats.collateral import ENCLAVE_IDENTITY, TCB_INFO, Collateral
from dcap.formats.containers import Contained, recognise
from dcap.formats.containers import text as encodings
from dcap.formats.crl import Crl
from dcap.formats.enclave_identity import EnclaveIdentity
from dcap.formats.pck_extensions import PckExtensions, SgxType
from dcap.formats.quote import INTEL_QE_VENDOR_ID, Quote
from dcap.formats.sgx_report import ATTRIBUTE_FLAGS
from dcap.formats.signed_json import SignedJson, decode_members
from dcap.formats.sigstruct import INTEL, Sigstruct, is_sigstruct
from dcap.formats.tcb_evaluation_numbers import TcbEvaluationNumbers
from dcap.formats.tcb_info import IsvSvnLevel, TcbInfo, TdxModuleIdentity

EVALUATION_NUMBERS = "tcbEvaluationDataNumbers"
NOT_CHECKED = "not checked"
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


class PlatformId(msgspec.Struct, frozen=True):
    """A value that identifies one machine."""

    text: str


#: Members are str, int, bool, PlatformId, lists of str, trees, or lists of trees; never None.
Tree: TypeAlias = dict[str, object]


def inspect_bytes(data: bytes) -> Tree:
    """What `data` claim to be and to say. Raises `FormatError` where they are nothing known."""
    if is_sigstruct(data):
        return _sigstruct(Sigstruct.parse(data))
    if _is_der(data):
        return _der(data)
    if data.isascii() and (found := _text(data)) is not None:
        return found
    return _quote(recognise(data))


def _is_der(data: bytes) -> bool:
    return data[:1] == b"0" and data[1:2] in (b"\x80", b"\x81", b"\x82", b"\x83")


def _text(data: bytes) -> Tree | None:
    """PEM, JSON, or DER in hex or base64; `None` for any other text."""
    if data.lstrip().startswith(b"{"):
        return _json(data)
    label = encodings.pem_label(data)
    if label == "CERTIFICATE":
        return _chain([_certificate(block) for block in pem.blocks(data, label)])
    if label == "X509 CRL":
        return {"kind": "crl", **_crl(Crl.parse(data))}
    layer = None if label else encodings.open_layer(data)
    return _der(layer.content) if layer and _is_der(layer.content) else None


def _der(data: bytes) -> Tree:
    """A certificate or a CRL: only the first's signed part begins with [0] version."""
    start, end = der.whole(data, der.SEQUENCE)
    at, _ = der.span(data, start, end, der.SEQUENCE)
    if data[at : at + 1] == b"\xa0":
        return _chain([_certificate(data)])
    return {"kind": "crl", **_crl(Crl.parse(data))}


def _json(data: bytes) -> Tree | None:
    """Intel's documents by the members that only they have, signed or not; collateral."""
    members = decode_members(data, "JSON").keys()
    for distinct, kind, member, reader in _DOCUMENTS:
        if member in members:
            signed = SignedJson.parse(data, member)
            return {"kind": kind, **reader(signed.body), "signature": NOT_CHECKED}
        if distinct <= members:
            return {"kind": kind, **reader(data), "signature": "absent"}
    if {"tcb_info", "qe_identity"} <= members:
        return {"kind": "collateral", **_collateral(Collateral.from_json(data))}
    return None


def _quote(contained: Contained) -> Tree:
    quote = Quote.parse(contained.quote)
    version, size = quote.header.version, len(contained.quote)
    wrapping = ", ".join(contained.wrappings) or "raw"
    public = claims_of(quote)
    value: Tree = {
        "kind": "quote",
        "evidence": f"{quote.tee} quote v{version}, ECDSA-P256, {size} bytes ({wrapping})",
        "tee": quote.tee,
        "version": version,
        "size": size,
        "wrappings": list(contained.wrappings),
        "claims": {
            name: claim if name in public else PlatformId(str(claim))
            for name, claim in claims_of(quote, platform_ids=True).items()
        },
        "quoting_enclave": _quoting_enclave(quote),
        "certification": CertificationType(quote.certification.type).name.lower(),
        **_attempt(lambda: _certification(quote)),
    }
    if contained.facts or contained.bindings:
        value["container"] = _container(contained, quote.body.report_data)
    if (carried := contained.collateral) is not None:
        value["collateral"] = _attempt(lambda: _collateral(carried))
    return value


def _quoting_enclave(quote: Quote) -> Tree:
    """The QE by its report; the header's SVNs are informational and only in version 3."""
    header, report = quote.header, quote.qe_report
    vendor = header.qe_vendor_id
    value: Tree = {
        "qe_vendor_id": vendor.hex() + (" (Intel)" if vendor == INTEL_QE_VENDOR_ID else ""),
        "qe_mrenclave": report.mr_enclave.hex(),
        "qe_mrsigner": report.mr_signer.hex(),
        "qe_product_id": report.isv_prod_id,
        "qe_svn": report.isv_svn,
        "qe_attributes": report.attributes.hex(),
        "qe_report_data": report.report_data.hex(),
        "qe_authentication_data_size": len(quote.qe_authentication_data),
        "qe_cpu_svn": PlatformId(report.cpu_svn.hex()),
        "header_user_data": PlatformId(header.user_data.hex()),
    }
    if header.version == 3:
        value["header_qe_svn"] = int.from_bytes(header.qe_svn, "little")
        value["header_pce_svn"] = int.from_bytes(header.pce_svn, "little")
    return value


def _certification(quote: Quote) -> Tree:
    """How the quote names its PCK certificate: the chain itself, or what to look it up by."""
    data = quote.certification
    if data.is_chain or data.type == CertificationType.PCK_CERTIFICATE:
        certificates = [_certificate(block) for block in pem.blocks(data.data, "CERTIFICATE")]
        platforms = [found for c in certificates if (found := c.pop("platform", None))]
        return {
            **({"platform": platforms[0]} if platforms else {}),
            "certificates": certificates,
        }
    record = data.platform()
    ppid = record.ppid if isinstance(record, PpidCleartext) else record.encrypted_ppid
    name = "ppid" if isinstance(record, PpidCleartext) else "encrypted_ppid"
    platform: Tree = {
        "pce_id": record.pce_id.hex(),
        "pce_svn": record.pce_svn,
        name: PlatformId(ppid.hex()),
        "pck_cpu_svn": PlatformId(record.cpu_svn.hex()),
    }
    return {"platform": platform}


def _container(contained: Contained, report_data: bytes) -> Tree:
    bindings = [
        {
            "name": binding.name,
            "report_data_begins_so": report_data.startswith(binding.report_data),
            "expected": binding.report_data.hex(),
        }
        for binding in contained.bindings
    ]
    return {**contained.facts, "bindings": bindings}


def _chain(certificates: Sequence[Tree]) -> Tree:
    if len(certificates) == 1:
        return {"kind": "certificate", **certificates[0]}
    return {"kind": "certificate-chain", "certificates": list(certificates)}


def _certificate(data: bytes) -> Tree:
    """A certificate of Intel's profile, or what can be said of another."""
    try:
        found = Certificate.parse(data)
    except FormatError as error:
        return _foreign_certificate(data, error)
    optional: Tree = {
        "ca": found.is_ca,
        "key_usage": None if found.key_usage is None else _usages(found.key_usage),
        "subject_key_id": _hex(found.subject_key_id),
        "authority_key_id": _hex(found.authority_key_id),
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
        value["platform"] = _attempt(lambda: _platform(PckExtensions.parse(extension), issuer))
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


def _crl(crl: Crl) -> Tree:
    optional = {
        "next_update": None if crl.next_update is None else moment(crl.next_update),
        "crl_number": crl.crl_number,
        "authority_key_id": _hex(crl.authority_key_id),
    }
    return {
        "issuer": crl.issuer_common_name,
        "this_update": moment(crl.this_update),
        **{name: member for name, member in optional.items() if member is not None},
        "revoked_count": len(crl.revoked),
        "revoked": [serial(number) for number in sorted(crl.revoked)],
        "signature": NOT_CHECKED,
    }


def _tcb_info(body: bytes) -> Tree:
    found = TcbInfo.parse(body)
    modules = (
        *([found.tdx_module] if found.tdx_module else ()),
        *(found.tdx_module_identities or ()),
    )
    return {
        "id": found.id,
        "version": found.version,
        "issue_date": moment(found.issue_date),
        "next_update": moment(found.next_update),
        "fmspc": found.fmspc.hex(),
        "pce_id": found.pce_id.hex(),
        "tcb_evaluation_data_number": found.evaluation_data_number,
        "tcb_levels": [
            {
                "status": level.status,
                "tcb_date": moment(level.date),
                "pce_svn": level.pce_svn,
                "tcb_components": level.components.hex(),
                **({"tdx_components": level.tdx_components.hex()} if level.tdx_components else {}),
                "advisory_ids": list(level.advisory_ids),
            }
            for level in found.levels
        ],
        **({"tdx_modules": [_module(module) for module in modules]} if modules else {}),
    }


def _module(module: TdxModuleIdentity) -> Tree:
    return {
        "module": module.id or "major version 0",
        "mrsignerseam": module.mr_signer.hex(),
        "seam_attributes": module.attributes.hex(),
        "seam_attributes_mask": module.attributes_mask.hex(),
        "module_levels": _svn_levels(module.levels),
    }


def _enclave_identity(body: bytes) -> Tree:
    found = EnclaveIdentity.parse(body)
    return {
        "id": found.id,
        "version": found.version,
        "issue_date": moment(found.issue_date),
        "next_update": moment(found.next_update),
        "tcb_evaluation_data_number": found.evaluation_data_number,
        "mrsigner": found.mr_signer.hex(),
        "product_id": found.isv_prod_id,
        "misc_select": found.misc_select.hex(),
        "misc_select_mask": found.misc_select_mask.hex(),
        "attributes": found.attributes.hex(),
        "attributes_mask": found.attributes_mask.hex(),
        "tcb_levels": _svn_levels(found.levels),
    }


def _svn_levels(levels: Iterable[IsvSvnLevel]) -> list[Tree]:
    return [
        {
            "status": level.status,
            "tcb_date": moment(level.date),
            "svn": level.isv_svn,
            "advisory_ids": list(level.advisory_ids),
        }
        for level in levels
    ]


def _evaluation_numbers(body: bytes) -> Tree:
    found = TcbEvaluationNumbers.parse(body)
    return {
        "id": found.id,
        "version": found.version,
        "issue_date": moment(found.issue_date),
        "next_update": moment(found.next_update),
        "tcb_evaluation_numbers": [
            {
                "tcb_evaluation_data_number": number.tcb_evaluation_data_number,
                "tcb_recovery_event_date": moment(number.tcb_recovery_event_date),
                "tcb_date": moment(number.tcb_date),
            }
            for number in found.tcb_eval_numbers
        ],
    }


#: Members that only this document has -> kind, its envelope's member, its reader.
_DOCUMENTS: tuple[tuple[frozenset[str], str, str, Callable[[bytes], Tree]], ...] = (
    (frozenset({"fmspc", "tcbLevels"}), "tcb-info", TCB_INFO, _tcb_info),
    (frozenset({"isvprodid", "mrsigner"}), "enclave-identity", ENCLAVE_IDENTITY, _enclave_identity),
    (
        frozenset({"tcbEvalNumbers"}),
        "tcb-evaluation-numbers",
        EVALUATION_NUMBERS,
        _evaluation_numbers,
    ),
)


def _collateral(collateral: Collateral) -> Tree:
    """Each piece in short; a piece that cannot be read says so in its place."""
    chains = {
        "tcb_info_issuer_chain": collateral.tcb_info_issuer_chain,
        "qe_identity_issuer_chain": collateral.qe_identity_issuer_chain,
        "pck_crl_issuer_chain": collateral.pck_crl_issuer_chain,
        "pck_certificate_chain": collateral.pck_certificate_chain,
    }
    return {
        "tcb_info": _attempt(lambda: _short(_tcb_info(_body(collateral.tcb_info, TCB_INFO)))),
        "qe_identity": _attempt(
            lambda: _short(_enclave_identity(_body(collateral.qe_identity, ENCLAVE_IDENTITY)))
        ),
        "root_ca_crl": _attempt(lambda: _short(_crl(Crl.parse(collateral.root_ca_crl)))),
        "pck_crl": _attempt(lambda: _short(_crl(Crl.parse(collateral.pck_crl)))),
        **{name: _subjects(chain) for name, chain in chains.items() if chain},
    }


def _body(response: bytes, member: str) -> bytes:
    return SignedJson.parse(response, member).body


def _short(tree: Tree) -> Tree:
    """The same without its lists, which have a command of their own: inspecting the piece."""
    return {name: member for name, member in tree.items() if not isinstance(member, list)}


def _subjects(chain: bytes) -> object:
    try:
        return [found.common_name for found in Certificate.parse_chain(chain)]
    except FormatError as error:
        return [f"unreadable: {error.what}"]


def _sigstruct(found: Sigstruct) -> Tree:
    built = found.build_date
    return {
        "kind": "sigstruct",
        "mrenclave": found.mr_enclave.hex(),
        "mrsigner": found.mr_signer.hex(),
        "product_id": found.isv_prod_id,
        "svn": found.isv_svn,
        "debug": found.debug,
        "debug_allowed": found.debug_allowed,
        "date": f"{found.date_bcd:08x}" if built is None else built.isoformat(),
        "vendor": "Intel" if found.vendor == INTEL else f"{found.vendor:08x}",
        "attributes": found.attributes.hex(),
        "attributes_mask": found.attributes_mask.hex(),
        "attribute_flags": flag_names(
            int.from_bytes(found.attributes[:8], "little"), ATTRIBUTE_FLAGS
        ),
        "misc_select": found.misc_select.to_bytes(4, "little").hex(),
        "misc_select_mask": found.misc_mask.to_bytes(4, "little").hex(),
        "isv_family_id": found.isv_family_id.hex(),
        "isv_ext_prod_id": found.isv_ext_prod_id.hex(),
        "signature": NOT_CHECKED,
    }


def moment(when: datetime) -> str:
    """A time as Intel writes it: UTC, whole seconds."""
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")


def serial(number: int) -> str:
    """A serial number in hex, whole bytes."""
    digits = f"{number:x}"
    return digits.zfill(len(digits) + len(digits) % 2)


def _usages(bits: Iterable[int]) -> list[str]:
    return [KEY_USAGES[bit] if bit < len(KEY_USAGES) else f"bit_{bit}" for bit in sorted(bits)]


def _hex(value: bytes | None) -> str | None:
    return None if value is None else value.hex()


def _attempt(read: Callable[[], Tree]) -> Tree:
    try:
        return read()
    except FormatError as error:
        return {"problem": str(error)}
