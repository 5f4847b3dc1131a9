"""Conclave's EnclaveInstanceInfo: two keys of an enclave, its quote, and the collateral of the day.

    "EII" · u32 size, data signing key (X.509 SPKI, Ed25519) · u32 size, encryption key
    (Curve25519) · u8 type (1 DCAP) · u32 size, attestation
    attestation = quote · 8 x (u32 size, bytes): version as text, then the seven items of collateral

Big-endian (Java), except inside the quote; every size closes exactly. The report data are
SHA-512(data signing key || encryption key): both keys are the enclave's only if that holds, which
is not compared here.

Source: R3 Conclave Core SDK, `EnclaveInstanceInfo.deserialize`; `users-and-interop.md` §2.5.
"""

import hashlib

import msgspec

from dcap.errors import FormatError
from dcap.formats.collateral import Collateral
from dcap.formats.containers.layer import Binding, Layer
from dcap.formats.cursor import Cursor
from dcap.formats.quote import quote_size

EII = "conclave-eii"
KEYS_BINDING = "SHA-512 of the data signing key and the encryption key"

_MAGIC = b"EII"
_DCAP = 1
#: Attestation types that hold no DCAP quote, and why.
_UNSUPPORTED = {
    0: "an EPID attestation; Intel has retired EPID",
    2: "a mock attestation; nothing in it is signed",
}
#: An Ed25519 SubjectPublicKeyInfo and a Curve25519 key.
_SIGNING_KEY_SIZE, _ENCRYPTION_KEY_SIZE = 44, 32
_NAME = "EnclaveInstanceInfo"
_CODE = "conclave-size"
#: The items of collateral in the order in which Conclave writes them.
COLLATERAL_ORDER = (
    "pck_crl_issuer_chain",
    "root_ca_crl",
    "pck_crl",
    "tcb_info_issuer_chain",
    "tcb_info",
    "qe_identity_issuer_chain",
    "qe_identity",
)


class EnclaveInstanceInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One EnclaveInstanceInfo with a DCAP attestation. Keys and version are as they stood."""

    data_signing_key: bytes
    encryption_key: bytes
    quote: bytes
    collateral: Collateral
    version: bytes = b"1"

    @classmethod
    def parse(cls, data: bytes) -> "EnclaveInstanceInfo":
        """Read one. Raises `FormatError` (`conclave-…`, or the quote's own code)."""
        cursor = Cursor(data, _NAME, code=_CODE)
        if cursor.take(len(_MAGIC), "magic") != _MAGIC:
            raise FormatError("conclave-magic", "it does not begin with EII", where=_NAME)
        data_signing_key = _sized(cursor, "data signing key")
        encryption_key = _sized(cursor, "encryption key")
        _check_keys(data_signing_key, encryption_key)
        kind = cursor.integer_big(1, "attestation type")
        if kind != _DCAP:
            why = _UNSUPPORTED.get(kind, f"an attestation of type {kind}, which is not known")
            raise FormatError(
                "conclave-attestation-type",
                f"this is {why}",
                where=f"{_NAME}, byte {cursor.position - 1}",
                mend="run the enclave in release or debug mode on a machine with DCAP",
            )
        size = cursor.integer_big(4, "attestation's size")
        if size > cursor.end - cursor.position:
            raise cursor.missing(size, "attestation")
        cursor.end, whole = cursor.position + size, cursor.end
        quote = cursor.take(_quote_size(cursor), "quote")
        version = _sized(cursor, "collateral version")
        items = {item: _sized(cursor, item.replace("_", " ")) for item in COLLATERAL_ORDER}
        cursor.close("collateral")
        cursor.end = whole
        cursor.close("attestation")
        chain = items.pop("pck_crl_issuer_chain")
        return cls(
            data_signing_key=data_signing_key,
            encryption_key=encryption_key,
            quote=quote,
            collateral=Collateral(**items, pck_crl_issuer_chain=chain or None),
            version=version,
        )

    def to_bytes(self) -> bytes:
        """The serialised form: `parse(b).to_bytes() == b`."""
        items = [getattr(self.collateral, item) or b"" for item in COLLATERAL_ORDER]
        attestation = self.quote + b"".join(_with_size(part) for part in (self.version, *items))
        return b"".join(
            (
                _MAGIC,
                _with_size(self.data_signing_key),
                _with_size(self.encryption_key),
                bytes((_DCAP,)),
                _with_size(attestation),
            )
        )

    @property
    def report_data(self) -> bytes:
        """What the quote's report data must be, 64 bytes, for the keys to be the enclave's."""
        return hashlib.sha512(self.data_signing_key + self.encryption_key).digest()


def _check_keys(data_signing_key: bytes, encryption_key: bytes) -> None:
    """The report data bind the keys one after the other: only their fixed sizes tell them apart."""
    sizes = (len(data_signing_key), len(encryption_key))
    if sizes != (_SIGNING_KEY_SIZE, _ENCRYPTION_KEY_SIZE):
        raise FormatError(
            "conclave-size",
            f"the keys have {sizes[0]} and {sizes[1]} bytes, not 44 and 32",
            where=_NAME,
            mend="give the bytes as the enclave's host serialised them",
        )


def write_instance_info(
    quote: bytes, collateral: Collateral, *, data_signing_key: bytes, encryption_key: bytes
) -> bytes:
    """An EnclaveInstanceInfo around a quote and its collateral."""
    _check_keys(data_signing_key, encryption_key)
    return EnclaveInstanceInfo(
        data_signing_key=data_signing_key,
        encryption_key=encryption_key,
        quote=quote,
        collateral=collateral,
    ).to_bytes()


def open_layer(data: bytes) -> Layer | None:
    """The quote and its collateral; `None` where `data` is no EnclaveInstanceInfo."""
    # Three letters alone may be a text's; a size that fits makes them the magic.
    if not data.startswith(_MAGIC) or data[3:5] != b"\0\0":
        return None
    info = EnclaveInstanceInfo.parse(data)
    return Layer(
        names=(EII,),
        content=info.quote,
        holds_quote=True,
        bindings=(Binding(KEYS_BINDING, info.report_data),),
        collateral=info.collateral,
        facts={
            "data_signing_key": info.data_signing_key.hex(),
            "encryption_key": info.encryption_key.hex(),
            "collateral_version": info.version.decode("utf-8", "replace"),
        },
    )


def _quote_size(cursor: Cursor) -> int:
    try:
        return quote_size(cursor.buffer[: cursor.end], cursor.position)
    except FormatError as error:
        raise error.within(_NAME) from None


def _sized(cursor: Cursor, what: str) -> bytes:
    return cursor.take(cursor.integer_big(4, f"{what}'s size"), what)


def _with_size(part: bytes) -> bytes:
    return len(part).to_bytes(4, "big") + part
