"""The claims of a quote under the names that policies, results and commands use.

One function names them, so that what `dcap inspect` shows is what a policy pins and a result
reports. Values are as the quote has them: hex in lower case and memory order, integers, booleans.
Not here: whether they are true (`verification`) or wanted (`policy`).
"""

from collections.abc import Mapping

from dcap.formats.quote import Quote
from dcap.formats.sgx_report import ATTRIBUTE_FLAGS, SgxReport
from dcap.formats.td_report import TD_ATTRIBUTES, TdReport10, TdReport15, TdReport15Ex


def claims_of(quote: Quote, *, platform_ids: bool = False) -> dict[str, object]:
    """Everything the quote says of its enclave or trust domain, in a stable order.

    `platform_ids` adds what tells one machine from another (`cpu_svn`, `init_cpu_svn`).
    """
    if isinstance(quote.body, SgxReport):
        return _enclave(quote.body, platform_ids=platform_ids)
    return _trust_domain(quote.body, platform_ids=platform_ids)


def flag_names(bits: int, names: Mapping[str, int]) -> list[str]:
    """The names of the bits that are set, lowest first; a bit without a name is "BIT_n"."""
    by_bit = {bit: name for name, bit in names.items()}
    return [by_bit.get(1 << n, f"BIT_{n}") for n in range(bits.bit_length()) if bits >> n & 1]


def _enclave(report: SgxReport, *, platform_ids: bool) -> dict[str, object]:
    claims: dict[str, object] = {
        "mrenclave": report.mr_enclave.hex(),
        "mrsigner": report.mr_signer.hex(),
        "product_id": report.isv_prod_id,
        "svn": report.isv_svn,
        "debug": report.debug,
        "report_data": report.report_data.hex(),
        "attributes": report.attributes.hex(),
        "attribute_flags": flag_names(report.flags, ATTRIBUTE_FLAGS),
        "misc_select": report.misc_select.to_bytes(4, "little").hex(),
        "config_id": report.config_id.hex(),
        "config_svn": report.config_svn,
        "isv_family_id": report.isv_family_id.hex(),
        "isv_ext_prod_id": report.isv_ext_prod_id.hex(),
    }
    if platform_ids:
        claims["cpu_svn"] = report.cpu_svn.hex()
    return claims


def _trust_domain(report: TdReport10, *, platform_ids: bool) -> dict[str, object]:
    claims: dict[str, object] = {
        "mrtd": report.mr_td.hex(),
        "rtmr0": report.rtmr0.hex(),
        "rtmr1": report.rtmr1.hex(),
        "rtmr2": report.rtmr2.hex(),
        "rtmr3": report.rtmr3.hex(),
        "report_data": report.report_data.hex(),
        "debug": report.debug,
        "td_attributes": report.td_attributes.hex(),
        "attribute_flags": flag_names(report.td_attribute_bits, TD_ATTRIBUTES),
        "xfam": report.xfam.hex(),
        "mrconfigid": report.mr_config_id.hex(),
        "mrowner": report.mr_owner.hex(),
        "mrownerconfig": report.mr_owner_config.hex(),
        "tee_tcb_svn": report.tee_tcb_svn.hex(),
        "mrseam": report.mr_seam.hex(),
        "mrsignerseam": report.mr_signer_seam.hex(),
        "seam_attributes": report.seam_attributes.hex(),
    }
    if isinstance(report, TdReport15):
        claims["tee_tcb_svn_2"] = report.tee_tcb_svn_2.hex()
        claims["mrservicetd"] = report.mr_service_td.hex()
    if isinstance(report, TdReport15Ex):
        claims |= _extended(report, platform_ids=platform_ids)
    return claims


def _extended(report: TdReport15Ex, *, platform_ids: bool) -> dict[str, object]:
    claims: dict[str, object] = {
        "vm_id": report.vm_id,
        "td_id": report.td_id.hex(),
        "dev_info": report.dev_info.hex(),
        "init_servtd_hash": report.init_servtd_hash.hex(),
        "init_servtd_attr": report.init_servtd_attr.hex(),
        "init_tee_tcb_svn": report.init_tee_tcb_svn.hex(),
        "init_tee_fmspc": report.init_tee_fmspc.hex(),
        "cur_servtd_hash": report.cur_servtd_hash.hex(),
        "cur_servtd_attr": report.cur_servtd_attr.hex(),
    }
    if platform_ids:
        claims["init_cpu_svn"] = report.init_cpu_svn.hex()
    return claims
