"""A whole Intel-shaped world: PKI, platforms, collateral and quotes, valid at one moment.

Truth, one change, one consequence: every method makes something genuine when called with no
arguments, and each argument makes one thing in it different. A world trusts nothing and checks
nothing; it shares no code with the package under test, so that a misreading there is not
mirrored here. It is not a simulator: it serves no requests and knows no clock but `at`.

Source: Intel SGX PCK Certificate and CRL Profile Specification; PCS API v3, v4; quote formats
3, 4 and 5.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from . import certificates, documents, keys, reports
from . import pck as pcks
from .certificates import Extension, Issued
from .pck import Pck, Platform
from .quotes import Draft, assemble

AT = datetime(2026, 1, 1, tzinfo=UTC)

ROOT = "Intel SGX Root CA"
PROCESSOR_CA = "Intel SGX PCK Processor CA"
PLATFORM_CA = "Intel SGX PCK Platform CA"
TCB_SIGNING = "Intel SGX TCB Signing"
PCK = "Intel SGX PCK Certificate"

_YEAR = timedelta(days=365)
_DAY = timedelta(days=1)

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


class World:
    """Root, CAs and TCB signer made from `seed`, and everything they sign.

    Two worlds with the same arguments are equal byte for byte; two seeds share no key.
    """

    def __init__(
        self, at: datetime = AT, seed: bytes = b"forge", organization: str = "Forged for tests"
    ) -> None:
        self.at = at
        self.seed = seed
        self.organization = organization
        self.root = self._issue_authority(ROOT, None, 8 * _YEAR, 23 * _YEAR, ca=True, path_length=1)
        self.processor_ca = self._issue_authority(
            PROCESSOR_CA, self.root, 7 * _YEAR, 8 * _YEAR, ca=True, path_length=0
        )
        self.platform_ca = self._issue_authority(
            PLATFORM_CA, self.root, 7 * _YEAR, 8 * _YEAR, ca=True, path_length=0
        )
        self.tcb_signing = self._issue_authority(TCB_SIGNING, self.root, _YEAR, 6 * _YEAR)

    def _issue_authority(
        self,
        common_name: str,
        issuer: Issued | None,
        age: timedelta,
        rest: timedelta,
        **profile: Any,
    ) -> Issued:
        return certificates.issue(
            self.key(common_name),
            self.name(common_name),
            issuer=issuer,
            not_before=self.at - age,
            not_after=self.at + rest,
            **profile,
        )

    # Keys, names, chains

    def key(
        self, label: str, curve: Literal["P-256", "P-384"] = "P-256"
    ) -> ec.EllipticCurvePrivateKey:
        """The private key called `label` in this world."""
        return keys.derive(self.seed, label, curve)

    def name(self, common_name: str) -> x509.Name:
        """A distinguished name of this world's organization."""
        return certificates.distinguished_name(common_name, self.organization)

    def pck_ca(self, ca: str) -> Issued:
        """The intermediate called "processor" or "platform"."""
        return {"processor": self.processor_ca, "platform": self.platform_ca}[ca]

    @staticmethod
    def chain(*members: Issued) -> bytes:
        """PEM of `members` in the order given."""
        return b"".join(member.pem for member in members)

    # Certificates and CRLs

    def certificate(
        self,
        common_name: str,
        *,
        issuer: Issued | None = None,
        self_signed: bool = False,
        key: ec.EllipticCurvePrivateKey | None = None,
        not_before: datetime | None = None,
        not_after: datetime | None = None,
        name: x509.Name | None = None,
        explicit_curve: bool = False,
        omit: Iterable[str] = (),
        extra: Sequence[Extension] = (),
        **profile: Any,
    ) -> Issued:
        """Any odd certificate; by default a leaf under the root, valid now.

        `profile` is what `certificates.issue` takes besides: ca, path_length, key_cert_sign,
        crl_url, serial, issuer_name, authority_key_identifier, signing_key, digest, signature,
        spki, version. The key is named after `common_name` unless given.
        """
        key = key or self.key(f"certificate {common_name}")
        if explicit_curve:
            profile["spki"] = keys.explicit_spki(key)
        return certificates.issue(
            key,
            name or self.name(common_name),
            issuer=None if self_signed else issuer or self.root,
            not_before=not_before or self.at - _YEAR,
            not_after=not_after or self.at + 6 * _YEAR,
            omit=frozenset(omit),
            extra=extra,
            **profile,
        )

    def pck(
        self,
        ca: str = "processor",
        *,
        fmspc: bytes = pcks.FMSPC,
        pceid: bytes = pcks.PCEID,
        components: Sequence[int] = pcks.COMPONENTS,
        pcesvn: int = pcks.PCESVN,
        cpusvn: bytes | None = None,
        ppid: bytes = pcks.PPID,
        sgx_type: int | None = None,
        piid: bytes | None = None,
        dynamic: bool | None = None,
        cached_keys: bool | None = None,
        smt: bool | None = None,
        common_name: str = PCK,
        chain: Sequence[Issued] | None = None,
        sgx_extension_der: bytes | None = None,
        omit: Iterable[str] = (),
        extra: Sequence[Extension] = (),
        **profile: Any,
    ) -> Pck:
        """A PCK certificate under `ca` ("processor" or "platform") for the platform described.

        Under the Platform CA sgx_type is 1 (scalable), all flags are true and there is a platform
        instance id; under the Processor CA these are absent unless given. `cpusvn` follows the
        components. `sgx_extension_der` replaces the value of the SGX extension (leave it out
        altogether with omit=[pck.SGX_EXTENSIONS]); `chain` replaces intermediate and root in
        chain_pem, and its first member is the issuer. `profile` as in `certificate`.
        """
        scalable = ca == "platform"
        platform = Platform(
            fmspc=fmspc,
            pceid=pceid,
            components=components,
            pcesvn=pcesvn,
            cpusvn=bytes(svn & 0xFF for svn in components) if cpusvn is None else cpusvn,
            ppid=ppid,
            sgx_type=int(scalable) if sgx_type is None else sgx_type,
            platform_instance_id=pcks.PLATFORM_INSTANCE_ID if scalable and piid is None else piid,
            dynamic_platform=True if scalable and dynamic is None else dynamic,
            cached_keys=True if scalable and cached_keys is None else cached_keys,
            smt_enabled=True if scalable and smt is None else smt,
        )
        above = (self.pck_ca(ca), self.root) if chain is None else tuple(chain)
        extension = platform.extension()
        if sgx_extension_der is not None:
            extension = dataclasses.replace(extension, value=sgx_extension_der)
        omitted = frozenset(omit)
        profile.setdefault("issuer", above[0])
        profile.setdefault("key", self.key(f"{common_name} {ca} {ppid.hex()}"))
        profile.setdefault("crl_url", certificates.PCK_CRL_URL.format(ca=ca))
        issued = self.certificate(
            common_name,
            omit=omitted,
            extra=([] if extension.oid in omitted else [extension]) + list(extra),
            **profile,
        )
        return Pck(
            key=issued.key,
            name=issued.name,
            serial=issued.serial,
            der=issued.der,
            platform=platform,
            ca=ca,
            chain=above,
        )

    def crl(
        self,
        issuer: Issued | None = None,
        *,
        revoked: Iterable[int | Issued] = (),
        number: int | None = 1,
        this_update: datetime | None = None,
        next_update: datetime | Literal["default"] | None = "default",
        with_authority_key_id: bool = True,
        signer: ec.EllipticCurvePrivateKey | Issued | None = None,
        encoding: Literal["der", "pem", "hex"] = "der",
        **profile: Any,
    ) -> bytes:
        """A CRL of `issuer` (default: the Processor CA), one day old, valid for 29 days more.

        `revoked` takes serial numbers or certificates; next_update=None leaves the field out.
        `profile` is what `certificates.revoke` takes besides: revocation_date, issuer_name,
        authority_key_identifier, digest, signature, extra.
        """
        crl = certificates.revoke(
            issuer or self.processor_ca,
            [entry.serial if isinstance(entry, Issued) else entry for entry in revoked],
            number=number,
            this_update=this_update or self.at - _DAY,
            next_update=self.at + 29 * _DAY if next_update == "default" else next_update,
            with_authority_key_identifier=with_authority_key_id,
            signing_key=signer.key if isinstance(signer, Issued) else signer,
            **profile,
        )
        if encoding == "pem":
            return certificates.pem("X509 CRL", crl)
        return crl.hex().encode() if encoding == "hex" else crl

    # Signed JSON

    tcb_level = staticmethod(documents.tcb_level)
    isvsvn_level = staticmethod(documents.isvsvn_level)
    module = staticmethod(documents.module)
    module_identity = staticmethod(documents.module_identity)

    def tcb_info(
        self,
        tee: str = "SGX",
        *,
        issue_date: datetime | str | None = None,
        next_update: datetime | str | None = None,
        **content: Any,
    ) -> bytes:
        """TCB Info, the exact text to sign; `content` as in `documents.tcb_info`."""
        return documents.tcb_info(
            tee.upper(),
            issue_date=issue_date or self.at - _DAY,
            next_update=next_update or self.at + 29 * _DAY,
            **content,
        )

    def qe_identity(
        self,
        id: str = "QE",
        *,
        issue_date: datetime | str | None = None,
        next_update: datetime | str | None = None,
        **content: Any,
    ) -> bytes:
        """Enclave identity, the exact text to sign; `content` as in `documents.qe_identity`."""
        return documents.qe_identity(
            id,
            issue_date=issue_date or self.at - _DAY,
            next_update=next_update or self.at + 29 * _DAY,
            **content,
        )

    def sign_json(self, body: bytes, key: ec.EllipticCurvePrivateKey | None = None) -> bytes:
        """r || s over `body` by `key`, or by the TCB signing key."""
        return keys.sign_raw(key or self.tcb_signing.key, body)

    # Reports and quotes

    sgx_report = staticmethod(reports.sgx_report)
    td_report = staticmethod(reports.td_report)

    def quote(
        self,
        version: int | None = None,
        tee: str = "sgx",
        *,
        pck: Pck | None = None,
        ca: str | None = None,
        **draft: Any,
    ) -> bytes:
        """A quote of `tee` ("sgx": version 3, "tdx": version 4 unless told) on platform `pck`.

        `draft` is any other field of `quotes.Draft`. The default platform is the default PCK of
        `ca`, which is "processor" for SGX and "platform" for TDX, as in `collateral`.
        """
        draft.setdefault("attestation_key", self.key("attestation"))
        return assemble(
            Draft(
                version=version or (3 if tee == "sgx" else 4),
                tee=tee,
                pck=pck or self.pck(ca or _usual_ca(tee)),
                **draft,
            )
        )

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
        options: dict[str, dict[str, Any]] = {
            name: _taken(changes, name + "_")
            for name in ("tcb_info", "qe_identity", "pck_crl", "root_ca_crl")
        }
        if changes:
            raise TypeError(f"collateral has no {', '.join(sorted(changes))}")
        for name in given:
            if unused := options.get(name):
                raise TypeError(f"{name} is given whole, so {name}_{min(unused)} does nothing")
        issuer = pck.chain[0] if pck else self.pck_ca(ca or _usual_ca(tee))
        if pck:
            options["tcb_info"] = {"fmspc": pck.fmspc, "pceid": pck.pceid, **options["tcb_info"]}
        tcb_key = options["tcb_info"].pop("key", None)
        qe_key = options["qe_identity"].pop("key", None)
        options["tcb_info"].setdefault("tee", tee)
        options["qe_identity"].setdefault("id", "QE" if tee == "sgx" else "TD_QE")
        options["pck_crl"].setdefault("issuer", issuer)
        options["root_ca_crl"].setdefault("issuer", self.root)
        signing_chain = self.chain(self.tcb_signing, self.root)
        tcb_info = given.pop("tcb_info", None)
        if tcb_info is None:
            tcb_info = self.tcb_info(**options["tcb_info"])
        qe_identity = given.pop("qe_identity", None)
        if qe_identity is None:
            qe_identity = self.qe_identity(**options["qe_identity"])
        made = {
            "pck_crl_issuer_chain": self.chain(issuer, self.root),
            "root_ca_crl": self.crl(**options["root_ca_crl"]),
            "pck_crl": self.crl(**options["pck_crl"]),
            "tcb_info_issuer_chain": signing_chain,
            "tcb_info": tcb_info,
            "tcb_info_signature": self.sign_json(tcb_info, tcb_key),
            "qe_identity_issuer_chain": signing_chain,
            "qe_identity": qe_identity,
            "qe_identity_signature": self.sign_json(qe_identity, qe_key),
        }
        return {**made, **given}


def _usual_ca(tee: str) -> str:
    return "processor" if tee == "sgx" else "platform"


def _taken(changes: dict[str, Any], prefix: str) -> dict[str, Any]:
    """Take out of `changes` the names that start with `prefix`, without it."""
    names = [name for name in changes if name.startswith(prefix)]
    return {name.removeprefix(prefix): changes.pop(name) for name in names}
