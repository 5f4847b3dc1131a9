"""The tables of codes say what the reference says, and every usual spelling finds its row."""

import pytest

from dcap.qpl.error_codes import (
    OPEN_ENCLAVE,
    PCCS_STATUS,
    PREFIXES,
    QCNL,
    QUOTE3,
    QVL_STATUS,
    TEE_ATT,
    VERIFICATION_RESULT,
    CodeExplanation,
    all_codes,
    closest,
    explain_code,
)
from rows import each

# Every assigned n of 0xE000 + n, with its name without SGX_QL_ (abbreviations written out).
QUOTE3_ASSIGNED = """
01 ERROR_UNEXPECTED | 02 ERROR_INVALID_PARAMETER | 03 ERROR_OUT_OF_MEMORY
04 ERROR_ECDSA_ID_MISMATCH | 05 PATHNAME_BUFFER_OVERFLOW_ERROR | 06 FILE_ACCESS_ERROR
07 ERROR_STORED_KEY | 08 ERROR_PUB_KEY_ID_MISMATCH | 09 ERROR_INVALID_PCE_SIG_SCHEME
0A ATT_KEY_BLOB_ERROR | 0B UNSUPPORTED_ATT_KEY_ID | 0C UNSUPPORTED_LOADING_POLICY
0D INTERFACE_UNAVAILABLE | 0E PLATFORM_LIB_UNAVAILABLE | 0F ATT_KEY_NOT_INITIALIZED
10 ATT_KEY_CERT_DATA_INVALID | 11 NO_PLATFORM_CERT_DATA | 12 OUT_OF_EPC | 13 ERROR_REPORT
14 ENCLAVE_LOST | 15 INVALID_REPORT | 16 ENCLAVE_LOAD_ERROR | 17 UNABLE_TO_GENERATE_QE_REPORT
18 KEY_CERTIFCATION_ERROR | 19 NETWORK_ERROR | 1A MESSAGE_ERROR | 1B NO_QUOTE_COLLATERAL_DATA
1C QUOTE_CERTIFICATION_DATA_UNSUPPORTED | 1D QUOTE_FORMAT_UNSUPPORTED
1E UNABLE_TO_GENERATE_REPORT | 1F QE_REPORT_INVALID_SIGNATURE
20 QE_REPORT_UNSUPPORTED_FORMAT | 21 PCK_CERT_UNSUPPORTED_FORMAT | 22 PCK_CERT_CHAIN_ERROR
23 TCBINFO_UNSUPPORTED_FORMAT | 24 TCBINFO_MISMATCH | 25 QEIDENTITY_UNSUPPORTED_FORMAT
26 QEIDENTITY_MISMATCH | 27 TCB_OUT_OF_DATE | 28 TCB_OUT_OF_DATE_CONFIGURATION_NEEDED
29 SGX_ENCLAVE_IDENTITY_OUT_OF_DATE | 2A SGX_ENCLAVE_REPORT_ISVSVN_OUT_OF_DATE
2B QE_IDENTITY_OUT_OF_DATE | 2C SGX_TCB_INFO_EXPIRED | 2D SGX_PCK_CERT_CHAIN_EXPIRED
2E SGX_CRL_EXPIRED | 2F SGX_SIGNING_CERT_CHAIN_EXPIRED | 30 SGX_ENCLAVE_IDENTITY_EXPIRED
31 PCK_REVOKED | 32 TCB_REVOKED | 33 TCB_CONFIGURATION_NEEDED | 34 UNABLE_TO_GET_COLLATERAL
35 ERROR_INVALID_PRIVILEGE | 37 NO_QVE_IDENTITY_DATA | 38 CRL_UNSUPPORTED_FORMAT
39 QEIDENTITY_CHAIN_ERROR | 3A TCBINFO_CHAIN_ERROR | 3B ERROR_QVL_QVE_MISMATCH
3C TCB_SW_HARDENING_NEEDED | 3D TCB_CONFIGURATION_AND_SW_HARDENING_NEEDED | 3E UNSUPPORTED_MODE
3F NO_DEVICE | 40 SERVICE_UNAVAILABLE | 41 NETWORK_FAILURE | 42 SERVICE_TIMEOUT | 43 ERROR_BUSY
44 UNKNOWN_MESSAGE_RESPONSE | 45 PERSISTENT_STORAGE_ERROR | 46 ERROR_MESSAGE_PARSING_ERROR
47 PLATFORM_UNKNOWN | 48 UNKNOWN_API_VERSION | 49 CERTS_UNAVAILABLE | 50 QVEIDENTITY_MISMATCH
51 QVE_OUT_OF_DATE | 52 PSW_NOT_AVAILABLE | 53 COLLATERAL_VERSION_NOT_SUPPORTED
60 TDX_MODULE_MISMATCH | 61 QEIDENTITY_NOT_FOUND | 62 TCBINFO_NOT_FOUND
63 INTERNAL_SERVER_ERROR | 64 SUPPLEMENTAL_DATA_VERSION_NOT_SUPPORTED | 65 ROOT_CA_UNTRUSTED
66 TCB_NOT_SUPPORTED | 67 CONFIG_INVALID_JSON | 68 RESULT_INVALID_SIGNATURE
70 QAEIDENTITY_MISMATCH | 71 QAE_OUT_OF_DATE | 72 QUOTE_HASH_MISMATCH | 73 REPORT_DATA_MISMATCH
FF ERROR_MAX
"""

# n of 0xB000 + n, and what the provider reports instead.
QCNL_MAPPING = {
    0xB001: 0xE001, 0xB002: 0xE002, 0xB003: 0xE019, 0xB004: 0xE019, 0xB005: 0xE019,
    0xB006: 0xE019, 0xB007: 0xE019, 0xB008: 0xE019, 0xB009: 0xE019, 0xB00A: 0xE019,
    0xB00B: 0xE019, 0xB00C: 0xE019, 0xB00D: 0xE046, 0xB00E: 0xE003, 0xB00F: 0xE01B,
    0xB010: 0xE047, 0xB011: 0xE044, 0xB012: 0xE049, 0xB013: 0xE040, 0xB030: 0xE001,
    0xB031: 0xE001, 0xB032: 0xE001, 0xB033: 0xE065, 0xB035: 0xE067, 0xB036: 0x0000,
}  # fmt: skip

# The order of QVL's enum, without STATUS_.
QVL_STATUSES = """
OK UNSUPPORTED_CERT_FORMAT
SGX_ROOT_CA_MISSING SGX_ROOT_CA_INVALID SGX_ROOT_CA_INVALID_EXTENSIONS SGX_ROOT_CA_INVALID_ISSUER
SGX_ROOT_CA_UNTRUSTED
SGX_INTERMEDIATE_CA_MISSING SGX_INTERMEDIATE_CA_INVALID SGX_INTERMEDIATE_CA_INVALID_EXTENSIONS
SGX_INTERMEDIATE_CA_INVALID_ISSUER SGX_INTERMEDIATE_CA_REVOKED
SGX_PCK_MISSING SGX_PCK_INVALID SGX_PCK_INVALID_EXTENSIONS SGX_PCK_INVALID_ISSUER SGX_PCK_REVOKED
TRUSTED_ROOT_CA_INVALID SGX_PCK_CERT_CHAIN_UNTRUSTED SGX_TCB_INFO_UNSUPPORTED_FORMAT
SGX_TCB_INFO_INVALID TCB_INFO_INVALID_SIGNATURE
SGX_TCB_SIGNING_CERT_MISSING SGX_TCB_SIGNING_CERT_INVALID SGX_TCB_SIGNING_CERT_INVALID_EXTENSIONS
SGX_TCB_SIGNING_CERT_INVALID_ISSUER SGX_TCB_SIGNING_CERT_CHAIN_UNTRUSTED
SGX_TCB_SIGNING_CERT_REVOKED
SGX_CRL_UNSUPPORTED_FORMAT SGX_CRL_UNKNOWN_ISSUER SGX_CRL_INVALID SGX_CRL_INVALID_EXTENSIONS
SGX_CRL_INVALID_SIGNATURE
SGX_CA_CERT_UNSUPPORTED_FORMAT SGX_CA_CERT_INVALID TRUSTED_ROOT_CA_UNSUPPORTED_FORMAT
MISSING_PARAMETERS UNSUPPORTED_QUOTE_FORMAT UNSUPPORTED_PCK_CERT_FORMAT INVALID_PCK_CERT
UNSUPPORTED_PCK_RL_FORMAT INVALID_PCK_CRL UNSUPPORTED_TCB_INFO_FORMAT PCK_REVOKED
TCB_INFO_MISMATCH TCB_OUT_OF_DATE TCB_REVOKED TCB_CONFIGURATION_NEEDED
TCB_OUT_OF_DATE_CONFIGURATION_NEEDED TCB_NOT_SUPPORTED TCB_UNRECOGNIZED_STATUS
UNSUPPORTED_QE_CERTIFICATION INVALID_QE_CERTIFICATION_DATA_SIZE
UNSUPPORTED_QE_CERTIFICATION_DATA_TYPE PCK_CERT_MISMATCH INVALID_QE_REPORT_SIGNATURE
INVALID_QE_REPORT_DATA INVALID_QUOTE_SIGNATURE
SGX_QE_IDENTITY_UNSUPPORTED_FORMAT SGX_QE_IDENTITY_INVALID SGX_QE_IDENTITY_INVALID_SIGNATURE
SGX_ENCLAVE_REPORT_UNSUPPORTED_FORMAT
SGX_ENCLAVE_IDENTITY_UNSUPPORTED_FORMAT SGX_ENCLAVE_IDENTITY_INVALID
SGX_ENCLAVE_IDENTITY_UNSUPPORTED_VERSION SGX_ENCLAVE_IDENTITY_OUT_OF_DATE
SGX_ENCLAVE_REPORT_MISCSELECT_MISMATCH SGX_ENCLAVE_REPORT_ATTRIBUTES_MISMATCH
SGX_ENCLAVE_REPORT_MRENCLAVE_MISMATCH SGX_ENCLAVE_REPORT_MRSIGNER_MISMATCH
SGX_ENCLAVE_REPORT_ISVPRODID_MISMATCH SGX_ENCLAVE_REPORT_ISVSVN_OUT_OF_DATE
UNSUPPORTED_QE_IDENTITY_FORMAT QE_IDENTITY_OUT_OF_DATE QE_IDENTITY_MISMATCH SGX_TCB_INFO_EXPIRED
SGX_ENCLAVE_IDENTITY_INVALID_SIGNATURE INVALID_PARAMETER SGX_PCK_CERT_CHAIN_EXPIRED
SGX_CRL_EXPIRED SGX_SIGNING_CERT_CHAIN_EXPIRED SGX_ENCLAVE_IDENTITY_EXPIRED
TCB_SW_HARDENING_NEEDED TCB_CONFIGURATION_AND_SW_HARDENING_NEEDED
SGX_ENCLAVE_REPORT_ISVSVN_REVOKED TDX_MODULE_MISMATCH SGX_ENCLAVE_REPORT_ISVSVN_NOT_SUPPORTED
TCB_TD_RELAUNCH_ADVISED TCB_TD_RELAUNCH_ADVISED_CONFIGURATION_NEEDED
"""

VERIFICATION_RESULTS = {
    "0x0000": "OK",
    "0xA001": "CONFIG_NEEDED",
    "0xA002": "OUT_OF_DATE",
    "0xA003": "OUT_OF_DATE_CONFIG_NEEDED",
    "0xA004": "INVALID_SIGNATURE",
    "0xA005": "REVOKED",
    "0xA006": "UNSPECIFIED",
    "0xA007": "SW_HARDENING_NEEDED",
    "0xA008": "CONFIG_AND_SW_HARDENING_NEEDED",
    "0xA009": "TD_RELAUNCH_ADVISED",
    "0xA00A": "TD_RELAUNCH_ADVISED_CONFIG_NEEDED",
    "0xA0FF": "MAX",
}

# HTTP status, and what the provider's network library makes of it.
PCCS_MAPPING = {
    200: None, 400: 0xB011, 401: 0xB011, 403: 0xB003, 404: 0xB00F, 410: 0xB011, 413: 0xB011,
    429: 0xB011, 460: 0xB011, 461: 0xB010, 462: 0xB012, 500: 0xB011, 502: 0xB011, 503: 0xB013,
}  # fmt: skip

# The order of Open Enclave's enum (`bits/result.h`). One name has another prefix than the rest.
OPEN_ENCLAVE_RESULTS = """
OE_OK OE_FAILURE OE_BUFFER_TOO_SMALL OE_INVALID_PARAMETER OE_REENTRANT_ECALL OE_OUT_OF_MEMORY
OE_OUT_OF_THREADS OE_UNEXPECTED OE_VERIFY_FAILED OE_NOT_FOUND OE_INTEGER_OVERFLOW
OE_PUBLIC_KEY_NOT_FOUND OE_OUT_OF_BOUNDS OE_OVERLAPPED_COPY OE_CONSTRAINT_FAILED OE_IOCTL_FAILED
OE_UNSUPPORTED OE_READ_FAILED OE_SERVICE_UNAVAILABLE OE_ENCLAVE_ABORTING OE_ENCLAVE_ABORTED
OE_PLATFORM_ERROR OE_INVALID_CPUSVN OE_INVALID_ISVSVN OE_INVALID_KEYNAME OE_DEBUG_DOWNGRADE
OE_REPORT_PARSE_ERROR OE_MISSING_CERTIFICATE_CHAIN OE_BUSY OE_NOT_OWNER
OE_INVALID_SGX_CERTIFICATE_EXTENSIONS OE_MEMORY_LEAK OE_BAD_ALIGNMENT OE_JSON_INFO_PARSE_ERROR
OE_TCB_LEVEL_INVALID OE_QUOTE_PROVIDER_LOAD_ERROR OE_QUOTE_PROVIDER_CALL_ERROR
OE_INVALID_REVOCATION_INFO OE_INVALID_UTC_DATE_TIME OE_INVALID_QE_IDENTITY_INFO
OE_INVALID_ENDORSEMENT OE_UNSUPPORTED_ENCLAVE_IMAGE OE_VERIFY_CRL_EXPIRED OE_VERIFY_CRL_MISSING
OE_VERIFY_REVOKED OE_VERIFY_FAILED_TO_FIND_VALIDITY_PERIOD OE_CRYPTO_ERROR OE_INCORRECT_REPORT_SIZE
OE_QUOTE_VERIFICATION_ERROR OE_QUOTE_ENCLAVE_IDENTITY_VERIFICATION_FAILED
OE_QUOTE_ENCLAVE_IDENTITY_UNIQUEID_MISMATCH QE_QUOTE_ENCLAVE_IDENTITY_PRODUCTID_MISMATCH
OE_VERIFY_FAILED_AES_CMAC_MISMATCH OE_CONTEXT_SWITCHLESS_OCALL_MISSED OE_THREAD_CREATE_ERROR
OE_THREAD_JOIN_ERROR OE_ALREADY_EXISTS OE_ALREADY_INITIALIZED OE_QUOTE_HASH_MISMATCH
"""

# Subcommands that these texts may advise; the rest does not exist.
OUR_COMMANDS = ("dcap verify", "dcap inspect", "dcap explain", "dcap doctor")


def hexadecimal(number: int) -> str:
    """The canonical spelling of a code in a hexadecimal family."""
    return f"0x{number:04X}"


def of_family(family: str) -> dict[str, CodeExplanation]:
    """The rows of a family by their code."""
    return {row.code: row for row in all_codes() if row.family == family}


def codes_of(found: tuple[CodeExplanation, ...]) -> list[str]:
    """Only the codes."""
    return [row.code for row in found]


every_row = each("row", all_codes(), named=lambda row: f"{row.family} {row.code}")


@every_row
def test_every_row_says_what_why_and_what_to_do(row: CodeExplanation) -> None:
    """A row has a meaning, a cause (or says that it is success) and a remedy, all in sentences."""
    assert row.causes
    assert row.remedy
    for text in (row.meaning, *row.causes, *row.remedy):
        assert text == text.strip()
        assert len(text) > 5
        assert "  " not in text
        assert text.count("`") % 2 == 0
    assert row.meaning.endswith((".", ")", '"'))


@every_row
def test_every_row_points_only_at_rows_that_exist(row: CodeExplanation) -> None:
    """What a code becomes, and what to see also, are codes of these tables, and not itself."""
    known = {other.code for other in all_codes()}
    pointers = [*row.see_also] + ([row.maps_to] if row.maps_to is not None else [])
    assert set(pointers) <= known
    assert row.family == PCCS_STATUS or row.code not in row.see_also


@every_row
def test_every_row_is_found_by_its_own_code_name_and_aliases(row: CodeExplanation) -> None:
    """Code, name and aliases of a row find it, in either case and without the family's prefix."""
    for spelling in (row.code, row.name, *row.aliases, row.name.removeprefix(PREFIXES[row.family])):
        assert row in explain_code(spelling)
        assert row in explain_code(spelling.lower())
        assert row in explain_code(spelling.upper())


@every_row
def test_no_row_advises_a_command_of_ours_that_does_not_exist(row: CodeExplanation) -> None:
    """Where a text names `dcap SOMETHING`, it is one of those commands."""
    for text in (row.meaning, *row.causes, *row.remedy):
        rest = text
        for command in OUR_COMMANDS:
            rest = rest.replace(command, "")
        assert "dcap " not in rest.replace("-dcap ", "")


def test_codes_and_names_are_unique_in_their_family() -> None:
    """No family has two rows of one code or of one name."""
    rows = all_codes()
    assert len({(row.family, row.code) for row in rows}) == len(rows)
    assert len({(row.family, row.name) for row in rows}) == len(rows)


def test_quote3_holds_every_assigned_code_and_no_other() -> None:
    """The quote3 table is the reference's list, and success."""
    pairs = (entry.split() for entry in QUOTE3_ASSIGNED.replace("\n", "|").split("|") if entry)
    expected = {hexadecimal(0xE000 | int(n, 16)): "SGX_QL_" + name for n, name in pairs}
    expected["0x0000"] = "SGX_QL_SUCCESS"
    assert {code: row.name for code, row in of_family(QUOTE3).items()} == expected
    assert len(expected) == 91


def test_qcnl_holds_every_code_and_what_it_becomes() -> None:
    """The QCNL table is the reference's list with its mapping."""
    expected = {hexadecimal(code): hexadecimal(to) for code, to in QCNL_MAPPING.items()}
    assert {code: row.maps_to for code, row in of_family(QCNL).items()} == expected


def test_qvl_holds_all_89_statuses_in_order() -> None:
    """The QVL table numbers the statuses as the enum does, from 0 to 88."""
    expected = {str(n): "STATUS_" + name for n, name in enumerate(QVL_STATUSES.split())}
    assert {code: row.name for code, row in of_family(QVL_STATUS).items()} == expected
    assert len(expected) == 89


def test_verification_results_hold_every_value() -> None:
    """The table of verification results is the reference's list."""
    expected = {code: "SGX_QL_QV_RESULT_" + name for code, name in VERIFICATION_RESULTS.items()}
    assert {code: row.name for code, row in of_family(VERIFICATION_RESULT).items()} == expected


def test_pccs_statuses_hold_every_status_and_what_it_becomes() -> None:
    """The table of HTTP statuses is what a PCCS answers, with the provider's mapping."""
    expected = {str(n): to and hexadecimal(to) for n, to in PCCS_MAPPING.items()}
    assert {code: row.maps_to for code, row in of_family(PCCS_STATUS).items()} == expected


def test_open_enclave_results_hold_the_whole_enum() -> None:
    """The table of Open Enclave's results has every name of its enum, and no other."""
    names = OPEN_ENCLAVE_RESULTS.split()
    assert of_family(OPEN_ENCLAVE).keys() == set(names)
    assert len(names) == 59


@pytest.mark.parametrize(
    ("spelling", "codes"),
    [
        ("0xe019", ["0xE019"]),
        ("0xE019", ["0xE019"]),
        ("0X0000E019", ["0xE019"]),
        ("e019", ["0xE019"]),
        ("E019", ["0xE019"]),
        ("57369", ["0xE019"]),
        ("SGX_QL_NETWORK_ERROR", ["0xE019"]),
        ("TEE_NETWORK_ERROR", ["0xE019"]),
        ("tee_network_error", ["0xE019"]),
        ("NETWORK_ERROR", ["0xE019", "0xB003"]),
        ("COULDNT_CONNECT", ["0xB006"]),
        ("CRL_EXPIRED", ["0xE02E", "79", "OE_VERIFY_CRL_EXPIRED"]),
        ("a007", ["0xA007"]),
        ("TEE_QV_RESULT_OUT_OF_DATE", ["0xA002"]),
        ("OutOfDate", ["0xA002"]),
        ("ConfigurationNeeded", ["0xA001"]),
        ("UpToDate", ["0x0000"]),
        ("57", ["57"]),
        ("88", ["88"]),
        ("STATUS_INVALID_QUOTE_SIGNATURE", ["57"]),
        ("INVALID_QUOTE_SIGNATURE", ["57"]),
        ("invalid_quote_signature", ["57"]),
        ("0", ["0x0000", "0x0000", "0"]),
        ("0x0", ["0x0000", "0x0000"]),
        ("OE_TCB_LEVEL_INVALID", ["OE_TCB_LEVEL_INVALID"]),
        ("tcb_level_invalid", ["OE_TCB_LEVEL_INVALID"]),
        ("QUOTE_HASH_MISMATCH", ["0xE072", "OE_QUOTE_HASH_MISMATCH"]),
        ("oe_missing_certificate_chain", ["OE_MISSING_CERTIFICATE_CHAIN"]),
        (
            "QE_QUOTE_ENCLAVE_IDENTITY_PRODUCTID_MISMATCH",
            ["QE_QUOTE_ENCLAVE_IDENTITY_PRODUCTID_MISMATCH"],
        ),
        ("404", ["404"]),
        ("HTTP 404", ["404"]),
        ("0x11001", ["0x11001"]),
        ("11001", ["0x11001"]),
        ("(quote3_error_t=SGX_QL_NO_PLATFORM_CERT_DATA).", ["0xE011"]),
        (" 0xe011,\n", ["0xE011"]),
    ],
)
def test_the_usual_spellings_find_their_rows(spelling: str, codes: list[str]) -> None:
    """What people copy out of logs finds the row that they mean, in the order of the families."""
    assert codes_of(explain_code(spelling)) == codes


def test_a_name_of_two_families_gives_both() -> None:
    """TCB_OUT_OF_DATE is an error of quote3 and a status of QVL, and both are explained."""
    found = explain_code("TCB_OUT_OF_DATE")
    assert [row.family for row in found] == [QUOTE3, QVL_STATUS]


@pytest.mark.parametrize("spelling", ["0x11005", "0x12003"])
def test_a_code_of_a_range_that_is_not_decoded_gives_the_range(spelling: str) -> None:
    """Of the TDX ranges at least the range is explained."""
    (row,) = explain_code(spelling)
    assert int(row.code, 16) == int(spelling, 16) & ~0xFFF


def test_the_one_decoded_tdx_code_is_not_its_range() -> None:
    """0x11001 has a row of its own."""
    (row,) = explain_code("0x11001")
    assert (row.family, row.name) == (TEE_ATT, "TEE_ATT_ERROR_UNEXPECTED")


@pytest.mark.parametrize(
    "spelling",
    ["", "  ", "0x", "0xe036", "0xE0AA", "0x57", "89", "999", "MISMATCH", "ERROR", "²", "none such",
     "9" * 5000, "=", "0xe019e019e019"],
)  # fmt: skip
def test_what_is_not_known_gives_nothing(spelling: str) -> None:
    """Unknown, unassigned, ambiguous or senseless text is explained by no row, and never raises."""
    assert explain_code(spelling) == ()


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("SGX_QL_NETWRK_ERROR", "SGX_QL_NETWORK_ERROR"),
        ("no_platform_cert_dat", "SGX_QL_NO_PLATFORM_CERT_DATA"),
        ("0xe0199", "0xE019"),
        ("OE_TCB_LEVEL", "OE_TCB_LEVEL_INVALID"),
        ("OutOfDat", "OutOfDate"),
    ],
)
def test_the_closest_spelling_comes_first(text: str, meant: str) -> None:
    """A slip of the finger is answered with what was meant."""
    assert closest(text)[0] == meant


@pytest.mark.parametrize("text", ["", "???", "x" * 5000])
def test_nothing_is_close_to_noise(text: str) -> None:
    """Text that resembles no code has no suggestions."""
    assert closest(text) == []


def test_suggestions_are_few_different_and_known() -> None:
    """There are at most five suggestions, no two alike, and each can be explained."""
    suggestions = closest("SGX_QL_TCB_OUT_OF_DAT")
    assert 0 < len(suggestions) <= 5
    assert len(set(suggestions)) == len(suggestions)
    assert all(explain_code(suggestion) for suggestion in suggestions)


def test_the_network_error_leads_from_the_usual_cause_to_its_command() -> None:
    """0xE019 begins with the PCCS that does not listen, and with the request that shows it."""
    (row,) = explain_code("0xe019")
    assert "pccs_url" in row.causes[0]
    assert "curl -kv https://localhost:8081/sgx/certification/v4/rootcacrl" in row.remedy[0]
    assert any("/etc/sgx_default_qcnl.conf" in remedy for remedy in row.remedy)
    assert any("journalctl -u pccs" in remedy for remedy in row.remedy)
