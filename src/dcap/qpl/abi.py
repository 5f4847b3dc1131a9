"""The C interface of `libdcap_quoteprov.so`: structures, functions, and what is measured of both.

Tables alone: nothing is loaded here (`plugin_process` does that, in a process of its own). Layouts are
those of LP64; their sizes and offsets are asserted when this file is imported.

Source: `quote-provider.md` §3.1-3.3; Azure's older functions: the header of Open Enclave's host for
its "platform quote provider".
"""

import ctypes
from ctypes import (
    CFUNCTYPE,
    POINTER,
    Structure,
    c_char_p,
    c_int,
    c_uint8,
    c_uint16,
    c_uint32,
    c_void_p,
    sizeof,
)
from typing import Any, Final, Literal, NamedTuple, TypeAlias

Kind: TypeAlias = Literal["intel", "azure", "dcap", "unknown"]
Level: TypeAlias = Literal["error", "warning", "info"]

QE_ID_SIZE: Final = 16
CPU_SVN_SIZE: Final = 16
FMSPC_SIZE: Final = 6
ENCRYPTED_PPID_SIZE: Final = 384
RSA_OAEP_3072: Final = 1
CONFIG_VERSION: Final = 1
TEE_TYPES: Final = {"SGX": 0, "TDX": 0x81}
#: The `version` of collateral -> what its revocation lists are said to be. What they are is another
#: matter: beside Intel's PCS, Intel's plugin says 3.0 of DER.
COLLATERAL_VERSIONS: Final = {
    0x0000_0001: "1.0, lists in PEM",
    0x0000_0003: "3.0, lists in hex",
    0x0001_0003: "3.1, lists in DER",
    0x0000_0004: "4.0",
}
#: Members of the collateral structure, in its order.
PIECES: Final = (
    "pck_crl_issuer_chain",
    "root_ca_crl",
    "pck_crl",
    "tcb_info_issuer_chain",
    "tcb_info",
    "qe_identity_issuer_chain",
    "qe_identity",
)
#: Kinds of cached things, for `sgx_qpl_clear_cache`: certificates, collateral, prepared certificates.
CACHES: Final = {"certificates": 1, "collateral": 2, "multiple certificates": 4}
ALL_CACHES: Final = sum(CACHES.values())


class PckCertId(Structure):
    """`sgx_ql_pck_cert_id_t`: which machine."""

    _pack_ = 1
    _layout_ = "ms"
    _fields_ = (
        ("p_qe3_id", c_void_p),
        ("qe3_id_size", c_uint32),
        ("p_platform_cpu_svn", c_void_p),
        ("p_platform_pce_isv_svn", c_void_p),
        ("p_encrypted_ppid", c_void_p),
        ("encrypted_ppid_size", c_uint32),
        ("crypto_suite", c_uint8),
        ("pce_id", c_uint16),
    )


class QuoteConfig(Structure):
    """`sgx_ql_config_t`: a PCK certificate with its issuers, and the TCB it is for."""

    _pack_ = 1
    _layout_ = "ms"
    _fields_ = (
        ("version", c_uint32),
        ("cert_cpu_svn", c_uint8 * CPU_SVN_SIZE),
        ("cert_pce_isv_svn", c_uint16),
        ("cert_data_size", c_uint32),
        ("p_cert_data", c_void_p),
    )


class QveCollateral(Structure):
    """`sgx_ql_qve_collateral_t`: a set. Minor and major version are the halves of `version`."""

    _fields_ = (
        ("version", c_uint32),
        ("tee_type", c_uint32),
        *(
            member
            for piece in PIECES
            for member in ((f"p_{piece}", c_void_p), (f"{piece}_size", c_uint32))
        ),
    )


class RevocationParameters(Structure):
    """`sgx_ql_get_revocation_info_params_t`, of Azure's older interface."""

    _fields_ = (
        ("version", c_uint32),
        ("fmspc_size", c_uint32),
        ("fmspc", c_void_p),
        ("crl_url_count", c_uint32),
        ("crl_urls", POINTER(c_char_p)),
    )


class CrlData(Structure):
    """One list and its issuer's chain. No size counts the NUL behind it."""

    _fields_ = (
        ("crl_data_size", c_uint32),
        ("crl_data", c_void_p),
        ("crl_issuer_chain_size", c_uint32),
        ("crl_issuer_chain", c_void_p),
    )


class RevocationInfo(Structure):
    """`sgx_ql_revocation_info_t`: a TCB info, and one list for each URL that was asked for."""

    _fields_ = (
        ("version", c_uint32),
        ("tcb_info_size", c_uint32),
        ("tcb_info", c_void_p),
        ("tcb_issuer_chain_size", c_uint32),
        ("tcb_issuer_chain", c_void_p),
        ("crl_count", c_uint32),
        ("crls", POINTER(CrlData)),
    )


class QeIdentityInfo(Structure):
    """`sgx_qe_identity_info_t`: the QE's identity."""

    _fields_ = (
        ("qe_id_info_size", c_uint32),
        ("qe_id_info", c_void_p),
        ("issuer_chain_size", c_uint32),
        ("issuer_chain", c_void_p),
    )


#: Structure -> its size, and the offsets by which a wrong layout shows.
LAYOUTS: Final[tuple[tuple[type[Structure], int, dict[str, int]], ...]] = (
    (PckCertId, 43, {"qe3_id_size": 8, "p_encrypted_ppid": 28, "crypto_suite": 40, "pce_id": 41}),
    (QuoteConfig, 34, {"cert_cpu_svn": 4, "cert_pce_isv_svn": 20, "p_cert_data": 26}),
    (QveCollateral, 120, {"tee_type": 4, "p_root_ca_crl": 24, "qe_identity_size": 112}),
    (RevocationParameters, 32, {"fmspc": 8, "crl_urls": 24}),
    (CrlData, 32, {"crl_data": 8, "crl_issuer_chain": 24}),
    (RevocationInfo, 48, {"tcb_info": 8, "tcb_issuer_chain": 24, "crls": 40}),
    (QeIdentityInfo, 32, {"qe_id_info": 8, "issuer_chain": 24}),
)
for _structure, _size, _offsets in LAYOUTS:
    if sizeof(_structure) != _size or any(
        getattr(_structure, name).offset != offset for name, offset in _offsets.items()
    ):  # another ABI than LP64: nothing that a plugin gives could be read
        raise ImportError(f"{_structure.__name__} is not laid out as on 64-bit Linux")

#: What a plugin calls to log: its level, its text.
LOGGER: Final = CFUNCTYPE(None, c_int, c_char_p)
#: The levels' numbers, which differ.
LEVELS: Final[dict[str, dict[Level, int]]] = {
    "sgx_ql_set_logging_callback": {"error": 0, "info": 1},
    "sgx_ql_set_logging_function": {"error": 0, "warning": 1, "info": 2},
}

Of: TypeAlias = Literal["both", "intel", "azure", "none"]


class Export(NamedTuple):
    """One function: what it takes and gives, and whose plugin exports it. Ours exports them all."""

    name: str
    result: Any
    arguments: tuple[Any, ...]
    by: Of


_RC: Final = c_uint32
_OUT: Final = POINTER(c_void_p)
_SIZE: Final = POINTER(c_uint32)
_FMSPC: Final = (c_char_p, c_uint16)
_COLLATERAL: Final = (*_FMSPC, c_char_p, _OUT)
_WITH_PARAMETERS: Final = (*_FMSPC, c_char_p, c_void_p, c_uint16, _OUT)

EXPORTS: Final = (
    Export("sgx_ql_get_quote_config", _RC, (POINTER(PckCertId), _OUT), "both"),
    Export("sgx_ql_free_quote_config", _RC, (c_void_p,), "both"),
    Export("sgx_ql_get_quote_verification_collateral", _RC, _COLLATERAL, "both"),
    Export("sgx_ql_get_quote_verification_collateral_with_params", _RC, _WITH_PARAMETERS, "both"),
    Export("sgx_ql_free_quote_verification_collateral", _RC, (c_void_p,), "both"),
    Export("tdx_ql_get_quote_verification_collateral", _RC, _COLLATERAL, "both"),
    Export("tdx_ql_get_quote_verification_collateral_with_params", _RC, _WITH_PARAMETERS, "intel"),
    Export("tdx_ql_free_quote_verification_collateral", _RC, (c_void_p,), "both"),
    Export("sgx_ql_get_qve_identity", _RC, (_OUT, _SIZE, _OUT, _SIZE), "both"),
    Export("sgx_ql_free_qve_identity", _RC, (c_void_p, c_void_p), "both"),
    Export("sgx_ql_get_root_ca_crl", _RC, (_OUT, POINTER(c_uint16)), "both"),
    Export("sgx_ql_free_root_ca_crl", _RC, (c_void_p,), "both"),
    Export("sgx_ql_set_logging_callback", _RC, (LOGGER, c_int), "intel"),
    Export("sgx_ql_set_logging_function", _RC, (LOGGER,), "azure"),
    Export("sgx_qpl_clear_cache", _RC, (c_uint32,), "intel"),
    Export("sgx_qpl_global_init", _RC, (), "intel"),
    Export("sgx_qpl_global_cleanup", _RC, (), "intel"),
    Export("tee_get_default_platform_policy", _RC, (*_FMSPC, _OUT, _SIZE), "intel"),
    Export("tee_free_platform_policy", _RC, (c_void_p,), "intel"),
    Export("sgx_ql_get_revocation_info", _RC, (POINTER(RevocationParameters), _OUT), "azure"),
    Export("sgx_ql_free_revocation_info", None, (c_void_p,), "azure"),
    Export("sgx_get_qe_identity_info", _RC, (_OUT,), "azure"),
    Export("sgx_free_qe_identity_info", None, (c_void_p,), "azure"),
    Export("sgx_ql_write_persistent_data", _RC, (c_char_p, c_uint32, c_char_p), "none"),
    Export("sgx_ql_read_persistent_data", _RC, (c_void_p, _SIZE, c_char_p), "none"),
)
BY_NAME: Final = {export.name: export for export in EXPORTS}

#: The `sgx_plat_error_t` of Azure's older functions.
PLATFORM_ERRORS: Final = {
    0: "no error",
    1: "out of memory",
    2: "invalid parameter",
    3: "unexpected answer of the server",
    4: "no data found",
    5: "overflow",
}


def bind(library: ctypes.CDLL, name: str) -> "ctypes._NamedFuncPointer | None":
    """The function of a library that was loaded, with its types; none where it is not exported."""
    try:
        function: ctypes._NamedFuncPointer = library[name]
    except AttributeError:
        return None
    function.restype, function.argtypes = BY_NAME[name].result, BY_NAME[name].arguments
    return function


def kind_of(exports: "frozenset[str] | set[str]") -> Kind:
    """Whose plugin it is, told by what only that one exports."""
    if "dcap_quoteprov_version" in exports:
        return "dcap"
    if "sgx_qpl_global_init" in exports:
        return "intel"
    return "azure" if "sgx_ql_set_logging_function" in exports else "unknown"
