"""The messages of Intel's Quote Generation Service: a TD's report in, a quote out.

    octets = framed(write_message(QuoteRequest(report)))      # to the socket
    size = read_length(octets[:4])                            # of the message that follows
    answer = read_message(message)                            # a QuoteResponse, a Refusal …

A message is a header of 16 bytes, little-endian, and a body whose own sizes fill it exactly. On a stream
its length goes before it, 4 bytes BIG-endian: on vsock, on a Unix socket and in the buffer of the
GetQuote hypercall alike. A request may also be a bare TDREPORT of 1024 bytes, as the kernel's configfs
road sends it: the answer is then the bare quote, and its end the connection's. Minor versions are
compatible. Not here: collateral (types 2 and 3), which no attester needs; sockets (`attester.qgs`).

Source: Intel `qgs_msg_lib.h`, `qgs_server.cpp`; `quote-provider.md` §5.6.
"""

from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

import msgspec

from dcap.errors import FormatError
from dcap.formats import td_local_report
from dcap.formats.layout import U16, U32, Layout

LENGTH_SIZE: Final = 4
MAJOR: Final = 1
MINOR: Final = 1
#: Nothing genuine comes near it: a quote with its chain is 5 KB. Intel's client takes 16 KB at most.
MAX_SIZE: Final = 64 * 1024

QUOTE_REQUEST: Final = 0
QUOTE_RESPONSE: Final = 1
PLATFORM_INFO_REQUEST: Final = 4
PLATFORM_INFO_RESPONSE: Final = 5
#: Type -> what it is called in messages to people.
TYPES: Final = {
    QUOTE_REQUEST: "GET_QUOTE_REQ",
    QUOTE_RESPONSE: "GET_QUOTE_RESP",
    2: "GET_COLLATERAL_REQ",
    3: "GET_COLLATERAL_RESP",
    PLATFORM_INFO_REQUEST: "GET_PLATFORM_INFO_REQ",
    PLATFORM_INFO_RESPONSE: "GET_PLATFORM_INFO_RESP",
}
#: `error_code` of a response -> Intel's name, what it means. The daemon says the first, whatever failed.
ERRORS: Final = {
    0x12001: ("QGS_MSG_ERROR_UNEXPECTED", "the service could not make the quote"),
    0x12002: ("QGS_MSG_ERROR_OUT_OF_MEMORY", "the service has no memory left"),
    0x12003: (
        "QGS_MSG_ERROR_INVALID_PARAMETER",
        "the service found something in the request wrong",
    ),
    0x12004: ("QGS_MSG_ERROR_INVALID_VERSION", "the service speaks another version"),
    0x12005: ("QGS_MSG_ERROR_INVALID_TYPE", "the service knows no such message"),
    0x12006: ("QGS_MSG_ERROR_INVALID_SIZE", "the sizes in the request do not add up"),
    0x12007: ("QGS_MSG_ERROR_INVALID_CODE", "a number in the request is not what it must be"),
}


class _Header(msgspec.Struct, frozen=True, gc=False):
    major: U16
    minor: U16
    type: U32
    size: U32
    error_code: U32


class _TwoSizes(msgspec.Struct, frozen=True, gc=False):
    """Of quotes, both ways: the sizes of the two parts that follow."""

    first: U32
    second: U32


class _PlatformHead(msgspec.Struct, frozen=True, gc=False):
    td_qe_svn: U16
    pce_svn: U16
    platform_id_size: U32
    cpu_svn_size: U32


class QuoteRequest(msgspec.Struct, frozen=True):
    """A TDREPORT, and the ids of attestation keys that its sender takes (none: any)."""

    report: bytes
    ids: bytes = b""


class QuoteResponse(msgspec.Struct, frozen=True):
    """A quote, and the id of the key that signed it (may be empty)."""

    quote: bytes
    selected_id: bytes = b""


class PlatformInfoRequest(msgspec.Struct, frozen=True):
    """What machine is this?"""


class PlatformInfoResponse(msgspec.Struct, frozen=True):
    """The machine's TD quoting enclave and raw TCB. The id is the QE's: its text does not show it."""

    td_qe_svn: int
    pce_svn: int
    platform_id: bytes
    cpu_svn: bytes

    def __repr__(self) -> str:
        return f"<PlatformInfoResponse TD_QE {self.td_qe_svn}, PCE {self.pce_svn}>"


class Refusal(msgspec.Struct, frozen=True):
    """A response that is an error. `type` is the one that a good answer would have."""

    type: int
    error_code: int


Request: TypeAlias = QuoteRequest | PlatformInfoRequest
Response: TypeAlias = QuoteResponse | PlatformInfoResponse | Refusal
Message: TypeAlias = Request | Response
_HEADER = Layout(_Header, "header of a QGS message", code="qgs-message")
_TWO_SIZES = Layout(_TwoSizes, "QGS message's sizes", code="qgs-message")
_PLATFORM_HEAD = Layout(_PlatformHead, "QGS platform information", code="qgs-message")
HEADER_SIZE: Final = _HEADER.size
#: What an error's body is as long as: that of a good answer with nothing in it.
_EMPTY_BODY: Final = {
    QUOTE_RESPONSE: bytes(_TWO_SIZES.size),
    3: bytes(4 + 7 * 4),
    PLATFORM_INFO_RESPONSE: bytes(_PLATFORM_HEAD.size),
}


# On a stream


def framed(message: bytes) -> bytes:
    """A message as it goes over a stream."""
    return len(message).to_bytes(LENGTH_SIZE, "big") + message


def read_length(octets: bytes) -> int:
    """The length of the message that follows. Raises `FormatError`, where it cannot be one."""
    size = int.from_bytes(octets, "big")
    if not HEADER_SIZE <= size <= MAX_SIZE:
        turned = int.from_bytes(octets, "little")
        turns = HEADER_SIZE <= turned <= MAX_SIZE
        raise _wrong(
            f"its length would be {size}; {HEADER_SIZE} to {MAX_SIZE} bytes are possible"
            + (": it is written little-endian, it must be big-endian" if turns else ""),
            "length before the QGS message",
        )
    return size


def unframed(octets: bytes) -> bytes:
    """The message in a whole frame. Raises `FormatError`, where the length is not the message's."""
    size, message = read_length(octets[:LENGTH_SIZE]), octets[LENGTH_SIZE:]
    if size != len(message):
        raise _wrong(f"{size} bytes were announced, {len(message)} are there")
    return message


def is_framed(start: bytes) -> bool:
    """Whether what a client sends begins like a framed message: both lengths are there, and agree.

    `start` are its first 20 bytes. Else it is a bare TDREPORT, or nothing that can be answered.
    """
    size = int.from_bytes(start[:LENGTH_SIZE], "big")
    return size != 0 and size == _HEADER.read(start, LENGTH_SIZE).size


# Reading


def read_message(data: bytes) -> Message:
    """One whole message. Raises `FormatError` (`qgs-message`)."""
    header = _HEADER.read(data)
    if header.major != MAJOR:
        raise _wrong(f"it is of version {header.major}.{header.minor}; {MAJOR} is spoken here")
    if header.size != len(data):
        raise _wrong(f"it says it has {header.size} bytes, {len(data)} are there", 8)
    if header.error_code:
        if header.type not in _EMPTY_BODY:
            raise _wrong("a request has no error code", 12)
        return Refusal(header.type, header.error_code)
    read = _READERS.get(header.type)
    if read is None:
        named = TYPES.get(header.type, "unknown")
        raise _wrong(f"it is of type {header.type} ({named}), which is not spoken here", 4)
    return read(data[HEADER_SIZE:])


def read_request(data: bytes) -> Request:
    """One whole message that asks for something."""
    message = read_message(data)
    if not isinstance(message, QuoteRequest | PlatformInfoRequest):
        raise _wrong("it is an answer; a request was expected", 4)
    return message


def read_response(data: bytes) -> Response:
    """One whole message that answers."""
    message = read_message(data)
    if isinstance(message, QuoteRequest | PlatformInfoRequest):
        raise _wrong("it is a request; an answer was expected", 4)
    return message


def _quote_request(body: bytes) -> Message:
    report, ids = _two_parts(body)
    if not report:
        raise _wrong("there is no report in it", HEADER_SIZE)
    return QuoteRequest(report, ids)


def _quote_response(body: bytes) -> Message:
    selected_id, quote = _two_parts(body)
    if not quote:
        raise _wrong("there is no quote in it", HEADER_SIZE)
    return QuoteResponse(quote, selected_id)


def _platform_info_request(body: bytes) -> Message:
    if body:
        raise _wrong(f"{len(body)} bytes are left over", HEADER_SIZE)
    return PlatformInfoRequest()


def _platform_info(body: bytes) -> Message:
    head = _PLATFORM_HEAD.read(body)
    parts = _filling(body[_PLATFORM_HEAD.size :], head.platform_id_size, head.cpu_svn_size)
    return PlatformInfoResponse(head.td_qe_svn, head.pce_svn, *parts)


def _two_parts(body: bytes) -> tuple[bytes, bytes]:
    """Two sizes, and the parts that are as long; together they fill the body."""
    sizes = _TWO_SIZES.read(body)
    return _filling(body[_TWO_SIZES.size :], sizes.first, sizes.second)


def _filling(parts: bytes, first: int, second: int) -> tuple[bytes, bytes]:
    if first + second != len(parts):
        raise _wrong(f"its parts would have {first} and {second} bytes, {len(parts)} are there")
    return parts[:first], parts[first:]


#: Type -> the reader of what follows the header.
_READERS: Final[Mapping[int, Callable[[bytes], Message]]] = {
    QUOTE_REQUEST: _quote_request,
    QUOTE_RESPONSE: _quote_response,
    PLATFORM_INFO_REQUEST: _platform_info_request,
    PLATFORM_INFO_RESPONSE: _platform_info,
}


# Writing


def write_message(message: Message) -> bytes:
    """The bytes of a message, without the length that goes before it on a stream."""
    if isinstance(message, QuoteRequest):
        body = _two(message.report, message.ids)
        return _whole(QUOTE_REQUEST, body)
    if isinstance(message, QuoteResponse):
        body = _two(message.selected_id, message.quote)
        return _whole(QUOTE_RESPONSE, body)
    if isinstance(message, PlatformInfoRequest):
        return _whole(PLATFORM_INFO_REQUEST, b"")
    if isinstance(message, Refusal):
        return _whole(message.type, _EMPTY_BODY[message.type], message.error_code)
    sizes = len(message.platform_id), len(message.cpu_svn)
    head = _PlatformHead(message.td_qe_svn, message.pce_svn, *sizes)
    body = _PLATFORM_HEAD.write(head) + message.platform_id + message.cpu_svn
    return _whole(PLATFORM_INFO_RESPONSE, body)


def _two(first: bytes, second: bytes) -> bytes:
    return _TWO_SIZES.write(_TwoSizes(len(first), len(second))) + first + second


def _whole(kind: int, body: bytes, error_code: int = 0) -> bytes:
    return _HEADER.write(_Header(MAJOR, MINOR, kind, HEADER_SIZE + len(body), error_code)) + body


def is_raw_report(data: bytes) -> bool:
    """Whether these bytes are a bare TDREPORT, as the kernel's configfs road sends it."""
    return len(data) == td_local_report.SIZE and data[0] == td_local_report.TDX


def _wrong(what: str, place: str | int = 0) -> FormatError:
    where = place if isinstance(place, str) else f"QGS message, byte {place}"
    return FormatError(
        "qgs-message",
        what,
        where=where,
        mend="the other side may be no Quote Generation Service, or one of another release",
    )
