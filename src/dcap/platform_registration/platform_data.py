"""Platform data: what identifies one machine to a PCCS or to Intel, and what it is enough for.

    given.lacks("manifest")     # names of what is missing; empty where it can be registered so
    given.record()              # as a PCCS takes it
    given.need()                # the question for its PCK certificate

Nothing of it stands in the text of these values. Not here: where it is read (`platform_sources`), who is
told (`registrar`).

Source: `pccs-and-pcs-api.md` §1.4, §2.3.
"""

from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

import msgspec

from dcap.api.parameters import HEX
from dcap.api.pccs_admin import PlatformRecord
from dcap.errors import ConfigError
from dcap.formats.certification import CertificationType
from dcap.formats.quote import Quote
from dcap.sources.need import QE_ID_SIZE, MachineNeed, machine_of

#: "ppid": a machine that Intel knows by its PPID: one package, or registered with Intel before.
#: "manifest": several packages, told to a PCCS ("indirect"). "direct": told to Intel, which keeps keys.
Kind: TypeAlias = Literal["ppid", "manifest", "direct"]

#: Registration -> what it is for, in words.
KINDS: Final[Mapping[Kind, str]] = {
    "ppid": "one package, or known to Intel already: at a PCCS, by encrypted PPID",
    "manifest": "several packages, indirect: at a PCCS, by platform manifest",
    "direct": "several packages, direct: at Intel, by platform manifest",
}
_NEEDED: Final[Mapping[Kind, tuple[str, ...]]] = {
    "ppid": ("qe_id", "pce_id", "cpu_svn", "pce_svn", "enc_ppid"),
    "manifest": ("qe_id", "pce_id", "platform_manifest"),
    "direct": ("platform_manifest",),
}
#: Member -> its name for people.
NAMES: Final[Mapping[str, str]] = {
    "qe_id": "QE id",
    "pce_id": "PCE id",
    "cpu_svn": "CPUSVN",
    "pce_svn": "PCESVN",
    "enc_ppid": "encrypted PPID",
    "platform_manifest": "platform manifest",
}
_CARRIED: Final = (CertificationType.PCK_CERTIFICATE, CertificationType.PCK_CERTIFICATE_CHAIN)


class PlatformData(msgspec.Struct, frozen=True, kw_only=True):
    """Hex in upper case, numbers little-endian, as lists have them; empty is unknown.

    `certificate` is the PCK chain (PEM) that the machine's quotes carry, where they do: such a machine
    needs no registration. `has_zero_ppid`: it gave an encrypted PPID of zeros, which is none.
    """

    qe_id: str = ""
    pce_id: str = ""
    cpu_svn: str = ""
    pce_svn: str = ""
    enc_ppid: str = ""
    platform_manifest: str = ""
    certificate: bytes = b""
    has_zero_ppid: bool = False

    def __repr__(self) -> str:
        return f"<PlatformData {', '.join(self.members)}>"

    @property
    def members(self) -> tuple[str, ...]:
        """What is known, by name."""
        return tuple(name for name in NAMES if getattr(self, name))

    def lacks(self, kind: Kind) -> tuple[str, ...]:
        """What is missing for a registration, by name."""
        return tuple(name for name in _NEEDED[kind] if not getattr(self, name))

    def is_of(self, other: "PlatformData") -> bool:
        """Whether both can be of one machine: its QE id does not change, its TCB does."""
        return not self.qe_id or not other.qe_id or self.qe_id == other.qe_id

    def completed(self, other: "PlatformData") -> "PlatformData":
        """This, with what only the other knows; its TCB as a whole, for half of one is another."""
        given = {name: getattr(self, name) or getattr(other, name) for name in NAMES}
        if self.cpu_svn:
            given["pce_svn"] = self.pce_svn
        return PlatformData(
            **given,
            certificate=self.certificate or other.certificate,
            has_zero_ppid=self.has_zero_ppid or other.has_zero_ppid,
        )

    def record(self) -> PlatformRecord:
        """As a PCCS takes it. Raises `ConfigError` (`registration-incomplete`)."""
        if not self.lacks("manifest"):
            return PlatformRecord(
                qe_id=self.qe_id, pce_id=self.pce_id, platform_manifest=self.platform_manifest
            )
        if not self.lacks("ppid"):
            return self.whole_record()
        raise self._incomplete(*self.lacks("manifest" if self.platform_manifest else "ppid"))

    def whole_record(self) -> PlatformRecord:
        """All that is known, as lists have it. Raises `ConfigError` (`registration-incomplete`)."""
        if not (self.qe_id and self.pce_id):
            raise self._incomplete(
                *(name for name in ("qe_id", "pce_id") if not getattr(self, name))
            )
        given = {name: getattr(self, name) for name in NAMES}
        return PlatformRecord(**{**given, "platform_manifest": self.platform_manifest or None})

    def manifest(self) -> bytes:
        """The manifest's bytes. Raises `ConfigError` (`registration-incomplete`)."""
        if not self.platform_manifest:
            raise self._incomplete("platform_manifest")
        return bytes.fromhex(self.platform_manifest)

    def need(self) -> MachineNeed | None:
        """The question for its certificate; `None` where QE id or raw TCB are not known."""
        if not (self.pce_id and self.cpu_svn and self.pce_svn):
            return None
        if len(self.qe_id) != 2 * QE_ID_SIZE or not HEX.fullmatch(self.qe_id):
            return None  # a name that somebody gave the machine in place of a QE id
        return MachineNeed(
            qe_id=bytes.fromhex(self.qe_id),
            cpu_svn=bytes.fromhex(self.cpu_svn),
            pce_svn=int.from_bytes(bytes.fromhex(self.pce_svn), "little"),
            pce_id=bytes.fromhex(self.pce_id),
            encrypted_ppid=bytes.fromhex(self.enc_ppid) if self.enc_ppid else None,
        )

    def _incomplete(self, *names: str) -> ConfigError:
        told = ", ".join(NAMES[name] for name in names)
        mend = (
            "run `sudo PCKIDRetrievalTool -f pckid_retrieval.csv` here, and give that file: --csv"
        )
        if names == ("platform_manifest",):
            mend = (
                "read it as root on the host itself, not in a guest; where the BIOS no longer shows it, "
                "its setting 'SGX Factory Reset' makes a new one at the next boot"
            )
        if self.has_zero_ppid and "enc_ppid" in names:
            mend = (
                "its encrypted PPID is all zeros: give the PCE access to /dev/sgx_provision "
                "(`sudo usermod -aG sgx_prv USER`), and read it again"
            )
        return ConfigError("registration-incomplete", f"{told}: not known", mend=mend)


def of_record(record: PlatformRecord) -> PlatformData:
    """That of a list's entry."""
    is_zero = bool(record.enc_ppid) and not record.enc_ppid.strip("0")
    return PlatformData(
        qe_id=record.qe_id.upper(),
        pce_id=record.pce_id,
        cpu_svn=record.cpu_svn,
        pce_svn=record.pce_svn,
        enc_ppid="" if is_zero else record.enc_ppid,
        platform_manifest=(record.platform_manifest or "").upper(),
        has_zero_ppid=is_zero,
    )


def of_quote(quote: Quote) -> PlatformData:
    """That which a quote tells of its machine. Raises `FormatError`.

    With certification data of types 1 to 3 its raw TCB, and in type 3 its encrypted PPID; with a
    certificate (types 4 and 5) that.
    """
    qe_id = quote.header.user_data[:QE_ID_SIZE].hex().upper()
    if quote.certification.type in _CARRIED:
        return PlatformData(qe_id=qe_id, certificate=quote.certification.data)
    need = machine_of(quote)
    return PlatformData(
        qe_id=qe_id,
        pce_id=need.pce_id.hex().upper(),
        cpu_svn=need.cpu_svn.hex().upper(),
        pce_svn=need.pce_svn.to_bytes(2, "little").hex().upper(),
        enc_ppid=(need.encrypted_ppid or b"").hex().upper(),
        has_zero_ppid=(
            quote.certification.type == CertificationType.PPID_RSA3072_ENCRYPTED
            and need.encrypted_ppid is None
        ),
    )
