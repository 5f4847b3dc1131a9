"""The forms in which programs get what sources give: lists in DER or hex, chains in PEM.

Not here: which form a program gets (`provider`).

Source: `quote-provider.md` §2.2.
"""

from dcap.errors import FormatError
from dcap.formats.certificate import Certificate
from dcap.formats.collateral import Collateral
from dcap.formats.crl import to_der
from dcap.formats.pem import encode
from dcap.provider.refusals import unproven


def issuers(found: Collateral) -> bytes:
    """The issuers of the PCK CRL: as they came, or those of a PCK certificate that came instead."""
    if found.pck_crl_issuer_chain is not None:
        return found.pck_crl_issuer_chain
    try:
        chain = Certificate.parse_chain(found.pck_certificate_chain or b"")
    except FormatError as error:
        raise unproven(error.what) from None
    return b"".join(encode(each.der, "CERTIFICATE") for each in chain[1:])


def der(data: bytes) -> bytes:
    """A list in DER, whichever form it came in."""
    return to_der(data)


def hexed(data: bytes) -> bytes:
    """A list as hex text, as a PCCS of API 3.0 serves it."""
    return der(data).hex().encode()


def root_of(chain: bytes) -> bytes:
    """The last certificate of a chain: the root, which issued its own list."""
    return encode(Certificate.parse_chain(chain)[-1].der, "CERTIFICATE")
