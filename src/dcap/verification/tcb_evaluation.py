"""Where a platform stands: its levels, converged, at launch and (TDX 1.5) now.

Source: QVL `QuoteVerifier`, steps 4.1.2.5.16-20; `verification.md` §6.
"""

from datetime import datetime

import msgspec

from dcap.formats.enclave_identity import EnclaveIdentity
from dcap.formats.pck_extensions import PckExtensions
from dcap.formats.sgx_report import SgxReport
from dcap.formats.tcb_info import IsvSvnLevel, TcbInfo, TcbLevel
from dcap.formats.td_report import TdReport10, TdReport15
from dcap.verification import status as statuses
from dcap.verification import tdx_module
from dcap.verification.findings import Ledger
from dcap.verification.status import TcbStatus
from dcap.verification.tcb_level import (
    Shortfall,
    isv_svn_shortfall,
    match_isv_svn,
    match_platform,
    shortfall,
)


class TcbEvaluation(msgspec.Struct, frozen=True, kw_only=True):
    """The TCB verdict and what it is made of.

    `status` is the final one, `launch` that of the TD's launch (the same, where no relaunch is
    advised), `current` that of the TDX module now loaded (TDX 1.5; else `None`). `date` is the
    earliest of the matched levels' dates, `platform_date` the platform's own.
    `advisory_ids` are those of the matched levels only. `shortfall` lists every SVN that is short.
    """

    status: TcbStatus
    launch: TcbStatus
    current: TcbStatus | None
    platform: TcbStatus
    qe: TcbStatus
    tdx_module: TcbStatus | None
    date: datetime
    platform_date: datetime
    qe_date: datetime
    advisory_ids: tuple[str, ...]
    current_advisory_ids: tuple[str, ...]
    shortfall: tuple[Shortfall, ...]


class _Levels(msgspec.Struct, frozen=True):
    """One evaluation: the matched levels and their status together."""

    platform: TcbLevel
    module: IsvSvnLevel | None
    platform_status: TcbStatus
    module_status: TcbStatus | None
    status: TcbStatus


def evaluate(
    info: TcbInfo,
    identity: EnclaveIdentity,
    pck: PckExtensions,
    body: SgxReport | TdReport10,
    qe_isv_svn: int,
    ledger: Ledger,
) -> TcbEvaluation | None:
    """Match every level and converge. `None`, with the findings, where one does not match."""
    tee_tcb_svn = None if isinstance(body, SgxReport) else body.tee_tcb_svn
    qe = match_isv_svn(identity.levels, qe_isv_svn)
    qe_status = None
    if qe is None:
        ledger.failed("qe-level", f"QE ISVSVN {qe_isv_svn} is below every level of the QE identity")
    else:
        qe_status = statuses.known(qe.status, statuses.QE_STATUSES)
        if qe_status is None:
            ledger.failed("tcb-status-known", f'the QE level has the status "{qe.status[:64]}"')
    launch = _levels(info, pck, tee_tcb_svn, qe_status, "", ledger)
    current = None
    if isinstance(body, TdReport15):
        current = _levels(info, pck, body.tee_tcb_svn_2, qe_status, " now loaded", ledger)
        if current is None:
            return None
    if launch is None or qe is None or qe_status is None:
        return None
    final = launch.status if current is None else statuses.relaunch(launch.status, current.status)
    ledger.passed("tcb-level")
    if launch.module is not None or (current is not None and current.module is not None):
        ledger.passed("tdx-module-level")
    ledger.passed("qe-level")
    ledger.passed("tcb-status-known")
    dates = [launch.platform.date, qe.date, *([launch.module.date] if launch.module else [])]
    return TcbEvaluation(
        status=final,
        launch=launch.status,
        current=None if current is None else current.status,
        platform=launch.platform_status,
        qe=qe_status,
        tdx_module=launch.module_status,
        date=min(dates),
        platform_date=launch.platform.date,
        qe_date=qe.date,
        advisory_ids=_advisories(launch, qe),
        current_advisory_ids=() if current is None else _advisories(current, qe),
        shortfall=shortfall_of(info, identity, pck, body, qe_isv_svn),
    )


def _levels(
    info: TcbInfo,
    pck: PckExtensions,
    tee_tcb_svn: bytes | None,
    qe_status: TcbStatus | None,
    which: str,
    ledger: Ledger,
) -> _Levels | None:
    platform = match_platform(info, pck.components, pck.pce_svn, tee_tcb_svn)
    if platform is None:
        ledger.failed(
            "tcb-level", f"the platform's TCB{which} is below every level of the TCB info"
        )
    module = None
    module_status = None
    if tee_tcb_svn is not None and tee_tcb_svn[1] > 0:
        identity = tdx_module.identity_of(info, tee_tcb_svn)
        if isinstance(identity, str):
            if which:  # the module at launch was judged in step 4.12
                ledger.failed("tdx-module-level", f"TDX module{which}: {identity}")
            return None
        module = match_isv_svn(identity.levels, tee_tcb_svn[0])
        if module is None:
            ledger.failed(
                "tdx-module-level",
                f"TDX module{which} {identity.id} ISVSVN {tee_tcb_svn[0]} is below every level",
            )
            return None
        module_status = statuses.known(module.status, statuses.TDX_MODULE_STATUSES)
        if module_status is None:
            ledger.failed(
                "tcb-status-known", f'the TDX module level has the status "{module.status[:64]}"'
            )
            return None
    if platform is None:
        return None
    platform_status = statuses.known(platform.status, statuses.PLATFORM_STATUSES)
    if platform_status is None:
        ledger.failed("tcb-status-known", f'the TCB level has the status "{platform.status[:64]}"')
        return None
    if qe_status is None:
        return None
    parts = (qe_status,) if module_status is None else (qe_status, module_status)
    converged = statuses.converge(platform_status, parts)
    return _Levels(platform, module, platform_status, module_status, converged)


def _advisories(levels: _Levels, qe: IsvSvnLevel) -> tuple[str, ...]:
    """The union over the matched levels: platform, QE, module; each id once."""
    module = levels.module.advisory_ids if levels.module else ()
    return tuple(dict.fromkeys((*levels.platform.advisory_ids, *qe.advisory_ids, *module)))


def shortfall_of(
    info: TcbInfo,
    identity: EnclaveIdentity,
    pck: PckExtensions,
    body: SgxReport | TdReport10,
    qe_isv_svn: int,
) -> tuple[Shortfall, ...]:
    """Every SVN that keeps the platform, its TDX module or its QE from being up to date."""
    tee_tcb_svn = None if isinstance(body, SgxReport) else body.tee_tcb_svn
    level = match_platform(info, pck.components, pck.pce_svn, tee_tcb_svn)
    short: tuple[Shortfall, ...] = ()
    if level is None or level.status != TcbStatus.UP_TO_DATE:
        short = shortfall(info, pck.components, pck.pce_svn, tee_tcb_svn)
    if tee_tcb_svn is not None and tee_tcb_svn[1] > 0:
        module = tdx_module.identity_of(info, tee_tcb_svn)
        if not isinstance(module, str):
            short += isv_svn_shortfall(
                f"TDX module {module.id}", module.levels, tee_tcb_svn[0], "TDX module"
            )
    return short + isv_svn_shortfall(
        identity.id, identity.levels, qe_isv_svn, "SGX platform software (QE)"
    )
