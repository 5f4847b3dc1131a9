"""A QCNL configuration as a whole: what discards it, in Intel's library and here, and which file it is.

Each row is a truth and one change to it: what Intel's library uses then, what `sgx_qpl_global_init`
returns, what is remarked, and what dcap uses.
"""

import os
from pathlib import Path

import pytest
from msgspec.structs import replace

from dcap.errors import ConfigError
from dcap.qpl.qcnl_config import MAX_SIZE, configured_path, load_qcnl
from dcap.qpl.qcnl_values import DEFAULT_PCCS_URL, Reading
from qpl.qcnl_readings import (
    DEFAULTS,
    GOOD,
    LEGACY,
    URL,
    WRITTEN,
    codes,
    read,
    with_member,
)

# ── §1.2: what becomes of the whole file ────────────────────────────────────────────────────────────


def test_a_file_without_fault_is_used_as_written() -> None:
    """The truth that the rows below change: no remark, and one configuration for everybody."""
    reading = read(GOOD)
    assert reading.config == reading.intel == WRITTEN
    assert (reading.init, reading.remarks, reading.format) == (0, (), "json")
    assert reading.obeyed
    assert str(reading.origins["retry_times"]) == "line 4"
    assert str(reading.origins["retry_delay"]) == "default"


#: Name -> text, init's code, line and column, code of the remark.
DISCARDED: dict[str, tuple[str | bytes, int, tuple[int, int], str]] = {
    "trailing comma": (GOOD.replace("3\n}", "3,\n}"), 0xE067, (4, 19), "qcnl-trailing-comma"),
    "double comma": (
        GOOD.replace('"3.1",\n', '"3.1",\n ,'), 0xE067, (4, 2), "qcnl-double-comma"),
    "leading comma": (GOOD.replace("{", "{,", 1), 0xE067, (1, 2), "qcnl-double-comma"),
    "missing comma": (
        GOOD.replace('"3.1",', '"3.1"'), 0xE067, (3, 28), "qcnl-missing-comma"),
    "trailing comma after a newline": (
        "\n" + GOOD.replace("3\n}", "3,\n}"), 0, (5, 19), "qcnl-trailing-comma"),
    "trailing comma after a comment": (
        "// mine\n" + GOOD.replace("3\n}", "3,\n}"), 0, (5, 19), "qcnl-trailing-comma"),
    "byte order mark": (b"\xef\xbb\xbf" + GOOD.encode(), 0, (1, 1), "qcnl-bom"),
    "hash comment": (GOOD.replace("{", "{ # mine", 1), 0xE067, (1, 3), "qcnl-hash-comment"),
    "no quotes about a key": (
        GOOD.replace('"retry_times"', "retry_times"), 0xE067, (4, 3), "qcnl-quotes"),
    "single quotes": (GOOD.replace('"3.1"', "'3.1'"), 0xE067, (3, 23), "qcnl-quotes"),
    "no quotes about a value": (
        GOOD.replace(f'"{URL}"', URL), 0xE067, (2, 15), "qcnl-quotes"),
    "a number with a zero before it": (
        GOOD.replace(": 3\n", ": 03\n"), 0xE067, (4, 18), "qcnl-number"),
    "an equals sign": (
        GOOD.replace('times":', 'times" ='), 0xE067, (4, 17), "qcnl-syntax"),
    "no closing quote": (GOOD.replace('"3.1",', '"3.1,'), 0xE067, (3, 23), "qcnl-string"),
    "no closing brace": (GOOD.replace("}", ""), 0xE067, (1, 1), "qcnl-unclosed"),
    "no braces": (GOOD.replace("{", "").replace("}", ""), 0, (2, 3), "qcnl-braces"),
    "something behind the end": (GOOD + "}\n", 0xE067, (6, 1), "qcnl-after-end"),
}  # fmt: skip


@pytest.mark.parametrize("name", list(DISCARDED))
def test_a_file_that_is_no_json_is_discarded_by_intels_library_and_not_by_dcap(name: str) -> None:
    """One fault of syntax: Intel's library asks localhost, dcap what was meant; a remark says where."""
    text, init, place, code = DISCARDED[name]
    reading = read(text)
    assert (reading.intel, reading.config) == (DEFAULTS, WRITTEN)
    assert reading.init == init
    assert [(found.code, found.line, found.column) for found in reading.remarks if
            found.severity == "discarded"] == [(code, *place)]  # fmt: skip
    assert reading.discarded
    assert not reading.obeyed


@pytest.mark.parametrize(
    ("word", "code"),
    [("True", "qcnl-word"), ("FALSE", "qcnl-word"), ("None", "qcnl-word"), ("yes", "qcnl-quotes")],
)
def test_words_of_other_languages_are_no_json(word: str, code: str) -> None:
    """`True` is Python's; Intel's library discards the file."""
    reading = read(with_member(f'"use_secure_cert": {word}'))
    assert (reading.intel, reading.init, code in codes(reading)) == (DEFAULTS, 0xE067, True)
    assert reading.config.pccs_url == URL


def test_a_check_is_not_turned_off_by_a_word_that_intels_library_does_not_take() -> None:
    """What weakens must be written right: "false" in quotes leaves certificates checked."""
    for member in ('"use_secure_cert": "false"', '"Use_Secure_Cert": false'):
        reading = read(with_member(member))
        assert reading.config.use_secure_cert
        assert reading.intel.use_secure_cert
    assert not read(with_member('"use_secure_cert": false')).config.use_secure_cert


@pytest.mark.parametrize("head", ["", "// mine\n", "/* { */\n", "\n \t"])
@pytest.mark.parametrize("inside", ["// mine, too", "/* mine\n */", "/***/", "//"])
def test_comments_are_taken_wherever_they_stand(head: str, inside: str) -> None:
    """Rapidjson's two kinds of comment change nothing, before `{`, within, and behind `}`."""
    text = head + GOOD.replace("{\n", f"{{\n {inside}\n").replace(": 3", f": {inside}\n 3")
    assert (read(text).intel, read(text).remarks) == (WRITTEN, ())
    assert read(f"{text}{inside}").intel == WRITTEN


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (r"https:\/\/h\u002fsgx\/", "https://h/sgx/"),
        (r"https://h/\"\\\b\f\n\r\t/sgx/", 'https://h/"\\\b\f\n\r\t/sgx/'),
        (r"https://\ud83d\ude00/sgx/", "https://\U0001f600/sgx/"),
        (r"https://h/sgx/\u0000/", "https://h/sgx/"),
    ],
)
def test_escapes_are_read_as_json_has_them(text: str, value: str) -> None:
    """Every escape; a NUL within a text ends it, as it ends C's."""
    reading = read(f'{{"local_pck_url": "{text}"}}')
    assert (reading.intel.local_pck_url, reading.discarded) == (value, False)


@pytest.mark.parametrize("text", [r"\x41", r"\u00g0", r"\ud83d", r"\ud83d\u0041", "\t"])
def test_what_is_no_escape_discards_the_file(text: str) -> None:
    """A bad escape, half a pair, a tab as it is."""
    reading = read(with_member(f'"x": "{text}"'))
    assert ("qcnl-string" in codes(reading), reading.intel) == (True, DEFAULTS)
    assert reading.config == WRITTEN


@pytest.mark.parametrize("space", ["\u00a0", "\f", "\ufeff", "\u2003"])
def test_other_space_than_jsons_discards_the_file(space: str) -> None:
    """What a web page or an editor puts in: no space for rapidjson, and none that is meant."""
    reading = read(GOOD.replace(": 3", f":{space}3"))
    assert (codes(reading), reading.intel, reading.config) == (
        ["qcnl-syntax"], DEFAULTS, WRITTEN)  # fmt: skip


@pytest.mark.parametrize(
    ("number", "meant"), [("+5", 5), ("05", 5), (".5", 0.5), ("5.", 5), ("1e400", 2160), ("1h", 0)]
)
def test_a_number_that_json_does_not_have_is_taken_where_it_can_be(
    number: str, meant: float
) -> None:
    """Intel's library discards the file; dcap takes what the digits say."""
    reading = read(with_member(f'"pck_cache_expire_hours": {number}'))
    assert reading.intel == DEFAULTS
    assert "qcnl-number" in codes(reading)
    assert reading.config == replace(WRITTEN, pck_cache_expire_hours=meant)


def test_an_open_comment_discards_the_file() -> None:
    """A `/*` without end is an error of rapidjson."""
    reading = read(GOOD + "/* mine")
    assert (codes(reading), reading.intel, reading.config) == (
        ["qcnl-unclosed"], DEFAULTS, WRITTEN)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "format_", "code"),
    [
        (b"", "empty", "qcnl-file-empty"),
        (b" \n// nothing\n", "empty", "qcnl-file-empty"),
        (b"{}", "json", "qcnl-file-empty"),
    ],
)
def test_an_empty_file_means_the_defaults(text: bytes, format_: str, code: str) -> None:
    """Empty, comments alone or `{}`: no error, the defaults, and a word of advice."""
    reading = read(text)
    assert (reading.format, reading.init, reading.intel, reading.config) == (
        format_, 0, DEFAULTS, DEFAULTS)  # fmt: skip
    assert code in codes(reading, advice=True)
    assert reading.obeyed


@pytest.mark.parametrize("text", ["[]", '"text"', "7", "null", "true", "// c\n[{}]"])
def test_a_root_that_is_no_object_is_undefined(text: str) -> None:
    """Rapidjson accepts it, and then looks for members of what has none."""
    reading = read(text)
    assert (codes(reading), reading.init, reading.intel) == (["qcnl-not-object"], 0, DEFAULTS)


@pytest.mark.parametrize("text", ["<html>404</html>", "hello", "\x7fELF\x02", "= ="])
def test_what_is_neither_format_is_called_so(text: str) -> None:
    """A web page saved in its place leaves the defaults, and one remark says why."""
    reading = read(text)
    assert codes(reading) == ["qcnl-not-recognised"]
    assert reading.intel == reading.config == DEFAULTS


@pytest.mark.parametrize("kind", ["late", "", "standard ", "earlyer"])
def test_a_wrong_update_type_discards_the_whole_file(kind: str) -> None:
    """tcb_update_type is the one value that costs the file: 0xE001, and the defaults."""
    reading = read(with_member(f'"tcb_update_type": "{kind}"'))
    assert (codes(reading), reading.init, reading.intel) == (
        ["qcnl-update-type"], 0xE001, DEFAULTS)  # fmt: skip
    assert reading.config == WRITTEN


@pytest.mark.parametrize("kind", ["early", "EARLY", "Early", "Standard"])
def test_the_update_type_is_taken_in_any_letters(kind: str) -> None:
    """Intel's library makes it lower case before it looks."""
    reading = read(with_member(f'"tcb_update_type": "{kind}"'))
    assert reading.intel.tcb_update_type == reading.config.tcb_update_type == kind.lower()
    assert reading.obeyed


def test_of_a_key_that_is_there_twice_the_first_wins() -> None:
    """Rapidjson finds the first member of a name."""
    reading = read(with_member('"retry_times": 9'))
    assert reading.intel == reading.config == WRITTEN
    (found,) = reading.remarks
    assert (found.code, found.line, "line 4" in found.what) == ("qcnl-key-repeated", 5, True)


@pytest.mark.parametrize("spelling", ["PCCS_URL", "Pccs_Url", "pccs-url", " pccs_url"])
def test_a_key_in_other_letters_is_ignored_by_intels_library(spelling: str) -> None:
    """Keys are case sensitive; dcap takes what was meant, and the remark spells it."""
    reading = read(GOOD.replace("pccs_url", spelling))
    assert reading.intel.pccs_url == DEFAULT_PCCS_URL
    assert reading.config == WRITTEN
    assert codes(reading) == ["qcnl-key-case"]
    assert '"pccs_url"' in reading.remarks[0].mend


@pytest.mark.parametrize(
    ("name", "meant"),
    [("pcs_url", "pccs_url"), ("retry_time", "retry_times"), ("api_key", None), ("", None)],
)
def test_an_unknown_key_is_ignored_and_a_near_one_suggested(name: str, meant: str | None) -> None:
    """Intel's library passes over it without a word."""
    reading = read(with_member(f'"{name}": 1'))
    (found,) = reading.remarks
    assert (found.code, found.line, found.column) == ("qcnl-key-unknown", 5, 3)
    assert reading.intel == WRITTEN
    assert (f'"{meant}"' in found.mend) == (meant is not None)


def test_a_line_of_the_other_format_in_broken_json_is_what_intels_library_reads() -> None:
    """After JSON has failed, the KEY=value reader gets the same text."""
    reading = read('{ "retry_times": 3\nPCCS_URL=https://other/sgx/\n}\n')
    assert reading.intel.pccs_url == "https://other/sgx/"
    assert "qcnl-key-legacy" in codes(reading)


def test_a_nul_ends_the_file() -> None:
    """What stands behind it is not read, as rapidjson's stream ends there."""
    reading = read(GOOD + "\0garbage")
    assert (reading.intel, codes(reading)) == (WRITTEN, ["qcnl-nul"])
    assert read(GOOD.encode("utf-16")).intel == DEFAULTS


def test_bytes_that_are_not_utf8_are_passed_on_and_remarked_on() -> None:
    """Rapidjson does not look at the encoding of a text."""
    reading = read(GOOD.encode().replace(b"pccs.example", b"pccs\xff.example"))
    assert codes(reading) == ["qcnl-encoding"]
    assert reading.intel.retry_times == 3


def test_deep_nesting_ends_in_a_remark() -> None:
    """No depth ends the process."""
    reading = read(with_member('"x": ' + "[" * 100_000))
    assert "qcnl-depth" in codes(reading)
    assert reading.config == WRITTEN


def test_a_huge_file_is_refused() -> None:
    """What is larger than any configuration is not read."""
    with pytest.raises(ConfigError, match="qcnl-too-large"):
        read(b" " * (MAX_SIZE + 1))


# ── §1.1: which file ────────────────────────────────────────────────────────────────────────────────


def load(environ: dict[str, str], system: Path) -> Reading:
    """The file that Intel's library would find."""
    return load_qcnl(environ, system=system)


def test_the_variable_names_the_file_and_there_is_no_fall_back(tmp_path: Path) -> None:
    """$QCNL_CONF_PATH, even to nowhere, hides the system's file."""
    system, other = tmp_path / "system.conf", tmp_path / "other.conf"
    system.write_text(GOOD)
    other.write_text(GOOD.replace("3\n}", "4\n}"))
    assert load({}, system).config == WRITTEN
    assert load({"QCNL_CONF_PATH": str(other)}, system).config.retry_times == 4
    for nowhere in (str(tmp_path / "none"), "", str(tmp_path)):
        reading = load({"QCNL_CONF_PATH": nowhere}, system)
        assert (reading.format, reading.config, reading.init) == ("absent", DEFAULTS, 0)
        assert codes(reading) == ["qcnl-file-missing"]
    assert configured_path({}, system) == system


def test_a_machine_without_a_file_has_the_defaults(tmp_path: Path) -> None:
    """No file is no error, and no more than advice."""
    reading = load({}, tmp_path / "none")
    assert (reading.format, reading.config, codes(reading, advice=True)) == (
        "absent", DEFAULTS, ["qcnl-file-absent"])  # fmt: skip


def test_json_behind_a_symbolic_link_is_not_read_by_new_releases(tmp_path: Path) -> None:
    """O_NOFOLLOW: the defaults, silently; the KEY=value reader does follow links."""
    file, link = tmp_path / "file.conf", tmp_path / "link.conf"
    link.symlink_to(file)
    file.write_text(GOOD)
    reading = load({}, link)
    assert (reading.intel, reading.config, reading.init) == (DEFAULTS, WRITTEN, 0)
    assert codes(reading) == ["qcnl-symlink"]
    file.write_text(LEGACY)
    assert load({}, link).intel == WRITTEN


def test_a_fifo_is_not_waited_for(tmp_path: Path) -> None:
    """What never ends is no configuration."""
    os.mkfifo(tmp_path / "fifo")
    assert codes(load({}, tmp_path / "fifo")) == ["qcnl-file-missing"]
