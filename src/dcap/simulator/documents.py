"""The signed JSON of a simulated Intel, written through the wire tables of `formats`.

Not here: who signs it (`intel`) and over which route it goes (`pcs`).
"""

from collections.abc import Iterable
from datetime import datetime

from msgspec import UNSET

from dcap.formats import enclave_identity, tcb_info
from dcap.formats.enclave_identity import WireEnclaveIdentity
from dcap.formats.tcb_evaluation_numbers import EvaluationNumber, TcbEvaluationNumbers
from dcap.formats.tcb_info import (
    TDX,
    WireComponent,
    WireIsvSvn,
    WireIsvSvnLevel,
    WireLevelV2,
    WireLevelV3,
    WireTcbInfoV2,
    WireTcbInfoV3,
    WireTcbV2,
    WireTcbV3,
    WireTdxModule,
    WireTdxModuleIdentity,
)
from dcap.simulator.tcb_model import PCE_SVN, SGX_NAMES, TDX_NAMES, Generation, Rung

QE_MRSIGNER = "8C4F5775D796503E96137F77C68A829A0056AC8DED70140B081B094490C57BFF"
TD_QE_MRSIGNER = "DC9E2A7C6F948F17474E34A7FC43ED030F7C1563F1BABDDF6340C82E0E54A8C5"
#: Identity -> (MRSIGNER, ISVPRODID).
ENCLAVES = {
    "QE": (QE_MRSIGNER, 1),
    "TD_QE": (TD_QE_MRSIGNER, 2),
    "QVE": (QE_MRSIGNER, 2),
    "QAE": (QE_MRSIGNER, 3),
}
QE_ATTRIBUTES = "11000000000000000000000000000000"
QE_ATTRIBUTES_MASK = "FBFFFFFFFFFFFFFF0000000000000000"


def write_tcb_info(
    tee: str,
    version: int,
    fmspc: bytes,
    pce_id: bytes,
    generation: Generation,
    issued: datetime,
    next_update: datetime,
) -> bytes:
    """A TCB info: version 3 for SGX or TDX, version 2 for SGX."""
    if version == 2:
        return tcb_info.write_wire(
            WireTcbInfoV2(
                version=2,
                issue_date=issued,
                next_update=next_update,
                fmspc=fmspc.hex().upper(),
                pce_id=pce_id.hex().upper(),
                tcb_type=0,
                tcb_evaluation_data_number=generation.number,
                tcb_levels=[_level_v2(rung) for rung in generation.platform],
            )
        )
    return tcb_info.write_wire(
        WireTcbInfoV3(
            id=tee,
            version=3,
            issue_date=issued,
            next_update=next_update,
            fmspc=fmspc.hex().upper(),
            pce_id=pce_id.hex().upper(),
            tcb_type=0,
            tcb_evaluation_data_number=generation.number,
            tdx_module=_MODULE if tee == TDX else UNSET,
            tdx_module_identities=_modules(generation) if tee == TDX else UNSET,
            tcb_levels=[_level_v3(rung, tee) for rung in generation.platform],
        )
    )


def write_enclave_identity(
    name: str, generation: Generation, issued: datetime, next_update: datetime
) -> bytes:
    """The identity of QE, TD_QE, QVE or QAE."""
    mr_signer, product = ENCLAVES[name]
    return enclave_identity.write_wire(
        WireEnclaveIdentity(
            id=name,
            version=2,
            issue_date=issued,
            next_update=next_update,
            tcb_evaluation_data_number=generation.number,
            miscselect="00000000",
            miscselect_mask="FFFFFFFF",
            attributes=QE_ATTRIBUTES,
            attributes_mask=QE_ATTRIBUTES_MASK,
            mrsigner=mr_signer,
            isvprodid=product,
            tcb_levels=_isv_svn_levels(generation.qe),
        )
    )


def write_evaluation_numbers(
    tee: str, generations: Iterable[Generation], issued: datetime, next_update: datetime
) -> bytes:
    """The generations on offer, newest first."""
    return TcbEvaluationNumbers(
        id=tee,
        version=1,
        issue_date=issued,
        next_update=next_update,
        tcb_eval_numbers=[
            EvaluationNumber(generation.number, generation.event_date, generation.event_date)
            for generation in sorted(generations, key=lambda g: g.number, reverse=True)
        ],
    ).to_bytes()


_MODULE = WireTdxModule(mrsigner="00" * 48, attributes="00" * 8, attributes_mask="FF" * 8)


def _modules(generation: Generation) -> list[WireTdxModuleIdentity]:
    return [
        WireTdxModuleIdentity(
            id=name,
            mrsigner=_MODULE.mrsigner,
            attributes=_MODULE.attributes,
            attributes_mask=_MODULE.attributes_mask,
            tcb_levels=_isv_svn_levels(ladder),
        )
        for name, ladder in generation.modules.items()
    ]


def _isv_svn_levels(ladder: Iterable[Rung]) -> list[WireIsvSvnLevel]:
    return [
        WireIsvSvnLevel(
            tcb=WireIsvSvn(rung.svn),
            tcb_date=rung.date,
            tcb_status=rung.status,
            advisory_ids=list(rung.advisory_ids) or UNSET,
        )
        for rung in ladder
    ]


def _level_v2(rung: Rung) -> WireLevelV2:
    return WireLevelV2(
        tcb=_tcb_v2(rung),
        tcb_date=rung.date,
        tcb_status=rung.status,
        advisory_ids=list(rung.advisory_ids) or UNSET,
    )


def _tcb_v2(rung: Rung) -> WireTcbV2:
    svns = (*rung.components, PCE_SVN)
    return WireTcbV2(**dict(zip(WireTcbV2.__struct_fields__, svns, strict=True)))


def _level_v3(rung: Rung, tee: str) -> WireLevelV3:
    return WireLevelV3(
        tcb=WireTcbV3(
            sgxtcbcomponents=_components(rung.components, SGX_NAMES),
            pcesvn=PCE_SVN,
            tdxtcbcomponents=_components(rung.tdx_components, TDX_NAMES) if tee == TDX else UNSET,
        ),
        tcb_date=rung.date,
        tcb_status=rung.status,
        advisory_ids=list(rung.advisory_ids) or UNSET,
    )


def _components(svns: bytes, names: tuple[tuple[str, str], ...]) -> list[WireComponent]:
    return [
        WireComponent(svn, category or UNSET, kind or UNSET)
        for svn, (category, kind) in zip(svns, names, strict=True)
    ]
