"""A simulated world, and everything it can be told to say or sign otherwise.

Truth, one change, one consequence: every method gives the simulator's own when called without
arguments, and each argument makes one thing in it different. The simulator's clock stands a day
before `at`, so that what a verifier has at `at` was fetched yesterday. Not here: judgements.

Source: `dcap.simulator`; Intel's PCS API and PCK profile; quote formats 3, 4 and 5.
"""

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import msgspec

from dcap import simulator
from dcap.formats import certificate as certificates
from dcap.formats import pem
from dcap.formats.certification import CertificationData
from dcap.formats.crl import Crl
from dcap.formats.pck_extensions import PckExtensions
from dcap.simulator.intel import (
    ORGANIZATION,
    PCK_CRL_URL,
    Authority,
)
from dcap.simulator.keys import SigningKey, signing_key
from dcap.simulator.platform import PCK, Platform
from dcap.simulator.quoting_enclave import AUTHENTICATION_DATA, make_quote
from departures import documents, quotes
from departures.documents import Edit, Json
from departures.issued import Issued, Pck, issue, revoke
from departures.quotes import Fields, Lengths

AT = datetime(2026, 1, 1, tzinfo=UTC)
#: All machines of a test are of one kind, whichever CA certifies them.
FMSPC = bytes.fromhex("90C06F000000")
#: The enclave of the tests; what is not told of it is the simulator's.
ENCLAVE = {"isv_prod_id": 7, "isv_svn": 3}
COLLATERAL_MEMBERS = (
    "pck_crl_issuer_chain",
    "root_ca_crl",
    "pck_crl",
    "tcb_info_issuer_chain",
    "tcb_info",
    "tcb_info_signature",
    "qe_identity_issuer_chain",
    "qe_identity",
    "qe_identity_signature",
)
_DAY = timedelta(days=1)
_YEAR = timedelta(days=365)


class World:
    """Two worlds of the same arguments are the same to the byte; two seeds share no key."""

    def __init__(
        self, at: datetime = AT, seed: bytes = b"departures", organization: str = ORGANIZATION
    ) -> None:
        self.at = at
        self.simulated = simulator.World(seed, at=at - _DAY)
        self.organization = organization
        intel = self.simulated.intel
        self.root = self._authority(intel.root, None)
        self.processor_ca = self._authority(intel.processor_ca, self.root)
        self.platform_ca = self._authority(intel.platform_ca, self.root)
        self.tcb_signing = self._authority(intel.tcb_signing, self.root)

    def _authority(self, authority: Authority, issuer: Issued | None) -> Issued:
        genuine = authority.certificate
        if self.organization == ORGANIZATION:
            return Issued.of(authority)
        return issue(
            authority.key,
            self.name(genuine.common_name),
            issuer=issuer,
            not_before=genuine.not_before,
            not_after=genuine.not_after,
            ca=bool(genuine.is_ca),
            path_length=genuine.path_length,
        )

    # Keys, names, machines, chains

    def key(self, label: str) -> SigningKey:
        """The key of somebody who is not Intel."""
        return signing_key(self.simulated.seed, "departures", label)

    def name(self, common_name: str) -> bytes:
        """A distinguished name of this world's organization, DER."""
        return certificates.write_name(common_name, self.organization)

    def machine(self, ca: str) -> Platform:
        """The simulated machine that the CA "processor" or "platform" certifies."""
        return self.simulated.platform(f"machine of the {ca} CA", ca=ca, fmspc=FMSPC)

    def pck_ca(self, ca: str) -> Issued:
        """The intermediate called "processor" or "platform"."""
        return self.platform_ca if ca == "platform" else self.processor_ca

    @staticmethod
    def chain(*members: Issued) -> bytes:
        """PEM of `members` in the order given."""
        return b"".join(member.pem for member in members)

    # Certificates and lists

    def certificate(
        self,
        common_name: str,
        *,
        issuer: Issued | None = None,
        self_signed: bool = False,
        key: SigningKey | None = None,
        not_before: datetime | None = None,
        not_after: datetime | None = None,
        name: bytes | None = None,
        **profile: Any,
    ) -> Issued:
        """Any odd certificate; by default a leaf under the root, valid now. The rest: `issue`."""
        return issue(
            key or self.key(f"certificate {common_name}"),
            self.name(common_name) if name is None else name,
            issuer=None if self_signed else issuer or self.root,
            not_before=not_before or self.at - _YEAR,
            not_after=not_after or self.at + 6 * _YEAR,
            **profile,
        )

    def pck(
        self,
        ca: str = "processor",
        *,
        chain: Sequence[Issued] | None = None,
        sgx_extension_der: bytes | None = None,
        without_sgx_extension: bool = False,
        **changes: Any,
    ) -> Pck:
        """The machine's PCK certificate; `changes` are of `PckExtensions` and of `certificate`.

        Its CPUSVN follows the components. `chain` replaces intermediate and root, and its first
        member is the issuer. Another PPID is another machine, with a key of its own.
        """
        machine = self.machine(ca)
        genuine = machine.pck()
        stated = genuine.certificate.sgx_extension
        assert stated is not None
        told = {k: changes.pop(k) for k in PckExtensions.__struct_fields__ if k in changes}
        if "components" in told:
            told["components"] = bytes(told["components"])
            told.setdefault("cpu_svn", told["components"])
        platform = msgspec.structs.replace(PckExtensions.parse(stated), **told)
        above = (self.pck_ca(ca), self.root) if chain is None else tuple(chain)
        key = self.key(f"pck {platform.ppid.hex()}") if "ppid" in told else genuine.key
        content = platform.to_der() if sgx_extension_der is None else sgx_extension_der
        profile = {
            "issuer": above[0],
            "key": key,
            "crl_url": PCK_CRL_URL.format(ca=ca),
            "not_before": genuine.certificate.not_before,
            "not_after": genuine.certificate.not_after,
            "sgx_extension": None if without_sgx_extension else content,
            **changes,
        }
        issued = self.certificate(PCK, **profile)
        return Pck(issued.key, issued.name, issued.serial, issued.der, platform, above)

    def crl(
        self,
        issuer: Issued | None = None,
        *,
        revoked: Iterable[int | Issued] = (),
        signer: SigningKey | Issued | None = None,
        encoding: Literal["der", "pem", "hex"] = "der",
        **changes: Any,
    ) -> bytes:
        """The list of `issuer` (default: the Processor CA); `changes` are what `revoke` takes.

        It is as old as the simulator's of that CA, and good for as long.
        """
        issuer = issuer or self.processor_ca
        intel, at = self.simulated.intel, self.simulated.at
        of_root = issuer.key is self.root.key
        genuine = Crl.parse(intel.root_ca_crl(at) if of_root else intel.pck_crl("processor", at))
        terms = {
            "number": genuine.crl_number,
            "this_update": genuine.this_update,
            "next_update": genuine.next_update,
            **changes,
        }
        serials = [entry.serial if isinstance(entry, Issued) else entry for entry in revoked]
        crl = revoke(
            issuer, serials, signer=signer.key if isinstance(signer, Issued) else signer, **terms
        )
        if encoding == "pem":
            return pem.encode(crl, "X509 CRL")
        return crl.hex().encode() if encoding == "hex" else crl

    # Signed documents

    tcb_level = staticmethod(documents.tcb_level)
    isvsvn_level = staticmethod(documents.isvsvn_level)
    module = staticmethod(documents.module)
    module_identity = staticmethod(documents.module_identity)

    def tcb_info(
        self,
        tee: str = "SGX",
        *,
        version: int = 3,
        fmspc: bytes = FMSPC,
        pce_id: bytes = bytes(2),
        issue_date: datetime | str | None = None,
        next_update: datetime | str | None = None,
        evaluation: int | None = None,
        levels: Sequence[Json] | None = None,
        tdx_module: Json | None = None,
        tdx_module_identities: Sequence[Json] | None = None,
        edit: Edit | None = None,
    ) -> bytes:
        """TCB Info, the exact text to sign; `edit` sees it as a dict just before it is text."""
        intel = self.simulated.intel
        body = intel.tcb_info(
            tee.upper(), fmspc, pce_id, self.simulated.at, intel.generation(), version
        ).body
        changes = {
            "issueDate": issue_date,
            "nextUpdate": next_update,
            "tcbEvaluationDataNumber": evaluation,
            "tdxModule": tdx_module,
            "tdxModuleIdentities": tdx_module_identities,
            "tcbLevels": levels,
        }
        return documents.edited(body, changes, edit)

    def tcb_levels(self, tee: str = "SGX") -> list[Json]:
        """The genuine levels, as Intel writes them."""
        return list(json.loads(self.tcb_info(tee))["tcbLevels"])

    def qe_identity(
        self,
        id: str = "QE",  # noqa: A002 - Intel's word
        *,
        version: int | None = None,
        issue_date: datetime | str | None = None,
        next_update: datetime | str | None = None,
        evaluation: int | None = None,
        mrsigner: bytes | None = None,
        levels: Sequence[Json] | None = None,
        edit: Edit | None = None,
    ) -> bytes:
        """Enclave identity, the exact text to sign."""
        intel = self.simulated.intel
        changes = {
            "version": version,
            "issueDate": issue_date,
            "nextUpdate": next_update,
            "tcbEvaluationDataNumber": evaluation,
            "mrsigner": mrsigner,
            "tcbLevels": levels,
        }
        body = intel.enclave_identity(id, self.simulated.at, intel.generation()).body
        return documents.edited(body, changes, edit)

    def isvsvn_levels(self, name: str = "QE") -> list[Json]:
        """The genuine levels of an identity, as Intel writes them."""
        return list(json.loads(self.qe_identity(name))["tcbLevels"])

    def sign_json(self, body: bytes, key: SigningKey | None = None) -> bytes:
        """r‖s over `body` by `key`, or by the TCB signing key."""
        return (key or self.tcb_signing.key).sign_raw(body)

    # Quotes

    def quote(
        self,
        version: int | None = None,
        tee: str = "sgx",
        *,
        pck: Pck | None = None,
        ca: str | None = None,
        body: Fields | None = None,
        body_type: int | None = None,
        report_data: bytes = b"",
        header: Fields | None = None,
        qe_isvsvn: int | None = None,
        qe_report: Fields | None = None,
        qe_report_data: bytes | None = None,
        qe_signing_key: SigningKey | None = None,
        qe_signature: bytes | None = None,
        auth_data: bytes = AUTHENTICATION_DATA,
        attestation_public_key: bytes | None = None,
        signing_key: SigningKey | None = None,
        signature: bytes | None = None,
        cert_type: int = 5,
        cert_data: bytes | None = None,
        outer_cert_type: int | None = None,
        lengths: Lengths | None = None,
        edit_signed: quotes.EditBytes | None = None,
        edit_qe_report: quotes.EditBytes | None = None,
        trailing: bytes = b"",
    ) -> bytes:
        """A quote of `tee` ("sgx": version 3, "tdx": version 4 unless told) on platform `pck`."""
        version = version or (3 if tee == "sgx" else 4)
        ca = ca or usual_ca(tee)
        machine, pck, lengths = self.machine(ca), pck or self.pck(ca), lengths or Lengths()
        kind = body_type or (1 if tee == "sgx" else 2 if version < 5 else 3)
        fields = {**(ENCLAVE if tee == "sgx" else {}), **(body or {})}
        draft = machine.draft(
            report_data,
            tee=tee.upper(),
            version=version,
            body_type=kind,
            **quotes.fitted(quotes.layout_of(tee, kind), fields),
        )
        draft = msgspec.structs.replace(
            draft,
            pck_key=qe_signing_key or pck.key,
            qe_report_signature=qe_signature,
            attestation_public_key=attestation_public_key,
            signature=signature,
            authentication_data=auth_data,
            certification=self._certification(machine, pck, cert_type, cert_data),
        )
        draft = quotes.with_qe(
            draft,
            isv_svn=qe_isvsvn,
            cpu_svn=pck.platform.cpu_svn,
            fields=qe_report or {},
            report_data=qe_report_data,
            edit=edit_qe_report,
        )
        draft = quotes.with_header(draft, machine.qe_id + bytes(4), header or {})
        draft = quotes.with_signed(draft, signing_key, lengths, edit_signed)
        return quotes.rewritten(make_quote(draft), draft, lengths, outer_cert_type) + trailing

    @staticmethod
    def _certification(
        machine: Platform, pck: Pck, kind: int, content: bytes | None
    ) -> CertificationData:
        if content is None and kind == 5:
            content = pck.chain_pem + b"\0"
        if content is None and kind == 4:
            content = pck.pem
        return machine.certification(kind) if content is None else CertificationData(kind, content)

    # Collateral

    def collateral(
        self, tee: str = "sgx", ca: str | None = None, *, pck: Pck | None = None, **changes: Any
    ) -> dict[str, bytes]:
        """The nine members of `COLLATERAL_MEMBERS` for `tee`, and for `pck` if given.

        A keyword that is a member replaces it (a replaced document is signed anew unless its
        signature is replaced too). Other keywords start with the member they reach into:
        tcb_info_*, qe_identity_* (arguments of `tcb_info` and `qe_identity`, and *_key to sign
        with), pck_crl_*, root_ca_crl_* (arguments of `crl`).
        """
        given = {name: changes.pop(name) for name in COLLATERAL_MEMBERS if name in changes}
        into: dict[str, dict[str, Any]] = {
            name: _taken(changes, name + "_")
            for name in ("tcb_info", "qe_identity", "pck_crl", "root_ca_crl")
        }
        if changes:
            raise TypeError(f"collateral has no {', '.join(sorted(changes))}")
        for name in given:
            if unused := into.get(name):
                raise TypeError(f"{name} is given whole, so {name}_{min(unused)} does nothing")
        issuer = pck.chain[0] if pck else self.pck_ca(ca or usual_ca(tee))
        if pck:
            platform = {"fmspc": pck.platform.fmspc, "pce_id": pck.platform.pce_id}
            into["tcb_info"] = {**platform, **into["tcb_info"]}
        signers = self.chain(self.tcb_signing, self.root)
        made = {
            "pck_crl_issuer_chain": self.chain(issuer, self.root),
            "root_ca_crl": self.crl(**{"issuer": self.root, **into["root_ca_crl"]}),
            "pck_crl": self.crl(**{"issuer": issuer, **into["pck_crl"]}),
            "tcb_info_issuer_chain": signers,
            "qe_identity_issuer_chain": signers,
        }
        usual = {"tcb_info": {"tee": tee}, "qe_identity": {"id": "QE" if tee == "sgx" else "TD_QE"}}
        for name, write in (("tcb_info", self.tcb_info), ("qe_identity", self.qe_identity)):
            key = into[name].pop("key", None)
            body = given[name] if name in given else write(**{**usual[name], **into[name]})
            made |= {name: body, f"{name}_signature": self.sign_json(body, key)}
        return {name: given.get(name, made[name]) for name in COLLATERAL_MEMBERS}


def usual_ca(tee: str) -> str:
    """The CA of the machine on which a test's quote is made, where it names none."""
    return "processor" if tee == "sgx" else "platform"


def _taken(changes: dict[str, Any], prefix: str) -> dict[str, Any]:
    """Take out of `changes` the names that start with `prefix`, without it."""
    names = [name for name in changes if name.startswith(prefix)]
    return {name.removeprefix(prefix): changes.pop(name) for name in names}
