"""TCB Info and enclave identity: the inner JSON objects, as bytes ready to be signed.

What comes out is the exact text that is signed: compact, members in Intel's order. The envelope
is made by `sealed`; the signature is not made here. `edit` sees the finished
document as a dict just before it becomes text; whatever it leaves there is written.

Source: Intel PCS API v3 (TCB Info v2) and v4 (TCB Info v3, Enclave Identity v2).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from . import pck

Json = dict[str, Any]
Edit = Callable[[Json], object]

EVALUATION = 18
TDX_COMPONENTS = (5, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)

QE_MRSIGNER = bytes.fromhex("8C4F5775D796503E96137F77C68A829A0056AC8DED70140B081B094490C57BFF")
TD_QE_MRSIGNER = bytes.fromhex("DC9E2A7C6F948F17474E34A7FC43ED030F7C1563F1BABDDF6340C82E0E54A8C5")

# id -> (mrsigner, isvprodid, newest isvsvn)
ENCLAVES: dict[str, tuple[bytes, int, int]] = {
    "QE": (QE_MRSIGNER, 1, 8),
    "TD_QE": (TD_QE_MRSIGNER, 2, 4),
    "QVE": (QE_MRSIGNER, 2, 3),
}

# status, date, component SVNs, PCESVN, TDX component SVNs, advisories; newest first. The first
# level is exactly the default platform, so lowering any non-zero SVN by one leaves it.
LEVELS: tuple[tuple[str, str, Sequence[int], int, Sequence[int], Sequence[str]], ...] = (
    ("UpToDate", "2025-05-14", pck.COMPONENTS, pck.PCESVN, TDX_COMPONENTS, ()),
    (
        "SWHardeningNeeded",
        "2024-11-13",
        (3, 3, 2, 2, 4, 1, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0),
        13,
        (5, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
        ("INTEL-SA-00615",),
    ),
    (
        "OutOfDate",
        "2024-03-13",
        (2, 2, 2, 2, 3, 1, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0),
        11,
        (4, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
        ("INTEL-SA-00615", "INTEL-SA-01036"),
    ),
    (
        "Revoked",
        "2023-08-09",
        (1, 1, 1, 1, 1, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0),
        5,
        (1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
        ("INTEL-SA-00615", "INTEL-SA-01036", "INTEL-SA-01099"),
    ),
)


def sealed(member: str, body: bytes, signature: bytes) -> bytes:
    """The envelope PCS sends, e.g. {"tcbInfo":body,"signature":"hex"} for member "tcbInfo"."""
    return b'{"%b":%b,"signature":"%b"}' % (member.encode(), body, signature.hex().encode())


def timestamp(moment: datetime | str) -> str:
    """2026-01-01T00:00:00Z; a string passes through, so that a wrong form can be written."""
    if isinstance(moment, str):
        return moment
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def encode(document: Json) -> bytes:
    """Compact JSON, members in the order they stand in."""
    return json.dumps(document, separators=(",", ":")).encode()


def tcb_level(
    status: str,
    components: Sequence[int] = pck.COMPONENTS,
    pcesvn: int = pck.PCESVN,
    *,
    tdx: Sequence[int] | None = None,
    date: str = "2025-05-14",
    advisories: Iterable[str] = (),
    version: int = 3,
) -> Json:
    """One member of tcbLevels; `tdx` adds tdxtcbcomponents, `version=2` writes the old names."""
    if version == 2:
        tcb: Json = {f"sgxtcbcomp{n:02}svn": svn for n, svn in enumerate(components, start=1)}
        tcb["pcesvn"] = pcesvn
    else:
        tcb = {"sgxtcbcomponents": [{"svn": svn} for svn in components], "pcesvn": pcesvn}
    if tdx is not None:
        tcb["tdxtcbcomponents"] = [{"svn": svn} for svn in tdx]
    return _level(tcb, status, date, advisories)


def isvsvn_level(
    status: str, isvsvn: int, *, date: str = "2025-05-14", advisories: Iterable[str] = ()
) -> Json:
    """One level of a QE identity or of a TDX module identity."""
    return _level({"isvsvn": isvsvn}, status, date, advisories)


def _level(tcb: Json, status: str, date: str, advisories: Iterable[str]) -> Json:
    level: Json = {"tcb": tcb, "tcbDate": f"{date}T00:00:00Z", "tcbStatus": status}
    if listed := list(advisories):
        level["advisoryIDs"] = listed
    return level


def module(
    *, mrsigner: bytes = bytes(48), attributes: bytes = bytes(8), mask: bytes = b"\xff" * 8
) -> Json:
    """The value of tdxModule."""
    return {
        "mrsigner": mrsigner.hex().upper(),
        "attributes": attributes.hex().upper(),
        "attributesMask": mask.hex().upper(),
    }


def module_identity(
    name: str,
    levels: Sequence[Json],
    *,
    mrsigner: bytes = bytes(48),
    attributes: bytes = bytes(8),
    mask: bytes = b"\xff" * 8,
) -> Json:
    """One member of tdxModuleIdentities, `name` being "TDX_01" and the like."""
    described = module(mrsigner=mrsigner, attributes=attributes, mask=mask)
    return {"id": name, **described, "tcbLevels": list(levels)}


def default_levels(tee: str, version: int) -> list[Json]:
    """`LEVELS` written for `tee` ("SGX" or "TDX") and TCB Info `version`."""
    return [
        tcb_level(
            status,
            components,
            pcesvn,
            tdx=tdx if tee == "TDX" else None,
            date=date,
            advisories=advisories,
            version=version,
        )
        for status, date, components, pcesvn, tdx, advisories in LEVELS
    ]


def default_module_identities() -> list[Json]:
    """TDX_03 (newest 3) and TDX_01 (newest 6), each down to Revoked."""
    return [
        module_identity(name, isvsvn_levels(newest))
        for name, newest in (("TDX_03", 3), ("TDX_01", 6))
    ]


def isvsvn_levels(newest: int) -> list[Json]:
    """UpToDate at `newest`, OutOfDate one below, Revoked at 1."""
    return [
        isvsvn_level("UpToDate", newest, date="2025-05-14"),
        isvsvn_level("OutOfDate", newest - 1, date="2024-03-13", advisories=("INTEL-SA-00837",)),
        isvsvn_level(
            "Revoked", 1, date="2023-02-15", advisories=("INTEL-SA-00837", "INTEL-SA-00828")
        ),
    ]


def tcb_info(
    tee: str,
    *,
    issue_date: datetime | str,
    next_update: datetime | str,
    version: int = 3,
    fmspc: bytes = pck.FMSPC,
    pceid: bytes = pck.PCEID,
    evaluation: int = EVALUATION,
    levels: Sequence[Json] | None = None,
    tdx_module: Json | None = None,
    tdx_module_identities: Sequence[Json] | None = None,
    edit: Edit | None = None,
) -> bytes:
    """TCB Info for `tee` ("SGX" or "TDX"); version 2 has no id, and is for SGX only."""
    document: Json = {} if version == 2 else {"id": tee}
    document |= {
        "version": version,
        "issueDate": timestamp(issue_date),
        "nextUpdate": timestamp(next_update),
        "fmspc": fmspc.hex().upper(),
        "pceId": pceid.hex().upper(),
        "tcbType": 0,
        "tcbEvaluationDataNumber": evaluation,
    }
    if tee == "TDX" or tdx_module is not None:
        document["tdxModule"] = module() if tdx_module is None else tdx_module
    if tdx_module_identities is not None:
        document["tdxModuleIdentities"] = list(tdx_module_identities)
    elif tee == "TDX":
        document["tdxModuleIdentities"] = default_module_identities()
    document["tcbLevels"] = default_levels(tee, version) if levels is None else list(levels)
    if edit is not None:
        edit(document)
    return encode(document)


def qe_identity(
    name: str,
    *,
    issue_date: datetime | str,
    next_update: datetime | str,
    version: int = 2,
    evaluation: int = EVALUATION,
    miscselect: bytes = bytes(4),
    miscselect_mask: bytes = b"\xff" * 4,
    attributes: bytes = bytes.fromhex("11000000000000000000000000000000"),
    attributes_mask: bytes = bytes.fromhex("FBFFFFFFFFFFFFFF0000000000000000"),
    mrsigner: bytes | None = None,
    isvprodid: int | None = None,
    levels: Sequence[Json] | None = None,
    edit: Edit | None = None,
) -> bytes:
    """Enclave identity of `name` ("QE", "TD_QE" or "QVE"); hex members are in memory order."""
    usual_mrsigner, usual_isvprodid, newest = ENCLAVES[name]
    document: Json = {
        "id": name,
        "version": version,
        "issueDate": timestamp(issue_date),
        "nextUpdate": timestamp(next_update),
        "tcbEvaluationDataNumber": evaluation,
        "miscselect": miscselect.hex().upper(),
        "miscselectMask": miscselect_mask.hex().upper(),
        "attributes": attributes.hex().upper(),
        "attributesMask": attributes_mask.hex().upper(),
        "mrsigner": (usual_mrsigner if mrsigner is None else mrsigner).hex().upper(),
        "isvprodid": usual_isvprodid if isvprodid is None else isvprodid,
        "tcbLevels": isvsvn_levels(newest) if levels is None else list(levels),
    }
    if edit is not None:
        edit(document)
    return encode(document)
