"""Messages of Intel's Quote Generation Service: bytes as its library has them, both ways."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dcap.errors import FormatError
from dcap.formats.qgs import (
    MAX_SIZE,
    Message,
    PlatformInfoRequest,
    PlatformInfoResponse,
    QuoteRequest,
    QuoteResponse,
    Refusal,
    framed,
    is_framed,
    is_raw_report,
    read_length,
    read_message,
    read_request,
    read_response,
    unframed,
    write_message,
)

REPORT = b"\x81" + bytes(1023)


def octets(text: str) -> bytes:
    """Hex with spaces, as a table is read."""
    return bytes.fromhex(text)


#: Message -> its bytes by `qgs_msg_lib.h`: major, minor, type, size, error code, body.
WRITTEN: dict[str, tuple[Message, bytes]] = {
    "a quote is asked for": (
        QuoteRequest(b"REPORT", b"ID"),
        octets("0100 0100 00000000 20000000 00000000 06000000 02000000") + b"REPORTID",
    ),
    "a quote is given": (
        QuoteResponse(b"QUOTE", b"ID"),
        octets("0100 0100 01000000 1f000000 00000000 02000000 05000000") + b"IDQUOTE",
    ),
    "no quote is given": (
        Refusal(1, 0x12001),
        octets("0100 0100 01000000 18000000 01200100 00000000 00000000"),
    ),
    "the platform is asked for": (
        PlatformInfoRequest(),
        octets("0100 0100 04000000 10000000 00000000"),
    ),
    "the platform is given": (
        PlatformInfoResponse(8, 13, b"ID", b"SVN"),
        octets("0100 0100 05000000 21000000 00000000 0800 0d00 02000000 03000000") + b"IDSVN",
    ),
    "no platform is given": (
        Refusal(5, 0x12001),
        octets("0100 0100 05000000 1c000000 01200100 0000 0000 00000000 00000000"),
    ),
    "no collateral is given": (
        Refusal(3, 0x12001),
        octets("0100 0100 03000000 30000000 01200100") + bytes(32),
    ),
}
each_message = pytest.mark.parametrize("name", WRITTEN)
RESPONSE = WRITTEN["a quote is given"][1]


@each_message
def test_a_message_is_written_and_read_as_intel_does(name: str) -> None:
    """The same table both ways."""
    message, written = WRITTEN[name]
    assert write_message(message) == written
    assert read_message(written) == message


def test_the_length_before_a_message_is_big_endian() -> None:
    """On a stream, and there alone: all else is little-endian."""
    assert framed(b"m" * 258)[:4] == b"\x00\x00\x01\x02"
    assert read_length(b"\x00\x00\x01\x02") == 258
    assert unframed(framed(RESPONSE)) == RESPONSE


def test_a_length_written_the_wrong_way_round_is_named() -> None:
    """The bug of clients that are not Intel's: the error says so."""
    with pytest.raises(FormatError, match="little-endian, it must be big-endian"):
        read_length(len(RESPONSE).to_bytes(4, "little"))


@pytest.mark.parametrize("size", [0, 15, MAX_SIZE + 1, 0xFFFFFFFF])
def test_an_impossible_length_is_refused(size: int) -> None:
    """Before anything is received or kept."""
    with pytest.raises(FormatError, match=f"would be {size};"):
        read_length(size.to_bytes(4, "big"))


def test_a_frame_that_lacks_a_byte_is_refused() -> None:
    """Its length is compared with what is there."""
    with pytest.raises(FormatError, match="31 bytes were announced, 30 are there"):
        unframed(framed(RESPONSE)[:-1])


def changed(place: int, number: int, size: int = 4) -> bytes:
    """The sound response, one number of it another."""
    return RESPONSE[:place] + number.to_bytes(size, "little") + RESPONSE[place + size :]


WRONG = {
    "of version 2.1": changed(0, 2, 2),
    "it has 32 bytes, 31 are there": changed(8, 32),
    "of type 9 (unknown)": changed(4, 9),
    "of type 3 (GET_COLLATERAL_RESP)": changed(4, 3),
    "would have 4294967295 and 5 bytes, 7 are there": changed(16, 0xFFFFFFFF),
    "would have 2 and 6 bytes, 7 are there": changed(20, 6),
    "a request has no error code": changed(4, 0)[:12] + b"\1\0\0\0" + RESPONSE[16:],
    "no quote in it": write_message(QuoteResponse(b"", b"ID")),
    "no report in it": write_message(QuoteRequest(b"")),
    "2 bytes are left over": octets("0100 0100 04000000 12000000 00000000 0000"),
    "needs 16 bytes from byte 0, only 15": RESPONSE[:15],
    "needs 12 bytes from byte 0, only 4": octets("0100 0100 05000000 14000000 00000000 00000000"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_message_that_is_not_as_it_should_be_is_refused(what: str) -> None:
    """One thing wrong, and the error names it."""
    with pytest.raises(FormatError) as caught:
        read_message(WRONG[what])
    assert caught.value.code == "qgs-message"
    assert what in caught.value.what


def test_a_newer_minor_version_is_read() -> None:
    """Only the major version breaks compatibility."""
    assert read_message(changed(2, 7, 2)) == WRITTEN["a quote is given"][0]


def test_a_request_is_no_answer_and_the_other_way_round() -> None:
    """Each side takes what the other one sends."""
    asked = WRITTEN["a quote is asked for"][1]
    assert read_request(asked) == WRITTEN["a quote is asked for"][0]
    with pytest.raises(FormatError, match="it is a request"):
        read_response(asked)
    with pytest.raises(FormatError, match="it is an answer"):
        read_request(RESPONSE)


def test_a_bare_report_is_told_from_a_frame() -> None:
    """The first 20 bytes tell: both lengths of a frame agree, a report's never do."""
    assert is_framed(framed(RESPONSE)[:20])
    assert not is_framed(REPORT[:20])
    assert not is_framed(bytes(20))
    assert is_raw_report(REPORT)
    assert not is_raw_report(REPORT + b"\0")
    assert not is_raw_report(bytes(1024))


def test_a_platform_id_is_not_shown() -> None:
    """It names a machine for good: no log may have it."""
    text = repr(PlatformInfoResponse(8, 13, b"\xab" * 16, bytes(16)))
    assert text == "<PlatformInfoResponse TD_QE 8, PCE 13>"


@given(st.binary(max_size=80), st.sampled_from(sorted(WRITTEN)), st.integers(0, 80))
@settings(max_examples=150, deadline=None, database=None)
def test_any_bytes_are_read_or_refused(garbage: bytes, name: str, place: int) -> None:
    """Whatever arrives is a message or a `FormatError`; a message can be written, and read again."""
    sound = WRITTEN[name][1]
    for data in (garbage, sound[:place] + garbage, sound[:place] + garbage + sound[place:]):
        with suppress(FormatError):
            message = read_message(data)
            written = write_message(message)
            assert read_message(written) == message
