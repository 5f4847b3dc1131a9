"""What the library is, seen from outside: its exports, its name, its needs, its layouts, its text."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from native_build import NATIVE, Built, environment, run

import dcap

#: `quote-provider.md` §3.1, Intel's and Azure's, without Azure's C++-typed internals; and the version.
EXPORTS = {
    "dcap_quoteprov_version",
    "sgx_free_qe_identity_info",
    "sgx_get_qe_identity_info",
    "sgx_ql_free_quote_config",
    "sgx_ql_free_quote_verification_collateral",
    "sgx_ql_free_qve_identity",
    "sgx_ql_free_revocation_info",
    "sgx_ql_free_root_ca_crl",
    "sgx_ql_get_quote_config",
    "sgx_ql_get_quote_verification_collateral",
    "sgx_ql_get_quote_verification_collateral_with_params",
    "sgx_ql_get_qve_identity",
    "sgx_ql_get_revocation_info",
    "sgx_ql_get_root_ca_crl",
    "sgx_ql_read_persistent_data",
    "sgx_ql_set_logging_callback",
    "sgx_ql_set_logging_function",
    "sgx_ql_write_persistent_data",
    "sgx_qpl_clear_cache",
    "sgx_qpl_global_cleanup",
    "sgx_qpl_global_init",
    "tdx_ql_free_quote_verification_collateral",
    "tdx_ql_get_quote_verification_collateral",
    "tdx_ql_get_quote_verification_collateral_with_params",
    "tee_free_platform_policy",
    "tee_get_default_platform_policy",
}


def _said(*command: str) -> str:
    if shutil.which(command[0]) is None:
        pytest.skip(f"no {command[0]} here")
    return subprocess.run(command, capture_output=True, check=True, text=True).stdout


def test_it_exports_the_functions_of_both_clients_and_nothing_else(built: Built) -> None:
    """The dynamic symbols that are defined are those of Intel, those of Azure, and the version."""
    lines = _said("nm", "-D", "--defined-only", str(built.library)).splitlines()
    assert {line.split()[-1] for line in lines} == EXPORTS


def test_it_needs_libc_alone_and_is_hardened(built: Built) -> None:
    """Its SONAME is the one that QE and QVL ask for; beside libc nothing is needed; no weak segment."""
    dynamic = _said("readelf", "-dW", str(built.library))
    assert re.findall(r"\(NEEDED\).*\[(.*)\]", dynamic) == ["libc.so.6"]
    assert re.findall(r"\(SONAME\).*\[(.*)\]", dynamic) == ["libdcap_quoteprov.so.1"]
    assert "BIND_NOW" in dynamic
    assert "PATH)" not in dynamic
    segments = _said("readelf", "-lW", str(built.library))
    assert "GNU_RELRO" in segments
    stack = next(line for line in segments.splitlines() if "GNU_STACK" in line)
    assert "RWE" not in stack
    assert built.library.stat().st_size < 64 * 1024


def test_the_structs_have_the_layout_of_the_reference(built: Built) -> None:
    """A consumer that has the structs from the reference sees 43, 34 and 120 bytes, and Azure's sizes.

    The library's own header asserts the same when it is compiled; the types here are written anew.
    """
    sizes = {}
    for line in run(
        built.program("calls"), built.library, "local", "layout", environ=environment()
    ):
        line.pop("call")
        sizes.update(line)
    assert sizes == {
        "pck_cert_id": 43,
        "quote_config": 34,
        "collateral": 120,
        "revocation_parameters": 32,
        "crl_data": 32,
        "revocation_info": 48,
        "qe_identity_info": 32,
        "pck_cert_id.pce_id": 41,
        "quote_config.p_cert_data": 26,
        "collateral.each[6].size": 112,
        "revocation_info.crls": 40,
        "qe_identity_info.issuer_chain": 24,
    }


def test_its_version_is_that_of_the_package() -> None:
    """The version that stands in the header is dcap's."""
    header = (NATIVE / "quote_provider.h").read_text()
    assert re.findall(r'#define DCAP_VERSION "(.*)"', header) == [dcap.__version__]


@pytest.mark.parametrize("file", sorted(NATIVE.glob("*.[ch]")), ids=lambda path: path.name)
def test_each_file_says_what_it_is_in_lines_of_bounded_length(file: Path) -> None:
    """Each source opens with a comment, has no line above 105 characters, and is compiled by `make`."""
    text = file.read_text()
    assert text.startswith("/* ")
    assert max(map(len, text.splitlines())) <= 105
    assert re.search(rf"\b{re.escape(file.name)}\b", (NATIVE / "Makefile").read_text())
