"""The contract, what all answers have: the request's name, the tag, HEAD.

Source: `pccs-and-pcs-api.md` §1.1-1.9; `quote-provider.md` §4.2, §7.
"""

import pytest

from dcap.pccs.handler import etag
from pccs.contract.expected import BAD, OK
from pccs.rig import Rig


def test_the_callers_request_id_is_kept(full: Rig) -> None:
    """Intel's server means to; a name that could break a log is replaced."""
    given = (("request-id", "Mine-123"),)
    assert full.ask("rootcacrl", headers=given).header("Request-ID") == "Mine-123"
    for bad in ("a b", "x" * 65, "a\r\nb", "é", ""):
        fresh_id = full.ask("rootcacrl", headers=(("Request-ID", bad),)).header("Request-ID")
        assert fresh_id != bad
        assert len(fresh_id or "") == 32


def test_two_answers_have_two_request_ids(full: Rig) -> None:
    """Refusals too."""
    ids = {full.ask(line).header("Request-ID") for line in ("rootcacrl", "tcb", "x", "rootcacrl")}
    assert len(ids) == 4


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_what_the_caller_has_is_304(full: Rig, method: str) -> None:
    """A tag of the same bytes, in any of its forms, and the caller does not insist."""
    response = full.ask("qe/identity")
    tag = response.header("ETag") or ""
    for given in (tag, f'"x", {tag}', tag.removeprefix("W/"), "*"):
        known = full.ask("qe/identity", method=method, headers=(("If-None-Match", given),))
        assert (known.status, known.body) == (304, b"")
        assert known.header("ETag") == tag
        assert known.header("Content-Type") is None
    other = full.ask("qe/identity", headers=(("If-None-Match", '"other"'),))
    assert (other.status, other.body) == (OK, response.body)
    insisting = (("If-None-Match", tag), ("Cache-Control", "no-cache"))
    assert full.ask("qe/identity", headers=insisting).status == OK


def test_a_refusal_is_never_304(full: Rig) -> None:
    """Only what is there can be unchanged."""
    tag = full.ask("tcb").header("ETag") or ""
    assert full.ask("tcb", headers=(("If-None-Match", tag),)).status == BAD


def test_the_tag_is_that_of_express() -> None:
    """Length in hex, a hyphen, 27 characters of the base64 of SHA-1: an example of its own."""
    assert etag(b"Hello World") == 'W/"b-Ck1VqNd45QIvq3AZd8XYQLvEhtA"'


@pytest.mark.parametrize("line", ["rootcacrl", "qe/identity", "tcb", "nothing"])
def test_head_has_gets_headers(full: Rig, line: str) -> None:
    """And no body, but its length."""
    get, head = full.ask(line), full.ask(line, method="HEAD")
    assert (head.status, head.body) == (get.status, b"")
    if line != "nothing":
        assert head.header("Content-Length") == str(len(get.body))
        assert head.header("ETag") == get.header("ETag")
