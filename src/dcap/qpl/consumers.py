"""Who loads `libdcap_quoteprov.so`, by which rule, and what it asks of the one that it gets.

Tables alone. Rules differ in where a consumer looks, and in what it does when that fails. An explicit
path that a program sets (`sgx_ql_set_path`, `sgx_qv_set_path`) is its own affair, and not here.

Source: `quote-provider.md` §3.4, §5.1, §5.2; Intel's, Open Enclave's and Conclave's own loading code.
"""

from typing import Final, Literal

import msgspec

VERSIONED: Final = "libdcap_quoteprov.so.1"
BARE: Final = "libdcap_quoteprov.so"

MULTI_ARCH: Final = "/usr/lib/x86_64-linux-gnu"


class Consumer(msgspec.Struct, frozen=True, kw_only=True):
    """One way in which the plugin is loaded.

    `paths` are opened as they stand: the first that is there is taken, and no other if it fails.
    `names` are asked of the system's loader, each after the one before could not be loaded.
    """

    id: str
    name: str
    #: The name within a sentence.
    short: str
    rule: str
    paths: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    #: It brings a plugin of its own, which is taken only where none of `paths` is there.
    bundles: bool = False
    #: It loads with RTLD_NOW: a symbol that no library has is a failure at once, not when it is called.
    binds_at_once: bool = False
    #: Without one of these the plugin is refused.
    needs: tuple[str, ...] = ()
    #: Symbol -> what does not work without it.
    wants: dict[str, str] = {}
    #: What a person sees where no plugin can be had.
    failure: str
    #: Files of a machine that has this consumer. None: it leaves none, and is always reckoned with.
    traces: tuple[str, ...] | None = None
    aliases: tuple[str, ...] = ()

    @property
    def looks_by(self) -> Literal["paths", "names"]:
        """Which of the two rules it is."""
        return "paths" if self.paths else "names"


_QUOTE_CONFIG: Final = ("sgx_ql_get_quote_config", "sgx_ql_free_quote_config")
_COLLATERAL: Final = (
    "sgx_ql_get_quote_verification_collateral",
    "sgx_ql_free_quote_verification_collateral",
)
_TDX: Final = {
    "tdx_ql_get_quote_verification_collateral": "no collateral for TDX quotes",
    "tdx_ql_free_quote_verification_collateral": "no collateral for TDX quotes",
}
_DEPENDS: Final = "0xE00E (SGX_QL_PLATFORM_LIB_UNAVAILABLE)"

CONSUMERS: Final = (
    Consumer(
        id="conclave",
        name="Conclave",
        short="Conclave",
        rule="the first of four paths that is there, else its own bundle; no second try",
        paths=tuple(
            f"{folder}/{name}" for folder in (MULTI_ARCH, "/usr/lib") for name in (VERSIONED, BARE)
        ),
        bundles=True,
        binds_at_once=True,
        needs=_COLLATERAL,
        wants=dict.fromkeys(_QUOTE_CONFIG, "no PCK certificate: quotes hold the encrypted PPID"),
        failure='its start fails: "unable to load" or "unresolved"',
    ),
    Consumer(
        id="open-enclave",
        name="Open Enclave, EGo",
        short="Open Enclave",
        rule=f"{BARE} alone, by the system's loader",
        names=(BARE,),
        needs=_COLLATERAL,
        wants={
            "sgx_ql_get_quote_verification_collateral_with_params": "no endorsements by parameters",
            **_TDX,
        },
        failure="OE_QUOTE_PROVIDER_LOAD_ERROR",
        aliases=("ego", "oe"),
    ),
    Consumer(
        id="qe3",
        name="Intel's SGX quoting: in-process, aesmd",
        short="Intel's SGX quoting",
        rule=f"{VERSIONED}, then {BARE}, by the system's loader",
        names=(VERSIONED, BARE),
        needs=_QUOTE_CONFIG,
        wants={
            "sgx_ql_set_logging_callback": 'aesmd logs "Failed to set logging callback": harmless'
        },
        failure="quotes hold the encrypted PPID instead of a PCK certificate; verifiers say 0xE01C",
        aliases=("aesmd",),
    ),
    Consumer(
        id="qgsd",
        name="Intel's TDX quoting: qgsd",
        short="qgsd",
        rule=f"{VERSIONED} alone, by the system's loader",
        names=(VERSIONED,),
        needs=_QUOTE_CONFIG,
        wants={"sgx_ql_set_logging_callback": "no [QPL] lines in the log"},
        failure=f"TD quotes fail: {_DEPENDS}",
        traces=(
            "/etc/qgs.conf",
            "/opt/intel/tdx-qgs/qgs",
            f"{MULTI_ARCH}/libsgx_tdx_logic.so.1",
            "/usr/lib64/libsgx_tdx_logic.so.1",
        ),
        aliases=("tdx", "td"),
    ),
    Consumer(
        id="qvl",
        name="Intel's verifying (QVL), Gramine's RA-TLS",
        short="Intel's QVL",
        rule=f"{VERSIONED}, then {BARE}, by the system's loader",
        names=(VERSIONED, BARE),
        needs=(
            *_COLLATERAL,
            "sgx_ql_get_qve_identity",
            "sgx_ql_free_qve_identity",
            "sgx_ql_get_root_ca_crl",
            "sgx_ql_free_root_ca_crl",
        ),
        wants={**_TDX, "tee_get_default_platform_policy": "no default policy for appraisal"},
        failure=f"verifying fails: {_DEPENDS}",
        aliases=("gramine", "ra-tls"),
    ),
    Consumer(
        id="samples",
        name="Intel's samples",
        short="Intel's samples",
        rule=f"{MULTI_ARCH}/{VERSIONED} alone",
        paths=(f"{MULTI_ARCH}/{VERSIONED}",),
        needs=_QUOTE_CONFIG,
        failure="the sample ends at sgx_ql_set_path",
        traces=(),
    ),
)

#: Every word by which a consumer can be named.
BY_WORD: Final = {word: one for one in CONSUMERS for word in (one.id, *one.aliases)}

#: What only one kind of plugin exports, in the order in which it is asked: ours exports all of them.
FINGERPRINTS: Final[tuple[tuple[str, Literal["dcap", "intel", "azure"]], ...]] = (
    ("dcap_quoteprov_version", "dcap"),
    ("sgx_qpl_global_init", "intel"),
    ("sgx_ql_set_logging_function", "azure"),
)
