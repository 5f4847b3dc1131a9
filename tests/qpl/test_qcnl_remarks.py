"""The table of remarks, an example for each, and readings of anything at all."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcap.qpl.qcnl_config import read_qcnl
from dcap.qpl.qcnl_keys import KEYS
from dcap.qpl.qcnl_remarks import REMARKS
from qpl.qcnl_readings import (
    DEFAULTS,
    GOOD,
    codes,
    read,
)

# ── anything at all ─────────────────────────────────────────────────────────────────────────────────

PIECES = [
    "{", "}", "[", "]", ",", ":", '"', "'", "\\", "//", "/*", "*/", "#", "=", "\n", " ", "\0", "\ufeff",
    "1", "-", "1e999", "0.5", "9" * 5000, "true", "null", "False", "\\ud800", '"pccs_url"', '"x"',
    '"retry_times"', "PCCS_URL", "RETRY_TIMES", '"custom_request_options"', '"get_cert"', '"headers"',
]  # fmt: skip


@given(st.one_of(st.binary(max_size=200), st.lists(st.sampled_from(PIECES)).map("".join)))
def test_no_bytes_raise_anything(data: bytes | str) -> None:
    """Any bytes are a reading, whose values and remarks are whole."""
    data = data.encode() if isinstance(data, str) else data
    reading = read_qcnl(data, where="x")
    for found in reading.remarks:
        assert found.what
        assert found.mend
        assert 0 <= found.line <= data.count(b"\n") + 1
    assert set(reading.origins) == set(KEYS)
    assert reading.discarded or reading.init == 0
    assert read_qcnl(data, where="x") == reading


@given(st.integers(0, len(GOOD)), st.integers(0, 5), st.sampled_from(["", *PIECES]))
def test_a_file_with_any_change_is_read_or_remarked_on(at: int, cut: int, put: str) -> None:
    """Where Intel's library does not use what was written, `obeyed` is false."""
    reading = read_qcnl((GOOD[:at] + put + GOOD[at + cut :]).encode(), where="x")
    if reading.intel == DEFAULTS and reading.format == "json":
        assert not reading.obeyed or "qcnl-file-empty" in codes(reading, advice=True)


# ── the table of remarks ────────────────────────────────────────────────────────────────────────────

OPTIONS = '{"custom_request_options": {"get_cert": %s}}'
PCS = "https://api.trustedservices.intel.com/sgx/certification/v4/"
#: Code -> the smallest file that brings the remark about.
EXAMPLES = {
    "qcnl-file-empty": "{}",
    "qcnl-encoding": b'{"x": "\xff"}',
    "qcnl-nul": "{}\0",
    "qcnl-bom": "\ufeff{}",
    "qcnl-trailing-comma": '{"retry_times": 1,}',
    "qcnl-double-comma": '{"retry_times": 1,, "retry_delay": 1}',
    "qcnl-missing-comma": '{"retry_times": 1 "retry_delay": 1}',
    "qcnl-hash-comment": "{ # x\n}",
    "qcnl-quotes": "{retry_times: 1}",
    "qcnl-word": '{"use_secure_cert": True}',
    "qcnl-number": '{"retry_times": 01}',
    "qcnl-string": '{"pccs_url": "\\x"}',
    "qcnl-unclosed": "{",
    "qcnl-braces": '"retry_times": 1',
    "qcnl-after-end": "{}}",
    "qcnl-depth": '{"x": ' + "[" * 70,
    "qcnl-syntax": '{"retry_times" 1}',
    "qcnl-not-object": "[]",
    "qcnl-update-type": '{"tcb_update_type": "late"}',
    "qcnl-not-recognised": "<html>",
    "qcnl-key-unknown": '{"x": 1}',
    "qcnl-key-case": '{"RETRY_TIMES": 1}',
    "qcnl-key-repeated": '{"retry_times": 1, "retry_times": 2}',
    "qcnl-key-legacy": "{,\nRETRY_TIMES=1\n}",
    "qcnl-key-json": 'RETRY_TIMES=1\n"retry_delay": 1',
    "qcnl-key-not-legacy": "RETRY_TIMES=1\nTCB_UPDATE_TYPE=early",
    "qcnl-type": '{"retry_times": "1"}',
    "qcnl-range": '{"retry_times": 4294967296}',
    "qcnl-option-unknown": OPTIONS % '{"x": 1}',
    "qcnl-option-type": OPTIONS % "1",
    "qcnl-slash": '{"pccs_url": "https://h/sgx"}',
    "qcnl-address": '{"pccs_url": ""}',
    "qcnl-scheme": '{"pccs_url": "h/sgx/"}',
    "qcnl-plain-http": '{"pccs_url": "http://h/sgx/"}',
    "qcnl-credentials": '{"pccs_url": "https://u:p@h/sgx/"}',
    "qcnl-tdx-path": '{"pccs_url": "https://h/"}',
    "qcnl-old-api": '{"pccs_url": "https://h/sgx/certification/v3/"}',
    "qcnl-pcs-stamp": f'{{"collateral_service": "{PCS}"}}',
    "qcnl-pcs-mode": '{"pccs_url": "https://h/trustedservices.intel.com/sgx/"}',
    "qcnl-pcs-pck": f'{{"pccs_url": "{PCS}"}}',
    "qcnl-api-version": '{"pccs_api_version": "4"}',
    "qcnl-hex-crl": '{"retry_times": 1}',
    "qcnl-retry-forever": '{"retry_times": -1}',
    "qcnl-delay-forever": '{"retry_delay": -1}',
    "qcnl-retry-long": '{"retry_times": 9}',
    "qcnl-retry-idle": '{"retry_delay": 1}',
    "qcnl-hours-cap": '{"pck_cache_expire_hours": 2161}',
    "qcnl-hours-negative": '{"pck_cache_expire_hours": -1}',
    "qcnl-tls-off": '{"use_secure_cert": false}',
    "qcnl-cache-only": '{"local_cache_only": true}',
    "qcnl-option-unsafe": OPTIONS % '{"params": {"a": "b c"}}',
    "qcnl-header-unsafe": OPTIONS % '{"headers": {"a b": "c"}}',
    "qcnl-legacy": "RETRY_TIMES=1",
    "qcnl-legacy-comment": "PCCS_URL=https://h/sgx/ # x",
    "qcnl-legacy-quotes": "PCCS_URL='https://h/sgx/'",
    "qcnl-legacy-no-value": "PCCS_URL",
    "qcnl-legacy-word": "USE_SECURE_CERT=no",
    "qcnl-legacy-sticky": "USE_SECURE_CERT=FALSE\nUSE_SECURE_CERT=TRUE",
    "qcnl-legacy-number": "RETRY_TIMES=x",
    "qcnl-legacy-number-tail": "RETRY_TIMES=1x",
    "qcnl-legacy-overflow": "RETRY_TIMES=2147483648",
}
#: Remarks that no content brings about; their tests stand above, by file and by environment.
OUTSIDE = {
    "qcnl-file-missing",
    "qcnl-file-absent",
    "qcnl-symlink",
    "qcnl-proxy-upper",
    "qcnl-ca-variable",
    "qcnl-proxy-local",
}


def test_every_remark_has_its_example() -> None:
    """No row of the table is there for what cannot happen, and none is missing."""
    assert {*EXAMPLES, *OUTSIDE} == set(REMARKS)


@pytest.mark.parametrize("code", list(EXAMPLES))
def test_an_example_brings_its_remark_about(code: str) -> None:
    """The remark is there, whole, with the severity of the table, and a place in the file."""
    reading = read(EXAMPLES[code])
    found = next(found for found in reading.remarks if found.code == code)
    assert found.severity == REMARKS[code][0]
    text = f"{found.what} {found.mend}"
    assert not re.search(r"\{[a-z_]*\}|  ", text), text
    assert found.line <= 2
    assert (found.severity == "advice") or not reading.obeyed
