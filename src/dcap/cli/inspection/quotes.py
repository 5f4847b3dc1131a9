"""Quotes as values: header, claims, quoting enclave, certification, container."""

from dcap.appraisal.claims import claims_of
from dcap.cli.inspection.certificates import certificate_tree
from dcap.cli.inspection.documents import collateral_tree
from dcap.cli.inspection.tree import PlatformId, Tree, attempt
from dcap.formats import pem
from dcap.formats.certification import CertificationType, PpidCleartext
from dcap.formats.containers import Contained
from dcap.formats.quote import INTEL_QE_VENDOR_ID, Quote


def quote_tree(contained: Contained) -> Tree:
    """A quote and what it came in; unreadable parts say so in their place."""
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
        **attempt(lambda: _certification(quote)),
    }
    if contained.facts or contained.bindings:
        value["container"] = _container(contained, quote.body.report_data)
    if (carried := contained.collateral) is not None:
        value["collateral"] = attempt(lambda: collateral_tree(carried))
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
        certificates = [certificate_tree(block) for block in pem.blocks(data.data, "CERTIFICATE")]
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
