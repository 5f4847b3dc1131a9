"""The simulated Intel's RSA-3072 key, under which platforms encrypt their PPIDs.

A test key that everybody has: it protects nothing and must never be used for anything else. It is the
same in every world, because an RSA key cannot be derived from a seed in reasonable time.
"""

from cryptography.hazmat.primitives.asymmetric import rsa

EXPONENT = 65537
_P = int(
    "e66898f642d7013cebf7c45e09aa26d129ec002af58434d6fa436a72221d2bc007c3e07dc846c00f81139158"
    "431c5a2299c0307b5f46a02b9c8397e8ab22475867a2ddf8ef5ff3dac8370ac87d8a1353aa9247cf66d19aab"
    "0f0182a738055f6c8e0f04da6b12ece2edd858f95114eab1aa2d44dcf04a6e073840827cc22a04c2aaf3e6c4"
    "6c1735d12447ed7fa567430067a333f1cc507cf8d6d0e0533c307f27fde052a3d0cf38d069410b30a4684bc9"
    "f31b29bff5325ee824875c2c0ae67581",
    16,
)
_Q = int(
    "dbb25f86cbd6b9ddc6203fbbc9229d104381e9ff430468a016b2630546c919a3ab20cb3dbab8e2e18a8749d0"
    "cf65c114c8df96c51439fb0f1fb78d9520dde929d2f8df5ff9604fb0bc361b4e24214b0d812714310f0c9234"
    "6b9d80e37edfdf029abce55eabc5878ce6a61d1fc6b7f73b8e6513cdacd9e42093d10f6b65a480907d995adb"
    "bf8641caf3775570fd5f9b34945139bbc589844ab35afd1ed656ab509e53eec2cde8791013db25a3f9329c55"
    "31d78fe019d0ce15be1183d4019bd561",
    16,
)
MODULUS = _P * _Q


def private_key() -> rsa.RSAPrivateKey:
    """The private half: what Intel decrypts PPIDs with."""
    d = pow(EXPONENT, -1, (_P - 1) * (_Q - 1))
    public = rsa.RSAPublicNumbers(EXPONENT, MODULUS)
    return rsa.RSAPrivateNumbers(
        _P, _Q, d, d % (_P - 1), d % (_Q - 1), pow(_Q, -1, _P), public
    ).private_key()
