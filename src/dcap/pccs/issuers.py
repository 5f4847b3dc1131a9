"""Intel's issuers by their names: which PCK CA, and whose list a distribution point has.

    ca_named(certificate.issuer_common_name)     # "PROCESSOR", "PLATFORM", or None
    list_of(uri)                                 # the key under which the list of a URI is kept

Names prove nothing: that is for `trust`.

Source: `pccs-and-pcs-api.md` §2.2.
"""

import re
from functools import lru_cache
from typing import Final, cast
from urllib.parse import parse_qsl, urlsplit

from dcap.errors import FormatError
from dcap.formats.certificate import Certificate
from dcap.pccs.causes import NotServed
from dcap.pccs.items import Ca, PckCrlKey, RootCrlKey

_ROOT_CRL: Final = re.compile(r"/IntelSGXRootCA\.[a-z]+(?:$|\?)", re.IGNORECASE)
_CA_OF_URI: Final = re.compile(r"[?&]ca=(processor|platform)(?:$|&)", re.IGNORECASE)


def ca_named(common_name: str) -> Ca | None:
    """Which of the two PCK CAs a common name is of."""
    if "PCK Processor CA" in common_name:
        return "PROCESSOR"
    return "PLATFORM" if "PCK Platform CA" in common_name else None


@lru_cache(maxsize=16)
def ca_of_chain(issuer_chain: bytes) -> Ca | None:
    """Which of the two PCK CAs a chain (CA, root) is of, unproven; `None` where it is of none."""
    try:
        names = [certificate.common_name for certificate in Certificate.parse_chain(issuer_chain)]
    except FormatError:
        return None
    return next((ca for name in names if (ca := ca_named(name)) is not None), None)


def is_root_crl_uri(uri: str) -> bool:
    """Whether a distribution point is that of the root's list."""
    return _ROOT_CRL.search(uri) is not None


def ca_of_uri(uri: str) -> Ca | None:
    """Which PCK CA a distribution point names; `None` where it names none."""
    named = _CA_OF_URI.search(uri)
    return None if named is None else cast("Ca", named[1].upper())


def list_of(uri: str) -> PckCrlKey | RootCrlKey:
    """Whose list a distribution point has, where it is one of Intel's (`api.pccs`)."""
    parts = urlsplit(uri)
    if not parts.path.lower().endswith("/pckcrl"):
        return RootCrlKey()
    ca = dict(reversed(parse_qsl(parts.query))).get("ca", "")
    if ca.lower() not in ("processor", "platform"):
        raise NotServed("bad-request", what="the list's URI does not say of which CA")
    return PckCrlKey("PLATFORM" if ca.lower() == "platform" else "PROCESSOR")
