"""Whatever people hold a quote in, the one quote comes out; whatever else they hold, we say so."""

import base64
import contextlib
import hashlib
import os
import struct
import time
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dcap.errors import FormatError
from dcap.formats.collateral import Collateral
from dcap.formats.containers import (
    MAX_SIZE,
    MAX_WRAPPINGS,
    WRAPPINGS,
    Contained,
    conclave,
    open_enclave,
    recognise,
    text,
)
from dcap.formats.containers.mistakes import MISTAKES
from dcap.formats.quote import Quote
from departures import World

WORLD = World()
SGX = WORLD.quote()
TDX = WORLD.quote(tee="tdx")
QUOTES = {
    "sgx-v3": SGX,
    "sgx-v4": WORLD.quote(version=4),
    "sgx-v5": WORLD.quote(version=5),
    "tdx-v4": TDX,
    "tdx-v5-1.5": WORLD.quote(tee="tdx", version=5),
    "tdx-v5-1.5ex": WORLD.quote(tee="tdx", version=5, body_type=4),
}
CLAIMS = open_enclave.write_custom_claims(
    [open_enclave.CustomClaim("nonce", b"\x01" * 8), open_enclave.CustomClaim("", b"")]
)
SIGNING_KEY = bytes(range(44))
ENCRYPTION_KEY = bytes(range(100, 132))

VECTORS = Path(os.environ.get("DCAP_VECTORS") or Path(__file__).parents[3] / "shared" / "vectors")
FOLDERS = sorted(path.parent for path in VECTORS.glob("*/quote.bin"))


def crowded(data: bytes) -> bytes:
    """Text with line breaks and blanks in odd places."""
    return b" \r\n" + b"\n".join(data[i : i + 63] for i in range(0, len(data), 63)) + b"\n\n"


#: Form -> (writer, the wrappings it is recognised as).
FORMS: dict[str, tuple[Callable[[bytes], bytes], tuple[str, ...]]] = {
    "raw": (bytes, ()),
    "hex": (text.write_hex, ("hex",)),
    "HEX": (lambda q: q.hex().upper().encode(), ("hex",)),
    "0x": (lambda q: b"0x" + q.hex().encode() + b"\n", ("hex",)),
    "0X, spaced": (lambda q: b"0X" + q.hex(" ").encode(), ("hex",)),
    "hex, lines": (lambda q: crowded(q.hex().encode()), ("hex",)),
    "hex, byte order mark": (lambda q: b"\xef\xbb\xbf" + q.hex().encode(), ("hex",)),
    "base64": (text.write_base64, ("base64",)),
    "base64, lines": (lambda q: crowded(base64.b64encode(q)), ("base64",)),
    "base64, unpadded": (lambda q: base64.b64encode(q).rstrip(b"="), ("base64",)),
    "base64url": (base64.urlsafe_b64encode, ("base64",)),
    "base64url, unpadded": (lambda q: base64.urlsafe_b64encode(q).rstrip(b"="), ("base64",)),
    "pem": (text.write_pem, ("pem",)),
    "pem, SGX QUOTE": (lambda q: text.write_pem(q, "SGX QUOTE"), ("pem",)),
    "pem, EVIDENCE": (lambda q: text.write_pem(q, "EVIDENCE"), ("pem",)),
    "pem, text around": (
        lambda q: b"my quote\n" + text.write_pem(q, "X REPORT") + b"\nend",
        ("pem",),
    ),
    "OE report": (open_enclave.write_report, ("open-enclave-report",)),
    "OE evidence": (open_enclave.write_evidence, ("open-enclave-evidence",)),
    "OE evidence, claims": (
        lambda q: open_enclave.write_evidence(q, custom_claims=CLAIMS),
        ("open-enclave-evidence",),
    ),
    "OE evidence, legacy": (
        lambda q: open_enclave.write_evidence(q, uuid=open_enclave.LEGACY_REPORT_REMOTE),
        ("open-enclave-evidence", "open-enclave-report"),
    ),
    "OE evidence, raw SGX": (
        lambda q: open_enclave.write_evidence(q, uuid=open_enclave.RAW_SGX_QUOTE_ECDSA),
        ("open-enclave-evidence",),
    ),
    "OE evidence, raw TDX": (
        lambda q: open_enclave.write_evidence(q, uuid=open_enclave.TDX_QUOTE_ECDSA),
        ("open-enclave-evidence",),
    ),
    "zero-padded": (lambda q: q + bytes(3065), ("zero-padded",)),
    "OE report, padded": (
        lambda q: open_enclave.write_report(q + bytes(7)),
        ("open-enclave-report", "zero-padded"),
    ),
    "base64 of padded": (lambda q: text.write_base64(q + b"\0"), ("base64", "zero-padded")),
    "hex of OE report": (
        lambda q: text.write_hex(open_enclave.write_report(q)),
        ("hex", "open-enclave-report"),
    ),
    "base64 of PEM of hex": (
        lambda q: text.write_base64(text.write_pem(text.write_hex(q))),
        ("base64", "pem", "hex"),
    ),
    "Conclave": (lambda q: conclave_by_hand(q, ITEMS), ("conclave-eii",)),
}

_GENUINE = WORLD.collateral()


def sealed(member: str, name: str) -> bytes:
    """A signed response, put together by hand."""
    signature = _GENUINE[f"{name}_signature"].hex().encode()
    return b'{"' + member.encode() + b'":' + _GENUINE[name] + b',"signature":"' + signature + b'"}'


#: The eight items of Conclave's collateral, in its order.
ITEMS = [
    b"1",
    _GENUINE["pck_crl_issuer_chain"],
    _GENUINE["root_ca_crl"],
    _GENUINE["pck_crl"],
    _GENUINE["tcb_info_issuer_chain"],
    sealed("tcbInfo", "tcb_info"),
    _GENUINE["qe_identity_issuer_chain"],
    sealed("enclaveIdentity", "qe_identity"),
]


def conclave_by_hand(quote: bytes, items: list[bytes], kind: int = 1) -> bytes:
    """An EnclaveInstanceInfo packed independently of the writer."""
    attestation = quote + b"".join(struct.pack(f">I{len(i)}s", len(i), i) for i in items)
    return struct.pack(
        f">3sI44sI32sBI{len(attestation)}s",
        b"EII", 44, SIGNING_KEY, 32, ENCRYPTION_KEY, kind, len(attestation), attestation,
    )  # fmt: skip


def refusal(data: bytes) -> FormatError:
    """The error with which `data` is refused."""
    with pytest.raises(FormatError) as caught:
        recognise(data)
    return caught.value


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", QUOTES)
def test_every_form_of_a_quote_gives_the_quote_back(name: str, form: str) -> None:
    """Whatever a quote is wrapped in, the same bytes come out, and the wrappings are named."""
    write, wrappings = FORMS[form]
    found = recognise(write(QUOTES[name]))
    assert (found.quote, found.wrappings) == (QUOTES[name], wrappings)
    assert Quote.parse(found.quote).to_bytes() == QUOTES[name]
    assert set(found.wrappings) <= set(WRAPPINGS)


@pytest.mark.skipif(not FOLDERS, reason=f"no vectors in {VECTORS}")
def test_every_vector_is_recognised_in_every_form() -> None:
    """Every real quote comes out of every form as it went in, and broken ones stay as broken."""
    sized_by_the_quote = {"Conclave"} | {f for f in FORMS if "evidence" in f or "padded" in f}
    for folder in FOLDERS:
        quote = (folder / "quote.bin").read_bytes()
        raw = recognise(quote)
        try:
            assert Quote.parse(quote).to_bytes() == raw.quote
            forms = set(FORMS)
        except FormatError:
            assert raw.quote.ljust(len(quote), b"\0") == quote
            forms = set(FORMS) - sized_by_the_quote
        for form in sorted(forms):
            write, wrappings = FORMS[form]
            found = recognise(write(quote))
            assert found.quote == raw.quote, (folder.name, form)
            assert found.wrappings == wrappings + raw.wrappings, (folder.name, form)


@pytest.mark.parametrize(
    ("edit", "code"),
    [
        (lambda q: q[:-1], "quote-truncated"),
        (lambda q: q[: len(q) // 2], "quote-truncated"),
        (lambda q: q[:20], "quote-truncated"),
        (lambda q: q[:3], "quote-truncated"),
        (lambda q: b"\x09" + q[1:], "quote-version"),
        (lambda q: q[:2] + b"\x00" + q[3:], "quote-attestation-key-type"),
        (lambda q: q[:4] + b"\x55" + q[5:], "quote-tee-type"),
        (lambda q: q + b"\0\0\1", "quote-trailing-bytes"),
    ],
)
@pytest.mark.parametrize("form", ["raw", "hex", "base64", "pem", "OE report"])
def test_a_broken_quote_is_handed_on(form: str, edit: Callable[[bytes], bytes], code: str) -> None:
    """A quote that is cut, foreign or followed by something gets the quote's own error."""
    if form in ("hex", "base64") and len(edit(SGX)) < 16:
        pytest.skip("too short to be told from a word")
    with pytest.raises(FormatError) as caught:
        Quote.parse(recognise(FORMS[form][0](edit(SGX))).quote)
    assert caught.value.code == code


def test_a_vendor_other_than_intel_is_handed_on() -> None:
    """A quote of another QE vendor is still a quote: refusing it is the verifier's business."""
    other = SGX[:12] + bytes(16) + SGX[28:]
    assert recognise(other).quote == other


def test_custom_claims_bind_the_report_data() -> None:
    """Evidence says that the report data begin with SHA-256 of its claims buffer, even if empty."""
    for buffer in (b"", CLAIMS, b"-----BEGIN PUBLIC KEY-----\n\0"):
        found = recognise(open_enclave.write_evidence(SGX, custom_claims=buffer))
        (binding,) = found.bindings
        assert binding.report_data == hashlib.sha256(buffer).digest()
        assert found.facts["format"] == "SGX_ECDSA"


def test_custom_claims_are_named() -> None:
    """A list of claims is shown by its names; a buffer that is no list by its size."""
    listed = recognise(open_enclave.write_evidence(SGX, custom_claims=CLAIMS))
    assert listed.facts["custom_claims"] == "nonce, "
    opaque = recognise(open_enclave.write_evidence(SGX, custom_claims=b"PEM\0"))
    assert opaque.facts["custom_claims"] == "4 bytes, not a list of claims"
    assert recognise(open_enclave.write_evidence(SGX)).facts["custom_claims"] == "none"


def test_a_report_binds_nothing() -> None:
    """A legacy report, and evidence of formats without claims, say nothing of the report data."""
    for form in ("OE report", "OE evidence, legacy", "OE evidence, raw SGX"):
        assert recognise(FORMS[form][0](SGX)).bindings == ()


def test_open_enclave_report_by_hand() -> None:
    """The report's header is version 1, type 2 and the quote's size, little-endian."""
    packed = struct.pack("<IIQ", 1, 2, len(SGX)) + SGX
    assert open_enclave.write_report(SGX) == packed
    assert open_enclave.LegacyReport.parse(packed).to_bytes() == packed


@pytest.mark.parametrize("padding", [bytes(4), b"\xde\xad\xbe\xef"])
def test_open_enclave_evidence_by_hand(padding: bytes) -> None:
    """Evidence's header has 32 bytes, four of them what the compiler left between two fields."""
    uuid = bytes.fromhex("a3a21e871b4d4014b70aa125d2fbcd8c")
    data = SGX + CLAIMS
    packed = struct.pack("<I16s4sQ", 3, uuid, padding, len(data)) + data
    evidence = open_enclave.Evidence.parse(packed)
    assert (evidence.quote, evidence.custom_claims) == (SGX, CLAIMS)
    assert evidence.to_bytes() == packed
    assert recognise(packed).quote == SGX


def test_custom_claims_by_hand() -> None:
    """Claims are two sizes, a name with its NUL, and a value, without padding."""
    packed = struct.pack("<QQ QQ6s8s QQ1s", 1, 2, 6, 8, b"nonce\0", b"\x01" * 8, 1, 0, b"\0")
    assert packed == CLAIMS
    assert open_enclave.write_custom_claims(open_enclave.parse_custom_claims(packed)) == packed


@pytest.mark.parametrize(
    "buffer",
    [
        b"",
        struct.pack("<QQ", 2, 0),
        struct.pack("<QQ", 1, 1),
        struct.pack("<QQ", 1, 2**63),
        struct.pack("<QQ", 1, 0) + b"\0",
        struct.pack("<QQQQ", 1, 1, 2**63, 2**63) + b"a\0",
        struct.pack("<QQQQ", 1, 1, 2, 0) + b"ab",
        struct.pack("<QQQQ", 1, 1, 3, 0) + b"a\0\0",
        struct.pack("<QQQQ", 1, 1, 0, 0),
        struct.pack("<QQQQ", 1, 1, 2, 0) + b"\xff\0",
    ],
)
def test_custom_claims_refuse_what_does_not_close(buffer: bytes) -> None:
    """A size, count or name that does not add up is refused before anything is allocated."""
    with pytest.raises(FormatError):
        open_enclave.parse_custom_claims(buffer)


def test_writers_refuse_what_they_could_not_read() -> None:
    """A name with a NUL, claims in a format without any, a label of no quote: none is written."""
    with pytest.raises(FormatError):
        open_enclave.write_custom_claims([open_enclave.CustomClaim("a\0b", b"")])
    with pytest.raises(FormatError):
        open_enclave.write_evidence(SGX, custom_claims=b"x", uuid=open_enclave.TDX_QUOTE_ECDSA)
    with pytest.raises(FormatError):
        text.write_pem(SGX, "CERTIFICATE")


@pytest.mark.parametrize("uuid", [u for u, (_, why) in open_enclave.FORMATS.items() if why])
def test_formats_without_a_quote_are_named(uuid: UUID) -> None:
    """Local, EPID and EEID evidence is refused by its name and with the reason."""
    name, why = open_enclave.FORMATS[uuid]
    error = refusal(open_enclave.Evidence(format_id=uuid, data=SGX).to_bytes())
    assert error.code == "open-enclave-format"
    assert name in error.what
    assert why in error.what


def test_an_unknown_open_enclave_format_is_refused() -> None:
    """Evidence whose UUID nobody knows is called so, by its UUID."""
    uuid = UUID(int=7)
    error = refusal(open_enclave.Evidence(format_id=uuid, data=SGX).to_bytes())
    assert error.code == "open-enclave-format"
    assert str(uuid) in error.what


def test_a_local_report_and_endorsements_are_told() -> None:
    """A local report, and endorsements given for evidence, are refused for what they are."""
    local = struct.pack("<IIQ", 1, 1, 432) + bytes(432)
    assert "local report" in refusal(local).what
    endorsements = struct.pack("<IIQI", 1, 2, 100, 8) + bytes(100)
    wrapped = open_enclave.Evidence(format_id=open_enclave.SGX_ECDSA, data=endorsements)
    assert "endorsements" in refusal(wrapped.to_bytes()).what


@pytest.mark.parametrize("form", ["OE report", "OE evidence", "OE evidence, legacy", "Conclave"])
@pytest.mark.parametrize("change", [-1, 1])
def test_container_sizes_close_exactly(form: str, change: int) -> None:
    """One byte too few or too many in a binary container is refused."""
    whole = FORMS[form][0](SGX)
    altered = whole[:change] if change < 0 else whole + b"\0"
    assert refusal(altered).code in ("open-enclave-size", "conclave-size")


def test_conclave_by_hand() -> None:
    """The two keys, the quote and the seven items come out, and are written to the same bytes."""
    packed = conclave_by_hand(SGX, ITEMS)
    info = conclave.EnclaveInstanceInfo.parse(packed)
    assert info.to_bytes() == packed
    assert (info.data_signing_key, info.encryption_key) == (SIGNING_KEY, ENCRYPTION_KEY)
    assert info.collateral == Collateral(
        pck_crl_issuer_chain=ITEMS[1],
        root_ca_crl=ITEMS[2],
        pck_crl=ITEMS[3],
        tcb_info_issuer_chain=ITEMS[4],
        tcb_info=ITEMS[5],
        qe_identity_issuer_chain=ITEMS[6],
        qe_identity=ITEMS[7],
    )
    written = conclave.write_instance_info(
        SGX, info.collateral, data_signing_key=SIGNING_KEY, encryption_key=ENCRYPTION_KEY
    )
    assert written == packed


def test_conclave_binds_both_keys() -> None:
    """The report data must be SHA-512 of signing key and encryption key, all 64 bytes."""
    found = recognise(conclave_by_hand(SGX, ITEMS))
    (binding,) = found.bindings
    assert binding.report_data == hashlib.sha512(SIGNING_KEY + ENCRYPTION_KEY).digest()
    assert found.facts["data_signing_key"] == SIGNING_KEY.hex()
    assert found.facts["encryption_key"] == ENCRYPTION_KEY.hex()
    assert found.collateral is not None


def test_conclave_without_an_issuer_chain() -> None:
    """An empty PCK CRL issuer chain is an absent one, and is written as an empty one."""
    packed = conclave_by_hand(SGX, [ITEMS[0], b"", *ITEMS[2:]])
    info = conclave.EnclaveInstanceInfo.parse(packed)
    assert info.collateral.pck_crl_issuer_chain is None
    assert info.to_bytes() == packed


@pytest.mark.parametrize(("kind", "word"), [(0, "EPID"), (2, "mock"), (9, "type 9")])
def test_conclave_attestations_other_than_dcap(kind: int, word: str) -> None:
    """EPID, mock and unknown attestations are refused for what they are."""
    error = refusal(conclave_by_hand(SGX, ITEMS, kind))
    assert error.code == "conclave-attestation-type"
    assert word in error.what


@pytest.mark.parametrize(
    "items",
    [ITEMS[:-1], [*ITEMS, b"more"], [b"1", *[b""] * 6]],
    ids=["seven", "nine", "empty but one short"],
)
def test_conclave_takes_eight_items(items: list[bytes]) -> None:
    """Neither fewer nor more items of collateral than eight are taken."""
    assert refusal(conclave_by_hand(SGX, items)).code == "conclave-size"


def test_conclave_names_the_quote_s_error() -> None:
    """A quote inside that cannot be delimited is refused with the quote's code, in its place."""
    error = refusal(conclave_by_hand(b"\x09" + SGX[1:], ITEMS))
    assert error.code == "quote-version"
    assert error.where.startswith("EnclaveInstanceInfo")


@pytest.mark.skipif(not FOLDERS, reason=f"no vectors in {VECTORS}")
def test_conclave_around_real_quotes_and_collateral() -> None:
    """Real Conclave quotes and collateral, packed by hand, come out and go in unchanged."""
    folders = [f for f in FOLDERS if f.name.startswith("conclave-")]
    assert folders
    for folder in folders:
        names = ("pck_crl_issuer_chain.pem", "root_ca_crl.pem", "pck_crl.pem",
                 "tcb_info_issuer_chain.pem", "tcb_info_response.json",
                 "qe_identity_issuer_chain.pem", "qe_identity_response.json")  # fmt: skip
        items = [b"1", *((folder / name).read_bytes() for name in names)]
        quote = (folder / "quote.bin").read_bytes()
        packed = conclave_by_hand(quote, items)
        found = recognise(packed)
        assert found.quote == quote
        assert found.collateral is not None
        assert found.collateral.tcb_info == items[5]
        assert conclave.EnclaveInstanceInfo.parse(packed).to_bytes() == packed


CERTIFICATE = WORLD.root.der
EPID = struct.pack("<HHI", 2, 1, 0x0B3) + bytes(428) + struct.pack("<I", 680) + bytes(680)
MISTAKEN = {
    "empty": (b"", "empty"),
    "zeros": (bytes(5000), "zeros"),
    "UTF-16": (b"\xff\xfe" + SGX.hex().encode("utf-16-le"), "UTF-16"),
    "HTML": (b"\n<!DOCTYPE html><html><body>502 Bad Gateway</body></html>", "HTML"),
    "JSON": (b'{"quote": "AwACAAAA"}', "JSON"),
    "JSON with PEM": (b'{"chain": "-----BEGIN QUOTE-----\\nAA==\\n"}', "JSON"),
    "PEM certificate": (WORLD.chain(WORLD.root), "certificate"),
    "PEM key": (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "PEM"),
    "DER certificate": (CERTIFICATE, "certificate"),
    "base64 certificate": (base64.b64encode(CERTIFICATE), "certificate"),
    "Nitro": (bytes.fromhex("8444a1013822a0591100") + bytes(4000), "Nitro"),
    "SEV-SNP": (struct.pack("<IIQ", 3, 0, 0x30000) + bytes(1168), "SEV-SNP"),
    "SGX report": (bytes(16) + b"\x01" * 416, "SGX REPORT"),
    "TD report": (b"\x81\0\0\0" + b"\x01" * 1020, "TDREPORT"),
    "EPID": (EPID, "EPID"),
    "odd hex": (SGX.hex().encode()[:-1], "hex digits"),
    "words": (b"not a quote, really", "no SGX or TDX quote"),
}


@pytest.mark.parametrize("mistake", MISTAKEN)
def test_common_mistakes_are_told(mistake: str) -> None:
    """What is no quote is refused with one code, and with a word on what it is instead."""
    data, word = MISTAKEN[mistake]
    error = refusal(data)
    assert error.code == "evidence-unrecognised"
    assert word in error.what
    assert error.mend


def test_every_mistake_has_a_test() -> None:
    """Each row of the table of mistakes is told by one of the examples above, as the first."""
    layers = [data for data, _ in MISTAKEN.values()] + [CERTIFICATE]
    first = {next((m.what for m in MISTAKES if m.told(data)), "") for data in layers}
    assert {m.what for m in MISTAKES} <= first


def test_several_quotes_are_refused() -> None:
    """Two PEM blocks stand for two quotes, and which one is meant is not guessed."""
    assert refusal(text.write_pem(SGX) * 2).code == "evidence-several"


@pytest.mark.parametrize("cut", [b"-----END QUOTE-----", b"=\n"])
def test_a_damaged_pem_block_is_refused(cut: bytes) -> None:
    """A block without its end, or with broken base64, is refused as PEM."""
    damaged = text.write_pem(SGX + b"\0" * (1 - len(SGX) % 3)).replace(cut, b"!")
    assert refusal(text.write_pem(SGX).replace(b"-----END QUOTE-----", b"")).code == "pem"
    assert refusal(damaged.replace(b"AAAA", b"A*AA", 1)).code == "pem"


def test_the_size_is_bounded() -> None:
    """More than one MiB is refused before anything is looked at."""
    assert refusal(SGX + bytes(MAX_SIZE)).code == "evidence-too-large"
    assert recognise(SGX + bytes(MAX_SIZE - len(SGX))).quote == SGX


def test_the_depth_is_bounded() -> None:
    """Four layers are taken off, a fifth is refused, whatever it is."""
    wrapped = SGX
    for _ in range(MAX_WRAPPINGS):
        wrapped = text.write_base64(wrapped)
    assert len(recognise(wrapped).wrappings) == MAX_WRAPPINGS
    assert refusal(text.write_base64(wrapped)).code == "evidence-nested"
    padded = SGX + b"\0"
    for _ in range(MAX_WRAPPINGS):
        padded = text.write_base64(padded)
    assert refusal(padded).code == "evidence-nested"


@pytest.mark.parametrize(
    "unit",
    [b" ", b"\n", b"A", b"0", b"-----BEGIN QUOTE-----", b"\n-----BEGIN QUOTE-----\n", b"=", b"\0"],
)
def test_recognition_is_linear(unit: bytes) -> None:
    """A megabyte of one thing over and over is refused or recognised at once."""
    data = (unit * MAX_SIZE)[:MAX_SIZE]
    started = time.perf_counter()
    for prefix in (b"", b"-----BEGIN QUOTE-----", b"EII\0\0\0\1", b"\3\0\2\0"):
        only_ours(lambda start=prefix: recognise((start + data)[:MAX_SIZE]))
    assert time.perf_counter() - started < 2


def only_ours(read: Callable[[], object]) -> None:
    """Run `read`; of all exceptions only a FormatError may come out, and it is swallowed."""
    with contextlib.suppress(FormatError):
        read()


def read_everything(data: bytes) -> None:
    """Every reader of this package over the same bytes."""
    for read in (
        lambda: Quote.parse(recognise(data).quote),
        lambda: open_enclave.LegacyReport.parse(data),
        lambda: open_enclave.Evidence.parse(data).quote,
        lambda: open_enclave.Evidence.parse(data).custom_claims,
        lambda: open_enclave.parse_custom_claims(data),
        lambda: conclave.EnclaveInstanceInfo.parse(data),
        lambda: text.open_layer(data),
    ):
        only_ours(read)


PREFIXES = [
    b"", SGX[:48], SGX[:440], TDX[:640], b"EII\0\0\0\x2c", struct.pack("<II", 1, 2),
    struct.pack("<I", 3) + open_enclave.SGX_ECDSA.bytes, b"-----BEGIN QUOTE-----\n", b"0x", b"{",
    struct.pack("<QQ", 1, 1),
]  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(PREFIXES), st.binary(max_size=600))
def test_garbage_raises_only_our_errors(prefix: bytes, garbage: bytes) -> None:
    """Whatever the bytes, every reader returns or raises a FormatError."""
    read_everything(prefix + garbage)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=300))
def test_text_raises_only_our_errors(words: str) -> None:
    """Whatever the text, in whichever encoding, every reader returns or raises a FormatError."""
    read_everything(words.encode("utf-8", "surrogatepass"))
    read_everything(words.encode("utf-16", "surrogatepass"))


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(FORMS)), st.data())
def test_cut_or_altered_containers_raise_only_our_errors(form: str, data: st.DataObject) -> None:
    """A container cut anywhere, or with one byte changed, is read or refused, never a crash."""
    whole = bytearray(FORMS[form][0](SGX))
    place = data.draw(st.integers(0, len(whole) - 1))
    read_everything(bytes(whole[:place]))
    whole[place] = data.draw(st.integers(0, 255))
    read_everything(bytes(whole))


@settings(max_examples=200, deadline=None)
@given(
    quote=st.binary(max_size=200),
    padding=st.binary(min_size=4, max_size=4),
    uuid=st.uuids(),
)
def test_envelopes_are_written_as_they_were_read(quote: bytes, padding: bytes, uuid: UUID) -> None:
    """Reading and writing an Open Enclave envelope gives the same bytes, whatever is inside."""
    report = open_enclave.write_report(quote)
    assert open_enclave.LegacyReport.parse(report).to_bytes() == report
    packed = struct.pack("<I16s4sQ", 3, uuid.bytes, padding, len(quote)) + quote
    assert open_enclave.Evidence.parse(packed).to_bytes() == packed


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20),
            st.binary(max_size=40),
        ),
        max_size=8,
    )
)
def test_custom_claims_are_read_as_they_were_written(claims: list[tuple[str, bytes]]) -> None:
    """Any claims come back in their order, and write to the same bytes."""
    written = [open_enclave.CustomClaim(name, value) for name, value in claims]
    buffer = open_enclave.write_custom_claims(written)
    assert list(open_enclave.parse_custom_claims(buffer)) == written


@settings(max_examples=50, deadline=None)
@given(
    keys=st.tuples(st.binary(min_size=44, max_size=44), st.binary(min_size=32, max_size=32)),
    items=st.binary(max_size=64),
)
def test_instance_infos_are_read_as_they_were_written(
    keys: tuple[bytes, bytes], items: bytes
) -> None:
    """Any keys and any collateral come back, and write to the same bytes."""
    collateral = Collateral(
        pck_crl_issuer_chain=items or None,
        root_ca_crl=items,
        pck_crl=b"",
        tcb_info_issuer_chain=items * 2,
        tcb_info=b"{}",
        qe_identity_issuer_chain=b"",
        qe_identity=items,
    )
    packed = conclave.write_instance_info(
        TDX, collateral, data_signing_key=keys[0], encryption_key=keys[1]
    )
    info = conclave.EnclaveInstanceInfo.parse(packed)
    assert (info.collateral, info.quote, info.to_bytes()) == (collateral, TDX, packed)


def test_a_raw_quote_has_nothing_around_it() -> None:
    """A raw quote is recognised as nothing but itself."""
    assert recognise(SGX) == Contained(quote=SGX, parsed=Quote(SGX))
