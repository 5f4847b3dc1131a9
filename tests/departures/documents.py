"""TCB Info and enclave identities in which anything may depart: the simulator's, edited as JSON.

What comes out is the exact text to be signed. Levels and modules are written here as Intel writes
them, because a test must be able to give a level any status, number of components or date.

Source: Intel PCS API v3 (TCB Info v2) and v4 (TCB Info v3, Enclave Identity v2).
"""

import json
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from dcap.simulator import documents
from dcap.simulator.tcb_model import FIRST, FIRST_EVALUATION_NUMBER, PCE_SVN, Rung

Json = dict[str, Any]
Edit = Callable[[Json], object]

EVALUATION = FIRST_EVALUATION_NUMBER
#: What Intel asks for at the top level, which the genuine platform has exactly.
COMPONENTS = FIRST.platform[0].components
TDX_COMPONENTS = FIRST.platform[0].tdx_components
QE_MRSIGNER = bytes.fromhex(documents.QE_MRSIGNER)
_DATE = f"{FIRST.platform[0].date:%Y-%m-%d}"


def rung_of(status: str) -> Rung:
    """The level of the simulator's first generation that has this status."""
    return next(rung for rung in FIRST.platform if rung.status == status)


def components_of(status: str) -> bytes:
    """The 16 components of a platform at exactly that level."""
    return rung_of(status).components


def encode(document: Json) -> bytes:
    """Compact JSON, members in the order in which they stand."""
    return json.dumps(document, separators=(",", ":")).encode()


def edited(body: bytes, changes: Json, edit: Edit | None) -> bytes:
    """A document with other members (an instant as Intel writes it, `None`: as it is)."""
    document: Json = json.loads(body)
    for name, value in changes.items():
        if value is not None:
            document[name] = _written(value)
    if edit is not None:
        edit(document)
    return encode(document)


def _written(value: object) -> object:
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return value.hex().upper() if isinstance(value, bytes) else value


def tcb_level(
    status: str,
    components: Sequence[int] = COMPONENTS,
    pce_svn: int = PCE_SVN,
    *,
    tdx: Sequence[int] | None = None,
    date: str = _DATE,
    advisories: Iterable[str] = (),
) -> Json:
    """One member of tcbLevels (TCB Info v3); `tdx` adds tdxtcbcomponents."""
    tcb: Json = {"sgxtcbcomponents": [{"svn": svn} for svn in components], "pcesvn": pce_svn}
    if tdx is not None:
        tcb["tdxtcbcomponents"] = [{"svn": svn} for svn in tdx]
    return _level(tcb, status, date, advisories)


def isvsvn_level(
    status: str, isvsvn: int, *, date: str = _DATE, advisories: Iterable[str] = ()
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


def module_identity(name: str, levels: Sequence[Json], **described: bytes) -> Json:
    """One member of tdxModuleIdentities, `name` being "TDX_01" and the like."""
    return {"id": name, **module(**described), "tcbLevels": list(levels)}
