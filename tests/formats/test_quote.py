"""Quotes of every version and body, read and written back; every malformed length, refused by name."""

import pickle
import struct
import tracemalloc
from dataclasses import dataclass, field
from typing import Any

import pytest

from dcap.errors import FormatError
from dcap.formats.certification import (
    CertificationData,
    PpidCleartext,
    PpidRsa2048,
    PpidRsa3072,
)
from dcap.formats.quote import MAX_SIZE, Quote, quote_size, signed_part, write_quote
from departures import Lengths, World


@dataclass(frozen=True)
class Case:
    """One kind of quote: how it is made, and what must be read of it."""

    version: int
    tee: str
    body_type: int
    body_at: int
    body_size: int
    options: dict[str, Any] = field(default_factory=dict)

    def make(self, world: World, **changes: Any) -> bytes:
        """The quote's bytes."""
        return world.quote(self.version, self.tee, **{**self.options, **changes})

    @property
    def section_at(self) -> int:
        """Where the signature data begin."""
        return self.body_at + self.body_size + 4

    @property
    def certification_at(self) -> int:
        """Where the inner certification data begin (32 bytes of authentication data)."""
        outer = 0 if self.version == 3 else 6
        return self.section_at + 128 + outer + 384 + 64 + 2 + 32 + 6


CASES = {
    "v3 SGX": Case(3, "sgx", 1, 48, 384),
    "v4 SGX": Case(4, "sgx", 1, 48, 384),
    "v4 TDX": Case(4, "tdx", 2, 48, 584),
    "v5 SGX": Case(5, "sgx", 1, 54, 384, {"body_type": 1}),
    "v5 TDX 1.0": Case(5, "tdx", 2, 54, 584, {"body_type": 2}),
    "v5 TDX 1.5": Case(5, "tdx", 3, 54, 648, {"body_type": 3}),
    "v5 TDX 1.5ex": Case(5, "tdx", 4, 54, 885, {"body_type": 4}),
}
each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def refusal(data: bytes) -> FormatError:
    """The error with which a quote is refused."""
    with pytest.raises(FormatError) as raised:
        Quote.parse(data)
    return raised.value


@each_case
def test_every_kind_is_read_and_written_back(world: World, case: Case) -> None:
    """A quote of every version and body reads, and writes back to the same bytes."""
    data = case.make(world)

    quote = Quote.parse(data)

    assert quote.to_bytes() == data
    assert quote.header.version == case.version
    assert quote.tee == case.tee.upper()
    assert quote.body_type == case.body_type
    assert (quote.td is None, quote.enclave is None) == (case.tee == "sgx", case.tee == "tdx")
    assert quote.body.to_bytes() == data[case.body_at : case.body_at + case.body_size]
    assert quote_size(data) == len(data)


@each_case
def test_parts_stand_where_the_spec_has_them(world: World, case: Case) -> None:
    """Signed bytes, signature, key, QE report and chain are the slices that the spec names."""
    data = case.make(world, auth_data=bytes(range(32)))
    at = case.section_at
    report_at = at + 128 + (0 if case.version == 3 else 6)

    quote = Quote.parse(data)

    assert quote.signed_bytes == data[: at - 4]
    assert quote.signature == data[at : at + 64]
    assert quote.attestation_key == data[at + 64 : at + 128]
    assert quote.qe_report_bytes == data[report_at : report_at + 384]
    assert quote.qe_report.to_bytes() == quote.qe_report_bytes
    assert quote.qe_report_signature == data[report_at + 384 : report_at + 448]
    assert quote.qe_authentication_data == bytes(range(32))
    assert quote.certification == CertificationData(5, data[case.certification_at :])


@each_case
def test_signed_part_writes_what_was_signed(world: World, case: Case) -> None:
    """Header, descriptor and body written from their values are the signed bytes."""
    quote = Quote.parse(case.make(world))

    assert signed_part(quote.header, quote.body, quote.body_type) == quote.signed_bytes
    assert signed_part(quote.header, quote.body) == quote.signed_bytes


@each_case
def test_reserved_bytes_are_kept(world: World, case: Case) -> None:
    """Bytes that mean nothing are fields: set to anything, they are read and written back."""

    def scribble(signed: bytearray) -> None:
        signed[8:12] = b"\xa1\xa2\xa3\xa4"
        signed[28:48] = bytes(range(20))
        end = case.body_at + case.body_size
        signed[case.body_at : end] = bytes(i % 253 for i in range(case.body_size))

    data = case.make(world, edit_signed=scribble)

    quote = Quote.parse(data)

    assert quote.to_bytes() == data
    assert (quote.header.qe_svn, quote.header.pce_svn) == (b"\xa1\xa2", b"\xa3\xa4")
    assert quote.header.user_data == bytes(range(20))
    assert quote.body.to_bytes() == bytes(i % 253 for i in range(case.body_size))


@each_case
def test_every_truncation_is_refused(world: World, case: Case) -> None:
    """A quote cut anywhere is refused as a cut quote."""
    data = case.make(world)
    for size in range(0, len(data), 1 if case.version == 3 else 13):
        assert refusal(data[:size]).code == "quote-truncated"


LENGTHS: dict[str, tuple[dict[str, int], str]] = {
    "signature data of 4 GB": ({"signature_data": 0xFFFFFFFF}, "quote-truncated"),
    "no signature data": ({"signature_data": 0}, "quote-length"),
    "signature data too short for the signature": ({"signature_data": 63}, "quote-length"),
    "signature data too short for the key": ({"signature_data": 127}, "quote-length"),
    "authentication data of 64 KB": ({"auth_data": 0xFFFF}, "quote-length"),
    "authentication data one byte shorter": ({"auth_data": 31}, "quote-length"),
    "authentication data one byte longer": ({"auth_data": 33}, "quote-length"),
    "no authentication data": ({"auth_data": 0}, "quote-length"),
    "certification data of 4 GB": ({"certification_data": 0xFFFFFFFF}, "quote-length"),
    "no certification data": ({"certification_data": 0}, "quote-length"),
}


@each_case
@pytest.mark.parametrize("flaw", LENGTHS)
def test_lengths_must_close(world: World, case: Case, flaw: str) -> None:
    """A length that does not add up is refused, without allocating what it claims."""
    lengths, code = LENGTHS[flaw]
    data = case.make(world, lengths=Lengths(**lengths))
    tracemalloc.start()
    try:
        error = refusal(data)
        assert tracemalloc.get_traced_memory()[1] < 200_000
    finally:
        tracemalloc.stop()

    assert error.code == code
    assert error.mend


@each_case
@pytest.mark.parametrize("change", [-1, 1])
def test_lengths_must_close_to_the_byte(world: World, case: Case, change: int) -> None:
    """A certification data length that is off by one is refused."""
    data = bytearray(case.make(world))
    at = case.certification_at - 4
    size = int.from_bytes(data[at : at + 4], "little")
    struct.pack_into("<I", data, at, size + change)

    assert refusal(bytes(data)).code == "quote-length"


@pytest.mark.parametrize("change", [-1, 1, 0xFFFFFFFF])
@pytest.mark.parametrize("name", [name for name in CASES if not name.startswith("v3")])
def test_the_outer_length_must_close_too(world: World, name: str, change: int) -> None:
    """The container of type 6 is exactly as long as what it holds."""
    data = bytearray(CASES[name].make(world))
    at = CASES[name].section_at + 128 + 2
    size = int.from_bytes(data[at : at + 4], "little")
    struct.pack_into("<I", data, at, min(size + change, 0xFFFFFFFF))

    assert refusal(bytes(data)).code == "quote-length"


@each_case
@pytest.mark.parametrize("trailing", [b"\0", b"\xff" * 16])
def test_bytes_after_a_quote_are_refused(world: World, case: Case, trailing: bytes) -> None:
    """Nothing signs what stands after a quote, so it is not a quote; `quote_size` tells its end."""
    data = case.make(world)

    error = refusal(data + trailing)

    assert error.code == "quote-trailing-bytes"
    assert error.where == f"quote, byte {len(data)}"
    assert quote_size(b"head" + data + trailing, 4) == len(data)


def test_a_quote_has_a_largest_size() -> None:
    """More than 64 KB is refused before anything is read."""
    assert refusal(bytes(MAX_SIZE + 1)).code == "quote-too-large"
    assert refusal(bytes(MAX_SIZE)).code == "quote-version"


HEADERS: dict[str, tuple[int, bytes, str]] = {
    "version 0": (0, b"\0\0", "quote-version"),
    "version 2 (EPID)": (0, b"\2\0", "quote-version"),
    "version 6": (0, b"\6\0", "quote-version"),
    "version 3 in the high byte": (0, b"\0\3", "quote-version"),
    "key type 0": (2, b"\0\0", "quote-attestation-key-type"),
    "key type 3 (P-384)": (2, b"\3\0", "quote-attestation-key-type"),
    "TEE type 1": (4, b"\1\0\0\0", "quote-tee-type"),
    "TEE type 0x81 in the high byte": (4, b"\0\0\0\x81", "quote-tee-type"),
}


@each_case
@pytest.mark.parametrize("flaw", HEADERS)
def test_other_headers_are_refused(world: World, case: Case, flaw: str) -> None:
    """Foreign versions, key types and TEE types are refused, each by its own code."""
    at, value, code = HEADERS[flaw]
    data = bytearray(case.make(world))
    data[at : at + len(value)] = value

    assert refusal(bytes(data)).code == code


def test_version_3_is_of_sgx_alone(world: World) -> None:
    """The TEE type of a v3 quote is zero."""
    assert refusal(world.quote(3, "tdx")).code == "quote-tee-type"


@pytest.mark.parametrize(
    ("tee", "kind", "size"),
    [
        ("sgx", 2, 584),
        ("sgx", 3, 648),
        ("tdx", 1, 384),
        ("tdx", 2, 648),
        ("tdx", 3, 584),
        ("tdx", 4, 884),
        ("tdx", 0, 584),
        ("tdx", 5, 584),
        ("tdx", 3, 0xFFFFFFFF),
        ("tdx", 0x0203, 648),
    ],
)
def test_body_descriptor_agrees_with_tee_and_size(
    world: World, tee: str, kind: int, size: int
) -> None:
    """A v5 body is of a known type, of its TEE, and of exactly its type's size."""
    data = bytearray(world.quote(5, tee, body_type=1 if tee == "sgx" else 3))
    struct.pack_into("<HI", data, 48, kind, size)

    assert refusal(bytes(data)).code == "quote-body-type"


@pytest.mark.parametrize("kind", [0, 1, 2, 3, 4, 5, 7, 0x0600])
@pytest.mark.parametrize("version", [4, 5])
def test_outer_certification_data_are_of_type_6(world: World, version: int, kind: int) -> None:
    """The unsigned outer type of v4 and v5 is 6, or the quote is refused (pitfall 20)."""
    error = refusal(world.quote(version, "tdx", outer_cert_type=kind))

    assert error.code == "quote-certification-data"


@each_case
@pytest.mark.parametrize("kind", [0, 6, 7, 8, 0x0500])
def test_certification_data_that_certify_no_qe_are_refused(
    world: World, case: Case, kind: int
) -> None:
    """Inner certification data are of types 1 to 5; type 6 would nest, type 7 is for registration."""
    data = case.make(world, cert_type=kind, cert_data=b"\0" * 40)

    assert refusal(data).code == "quote-certification-data"


PLATFORMS: dict[int, PpidCleartext | PpidRsa2048 | PpidRsa3072] = {
    1: PpidCleartext(b"p" * 16, b"c" * 16, 0x0D0C, b"\1\2"),
    2: PpidRsa2048(b"p" * 256, b"c" * 16, 0x0D0C, b"\1\2"),
    3: PpidRsa3072(b"p" * 384, b"c" * 16, 0x0D0C, b"\1\2"),
}
PPID_SIZES = {1: 36, 2: 276, 3: 404}


@pytest.mark.parametrize("kind", PLATFORMS)
def test_platform_certification_data_both_ways(world: World, kind: int) -> None:
    """Types 1 to 3 name the platform: read from a quote, and written back to its bytes."""
    platform = PLATFORMS[kind]
    written = CertificationData.of_platform(platform)
    data = world.quote(3, cert_type=kind, cert_data=written.data)

    quote = Quote.parse(data)

    assert quote.certification == written
    assert len(written.data) == PPID_SIZES[kind]
    assert written.data[-4:] == b"\x0c\x0d\1\2"
    assert quote.certification.platform() == platform
    assert not quote.certification.is_chain
    assert quote.to_bytes() == data


@pytest.mark.parametrize("kind", PLATFORMS)
def test_platform_certification_data_are_of_their_platform(world: World, kind: int) -> None:
    """What a machine writes as types 1 to 3 has the PCESVN and PCE id of its platform."""
    pck = world.pck()

    platform = Quote.parse(world.quote(4, cert_type=kind, pck=pck)).certification.platform()

    assert platform.cpu_svn == pck.platform.cpu_svn
    assert (platform.pce_svn, platform.pce_id) == (pck.platform.pce_svn, pck.platform.pce_id)


@pytest.mark.parametrize("kind", PLATFORMS)
@pytest.mark.parametrize("change", [-1, 1])
def test_platform_certification_data_have_their_size(kind: int, change: int) -> None:
    """Types 1 to 3 of another size are refused when they are asked for."""
    data = CertificationData(kind, b"\0" * (PPID_SIZES[kind] + change))

    with pytest.raises(FormatError) as raised:
        data.platform()
    assert raised.value.code == "quote-certification-data"


@pytest.mark.parametrize("kind", [4, 5])
def test_certificates_hold_no_ppid(world: World, kind: int) -> None:
    """Types 4 and 5 are PEM; asking them for a platform is refused."""
    quote = Quote.parse(world.quote(4, cert_type=kind))

    assert quote.certification.is_chain == (kind == 5)
    with pytest.raises(FormatError, match="hold no PPID"):
        quote.certification.platform()


def test_authentication_data_may_be_empty_or_long(world: World) -> None:
    """The QE's authentication data have any length that their field can say."""
    for size in (0, 1, 1000):
        data = world.quote(4, "tdx", auth_data=b"a" * size)

        assert Quote.parse(data).qe_authentication_data == b"a" * size
        assert Quote.parse(data).to_bytes() == data


def test_what_no_length_field_can_say_is_not_written(world: World) -> None:
    """The writer refuses authentication data of 64 KB rather than write a wrong length."""
    parts = parts_of(Quote.parse(world.quote()))

    with pytest.raises(FormatError) as raised:
        write_quote(**{**parts, "qe_authentication_data": bytes(65536)})
    assert raised.value.code == "field-does-not-fit"


@each_case
def test_parts_are_written_to_the_quote_they_are_of(world: World, case: Case) -> None:
    """The parts of a quote, put together by the writer, are the quote."""
    data = case.make(world)

    assert write_quote(**parts_of(Quote.parse(data))) == data


def parts_of(quote: Quote) -> dict[str, Any]:
    """What the writer takes."""
    return {
        "signed": quote.signed_bytes,
        "version": quote.header.version,
        "signature": quote.signature,
        "attestation_key": quote.attestation_key,
        "qe_report": quote.qe_report_bytes,
        "qe_report_signature": quote.qe_report_signature,
        "qe_authentication_data": quote.qe_authentication_data,
        "certification": quote.certification,
    }


@pytest.mark.parametrize("size", [0, 47, 48, 53, 54, 700])
def test_the_size_of_a_cut_quote_is_refused(world: World, size: int) -> None:
    """`quote_size` says of a quote that is cut off what `Quote.parse` would say."""
    data = world.quote(5, "tdx")[:size]

    with pytest.raises(FormatError) as raised:
        quote_size(data)
    assert raised.value.code.endswith("-truncated")
    assert refusal(data).code.endswith("-truncated")


def test_quotes_are_values(world: World) -> None:
    """Two readings of the same bytes are equal, and nothing in them can be changed."""
    data = world.quote(4, "tdx")

    quote = Quote.parse(data)

    assert quote == Quote(data)
    assert hash(quote) == hash(Quote(data))
    assert quote != Quote(world.quote(5, "tdx"))
    assert quote != data
    assert pickle.loads(pickle.dumps(quote)) == quote
    with pytest.raises(AttributeError, match="a Quote is its bytes"):
        quote.signature = b""
    with pytest.raises(TypeError):
        Quote(signature=b"")  # type: ignore[call-arg]
