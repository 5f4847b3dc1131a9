"""What a verdict on a quote needs: the question that sources answer and caches are keyed by.

    need = need_of(quote)              # which FMSPC, which CA, which TEE
    machine = machine_of(quote)        # certification data of types 1 to 3: which machine

Read from the quote as it stands, unverified: a forged one leads to collateral that does not fit, and
the verifier says so. Not here: who answers (`source`).

Source: Intel PCS API v4; `verification.md` §1.3; `quote-provider.md` §2.1.
"""

from typing import Literal, TypeAlias

import msgspec

from dcap.errors import CollateralError, FormatError
from dcap.formats.certificate import Certificate
from dcap.formats.certification import CertificationType, PpidRsa3072
from dcap.formats.pck_extensions import PckExtensions
from dcap.formats.quote import Quote

Tee: TypeAlias = Literal["SGX", "TDX"]
Ca: TypeAlias = Literal["processor", "platform"]
Update: TypeAlias = Literal["standard", "early"]

QE_ID_SIZE = 16
_CARRIED = (CertificationType.PCK_CERTIFICATE, CertificationType.PCK_CERTIFICATE_CHAIN)


class CollateralNeed(msgspec.Struct, frozen=True, kw_only=True):
    """One set of collateral. `update` or `evaluation_number` says of which generation, not both."""

    tee: Tee
    fmspc: bytes
    ca: Ca
    update: Update = "standard"
    evaluation_number: int | None = None


class MachineNeed(msgspec.Struct, frozen=True, kw_only=True):
    """The PCK certificate of one machine for its raw TCB.

    `qe_id` are 16 bytes, `cpu_svn` 16, `pce_id` 2 in the order of the wire; `encrypted_ppid` 384
    (RSA-3072-OAEP) where it is known. Its text never shows them: they identify the machine.
    """

    qe_id: bytes
    cpu_svn: bytes
    pce_svn: int
    pce_id: bytes
    encrypted_ppid: bytes | None = None

    def __repr__(self) -> str:
        return "<MachineNeed>"


def need_of(
    quote: Quote,
    *,
    pck_chain: bytes | None = None,
    update: Update = "standard",
    evaluation_number: int | None = None,
) -> CollateralNeed:
    """The collateral that a verdict on a quote needs.

    FMSPC and CA stand in the PCK certificate: the first of `pck_chain` (PEM) where it is given, else
    the quote's own. Raises `CollateralError` (`need-no-pck`) where there is neither, and `FormatError`
    where the certificate cannot be read.
    """
    chain = pck_chain
    if chain is None and quote.certification.type in _CARRIED:
        chain = quote.certification.data
    if chain is None:
        raise CollateralError(
            "need-no-pck",
            f"the quote carries certification data of type {quote.certification.type}, no PCK "
            "certificate: which collateral it needs stands only there",
            where="quote, certification data",
            mend="name a source that has PCK certificates (a PCCS, Azure's cache, Intel's PCS), "
            "or give the machine's PCK chain beside the quote",
        )
    leaf = Certificate.parse_chain(chain)[0]
    if leaf.sgx_extension is None:
        raise FormatError(
            "pck-extensions",
            "the first certificate of the chain has no SGX extension: it is no PCK certificate",
            where="PCK certificate",
            mend="give the chain leaf first, as Intel does",
        )
    extensions = PckExtensions.parse(leaf.sgx_extension)
    return CollateralNeed(
        tee="SGX" if quote.tee == "SGX" else "TDX",
        fmspc=extensions.fmspc,
        ca=_ca_of(leaf, extensions),
        update=update,
        evaluation_number=evaluation_number,
    )


def machine_of(quote: Quote) -> MachineNeed:
    """The machine of a quote that names it but carries no certificate (types 1 to 3).

    The encrypted PPID is there in type 3 alone: those of types 1 and 2 are of no use to a source. An
    all-zero one (a host that could not read its own) counts as none. Raises `FormatError`
    (`quote-certification-data`) for a quote of another type.
    """
    platform = quote.certification.platform()
    ppid = platform.encrypted_ppid if isinstance(platform, PpidRsa3072) else b""
    return MachineNeed(
        qe_id=quote.header.user_data[:QE_ID_SIZE],
        cpu_svn=platform.cpu_svn,
        pce_svn=platform.pce_svn,
        pce_id=platform.pce_id,
        encrypted_ppid=ppid if any(ppid) else None,
    )


def _ca_of(leaf: Certificate, extensions: PckExtensions) -> Ca:
    """Which CA issued it: its name says so, else the members that only one of the two certifies."""
    issuer = leaf.issuer_common_name
    if "Processor" in issuer:
        return "processor"
    if "Platform" in issuer:
        return "platform"
    return "processor" if extensions.platform_instance_id is None else "platform"
