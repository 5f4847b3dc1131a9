"""Step 4, up to the TCB levels: a quote, a QE report or a document that does not belong together.

Source: `verification.md` §5 D, §9 (1, 2, 3, 11, 15, 19, 24); the negative vectors.
"""

import hashlib
from collections.abc import Callable

import msgspec

from dcap.formats.quote import HEADER_SIZE
from dcap.formats.sgx_report import SgxReport
from dcap.simulator.faults.fault import TDX, TDX15, Fault
from dcap.simulator.faults.forgery import chain_of
from dcap.simulator.faults.scene import Case, Scene, Setting
from dcap.simulator.quoting_enclave import AUTHENTICATION_DATA, genuine_header, qe_report

_SGX_DATA = HEADER_SIZE + 384 + 4
_TDX_DATA = HEADER_SIZE + 584 + 4
_ATTESTATION_KEY = 64
_V3_QE_REPORT = 128
_V4_QE_REPORT = 128 + 6
_QE_REPORT_SIZE = 384
_ORDER = bytes.fromhex("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551")
#: A point that is not on P-256.
_OFF_CURVE = b"\x01" * 64
_MODULE_ATTRIBUTES = bytes(7) + b"\x01"


def _flip(at: int) -> Callable[[Scene], Case]:
    return lambda scene: scene.case(quote=scene.flipped(at))


def _with(**changes: object) -> Callable[[Scene], Case]:
    """A quote of which the draft differs; what signs it is genuine."""
    return lambda scene: scene.case(quote=scene.signed(**changes))


def _with_body(**fields: object) -> Callable[[Scene], Case]:
    return lambda scene: scene.case(quote=scene.quote(**fields))


def _with_qe(**fields: object) -> Callable[[Scene], Case]:
    """A QE report that differs and that the PCK signed."""

    def departure(scene: Scene) -> Case:
        report = msgspec.structs.replace(scene.draft().qe_report, **fields)
        return scene.case(quote=scene.signed(qe_report=report))

    return departure


def _of_another_vendor(scene: Scene) -> Case:
    draft = scene.draft()
    header = genuine_header(draft, scene.machine.qe_id + bytes(4))
    odd = msgspec.structs.replace(header, qe_vendor_id=bytes(16))
    return scene.case(quote=scene.signed(header=odd))


def _by_a_thief(scene: Scene) -> Case:
    return scene.case(quote=scene.signed(pck_key=scene.key("thief")))


def _by_a_higher_pck(scene: Scene) -> Case:
    """The chain is that of a TCB the machine has not reached: its key is another."""
    machine = scene.machine
    genuine = scene.draft()
    machine.svn += 1
    higher = machine.certificate(machine.svn)
    chain = chain_of(higher, scene.intel.pck_ca(machine.ca), scene.intel.root)
    machine.svn -= 1
    certification = msgspec.structs.replace(genuine.certification, data=chain)
    return scene.case(quote=scene.signed(certification=certification))


def _report_over(data: bytes) -> Callable[[Scene], Case]:
    return _with_qe(report_data=data)


def _with_a_tail(scene: Scene) -> Case:
    head = scene.draft().qe_report.report_data[:32]
    return _with_qe(report_data=head + b"\x01" * 32)(scene)


def _key_of_a_thief(scene: Scene) -> Case:
    """Body, key and signature are the thief's; the QE report is that of the genuine key."""
    return scene.case(quote=scene.signed(attestation_key=scene.key("thief")))


def _signed_by_a_thief(scene: Scene) -> Case:
    genuine = scene.draft().attestation_key.public_key
    return scene.case(
        quote=scene.signed(attestation_key=scene.key("thief"), attestation_public_key=genuine)
    )


def _key_off_the_curve(scene: Scene) -> Case:
    """The QE report vouches for 64 bytes that are no key."""
    machine = scene.machine
    report = qe_report(scene.tee, machine.cpu_svn, machine.qe_svn, _OFF_CURVE)
    return scene.case(quote=scene.signed(attestation_public_key=_OFF_CURVE, qe_report=report))


def _swapped_measurements(scene: Scene) -> Case:
    report = scene.draft().qe_report
    swapped = {"mr_enclave": report.mr_signer, "mr_signer": report.mr_enclave}
    return _with_qe(**swapped)(scene)


def _app_as_qe(scene: Scene) -> Case:
    """An application enclave plays QE: it vouches for a key of its own, and the PCK signed it."""
    body = scene.draft().body
    assert isinstance(body, SgxReport)
    digest = hashlib.sha256(scene.draft().attestation_key.public_key + AUTHENTICATION_DATA).digest()
    report = msgspec.structs.replace(body, report_data=digest + bytes(32))
    return scene.case(quote=scene.signed(qe_report=report))


def _documents_of(tee: str, piece: str) -> Callable[[Scene], Case]:
    """One genuine document of the other TEE."""

    def departure(scene: Scene) -> Case:
        other = scene.world.collateral(scene.machine, tee)
        return scene.with_piece(piece, getattr(other, piece))

    return departure


def _of_the_verifier(scene: Scene) -> Case:
    """The QvE's identity, which Intel signs too."""
    identity = scene.intel.enclave_identity("QVE", scene.at, scene.intel.generation())
    return scene.case(qe_identity=identity.envelope("enclaveIdentity"))


def _of_another_platform(scene: Scene) -> Case:
    """The TCB info that Intel gives for another kind of machine."""
    other = scene.world.collateral(scene.platform("processor"), scene.tee)
    return scene.case(tcb_info=other.tcb_info)


def _of_another_pce(scene: Scene) -> Case:
    return scene.case(tcb_info=scene.tcb_info(pce_id="0100"))


def _without_modules(scene: Scene) -> Case:
    return scene.case(tcb_info=scene.tcb_info(tdx_module_identities=msgspec.UNSET))


def _launched(module: tuple[int, int]) -> Callable[[Scene], Case]:
    def departure(scene: Scene) -> Case:
        scene.machine.module = scene.machine.module_now = module
        return scene.case()

    return departure


_OLD_NUMBERING = Setting(tee="TDX", machine={"module": (5, 0)})

FAULTS = (
    Fault("qe-of-another-vendor", "qe-vendor",
          "The header names a QE vendor that is not Intel, and is signed.", _of_another_vendor),
    Fault("qe-of-another-vendor-tdx", "qe-vendor",
          "The header of a TDX quote names a QE vendor that is not Intel, and is signed.",
          _of_another_vendor, TDX),
    Fault("tcb-info-of-sgx", "tcb-info-tee",
          "The TCB info is for SGX, the quote of a TD.", _documents_of("SGX", "tcb_info"), TDX),
    Fault("tcb-info-of-tdx", "tcb-info-tee",
          "The TCB info is for TDX, the quote of an enclave.", _documents_of("TDX", "tcb_info")),
    Fault("tcb-info-of-another-fmspc", "fmspc",
          "The TCB info is for another kind of machine.", _of_another_platform),
    Fault("tcb-info-of-another-fmspc-tdx", "fmspc",
          "The TCB info of a TD's platform is for another kind of machine.",
          _of_another_platform, TDX),
    Fault("tcb-info-of-another-pce", "pce-id", "The TCB info is for another PCE.",
          _of_another_pce),
    Fault("tdx-module-of-another-signer", "tdx-module",
          "MRSIGNERSEAM is not zero: the module is not Intel's.",
          _with_body(mr_signer_seam=b"\x01" * 48), TDX),
    Fault("tdx-module-of-another-signer-1-0", "tdx-module",
          "MRSIGNERSEAM of a module of major version 0 is not zero.",
          _with_body(mr_signer_seam=b"\x01" * 48), _OLD_NUMBERING),
    Fault("tdx-module-with-attributes", "tdx-module", "SEAMATTRIBUTES are not zero.",
          _with_body(seam_attributes=_MODULE_ATTRIBUTES), TDX15),
    Fault("tdx-module-unknown", "tdx-module",
          "The TCB info has no identity for the module's major version.",
          _launched((1, 9)), TDX),
    Fault("tdx-modules-missing", "tdx-module",
          "The TCB info lists no module identities at all.", _without_modules, TDX),
    Fault("qe-report-by-a-thief", "qe-report-signature",
          "The QE report is not signed by the PCK.", _by_a_thief),
    Fault("qe-report-by-a-thief-tdx", "qe-report-signature",
          "The TD QE's report is not signed by the PCK.", _by_a_thief, TDX),
    Fault("pck-of-a-higher-tcb", "qe-report-signature",
          "The quote brings the PCK certificate of a TCB that the machine has not reached.",
          _by_a_higher_pck, Setting(machine={"svn": 7}),
          policy_hint='accepted_tcb_statuses = ["UpToDate", "SWHardeningNeeded"]\n'),
    Fault("qe-report-altered", "qe-report-signature", "One bit of the QE's MRENCLAVE is turned.",
          _flip(_SGX_DATA + _V3_QE_REPORT + 64)),
    Fault("qe-report-altered-tdx", "qe-report-signature",
          "One bit of the TD QE's MRENCLAVE is turned.", _flip(_TDX_DATA + _V4_QE_REPORT + 64), TDX),
    Fault("qe-report-signature-altered", "qe-report-signature",
          "One bit of the QE report's signature is turned.",
          _flip(_SGX_DATA + _V3_QE_REPORT + _QE_REPORT_SIZE)),
    Fault("qe-report-signature-of-zeros", "qe-report-signature",
          "The QE report's signature is all zeros.", _with(qe_report_signature=bytes(64)), TDX),
    Fault("qe-report-over-nothing", "qe-report-data",
          "The QE report vouches for no key: its report data are zero.", _report_over(bytes(64))),
    Fault("qe-report-with-a-tail", "qe-report-data",
          "The second half of the QE's report data, which Intel's library skips, is not zero.",
          _with_a_tail),
    Fault("authentication-data-altered", "qe-report-data",
          "The authentication data are not those that the QE vouched for.",
          _with(authentication_data=bytes(32))),
    Fault("authentication-data-altered-tdx", "qe-report-data",
          "The authentication data are not those that the TD QE vouched for.",
          _with(authentication_data=b""), TDX),
    Fault("attestation-key-of-a-thief", "qe-report-data",
          "The quote is signed by a key for which no QE vouched.", _key_of_a_thief),
    Fault("attestation-key-altered", "qe-report-data",
          "One bit of the attestation key is turned: it is no point of P-256.",
          _flip(_TDX_DATA + _ATTESTATION_KEY), TDX, also=("quote-signature",)),
    Fault("qe-identity-of-the-td-qe", "qe-identity-tee",
          "The identity is of the TD QE, the quote of an enclave.",
          _documents_of("TDX", "qe_identity")),
    Fault("qe-identity-of-the-sgx-qe", "qe-identity-tee",
          "The identity is of the SGX QE, the quote of a TD.",
          _documents_of("SGX", "qe_identity"), TDX),
    Fault("qe-identity-of-the-qve", "qe-identity-tee",
          "The identity is of the quote verification enclave.", _of_the_verifier),
    Fault("qe-of-another-signer", "qe-identity-match",
          "The QE is signed by somebody else than Intel.", _with_qe(mr_signer=bytes(32))),
    Fault("qe-of-another-product", "qe-identity-match",
          "The QE is another product of Intel's.", _with_qe(isv_prod_id=9), TDX),
    Fault("qe-in-debug", "qe-identity-match", "The QE runs in debug mode.",
          _with_qe(attributes=bytes.fromhex("1300000000000000e700000000000000"))),
    Fault("qe-of-another-miscselect", "qe-identity-match",
          "The QE's MISCSELECT is not that of its identity.", _with_qe(misc_select=1)),
    Fault("qe-measurements-swapped", "qe-identity-match",
          "MRENCLAVE and MRSIGNER of the QE stand in each other's place.", _swapped_measurements),
    Fault("qe-is-an-application", "qe-identity-match",
          "An application enclave of the machine plays QE.", _app_as_qe),
    Fault("quote-by-a-thief", "quote-signature",
          "The quote is not signed by its attestation key.", _signed_by_a_thief),
    Fault("quote-signature-altered", "quote-signature",
          "One bit of the quote's signature is turned.", _flip(_SGX_DATA)),
    Fault("quote-signature-altered-tdx", "quote-signature",
          "One bit of a TDX quote's signature is turned.", _flip(_TDX_DATA), TDX),
    Fault("quote-signature-of-zeros", "quote-signature",
          "The quote's signature is all zeros.", _with(signature=bytes(64))),
    Fault("quote-signature-of-zeros-tdx", "quote-signature",
          "A TDX quote's signature is all zeros.", _with(signature=bytes(64)), TDX),
    Fault("quote-signature-of-the-order", "quote-signature",
          "Both halves of the signature are the order of the group.",
          _with(signature=_ORDER * 2)),
    Fault("attestation-key-off-the-curve", "quote-signature",
          "The QE vouches for an attestation key that is no point of P-256.", _key_off_the_curve),
    Fault("report-data-altered", "quote-signature",
          "One bit of the enclave's report data is turned.", _flip(HEADER_SIZE + 320)),
    Fault("report-data-altered-tdx", "quote-signature",
          "One bit of the TD's report data is turned.", _flip(HEADER_SIZE + 520), TDX),
    Fault("header-user-data-altered", "quote-signature",
          "One bit of the header's user data, which are signed, is turned.", _flip(28)),
    Fault("header-user-data-altered-tdx", "quote-signature",
          "One bit of a TDX header's user data is turned.", _flip(28), TDX),
    Fault("rtmr-altered", "quote-signature", "One bit of RTMR 3 is turned.",
          _flip(HEADER_SIZE + 472), TDX),
)  # fmt: skip
