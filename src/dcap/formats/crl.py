"""Certificate revocation lists of Intel's profile: PEM, DER or DER in hex, read strictly.

The signed slice is kept, revoked serials become a set. Whether the list is genuine, current and of
the right issuer is decided in `verification.revocation`.

Source: RFC 5280 §5; Intel's PCK certificate and CRL profile. PCCS API 3.0 sends hex, 3.1 and the PCS
DER or PEM.
"""

import binascii
from collections.abc import Iterable
from datetime import datetime

import msgspec

from dcap.errors import FormatError
from dcap.formats import der, pem
from dcap.formats.certificate import (
    ECDSA_WITH_SHA256,
    Extension,
    algorithm,
    common_name,
    write_authority_key_id,
)
from dcap.formats.certificate import authority_key_id as read_authority_key_id
from dcap.formats.certificate_extensions import list_extensions
from dcap.formats.remembered import remembered

#: About 100,000 revoked certificates.
MAX_SIZE = 4 * 1024 * 1024

_VERSION_2 = bytes.fromhex("020101")
_CRL_NUMBER = bytes.fromhex("551d14")
_AUTHORITY_KEY_ID = bytes.fromhex("551d23")
_KNOWN = {_CRL_NUMBER, _AUTHORITY_KEY_ID}


class Crl(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One revocation list: exact bytes and what they say.

    `next_update`, `crl_number` and `authority_key_id` are `None` where absent, which the profile
    forbids and `verification` refuses.
    """

    der: bytes
    tbs: bytes
    signature: bytes
    issuer: bytes
    this_update: datetime
    next_update: datetime | None
    revoked_serials: frozenset[bytes]
    crl_number: int | None
    authority_key_id: bytes | None
    unknown_critical: bool

    @classmethod
    def parse(cls, data: bytes) -> "Crl":
        """Read one list, in whichever of its three encodings. Raises `FormatError` (`crl`, …)."""
        if len(data) > MAX_SIZE:
            raise FormatError("crl", f"{len(data)} bytes; the limit is {MAX_SIZE}", where="CRL")
        return _parse(to_der(data))

    def lists(self, serial: int) -> bool:
        """Whether a certificate of this serial number is revoked."""
        return serial.to_bytes((serial.bit_length() + 7) // 8, "big") in self.revoked_serials

    @property
    def revoked(self) -> frozenset[int]:
        """The revoked serials as numbers, to look at; `lists` is for asking."""
        return frozenset(int.from_bytes(serial, "big") for serial in self.revoked_serials)

    @property
    def issuer_common_name(self) -> str:
        """The issuer's common name."""
        return common_name(self.issuer)

    def to_pem(self) -> bytes:
        """The list in PEM."""
        return pem.encode(self.der, "X509 CRL")

    def to_hex(self) -> bytes:
        """The list as PCCS API 3.0 sends it: its DER in hex."""
        return binascii.hexlify(self.der)


def to_der(data: bytes) -> bytes:
    """The DER of a CRL given as DER, PEM, or hex of DER (a trailing NUL or newline is ignored)."""
    if data[:1] == b"0" and data[1:2] in b"\x80\x81\x82\x83":
        return data
    text = data.rstrip(b"\0").strip()
    if pem.is_armoured(text):
        found = pem.blocks(text, "X509 CRL")
        if len(found) != 1:
            raise FormatError("crl", f"{len(found)} CRLs stand where one belongs", where="CRL")
        return found[0]
    try:
        return binascii.unhexlify(text)
    except (binascii.Error, ValueError):
        raise FormatError(
            "crl",
            "neither DER, nor PEM, nor hex of DER",
            where="CRL",
            mend="fetch it again; an error page may have been saved in its place",
        ) from None


@remembered(64)
def _parse(data: bytes) -> Crl:
    start, end = der.whole(data, der.SEQUENCE)
    at, tbs_end = der.span(data, start, end, der.SEQUENCE)
    tbs = data[start:tbs_end]
    if not data.startswith(_VERSION_2, at):
        raise FormatError("crl", "not a version 2 CRL", where=f"CRL, byte {at}")
    at = algorithm(data, at + len(_VERSION_2))
    issuer_at = at
    _, at = der.span(data, at, tbs_end, der.SEQUENCE)
    issuer = data[issuer_at:at]
    this_update, at = der.moment(data, at, tbs_end)
    next_update = None
    if at < tbs_end and data[at] in (der.UTC_TIME, der.GENERALIZED_TIME):
        next_update, at = der.moment(data, at, tbs_end)
    revoked: frozenset[bytes] = frozenset()
    if at < tbs_end and data[at] == der.SEQUENCE:
        entries, at = der.span(data, at, tbs_end, der.SEQUENCE)
        revoked = _revoked(data, entries, at)
    extensions: dict[bytes, tuple[bool, bytes]] = {}
    if at < tbs_end:
        inner, at = der.span(data, at, tbs_end, 0xA0)
        extensions = list_extensions(data, inner, at, "CRL")
    der.closed(at, tbs_end, "CRL's signed part")
    at = algorithm(data, tbs_end)
    signature, at = der.span(data, at, end, der.BIT_STRING)
    der.closed(at, end, "CRL")
    if data[signature : signature + 1] != b"\0":
        raise FormatError("crl", "the signature is not a whole number of bytes", where="CRL")
    number = extensions.get(_CRL_NUMBER)
    key_id = extensions.get(_AUTHORITY_KEY_ID)
    return Crl(
        der=data,
        tbs=tbs,
        signature=data[signature + 1 : end],
        issuer=issuer,
        this_update=this_update,
        next_update=next_update,
        revoked_serials=revoked,
        crl_number=None if number is None else _crl_number(number[1]),
        authority_key_id=None if key_id is None else read_authority_key_id(key_id[1]),
        unknown_critical=any(c and oid not in _KNOWN for oid, (c, _) in extensions.items()),
    )


def _crl_number(value: bytes) -> int:
    start, stop = der.whole(value, der.INTEGER)
    if stop - start > der.LONGEST_INTEGER:
        raise FormatError("crl", "the CRL number has more than 20 octets", where="CRL")
    return der.unsigned(value, start, stop)


def _revoked(data: bytes, at: int, end: int) -> frozenset[bytes]:
    """The serial numbers of the list, as bytes.

    Hashes of bytes are seeded, those of integers are not: a list of colliding integers would cost
    quadratic time before its signature is checked.
    """
    serials = []
    while at < end:
        inner, at = der.span(data, at, end, der.SEQUENCE)
        start, stop = der.span(data, inner, at, der.INTEGER)
        der.unsigned(data, start, stop)
        serials.append(data[start:stop].lstrip(b"\0"))
    return frozenset(serials)


_REASON_CODE = bytes.fromhex("551d15")
_KEY_COMPROMISE = 1


def write_tbs(
    *,
    issuer: bytes,
    this_update: datetime,
    next_update: datetime | None,
    revoked: Iterable[tuple[int, datetime]],
    crl_number: int | None,
    authority_key_id: bytes | None,
    more: Iterable[Extension] = (),
) -> bytes:
    """The part of a list that is signed; `None` leaves a field out, which the profile forbids.

    `revoked` gives serials with their dates; the reason is keyCompromise, as in Intel's lists.
    `more` are extensions that the profile does not have.
    """
    reason = Extension(_REASON_CODE, der.integer(_KEY_COMPROMISE, der.ENUMERATED)).to_der()
    entries = [
        der.sequence(der.integer(serial), der.write_moment(date), der.sequence(reason))
        for serial, date in revoked
    ]
    extensions = []
    if crl_number is not None:
        extensions.append(Extension(_CRL_NUMBER, der.integer(crl_number)))
    if authority_key_id is not None:
        extensions.append(Extension(_AUTHORITY_KEY_ID, write_authority_key_id(authority_key_id)))
    listed = b"".join(extension.to_der() for extension in (*extensions, *more))
    return der.sequence(
        _VERSION_2,
        ECDSA_WITH_SHA256,
        issuer,
        der.write_moment(this_update),
        b"" if next_update is None else der.write_moment(next_update),
        der.sequence(*entries) if entries else b"",
        der.element(0xA0, der.sequence(listed)) if listed else b"",
    )
