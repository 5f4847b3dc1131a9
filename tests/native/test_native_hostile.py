"""Answers that are none: whatever a process says, the library fails in time, with a code, with nothing.

And it recovers: the call after a bad answer is as good as any.
"""

import contextlib
import socket
import struct
import time
from pathlib import Path
from typing import Any

import pytest
import scripted_process as sp
from native_build import Built, environment, run
from scripted_process import (
    FIELD,
    HEAD,
    NEEDED,
    OUTPUTS,
    Action,
    Asked,
    Drip,
    ScriptedProcess,
    Then,
    good,
    message,
    outputs_of,
    response,
)

NONE, TIMEOUT, PARSING = 0xE040, 0xE042, 0xE046


def _ask(built: Built, path: Path, *words: str, **more: str) -> list[Any]:
    return run(
        built.program("asan_calls"),
        built.asan_library,
        "local",
        "ask",
        *words,
        environ=environment(path, **more),
    )


def _patched(asked: Asked, place: int, data: bytes) -> bytes:
    whole = good(asked)
    return whole[:place] + data + whole[place + len(data) :]


def _u16(value: int) -> bytes:
    return struct.pack("<H", value)


def _u32(value: int) -> bytes:
    return struct.pack("<I", value)


def _raw(asked: Asked, *, count: int, body: bytes, length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    return HEAD.pack(b"DCQP", 1, asked.call | 0x8000, asked.id, 0, count, size) + body


def _field(tag: int, data: bytes, *, size: int | None = None, zero: int = 0) -> bytes:
    return FIELD.pack(tag, zero, len(data) if size is None else size) + data


_TEXT = OUTPUTS[62]
#: What is wrong with the answer to the platform policy's call -> the answer.
WRONG: dict[str, Any] = {
    "magic": lambda asked: _patched(asked, 0, b"DCQQ"),
    "version 0": lambda asked: _patched(asked, 4, _u16(0)),
    "version 2": lambda asked: _patched(asked, 4, _u16(2)),
    "a request": lambda asked: _patched(asked, 6, _u16(sp.POLICY)),
    "another call": lambda asked: _patched(asked, 6, _u16(sp.PING | 0x8000)),
    "another id": lambda asked: _patched(asked, 8, _u32(asked.id + 1)),
    "status not Intel's": lambda asked: _patched(asked, 12, _u32(1)),
    "status 0xE000": lambda asked: _patched(asked, 12, _u32(0xE000)),
    "status 0x1E011": lambda asked: _patched(asked, 12, _u32(0x1E011)),
    "no field counted": lambda asked: _patched(asked, 16, _u32(0)),
    "two fields counted": lambda asked: _patched(asked, 16, _u32(2)),
    "65 fields": lambda asked: message(
        asked.call | 0x8000, asked.id, [(62, _TEXT)] + [(1, b"\2x")] * 64
    ),
    "4294967295 fields": lambda asked: _patched(asked, 16, _u32(0xFFFFFFFF)),
    "length one more": lambda asked: Then(_patched(asked, 20, _u32(8 + len(_TEXT) + 1))),
    "length one less": lambda asked: _patched(asked, 20, _u32(8 + len(_TEXT) - 1)),
    "length 0": lambda asked: _patched(asked, 20, _u32(0)),
    "length above the bound": lambda asked: _patched(asked, 20, _u32((1 << 20) + 1)),
    "length 4294967295": lambda asked: _patched(asked, 20, _u32(0xFFFFFFFF)),
    "field longer than all": lambda asked: _raw(
        asked, count=1, body=_field(62, _TEXT, size=len(_TEXT) + 1)
    ),
    "field of 4294967295": lambda asked: _raw(
        asked, count=1, body=_field(62, _TEXT, size=0xFFFFFFFF)
    ),
    "field shorter than all": lambda asked: _raw(
        asked, count=1, body=_field(62, _TEXT, size=len(_TEXT) - 1)
    ),
    "field without its header": lambda asked: _raw(
        asked, count=2, body=_field(62, _TEXT) + b"\1\0\0\0"
    ),
    "reserved not zero": lambda asked: _raw(asked, count=1, body=_field(62, _TEXT, zero=1)),
    "unknown tag": lambda asked: response(asked, [(62, _TEXT), (47, b"x")]),
    "unknown tag 65": lambda asked: response(asked, [(62, _TEXT), (65, b"x")]),
    "a request's tag": lambda asked: response(asked, [(62, _TEXT), (22, b"x")]),
    "tag twice": lambda asked: response(asked, [(62, _TEXT), (62, _TEXT)]),
    "log without level": lambda asked: response(asked, [(62, _TEXT), (1, b"")]),
    "log of level 3": lambda asked: response(asked, [(62, _TEXT), (1, b"\3x")]),
    "a NUL in a text": lambda asked: response(asked, [(62, b"a\0b")]),
    "CPUSVN of 15": lambda asked: response(asked, [(62, _TEXT), (59, bytes(15))]),
    "PCE SVN of 3": lambda asked: response(asked, [(62, _TEXT), (60, bytes(3))]),
    "HTTP": lambda _: b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
    "two answers": lambda asked: good(asked) * 2,
}


def test_what_is_no_answer_is_a_parsing_error(built: Built, socket_path: Path) -> None:
    """Each wrong header, length, count, tag and size is 0xE046; the call after all of them succeeds."""
    todo = iter([*WRONG.values(), good])

    def answer(asked: Asked) -> Action:
        made: Action = next(todo)(asked)
        return made

    with ScriptedProcess(socket_path, answer) as process:
        said = _ask(built, socket_path, "policy", str(len(WRONG) + 1))
    found = {name: (line["code"], line["clean"]) for name, line in zip(WRONG, said, strict=False)}
    assert found == dict.fromkeys(WRONG, (PARSING, True))
    assert said[-1]["code"] == 0
    # Whoever answered so is not asked again: each call made a connection of its own.
    assert process.connections == len(WRONG) + 1


def test_an_answer_that_is_cut_off_is_a_parsing_error(built: Built, socket_path: Path) -> None:
    """Cut after each byte but the last, an answer is 0xE046; a large one, at each field's edges."""
    asked = Asked(0, sp.COLLATERAL, 1, {sp.TEE: bytes(4)})
    place, cuts = HEAD.size, []
    for _, data in outputs_of(asked):
        cuts += [place - 1, place, place + 7, place + 8, place + 9, place + 8 + len(data) - 1]
        place += 8 + len(data)
    small = range(1, HEAD.size + 8 + len(_TEXT))
    todo = iter([*small, *cuts])
    with ScriptedProcess(socket_path, lambda asked: Then(good(asked)[: next(todo)])):
        said = _ask(built, socket_path, "policy", str(len(small)), "collateral", str(len(cuts)))
    assert [(line["code"], line["clean"]) for line in said] == [(PARSING, True)] * len(said)
    assert len(said) == len(small) + len(cuts) > 90


def test_an_answer_in_pieces_is_an_answer(built: Built, socket_path: Path) -> None:
    """Where a stream is cut means nothing: an answer that comes byte for byte is taken."""
    with ScriptedProcess(socket_path, lambda asked: Drip(good(asked), 0)):
        said = _ask(built, socket_path, "policy", "2")
    assert [line["code"] for line in said] == [0, 0]


@pytest.mark.parametrize("way", ["silence", "trickle", "half"])
def test_the_deadline_holds(built: Built, socket_path: Path, way: str) -> None:
    """A process that says nothing, or byte after byte too slowly, or half and no more: 0xE042."""

    def answer(asked: Asked) -> Action:
        whole = good(asked)
        if way == "trickle":
            return Drip(whole, 0.02)
        return Then(whole[: len(whole) // 2] if way == "half" else b"", cut=False)

    before = time.monotonic()
    with ScriptedProcess(socket_path, answer):
        said = _ask(built, socket_path, "policy", "1", DCAP_PROVIDER_TIMEOUT_MS="150")
    assert [(line["code"], line["clean"]) for line in said] == [(TIMEOUT, True)]
    assert time.monotonic() - before < 5


@pytest.mark.parametrize("full", [False, True])
def test_a_process_that_never_accepts_is_left_in_time(
    built: Built, socket_path: Path, full: bool
) -> None:
    """A process that hangs takes connections only into its queue; full or not: 0xE042 in time."""
    before = time.monotonic()
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(str(socket_path))
        listener.listen(0)
        if full:
            waiting = stack.enter_context(socket.socket(socket.AF_UNIX))
            waiting.connect(str(socket_path))
        said = _ask(built, socket_path, "policy", "1", DCAP_PROVIDER_TIMEOUT_MS="150")
    assert [(line["code"], line["clean"]) for line in said] == [(TIMEOUT, True)]
    assert time.monotonic() - before < 5


def test_a_late_answer_answers_nobody(built: Built, socket_path: Path) -> None:
    """The call after one that timed out gets its own answer, over a connection of its own."""

    def answer(asked: Asked) -> Action:
        if asked.connection == 0:
            return Then(b"", cut=False)
        return response(asked, [(62, b"of connection %d" % asked.connection)])

    with ScriptedProcess(socket_path, answer):
        said = _ask(built, socket_path, "policy", "2", DCAP_PROVIDER_TIMEOUT_MS="100")
    assert [line["code"] for line in said] == [TIMEOUT, 0]
    assert bytes.fromhex(said[1]["policy"]) == b"of connection 1\0"


def test_a_process_that_hangs_up_is_asked_a_few_times_more(built: Built, socket_path: Path) -> None:
    """Hung up without an answer, the request is sent anew; after five times it is 0xE040."""

    def answer(asked: Asked) -> Action:
        return Then(b"") if asked.connection < 7 else good(asked)

    with ScriptedProcess(socket_path, answer) as process:
        said = _ask(built, socket_path, "policy", "2")
    assert [(line["code"], line["clean"]) for line in said] == [(NONE, True), (0, False)]
    assert process.connections == 8


def test_a_process_that_closes_before_it_reads_kills_no_host(
    built: Built, socket_path: Path
) -> None:
    """Writing to a closed connection raises SIGPIPE in a program; not in the library's host."""
    with ScriptedProcess(socket_path, rejected=10) as process:
        said = _ask(built, socket_path, "policy", "3")
    assert [line["code"] for line in said] == [NONE] * 2 + [0]
    assert process.connections == 11


def test_a_restarted_process_is_not_noticed(built: Built, socket_path: Path) -> None:
    """A connection that was closed while idle, or when it is used again, costs no call.

    Closed while idle is seen before anything is sent. Closed later, the request is sent once more.
    """

    def answer(asked: Asked) -> Action:
        if asked.connection == 0:
            return Then(good(asked))  # closed while idle
        of_this = [each for each in process.requests if each.connection == asked.connection]
        return good(asked) if len(of_this) == 1 else Then(b"")  # closed when used again

    with ScriptedProcess(socket_path, answer) as process:
        said = _ask(built, socket_path, "policy", "4")
    assert [line["code"] for line in said] == [0] * 4
    assert process.connections == 4


def test_a_request_too_large_to_be_one_is_refused(built: Built, socket_path: Path) -> None:
    """Everything that a caller may give fits in a request, with every variable at its longest."""
    names = ("QCNL_CONF_PATH", "AZDCAP_BASE_CERT_URL", "AZDCAP_REGION_URL", "HTTPS_PROXY")
    long = dict.fromkeys(names, "x" * 4096)
    with ScriptedProcess(socket_path) as process:
        said = _ask(built, socket_path, "write", "1", **long)
    assert [line["code"] for line in said] == [0]
    assert sum(map(len, process.requests[0].environment)) > 4 * 4096


def test_mutated_answers_crash_nothing(built: Built, tmp_path: Path) -> None:
    """30,000 mutations of good answers go through the decoder under AddressSanitizer and UBSan.

    The same mutations every time; some are still answers, most are not.
    """
    seeds = []
    for call in NEEDED:
        asked = Asked(0, call, 1, {sp.TEE: bytes(4), sp.CRL_URLS: b"https://example"})
        small = [(tag, data[:40]) for tag, data in outputs_of(asked)]
        seeds.append(tmp_path / f"{call}")
        seeds[-1].write_bytes(response(asked, [*small, (1, b"\2a line")]))
    (done,) = run(
        built.program("mutations"), "30000", *seeds, environ=environment(None), seconds=60
    )
    assert done["tried"] == 30000
    assert 1000 < done["taken"] < 20000
