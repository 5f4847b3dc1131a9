"""JSON that is signed: the exact bytes are kept, and two readers cannot read two things in it."""

import tracemalloc

import msgspec
import pytest

from dcap.errors import FormatError
from dcap.formats import signed_json
from dcap.formats.signed_json import MAX_SIZE, SignedJson, hex_bytes
from dcap.formats.tcb_info import TcbInfo
from departures import World
from departures.documents import EVALUATION

SIGNATURE = bytes(range(64))
HEX = SIGNATURE.hex().encode()
BODIES = {
    "compact": b'{"a":1}',
    "with white space": b' { "a" :\t1 }',
    "empty": b"{}",
    "of another kind": b"[1,2]",
    "with escapes": b'{"\\u0061":"\\n"}',
}


def refusal(envelope: bytes, member: str = "tcbInfo") -> FormatError:
    """The error with which a response is refused."""
    with pytest.raises(FormatError) as raised:
        SignedJson.parse(envelope, member)
    return raised.value


@pytest.mark.parametrize("name", BODIES)
def test_the_exact_bytes_are_kept_both_ways(name: str) -> None:
    """A body is handed on as it stood in the response, and the response is written back to it."""
    body = BODIES[name]

    sealed = SignedJson.parse(b'{"tcbInfo":%b,"signature":"%b"}' % (body.strip(), HEX), "tcbInfo")

    assert sealed == SignedJson(body.strip(), SIGNATURE)
    assert sealed.envelope("tcbInfo") == (
        b'{"tcbInfo":%b,"signature":"%b"}' % (body.strip(), SIGNATURE.hex().encode())
    )
    assert SignedJson.parse(sealed.envelope("tcbInfo"), "tcbInfo") == sealed


def test_members_of_a_response_may_stand_in_any_order_and_space() -> None:
    """White space and order around the body do not matter; inside it, they are the body's."""
    response = b'\n{ "signature" : "%b" ,\r\n "tcbInfo" : {"b": 2} }\n' % HEX.upper()

    assert SignedJson.parse(response, "tcbInfo") == SignedJson(b'{"b": 2}', SIGNATURE)


def test_unknown_members_of_a_response_are_let_be() -> None:
    """Intel may add members beside the two."""
    response = b'{"more":{"x":[1]},"tcbInfo":{},"signature":"%b"}' % HEX

    assert SignedJson.parse(response, "tcbInfo").body == b"{}"


@pytest.mark.parametrize(
    "response",
    [
        b'{"tcbInfo":{}}',
        b'{"signature":"00"}',
        b'{"enclaveIdentity":{},"signature":"00"}',
        b"{}",
    ],
)
def test_a_response_has_its_member_and_a_signature(response: bytes) -> None:
    """A response without the body asked for, or without a signature, is refused."""
    assert refusal(response).code == "signed-json"


@pytest.mark.parametrize(
    "text",
    ['""', '"00"', f'"{"0" * 127}"', f'"{"0" * 129}"', f'"{"g" * 128}"', f'"{"é" * 128}"'],
)
def test_a_signature_is_128_hex_digits(text: str) -> None:
    """A signature of another size or alphabet is refused."""
    response = b'{"tcbInfo":{},"signature":%b}' % text.encode()

    assert refusal(response).code == "signed-json"


@pytest.mark.parametrize("text", ["1", "null", "[]", "{}", "true"])
def test_a_signature_is_text(text: str) -> None:
    """A signature that is no string is refused."""
    assert refusal(b'{"tcbInfo":{},"signature":%b}' % text.encode()).code == "json"


NOT_JSON: dict[str, bytes] = {
    "nothing": b"",
    "an array": b"[]",
    "cut off": b'{"tcbInfo":{',
    "bytes after it": b"{}x",
    "a second value": b"{}{}",
    "a byte order mark": b"\xef\xbb\xbf{}",
    "UTF-16": '{"tcbInfo":1}'.encode("utf-16"),
    "a NUL after it": b"{}\0",
    "a comment": b"{/**/}",
    "single quotes": b"{'tcbInfo':1}",
    "a trailing comma": b'{"tcbInfo":1,}',
    "NaN": b'{"tcbInfo":NaN}',
    "Infinity": b'{"tcbInfo":-Infinity}',
    "a leading zero": b'{"tcbInfo":01}',
    "hex": b'{"tcbInfo":0x1}',
    "a control character in a name": b'{"tcb\nInfo":1}',
    "not UTF-8": b'{"tcb\xffInfo":1}',
    "a lone surrogate": b'{"\\ud800":1}',
    "an error page": b"<html></html>",
}


@pytest.mark.parametrize("name", NOT_JSON)
def test_what_is_no_json_is_refused(name: str) -> None:
    """Anything but one strict JSON object is refused."""
    assert refusal(NOT_JSON[name]).code == "json"


def test_a_response_has_a_largest_size() -> None:
    """More than 1 MB is refused before anything is decoded."""
    padding = b" " * (MAX_SIZE - len(b'{"tcbInfo":{},"signature":""}') - 128)
    response = b'{"tcbInfo":{},"signature":"%b"}' % HEX

    assert SignedJson.parse(response + padding, "tcbInfo").body == b"{}"
    assert refusal(response + padding + b" ").code == "json"


TWICE_IN_RESPONSE: dict[str, bytes] = {
    "the body": b'{"tcbInfo":{},"tcbInfo":{},"signature":"%b"}',
    "the body, escaped": b'{"tcbInfo":{},"\\u0074cbInfo":{},"signature":"%b"}',
    "the body, escaped first": b'{"\\u0074cbInfo":{},"tcbInfo":{},"signature":"%b"}',
    "the body, escaped twice": b'{"\\u0074cbInfo":{},"t\\u0063bInfo":{},"signature":"%b"}',
    "the body, after white space": b'{"tcbInfo":{}, "tcbInfo":{},"signature":"%b"}',
    "the signature": b'{"tcbInfo":{},"signature":"00","signature":"%b"}',
    "the signature, escaped": b'{"tcbInfo":{},"signatur\\u0065":"00","signature":"%b"}',
    "a member nobody reads": b'{"x":1,"tcbInfo":{},"x":2,"signature":"%b"}',
    "the empty name": b'{"":1,"tcbInfo":{},"":2,"signature":"%b"}',
}


@pytest.mark.parametrize("name", TWICE_IN_RESPONSE)
def test_no_member_of_a_response_occurs_twice(name: str) -> None:
    """A response with a member twice, however it is spelled, is refused: two readers could differ."""
    assert refusal(TWICE_IN_RESPONSE[name] % HEX).code == "json-repeated-member"


#: What stands in a sound TCB info -> what takes its place: the same member a second time.
TWICE_IN_BODY: dict[str, tuple[bytes, bytes]] = {
    "at the top": (b'"tcbType":0', b'"tcbType":0,"tcbType":0'),
    "at the top, with another value": (b'"tcbType":0', b'"tcbType":1,"tcbType":0'),
    "at the top, escaped": (b'"tcbType":0', b'"tcb\\u0054ype":1,"tcbType":0'),
    "at the top, escaped after it": (b'"tcbType":0', b'"tcbType":0,"tcb\\u0054ype":1'),
    "in a level": (b'"tcbStatus":"UpToDate"', b'"tcbStatus":"Revoked","tcbStatus":"UpToDate"'),
    "in a level, escaped": (
        b'"tcbStatus":"UpToDate"',
        b'"tcbStatus":"Revoked","tcb\\u0053tatus":"UpToDate"',
    ),
    "in a tcb": (b'"pcesvn":13', b'"pcesvn":13,"pcesvn":0'),
    "in a component": (b'{"svn":4', b'{"svn":4,"svn":255'),
    "in a component, escaped": (b'{"svn":4', b'{"svn":4,"\\u0073vn":255'),
    "in a module": (b'"mrsigner":"00', b'"mrsigner":"","mrsigner":"00'),
    "in a module level": (b'{"isvsvn":6}', b'{"isvsvn":0,"isvsvn":6}'),
    "in a member nobody reads": (b'"tcbType":0', b'"tcbType":0,"new":{"x":[{"y":1,"y":2}]}'),
    "of members nobody reads": (b'"tcbType":0', b'"new":1,"tcbType":0,"new":2'),
    "beside one nobody reads": (b'"tcbType":0', b'"new":1,"tcbType":0,"tcbType":0'),
}


@pytest.mark.parametrize("name", TWICE_IN_BODY)
def test_no_member_of_a_document_occurs_twice(world: World, name: str) -> None:
    """A document with a member twice, at any depth and in any spelling, is refused."""
    old, new = TWICE_IN_BODY[name]
    text = world.tcb_info("TDX")
    assert old in text

    with pytest.raises(FormatError) as raised:
        TcbInfo.parse(text.replace(old, new, 1))
    assert raised.value.code == "json-repeated-member"


def test_the_same_member_of_different_objects_is_no_repetition(world: World) -> None:
    """Escapes and members nobody reads are allowed, as long as no object has a member twice."""
    text = world.tcb_info("TDX")

    plain = TcbInfo.parse(text)
    escaped = TcbInfo.parse(text.replace(b'"fmspc"', b'"\\u0066mspc"'))
    extended = TcbInfo.parse(
        text.replace(b'"tcbType":0', b'"tcbType":0,"new":{"tcbType":1,"a:b":2}')
    )

    assert escaped.fmspc == extended.fmspc == plain.fmspc
    assert escaped.levels == extended.levels == plain.levels


def test_colons_in_text_are_no_members() -> None:
    """Members are counted by the colons of the structure, not by those inside strings."""
    assert signed_json.count_members(b'{"a:b":"c:d","e":[{"f":1},{":":":"}]}') == 4


NUMBERS: dict[str, bytes] = {
    "400 digits": b"9" * 400,
    "5000 digits": b"9" * 5000,
    "a fraction": b"3.5",
    "an exponent": b"3e400",
    "a string": b'"3"',
    "a boolean": b"true",
    "null": b"null",
    "negative": b"-1",
    "33 bits": b"4294967296",
    "minus nothing": b"-",
}


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_are_whole_and_in_range(world: World, name: str) -> None:
    """A number that is no small whole number is refused: nothing is coerced."""
    text = world.tcb_info("SGX")
    number = b'"tcbEvaluationDataNumber":%d' % EVALUATION
    assert number in text

    with pytest.raises(FormatError) as raised:
        TcbInfo.parse(text.replace(number, b'"tcbEvaluationDataNumber":' + NUMBERS[name]))
    assert raised.value.code == "json"


@pytest.mark.parametrize("digits", [400, 5000])
def test_long_numbers_nobody_reads_are_no_trouble(world: World, digits: int) -> None:
    """A number of any length in a member nobody reads is let be or refused; it does not escape."""
    text = world.tcb_info("SGX").replace(b'"tcbType":0', b'"tcbType":0,"new":' + b"9" * digits)

    try:
        TcbInfo.parse(text)
    except FormatError as error:
        assert error.code == "json"  # noqa: PT017 - either outcome is good


BOMBS: dict[str, bytes] = {
    "100,000 arrays": b"[" * 100_000,
    "100,000 closed arrays": b"[" * 100_000 + b"]" * 100_000,
    "100,000 objects": b'{"a":' * 100_000,
    "100,000 closed objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
}


@pytest.mark.parametrize("name", BOMBS)
@pytest.mark.parametrize(
    "before", [b"", b'{"tcbInfo":', b'{"version":3,"x":', b'{"\\u0061":1,"x":']
)
def test_depth_is_bounded(name: str, before: bytes) -> None:
    """JSON nested 100,000 deep is refused, wherever it stands, without exhausting the stack."""
    bomb = before + BOMBS[name] + (b"}" if before else b"")

    assert refusal(bomb).code in ("json", "signed-json")
    with pytest.raises(FormatError) as raised:
        TcbInfo.parse(bomb)
    assert raised.value.code == "json"


def test_a_large_document_costs_little_more_than_its_size(world: World) -> None:
    """A response of nearly 1 MB with 100,000 unknown members is read in bounded memory."""
    members = b",".join(b'"m%d":1' % i for i in range(80_000))
    response = b'{%b,"tcbInfo":{},"signature":"%b"}' % (members, HEX)
    assert len(response) < MAX_SIZE
    tracemalloc.start()
    try:
        SignedJson.parse(response, "tcbInfo")
        assert tracemalloc.get_traced_memory()[1] < 64 * MAX_SIZE
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("text", ["00ff", "00FF"])
def test_hex_is_of_either_case(text: str) -> None:
    """Intel writes hex in both cases."""
    assert hex_bytes(text, 2, "thing") == b"\x00\xff"


@pytest.mark.parametrize("text", ["", "00", "00ff00", "0 0f", "zzzz", "\uff10\uff10ff", "0xff"])
def test_hex_is_of_its_size(text: str) -> None:
    """Other sizes, spaces and digits are refused."""
    with pytest.raises(FormatError) as raised:
        hex_bytes(text, 2, "thing")
    assert (raised.value.code, raised.value.where) == ("hex", "thing")


def test_encoding_is_compact_and_in_order() -> None:
    """The writer writes members in the order of the type, without white space."""

    class Thing(msgspec.Struct):
        second: int
        first: str

    assert signed_json.encode(Thing(2, "é")) == '{"second":2,"first":"é"}'.encode()
