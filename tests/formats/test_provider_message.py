"""The messages between library and process: what is written is read, and nothing else is."""

import struct
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dcap import FormatError
from dcap.formats.provider_message import (
    HEAD_SIZE,
    LogLine,
    Request,
    Response,
    read_head,
    read_request,
    read_response,
    refusal,
    with_id,
    write_request,
    write_response,
)
from dcap.formats.provider_message_fields import (
    INPUTS,
    MAX_FIELDS,
    OUTPUTS,
    REPEATABLE,
    REQUEST_FIELDS,
    RESPONSE_FIELDS,
    Call,
    Given,
    Out,
    Rule,
)
from worlds import ROOT

SHORT = 64
TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=20)


def values(rule: Rule) -> st.SearchStrategy[Any]:
    """What a field may hold; long ones are kept short."""
    if rule.kind == "number":
        return st.integers(0, (1 << (8 * rule.most)) - 1)
    if rule.kind == "bytes":
        return st.binary(min_size=rule.least, max_size=min(rule.most, max(rule.least, SHORT)))
    return TEXTS.filter(lambda text: len(text.encode()) >= rule.least)


def some(rules: Any, tags: Any) -> st.SearchStrategy[dict[Any, Any]]:
    """Fields of some of these tags."""
    return st.fixed_dictionaries(
        {}, optional={tag: values(rules[tag]) for tag in tags if tag not in REPEATABLE}
    )


NUMBERS = st.integers(0, 0xFFFF_FFFF)
LINES = st.lists(st.tuples(st.from_regex(r"[A-Z_]{1,9}", fullmatch=True), TEXTS), max_size=5)
LOG = st.lists(st.builds(LogLine, st.integers(0, 255), TEXTS), max_size=5).map(tuple)
REQUESTS = st.builds(
    Request,
    call=st.sampled_from(Call),
    id=NUMBERS,
    environment=LINES.map(lambda lines: tuple(f"{name}={value}" for name, value in lines)),
    given=some(REQUEST_FIELDS, Given),
)


@st.composite
def responses(draw: st.DrawFn) -> Response:
    """A success with all that its call hands out, or an error with nothing."""
    call, number, log = draw(st.sampled_from(Call)), draw(NUMBERS), draw(LOG)
    if draw(st.booleans()):
        return Response(call=call, id=number, status=draw(st.integers(1, 0xFFFF)), log=log)
    out = {tag: draw(values(RESPONSE_FIELDS[tag])) for tag in OUTPUTS[call]}
    out |= draw(some(RESPONSE_FIELDS, Out))
    return Response(call=call, id=number, log=log, out=out)


@given(REQUESTS)
def test_requests_come_back(request: Request) -> None:
    """A request that was written is read as it was."""
    octets = write_request(request)
    assert read_request(octets) == request
    assert read_head(octets).length == len(octets) - HEAD_SIZE


@given(responses(), NUMBERS)
def test_responses_come_back(response: Response, number: int) -> None:
    """A response that was written is read as it was, also under another id."""
    octets = write_response(response)
    assert read_response(octets) == response
    again = read_response(with_id(octets, number))
    assert (again.id, again.out, again.status) == (number, response.out, response.status)


@given(st.binary(max_size=200), st.booleans())
def test_garbage_is_a_format_error(data: bytes, well: bool) -> None:
    """Whatever bytes come, behind a good head too, nothing but a `FormatError` comes of them."""
    head = struct.pack("<4sHHIIII", b"DCQP", 1, 3, 1, 0, 1, len(data)) if well else b""
    for read in (read_request, read_response):
        why = refused(read, head + data)
        assert why == "" or why.endswith(("[provider-message]", "[provider-version]"))


@settings(max_examples=50)
@given(REQUESTS, st.data())
def test_a_byte_less_or_more_is_refused(request: Request, data: st.DataObject) -> None:
    """A message that is cut off anywhere, or goes on, is none."""
    octets = write_request(request)
    cut = data.draw(st.integers(0, len(octets) - 1))
    for wrong in (octets[:cut], octets + b"\0"):
        with pytest.raises(FormatError):
            read_request(wrong)


@pytest.mark.parametrize("call", [call for call in Call if OUTPUTS[call]])
def test_a_success_without_all_its_outputs_is_none(call: Call) -> None:
    """One output that lacks, or that is empty, and the response is neither written nor read."""
    whole: dict[Out, Any] = {tag: _least(RESPONSE_FIELDS[tag]) for tag in OUTPUTS[call]}
    assert read_response(write_response(Response(call=call, out=whole))).out == whole
    for tag in OUTPUTS[call]:
        rest = {other: value for other, value in whole.items() if other != tag}
        with pytest.raises(FormatError, match=tag.name):
            write_response(Response(call=call, out=rest))
        with pytest.raises(FormatError, match=tag.name):
            read_response(_unchecked(call, rest))
        if RESPONSE_FIELDS[tag].kind != "number":
            with pytest.raises(FormatError):
                write_response(Response(call=call, out={**whole, tag: b""}))


def test_an_error_hands_nothing_out() -> None:
    """A status that is not 0, with an output beside it, is no message."""
    with pytest.raises(FormatError):
        write_response(Response(call=Call.PING, status=0xE001, out={Out.SERVER: "x"}))


@pytest.mark.parametrize("rules", [REQUEST_FIELDS, RESPONSE_FIELDS], ids=["request", "response"])
def test_sizes_are_those_of_the_table(rules: dict[int, Rule]) -> None:
    """A field of a byte too few, or too many, is refused; of the least and the most it is not."""
    is_response = rules is RESPONSE_FIELDS
    for tag, rule in rules.items():
        for size, fits in (
            (rule.least - 1, False),
            (rule.least, True),
            (min(rule.most, 200_000), True),
            (rule.most + 1, False),
        ):
            if size < 0:
                continue
            is_line = tag == Given.ENVIRONMENT and not is_response
            octets = b"A=" + b"x" * (size - 2) if is_line else b"x" * size
            kind, status = (12 | 0x8000, 1) if is_response else (12, 0)
            body = struct.pack("<HHI", tag, 0, size) + octets
            message = struct.pack("<4sHHIIII", b"DCQP", 1, kind, 1, status, 1, len(body)) + body
            why = refused(read_response if is_response else read_request, message)
            # An error that hands something out is refused for that, once its size is right.
            assert fits == (why == "" or "hands" in why), (tag, size, why)


def test_there_are_only_so_many_fields() -> None:
    """Sixty-four lines are a message, sixty-five are none."""
    lines = tuple(f"A{number}=b" for number in range(MAX_FIELDS + 1))
    request = Request(call=Call.PING, environment=lines[:-1])
    assert read_request(write_request(request)) == request
    with pytest.raises(FormatError):
        write_request(Request(call=Call.PING, environment=lines))


def test_lines_of_the_environment_need_not_be_utf_8() -> None:
    """A path in another encoding comes through byte for byte."""
    body = struct.pack("<HHI", 1, 0, 4) + b"A=\xff\xfe"
    octets = struct.pack("<4sHHIIII", b"DCQP", 1, 12, 1, 0, 1, len(body)) + body
    assert write_request(read_request(octets)) == octets


def test_a_refusal_is_a_response() -> None:
    """The bare refusal is read as a response of that status."""
    found = read_response(refusal(Call.PING, 9, 0xE046))
    assert (found.id, found.status, found.out) == (9, 0xE046, {})


def test_what_was_given_is_not_in_its_text() -> None:
    """The text of a request shows its call alone."""
    request = Request(call=Call.QUOTE_CONFIG, given={Given.QE_ID: b"secret-of-machine"})
    assert repr(request) == "<Request QUOTE_CONFIG>"


def test_the_document_has_every_number() -> None:
    """`docs/provider-messages.md` names each call and field with its number, inputs and outputs."""
    text = (ROOT / "docs" / "provider-messages.md").read_text()
    rows = {line for line in text.splitlines() if line.startswith("|")}
    for tags in (Given, Out):
        for tag in tags:
            assert any(row.startswith(f"| {tag.value} | {tag.name} |") for row in rows), tag
    for call in Call:
        (row,) = [row for row in rows if row.startswith(f"| {call.value} | {call.name} |")]
        cells = [cell.strip() for cell in row.split("|")]
        assert cells[3] == ", ".join(tag.name for tag in INPUTS[call])
        assert cells[5] == ", ".join(tag.name for tag in OUTPUTS[call])


def refused(read: Callable[[bytes], object], octets: bytes) -> str:
    """Why bytes are no message; empty where they are one. Nothing but a `FormatError` says so."""
    try:
        read(octets)
    except FormatError as error:
        return f"{error.what} [{error.code}]"
    return ""


def _least(rule: Rule) -> Any:
    if rule.kind == "number":
        return 0
    return "x" * rule.least if rule.kind in ("text", "name") else b"x" * rule.least


def _unchecked(call: Call, out: dict[Out, Any]) -> bytes:
    """The bytes of a success that lacks something."""
    fields = b""
    for tag, value in out.items():
        rule = RESPONSE_FIELDS[tag]
        number = value.to_bytes(rule.most, "little") if isinstance(value, int) else value
        octets = number.encode() if isinstance(number, str) else number
        fields += struct.pack("<HHI", tag, 0, len(octets)) + octets
    head = struct.pack("<4sHHIIII", b"DCQP", 1, call | 0x8000, 1, 0, len(out), len(fields))
    return head + fields
