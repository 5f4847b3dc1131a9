"""A simulated machine: its identity, its raw TCB, its PCK certificates, its quotes.

Single-package machines are certified by the Processor CA and known by their encrypted PPID;
multi-package ones by the Platform CA, by their manifest and platform instance id, with flags.

Source: `verification.md` §1-2; `pccs-and-pcs-api.md` §2.3-2.4.
"""

from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING

import msgspec

from dcap.formats.certification import (
    CertificationData,
    CertificationType,
    PpidCleartext,
    PpidRsa2048,
    PpidRsa3072,
)
from dcap.formats.pck_extensions import PckExtensions, SgxType
from dcap.formats.pck_selection import tcbm_of
from dcap.formats.quote import Body
from dcap.formats.registration_structure import MANIFEST_GUID, write_structure
from dcap.simulator import ppid_key, quoting_enclave
from dcap.simulator.intel import EPOCH, PCK_CRL_URL, Authority, issue
from dcap.simulator.keys import derive, encrypt_ppid, signing_key
from dcap.simulator.quoting_enclave import TD_BODIES, Draft
from dcap.simulator.tcb_model import COMPONENTS, PCE_SVN, TDX_RUNG, Rung

if TYPE_CHECKING:
    from dcap.simulator.world import World

PCK = "Intel SGX PCK Certificate"
_YEAR = timedelta(days=365)
_NO_DATE = EPOCH


class Tcbm(msgspec.Struct, frozen=True):
    """A TCB for which a PCK certificate exists or is "Not available"."""

    cpu_svn: bytes
    pce_svn: int
    certificate: Authority | None

    @property
    def hex(self) -> str:
        """CPUSVN ‖ PCESVN (little-endian), 36 hex digits, upper case."""
        return tcbm_of(self.cpu_svn, self.pce_svn).hex().upper()


class Platform:
    """One machine of a world. Its SVNs are plain attributes: raise them as an update would.

    `svn` is the rung of its SGX TCB (`tcb_model`), `td_svn` the TDX rung a TD was launched under,
    `td_svn_now` the one now loaded, `module` (ISVSVN, major version) of the TDX module at launch,
    `module_now` of the one now loaded, `qe_svn` the ISVSVN of QE and TD_QE. `registered` says whether
    Intel knows a multi-package machine by its PPID (`registration`).
    """

    def __init__(
        self,
        world: "World",
        name: str,
        *,
        ca: str,
        fmspc: bytes,
        pce_id: bytes = bytes(2),
    ) -> None:
        self.world = world
        self.name = name
        self.ca = ca
        self.fmspc = fmspc
        self.pce_id = pce_id
        top = world.intel.generation().platform[0].svn
        self.svn = self.td_svn = self.td_svn_now = top
        self.module = self.module_now = (6, 1)
        self.qe_svn = 8
        self.package = 0
        self.registered = True
        self.dynamic_platform = self.cached_keys = self.smt_enabled = ca == "platform"
        self._certificates: dict[tuple[int, int], Authority] = {}

    # Identity

    @cached_property
    def ppid(self) -> bytes:
        """The PPID in clear, 16 bytes."""
        return derive(self.world.seed, "ppid", self.name)[:16]

    @cached_property
    def qe_id(self) -> bytes:
        """The QE's id, 16 bytes, as in the quote header's user data."""
        return derive(self.world.seed, "qe id", self.name)[:16]

    @property
    def platform_instance_id(self) -> bytes | None:
        """The platform instance id; a change of package makes another one."""
        if self.ca != "platform":
            return None
        return derive(self.world.seed, "piid", self.name, str(self.package))[:16]

    @cached_property
    def encrypted_ppid(self) -> bytes:
        """The PPID under the simulated Intel's RSA-3072 key, 384 bytes."""
        salt = derive(self.world.seed, "oaep", self.name)
        return encrypt_ppid(ppid_key.MODULUS, ppid_key.EXPONENT, self.ppid, salt)

    @property
    def manifest(self) -> bytes:
        """The platform manifest that a multi-package machine registers with."""
        label = derive(self.world.seed, "manifest", self.name, str(self.package))
        content = b"SIMULATED MANIFEST " + self.ppid + label * 264
        return write_structure(MANIFEST_GUID, content)

    # TCB

    @property
    def cpu_svn(self) -> bytes:
        """The raw CPUSVN, 16 bytes."""
        return Rung(self.svn, "", _NO_DATE).components

    @property
    def tee_tcb_svn(self) -> bytes:
        """TEE_TCB_SVN of a TD at launch, 16 bytes."""
        return _tee_tcb_svn(self.module, self.td_svn)

    @property
    def tee_tcb_svn_2(self) -> bytes:
        """TEE_TCB_SVN of the module now loaded, 16 bytes."""
        return _tee_tcb_svn(self.module_now, self.td_svn_now)

    def set_status(self, status: str) -> None:
        """Put the machine on the rung of a status of the standard generation, SGX and TDX alike."""
        generation = self.world.intel.generation()
        if status == "TDRelaunchAdvised":
            self._launched_at("OutOfDate")
        elif status == "TDRelaunchAdvisedConfigurationNeeded":
            self._launched_at("OutOfDateConfigurationNeeded")
        else:
            self.svn = self.td_svn = self.td_svn_now = generation.svn_of(status)

    def _launched_at(self, status: str) -> None:
        """A TD that was launched before the machine was updated."""
        generation = self.world.intel.generation()
        self.svn = self.td_svn_now = generation.svn_of("UpToDate")
        self.td_svn = generation.svn_of(status)

    def update(self) -> None:
        """Install everything Intel offers, early included: the newest microcode and module."""
        newest = self.world.intel.generation("early")
        self.svn = self.td_svn = self.td_svn_now = newest.platform[0].svn

    # PCK certificates

    def certificates(self) -> tuple[Tcbm, ...]:
        """One entry for each TCB that Intel knows; those above this machine's are not available."""
        rungs = {r.svn for g in self.world.intel.generations.values() for r in g.platform}
        return tuple(
            Tcbm(
                Rung(svn, "", _NO_DATE).components,
                PCE_SVN,
                self.certificate(svn) if svn <= self.svn else None,
            )
            for svn in sorted(rungs, reverse=True)
        )

    def pck(self) -> Authority:
        """The certificate for the machine's TCB: the highest rung it reaches."""
        rungs = {r.svn for g in self.world.intel.generations.values() for r in g.platform}
        return self.certificate(max((svn for svn in rungs if svn <= self.svn), default=self.svn))

    def issued(self) -> tuple[Authority, ...]:
        """Every certificate that it could have got by now, as the package that it is."""
        listed = [entry.certificate for entry in self.certificates() if entry.certificate]
        return tuple(listed) or (self.pck(),)

    def certificate(self, svn: int) -> Authority:
        """The PCK certificate of one rung."""
        place = (svn, self.package)
        if place not in self._certificates:
            self._certificates[place] = self._issue(svn)
        return self._certificates[place]

    def _issue(self, svn: int) -> Authority:
        multi = self.ca == "platform"
        extension = PckExtensions(
            ppid=self.ppid,
            components=Rung(svn, "", _NO_DATE).components,
            pce_svn=PCE_SVN,
            cpu_svn=Rung(svn, "", _NO_DATE).components,
            pce_id=self.pce_id,
            fmspc=self.fmspc,
            sgx_type=SgxType.SCALABLE if multi else SgxType.STANDARD,
            platform_instance_id=self.platform_instance_id,
            dynamic_platform=self.dynamic_platform if multi else None,
            cached_keys=self.cached_keys if multi else None,
            smt_enabled=self.smt_enabled if multi else None,
        )
        key = signing_key(self.world.seed, "pck", self.name, str(svn), str(self.package))
        return issue(
            PCK,
            key,
            self.world.intel.pck_ca(self.ca),
            EPOCH + 2 * _YEAR,
            EPOCH + 14 * _YEAR,
            crl_url=PCK_CRL_URL.format(ca=self.ca),
            sgx_extension=extension.to_der(),
        )

    def pck_chain(self) -> bytes:
        """PEM of the machine's PCK certificate, its CA and the root."""
        return self.world.intel.chain(self.pck(), self.world.intel.pck_ca(self.ca))

    # Quotes

    def quote(
        self,
        report_data: bytes = bytes(64),
        *,
        tee: str = "SGX",
        version: int | None = None,
        body_type: int | None = None,
        certification: int = CertificationType.PCK_CERTIFICATE_CHAIN,
        **fields: object,
    ) -> bytes:
        """A quote over any enclave or TD; `fields` are those of its report (`formats`)."""
        draft = self.draft(
            report_data,
            tee=tee,
            version=version,
            body_type=body_type,
            certification=certification,
            **fields,
        )
        return self.sign(draft)

    def sign(self, draft: Draft) -> bytes:
        """The quote of a draft, with this machine's QE id in the header."""
        return quoting_enclave.make_quote(draft, self.qe_id + bytes(4))

    def draft(
        self,
        report_data: bytes = bytes(64),
        *,
        tee: str = "SGX",
        version: int | None = None,
        body_type: int | None = None,
        certification: int = CertificationType.PCK_CERTIFICATE_CHAIN,
        **fields: object,
    ) -> Draft:
        """What a genuine QE of this machine would sign."""
        attestation = signing_key(self.world.seed, "attestation", self.name, tee)
        body, kind = self._body(tee, body_type, report_data.ljust(64, b"\0"), fields)
        return Draft(
            version=version or (3 if tee == "SGX" else 4 if kind == 2 else 5),
            body=body,
            body_type=kind,
            certification=self.certification(certification),
            pck_key=self.pck().key,
            attestation_key=attestation,
            qe_report=quoting_enclave.qe_report(
                tee, self.cpu_svn, self.qe_svn, attestation.public_key
            ),
        )

    def _body(
        self, tee: str, body_type: int | None, report_data: bytes, fields: dict[str, object]
    ) -> tuple[Body, int]:
        if tee == "SGX":
            given = {"cpu_svn": self.cpu_svn, "report_data": report_data, **fields}
            return quoting_enclave.enclave_report(**given), 1
        kind = TD_BODIES[body_type or 2]
        given = {"tee_tcb_svn": self.tee_tcb_svn, "report_data": report_data, **fields}
        if kind is not TD_BODIES[2]:
            given.setdefault("tee_tcb_svn_2", self.tee_tcb_svn_2)
        return quoting_enclave.td_report(kind, **given), body_type or 2

    def certification(self, kind: int) -> CertificationData:
        """Certification data of types 1 to 5 for this machine."""
        if kind == CertificationType.PCK_CERTIFICATE_CHAIN:
            return CertificationData(kind, self.pck_chain() + b"\0")
        if kind == CertificationType.PCK_CERTIFICATE:
            return CertificationData(kind, self.pck().pem)
        raw = (self.cpu_svn, PCE_SVN, self.pce_id)
        if kind == CertificationType.PPID_CLEARTEXT:
            return CertificationData.of_platform(PpidCleartext(self.ppid, *raw))
        if kind == CertificationType.PPID_RSA2048_ENCRYPTED:
            return CertificationData.of_platform(PpidRsa2048(self.encrypted_ppid[:256], *raw))
        return CertificationData.of_platform(PpidRsa3072(self.encrypted_ppid, *raw))


def _tee_tcb_svn(module: tuple[int, int], rung: int) -> bytes:
    svns = bytearray(COMPONENTS)
    svns[0], svns[1] = module
    svns[TDX_RUNG] = rung
    return bytes(svns)
