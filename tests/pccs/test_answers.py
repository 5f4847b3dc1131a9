"""`dcap.pccs.answers`: what is ready, for how long, and what makes it be forgotten."""

import pytest

from dcap.api.http import HttpResponse
from dcap.pccs.answers import Answers, parts_of

TCB = b"GET /sgx/certification/v4/tcb?fmspc=00 HTTP/1.1"
PCK = b"GET /sgx/certification/v4/pckcert?qeid=1 HTTP/1.1"


def response(
    body: bytes = b"body", age: str | None = "max-age=86400", status: int = 200
) -> HttpResponse:
    """An answer as the handler gives it."""
    headers = [("Request-ID", "first"), ("SGX-TCBm", "AA"), ("ETag", 'W/"4-x"')]
    if age is not None:
        headers.append(("Cache-Control", age))
    return HttpResponse(status=status, headers=tuple(headers), body=body)


def table(line: bytes = TCB, given: HttpResponse | None = None, **options: int) -> Answers:
    """A table with one answer, offered at 0."""
    answers = Answers(**options)
    answers.offer(line, answers.shorten(given or response()), 0, 0.0)
    return answers


def test_an_answer_is_ready_with_another_request_id() -> None:
    """The bytes of the first answer, but for its `Request-ID`, and without what ends a head."""
    row = table().get(TCB, 1.0)
    assert row is not None
    parts = parts_of(row, b"mine", None)
    assert parts is not None
    assert b"".join(parts) == (
        b'HTTP/1.1 200 OK\r\nRequest-ID: mine\r\nSGX-TCBm: AA\r\nETag: W/"4-x"\r\n'
        b"Cache-Control: max-age=86340\r\nContent-Length: 4\r\nbody"
    )


def test_who_knows_it_gets_304() -> None:
    """The very tag gives 304 without a body; any other needs a closer look."""
    row = table().get(TCB, 1.0)
    assert row is not None
    known = parts_of(row, b"mine", b'W/"4-x"')
    assert known is not None
    assert known[0].startswith(b"HTTP/1.1 304 ")
    assert known[-1] == b""
    assert parts_of(row, b"mine", b'"a", W/"4-x"') is None


def test_it_is_ready_for_a_minute() -> None:
    """Then it is computed anew; while its date holds it may be served where the database is gone."""
    answers = table()
    assert answers.get(TCB, 59.9) is not None
    assert answers.get(TCB, 60.0) is None
    assert answers.get_good(TCB, 86_000.0) is not None
    assert answers.get_good(TCB, 86_340.0) is None


def test_nothing_is_served_beyond_its_end() -> None:
    """What is good for 90 seconds is said to be for 30, and ready for 30: together no more than 90."""
    answers = table(given=response(age="max-age=90"))
    assert answers.shorten(response(age="max-age=90")).header("Cache-Control") == "max-age=30"
    assert answers.get(TCB, 29.9) is not None
    assert answers.get_good(TCB, 30.0) is None


def test_the_last_minute_is_not_kept() -> None:
    """An item that ends within the minute is computed each time, for nobody to keep."""
    answers = table(given=response(age="max-age=60"))
    assert len(answers) == 0
    assert answers.shorten(response(age="max-age=60")).header("Cache-Control") == "max-age=0"


@pytest.mark.parametrize(
    ("line", "given"),
    [
        (TCB, response(status=404)),
        (TCB, response(age="no-store")),
        (TCB, response(age=None)),
        (b"GET /sgx/certification/v4/platforms HTTP/1.1", response()),
        (b"GET /sgx/certification/v4/refresh HTTP/1.1", response()),
        (b"POST /sgx/certification/v4/tcb HTTP/1.1", response()),
        (b"GET /metrics HTTP/1.1", response()),
        (b"GET http://x/sgx/certification/v4/tcb HTTP/1.1", response()),
        (TCB, response(body=b"x" * 600_000)),
    ],
)
def test_what_is_never_ready(line: bytes, given: HttpResponse) -> None:
    """Refusals, what says no-store, queues and orders, what is too large."""
    assert len(table(line, given)) == 0


def test_a_change_makes_it_forgotten() -> None:
    """A change of machines leaves collateral ready, and the other way round."""
    answers = table()
    answers.offer(PCK, response(), 0, 0.0)
    answers.forget({"platforms"})
    assert answers.get(PCK, 1.0) is None
    assert answers.get(TCB, 1.0) is not None
    answers.forget({"items"})
    assert answers.get(TCB, 1.0) is None
    assert answers.size == 0


def test_what_was_computed_before_a_change_is_not_taken_after_it() -> None:
    """An answer offered under an older generation may be of before the change."""
    answers = Answers()
    since = answers.generation
    answers.forget({"items"})
    answers.offer(TCB, response(), since, 0.0)
    assert len(answers) == 0


def test_a_policy_is_ready_for_a_minute_without_saying_so() -> None:
    """Policies have no date: they are ready until they change, or for a minute."""
    line = b"GET /sgx/certification/v4/appraisalpolicy?fmspc=00 HTTP/1.1"
    answers = table(line, response(age=None))
    assert answers.get(line, 1.0) is not None
    answers.forget({"policies"})
    assert answers.get(line, 1.0) is None


@pytest.mark.parametrize("more", [b"&junk=1", b"&fmspc=01", b"&clientid=" + b"x" * 33, b"&"])
def test_one_of_endless_many_lines_takes_no_room(more: bytes) -> None:
    """What the answer does not depend on, and a parameter that stands twice: nothing is kept."""
    line = TCB.replace(b" HTTP", more + b" HTTP")
    assert len(table(line)) == 0
    assert len(table(TCB.replace(b" HTTP", b"&update=early&clientid=me HTTP"))) == 1


def test_the_table_has_an_end() -> None:
    """The size stays below the limit; what is asked for again and again stays longest."""
    answers = Answers(max_size=20_000)
    lines = [b"GET /sgx/certification/v4/tcb?fmspc=%012x HTTP/1.1" % n for n in range(100)]
    answers.offer(lines[0], response(b"x" * 1000), 0, 0.0)
    for line in lines[1:]:
        assert answers.get(lines[0], 1.0) is not None
        answers.offer(line, response(b"x" * 1000), 0, 0.0)
        assert answers.size <= 20_000
    assert 5 < len(answers) < 20
    assert answers.get(lines[-1], 1.0) is not None
    assert answers.get(lines[1], 1.0) is None
