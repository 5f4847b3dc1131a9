"""The C interface of quote provider libraries: what gcc says of the same declarations."""

import ctypes
import subprocess
from pathlib import Path

import pytest

from dcap.qpl import abi
from dcap.qpl.consumers import CONSUMERS
from qpl.calling_plugins import built
from qpl.libraries import gcc
from worlds import ROOT

HEADER = ROOT / "src" / "dcap" / "provider" / "native" / "quote_provider.h"
#: Ours -> the name in C.
NAMES = {
    abi.PckCertId: "sgx_ql_pck_cert_id_t",
    abi.QuoteConfig: "sgx_ql_config_t",
    abi.QveCollateral: "sgx_ql_qve_collateral_t",
    abi.RevocationParameters: "sgx_ql_get_revocation_info_params_t",
    abi.CrlData: "sgx_ql_crl_data_t",
    abi.RevocationInfo: "sgx_ql_revocation_info_t",
    abi.QeIdentityInfo: "sgx_qe_identity_info_t",
}
#: Members that C calls otherwise.
OTHERWISE = {
    **{f"p_{piece}": piece for piece in abi.PIECES},
    "p_qe3_id": "p_qe3_id",
}


def _members(structure: type[ctypes.Structure]) -> list[str]:
    return [str(field[0]) for field in structure._fields_]


def test_the_compiler_lays_them_out_alike(tmp_path: Path) -> None:
    """Each structure has the size, and each member the place and size, that a C compiler gives it."""
    claims = []
    for structure, name in NAMES.items():
        claims.append(f"_Static_assert(sizeof({name}) == {ctypes.sizeof(structure)}, {name!r});")
        for member in _members(structure):
            field = getattr(structure, member)
            spelled = OTHERWISE.get(member, member)
            claims.append(
                f"_Static_assert(offsetof({name}, {spelled}) == {field.offset}, {member!r});"
            )
            size = f"sizeof((({name} *)0)->{spelled})"
            claims.append(f"_Static_assert({size} == {field.size}, {member!r});")
    source = tmp_path / "layout.c"
    text = "\n".join([f'#include "{HEADER}"', *claims]).replace("'", '"')
    source.write_text(text)
    subprocess.run([gcc(), "-fsyntax-only", source], check=True)
    source.write_text(text.replace("== 43", "== 44"))
    wrong = subprocess.run([gcc(), "-fsyntax-only", source], check=False, capture_output=True)
    assert wrong.returncode != 0


def test_known_sizes() -> None:
    """The three structures that are measured in the field have the measured sizes."""
    sizes = [ctypes.sizeof(each) for each in (abi.PckCertId, abi.QuoteConfig, abi.QveCollateral)]
    assert sizes == [43, 34, 120]


def test_every_function_that_a_consumer_asks_for_is_known() -> None:
    """What programs need or want of a plugin is in the table, and what only Azure's has is said so."""
    wanted = {name for one in CONSUMERS for name in (*one.needs, *one.wants)}
    assert wanted <= set(abi.BY_NAME)
    azure = {export.name for export in abi.EXPORTS if export.by == "azure"}
    assert azure == {
        "sgx_ql_set_logging_function",
        *("sgx_ql_get_revocation_info", "sgx_ql_free_revocation_info"),
        *("sgx_get_qe_identity_info", "sgx_free_qe_identity_info"),
    }


@pytest.mark.parametrize(
    ("exports", "kind"),
    [
        ({"dcap_quoteprov_version", "sgx_qpl_global_init"}, "dcap"),
        ({"sgx_qpl_global_init", "sgx_ql_set_logging_callback"}, "intel"),
        ({"sgx_ql_set_logging_function"}, "azure"),
        ({"sgx_ql_get_quote_config"}, "unknown"),
    ],
)
def test_whose_a_plugin_is(exports: set[str], kind: str) -> None:
    """It is told by what only that kind exports; ours exports everything."""
    assert abi.kind_of(exports) == kind


def test_a_function_that_is_not_there_is_none() -> None:
    """Binding gives the function with its types, or nothing; a missing one is not looked for twice."""
    library = ctypes.CDLL(str(built("-DWITHOUT_TDX")))
    found = abi.bind(library, "sgx_ql_get_root_ca_crl")
    assert found is not None
    assert found.argtypes == abi.BY_NAME["sgx_ql_get_root_ca_crl"].arguments
    assert abi.bind(library, "tdx_ql_get_quote_verification_collateral") is None
