"""AESM's messages: byte for byte those of google's library, in both directions, and no others."""

import pytest

from dcap import FormatError
from dcap.formats.aesm import (
    CALLS,
    ERRORS,
    KEY_ID_SIZE,
    MAX_MESSAGE,
    AttestationKeyId,
    GetQuoteEx,
    GetQuoteExAnswer,
    GetQuoteSizeEx,
    GetQuoteSizeExAnswer,
    GetSupportedAttKeyIdNum,
    GetSupportedAttKeyIdNumAnswer,
    GetSupportedAttKeyIds,
    GetSupportedAttKeyIdsAnswer,
    InitQuoteEx,
    InitQuoteExAnswer,
    Request,
    Response,
    SelectAttKeyId,
    SelectAttKeyIdAnswer,
    Unsupported,
    call_of,
    error_of,
    message_size,
    read_key_ids,
    read_request,
    read_response,
    write_request,
    write_response,
)

KEY = b"\x01\x02"
#: Requests, and the envelopes that google's protobuf 7.36 wrote of Intel's messages.proto.
REQUESTS: list[tuple[Request, str]] = [
    (
        InitQuoteEx(att_key_id=KEY, b_pub_key_id=True, buf_size=2**40, timeout=60_000_000),
        "7a120a02010218012080808080802048808ece1c",
    ),
    (
        InitQuoteEx(att_key_id=KEY, b_pub_key_id=False, timeout=60_000_000),
        "7a0b0a020102180048808ece1c",
    ),
    (GetQuoteSizeEx(att_key_id=KEY, timeout=1), "8201060a0201024801"),
    (
        GetQuoteEx(report=b"\xff" * 3, att_key_id=b"", buf_size=4800, timeout=1),
        "8a010c0a03ffffff120020c0254801",
    ),
    (SelectAttKeyId(), "9a0100"),
    (GetSupportedAttKeyIdNum(timeout=2**32 - 1), "aa010648ffffffff0f"),
    (GetSupportedAttKeyIds(buf_size=256, timeout=127), "b20105088002487f"),
]
RESPONSES: list[tuple[Response, str]] = [
    (
        InitQuoteExAnswer(
            error_code=0, target_info=b"\xaa" * 200, pub_key_id_size=32, pub_key_id=b"\xbb"
        ),
        "7ad201080012c801" + "aa" * 200 + "18202201bb",
    ),
    (GetQuoteExAnswer(error_code=42), "8a0102082a"),
    (
        GetSupportedAttKeyIdNumAnswer(error_code=0, att_key_id_num=1),
        "aa010408001001",
    ),
    (GetQuoteSizeExAnswer(error_code=0, quote_size=4800), "820105080010c025"),
    (SelectAttKeyIdAnswer(error_code=0, selected_att_key_id=KEY), "9a01060800" + "12020102"),
    (GetSupportedAttKeyIdsAnswer(error_code=0, att_key_ids=KEY), "b201060800" + "12020102"),
    (Unsupported(error_code=1), "a201020801"),
]


def whole(envelope: str) -> bytes:
    """An envelope with its length before it."""
    octets = bytes.fromhex(envelope)
    return len(octets).to_bytes(4, "little") + octets


@pytest.mark.parametrize(("request_", "envelope"), REQUESTS)
def test_requests_are_those_of_the_reference(request_: Request, envelope: str) -> None:
    """A request is written as google's library writes it, and read back."""
    assert write_request(request_) == whole(envelope)
    assert read_request(whole(envelope)) == request_


@pytest.mark.parametrize(("response", "envelope"), RESPONSES)
def test_responses_are_those_of_the_reference(response: Response, envelope: str) -> None:
    """A response is written as google's library writes it, and read back."""
    assert write_response(response) == whole(envelope)
    assert read_response(whole(envelope)) == response


def test_every_call_has_a_request_and_a_response_here() -> None:
    """The lists above leave no call of the table out."""
    assert {call_of(one).number for one, _ in REQUESTS} == {call.number for call in CALLS}
    answered = {type(one) for one, _ in RESPONSES}
    assert answered == {call.response for call in CALLS} | {Unsupported}


def test_a_call_of_another_number_is_none_of_ours() -> None:
    """A request that the table lacks (initQuote of EPID) is told from one that is malformed."""
    assert read_request(whole("0a00")) is None


@pytest.mark.parametrize(
    ("octets", "said"),
    [
        (b"", "it claims 0 bytes"),
        (b"\1\0\0", "it claims 1 bytes"),
        (bytes(4), "it claims 0 bytes"),
        ((MAX_MESSAGE + 1).to_bytes(4, "little") + bytes(MAX_MESSAGE + 1), "are the most"),
        (b"\5\0\0\0\x8a\1\2\x08", "5 bytes should follow the head, 4 do"),
        (whole("8a0102082a") + b"\0", "5 bytes should follow the head, 6 do"),
        (whole("8a0102082a820105080010c0"), "claims 5 bytes"),
        (whole("8a0102082a8a0102082a"), "holds 2 calls"),
        (whole("780f"), "under 15 is no message"),
        (whole("0a020800"), "an answer to a call 1"),
        (whole("8a0100"), "it lacks error_code"),
        (whole("8a0103080c0a"), "cut off"),
    ],
)
def test_what_is_no_response_is_refused(octets: bytes, said: str) -> None:
    """Lengths that do not fit, two answers in one, and an answer without an error code are refused."""
    with pytest.raises(FormatError) as refused:
        read_response(octets)

    assert refused.value.code in ("aesm-message", "protobuf-malformed")
    assert said in refused.value.what


def test_the_longest_message_may_be_announced() -> None:
    """1 MiB is the most; the length is judged before anything is read."""
    assert message_size(MAX_MESSAGE.to_bytes(4, "little")) == MAX_MESSAGE
    with pytest.raises(FormatError):
        message_size((MAX_MESSAGE + 1).to_bytes(4, "little"))


def test_too_long_a_message_is_not_written() -> None:
    """What the other side would refuse is not sent."""
    with pytest.raises(FormatError, match="are the most"):
        write_response(GetQuoteExAnswer(error_code=0, quote=bytes(MAX_MESSAGE)))


def test_an_ecdsa_key_id_lies_as_intel_has_it() -> None:
    """`sgx_att_key_id_ext_t`: 256 bytes, MRSIGNER from byte 6, product at 54, algorithm at 154."""
    octets = AttestationKeyId.ecdsa(b"\xab" * 32, 1).to_bytes()

    assert len(octets) == KEY_ID_SIZE == 256
    assert octets[:6] == b"\0\0\0\0\x20\0"
    assert octets[6:54] == b"\xab" * 32 + bytes(16)
    assert octets[54:58] == b"\1\0\0\0"
    assert octets[154:158] == b"\2\0\0\0"
    assert not octets[58:154].strip(b"\0")
    assert not octets[158:].strip(b"\0")


def test_a_list_of_key_ids_has_a_multiple_of_their_size() -> None:
    """Two ids are read one after the other; a list that is cut off is refused."""
    first, second = (AttestationKeyId.ecdsa(bytes(32), product) for product in (1, 2))

    assert read_key_ids(first.to_bytes() + second.to_bytes()) == [first, second]
    assert read_key_ids(b"") == []
    with pytest.raises(FormatError) as refused:
        read_key_ids(first.to_bytes() + second.to_bytes()[:-1])
    assert refused.value.code == "att-key-id-size"


def test_errors_have_intels_names() -> None:
    """The numbers that people meet have the names of `aesm_error.h`; every number has a meaning."""
    names = {number: error_of(number).name for number in (1, 2, 12, 30, 38, 40, 41, 42, 44, 45, 48)}

    assert names == {
        1: "AESM_UNEXPECTED_ERROR",
        2: "AESM_NO_DEVICE_ERROR",
        12: "AESM_NETWORK_ERROR",
        30: "AESM_SERVICE_UNAVAILABLE",
        38: "AESM_UNSUPPORTED_ATT_KEY_ID",
        40: "AESM_INTERFACE_UNAVAILABLE",
        41: "AESM_PLATFORM_LIB_UNAVAILABLE",
        42: "AESM_ATT_KEY_NOT_INITIALIZED",
        44: "AESM_NO_PLATFORM_CERT_DATA",
        45: "AESM_ERROR_REPORT",
        48: "AESM_ENCLAVE_LOAD_ERROR",
    }
    assert list(ERRORS) == list(range(1, 51))
    assert error_of(77).meaning == "this number is in no list of Intel's"
