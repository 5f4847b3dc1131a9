"""Steps 4.18 to 5.9: machines and collateral whose state is not good enough.

Nothing here is forged: a machine is behind, a document expired, a number rolled back. Rungs are
those of the first generation (`tcb_model`).

Source: `verification.md` §6, §7, §9 (4, 5, 9, 10, 13, 25, 27, 32); `users-and-interop.md` §4.
"""

from collections.abc import Callable
from datetime import timedelta

import msgspec

from dcap.formats.certificate import SGX_EXTENSION, Extension
from dcap.formats.pck_extensions import PckExtensions
from dcap.simulator.faults.collateral_faults import pck_ca, tcb_signing
from dcap.simulator.faults.fault import TDX, TDX15, Fault
from dcap.simulator.faults.forgery import chain_of, extensions_of, list_of, twin, twin_pem
from dcap.simulator.faults.scene import Case, Scene, Setting
from dcap.simulator.tcb_model import FIRST_EVALUATION_NUMBER, Generation

_DAY = timedelta(days=1)
ADVISORY = "INTEL-SA-09999"
_STALE = 'accepted_tcb_statuses = ["UpToDate", "OutOfDate"]\n'
_HARDENED = 'accepted_tcb_statuses = ["UpToDate", "SWHardeningNeeded"]\n'
_RELAUNCHED = (
    'accepted_tcb_statuses = ["UpToDate", "TDRelaunchAdvised", '
    '"TDRelaunchAdvisedConfigurationNeeded"]\n'
)


def _machine(**changes: object) -> Callable[[Scene], Case]:
    """The machine in another state; all else follows from it."""

    def departure(scene: Scene) -> Case:
        for name, value in changes.items():
            setattr(scene.machine, name, value)
        return scene.case()

    return departure


def _on(status: str) -> Callable[[Scene], Case]:
    def departure(scene: Scene) -> Case:
        scene.machine.set_status(status)
        return scene.case()

    return departure


# TCB levels


def _low_pce(scene: Scene) -> Case:
    """A certificate whose PCESVN is below every level, by Intel."""
    pck, ca = scene.machine.pck(), pck_ca(scene)
    genuine = PckExtensions.parse(pck.certificate.sgx_extension or b"")
    value = msgspec.structs.replace(genuine, pce_svn=1).to_der()
    kept = (e for e in extensions_of(pck) if e.oid != SGX_EXTENSION)
    leaf = twin_pem(pck, ca, extensions=(*kept, Extension(SGX_EXTENSION, value)))
    return scene.case(quote=scene.certified(chain_of(leaf, ca, scene.intel.root)))


def _platform_status(status: str) -> Callable[[Scene], Case]:
    """The platform's level has a status of somebody's invention."""

    def departure(scene: Scene) -> Case:
        top, *rest = scene.tcb_info_wire().tcb_levels
        odd = msgspec.structs.replace(top, tcb_status=status)
        return scene.case(tcb_info=scene.tcb_info(tcb_levels=[odd, *rest]))

    return departure


def _qe_status(status: str) -> Callable[[Scene], Case]:
    def departure(scene: Scene) -> Case:
        top, *rest = scene.qe_identity_wire().tcb_levels
        odd = msgspec.structs.replace(top, tcb_status=status)
        return scene.case(qe_identity=scene.qe_identity(tcb_levels=[odd, *rest]))

    return departure


def _module_status(status: str) -> Callable[[Scene], Case]:
    def departure(scene: Scene) -> Case:
        modules = scene.tcb_info_wire().tdx_module_identities or []
        odd = [
            msgspec.structs.replace(
                module,
                tcb_levels=[
                    msgspec.structs.replace(level, tcb_status=status) for level in module.tcb_levels
                ],
            )
            for module in modules
        ]
        return scene.case(tcb_info=scene.tcb_info(tdx_module_identities=odd))

    return departure


def _lowest_first(scene: Scene) -> Case:
    """The lowest level, called UpToDate, stands before the machine's own, OutOfDate."""
    levels = scene.tcb_info_wire().tcb_levels
    machines = msgspec.structs.replace(levels[0], tcb_status="OutOfDate")
    lowest = msgspec.structs.replace(levels[-1], tcb_status="UpToDate")
    return scene.case(tcb_info=scene.tcb_info(tcb_levels=[lowest, machines]))


def _with_lower_certificate(scene: Scene) -> Case:
    """Another certificate of the same machine, whose key the machine has too."""
    lower = scene.machine.certificate(_RUNGS["stale"])
    chain = chain_of(lower, pck_ca(scene), scene.intel.root)
    certification = msgspec.structs.replace(scene.draft().certification, data=chain)
    return scene.case(quote=scene.signed(certification=certification, pck_key=lower.key))


# Expiry and age


def _expired_list(piece: str) -> Callable[[Scene], Case]:
    def departure(scene: Scene) -> Case:
        dates = {"this_update": scene.at - 31 * _DAY, "next_update": scene.at - _DAY}
        return scene.with_piece(piece, list_of(scene, piece, **dates))

    return departure


def _expired_chain(piece: str, signer: bool) -> Callable[[Scene], Case]:  # noqa: FBT001
    def departure(scene: Scene) -> Case:
        who = tcb_signing(scene) if signer else pck_ca(scene)
        old = twin(who, scene.intel.root, not_after=scene.at - _DAY)
        return scene.with_piece(piece, chain_of(old, scene.intel.root))

    return departure


def _expired_pck(scene: Scene) -> Case:
    ca = pck_ca(scene)
    leaf = twin(scene.machine.pck(), ca, not_after=scene.at - _DAY)
    return scene.case(quote=scene.certified(chain_of(leaf, ca, scene.intel.root)))


def _expired_document(piece: str) -> Callable[[Scene], Case]:
    def departure(scene: Scene) -> Case:
        write = scene.tcb_info if piece == "tcb_info" else scene.qe_identity
        old = write(issue_date=scene.at - 31 * _DAY, next_update=scene.at - _DAY)
        return scene.with_piece(piece, old)

    return departure


def _later(days: int) -> Callable[[Scene], Case]:
    """The verifier's clock is ahead, or the collateral was never fetched again."""
    return lambda scene: scene.case(at=scene.at + days * _DAY)


def _not_refreshed(scene: Scene) -> Case:
    """The root's CRL, good for a year, alone is new."""
    now = scene.at + 40 * _DAY
    stale = scene.with_piece("root_ca_crl", scene.intel.root_ca_crl(now))
    return msgspec.structs.replace(stale, at=now)


# Generations


def _recover(scene: Scene) -> Generation:
    """Intel announces a TCB recovery: the machine's rung is out of date in the early set."""
    recovered = scene.intel.generation().recovered(scene.at - _DAY, ADVISORY)
    scene.intel.generations[recovered.number] = recovered
    scene.intel.early = recovered.number
    return recovered


def _recovered(scene: Scene) -> Case:
    scene.intel.standard = _recover(scene).number
    return scene.case()


def _recovered_early(scene: Scene) -> Case:
    _recover(scene)
    return scene.case(collateral=scene.collateral(update="early"))


def _rolled_back(*pieces: str) -> Callable[[Scene], Case]:
    """Genuine documents of an older generation, which have not expired."""

    def departure(scene: Scene) -> Case:
        older = FIRST_EVALUATION_NUMBER - 1
        now = scene.intel.generation()
        scene.intel.generations[older] = Generation(
            older, now.event_date - 365 * _DAY, now.platform, now.qe, now.modules
        )
        old = scene.collateral(number=older)
        rolled_back = {piece: getattr(old, piece) for piece in pieces}
        return scene.case(collateral=msgspec.structs.replace(scene.collateral(), **rolled_back))

    return departure


# Statuses


def _half(**changes: object) -> Fault:
    """A platform of which one half, SGX or TDX, is revoked."""
    half = "SGX" if "svn" in changes else "TDX"
    return Fault(
        f"revoked-in-its-{half.lower()}-half-alone",
        "tcb-status",
        f"Only the {half} components of the platform are at a revoked level.",
        _machine(**changes),
        TDX,
    )


def _status_faults(status: str, setting: Setting) -> Fault:
    return Fault(
        f"platform-{status.lower()}-{setting.tee.lower()}",
        "tcb-status",
        f"The machine is at a {setting.tee} level of status {status}.",
        _on(status),
        setting,
    )


_LADDER = (
    "SWHardeningNeeded",
    "ConfigurationNeeded",
    "ConfigurationAndSWHardeningNeeded",
    "OutOfDate",
    "OutOfDateConfigurationNeeded",
    "Revoked",
)
_RELAUNCHES = ("TDRelaunchAdvised", "TDRelaunchAdvisedConfigurationNeeded")
_QUIET: dict[str, object] = dict.fromkeys(("dynamic_platform", "cached_keys", "smt_enabled"), False)
_QUIET_MACHINE = Setting(machine=_QUIET)
_RUNGS = {"revoked": 2, "configuration": 6, "stale": 4, "top": 8}

FAULTS = (
    Fault("tcb-below-every-level", "tcb-level",
          "The machine is below every level of the TCB info.", _on("none")),
    Fault("tcb-below-every-level-tdx", "tcb-level",
          "The TD was launched below every level of the TCB info.", _machine(td_svn=1), TDX),
    Fault("tcb-now-below-every-level", "tcb-level",
          "The TCB now loaded, not that at launch, is below every level.",
          _machine(td_svn_now=1), TDX15),
    Fault("pce-below-every-level", "tcb-level",
          "The PCESVN of the certificate is below every level.", _low_pce),
    Fault("tdx-module-below-every-level", "tdx-module-level",
          "The TDX module is older than any that its identity lists.",
          _machine(module=(1, 1)), TDX),
    Fault("tdx-module-now-below-every-level", "tdx-module-level",
          "The TDX module now loaded is older than any that its identity lists.",
          _machine(module_now=(1, 1)), TDX15),
    Fault("tdx-module-now-unknown", "tdx-module-level",
          "The module now loaded is of a major version that the TCB info does not know.",
          _machine(module_now=(1, 9)), TDX15),
    Fault("qe-below-every-level", "qe-level",
          "The QE is older than any that its identity lists.", _machine(qe_svn=3)),
    Fault("qe-below-every-level-tdx", "qe-level",
          "The TD QE is older than any that its identity lists.", _machine(qe_svn=3), TDX),
    Fault("tcb-status-unheard-of", "tcb-status-known",
          "The platform's level has a status that does not exist.", _platform_status("Splendid")),
    Fault("tcb-status-of-a-relaunch", "tcb-status-known",
          "The platform's level has a status that only a verifier may conclude.",
          _platform_status("TDRelaunchAdvised"), TDX),
    Fault("qe-status-unheard-of", "tcb-status-known",
          "The QE's level has a status that no QE can have.", _qe_status("SWHardeningNeeded")),
    Fault("tdx-module-status-unheard-of", "tcb-status-known",
          "The TDX module's level has a status that no module can have.",
          _module_status("ConfigurationNeeded"), TDX),
    Fault("root-ca-crl-expired", "root-ca-crl-expiry",
          "The root's CRL has expired, and everything else is fresh.",
          _expired_list("root_ca_crl")),
    Fault("pck-crl-expired", "pck-crl-expiry",
          "The PCK CA's CRL has expired, and everything else is fresh.",
          _expired_list("pck_crl"), TDX),
    Fault("crl-issuer-chain-expired", "crl-issuer-chain-expiry",
          "The CA's certificate beside the CRL has expired.",
          _expired_chain("pck_crl_issuer_chain", signer=False)),
    Fault("pck-expired", "pck-chain-expiry", "The machine's PCK certificate has expired.",
          _expired_pck),
    Fault("tcb-info-chain-expired", "tcb-info-chain-expiry",
          "The certificate of the TCB info's signer has expired.",
          _expired_chain("tcb_info_issuer_chain", signer=True)),
    Fault("qe-identity-chain-expired", "qe-identity-chain-expiry",
          "The certificate of the QE identity's signer has expired.",
          _expired_chain("qe_identity_issuer_chain", signer=True)),
    Fault("tcb-info-expired", "tcb-info-expiry",
          "The TCB info's next update is past, and everything else is fresh.",
          _expired_document("tcb_info")),
    Fault("collateral-forty-days-old", "tcb-info-expiry",
          "A source that does not refresh serves documents of forty days ago.",
          _not_refreshed, also=("pck-crl-expiry", "qe-identity-expiry")),
    Fault("qe-identity-expired", "qe-identity-expiry",
          "The QE identity's next update is past, and everything else is fresh.",
          _expired_document("qe_identity"), TDX),
    Fault("collateral-stale", "collateral-age",
          "The collateral is three days old, though nothing has expired.", _later(3),
          policy_hint='maximum_collateral_age = "1d"\n'),
    *(_status_faults(status, Setting()) for status in _LADDER),
    *(_status_faults(status, TDX) for status in _LADDER),
    *(_status_faults(status, TDX15) for status in _RELAUNCHES),
    _half(svn=_RUNGS["revoked"]),
    _half(td_svn=_RUNGS["revoked"]),
    Fault("relaunch-of-a-revoked-td", "tcb-status",
          "A TD launched under a revoked TCB runs on a machine that is up to date by now.",
          _machine(td_svn=_RUNGS["revoked"]), TDX15, policy_hint=_RELAUNCHED),
    Fault("relaunch-without-need", "tcb-status",
          "A TD that needed configuration at launch runs on a machine that does not.",
          _machine(td_svn=_RUNGS["configuration"]), TDX15, policy_hint=_RELAUNCHED),
    Fault("relaunch-of-no-use", "tcb-status",
          "Launched out of date, on a machine that is still out of date.",
          _machine(td_svn=_RUNGS["stale"], td_svn_now=_RUNGS["stale"]), TDX15,
          policy_hint=_RELAUNCHED),
    Fault("tdx-module-out-of-date", "tcb-status", "The TDX module is out of date, nothing else.",
          _machine(module=(4, 1)), TDX),
    Fault("tdx-module-revoked", "tcb-status", "The TDX module is revoked, nothing else.",
          _machine(module=(1, 3)), TDX, policy_hint=_STALE),
    Fault("configuration-lost-by-severity", "tcb-status",
          "A machine that needs configuration, with a QE out of date, still needs configuration.",
          _machine(svn=_RUNGS["configuration"], qe_svn=6), policy_hint=_STALE),
    Fault("tcb-levels-lowest-first", "tcb-status",
          "A reader that trusts the order of the levels takes the lowest, which is UpToDate.",
          _lowest_first),
    Fault("tcb-recovered", "tcb-status",
          "After a TCB recovery the machine, which nobody updated, is out of date.", _recovered),
    Fault("tcb-recovered-early", "tcb-status",
          "A TCB recovery is announced: in the early set the machine is out of date.",
          _recovered_early, TDX),
    Fault("pck-of-a-lower-tcb", "tcb-status",
          "The PCK certificate of a lower TCB was chosen for a machine that is up to date.",
          _with_lower_certificate),
    Fault("qe-out-of-date", "qe-status",
          "The QE is out of date while the platform's own level is fine.", _machine(qe_svn=6),
          policy_hint=_STALE + 'accepted_qe_statuses = ["UpToDate"]\n'),
    Fault("td-qe-needs-configuration", "qe-status",
          "The TD QE needs configuration; the platform's status does not show it.",
          _machine(qe_svn=7), TDX),
    Fault("qe-revoked", "tcb-status", "The QE is revoked.", _machine(qe_svn=4),
          also=("qe-status",)),
    Fault("advisory-applies", "advisories",
          "An advisory that the relying party refuses applies to the machine's level.",
          _on("SWHardeningNeeded"),
          policy_hint=_HARDENED + 'rejected_advisories = ["INTEL-SA-00615"]\n'),
    Fault("advisory-only-in-early", "advisories",
          "An advisory applies in the early set only.", _recovered_early,
          policy_hint=_STALE + f'rejected_advisories = ["{ADVISORY}"]\n'),
    Fault("tcb-date-too-old", "tcb-date",
          "The machine's level is of a year before the one asked for.", _on("OutOfDate"),
          policy_hint=_STALE + "minimum_tcb_date = 2025-01-01\n"),
    Fault("evaluation-number-rolled-back", "evaluation-number",
          "Documents of an older evaluation data number, which have not expired, are served.",
          _rolled_back("tcb_info", "qe_identity"),
          policy_hint=f"minimum_evaluation_number = {FIRST_EVALUATION_NUMBER}\n"),
    Fault("evaluation-number-of-one-rolled-back", "evaluation-number",
          "The QE identity alone is of an older evaluation data number.",
          _rolled_back("qe_identity"), TDX,
          policy_hint=f"minimum_evaluation_number = {FIRST_EVALUATION_NUMBER}\n"),
    Fault("tee-tcb-svn-too-low", "tee-tcb-svn",
          "TEE_TCB_SVN is below what the relying party asks for.", _on("SWHardeningNeeded"), TDX,
          policy_hint=_HARDENED
          + f'minimum_tee_tcb_svn = "060108{"00" * 13}"\n'),
    Fault("platform-dynamic", "platform-dynamic", "Packages can be added to the platform.",
          _machine(dynamic_platform=True), _QUIET_MACHINE,
          policy_hint="allow_dynamic_platform = false\n"),
    Fault("platform-cached-keys", "platform-cached-keys",
          "Intel's registration service caches the platform's root keys.",
          _machine(cached_keys=True), _QUIET_MACHINE, policy_hint="allow_cached_keys = false\n"),
    Fault("platform-smt", "platform-smt", "Simultaneous multithreading is enabled.",
          _machine(smt_enabled=True), _QUIET_MACHINE, policy_hint="allow_smt = false\n"),
)  # fmt: skip
