"""What is said at AESM's socket, Intel's daemon of quoting: requests, responses, errors by name.

    octets = write_request(GetQuoteSizeEx(att_key_id=key_id))
    size = message_size(octets[:HEAD_SIZE])              # what follows the head of four bytes
    response = read_response(octets)                     # one of the answers, or `Unsupported`

A message is a length (u32, little-endian) and a protobuf envelope with one sub-message set, whose number
says which call it is; a response has the number of its request. Every refusal is a `FormatError`
(`aesm-message`, `protobuf-malformed`, `att-key-id-size`).

Only the calls of ECDSA quoting are here. Not here: the socket (`attester.aesm`, `simulator.aesm`), what
mends an error (`attester.aesm`).

Source: `quote-provider.md` §5.4; Intel's `messages.proto`, `aesm_error.h` and `sgx_quote.h`.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final, NamedTuple, TypeAlias

import msgspec

from dcap.errors import FormatError
from dcap.formats.layout import U16, U32, Layout, Octets16, Octets48, Octets64, Width
from dcap.formats.protobuf import MOST_64, Field, Message, length_delimited, wire_fields

HEAD_SIZE: Final = 4
#: Nothing that AESM says is near it: a quote with its certificates is 5 KB.
MAX_MESSAGE: Final = 1024 * 1024

ErrorCode: TypeAlias = Annotated[int, Field(1)]
#: Microseconds.
Timeout: TypeAlias = Annotated[int | None, Field(9)]


# Requests


class InitQuoteEx(msgspec.Struct, frozen=True, kw_only=True):
    """Make an attestation key ready. First with `b_pub_key_id` false: how many bytes its id has."""

    att_key_id: Annotated[bytes | None, Field(1)] = None
    b_pub_key_id: Annotated[bool | None, Field(3)] = None
    buf_size: Annotated[int | None, Field(4, MOST_64)] = None
    timeout: Timeout = None


class GetQuoteSizeEx(msgspec.Struct, frozen=True, kw_only=True):
    """How large a quote will be."""

    att_key_id: Annotated[bytes | None, Field(1)] = None
    timeout: Timeout = None


class GetQuoteEx(msgspec.Struct, frozen=True, kw_only=True):
    """A quote over a report of 432 bytes, made for the target of `InitQuoteEx`."""

    report: Annotated[bytes, Field(1)]
    att_key_id: Annotated[bytes | None, Field(2)] = None
    qe_report_info: Annotated[bytes | None, Field(3)] = None
    buf_size: Annotated[int | None, Field(4)] = None
    timeout: Timeout = None


class SelectAttKeyId(msgspec.Struct, frozen=True, kw_only=True):
    """The daemon's own choice of a key id, of a list or, without one, of all that it has."""

    att_key_id_list: Annotated[bytes | None, Field(1)] = None
    timeout: Timeout = None


class GetSupportedAttKeyIdNum(msgspec.Struct, frozen=True, kw_only=True):
    """How many kinds of attestation key there are."""

    timeout: Timeout = None


class GetSupportedAttKeyIds(msgspec.Struct, frozen=True, kw_only=True):
    """Which they are; `buf_size` is their number times 256."""

    buf_size: Annotated[int, Field(1)]
    timeout: Timeout = None


# Responses


class InitQuoteExAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The TARGETINFO of the quoting enclave, 512 bytes; the id of its key, or the size of that."""

    error_code: ErrorCode
    target_info: Annotated[bytes | None, Field(2)] = None
    pub_key_id_size: Annotated[int | None, Field(3, MOST_64)] = None
    pub_key_id: Annotated[bytes | None, Field(4)] = None


class GetQuoteSizeExAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The size in bytes."""

    error_code: ErrorCode
    quote_size: Annotated[int | None, Field(2)] = None


class GetQuoteExAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The quote."""

    error_code: ErrorCode
    quote: Annotated[bytes | None, Field(2)] = None
    qe_report_info: Annotated[bytes | None, Field(3)] = None


class SelectAttKeyIdAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A key id, 256 bytes."""

    error_code: ErrorCode
    selected_att_key_id: Annotated[bytes | None, Field(2)] = None


class GetSupportedAttKeyIdNumAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Their number."""

    error_code: ErrorCode
    att_key_id_num: Annotated[int | None, Field(2)] = None


class GetSupportedAttKeyIdsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Key ids of 256 bytes, one after the other."""

    error_code: ErrorCode
    att_key_ids: Annotated[bytes | None, Field(2)] = None


class Unsupported(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a call that the daemon does not know, or for which no plugin is installed."""

    error_code: Annotated[int | None, Field(1)] = None


Request: TypeAlias = (
    InitQuoteEx
    | GetQuoteSizeEx
    | GetQuoteEx
    | SelectAttKeyId
    | GetSupportedAttKeyIdNum
    | GetSupportedAttKeyIds
)
Response: TypeAlias = (
    InitQuoteExAnswer
    | GetQuoteSizeExAnswer
    | GetQuoteExAnswer
    | SelectAttKeyIdAnswer
    | GetSupportedAttKeyIdNumAnswer
    | GetSupportedAttKeyIdsAnswer
    | Unsupported
)


class Call(NamedTuple):
    """A call: its number in both envelopes, Intel's name of it, its request and its response."""

    number: int
    name: str
    request: type[Request]
    response: type[Response]


CALLS: Final = (
    Call(15, "initQuoteEx", InitQuoteEx, InitQuoteExAnswer),
    Call(16, "getQuoteSizeEx", GetQuoteSizeEx, GetQuoteSizeExAnswer),
    Call(17, "getQuoteEx", GetQuoteEx, GetQuoteExAnswer),
    Call(19, "selectAttKeyID", SelectAttKeyId, SelectAttKeyIdAnswer),
    Call(21, "getSupportedAttKeyIDNum", GetSupportedAttKeyIdNum, GetSupportedAttKeyIdNumAnswer),
    Call(22, "getSupportedAttKeyIDs", GetSupportedAttKeyIds, GetSupportedAttKeyIdsAnswer),
)
UNSUPPORTED_NUMBER: Final = 20

_REQUESTS: Final[Mapping[int, Message[Any]]] = {
    call.number: Message(call.request, f"{call.name}Req") for call in CALLS
}
_RESPONSES: Final[Mapping[int, Message[Any]]] = {
    **{call.number: Message(call.response, f"{call.name}Res") for call in CALLS},
    UNSUPPORTED_NUMBER: Message(Unsupported, "unsupportedRes"),
}
_NUMBERS: Final[Mapping[type, int]] = {
    **{call.request: call.number for call in CALLS},
    **{call.response: call.number for call in CALLS},
    Unsupported: UNSUPPORTED_NUMBER,
}
_BY_NUMBER: Final = {call.number: call for call in CALLS}


def call_of(message: Request | Response) -> Call:
    """The call of a request, or of its response; `Unsupported` is of none: `KeyError`."""
    return _BY_NUMBER[_NUMBERS[type(message)]]


def message_size(head: bytes) -> int:
    """How many bytes follow a head. Raises `FormatError` (`aesm-message`) where none, or too many."""
    size = int.from_bytes(head, "little")
    if len(head) != HEAD_SIZE or not 0 < size <= MAX_MESSAGE:
        raise _wrong(f"it claims {size} bytes, of which {MAX_MESSAGE} are the most")
    return size


def write_request(request: Request) -> bytes:
    """The bytes of a request, its head included."""
    return _write(_REQUESTS, request)


def write_response(response: Response) -> bytes:
    """The bytes of a response, its head included."""
    return _write(_RESPONSES, response)


def read_request(data: bytes) -> Request | None:
    """The request, head included; `None` for a call that is not in the table."""
    number, content = _read(data)
    return _REQUESTS[number].read(content) if number in _REQUESTS else None


def read_response(data: bytes) -> Response:
    """The response, head included. One that is to no call of the table is refused."""
    number, content = _read(data)
    if number not in _RESPONSES:
        raise _wrong(f"it is an answer to a call {number}, which nobody made")
    response: Response = _RESPONSES[number].read(content)
    return response


def _write(messages: Mapping[int, Message[Any]], value: Request | Response) -> bytes:
    number = _NUMBERS[type(value)]
    envelope = length_delimited(number, messages[number].write(value))
    if len(envelope) > MAX_MESSAGE:
        raise _wrong(f"it has {len(envelope)} bytes, of which {MAX_MESSAGE} are the most")
    return len(envelope).to_bytes(HEAD_SIZE, "little") + envelope


def _read(data: bytes) -> tuple[int, bytes]:
    """The number and the content of the one call in an envelope."""
    size = message_size(data[:HEAD_SIZE])
    envelope = data[HEAD_SIZE:]
    if len(envelope) != size:
        raise _wrong(f"{size} bytes should follow the head, {len(envelope)} do")
    found = list(wire_fields(envelope, "AESM message"))
    if len(found) != 1:
        raise _wrong(f"its envelope holds {len(found)} calls, not one")
    number, content, _ = found[0]
    if not isinstance(content, bytes):
        raise _wrong(f"what it holds under {number} is no message")
    return number, content


def _wrong(what: str) -> FormatError:
    return FormatError(
        "aesm-message",
        what,
        where="AESM message",
        mend="whoever is at the other end of the socket is no AESM",
    )


# Attestation keys

EPID, ECDSA_P256, ECDSA_P384 = 0, 2, 3
_ID_CODE = "att-key-id-size"


class AttestationKeyId(msgspec.Struct, frozen=True, gc=False):
    """`sgx_att_key_id_ext_t`: the quoting enclave and the algorithm of a key. 256 bytes in all."""

    id: U16
    version: U16
    mr_signer_length: U16
    mr_signer: Octets48
    prod_id: U32
    extended_prod_id: Octets16
    config_id: Octets64
    family_id: Octets16
    algorithm_id: U32
    spid: Octets16
    att_key_type: U16
    reserved: Annotated[bytes, Width("80s")]

    @classmethod
    def ecdsa(cls, mr_signer: bytes, prod_id: int) -> "AttestationKeyId":
        """The id of the ECDSA P-256 key of a quoting enclave, named by MRSIGNER and product."""
        return cls(
            id=0,
            version=0,
            mr_signer_length=len(mr_signer),
            mr_signer=mr_signer.ljust(48, b"\0"),
            prod_id=prod_id,
            extended_prod_id=bytes(16),
            config_id=bytes(64),
            family_id=bytes(16),
            algorithm_id=ECDSA_P256,
            spid=bytes(16),
            att_key_type=0,
            reserved=bytes(80),
        )

    def to_bytes(self) -> bytes:
        """The 256 bytes of memory."""
        return KEY_ID.write(self)


KEY_ID = Layout(AttestationKeyId, "attestation key id", code=_ID_CODE)
KEY_ID_SIZE = KEY_ID.size


def read_key_ids(data: bytes) -> list[AttestationKeyId]:
    """Key ids, one after the other. Raises `FormatError` (`att-key-id-size`)."""
    if len(data) % KEY_ID_SIZE:
        raise FormatError(
            _ID_CODE,
            f"{len(data)} bytes are no whole number of key ids of {KEY_ID_SIZE}",
            where="attestation key ids",
            mend="whoever is at the other end of the socket is no AESM",
        )
    return [KEY_ID.read(data, at) for at in range(0, len(data), KEY_ID_SIZE)]


# Errors


class AesmError(NamedTuple):
    """Intel's name of an error, and what it means."""

    name: str
    meaning: str


_EPID = "an error of EPID attestation or of platform services, which AESM no longer has"

# fmt: off
#: `aesm_error_t`, but for 0, which is success.
ERRORS: Final[Mapping[int, AesmError]] = {
    1: AesmError("AESM_UNEXPECTED_ERROR", "the daemon failed, and says no more; its log does"),
    2: AesmError("AESM_NO_DEVICE_ERROR", "the daemon has no SGX device, or may not open it"),
    3: AesmError("AESM_PARAMETER_ERROR", "the request has a value that the daemon does not take"),
    4: AesmError("AESM_EPIDBLOB_ERROR", _EPID),
    5: AesmError("AESM_EPID_REVOKED_ERROR", _EPID),
    6: AesmError("AESM_GET_LICENSETOKEN_ERROR", "no launch token for the enclave was to be had"),
    7: AesmError("AESM_SESSION_INVALID", _EPID),
    8: AesmError("AESM_MAX_NUM_SESSION_REACHED", _EPID),
    9: AesmError("AESM_PSDA_UNAVAILABLE", _EPID),
    10: AesmError("AESM_EPH_SESSION_FAILED", _EPID),
    11: AesmError("AESM_LONG_TERM_PAIRING_FAILED", _EPID),
    12: AesmError("AESM_NETWORK_ERROR", "the daemon did not reach a service that it needs"),
    13: AesmError("AESM_NETWORK_BUSY_ERROR", "a service that the daemon needs is busy"),
    14: AesmError("AESM_PROXY_SETTING_ASSIST", "the daemon's proxy settings do not lead anywhere"),
    15: AesmError("AESM_FILE_ACCESS_ERROR", "the daemon cannot read or write one of its files"),
    16: AesmError("AESM_SGX_PROVISION_FAILED", _EPID),
    17: AesmError("AESM_SERVICE_STOPPED", "the daemon is being stopped"),
    18: AesmError("AESM_BUSY", "the daemon is busy with another request"),
    19: AesmError("AESM_BACKEND_SERVER_BUSY", "a service that the daemon needs is busy"),
    20: AesmError("AESM_UPDATE_AVAILABLE", "the platform's software has to be updated first"),
    21: AesmError("AESM_OUT_OF_MEMORY_ERROR", "the daemon is out of memory"),
    22: AesmError("AESM_MSG_ERROR", "the daemon cannot read the message"),
    23: AesmError("AESM_THREAD_ERROR", "the daemon cannot start a thread"),
    24: AesmError("AESM_SGX_DEVICE_NOT_AVAILABLE", "there is no SGX device"),
    25: AesmError("AESM_ENABLE_SGX_DEVICE_FAILED", "SGX could not be enabled"),
    26: AesmError("AESM_PLATFORM_INFO_BLOB_INVALID_SIG", _EPID),
    27: AesmError("AESM_SERVICE_NOT_AVAILABLE", "the daemon does not have this service"),
    28: AesmError("AESM_KDF_MISMATCH", _EPID),
    29: AesmError("AESM_OUT_OF_EPC", "no memory is left for enclaves"),
    30: AesmError("AESM_SERVICE_UNAVAILABLE", "the plugin that would answer did not start"),
    31: AesmError("AESM_UNRECOGNIZED_PLATFORM", "Intel does not know the platform"),
    32: AesmError("AESM_ECDSA_ID_MISMATCH", "the stored key is that of another quoting enclave"),
    33: AesmError("AESM_PATHNAME_BUFFER_OVERFLOW_ERROR", "a path in the daemon is too long"),
    34: AesmError("AESM_ERROR_STORED_KEY", "the stored attestation key cannot be used"),
    35: AesmError("AESM_PUB_KEY_ID_MISMATCH", "the stored key is not the one that was asked for"),
    36: AesmError("AESM_INVALID_PCE_SIG_SCHEME", "the PCE signs in a way that is not known"),
    37: AesmError("AESM_ATT_KEY_BLOB_ERROR", "the stored attestation key is damaged"),
    38: AesmError("AESM_UNSUPPORTED_ATT_KEY_ID", "the daemon cannot quote with a key of this kind"),
    39: AesmError("AESM_UNSUPPORTED_LOADING_POLICY", "enclaves cannot be loaded under this policy"),
    40: AesmError("AESM_INTERFACE_UNAVAILABLE", "the quoting interface could not be loaded"),
    41: AesmError("AESM_PLATFORM_LIB_UNAVAILABLE", "no quote provider library was found"),
    42: AesmError("AESM_ATT_KEY_NOT_INITIALIZED", "there is no attestation key yet, or no longer"),
    43: AesmError("AESM_ATT_KEY_CERT_DATA_INVALID", "the key's certification data are damaged"),
    44: AesmError("AESM_NO_PLATFORM_CERT_DATA", "no PCK certificate of this machine was to be had"),
    45: AesmError("AESM_ERROR_REPORT", "an enclave's report could not be verified"),
    46: AesmError("AESM_ENCLAVE_LOST", "the quoting enclave was lost"),
    47: AesmError("AESM_INVALID_REPORT", "the application enclave's report is not valid"),
    48: AesmError("AESM_ENCLAVE_LOAD_ERROR", "the quoting enclave could not be loaded"),
    49: AesmError("AESM_UNABLE_TO_GENERATE_QE_REPORT", "the quoting enclave could not report itself"),
    50: AesmError("AESM_KEY_CERTIFICATION_ERROR", "the attestation key could not be certified"),
}
# fmt: on


def error_of(number: int) -> AesmError:
    """The error of a number, also of one that this table does not have."""
    return ERRORS.get(number) or AesmError("unknown", "this number is in no list of Intel's")
