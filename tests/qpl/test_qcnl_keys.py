"""Every key of a QCNL configuration, its types and its traps."""

from typing import Any

import pytest
from msgspec.structs import asdict, replace

from dcap.qpl.qcnl_keys import KEYS
from dcap.qpl.qcnl_values import DEFAULT_PCCS_URL
from qpl.qcnl_readings import DEFAULTS, GOOD, URL, WRITTEN, codes, options, read

# ── §1.3: every key ─────────────────────────────────────────────────────────────────────────────────

#: Key -> good member, the value it gives; a value of another type, and what was meant by that.
TYPES: dict[str, tuple[str, Any, str, Any]] = {
    "pccs_url": ('"https://h/sgx/"', "https://h/sgx/", "1", DEFAULT_PCCS_URL),
    "use_secure_cert": ("false", False, '"false"', True),
    "collateral_service": ('"https://h/sgx/"', "https://h/sgx/", "null", None),
    "tcb_update_type": ('"early"', "early", "1", "standard"),
    "pccs_api_version": ('"3.1"', "3.1", "3.1", "3.1"),
    "retry_times": ("6", 6, '"6"', 6),
    "retry_delay": ("0", 0, "1.5", 0),
    "local_pck_url": ('"https://h/sgx/"', "https://h/sgx/", "[]", ""),
    "pck_cache_expire_hours": ("0.5", 0.5, '"48"', 48),
    "verify_collateral_cache_expire_hours": ("48", 48, "true", 0),
    "local_cache_only": ("true", True, '"true"', True),
}


def test_the_table_of_types_has_every_key() -> None:
    """A key more is a row more; custom_request_options has tests of its own."""
    assert {*TYPES, "custom_request_options"} == set(KEYS)
    names = {*TYPES, "request_headers", "request_params"}
    assert names == set(asdict(DEFAULTS))


@pytest.mark.parametrize("key", list(TYPES))
def test_a_key_of_its_type_is_obeyed(key: str) -> None:
    """Each key alone changes its own value, in Intel's library and here."""
    text, value, _, _ = TYPES[key]
    reading = read(f'{{"{key}": {text}}}')
    assert reading.intel == replace(DEFAULTS, **{key: value})
    assert reading.config == reading.intel
    assert reading.origins[key].line == 1


@pytest.mark.parametrize("key", list(TYPES))
def test_a_key_of_another_type_is_ignored_by_intels_library(key: str) -> None:
    """The default holds, no error is reported, and dcap takes what can only be meant."""
    _, _, text, meant = TYPES[key]
    reading = read(f'{{"{key}": {text}}}')
    assert reading.intel == DEFAULTS
    assert reading.init == 0
    assert getattr(reading.config, key) == meant
    assert codes(reading) == ["qcnl-type"]


@pytest.mark.parametrize("key", ["retry_times", "retry_delay", "pck_cache_expire_hours"])
@pytest.mark.parametrize("number", ["2147483648", "4294967296", "-2147483649"])
def test_a_number_of_more_than_32_bits_is_ignored(key: str, number: str) -> None:
    """`IsInt` is false, and `IsDouble` too."""
    reading = read(f'{{"{key}": {number}}}')
    assert reading.intel == reading.config == DEFAULTS
    assert codes(reading) == ["qcnl-range"]


@pytest.mark.parametrize("key", ["pccs_url", "collateral_service", "local_pck_url"])
def test_a_missing_slash_is_appended_here_and_missed_by_intels_library(key: str) -> None:
    """`…/v4` + `pckcert` is another path; the remark names the code that people see."""
    reading = read(f'{{"{key}": "{URL[:-1]}"}}')
    assert getattr(reading.intel, key) == URL[:-1]
    assert getattr(reading.config, key) == URL
    (found,) = [found for found in reading.remarks if found.severity != "advice"]
    assert (found.code, found.key, "0xE011" in found.what) == ("qcnl-slash", key, True)


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("", "qcnl-address"),
        ("https:///sgx/", "qcnl-address"),
        ("ftp://h/sgx/", "qcnl-address"),
        ("https://h/sgx/?x=/", "qcnl-address"),
        ("https://h /sgx/", "qcnl-address"),
        ("h:8081/sgx/", "qcnl-scheme"),
        ("https://h:8081/", "qcnl-tdx-path"),
        ("https://h/sgx/certification/v3/", "qcnl-old-api"),
        ("https://h/sgx/certification/v2/", "qcnl-old-api"),
        ("https://h/trustedservices.intel.com/sgx/", "qcnl-pcs-mode"),
        ("https://trustedservices.intel.com.evil.example/sgx/", "qcnl-pcs-mode"),
        ("https://api.trustedservices.intel.com/sgx/certification/v4/", "qcnl-pcs-pck"),
    ],
)
def test_an_address_that_does_not_work_is_remarked_on(url: str, code: str) -> None:
    """Each trap of an address that Intel's library takes without a word."""
    reading = read(f'{{"pccs_url": "{url}", "pccs_api_version": "3.1"}}')
    assert codes(reading) == [code]
    assert reading.intel.pccs_url == url


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("http://pccs.example/sgx/", ["qcnl-plain-http"]),
        ("http://localhost:8081/sgx/", []),
        ("http://127.0.0.1/sgx/", []),
        ("http://169.254.169.254/sgx/", []),
        ("https://user:word@h/sgx/", ["qcnl-credentials"]),
        ("HTTPS://h/sgx/", []),
    ],
)
def test_an_address_that_works_badly_gets_advice(url: str, code: list[str]) -> None:
    """Advice leaves `obeyed` true: the library does what the file says."""
    reading = read(f'{{"pccs_url": "{url}", "pccs_api_version": "3.1"}}')
    assert codes(reading, advice=True) == code
    assert reading.obeyed
    assert "word" not in "".join(found.what + found.mend for found in reading.remarks[:1]).replace(
        "password", ""
    )


def test_a_subscription_key_makes_intels_service_a_source_of_pck_certificates() -> None:
    """With the header that Intel asks for, pccs_url may be Intel's own."""
    options = '{"get_cert": {"headers": {"Ocp-Apim-Subscription-Key": "k"}}}'
    pcs = GOOD.replace("pccs.example:8081", "api.trustedservices.intel.com")
    text = pcs.replace('"retry', f'"custom_request_options": {options},\n"retry')
    assert read(text).obeyed
    assert not read(pcs).obeyed


def test_intels_service_without_version_stamps_what_it_does_not_hold() -> None:
    """collateral_service at Intel and no 3.1: DER, stamped 3.0."""
    pcs = '{"collateral_service": "https://api.trustedservices.intel.com/sgx/certification/v4/"'
    assert codes(read(pcs + "}")) == ["qcnl-pcs-stamp"]
    assert codes(read(pcs + ', "pccs_api_version": "3.0"}')) == ["qcnl-pcs-stamp"]
    assert codes(read(pcs + ', "pccs_api_version": "3.1"}'), advice=True) == []


@pytest.mark.parametrize("version", ["", "4", "4.0", "v4", "3", "3.10", " 3.1"])
def test_any_other_version_fails_every_request_for_collateral(version: str) -> None:
    """It is neither the 4 of the addresses nor free text; dcap goes by 3.1."""
    reading = read(GOOD.replace("3.1", version))
    assert codes(reading) == ["qcnl-api-version"]
    assert (reading.intel.pccs_api_version, reading.config.pccs_api_version) == (version, "3.1")


@pytest.mark.parametrize(
    ("members", "code", "meant"),
    [
        ('"retry_times": -1', "qcnl-retry-forever", {"retry_times": 6}),
        ('"retry_times": 1, "retry_delay": -1', "qcnl-delay-forever", {"retry_times": 1}),
        ('"pck_cache_expire_hours": 2161', "qcnl-hours-cap", {"pck_cache_expire_hours": 2160}),
        ('"pck_cache_expire_hours": 1e20', "qcnl-hours-cap", {"pck_cache_expire_hours": 2160}),
        ('"verify_collateral_cache_expire_hours": -1', "qcnl-hours-negative", {}),
    ],
)
def test_numbers_that_do_something_else(members: str, code: str, meant: dict[str, Any]) -> None:
    """A sign that is lost, a cap that is not written anywhere."""
    reading = read(f"{{{members}}}")
    assert codes(reading) == [code]
    assert reading.config == replace(DEFAULTS, **meant)
    assert reading.intel.pck_cache_expire_hours <= 2160


@pytest.mark.parametrize(
    ("members", "code"),
    [
        ('"retry_times": 6, "retry_delay": 10', None),
        ('"retry_times": 7, "retry_delay": 10', "qcnl-retry-long"),
        ('"retry_times": 5', None),
        ('"retry_times": 6', "qcnl-retry-long"),
        ('"retry_delay": 10', "qcnl-retry-idle"),
        ('"pck_cache_expire_hours": 2160', None),
        ('"use_secure_cert": false', "qcnl-tls-off"),
        ('"local_cache_only": true', "qcnl-cache-only"),
    ],
)
def test_settings_that_do_what_they_say_and_get_advice(members: str, code: str | None) -> None:
    """More than a minute of retries, no certificate checked, no network for PCK certificates."""
    reading = read(f"{{{members}}}")
    assert [found for found in codes(reading, advice=True) if found != "qcnl-hex-crl"] == (
        [code] if code else [])  # fmt: skip
    assert reading.obeyed


# ── custom_request_options ──────────────────────────────────────────────────────────────────────────
def test_headers_and_parameters_of_get_cert_are_sent() -> None:
    """The two objects that the library looks for, in the order of the file."""
    reading = options('{"get_cert": {"params": {"b": "2", "a": "1"}, "headers": {"M": "true"}}}')
    assert reading.intel == replace(
        WRITTEN, request_params=(("b", "2"), ("a", "1")), request_headers=(("M", "true"),)
    )
    assert (reading.config, reading.remarks) == (reading.intel, ())


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("[]", "qcnl-type"),
        ('{"get_crl": {}}', "qcnl-option-unknown"),
        ('{"headers": {"a": "b"}}', "qcnl-option-unknown"),
        ('{"get_cert": {"header": {"a": "b"}}}', "qcnl-option-unknown"),
        ('{"get_cert": "a"}', "qcnl-option-type"),
        ('{"get_cert": {"params": "a=b"}}', "qcnl-option-type"),
        ('{"get_cert": {"params": {"a": {}}}}', "qcnl-option-type"),
        ('{"get_cert": {}, "get_cert": {"params": {"a": "b"}}}', "qcnl-key-repeated"),
    ],
)
def test_other_request_options_have_no_effect(text: str, code: str) -> None:
    """Anything else under custom_request_options is passed over without a word."""
    reading = options(text)
    assert reading.intel == reading.config == WRITTEN
    assert codes(reading) == [code]


def test_a_header_whose_value_is_no_text_is_sent_by_dcap_alone() -> None:
    """`"metadata": true` is the usual slip."""
    reading = options('{"get_cert": {"headers": {"metadata": true}}}')
    assert reading.intel.request_headers == ()
    assert reading.config.request_headers == (("metadata", "true"),)


def test_of_two_headers_of_a_name_the_first_is_sent() -> None:
    """The library keeps them in a map that does not replace."""
    reading = options('{"get_cert": {"headers": {"a": "1", "a": "2"}}}')
    assert reading.intel.request_headers == reading.config.request_headers == (("a", "1"),)
    assert codes(reading) == ["qcnl-key-repeated"]


@pytest.mark.parametrize(("value", "sent"), [("a b", "a%20b"), ("#", "%23"), ("é", "%C3%A9")])
def test_a_parameter_that_is_not_encoded_is_encoded_by_dcap(value: str, sent: str) -> None:
    """The library appends it as it is, and libcurl refuses the address."""
    reading = options(f'{{"get_cert": {{"params": {{"p": "{value}"}}}}}}')
    assert reading.intel.request_params == (("p", value),)
    assert reading.config.request_params == (("p", sent),)
    assert codes(reading) == ["qcnl-option-unsafe"]


def test_a_header_that_would_split_is_not_sent_by_dcap() -> None:
    """A line break in a value would begin another header."""
    reading = options('{"get_cert": {"headers": {"a": "b\\r\\nHost: evil"}}}')
    assert reading.config.request_headers == ()
    assert codes(reading) == ["qcnl-header-unsafe"]


def test_no_value_that_may_be_secret_is_in_any_remark_or_representation() -> None:
    """Keys and passwords stay out of texts that end in logs."""
    reading = read(
        '{"pccs_url": "https://user:hunter2@h/sgx", "custom_request_options": {"get_cert": '
        '{"headers": {"Key": "hunter2\\u0001"}, "params": {"k": "hunter2 "}}}, }'
    )
    assert "hunter2" in reading.config.pccs_url
    told = repr(reading.config) + "".join(f"{found.what}{found.mend}" for found in reading.remarks)
    assert "hunter2" not in told
    assert len(reading.remarks) >= 5
