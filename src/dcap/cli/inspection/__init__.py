"""What `dcap inspect` shows of a file: whatever it is, as one value of plain types.

The value's first member is `kind`. What tells one machine from another is marked `PlatformId`, so
that no printer shows it unasked. What cannot be read *inside* something readable stands there as
`problem`; only a file that is nothing known is an error. Not here: printing (`inspect`), and any
judgement: nothing below is checked.
"""

from dcap.cli.inspection.certificates import certificate_tree, chain_tree, crl_tree
from dcap.cli.inspection.documents import DOCUMENTS, collateral_tree, sigstruct_tree
from dcap.cli.inspection.quotes import quote_tree
from dcap.cli.inspection.tree import NOT_CHECKED, PlatformId, Tree
from dcap.formats import der, pem
from dcap.formats.collateral import Collateral
from dcap.formats.containers import recognise
from dcap.formats.containers import text as encodings
from dcap.formats.crl import Crl
from dcap.formats.signed_json import SignedJson, decode_members
from dcap.formats.sigstruct import Sigstruct, is_sigstruct

__all__ = ["PlatformId", "Tree", "inspect_bytes"]


def inspect_bytes(data: bytes) -> Tree:
    """What `data` claim to be and to say. Raises `FormatError` where they are nothing known."""
    if is_sigstruct(data):
        return sigstruct_tree(Sigstruct.parse(data))
    if _is_der(data):
        return _der(data)
    if data.isascii() and (found := _text(data)) is not None:
        return found
    return quote_tree(recognise(data))


def _is_der(data: bytes) -> bool:
    return data[:1] == b"0" and data[1:2] in (b"\x80", b"\x81", b"\x82", b"\x83")


def _text(data: bytes) -> Tree | None:
    """PEM, JSON, or DER in hex or base64; `None` for any other text."""
    if data.lstrip().startswith(b"{"):
        return _json(data)
    label = encodings.pem_label(data)
    if label == "CERTIFICATE":
        return chain_tree([certificate_tree(block) for block in pem.blocks(data, label)])
    if label == "X509 CRL":
        return {"kind": "crl", **crl_tree(Crl.parse(data))}
    layer = None if label else encodings.open_layer(data)
    return _der(layer.content) if layer and _is_der(layer.content) else None


def _der(data: bytes) -> Tree:
    """A certificate or a CRL: only the first's signed part begins with [0] version."""
    start, end = der.whole(data, der.SEQUENCE)
    at, _ = der.span(data, start, end, der.SEQUENCE)
    if data[at : at + 1] == b"\xa0":
        return chain_tree([certificate_tree(data)])
    return {"kind": "crl", **crl_tree(Crl.parse(data))}


def _json(data: bytes) -> Tree | None:
    """Intel's documents by the members that only they have, signed or not; collateral."""
    members = decode_members(data, "JSON").keys()
    for distinct, kind, member, reader in DOCUMENTS:
        if member in members:
            signed = SignedJson.parse(data, member)
            return {"kind": kind, **reader(signed.body), "signature": NOT_CHECKED}
        if distinct <= members:
            return {"kind": kind, **reader(data), "signature": "absent"}
    if {"tcb_info", "qe_identity"} <= members:
        return {"kind": "collateral", **collateral_tree(Collateral.from_json(data))}
    return None
