"""Keys and signatures of a simulated world: derived from its seed, the same every time.

They protect nothing: whoever knows the seed has them. ECDSA nonces are RFC 6979's, so that the same
world signs the same bytes the same way. Not here: what is signed (`intel`, `quoting_enclave`).

Source: FIPS 186-5; RFC 6979; RFC 8017 (RSAES-OAEP, for PPIDs).
"""

import hashlib
from functools import lru_cache

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_CURVE = ec.SECP256R1()
_ALGORITHM = ec.ECDSA(SHA256(), deterministic_signing=True)
_PPID_KEY_BYTES = 384
_DIGEST = 32


class SigningKey:
    """One P-256 key: signs DER (certificates) or raw r‖s (quotes, documents)."""

    __slots__ = ("private", "public_key")

    def __init__(self, private: ec.EllipticCurvePrivateKey) -> None:
        self.private = private
        point = private.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        #: 64 bytes X‖Y.
        self.public_key = point[1:]

    @property
    def key_id(self) -> bytes:
        """SHA-1 of the uncompressed point (RFC 5280 §4.2.1.2, method 1): 20 bytes."""
        return hashlib.sha1(b"\x04" + self.public_key, usedforsecurity=False).digest()

    def sign(self, message: bytes) -> bytes:
        """A DER Ecdsa-Sig-Value."""
        return self.private.sign(message, _ALGORITHM)

    def sign_raw(self, message: bytes) -> bytes:
        """64 bytes r‖s."""
        r, s = decode_dss_signature(self.sign(message))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")

    def to_pem(self) -> bytes:
        """PKCS#8, for a TLS server of the simulator."""
        return self.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def derive(seed: bytes, *label: str) -> bytes:
    """32 bytes that seed and label name."""
    return hashlib.sha256(b"\0".join((b"dcap simulator", *map(str.encode, label), seed))).digest()


@lru_cache(maxsize=4096)
def signing_key(seed: bytes, *label: str) -> SigningKey:
    """The P-256 key that seed and label name."""
    number = int.from_bytes(derive(seed, *label) + derive(seed, *label, "more"), "big")
    return SigningKey(ec.derive_private_key(number % (_ORDER - 1) + 1, _CURVE))


def encrypt_ppid(modulus: int, exponent: int, ppid: bytes, salt: bytes) -> bytes:
    """RSA-3072-OAEP (SHA-256) of a PPID with a fixed salt: 384 bytes, the same every time."""
    empty = hashlib.sha256(b"").digest()
    padding = bytes(_PPID_KEY_BYTES - len(ppid) - 2 * _DIGEST - 2)
    block = empty + padding + b"\x01" + ppid
    masked = _xor(block, _mask(salt, len(block)))
    masked_salt = _xor(salt, _mask(masked, _DIGEST))
    message = int.from_bytes(b"\0" + masked_salt + masked, "big")
    return pow(message, exponent, modulus).to_bytes(_PPID_KEY_BYTES, "big")


def _mask(seed: bytes, size: int) -> bytes:
    """MGF1 with SHA-256."""
    count = -(-size // _DIGEST)
    blocks = (hashlib.sha256(seed + i.to_bytes(4, "big")).digest() for i in range(count))
    return b"".join(blocks)[:size]


def _xor(left: bytes, right: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(left, right, strict=True))
