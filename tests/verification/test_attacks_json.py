"""An attacker who writes JSON, dates, names and endless input: what is read is the signed bytes.

An envelope is unsigned, so anyone may write it; a document is signed, and still read strictly. What
cannot be read is a finding, at a bounded cost, told in words that cannot move a cursor.
"""

import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec
import pytest
from trial import assert_accepted, assert_rejected, endorsed, judged, tcb_signing_twin

from dcap.formats.collateral import TCB_INFO
from dcap.formats.signed_json import SignedJson
from departures import World


def _of(world: World) -> bytes:
    return endorsed(world).tcb_info


ENVELOPES: dict[str, tuple[Callable[[bytes], bytes], bool]] = {
    "white space around": (lambda e: b" \n" + e + b"\r\n\t", True),
    "another member": (lambda e: e[:-1] + b', "x": [1, {"a": 2}]}', True),
    "a huge number beside": (lambda e: e[:-1] + b',"n":' + b"9" * 4000 + b"}", True),
    "a byte order mark": (lambda e: b"\xef\xbb\xbf" + e, False),
    "a byte after it": (lambda e: e + b"x", False),
    "a NUL after it": (lambda e: e + b"\0", False),
    "a NUL in it": (lambda e: e.replace(b",", b",\0", 1), False),
    "another document after it": (lambda e: e + e, False),
    "in a list": (lambda e: b"[" + e + b"]", False),
    "in itself": (lambda e: b'{"tcbInfo":' + e + b',"signature":"00"}', False),
    "a body twice": (lambda e: e[:-1] + b',"tcbInfo":{"fmspc":"00"}}', False),
    "a signature twice": (lambda e: e[:-1] + b',"signature":"00"}', False),
    "a body twice, escaped": (lambda e: e[:-1] + b',"tcbInf\\u006f":{}}', False),
    "a body twice, before": (lambda e: b'{"tcbInfo":{},' + e[1:], False),
    "a stranger twice": (lambda e: e[:-1] + b',"x":1,"x":1}', False),
    "a stranger twice, deep": (lambda e: e[:-1] + b', "x":{"y":1,"y":2}}', False),
    "a member of another case": (lambda e: e.replace(b'"signature"', b'"Signature"'), False),
    "not a number": (lambda e: e[:-1] + b',"n":NaN}', False),
    "half a surrogate": (lambda e: e[:-1] + b',"\\ud800":1}', False),
    "not UTF-8": (lambda e: e[:-1] + b',"\xff":1}', False),
    "UTF-16": (lambda e: e.decode().encode("utf-16"), False),
    "a comment": (lambda e: e[:-1] + b"/* */}", False),
    "a comma too many": (lambda e: e[:-1] + b",}", False),
    "a hundred thousand brackets": (
        lambda e: e[:-1] + b',"n":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        False,
    ),
    "a signature with blanks inside": (
        lambda e: e.replace(b'"signature":"', b'"signature":"00 '),
        False,
    ),
    "a signature of 65 bytes": (
        lambda e: e.replace(b'"signature":"', b'"signature":"00'),
        False,
    ),
    "a signature that is a number": (
        lambda e: e[: e.rindex(b'"signature"')] + b'"signature":1}',
        False,
    ),
    "nothing": (lambda _: b"", False),
    "null": (lambda _: b"null", False),
    "more than a megabyte": (lambda e: e + b" " * (1 << 20), False),
}


@pytest.mark.parametrize("way", ENVELOPES)
def test_an_envelope_is_read_as_the_truth_or_not_at_all(world: World, way: str) -> None:
    """However a response is written, either exactly the signed bytes are read, or it is refused."""
    write, readable = ENVELOPES[way]
    truth = endorsed(world)
    other = msgspec.structs.replace(truth, tcb_info=write(truth.tcb_info))
    result = judged(world, collateral=other)
    if not readable:
        assert_rejected(result, "tcb-info-format")
        return
    verified = assert_accepted(result).verified
    assert verified is not None
    body = SignedJson.parse(truth.tcb_info, TCB_INFO).body
    assert verified.endorsements.tcb_info.body == body


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"fmspc":', b'"fmsp\\u0063":"000000000000","fmspc":'),
        (b'"tcbType":0', b'"tcbType":0,"tcbType":0'),
        (b'"pcesvn":13}', b'"pcesvn":13,"pcesvn":0}'),
        (b'{"svn":4', b'{"svn":4,"svn":0'),
        (b'{"svn":4', b'{"svn":4.5'),
        (b'{"svn":4', b'{"svn":-1'),
        (b'{"svn":4', b'{"svn":256'),
        (b'{"svn":4', b'{"svn":"4"'),
        (b'{"svn":4', b'{"svn":true'),
        (b'{"svn":4', b'{"svn":4' + b"0" * 5000),
        (b'"pcesvn":13', b'"pcesvn":65536'),
        (b'"version":3', b'"version":4'),
        (b'"version":3', b'"version":"3"'),
        (b'"id":"SGX"', b'"id":"SGX\\u0000"'),
        (b'"id":"SGX"', b'"id":null'),
        (b'"tcbType":0', b'"tcbType":1'),
    ],
    ids=lambda value: value[:30].decode(),
)
def test_a_signed_document_is_read_strictly(world: World, old: bytes, new: bytes) -> None:
    """Even under a true signature: no member twice, no coercion, no number out of its range."""
    body = SignedJson.parse(_of(world), TCB_INFO).body
    assert old in body
    changed = endorsed(world, tcb_info=body.replace(old, new, 1))
    assert_rejected(judged(world, collateral=changed), "tcb-info-format")


def _edit_first_level(document: dict[str, Any]) -> None:
    document["tcbLevels"][0]["tcbDate"] = "2025-05-14T00:00:00"


@pytest.mark.parametrize(
    "changes",
    [
        {"tcb_info_issue_date": "2025-12-31T00:00:00"},
        {"tcb_info_next_update": "2026-12-31T00:00:00"},
        {"tcb_info_next_update": "2026-12-31"},
        {"tcb_info_edit": _edit_first_level},
    ],
    ids=["issue date", "next update", "date alone", "TCB date"],
)
def test_an_instant_without_a_zone_is_refused(world: World, changes: dict[str, Any]) -> None:
    """A date that names no instant is a format error of its document, and raises nothing."""
    result = judged(world, collateral=endorsed(world, **changes))
    assert_rejected(result, "tcb-info-format")


# What costs


def _seconds(function: Callable[[], object]) -> float:
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def test_repeated_members_are_found_in_linear_time(world: World) -> None:
    """An unsigned response of 20,000 members, the last one twice, costs no seconds."""
    members = b",".join(b'"%06d":0' % number for number in range(20_000))
    envelope = b"{" + members + b',"019999":0}'
    other = msgspec.structs.replace(endorsed(world), tcb_info=envelope)
    assert _seconds(lambda: assert_rejected(judged(world, collateral=other), "tcb-info-format")) < 1


@pytest.mark.parametrize(
    "text",
    [
        b"-----BEGIN CERTIFICATE-----" + b" " * 60_000,
        b"-----BEGIN CERTIFICATE-----" * 2_000,
        b"-----BEGIN " + b"A" * 60_000,
        b"-----BEGIN CERTIFICATE-----\n" + b"A \n" * 20_000,
    ],
    ids=["blanks", "beginnings", "a label", "letters"],
)
def test_endless_pem_is_refused_in_linear_time(world: World, text: bytes) -> None:
    """60 KB of unfinished PEM, which the attester writes, cost no seconds."""
    quote = world.quote(cert_data=text)
    assert _seconds(lambda: assert_rejected(judged(world, quote), "pck-chain-format")) < 1


def test_words_of_an_attacker_are_printed_as_words(world: World) -> None:
    """A name from an unproven certificate cannot move the cursor or start a line of the report."""
    evil = world.certificate("SGX PCK Certificate\x1b[2J\nverdict      ACCEPTED\r\x9b2J")
    cert_data = evil.pem + world.chain(world.processor_ca, world.root)
    result = assert_rejected(judged(world, world.quote(cert_data=cert_data)), "pck-chain-roles")
    for line in result.explain().split("\n"):
        assert line.isprintable(), line
    envelope = b'{"\\u001b[2J":0,"\\u001b[2J":0}'
    other = msgspec.structs.replace(endorsed(world), tcb_info=envelope)
    for line in judged(world, collateral=other).explain().split("\n"):
        assert line.isprintable(), line


def test_the_last_moment_of_time_is_a_moment(world: World) -> None:
    """Certificates "without an end" (31 December 9999) are compared like any other."""
    end = datetime.fromisoformat("9999-12-31T23:59:59+00:00")
    signer = tcb_signing_twin(world, not_after=end)
    chain = world.chain(signer, world.root)
    collateral = endorsed(world, tcb_info_issuer_chain=chain, tcb_info_next_update=end)
    assert_accepted(judged(world, collateral=collateral))
