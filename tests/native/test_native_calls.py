"""Each export, called from C: outputs byte for byte what the process sent, codes as documented."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import scripted_process as sp
from native_build import Built, environment, run
from scripted_process import OUTPUTS, Asked, ScriptedProcess, outputs_of, response

PIECES = {
    "pck_crl_issuer_chain": 50,
    "root_ca_crl": 51,
    "pck_crl": 52,
    "tcb_info_issuer_chain": 53,
    "tcb_info": 54,
    "qe_identity_issuer_chain": 55,
    "qe_identity": 56,
}
INVALID = 0xE002


@pytest.fixture
def process(socket_path: Path) -> Iterator[ScriptedProcess]:
    """A good process."""
    with ScriptedProcess(socket_path) as process:
        yield process


def _calls(built: Built, path: Path, *words: str, scope: str = "local", **more: str) -> list[Any]:
    return run(
        built.program("calls"),
        built.library,
        scope,
        *words,
        environ=environment(path, **more),
    )


def _ended(data: bytes) -> str:
    """As it lies in the caller's memory: a NUL behind it, and counted."""
    return (data + b"\0").hex()


def _set(name: str, tee: int) -> dict[str, Any]:
    made: dict[str, Any] = {"call": name, "code": 0, "version": 0x10003, "tee": tee, "clean": False}
    return made | {piece: _ended(OUTPUTS[tag]) for piece, tag in PIECES.items()}


CONFIG = {
    "call": "quote_config",
    "code": 0,
    "clean": False,
    "version": 1,
    "pce_svn": 0x0102,
    "cpu_svn": bytes(range(16)).hex(),
    "cert_data": _ended(OUTPUTS[61]),
}
TCB = {
    "tcb_info": OUTPUTS[54].hex(),
    "tcb_issuer_chain": OUTPUTS[53].hex(),
    "ended": 0,
}
REVOCATION = {"call": "revocation_info", "code": 0, "clean": False, "version": 1}


def _crl(place: int, url: str) -> dict[str, str]:
    return {
        f"crl_{place}": (OUTPUTS[52] + url.encode()).hex(),
        f"crl_{place}_chain": OUTPUTS[50].hex(),
    }


def _plain(name: str) -> dict[str, Any]:
    return {"call": name, "code": 0, "clean": True}


@pytest.mark.parametrize("scope", ["local", "global"])
def test_every_call_gives_what_the_process_sent(
    built: Built, process: ScriptedProcess, scope: str
) -> None:
    """Loaded RTLD_LOCAL or RTLD_GLOBAL, each export hands out exactly the bytes of the answer.

    The free functions take what was given, and NULL.
    """
    said = _calls(built, process.path, "every", scope=scope)
    processor, platform = "https://example/crl?ca=processor", "https://example/crl?ca=platform"
    both = _crl(0, processor) | _crl(1, platform)
    assert said == [
        {"call": "version", "text": said[0]["text"]},
        _plain("init"),
        CONFIG,
        _set("collateral", 0),
        _set("tdx_collateral", 0x81),
        {
            "call": "qve_identity",
            "code": 0,
            "clean": False,
            "identity": _ended(OUTPUTS[57]),
            "chain": _ended(OUTPUTS[58]),
        },
        {"call": "root_ca_crl", "code": 0, "clean": False, "crl": _ended(OUTPUTS[51])},
        {"call": "policy", "code": 0, "clean": False, "policy": _ended(OUTPUTS[62])},
        REVOCATION | {"crl_count": 2} | TCB | both,
        {
            "call": "qe_identity",
            "code": 0,
            "clean": False,
            "identity": OUTPUTS[56].hex(),
            "chain": OUTPUTS[55].hex(),
        },
        _plain("write"),
        {
            "call": "read",
            "code": 0,
            "size": len(OUTPUTS[63]),
            "blob": OUTPUTS[63].hex(),
            "clean": False,
        },
        _plain("clear_cache"),
        _plain("cleanup"),
        _set("collateral_with", 0),
        _set("tdx_collateral_with", 0x81),
        _set("collateral_with_none", 0),
        CONFIG,
        REVOCATION | {"crl_count": 0} | TCB,
        REVOCATION | {"crl_count": 1} | _crl(0, processor),
    ]


def test_a_call_tells_the_process_its_arguments_and_no_more(
    built: Built, process: ScriptedProcess
) -> None:
    """The platform as given, SVNs little-endian; no encrypted PPID where none is known; TEE and CA."""
    _calls(built, process.path, "every")
    known, unknown = (each.fields for each in process.asked(sp.QUOTE_CONFIG))
    platform = {
        sp.QE_ID: bytes(range(0x10, 0x20)),
        sp.CPU_SVN: bytes(range(0x20, 0x30)),
        sp.PCE_SVN: b"\x0c\x0d",
        sp.PCE_ID: b"\x01\x02",
    }
    for fields, ppid in ((known, {sp.PPID: b"\x5a" * 384}), (unknown, {})):
        assert fields.pop(sp.CALLER) == b"calls"
        assert 0 < int.from_bytes(fields.pop(sp.DEADLINE), "little") <= 30000
        assert fields == platform | ppid
    sets = [each.fields for each in process.asked(sp.COLLATERAL)]
    told = [
        (int.from_bytes(each[sp.TEE], "little"), each[sp.CA], each.get(sp.CUSTOM)) for each in sets
    ]
    assert told == [
        (0, b"platform", None),
        (0x81, b"platform", None),
        (0, b"processor", b"\0a=b&"),
        (0x81, b"processor", b"\0a=b&"),
        (0, b"processor", None),
    ]
    assert {each[sp.FMSPC] for each in sets} == {bytes.fromhex("00906ed50000")}
    (write,) = process.asked(sp.WRITE)
    assert write.fields[sp.LABEL] == b"tdqe_data.blob"
    assert write.fields[sp.BLOB] == b"\1\0\2\0\3"
    (clear,) = process.asked(sp.CLEAR_CACHE)
    assert clear.fields[sp.MASK] == b"\5\0\0\0"


def test_bad_arguments_are_refused_and_nobody_is_asked(
    built: Built, process: ScriptedProcess
) -> None:
    """Each wrong argument is 0xE002 (2 in Azure's older functions), each output empty, nobody asked."""
    said = _calls(built, process.path, "bad")
    assert len(said) == 50
    wrong = [
        line
        for line in said
        if line["code"] != (2 if line["call"].startswith(("revocation", "qe")) else INVALID)
        or not line["clean"]
    ]
    assert wrong == []
    assert process.requests == []


#: Call of the program -> our number of it.
CALLS = {
    "quote_config": sp.QUOTE_CONFIG,
    "collateral": sp.COLLATERAL,
    "tdx_collateral": sp.COLLATERAL,
    "qve_identity": sp.QVE_IDENTITY,
    "root_ca_crl": sp.ROOT_CA_CRL,
    "policy": sp.POLICY,
    "revocation_info": sp.REVOCATION_INFO,
    "qe_identity": sp.QE_IDENTITY,
    "read": sp.READ,
}


def test_an_output_that_is_missing_or_empty_is_never_success(
    built: Built, socket_path: Path
) -> None:
    """Every output of every call, left out or empty, makes the call fail with nothing handed out.

    (Intel's client returns success with NULL in such cases: `quote-provider.md` §0.9.)
    """
    faults: list[tuple[str, int, bool]] = [
        (call, tag, empty)
        for call, number in CALLS.items()
        for tag in sp.NEEDED[number]
        for empty in (False, True)
        if (call, tag) != ("revocation_info", 51)  # not an output of that function
    ]
    todo = iter(faults)

    def answer(asked: Asked) -> bytes:
        _, left, empty = next(todo)
        fields = [(tag, data) for tag, data in outputs_of(asked) if tag != left]
        return response(asked, [*fields, (left, b"")] if empty else fields)

    words = [word for call, _, _ in faults for word in (call, "1")]
    with ScriptedProcess(socket_path, answer):
        said = _calls(built, socket_path, "ask", *words)
    for (call, tag, empty), line in zip(faults, said, strict=True):
        # A number that is empty is not of its size, so the message is none.
        malformed = empty and tag in (48, 49, 59, 60)
        legacy = call in ("revocation_info", "qe_identity")
        code = 3 if legacy else 0xE046 if malformed else 0xE01A
        assert (line["code"], line["clean"]) == (code, True), (call, tag, empty, line)


def test_an_answer_for_another_tee_or_of_version_0_is_none(built: Built, socket_path: Path) -> None:
    """SGX collateral is not taken for TDX collateral, nor a set that names no version."""

    def answer(asked: Asked) -> bytes:
        fields = dict(outputs_of(asked))
        if asked.fields[sp.TEE] == bytes(4):
            fields[48] = bytes(4)
        else:
            fields[49] = bytes(4)
        return response(asked, list(fields.items()))

    with ScriptedProcess(socket_path, answer):
        said = _calls(built, socket_path, "ask", "collateral", "1", "tdx_collateral", "1")
    assert [(line["code"], line["clean"]) for line in said] == [(0xE01A, True)] * 2


def test_a_root_crl_that_its_function_cannot_carry_is_refused(
    built: Built, socket_path: Path
) -> None:
    """65,534 bytes and the NUL fit in 16 bits; one byte more is an error, not a CRL cut short."""
    sizes = iter([65534, 65535, 70000])

    def answer(asked: Asked) -> bytes:
        return response(asked, [(51, b"\x30" * next(sizes))])

    with ScriptedProcess(socket_path, answer):
        said = _calls(built, socket_path, "ask", "root_ca_crl", "3")
    assert [line["code"] for line in said] == [0, 0xE01A, 0xE01A]
    assert len(bytes.fromhex(said[0]["crl"])) == 65535
    assert [line["clean"] for line in said] == [False, True, True]


def test_a_status_of_the_process_is_the_code_of_the_call(built: Built, socket_path: Path) -> None:
    """Intel's codes come through as they are; for Azure's older functions they are translated."""
    codes = [0xE011, 0xE01B, 0xE019, 0xE044, 0xE047, 0xE065, 0xE067, 0xE003]
    azure = {0xE011: 4, 0xE01B: 4, 0xE047: 4, 0xE003: 1}
    todo = iter([*codes, *codes, 0xE067])

    def answer(asked: Asked) -> bytes:
        return response(asked, [], status=next(todo))

    count = str(len(codes))
    with ScriptedProcess(socket_path, answer):
        said = _calls(
            built, socket_path, "ask", "quote_config", count, "qe_identity", count, "init", "1"
        )
    found = [line["code"] for line in said]
    assert found == [*codes, *(azure.get(code, 3) for code in codes), 0xE067]
    assert all(line["clean"] for line in said)


def test_a_buffer_too_small_is_told_how_much_is_wanted(built: Built, socket_path: Path) -> None:
    """`sgx_ql_read_persistent_data` writes nothing into a buffer that the data does not fit in."""

    def answer(asked: Asked) -> bytes:
        return response(asked, [(63, b"x" * 65)])

    with ScriptedProcess(socket_path, answer):
        (line,) = _calls(built, socket_path, "ask", "read", "1")
    assert line == {"call": "read", "code": INVALID, "size": 65, "clean": True}


def _logging(asked: Asked) -> bytes:
    lines = [
        b"\x00an error \xe2\x80\x93 told",
        b"\x01a warning",
        b"\x02an\x1b[31m information\n",
        b"\x00",
    ]
    level = asked.fields.get(sp.LOG_LEVEL)
    heard = [] if level is None else [line for line in lines if line[0] <= level[0]]
    return response(asked, [*outputs_of(asked), *((1, line) for line in heard)])


ERROR, WARNING, INFORMATION = "an error \u2013 told", "a warning", "an [31m information"


@pytest.mark.parametrize(
    ("which", "level", "heard"),
    [
        ("none", None, []),
        ("taken_back", None, []),
        ("callback_error", 0, [("callback", 0, ERROR)]),
        ("callback_odd", 0, [("callback", 0, ERROR)]),
        (
            "callback_info",
            2,
            [
                ("callback", 0, ERROR),
                ("callback", 1, WARNING),
                ("callback", 1, INFORMATION),
            ],
        ),
        (
            "function",
            2,
            [("function", 0, ERROR), ("function", 1, WARNING), ("function", 2, INFORMATION)],
        ),
    ],
)
def test_who_listens_hears_his_levels_and_nobody_else_anything(
    built: Built,
    socket_path: Path,
    which: str,
    level: int | None,
    heard: list[tuple[str, int, str]],
) -> None:
    """Intel's callback hears errors, or all as error and info; Azure's function all three levels.

    The process is told the level, so that it says nothing where nobody listens. Control characters,
    which could move a terminal's cursor, come out as spaces; a line without text is none. A level that
    does not exist (Open Enclave once gave none) is "error".
    """
    with ScriptedProcess(socket_path, _logging) as process:
        said = _calls(built, socket_path, "log", which)
    assert [(line["call"], line["level"], line["text"]) for line in said[:-1]] == heard
    told = process.requests[0].fields.get(sp.LOG_LEVEL)
    assert told == (None if level is None else bytes([level]))


@pytest.mark.parametrize(
    ("asked", "printed"),
    [
        ("ERROR", ["[ERROR]: " + ERROR]),
        ("SGX_QL_LOG_WARNING", ["[ERROR]: " + ERROR, "[WARNING]: " + WARNING]),
        ("FATAL", []),
        ("error", []),
        ("", []),
    ],
)
def test_azures_variable_prints_to_stdout(
    built: Built, socket_path: Path, asked: str, printed: list[str]
) -> None:
    """`AZDCAP_DEBUG_LOG_LEVEL` prints its levels; any other word means silence (§4.1).

    Unset, nothing is printed: that Azure's client complains of it is its defect (test above: "none").
    """
    import subprocess  # noqa: PLC0415 - what is printed is no JSON

    command = [built.program("calls"), built.library, "local", "ask", "root_ca_crl", "1"]
    with ScriptedProcess(socket_path, _logging):
        done = subprocess.run(
            command,
            env=environment(socket_path, AZDCAP_DEBUG_LOG_LEVEL=asked),
            capture_output=True,
            check=True,
        )
    lines = done.stdout.decode().splitlines()
    prefix = "Azure Quote Provider: libdcap_quoteprov.so "
    assert [line.removeprefix(prefix) for line in lines if line.startswith(prefix)] == printed
    assert len(lines) == len(printed) + 1


def test_the_environment_is_an_allow_list_read_at_every_call(
    built: Built, process: ScriptedProcess
) -> None:
    """What says where collateral comes from is told; a secret of the host, or a huge value, is not."""
    more = {
        "QCNL_CONF_PATH": "/etc/other.conf",
        "AZDCAP_BASE_CERT_URL": "https://x",
        "https_proxy": "http://proxy:1",
        "HTTP_PROXY": "",
        "DCAP_OFFLINE": "1",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "LD_BIND_NOW": "1",
        "AZDCAP_CACHE": "x" * 4097,
    }
    _calls(built, process.path, "ask", "root_ca_crl", "1", **more)
    told = {entry.split(b"=")[0].decode() for entry in process.requests[0].environment}
    assert told == {*more, "HOME"} - {"AWS_SECRET_ACCESS_KEY", "LD_BIND_NOW", "AZDCAP_CACHE"}
    assert b"QCNL_CONF_PATH=/etc/other.conf" in process.requests[0].environment
    assert b"HTTP_PROXY=" in process.requests[0].environment


def test_the_systems_process_is_told_nothing_of_the_environment(built: Built) -> None:
    """It serves all users, and behind systemd's socket it seems to be root: to root as well."""
    built.system_folder.mkdir(mode=0o755, exist_ok=True)
    with ScriptedProcess(built.system_folder / "provider.sock") as process:
        environ = environment(QCNL_CONF_PATH="/etc/other.conf", https_proxy="http://u:secret@proxy")
        calls = built.program("calls")
        (said,) = run(
            calls, built.system_library, "local", "ask", "root_ca_crl", "1", environ=environ
        )
        assert said["code"] == 0
        assert process.requests[0].environment == []


def test_the_deadline_is_told(built: Built, process: ScriptedProcess) -> None:
    """The process is told `DCAP_PROVIDER_TIMEOUT_MS` less what has passed; nonsense is ignored."""
    found = []
    for text in ("500", "0", "12x", "-5", "99999999999"):
        _calls(built, process.path, "ask", "root_ca_crl", "1", DCAP_PROVIDER_TIMEOUT_MS=text)
        (left,) = struct.unpack("<I", process.requests[-1].fields[sp.DEADLINE])
        found.append("own" if 0 < left <= 500 else "default" if 20000 < left <= 30000 else left)
    assert found == ["own", *["default"] * 4]
