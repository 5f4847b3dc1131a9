"""ECDSA P-256 with SHA-256: is this signature by this key over these bytes?

The arithmetic is `cryptography`'s (OpenSSL), which leaves the GIL while it works. Here: raw r‖s to
DER, range of r and s, points off the curve, and a memory for signatures that a caller had checked
ahead, side by side. Only *valid* signatures are remembered, by key, signature and exact message.

Not here: which key may sign what (`chain`, `verifier`). Malleability ((r, n-s) verifies too) is a
property of ECDSA: nothing is ever looked up by a signature alone.
"""

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import TypeAlias

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    SECP256R1,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.hashes import SHA256

#: Order of P-256's base point: r and s are in 1..n-1.
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_CURVE = SECP256R1()
_ALGORITHM = ECDSA(SHA256())

#: (public key X‖Y, DER signature, message)
Claim: TypeAlias = tuple[bytes, bytes, bytes]
#: Something like `map`: runs a function over claims, perhaps side by side.
Run: TypeAlias = Callable[[Callable[[Claim], bool], Iterable[Claim]], Iterable[bool]]


@lru_cache(maxsize=2048)
def load_key(public_key: bytes) -> EllipticCurvePublicKey | None:
    """The key of 64 bytes X‖Y; `None` where the point is not on the curve."""
    try:
        return EllipticCurvePublicKey.from_encoded_point(_CURVE, b"\x04" + public_key)
    except ValueError:
        return None


def to_der(raw: bytes) -> bytes | None:
    """64 bytes r‖s as a DER Ecdsa-Sig-Value; `None` where r or s is out of range."""
    r, s = int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big")
    if len(raw) != 64 or not (0 < r < ORDER and 0 < s < ORDER):
        return None
    first = r.to_bytes((r.bit_length() >> 3) + 1, "big")
    second = s.to_bytes((s.bit_length() >> 3) + 1, "big")
    return (
        bytes((0x30, len(first) + len(second) + 4, 2, len(first)))
        + first
        + bytes((2, len(second)))
        + second
    )


def is_valid(claim: Claim) -> bool:
    """Whether the signature of the claim is by its key over its message."""
    public_key, signature, message = claim
    key = load_key(public_key)
    if key is None:
        return False
    try:
        key.verify(signature, message, _ALGORITHM)
    except (InvalidSignature, ValueError):
        return False
    return True


def is_valid_raw(public_key: bytes, raw: bytes, message: bytes) -> bool:
    """As `is_valid`, for a raw r‖s signature."""
    signature = to_der(raw)
    return signature is not None and is_valid((public_key, signature, message))


class Signatures:
    """Signature checks of one procedure; those prefetched are not done twice.

    Lives as long as one call of the procedure. Its steps stay in the spec's order, while the
    arithmetic of independent ones may already have run side by side.
    """

    __slots__ = ("_known", "_valid")

    def __init__(self, known: frozenset[Claim] = frozenset()) -> None:
        self._known = known
        self._valid: set[Claim] = set()

    @property
    def proven(self) -> frozenset[Claim]:
        """Every claim found valid so far, for the procedure that builds on this one."""
        return self._known | self._valid

    def prefetch(self, claims: Iterable[Claim], run: Run) -> None:
        """Check claims ahead of their turn, through `run`, and remember the valid ones.

        Each check notes its own claim, so that nothing depends on what `run` hands back.
        """
        for _ in run(self._check, list(dict.fromkeys(claims))):
            pass

    def _check(self, claim: Claim) -> bool:
        if is_valid(claim):
            self._valid.add(claim)
            return True
        return False

    def valid(self, public_key: bytes, signature: bytes, message: bytes) -> bool:
        """Whether the DER signature is valid; found valid once, it is not computed again."""
        claim = (public_key, signature, message)
        return claim in self._known or claim in self._valid or self._check(claim)

    def valid_raw(self, public_key: bytes, raw: bytes, message: bytes) -> bool:
        """As `valid`, for a raw r‖s signature."""
        signature = to_der(raw)
        return signature is not None and self.valid(public_key, signature, message)


def claim_raw(public_key: bytes, raw: bytes, message: bytes) -> tuple[Claim, ...]:
    """The claims (none, where r or s is out of range) of a raw signature, for `prefetch`."""
    signature = to_der(raw)
    return () if signature is None else ((public_key, signature, message),)
