"""What the property tests change, and how: genuine evidence, and small mutations of its bytes.

Subjects come from the simulator, and from the real vectors where they lie. A mutation is drawn as a few
numbers, so that Hypothesis can shrink it.
"""

from collections.abc import Callable
from datetime import datetime
from functools import cache
from typing import Any

import msgspec
from hypothesis import strategies as st

from dcap.errors import FormatError
from dcap.formats import pem
from dcap.formats.certificate import Certificate
from dcap.formats.collateral import ENCLAVE_IDENTITY, TCB_INFO, Collateral
from dcap.formats.crl import Crl
from dcap.formats.quote import Quote, write_quote
from dcap.formats.signed_json import SignedJson
from dcap.verification import INTEL_SGX_ROOT, TrustAnchor
from departures import World
from worlds import AT, Vector, anchor_of, collateral_of, vector_names

CERTIFICATE = "CERTIFICATE"
#: Real vectors that between them have every version, TEE, status and TCB info version there is.
VECTORS = (
    "dcap-qvl-sgx-quote-f8b810",
    "dcap-qvl-tdx-quote-f1c850",
    "go-tdx-guest-quote-v5-sample-cf77a6",
    "libsignal-dcap-9a1589--alt-outofdate-tcbv2-e15",
    "openenclave-evidence-334652",
)
SIMULATED = ((3, "sgx"), (4, "sgx"), (4, "tdx"), (5, "tdx"))


class Subject(msgspec.Struct, frozen=True):
    """A genuine quote, its collateral, and where and when they hold."""

    name: str
    quote: bytes
    collateral: Collateral
    at: datetime
    anchor: TrustAnchor


@cache
def subjects() -> tuple[Subject, ...]:
    """All of them; each is accepted under the most open policy."""
    world = World(at=AT)
    simulated = [
        Subject(
            f"simulated v{version} {tee}",
            world.quote(version, tee),
            collateral_of(world.collateral(tee)),
            AT,
            anchor_of(world),
        )
        for version, tee in SIMULATED
    ]
    present = set(vector_names())
    real = [
        Subject(name, v.quote, v.collateral, v.at, INTEL_SGX_ROOT)
        for name in VECTORS
        if name in present and (v := Vector(name))
    ]
    return (*simulated, *real)


a_subject = st.sampled_from(range(len(SIMULATED) + len(VECTORS))).map(
    lambda i: subjects()[i % len(subjects())]
)

Mutation = Callable[[bytes, bytes], bytes]


def _at(data: bytes, place: float) -> int:
    return min(int(place * len(data)), max(0, len(data) - 1))


def _truncate(place: float, *_: Any) -> Mutation:
    return lambda data, _other: data[: _at(data, place)]


def _flip(place: float, bit: int, *_: Any) -> Mutation:
    def apply(data: bytes, _other: bytes) -> bytes:
        at = _at(data, place)
        return data[:at] + bytes(b ^ (1 << bit % 8) for b in data[at : at + 1]) + data[at + 1 :]

    return apply


def _overwrite(place: float, number: int, width: int, *_: Any) -> Mutation:
    def apply(data: bytes, _other: bytes) -> bytes:
        at = _at(data, place)
        field = (number % (1 << 8 * width)).to_bytes(width, "little")
        return data[:at] + field[: len(data) - at] + data[at + width :]

    return apply


def _shift(place: float, number: int, width: int, *_: Any) -> Mutation:
    """Add a little to a field: lengths that are off by some."""

    def apply(data: bytes, _other: bytes) -> bytes:
        at = _at(data, place)
        old = int.from_bytes(data[at : at + width], "little")
        new = (old + number % 65 - 32) % (1 << 8 * width)
        return data[:at] + new.to_bytes(width, "little")[: len(data) - at] + data[at + width :]

    return apply


def _delete(place: float, number: int, *_: Any) -> Mutation:
    return lambda data, _other: data[: _at(data, place)] + data[_at(data, place) + number % 64 :]


def _repeat(place: float, number: int, *_: Any) -> Mutation:
    def apply(data: bytes, _other: bytes) -> bytes:
        at, size = _at(data, place), number % 600
        return data[: at + size] + data[at:]

    return apply


def _splice(place: float, number: int, *_: Any) -> Mutation:
    """This much of one, the rest of another."""

    def apply(data: bytes, other: bytes) -> bytes:
        at = _at(data, place)
        return data[:at] + other[at : at + number % 1000] + data[at + number % 1000 :]

    return apply


#: The identifier octets of DER that occur in certificates and lists.
_TAGS = bytes((0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x0A, 0x0C, 0x13, 0x17, 0x18, 0x30, 0x31, 0xA0))


def _der(place: float, number: int, *_: Any) -> Mutation:
    """Another length, or tag, for the next element of DER."""

    def apply(data: bytes, _other: bytes) -> bytes:
        at = _at(data, place)
        while at < len(data) and data[at] not in _TAGS:
            at += 1
        at += number >> 8 & 1
        return data[:at] + bytes((number & 0xFF,)) + data[at + 1 :]

    return apply


KINDS = (_truncate, _flip, _overwrite, _shift, _delete, _repeat, _splice, _der)
a_number = st.one_of(
    st.integers(0, 80),
    st.sampled_from((0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 0xFFFFFF)),
    st.integers(0, 0xFFFFFFFF),
)
#: Drawn as two bytes: Hypothesis spreads these evenly, and floats not.
a_place = st.binary(min_size=2, max_size=2).map(lambda two: int.from_bytes(two, "big") / 65536)
a_mutation = st.builds(
    lambda kind, place, number, width: kind(place, number, width),
    st.sampled_from(KINDS),
    a_place,
    a_number,
    st.sampled_from((1, 2, 4)),
)
some_mutations = st.lists(a_mutation, min_size=1, max_size=3)


def mutate(data: bytes, mutations: list[Mutation], other: bytes = b"") -> bytes:
    """The bytes after all mutations."""
    for mutation in mutations:
        data = mutation(data, other)
    return data


def mutate_certificate(chain: bytes, which: int, mutations: list[Mutation]) -> bytes:
    """A chain in sound PEM, with one of its certificates mutated in DER."""
    ders = list(pem.blocks(chain, CERTIFICATE))
    ders[which % len(ders)] = mutate(ders[which % len(ders)], mutations, ders[-1])
    return b"".join(pem.encode(der, CERTIFICATE) for der in ders)


def with_chain(quote: Quote, chain: bytes) -> bytes:
    """The quote with another chain in it, every length mended."""
    return write_quote(
        quote.signed_bytes,
        version=quote.header.version,
        signature=quote.signature,
        attestation_key=quote.attestation_key,
        qe_report=quote.qe_report_bytes,
        qe_report_signature=quote.qe_report_signature,
        qe_authentication_data=quote.qe_authentication_data,
        certification=msgspec.structs.replace(quote.certification, data=chain),
    )


def verified_of_quote(data: bytes) -> tuple[Any, ...]:
    """Every byte of a quote that a verdict stands on, whatever surrounds it."""
    quote = Quote.parse(data)
    chain = sorted(c.der for c in Certificate.parse_chain(quote.certification.data))
    return (
        quote.signed_bytes,
        quote.signature,
        quote.attestation_key,
        quote.qe_report_bytes,
        quote.qe_report_signature,
        quote.qe_authentication_data,
        *chain,
    )


def verified_of_piece(piece: str, data: bytes | None) -> Any:
    """Every byte of a piece of collateral that a verdict stands on; `None` where it is unreadable."""
    try:
        if data is None:
            return None
        if piece == "tcb_info":
            return SignedJson.parse(data, TCB_INFO)
        if piece == "qe_identity":
            return SignedJson.parse(data, ENCLAVE_IDENTITY)
        if piece.endswith("_crl"):
            return Crl.parse(data).der
        return sorted(c.der for c in Certificate.parse_chain(data))
    except FormatError:
        return None
