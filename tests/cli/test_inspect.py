"""`dcap inspect` shows what anything says, hides what identifies a machine, and trusts nothing."""

import base64
import contextlib
import json
import os
import struct
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st

from dcap.appraisal.claims import claims_of
from dcap.cli.inspect import DISCLAIMER, HIDDEN, command
from dcap.cli.inspection import inspect_bytes
from dcap.errors import ConfigError, FormatError
from dcap.formats.collateral import Collateral
from dcap.formats.containers import conclave, open_enclave, text
from dcap.formats.quote import Quote
from departures import World

WORLD = World()
SGX = WORLD.quote()
TDX = WORLD.quote(tee="tdx")
TDX_15 = WORLD.quote(tee="tdx", version=5)
TDX_15_EX = WORLD.quote(tee="tdx", version=5, body_type=4)
PIECES = WORLD.collateral(tee="tdx")
JSON_COLLATERAL = json.dumps(
    {
        name: value.hex() if name.endswith(("crl", "signature")) else value.decode()
        for name, value in PIECES.items()
    }
).encode()
COLLATERAL = Collateral.from_json(JSON_COLLATERAL)
NUMBERS = json.dumps(
    {
        "id": "SGX",
        "version": 1,
        "issueDate": "2026-01-01T00:00:00Z",
        "nextUpdate": "2026-02-01T00:00:00Z",
        "tcbEvalNumbers": [
            {
                "tcbEvaluationDataNumber": number,
                "tcbRecoveryEventDate": "2025-08-12T00:00:00Z",
                "tcbDate": "2025-08-13T00:00:00Z",
            }
            for number in (20, 19)
        ],
    }
).encode()
SIGSTRUCT = (
    bytes.fromhex("06000000e10000000000010000000000") + struct.pack("<II", 0x8086, 0x20261121)
    + bytes.fromhex("01010000600000006000000001000000") + bytes(888)
    + bytes.fromhex("0400000000000000" "0300000000000000" "0200000000000000" "0300000000000000")
    + b"\xab" * 32 + bytes(32) + struct.pack("<HH", 7, 9) + bytes(780)
)  # fmt: skip

VECTORS = Path(os.environ.get("DCAP_VECTORS") or Path(__file__).parents[3] / "shared" / "vectors")
#: Child processes import what this process imports.
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
with_vectors = pytest.mark.skipif(not VECTORS.is_dir(), reason=f"no vectors in {VECTORS}")


def run(data: bytes, *flags: str) -> Result:
    """`dcap inspect - FLAGS` over `data`."""
    return CliRunner().invoke(command, ["-", *flags], input=data)


def lines(data: bytes, *flags: str) -> list[str]:
    """The lines of text shown."""
    result = run(data, *flags)
    assert result.exception is None, result.exception
    return result.output.splitlines()


def document(data: bytes, *flags: str) -> dict[str, Any]:
    """The JSON object shown."""
    shown: dict[str, Any] = json.loads("\n".join(lines(data, "--json", *flags)))
    return shown


def field(data: bytes, name: str, *flags: str) -> str:
    """The one line of `--field`."""
    (line,) = lines(data, "--field", name, *flags)
    return line


def tls_certificate(oid: str | None = None) -> bytes:
    """A self-signed P-384 certificate, DER, perhaps with an extension of attested TLS."""
    key = ec.generate_private_key(ec.SECP384R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "RATLS")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(0xABC)
        .not_valid_before(datetime(2026, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2027, 1, 1, tzinfo=UTC))
    )
    if oid is not None:
        extension = x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), SGX)
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


def sealed(member: str, body: bytes) -> bytes:
    """A signed response around `body`."""
    return b'{"%b":%b,"signature":"%b"}' % (member.encode(), body, b"00" * 64)


PCK_CHAIN = WORLD.pck("platform").chain_pem
EII = conclave.write_instance_info(
    SGX, COLLATERAL, data_signing_key=b"k" * 44, encryption_key=b"e" * 32
)
EVERYTHING = {
    "quote": (SGX, "quote"),
    "TDX quote": (TDX, "quote"),
    "TDX 1.5 quote": (TDX_15, "quote"),
    "TDX 1.5ex quote": (TDX_15_EX, "quote"),
    "hex quote": (text.write_hex(SGX), "quote"),
    "PEM quote": (text.write_pem(SGX), "quote"),
    "Open Enclave report": (open_enclave.write_report(SGX), "quote"),
    "Open Enclave evidence": (open_enclave.write_evidence(SGX), "quote"),
    "Conclave": (EII, "quote"),
    "chain": (PCK_CHAIN, "certificate-chain"),
    "root, PEM": (WORLD.root.pem, "certificate"),
    "root, DER": (WORLD.root.der, "certificate"),
    "root, base64": (base64.b64encode(WORLD.root.der), "certificate"),
    "TLS, DER": (tls_certificate(), "certificate"),
    "CRL, DER": (COLLATERAL.pck_crl, "crl"),
    "CRL, hex": (WORLD.crl().hex().encode(), "crl"),
    "CRL, PEM": (
        b"-----BEGIN X509 CRL-----\n" + base64.b64encode(WORLD.crl()) + b"\n-----END X509 CRL-----",
        "crl",
    ),
    "TCB info, body": (PIECES["tcb_info"], "tcb-info"),
    "TCB info, v2": (WORLD.tcb_info(version=2), "tcb-info"),
    "TCB info, response": (COLLATERAL.tcb_info, "tcb-info"),
    "identity, body": (PIECES["qe_identity"], "enclave-identity"),
    "identity, response": (COLLATERAL.qe_identity, "enclave-identity"),
    "numbers, body": (NUMBERS, "tcb-evaluation-numbers"),
    "numbers, response": (sealed("tcbEvaluationDataNumbers", NUMBERS), "tcb-evaluation-numbers"),
    "collateral": (JSON_COLLATERAL, "collateral"),
    "SIGSTRUCT": (SIGSTRUCT, "sigstruct"),
}


@pytest.mark.parametrize("name", EVERYTHING)
def test_everything_is_recognised(name: str) -> None:
    """Whatever it is, its kind is told first, and nothing is said to be verified."""
    data, kind = EVERYTHING[name]
    shown = document(data)
    assert list(shown)[:2] == ["schema", "kind"]
    assert (shown["kind"], shown["verified"]) == (kind, False)
    text_lines = lines(data)
    assert text_lines[0].split() == ["kind", kind]
    assert text_lines[-1] == DISCLAIMER
    assert field(data, "kind") == kind


def test_sgx_claims_have_the_names_of_policies() -> None:
    """An SGX quote shows the claims that a policy pins, under the same names."""
    claims = document(SGX)["claims"]
    assert list(claims) == [
        "mrenclave", "mrsigner", "product_id", "svn", "debug", "report_data", "attributes",
        "attribute_flags", "misc_select", "config_id", "config_svn", "isv_family_id",
        "isv_ext_prod_id",
    ]  # fmt: skip
    report = Quote.parse(SGX).enclave
    assert report is not None
    assert claims["mrenclave"] == report.mr_enclave.hex() == SGX[112:144].hex()
    assert claims["mrsigner"] == SGX[176:208].hex()
    assert claims["attributes"] == SGX[96:112].hex()
    assert claims["report_data"] == SGX[368:432].hex()


def test_tdx_claims_have_the_names_of_policies() -> None:
    """A TDX quote shows its measurements in hex, those of TDX 1.5 where it has them."""
    claims = document(TDX)["claims"]
    assert set(claims) == {
        "mrtd", "rtmr0", "rtmr1", "rtmr2", "rtmr3", "report_data", "tee_tcb_svn", "mrseam",
        "mrsignerseam", "seam_attributes", "td_attributes", "attribute_flags", "xfam",
        "mrconfigid", "mrowner", "mrownerconfig", "debug",
    }  # fmt: skip
    assert claims["mrtd"] == TDX[48 + 136 : 48 + 184].hex()
    assert claims["td_attributes"] == TDX[48 + 120 : 48 + 128].hex()
    newer = document(TDX_15)["claims"]
    assert set(newer) - set(claims) == {"tee_tcb_svn_2", "mrservicetd"}
    assert newer["mrservicetd"] == TDX_15[54 + 600 : 54 + 648].hex()
    assert {"td_id", "init_servtd_hash"} <= set(document(TDX_15_EX)["claims"])


@pytest.mark.parametrize(
    ("quote", "names"),
    [
        (SGX[:96] + b"\x15\x04" + SGX[98:], ["INIT", "MODE64BIT", "PROVISION_KEY", "AEX_NOTIFY"]),
        (SGX[:96] + b"\x0a\x00" + SGX[98:], ["DEBUG", "BIT_3"]),
        (TDX[:168] + b"\x01\0\0\x10\0\0\0\x80" + TDX[176:],
         ["DEBUG", "SEPT_VE_DISABLE", "PERFMON"]),
    ],
)  # fmt: skip
def test_attribute_flags_are_named(quote: bytes, names: list[str]) -> None:
    """Set attribute bits go by Intel's names, and by number where Intel has none."""
    assert document(quote)["claims"]["attribute_flags"] == names
    assert claims_of(Quote.parse(quote))["debug"] == ("DEBUG" in names)


PLATFORM_IDS = {
    "cpu_svn": SGX,
    "qe_cpu_svn": SGX,
    "header_user_data": SGX,
    "ppid": SGX,
    "pck_cpu_svn": SGX,
    "platform_instance_id": TDX,
    "init_cpu_svn": TDX_15_EX,
}


@pytest.mark.parametrize("name", PLATFORM_IDS)
def test_platform_identifiers_are_hidden(name: str) -> None:
    """What identifies a machine is hidden in text and absent from JSON, unless it is asked for."""
    quote = PLATFORM_IDS[name]
    (hidden,) = (line for line in lines(quote) if line.split()[0] == name)
    assert hidden.endswith(HIDDEN)
    assert f'"{name}"' not in json.dumps(document(quote))
    error = run(quote, "--field", name).exception
    assert isinstance(error, ConfigError)
    assert error.code == "field-hidden"
    value = field(quote, name, "--show-platform-id")
    assert bytes.fromhex(value)
    assert f'"{name}": "{value}"' in json.dumps(document(quote, "--show-platform-id"))


@pytest.mark.parametrize("name", ["quote", "chain", "TDX 1.5ex quote", "Conclave"])
def test_no_identifier_leaks_anywhere(name: str) -> None:
    """The identifiers that are hidden stand nowhere else in the text or the JSON either."""
    data, _ = EVERYTHING[name]
    words = [line.split() for line in lines(data, "--show-platform-id")]
    names = ("ppid", "platform_instance_id", "header_user_data")
    identifiers = {pair[1] for pair in words if pair[0] in names} - {"00" * 20}
    assert identifiers
    said = "\n".join(lines(data)) + json.dumps(document(data))
    assert not [identifier for identifier in identifiers if identifier in said]


@pytest.mark.parametrize("ppid_type", [1, 2, 3])
def test_ppid_certification_data_are_hidden(ppid_type: int) -> None:
    """A quote that names its platform by PPID, clear or encrypted, does not show it."""
    size = {1: 16, 2: 256, 3: 384}[ppid_type]
    record = b"\x77" * size + b"\x66" * 16 + struct.pack("<H", 13) + b"\0\0"
    quote = WORLD.quote(cert_data=record, cert_type=ppid_type)
    platform = document(quote)["platform"]
    assert platform == {"pce_id": "0000", "pce_svn": 13}
    name = "ppid" if ppid_type == 1 else "encrypted_ppid"
    assert field(quote, name, "--show-platform-id") == "77" * size


@pytest.mark.parametrize(
    ("data", "name", "value"),
    [
        (SGX, "MRENCLAVE", SGX[112:144].hex()),
        (SGX, "mr_enclave", SGX[112:144].hex()),
        (SGX, "claims.mrsigner", SGX[176:208].hex()),
        (SGX, "product_id", str(int.from_bytes(SGX[304:306], "little"))),
        (SGX, "svn", str(int.from_bytes(SGX[306:308], "little"))),
        (SGX, "report_data", SGX[368:432].hex()),
        (SGX, "debug", "false"),
        (SGX, "tee", "SGX"),
        (TDX, "rtmr2", TDX[48 + 424 : 48 + 472].hex()),
        (PIECES["tcb_info"], "tcbEvaluationDataNumber", None),
        (PIECES["tcb_info"], "fmspc", None),
        (PCK_CHAIN, "fmspc", None),
        (PCK_CHAIN, "certificates.3.subject", "Intel SGX Root CA"),
        (WORLD.root.der, "serial", None),
        (SIGSTRUCT, "mrenclave", "ab" * 32),
        (SIGSTRUCT, "svn", "9"),
        (SIGSTRUCT, "date", "2026-11-21"),
        (SIGSTRUCT, "signature", "not checked"),
    ],
)
def test_one_field_is_one_line(data: bytes, name: str, value: str | None) -> None:
    """`--field` prints the value alone, however its name is spelt."""
    line = field(data, name)
    assert line
    assert value in (None, line)


def test_a_field_in_json_keeps_its_type() -> None:
    """With --json the one field stands beside the kind, as a number or boolean where it is one."""
    assert document(SIGSTRUCT, "--field", "svn") == {"schema": 1, "kind": "sigstruct", "svn": 9}
    assert document(SGX, "--field", "debug")["debug"] is False


def test_an_unknown_field_lists_those_there_are() -> None:
    """An unknown field is a usage error that names the fields there are."""
    error = run(TDX, "--field", "mrenclave").exception
    assert isinstance(error, ConfigError)
    assert error.code == "field-unknown"
    assert "mrtd, rtmr0" in error.mend


def test_the_container_is_shown() -> None:
    """Wrappings, what the container says, and whether the report data begin as it says."""
    shown = document(text.write_base64(open_enclave.write_evidence(SGX, custom_claims=b"PEM\0")))
    assert shown["wrappings"] == ["base64", "open-enclave-evidence"]
    assert "(base64, open-enclave-evidence)" in shown["evidence"]
    assert shown["container"]["format"] == "SGX_ECDSA"
    assert shown["container"]["bindings"][0]["report_data_begins_so"] is False
    bound = WORLD.quote(report_data=bytes.fromhex(
        shown["container"]["bindings"][0]["expected"]).ljust(64, b"\0"))  # fmt: skip
    again = document(open_enclave.write_evidence(bound, custom_claims=b"PEM\0"))
    assert again["container"]["bindings"][0]["report_data_begins_so"] is True


def test_conclave_shows_keys_and_collateral() -> None:
    """An EnclaveInstanceInfo shows its keys in hex and its collateral in short."""
    shown = document(EII)
    assert shown["container"]["data_signing_key"] == (b"k" * 44).hex()
    assert shown["collateral"]["tcb_info"]["id"] == "TDX"
    assert shown["collateral"]["pck_crl"]["issuer"].startswith("Intel SGX PCK")


def test_an_unreadable_part_does_not_hide_the_rest() -> None:
    """A quote whose certificates cannot be read still shows its claims, and says what is wrong."""
    quote = WORLD.quote(cert_data=b"-----BEGIN CERTIFICATE-----\nAAAA\n")
    shown = document(quote)
    assert shown["claims"]["mrenclave"]
    assert "[pem]" in shown["problem"]


@pytest.mark.parametrize("oid", [None, "1.3.6.1.4.1.311.105.1", "2.23.133.5.4.9"])
def test_foreign_certificates_are_summarised(oid: str | None) -> None:
    """A certificate outside Intel's profile is shown in short, evidence inside it by name."""
    shown = document(tls_certificate(oid))
    assert (shown["subject"], shown["serial"]) == ("CN=RATLS", "0abc")
    assert shown["profile"].startswith("not Intel's")
    assert [found.split()[0] for found in shown["evidence_extensions"]] == ([oid] if oid else [])


def test_documents_say_whether_they_are_signed() -> None:
    """A body alone has no signature; a response has one that nobody checked."""
    assert document(PIECES["tcb_info"])["signature"] == "absent"
    assert document(COLLATERAL.tcb_info)["signature"] == "not checked"


def test_long_lists_are_cut_in_text_only() -> None:
    """A CRL of forty shows some serials in text, and all of them in JSON."""
    crl = WORLD.crl(revoked=range(1, 41))
    assert len(document(crl)["revoked"]) == 40
    (line,) = (line for line in lines(crl) if line.startswith("revoked "))
    assert "16 more; --json has all" in line


def test_nothing_can_steer_a_terminal() -> None:
    """Control characters from the input are replaced before they are printed."""
    claim = open_enclave.CustomClaim("\x1b[31mred\n\x07", b"")
    evidence = open_enclave.write_evidence(
        SGX, custom_claims=open_enclave.write_custom_claims([claim])
    )
    shown = "\n".join(lines(evidence)) + field(evidence, "custom_claims")
    assert "\x1b" not in shown
    assert "\x07" not in shown
    assert "�[31mred�" in shown


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "evidence-unrecognised"),
        (b"<html>502</html>", "evidence-unrecognised"),
        (b'{"error": "not found"}', "evidence-unrecognised"),
        (b'{"tcbInfo": {', "json"),
        (b'{"fmspc": 1, "tcbLevels": []}', "json"),
        (SGX[:-1], "quote-truncated"),
        (b"\x09" + SGX[1:], "quote-version"),
        (WORLD.root.der[:-1], "der"),
        (SIGSTRUCT[:-1], "sigstruct-truncated"),
    ],
)
def test_what_is_nothing_known_is_an_error(data: bytes, code: str) -> None:
    """What cannot be read is refused with the code of the reader that knows best."""
    error = run(data).exception
    assert isinstance(error, FormatError)
    assert error.code == code


def test_the_command_line_has_the_house_s_exit_codes(tmp_path: Path) -> None:
    """0 where something is shown, 1 for a wrong flag or file, 2 for bytes that are nothing."""
    good, bad = tmp_path / "quote.bin", tmp_path / "bad.bin"
    good.write_bytes(SGX)
    bad.write_bytes(b"nothing known to anyone")
    runs = {
        (str(good),): 0,
        (str(good), "--field", "mrenclave"): 0,
        (str(good), "--field", "nonsense"): 1,
        (str(tmp_path / "absent"),): 1,
        (str(tmp_path),): 1,
        (str(good), "--nonsense"): 1,
        (str(bad),): 2,
        (str(bad), "--json"): 2,
    }
    for arguments, status in runs.items():
        done = subprocess.run(
            [sys.executable, "-c", "from dcap.cli.main import main; main()", "inspect", *arguments],
            capture_output=True,
            check=False,
            env=ENVIRONMENT,
        )
        assert done.returncode == status, (arguments, done.stderr)
        assert bool(done.stderr) == (status != 0)
        assert bool(done.stdout) == (status == 0 or "--json" in arguments)


def test_reading_a_quote_needs_no_heavy_imports() -> None:
    """Showing a quote imports neither cryptography's X.509 nor anything that opens sockets."""
    code = (
        "import sys; from dcap.cli.inspection import inspect_bytes;"
        "inspect_bytes(sys.stdin.buffer.read());"
        "print([m for m in sys.modules if m.startswith(('cryptography.x509', 'socket', 'ssl'))])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input=SGX, capture_output=True, check=True, env=ENVIRONMENT
    )
    assert done.stdout.strip() == b"[]"


@with_vectors
def test_every_real_piece_can_be_shown() -> None:
    """Every quote that can be parsed, and every piece of genuine collateral, is shown."""
    quotes = sorted(VECTORS.glob("*/quote.bin"))
    pieces = [
        p
        for d in ("ca_cert", "crl", "pck_cert", "qe_identity", "tcb_info")
        for p in (VECTORS / "_pool" / d).iterdir()
        if p.suffix in (".der", ".pem", ".json")
    ]
    assert quotes
    assert pieces
    for path in pieces:
        assert inspect_bytes(path.read_bytes())["kind"] != "quote", path
    for path in quotes:
        data = path.read_bytes()
        with contextlib.suppress(FormatError):
            Quote.parse(data)
            shown = inspect_bytes(data)
            manifest = json.loads((path.parent / "manifest.json").read_text())
            claims: Any = shown["claims"]
            for name in ("mrenclave", "mrsigner", "report_data", "mrtd", "debug"):
                if name in claims and name in manifest:
                    assert claims[name] == manifest[name], (path, name)
            platform: Any = shown.get("platform", {})
            if manifest.get("fmspc") and "fmspc" in platform:
                assert platform["fmspc"] == manifest["fmspc"]


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(EVERYTHING)), st.data())
def test_cut_or_altered_input_raises_only_our_errors(name: str, data: st.DataObject) -> None:
    """Anything cut anywhere, or with one byte changed, is shown or refused, never a crash."""
    whole = bytearray(EVERYTHING[name][0])
    place = data.draw(st.integers(0, len(whole) - 1))
    with contextlib.suppress(FormatError):
        inspect_bytes(bytes(whole[:place]))
    whole[place] = data.draw(st.integers(0, 255))
    with contextlib.suppress(FormatError):
        inspect_bytes(bytes(whole))


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400), st.sampled_from([b"", b"0\x82", b"{", b"0x", SIGSTRUCT[:40]]))
def test_garbage_raises_only_our_errors(garbage: bytes, prefix: bytes) -> None:
    """Whatever the bytes, something is shown or a FormatError says why not."""
    with contextlib.suppress(FormatError):
        inspect_bytes(prefix + garbage)
