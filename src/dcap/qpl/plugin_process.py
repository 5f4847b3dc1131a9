"""The process in which one plugin lives: it may abort, hang, crash or exit here, and only here.

    python -I -m dcap.qpl.plugin_process PATH LEVEL PARENT

Outputs are copied, then freed by the plugin's own function. Not here: the pipes (`isolated_inside`),
what the answers are worth (`plugin`), limits of time (`plugin_child`).

Source: `quote-provider.md` §0, §3.
"""

import ctypes
import os
import sys
from collections.abc import Callable
from ctypes import byref, c_char_p, c_uint16, c_uint32, c_void_p, cast, string_at
from typing import Any, Final, NoReturn

import msgspec

from dcap.qpl import abi
from dcap.qpl.isolated_inside import detach, open_library, receive, send
from dcap.qpl.plugin_messages import (
    MAX_LINE,
    MAX_LINES,
    MAX_PIECE,
    Answer,
    Call,
    Fault,
    Line,
    Loaded,
)

_LARGEST_URLS: Final = 64


class _FaultyError(Exception):
    """An output that is none."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault)
        self.fault = fault


class Library:
    """A plugin that was loaded, its functions, and what it has logged since it was last asked."""

    def __init__(self, path: str, level: abi.Level) -> None:
        self._library = open_library(path)
        self._lines: list[Line] = []
        self._bound = {
            export.name: function
            for export in abi.EXPORTS
            if (function := abi.bind(self._library, export.name)) is not None
        }
        exports = set(self._bound)
        if hasattr(self._library, "dcap_quoteprov_version"):
            exports.add("dcap_quoteprov_version")
        self._logger = abi.LOGGER(self._log)  # kept: the plugin keeps only its address
        logger = next((name for name in abi.LEVELS if name in self._bound), "")
        if logger == "sgx_ql_set_logging_callback":
            numbers = abi.LEVELS[logger]
            self._bound[logger](self._logger, numbers["error" if level == "error" else "info"])
        elif logger:  # Azure's: it then no longer looks at its own variable, nor prints
            self._bound[logger](self._logger)
        init = self._bound.get("sgx_qpl_global_init")
        self.loaded = Loaded(
            kind=abi.kind_of(exports),
            exports=tuple(sorted(exports)),
            logger=logger,
            init=None if init is None else int(init()),
            lines=self.lines(),
        )

    def lines(self) -> tuple[Line, ...]:
        """What was logged; it is told once."""
        lines, self._lines = self._lines, []
        return tuple(lines)

    def call(self, call: Call) -> Answer:
        """Make one call."""
        if call.name not in self._bound:
            return Answer(missing=True)
        try:
            answer = _CALLS[call.name](self._bound, call)
        except _FaultyError as faulty:
            answer = Answer(fault=faulty.fault)
        return msgspec.structs.replace(answer, lines=self.lines())

    def clean_up(self) -> None:
        """Before the end."""
        cleanup = self._bound.get("sgx_qpl_global_cleanup")
        if cleanup is not None:
            cleanup()

    def _log(self, level: int, text: bytes | None) -> None:
        if len(self._lines) < MAX_LINES:
            self._lines.append(Line(level, (text or b"")[:MAX_LINE]))


# ── outputs ─────────────────────────────────────────────────────────────────────────────────────


def _copied(member: str, pointer: int | None, size: int) -> bytes:
    if not pointer or not size:
        raise _FaultyError(Fault("null", member))
    if size > MAX_PIECE:
        raise _FaultyError(Fault("large", member, size))
    return string_at(pointer, size)


def _expect(pointer: c_void_p, member: str) -> None:
    if not pointer.value:
        raise _FaultyError(Fault("null", member))


_Bound = dict[str, Any]


def _quote_config(bound: _Bound, call: Call) -> Answer:
    qe_id, cpu_svn = (
        ctypes.create_string_buffer(call.qe_id),
        ctypes.create_string_buffer(call.cpu_svn),
    )
    pce_svn = c_uint16(call.pce_svn)
    ppid = None if call.encrypted_ppid is None else ctypes.create_string_buffer(call.encrypted_ppid)
    identity = abi.PckCertId(
        p_qe3_id=ctypes.addressof(qe_id),
        qe3_id_size=len(call.qe_id),
        p_platform_cpu_svn=ctypes.addressof(cpu_svn),
        p_platform_pce_isv_svn=ctypes.addressof(pce_svn),
        p_encrypted_ppid=None if ppid is None else ctypes.addressof(ppid),
        encrypted_ppid_size=len(call.encrypted_ppid or b""),
        crypto_suite=abi.RSA_OAEP_3072,
        pce_id=call.pce_id,
    )
    out = c_void_p()
    code = bound[call.name](byref(identity), byref(out))
    if code:
        return Answer(code=code)
    _expect(out, "config")
    found = cast(out, ctypes.POINTER(abi.QuoteConfig)).contents
    try:
        if found.version != abi.CONFIG_VERSION:
            raise _FaultyError(Fault("version", "version", found.version))
        return Answer(
            outputs={
                "cert_data": _copied("cert_data", found.p_cert_data, found.cert_data_size),
                "cert_cpu_svn": bytes(found.cert_cpu_svn),
            },
            numbers={"cert_pce_isv_svn": found.cert_pce_isv_svn},
        )
    finally:
        _free(bound, "sgx_ql_free_quote_config", out)


def _collateral(bound: _Bound, call: Call) -> Answer:
    out = c_void_p()
    given: tuple[Any, ...] = (call.fmspc, len(call.fmspc), call.ca)
    if call.name.endswith("_with_params"):
        given += (call.parameter, len(call.parameter or b""))
    code = bound[call.name](*given, byref(out))
    if code:
        return Answer(code=code)
    _expect(out, "collateral")
    found = cast(out, ctypes.POINTER(abi.QveCollateral)).contents
    tee = call.name[:3]
    try:
        if found.version not in abi.COLLATERAL_VERSIONS:
            raise _FaultyError(Fault("version", "version", found.version))
        if found.tee_type != abi.TEE_TYPES[tee.upper()]:
            raise _FaultyError(Fault("tee", "tee_type", found.tee_type))
        pieces = {
            piece: _copied(piece, getattr(found, f"p_{piece}"), getattr(found, f"{piece}_size"))
            for piece in abi.PIECES
        }
        return Answer(outputs=pieces, numbers={"version": found.version})
    finally:
        _free(bound, f"{tee}_ql_free_quote_verification_collateral", out)


def _qve_identity(bound: _Bound, call: Call) -> Answer:
    identity, chain = c_void_p(), c_void_p()
    identity_size, chain_size = c_uint32(), c_uint32()
    code = bound[call.name](byref(identity), byref(identity_size), byref(chain), byref(chain_size))
    if code:
        return Answer(code=code)
    try:
        return Answer(
            outputs={
                "identity": _copied("identity", identity.value, identity_size.value),
                "issuer_chain": _copied("issuer_chain", chain.value, chain_size.value),
            }
        )
    finally:
        if identity.value and chain.value:
            _free(bound, "sgx_ql_free_qve_identity", identity, chain)


def _root_ca_crl(bound: _Bound, call: Call) -> Answer:
    crl, size = c_void_p(), c_uint16()
    code = bound[call.name](byref(crl), byref(size))
    if code:
        return Answer(code=code)
    try:
        return Answer(outputs={"crl": _copied("crl", crl.value, size.value)})
    finally:
        _free(bound, "sgx_ql_free_root_ca_crl", crl)


def _policy(bound: _Bound, call: Call) -> Answer:
    policy, size = c_void_p(), c_uint32()
    code = bound[call.name](call.fmspc, len(call.fmspc), byref(policy), byref(size))
    if code:
        return Answer(code=code)
    try:
        return Answer(outputs={"policy": _copied("policy", policy.value, size.value)})
    finally:
        _free(bound, "tee_free_platform_policy", policy)


def _revocation_info(bound: _Bound, call: Call) -> Answer:
    fmspc = ctypes.create_string_buffer(call.fmspc)
    urls = (c_char_p * len(call.urls))(*call.urls)
    asked = abi.RevocationParameters(
        version=1,
        fmspc_size=len(call.fmspc),
        fmspc=ctypes.addressof(fmspc),
        crl_url_count=len(call.urls),
        crl_urls=urls,
    )
    out = c_void_p()
    code = bound[call.name](byref(asked), byref(out))
    if code:
        return Answer(code=code)
    _expect(out, "revocation_info")
    found = cast(out, ctypes.POINTER(abi.RevocationInfo)).contents
    try:
        outputs = {
            "tcb_info": _copied("tcb_info", found.tcb_info, found.tcb_info_size),
            "tcb_issuer_chain": _copied(
                "tcb_issuer_chain", found.tcb_issuer_chain, found.tcb_issuer_chain_size
            ),
        }
        if found.crl_count > _LARGEST_URLS:
            raise _FaultyError(Fault("large", "crl_count", found.crl_count))
        if found.crl_count != len(call.urls):
            raise _FaultyError(Fault("null", "crls"))
        for number in range(found.crl_count):
            one = found.crls[number]
            outputs[f"crl_{number}"] = _copied(f"crls[{number}]", one.crl_data, one.crl_data_size)
            outputs[f"crl_issuer_chain_{number}"] = _copied(
                f"crls[{number}]", one.crl_issuer_chain, one.crl_issuer_chain_size
            )
        return Answer(outputs=outputs)
    finally:
        _free(bound, "sgx_ql_free_revocation_info", out)


def _qe_identity_info(bound: _Bound, call: Call) -> Answer:
    out = c_void_p()
    code = bound[call.name](byref(out))
    if code:
        return Answer(code=code)
    _expect(out, "qe_identity_info")
    found = cast(out, ctypes.POINTER(abi.QeIdentityInfo)).contents
    try:
        return Answer(
            outputs={
                "identity": _copied("qe_id_info", found.qe_id_info, found.qe_id_info_size),
                "issuer_chain": _copied(
                    "issuer_chain", found.issuer_chain, found.issuer_chain_size
                ),
            }
        )
    finally:
        _free(bound, "sgx_free_qe_identity_info", out)


def _free(bound: _Bound, name: str, *pointers: c_void_p) -> None:
    """By the plugin's own function, and by no other; never a NULL, which Azure's does not survive."""
    if name in bound and all(pointer.value for pointer in pointers):
        bound[name](*pointers)


_CALLS: Final[dict[str, Callable[[_Bound, Call], Answer]]] = {
    "sgx_ql_get_quote_config": _quote_config,
    "sgx_ql_get_quote_verification_collateral": _collateral,
    "sgx_ql_get_quote_verification_collateral_with_params": _collateral,
    "tdx_ql_get_quote_verification_collateral": _collateral,
    "tdx_ql_get_quote_verification_collateral_with_params": _collateral,
    "sgx_ql_get_qve_identity": _qve_identity,
    "sgx_ql_get_root_ca_crl": _root_ca_crl,
    "tee_get_default_platform_policy": _policy,
    "sgx_qpl_clear_cache": lambda bound, call: Answer(code=bound[call.name](call.mask)),
    "sgx_ql_get_revocation_info": _revocation_info,
    "sgx_get_qe_identity_info": _qe_identity_info,
}


# ── the process ─────────────────────────────────────────────────────────────────────────────────


def main() -> NoReturn:
    """Load the plugin, then answer until nobody asks."""
    path, level, parent = sys.argv[1:4]
    asked, answers = detach(int(parent))
    try:
        library = Library(path, "error" if level == "error" else "info")
    except OSError as error:
        send(answers, Loaded(error=str(error)))
        os._exit(1)
    send(answers, library.loaded)
    decode = msgspec.msgpack.Decoder(Call).decode
    while body := receive(asked):
        send(answers, library.call(decode(body)))
    library.clean_up()
    os._exit(0)  # without the library's own farewells, which may hang


if __name__ == "__main__":
    main()
