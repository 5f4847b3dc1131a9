"""Enclave identities (QE, TD_QE, QVE): what a genuine Intel enclave looks like, and its levels.

Source: Intel PCS API, "Get Quoting Enclave Identity"; `verification.md` §3. Hex of miscselect and
attributes is in memory order. Not here: comparing a report with it (`verification.qe_identity`).
"""

from datetime import datetime

import msgspec

from dcap.errors import FormatError
from dcap.formats.remembered import remembered
from dcap.formats.signed_json import (
    Instant,
    ShortText,
    U16Number,
    U32Number,
    decode,
    encode,
    hex_bytes,
    prepare,
    utc,
)
from dcap.formats.tcb_info import IsvSvnLevel, WireIsvSvnLevel, isv_svn_levels

QE = "QE"
TD_QE = "TD_QE"
QVE = "QVE"
QAE = "QAE"
_KNOWN = (QE, TD_QE, QVE, QAE)
#: Version 3 has been announced for TD_QE with the same members.
_VERSIONS = {2: _KNOWN, 3: (TD_QE,)}


class WireEnclaveIdentity(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """The signed object, member for member in Intel's order."""

    id: ShortText
    version: int
    issue_date: Instant
    next_update: Instant
    tcb_evaluation_data_number: U32Number
    miscselect: str
    miscselect_mask: str
    attributes: str
    attributes_mask: str
    mrsigner: str
    isvprodid: U16Number
    tcb_levels: list[WireIsvSvnLevel]


prepare(WireEnclaveIdentity)


class EnclaveIdentity(msgspec.Struct, frozen=True, kw_only=True):
    """What an identity says. `body` is exactly the signed bytes; levels are sorted descending."""

    body: bytes
    version: int
    id: str
    issue_date: datetime
    next_update: datetime
    evaluation_data_number: int
    misc_select: bytes
    misc_select_mask: bytes
    attributes: bytes
    attributes_mask: bytes
    mr_signer: bytes
    isv_prod_id: int
    levels: tuple[IsvSvnLevel, ...]

    @classmethod
    def parse(cls, body: bytes) -> "EnclaveIdentity":
        """Read the signed object. Raises `FormatError` (`enclave-identity`, `json` …)."""
        return _parse(body)


@remembered(64)
def _parse(body: bytes) -> EnclaveIdentity:
    wire = parse_wire(body)
    if wire.version not in _VERSIONS or wire.id not in _VERSIONS[wire.version]:
        raise FormatError(
            "enclave-identity",
            f'id "{wire.id}" in version {wire.version} is not supported',
            where="enclave identity",
        )
    where = "enclave identity"
    return EnclaveIdentity(
        body=body,
        version=wire.version,
        id=wire.id,
        issue_date=utc(wire.issue_date, "enclave identity, issueDate"),
        next_update=utc(wire.next_update, "enclave identity, nextUpdate"),
        evaluation_data_number=wire.tcb_evaluation_data_number,
        misc_select=hex_bytes(wire.miscselect, 4, f"{where}, miscselect"),
        misc_select_mask=hex_bytes(wire.miscselect_mask, 4, f"{where}, miscselectMask"),
        attributes=hex_bytes(wire.attributes, 16, f"{where}, attributes"),
        attributes_mask=hex_bytes(wire.attributes_mask, 16, f"{where}, attributesMask"),
        mr_signer=hex_bytes(wire.mrsigner, 32, f"{where}, mrsigner"),
        isv_prod_id=wire.isvprodid,
        levels=isv_svn_levels(wire.tcb_levels, where),
    )


def parse_wire(body: bytes) -> WireEnclaveIdentity:
    """The document as its own table. `write_wire(parse_wire(b)) == b` for what Intel sends."""
    return decode(body, WireEnclaveIdentity, "enclave identity")


def write_wire(wire: WireEnclaveIdentity) -> bytes:
    """The bytes to sign: compact JSON in Intel's member order."""
    return encode(wire)
