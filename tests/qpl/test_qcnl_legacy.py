"""The KEY=value format, line by line as Intel's library reads it."""

from typing import Any

import pytest
from msgspec.structs import replace

from dcap.qpl.qcnl_keys import KEYS
from qpl.qcnl_readings import DEFAULTS, LEGACY, WRITTEN, codes, read


def test_the_legacy_format_is_read() -> None:
    """Space anywhere, `#` at the start, CRLF: as Intel's library takes it, with advice to migrate."""
    reading = read(LEGACY)
    assert reading.intel == reading.config == WRITTEN
    assert (reading.format, codes(reading, advice=True), reading.init) == (
        "legacy", ["qcnl-legacy"], 0)  # fmt: skip
    assert reading.origins["retry_times"].line == 4


@pytest.mark.parametrize("key", [key for key in KEYS if KEYS[key].legacy])
def test_every_legacy_key_is_obeyed(key: str) -> None:
    """Each name sets the value of today's key."""
    value = {
        "boolean": "FALSE" if key == "use_secure_cert" else "TRUE",
        "text": "3.1",
        "integer": "7",
        "hours": "7",
        "url": "https://h/sgx/",
    }[KEYS[key].kind]
    wanted = {"FALSE": False, "TRUE": True, "7": 7}.get(value, value)
    reading = read(f"{KEYS[key].legacy}={value}\n")
    assert reading.intel == reading.config == replace(DEFAULTS, **{key: wanted})


@pytest.mark.parametrize(
    ("line", "code", "intel", "meant"),
    [
        ("USE_SECURE_CERT=False", "qcnl-legacy-word", {}, {}),
        ("USE_SECURE_CERT=0", "qcnl-legacy-word", {}, {}),
        ("USE_SECURE_CERT=FALSE\nUSE_SECURE_CERT=TRUE", "qcnl-legacy-sticky",
         {"use_secure_cert": False}, {"use_secure_cert": False}),
        ("LOCAL_CACHE_ONLY=True", "qcnl-legacy-word", {}, {}),
        ("RETRY_DELAY=soon", "qcnl-legacy-number", {}, {}),
        ("RETRY_DELAY=5s", "qcnl-legacy-number-tail", {"retry_delay": 5}, {"retry_delay": 5}),
        ("RETRY_DELAY=0x10", "qcnl-legacy-number-tail", {"retry_delay": 0}, {}),
        ("RETRY_DELAY=99999999999", "qcnl-legacy-overflow", {}, {}),
        ("PCK_CACHE_EXPIRE_HOURS=1.5", "qcnl-legacy-number-tail",
         {"pck_cache_expire_hours": 1}, {"pck_cache_expire_hours": 1}),
        ("RETRY_TIMES=4", "qcnl-key-repeated", {"retry_times": 4}, {"retry_times": 4}),
        ("tcb_update_type=early", "qcnl-key-not-legacy", {}, {}),
        ("local_pck_url=https://h/sgx/", "qcnl-key-case", {},
         {"local_pck_url": "https://h/sgx/"}),
        ("PCS_URL=https://h/sgx/", "qcnl-key-unknown", {}, {}),
        ('"retry_delay": 5,', "qcnl-key-json", {}, {}),
        ("LOCAL_PCK_URL=https://h/sgx/ # mine", "qcnl-legacy-comment",
         {"local_pck_url": "https://h/sgx/#mine"}, {"local_pck_url": "https://h/sgx/"}),
        ('LOCAL_PCK_URL="https://h/sgx/"', "qcnl-legacy-quotes",
         {"local_pck_url": '"https://h/sgx/"'}, {"local_pck_url": "https://h/sgx/"}),
        ("RETRY_TIMES", "qcnl-legacy-no-value", {}, {}),
    ],
)  # fmt: skip
def test_a_legacy_line_that_does_something_else(
    line: str, code: str, intel: dict[str, Any], meant: dict[str, Any]
) -> None:
    """One line more: what Intel's library takes of it, what dcap takes, and the remark."""
    reading = read(f"{LEGACY}{line}\n")
    assert code in codes(reading)
    assert reading.intel == replace(WRITTEN, **intel)
    assert reading.config == replace(WRITTEN, **meant)
    assert not reading.obeyed
