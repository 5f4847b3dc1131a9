"""Trust anchors: the one key everything hangs from.

An anchor is a name and a public key, not a certificate: Intel's root exists in more than one edition
(2033, 2049) with the same key, and every edition must do. An anchor other than Intel's is for tests,
has its own name and key, and every result made under it says `trust_root: simulated`.

Source: `verification.md` §4 (QVL pins bytes, dcap_quoteverify the key; we pin subject and key).
"""

import hashlib

import msgspec

from dcap.formats.certificate import Certificate

INTEL = "intel"
SIMULATED = "simulated"


class TrustAnchor(msgspec.Struct, frozen=True, gc=False):
    """A root by its subject (DER Name) and public key (64 bytes X‖Y on P-256)."""

    subject: bytes
    public_key: bytes
    #: SHA-256 of certificates of this root that are known bit by bit: their self-signature, which
    #: guards nothing but their own dates, need not be computed again.
    editions: frozenset[bytes] = frozenset()

    @classmethod
    def insecure_test_root(cls, certificate: Certificate) -> "TrustAnchor":
        """A root that need not be Intel's. Whoever holds its key can make anything look genuine."""
        edition = hashlib.sha256(certificate.der).digest()
        anchor = cls(certificate.subject, certificate.public_key, frozenset({edition}))
        return INTEL_SGX_ROOT if anchor.name == INTEL else anchor

    @property
    def name(self) -> str:
        """`"intel"` for Intel's subject and key, `"simulated"` for every other."""
        mine = (self.subject, self.public_key)
        return INTEL if mine == (INTEL_SGX_ROOT.subject, INTEL_SGX_ROOT.public_key) else SIMULATED

    def knows(self, certificate: Certificate) -> bool:
        """Whether a certificate is, bit by bit, an edition of this root that is known."""
        return hashlib.sha256(certificate.der).digest() in self.editions

    def matches(self, certificate: Certificate) -> bool:
        """Whether a certificate is an edition of this root."""
        return (
            certificate.subject == self.subject
            and certificate.issuer == self.subject
            and certificate.public_key == self.public_key
        )


#: "Intel SGX Root CA": CN, O=Intel Corporation, L=Santa Clara, ST=CA, C=US.
INTEL_SGX_ROOT = TrustAnchor(
    bytes.fromhex(
        "3068311a301806035504030c11496e74656c2053475820526f6f74204341311a3018060355040a0c11496e74656c"
        "20436f72706f726174696f6e3114301206035504070c0b53616e746120436c617261310b300906035504080c0243"
        "41310b3009060355040613025553"
    ),
    bytes.fromhex(
        "0ba9c4c0c0c86193a3fe23d6b02cda10a8bbd4e88e48b4458561a36e705525f5"
        "67918e2edc88e40d860bd0cc4ee26aacc988e505a953558c453f6b0904ae7394"
    ),
    frozenset(
        {
            # notAfter 2049-12-31
            bytes.fromhex("44a0196b2b99f889b8e149e95b807a350e7424964399e885a7cbb8ccfab674d3"),
            # notAfter 2033-05-21
            bytes.fromhex("fc64f8076d79a4fee9d1d473d74c89eb8d8fd55c5abafeabeba7366d20429404"),
        }
    ),
)
