"""`dcap.pccs.request_log`: what a line says, and what no line may say."""

import json
from datetime import UTC, datetime

import pytest

from dcap.api.http import HttpRequest
from dcap.errors import Unavailable
from dcap.pccs.request_log import RequestLog

SECRETS = ("0123456789ABCDEF" * 2, "aa" * 384, "my-token", "manifest-of-it")
PCK = (
    f"/sgx/certification/v4/pckcert?qeid={SECRETS[0]}&encrypted_ppid={SECRETS[1]}"
    "&cpusvn=00112233445566778899AABBCCDDEEFF&pcesvn=0D00&pceid=0000"
)


def lines_of(form: str, request: HttpRequest, status: int = 200, level: str = "info") -> list[str]:
    """What is written of a request."""
    lines: list[str] = []
    at = datetime(2026, 1, 1, tzinfo=UTC)
    log = RequestLog(form, level, write=lines.append, clock=lambda: at)
    log.request(
        request, status=status, cause="unregistered", identity="r1", address="10.0.0.1", seconds=0.5
    )
    return lines


@pytest.mark.parametrize("form", ["text", "json"])
def test_nothing_of_a_machine_is_said(form: str) -> None:
    """Neither its ids nor its TCB, nor a token, nor a body, in whatever form."""
    request = HttpRequest(
        target=PCK, headers=(("user-token", SECRETS[2]),), body=SECRETS[3].encode()
    )
    (line,) = lines_of(form, request, 404)
    for secret in (*SECRETS, "00112233445566778899AABBCCDDEEFF"):
        assert secret not in line
    for said in ("sgx/v4/pckcert", "404", "unregistered", "10.0.0.1", "r1", "500"):
        assert said in line


def test_what_is_no_machines_is_said() -> None:
    """The FMSPC, the edition, whose list: short words alone."""
    target = "/tdx/certification/v4/tcb?fmspc=00906ED50000&update=early&ca=" + "x" * 99
    (line,) = lines_of("json", HttpRequest(target=target))
    found = json.loads(line)
    assert (found["fmspc"], found["update"], found["resource"]) == (
        "00906ED50000",
        "early",
        "tdx/v4/tcb",
    )
    assert "ca" not in found


def test_a_path_that_is_none_is_not_repeated() -> None:
    """Whatever stands in the path of no resource could be an identifier, or an attack on terminals."""
    (line,) = lines_of("text", HttpRequest(target=f"/x/{SECRETS[0]}\x1b[31m"))
    assert SECRETS[0] not in line
    assert "\x1b" not in line


def test_a_value_that_is_no_word_of_the_parameter_is_not_said() -> None:
    """What is not of a parameter's form could be anything, an identifier among it."""
    target = f"/sgx/certification/v4/tcb?fmspc={SECRETS[0]}&source=my-token&update=EARLY"
    found = json.loads(lines_of("json", HttpRequest(target=target))[0])
    assert {name for name in ("fmspc", "source", "update") if name in found} == {"update"}
    many = HttpRequest(target="/sgx/certification/v4/tcb?" + "a&" * 99)
    assert "tcb" in lines_of("text", many)[0]


@pytest.mark.parametrize("value", ["a b", "a\tb", "a=b", 'a"b', "a\u00a0b", "a\nb"])
def test_a_value_of_text_is_one_word(value: str) -> None:
    """Whatever could end a word, or look like another name, stands within quotes."""
    lines: list[str] = []
    RequestLog("text", "info", write=lines.append).event("info", "it", why=value, at="10.0.0.1:80")
    assert lines[0].endswith("at=10.0.0.1:80\n")
    assert lines[0].split(' why="', 1)[1].startswith("a")
    RequestLog("text", "info", write=lines.append).event("info", "it", why="", code=None, n=0)
    assert lines[1].endswith(" it n=0\n")


def test_levels_hide_what_is_less() -> None:
    """At warning, requests are not written; those that failed are."""
    request = HttpRequest(target=PCK)
    assert lines_of("text", request, 404, "warning") == []
    assert len(lines_of("text", request, 500, "warning")) == 1


def test_an_error_of_another_kind_is_not_quoted() -> None:
    """Ours say what and where; of any other, its kind and the place in our code alone."""
    lines: list[str] = []
    log = RequestLog("text", "info", write=lines.append)
    log.failed("request", Unavailable("store-unavailable", "gone", where="sqlite"))
    try:
        bytes.fromhex(SECRETS[0] + "x")
    except ValueError as error:
        log.failed("request", error)
    assert "store-unavailable" in lines[0]
    assert "ValueError" in lines[1]
    assert SECRETS[0] not in lines[1]
