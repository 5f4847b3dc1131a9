"""Keys and signatures of the forge: derived from a seed, so that a world is the same every time.

These keys are worth nothing and protect nothing: whoever reads the seed has them. Signatures use
RFC 6979 nonces where the installed `cryptography` offers them, so the same world signs the same
bytes the same way; where it does not, only reproducibility is lost.

Source: FIPS 186-4 (ECDSA, P-256, P-384), RFC 5480 and SEC 1 C.2 (explicit curve parameters).
"""

from __future__ import annotations

import hashlib

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from . import der

P256_FIELD = 0xFFFFFFFF00000001000000000000000000000000FFFFFFFFFFFFFFFFFFFFFFFF
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
P256_B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
P256_GENERATOR = bytes.fromhex(
    "04"
    "6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"
    "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"
)
P384_ORDER = int(
    "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf"
    "581a0db248b0a77aecec196accc52973",
    16,
)

_CURVES: dict[str, tuple[ec.EllipticCurve, int]] = {
    "P-256": (ec.SECP256R1(), P256_ORDER),
    "P-384": (ec.SECP384R1(), P384_ORDER),
}


def derive(seed: bytes, label: str, curve: str = "P-256") -> ec.EllipticCurvePrivateKey:
    """The private key that `seed` and `label` name on `curve` ("P-256" or "P-384")."""
    group, order = _CURVES[curve]
    digest = hashlib.sha512(b"\0".join((b"forge", curve.encode(), label.encode(), seed))).digest()
    return ec.derive_private_key(int.from_bytes(digest, "big") % (order - 1) + 1, group)


def sign(
    key: ec.EllipticCurvePrivateKey,
    message: bytes,
    digest: hashes.HashAlgorithm | None = None,
) -> bytes:
    """DER ECDSA-Sig-Value over `message`; SHA-256 unless `digest` says otherwise."""
    digest = digest or hashes.SHA256()
    try:
        return key.sign(message, ec.ECDSA(digest, deterministic_signing=True))
    except UnsupportedAlgorithm:
        return key.sign(message, ec.ECDSA(digest))


def sign_raw(key: ec.EllipticCurvePrivateKey, message: bytes) -> bytes:
    """r || s, big-endian, each as wide as the curve (64 bytes for P-256), over SHA-256."""
    r, s = decode_dss_signature(sign(key, message))
    width = (key.curve.key_size + 7) // 8
    return r.to_bytes(width, "big") + s.to_bytes(width, "big")


def malleate(signature: bytes) -> bytes:
    """The other valid P-256 signature of the same message: (r, n - s)."""
    s = P256_ORDER - int.from_bytes(signature[32:], "big")
    return signature[:32] + s.to_bytes(32, "big")


def public_point(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Uncompressed point 04 || X || Y."""
    return key.public_key().public_bytes(
        serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
    )


def public_raw(key: ec.EllipticCurvePrivateKey) -> bytes:
    """X || Y, big-endian: how quotes carry the attestation key."""
    return public_point(key)[1:]


def spki(key: ec.EllipticCurvePrivateKey) -> bytes:
    """SubjectPublicKeyInfo in DER, named curve."""
    return key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def explicit_spki(key: ec.EllipticCurvePrivateKey, *, generator: bytes = P256_GENERATOR) -> bytes:
    """SubjectPublicKeyInfo of a P-256 key whose curve is spelled out instead of named.

    With the true `generator` it is the same key in a form RFC 5480 forbids; with another one it
    is the shape of CVE-2020-0601.
    """
    parameters = der.sequence(
        der.integer(1),
        der.sequence(der.oid("1.2.840.10045.1.1"), der.integer(P256_FIELD)),
        der.sequence(
            der.octets((P256_FIELD - 3).to_bytes(32, "big")),
            der.octets(P256_B.to_bytes(32, "big")),
        ),
        der.octets(generator),
        der.integer(P256_ORDER),
        der.integer(1),
    )
    algorithm = der.sequence(der.oid("1.2.840.10045.2.1"), parameters)
    return der.sequence(algorithm, der.bits(public_point(key)))
