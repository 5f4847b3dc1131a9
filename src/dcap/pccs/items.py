"""What a PCCS keeps: the values, and the keys they are kept under. Claims that were proven before.

    Item          collateral that many machines share: CRLs, TCB infos, identities, lists
    Holding       what is kept of one machine: its PCK certificates, and which of them its raw TCBs reach
    Registration  a machine that waits for certificates
    AppraisalPolicy

Whoever makes an `Item` or a `Holding` has had it proven (`trust`, `pck_proof`). Identifiers of machines
(QE id, PPID, manifest, raw TCB) never stand in the text of these values. Not here: where they are kept
(`pccs.store`).

Source: Intel PCCS design guide; `pccs-and-pcs-api.md` §1, 2, 3.2.
"""

from datetime import datetime
from typing import Final, Literal, NamedTuple, TypeAlias

import msgspec

from dcap.errors import FormatError
from dcap.formats.certificate import Certificate
from dcap.formats.pck_extensions import PckExtensions
from dcap.formats.pck_selection import Tcb
from dcap.formats.signed_json import prepare

Tee: TypeAlias = Literal["SGX", "TDX"]
Ca: TypeAlias = Literal["PROCESSOR", "PLATFORM"]
Update: TypeAlias = Literal["STANDARD", "EARLY"]
#: The API's version: 3 gives TCB infos of version 2 (SGX alone), 4 of version 3.
Version: TypeAlias = Literal[3, 4]
IdentityName: TypeAlias = Literal["QE", "TD_QE", "QVE", "QAE"]
State: TypeAlias = Literal["NEW", "NOT_AVAILABLE", "DELETED"]

#: Of a CRL's URI, in characters.
MAX_URI: Final = 2048
#: Of a QE id (or a platform id in its place), in characters.
MAX_QE_ID: Final = 260


def _generation(update: Update | None, number: int | None) -> str:
    """The last part of a key's text: one of the two, never both."""
    if (update is None) == (number is None) or (number is not None and number < 0):
        raise FormatError(
            "item-key",
            "a generation is named by `update` or by its evaluation data number",
            mend="give one of the two",
        )
    return update if update is not None else str(number)


class _Key(msgspec.Struct, frozen=True):
    """Of a key: its text, by which it is stored. `read_key` reads it back."""

    @property
    def text(self) -> str:
        """The key as text: stable across versions, one key one text."""
        raise NotImplementedError


class PckCrlKey(_Key, frozen=True, tag="pck-crl"):
    """The CRL of a PCK CA."""

    ca: Ca

    @property
    def text(self) -> str:
        """The key as text."""
        return f"pck-crl/{self.ca}"


class RootCrlKey(_Key, frozen=True, tag="root-crl"):
    """The CRL of the root CA."""

    @property
    def text(self) -> str:
        """The key as text."""
        return "root-crl"


class CrlKey(_Key, frozen=True, tag="crl"):
    """A CRL by its distribution point, the literal URI that was asked for."""

    uri: str

    def __post_init__(self) -> None:
        if not 0 < len(self.uri) <= MAX_URI:
            raise FormatError("item-key", f"the URI of a CRL has 1 to {MAX_URI} characters")

    @property
    def text(self) -> str:
        """The key as text."""
        return f"crl/{self.uri}"


class TcbInfoKey(_Key, frozen=True, tag="tcb"):
    """The TCB info of an FMSPC (6 bytes), of a generation by `update` or by `number`."""

    tee: Tee
    fmspc: bytes
    version: Version = 4
    update: Update | None = "STANDARD"
    number: int | None = None

    def __post_init__(self) -> None:
        if len(self.fmspc) != 6:
            raise FormatError("item-key", f"an FMSPC has 6 bytes, not {len(self.fmspc)}")
        _generation(self.update, self.number)

    @property
    def text(self) -> str:
        """The key as text."""
        generation = _generation(self.update, self.number)
        return f"tcb/{self.tee}/{self.version}/{self.fmspc.hex().upper()}/{generation}"


class IdentityKey(_Key, frozen=True, tag="identity"):
    """The identity of one of Intel's enclaves, of a generation by `update` or by `number`."""

    name: IdentityName
    version: Version = 4
    update: Update | None = "STANDARD"
    number: int | None = None

    def __post_init__(self) -> None:
        _generation(self.update, self.number)

    @property
    def text(self) -> str:
        """The key as text."""
        return f"identity/{self.name}/{self.version}/{_generation(self.update, self.number)}"


class EvaluationNumbersKey(_Key, frozen=True, tag="evaluation-numbers"):
    """The list of TCB evaluation data numbers of a TEE."""

    tee: Tee

    @property
    def text(self) -> str:
        """The key as text."""
        return f"evaluation-numbers/{self.tee}"


class FmspcsKey(_Key, frozen=True, tag="fmspcs"):
    """The list of all FMSPCs. Intel does not sign it."""

    @property
    def text(self) -> str:
        """The key as text."""
        return "fmspcs"


Key: TypeAlias = (
    PckCrlKey | RootCrlKey | CrlKey | TcbInfoKey | IdentityKey | EvaluationNumbersKey | FmspcsKey
)
prepare(Key)


def read_key(text: str) -> Key:
    """The key of a text. Raises `FormatError` (`item-key`) where no key has that text."""
    kind, _, rest = text.partition("/")
    parts = [kind, rest] if kind == "crl" else text.split("/")
    try:
        key = _read(kind, parts[1:])
        if key.text == text:
            return key
    except (msgspec.ValidationError, ValueError, IndexError):
        pass
    raise FormatError(
        "item-key",
        "no item is kept under a key of this form",
        where=text[:80],
        mend="write it as `dcap pccs status` does",
    )


def _read(kind: str, parts: list[str]) -> Key:
    """A key of its parts, its types checked."""
    fields: dict[str, object] = {"type": kind}
    if kind in {"tcb", "identity"}:
        generation = parts.pop()
        numbered = generation.isdigit()
        fields["update"] = None if numbered else generation
        fields["number"] = int(generation) if numbered else None
        fields["tee" if kind == "tcb" else "name"] = parts[0]
        fields["version"] = int(parts[1])
        if kind == "tcb":
            fields["fmspc"] = bytes.fromhex(parts[2])
    elif parts:
        fields[{"pck-crl": "ca", "crl": "uri"}.get(kind, "tee")] = parts[0]
    key: Key = msgspec.convert(fields, Key, builtin_types=(bytes,))
    return key


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """One piece of collateral as its issuer gave it, with the chain that it was given with.

    `body` are the exact bytes, `issuer_chain` is PEM, leaf first, empty for what has none. `issued` and
    `expires` are thisUpdate and nextUpdate (or issueDate); `number` is the evaluation data number, or
    a CRL's number; `origin` the name of the upstream, or "import".
    """

    key: Key
    body: bytes
    issuer_chain: bytes = b""
    issued: datetime | None = None
    expires: datetime | None = None
    number: int | None = None
    fetched_at: datetime
    origin: str

    def __repr__(self) -> str:
        return f"<Item {self.key.text}>"


class ItemSummary(msgspec.Struct, frozen=True, kw_only=True):
    """An item without its bytes: for plans of renewal, and for people. `size` is the body's."""

    key: Key
    size: int
    chain_size: int = 0
    issued: datetime | None
    expires: datetime | None
    number: int | None
    fetched_at: datetime
    origin: str


class Platform(msgspec.Struct, frozen=True, kw_only=True):
    """A machine for which certificates are kept.

    `qe_id` stands as it was given, in upper case; `pce_id` is hex, little-endian, upper case;
    `last_seen` is the hour in which it last asked for its certificate, where that is known.
    `is_registered`: who may register machines, or import, said that this machine has these ids; of
    others whoever asked first said so; `None` where a version kept it that did not note it. `expires`
    is when the first of its certificates does.
    """

    qe_id: str
    pce_id: str
    fmspc: bytes
    ca: Ca
    encrypted_ppid: bytes | None = None
    manifest: bytes | None = None
    last_seen: datetime | None = None
    is_registered: bool | None = False
    expires: datetime | None = None

    def __repr__(self) -> str:
        return f"<Platform of FMSPC {self.fmspc.hex().upper()}>"


class PckCertificate(msgspec.Struct, frozen=True, kw_only=True):
    """A PCK certificate, and the TCB that it was issued for.

    `tcbm` is CPUSVN ‖ PCESVN (little-endian), 36 hex digits, upper case, as Intel names it;
    `components` and `pce_svn` stand in the certificate, and selection goes by them alone.
    """

    tcbm: str
    pem: bytes
    components: bytes
    pce_svn: int

    def __repr__(self) -> str:
        return "<PckCertificate>"

    @classmethod
    def read(cls, tcbm: str, pem: bytes) -> "PckCertificate":
        """A certificate by its PEM. Raises `FormatError` where it is no PCK certificate."""
        certificates = Certificate.parse_chain(pem)
        extension = certificates[0].sgx_extension
        if len(certificates) != 1 or extension is None:
            raise FormatError("pck-certificate", "not one certificate with Intel's SGX extension")
        said = PckExtensions.parse(extension)
        return cls(tcbm=tcbm, pem=pem, components=said.cpu_svn, pce_svn=said.pce_svn)

    @property
    def ppid(self) -> bytes:
        """Of which machine it is: the one thing that tells, and never told."""
        extension = Certificate.parse_chain(self.pem)[0].sgx_extension
        return PckExtensions.parse(extension or b"").ppid

    @property
    def tcb(self) -> Tcb:
        """What `formats.pck_selection` compares."""
        return Tcb(self.components, self.pce_svn)


class RawReport(NamedTuple):
    """The TCB that a machine reports. Hex, upper case: CPUSVN 32 digits, PCESVN 4, little-endian."""

    cpu_svn: str
    pce_svn: str

    def __repr__(self) -> str:
        return "<RawReport>"

    @classmethod
    def of(cls, tcb: Tcb) -> "RawReport":
        """A TCB in hex."""
        pce_svn = tcb.pce_svn.to_bytes(2, "little")
        return cls(tcb.components.hex().upper(), pce_svn.hex().upper())

    @property
    def tcb(self) -> Tcb:
        """What certificates are compared with. Raises `ValueError` where it is not hex."""
        pce_svn = int.from_bytes(bytes.fromhex(self.pce_svn), "little")
        return Tcb(bytes.fromhex(self.cpu_svn), pce_svn)


class RawTcb(msgspec.Struct, frozen=True, kw_only=True):
    """A `RawReport`, and the `tcbm` of the certificate that it reaches."""

    cpu_svn: str
    pce_svn: str
    tcbm: str

    def __repr__(self) -> str:
        return "<RawTcb>"

    @property
    def raw(self) -> RawReport:
        """What the machine reports."""
        return RawReport(self.cpu_svn, self.pce_svn)


class Holding(msgspec.Struct, frozen=True, kw_only=True):
    """All that is kept of one machine.

    `revision` changes whenever the certificates are replaced: what was selected among those of one
    revision is not remembered for another. The store gives it; it is not compared when put.
    """

    platform: Platform
    certificates: tuple[PckCertificate, ...]
    issuer_chain: bytes
    raw_tcbs: tuple[RawTcb, ...] = ()
    revision: int = 0

    def __repr__(self) -> str:
        return f"<Holding of FMSPC {self.platform.fmspc.hex().upper()}>"


class PckAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What is known for a machine and its raw TCB.

    `certificate` (PEM) and `tcbm` are `None` where the machine is known and this raw TCB is not: then
    one is selected among its certificates. `last_seen` is the hour in which it last asked, as kept;
    `expires` when the first of its certificates does, or this one; `stale` says that it has.
    """

    certificate: bytes | None
    tcbm: str | None
    fmspc: bytes
    ca: Ca
    issuer_chain: bytes
    last_seen: datetime | None = None
    expires: datetime | None = None
    stale: bool = False

    def __repr__(self) -> str:
        return f"<PckAnswer of FMSPC {self.fmspc.hex().upper()}>"


class Registration(msgspec.Struct, frozen=True, kw_only=True):
    """A machine in the queue. With a manifest, `cpu_svn` and `pce_svn` are empty.

    `NEW` waits for whoever fetches; of `NOT_AVAILABLE` Intel has the machine and no certificate for a
    TCB; `DELETED` is done with. `handed_out` is when it was read off the queue: one that is
    `NOT_AVAILABLE` stays so.
    """

    qe_id: str
    pce_id: str
    cpu_svn: str = ""
    pce_svn: str = ""
    encrypted_ppid: bytes | None = None
    manifest: bytes | None = None
    state: State = "NEW"
    created: datetime
    handed_out: datetime | None = None

    def __repr__(self) -> str:
        return f"<Registration {self.state}>"


class AppraisalPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """A policy of Intel's quote appraisal library: a JWT, kept as it was given.

    `id` is the SHA-384 of the policy in hex; `type` is 0 for SGX, 1 for TDX 1.0, 2 for TDX 1.5.
    """

    id: str
    type: int
    policy: str
    is_default: bool
    fmspc: bytes
