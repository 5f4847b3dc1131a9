"""Calls and fields of the messages between `libdcap_quoteprov.so.1` and its process: tables alone.

Not here: how they lie in memory (`provider_message`).

Spec: `docs/provider-messages.md`; the functions: `quote-provider.md` §3.1.
"""

from collections.abc import Mapping
from enum import IntEnum
from typing import Final, Literal, NamedTuple

MAX_REQUEST: Final = 256 * 1024
MAX_RESPONSE: Final = 1024 * 1024
MAX_FIELDS: Final = 64


class Call(IntEnum):
    """What is asked for; beside each, the function of the library."""

    INIT = 1  # sgx_qpl_global_init
    QUOTE_CONFIG = 2  # sgx_ql_get_quote_config
    COLLATERAL = 3  # sgx_ql_, tdx_ql_get_quote_verification_collateral[_with_params]
    QVE_IDENTITY = 4  # sgx_ql_get_qve_identity
    ROOT_CA_CRL = 5  # sgx_ql_get_root_ca_crl
    PLATFORM_POLICY = 6  # tee_get_default_platform_policy
    CLEAR_CACHE = 7  # sgx_qpl_clear_cache
    REVOCATION_INFO = 8  # sgx_ql_get_revocation_info
    QE_IDENTITY = 9  # sgx_get_qe_identity_info
    WRITE_PERSISTENT = 10  # sgx_ql_write_persistent_data
    READ_PERSISTENT = 11  # sgx_ql_read_persistent_data
    PING = 12


class Given(IntEnum):
    """The tags of a request's fields."""

    ENVIRONMENT = 1
    DEADLINE = 2
    LOG_LEVEL = 3
    CALLER = 4
    QE_ID = 16
    CPU_SVN = 17
    PCE_SVN = 18
    PCE_ID = 19
    ENCRYPTED_PPID = 20
    TEE = 21
    FMSPC = 22
    CA = 23
    CUSTOM_PARAMETER = 24
    MASK = 25
    LABEL = 26
    BLOB = 27
    CRL_URLS = 28


class Out(IntEnum):
    """The tags of a response's fields."""

    LOG = 1
    VERSION = 48
    TEE = 49
    PCK_CRL_ISSUER_CHAIN = 50
    ROOT_CA_CRL = 51
    PCK_CRL = 52
    TCB_INFO_ISSUER_CHAIN = 53
    TCB_INFO = 54
    QE_IDENTITY_ISSUER_CHAIN = 55
    QE_IDENTITY = 56
    QVE_IDENTITY = 57
    QVE_IDENTITY_ISSUER_CHAIN = 58
    CERT_CPU_SVN = 59
    CERT_PCE_SVN = 60
    CERT_DATA = 61
    POLICY = 62
    BLOB = 63
    SERVER = 64


class Rule(NamedTuple):
    """What a field holds: its kind, and the least and the most bytes of it.

    `name` is a text as an operating system has it, where bytes that are no UTF-8 come through.
    """

    kind: Literal["number", "bytes", "text", "name"]
    least: int
    most: int


_MOST = MAX_RESPONSE
#: Repeatable are these alone: a name with its value, a line for the caller's log.
REPEATABLE: Final = (Given.ENVIRONMENT, Out.LOG)
REQUEST_FIELDS: Final[Mapping[int, Rule]] = {
    Given.ENVIRONMENT: Rule("name", 2, 32768),
    Given.DEADLINE: Rule("number", 4, 4),
    Given.LOG_LEVEL: Rule("number", 1, 1),
    Given.CALLER: Rule("name", 0, 255),
    Given.QE_ID: Rule("bytes", 16, 16),
    Given.CPU_SVN: Rule("bytes", 16, 16),
    Given.PCE_SVN: Rule("number", 2, 2),
    Given.PCE_ID: Rule("number", 2, 2),
    Given.ENCRYPTED_PPID: Rule("bytes", 384, 384),
    Given.TEE: Rule("number", 4, 4),
    Given.FMSPC: Rule("bytes", 6, 6),
    Given.CA: Rule("text", 0, 64),
    Given.CUSTOM_PARAMETER: Rule("bytes", 0, 65535),
    Given.MASK: Rule("number", 4, 4),
    Given.LABEL: Rule("text", 1, 255),
    Given.BLOB: Rule("bytes", 1, 128 * 1024),
    Given.CRL_URLS: Rule("text", 0, 65535),
}
RESPONSE_FIELDS: Final[Mapping[int, Rule]] = {
    Out.LOG: Rule("bytes", 1, 4096),
    Out.VERSION: Rule("number", 4, 4),
    Out.TEE: Rule("number", 4, 4),
    Out.PCK_CRL_ISSUER_CHAIN: Rule("bytes", 1, _MOST),
    Out.ROOT_CA_CRL: Rule("bytes", 1, _MOST),
    Out.PCK_CRL: Rule("bytes", 1, _MOST),
    Out.TCB_INFO_ISSUER_CHAIN: Rule("bytes", 1, _MOST),
    Out.TCB_INFO: Rule("bytes", 1, _MOST),
    Out.QE_IDENTITY_ISSUER_CHAIN: Rule("bytes", 1, _MOST),
    Out.QE_IDENTITY: Rule("bytes", 1, _MOST),
    Out.QVE_IDENTITY: Rule("bytes", 1, _MOST),
    Out.QVE_IDENTITY_ISSUER_CHAIN: Rule("bytes", 1, _MOST),
    Out.CERT_CPU_SVN: Rule("bytes", 16, 16),
    Out.CERT_PCE_SVN: Rule("number", 2, 2),
    Out.CERT_DATA: Rule("bytes", 1, _MOST),
    Out.POLICY: Rule("bytes", 1, _MOST),
    Out.BLOB: Rule("bytes", 1, 128 * 1024),
    Out.SERVER: Rule("text", 1, 255),
}
#: Call -> what a request must give. Where something lacks, the answer is 0xE002: the message is right.
INPUTS: Final[Mapping[Call, tuple[Given, ...]]] = {
    Call.INIT: (),
    Call.QUOTE_CONFIG: (Given.QE_ID, Given.CPU_SVN, Given.PCE_SVN, Given.PCE_ID),
    Call.COLLATERAL: (Given.TEE, Given.FMSPC, Given.CA),
    Call.QVE_IDENTITY: (),
    Call.ROOT_CA_CRL: (),
    Call.PLATFORM_POLICY: (Given.FMSPC,),
    Call.CLEAR_CACHE: (Given.MASK,),
    Call.REVOCATION_INFO: (Given.CRL_URLS,),
    Call.QE_IDENTITY: (),
    Call.WRITE_PERSISTENT: (Given.LABEL, Given.BLOB),
    Call.READ_PERSISTENT: (Given.LABEL,),
    Call.PING: (),
}
_SET: Final = (
    Out.VERSION,
    Out.TEE,
    Out.PCK_CRL_ISSUER_CHAIN,
    Out.ROOT_CA_CRL,
    Out.PCK_CRL,
    Out.TCB_INFO_ISSUER_CHAIN,
    Out.TCB_INFO,
    Out.QE_IDENTITY_ISSUER_CHAIN,
    Out.QE_IDENTITY,
)
#: Call -> what a response of status 0 has, all of it, none empty.
OUTPUTS: Final[Mapping[Call, tuple[Out, ...]]] = {
    Call.INIT: (),
    Call.QUOTE_CONFIG: (Out.CERT_CPU_SVN, Out.CERT_PCE_SVN, Out.CERT_DATA),
    Call.COLLATERAL: _SET,
    Call.QVE_IDENTITY: (Out.QVE_IDENTITY, Out.QVE_IDENTITY_ISSUER_CHAIN),
    Call.ROOT_CA_CRL: (Out.ROOT_CA_CRL,),
    Call.PLATFORM_POLICY: (Out.POLICY,),
    Call.CLEAR_CACHE: (),
    Call.REVOCATION_INFO: (),  # by what was given: see the document
    Call.QE_IDENTITY: (Out.QE_IDENTITY, Out.QE_IDENTITY_ISSUER_CHAIN),
    Call.WRITE_PERSISTENT: (),
    Call.READ_PERSISTENT: (Out.BLOB,),
    Call.PING: (Out.SERVER,),
}
