"""Where a fault plays: a machine, its quote, its collateral, and the one thing that departs.

A `Setting` says which truth a fault departs from; a `Scene` is that truth in a world of the same
seed and clock in which nothing has happened yet: the same keys and root, no events. So no fault
changes the world it is made in, and no event changes a fault. What is not changed stays genuine.
Not here: the faults themselves, and what they trip in a verifier (only its code, as a word).
"""

import hashlib
from collections.abc import Mapping
from datetime import datetime

import msgspec

from dcap.formats import enclave_identity, tcb_info
from dcap.formats.certification import CertificationData, CertificationType
from dcap.formats.collateral import ENCLAVE_IDENTITY, TCB_INFO, Collateral
from dcap.formats.containers import conclave, open_enclave
from dcap.formats.enclave_identity import WireEnclaveIdentity
from dcap.formats.signed_json import SignedJson
from dcap.formats.tcb_info import WireTcbInfoV3
from dcap.simulator.intel import Intel
from dcap.simulator.keys import SigningKey, signing_key
from dcap.simulator.platform import Platform
from dcap.simulator.quoting_enclave import Draft
from dcap.simulator.world import FMSPCS, World

#: What the relying party asked for: 64 bytes of report data.
CHALLENGE = hashlib.sha512(b"simulated challenge").digest()
MACHINE = "machine of the faults"
OPEN_ENCLAVE = "open-enclave"
CONCLAVE = "conclave"
#: What comes beside the quote, and is bound by it, in the two containers that bind something.
CLAIMS = open_enclave.write_custom_claims([open_enclave.CustomClaim("key", b"of the enclave")])
ENCLAVE_KEYS = {
    "data_signing_key": bytes.fromhex("302a300506032b6570032100")  # Ed25519, as X.509 writes it
    + hashlib.sha256(b"simulated signing key").digest(),
    "encryption_key": hashlib.sha256(b"simulated encryption key").digest(),
}
#: Document -> the member of its response.
MEMBERS = {"tcb_info": TCB_INFO, "qe_identity": ENCLAVE_IDENTITY}


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """What a verifier is given: evidence, collateral, and its own time."""

    quote: bytes
    collateral: Collateral
    at: datetime
    tee: str


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """The truth that a fault departs from. `machine` are attributes of the platform."""

    tee: str = "SGX"
    ca: str = "platform"
    version: int | None = None
    body_type: int | None = None
    container: str = ""
    machine: Mapping[str, object] = {}


class Scene:
    """One setting in a world without events. Everything it gives is genuine unless told otherwise."""

    def __init__(self, world: World, setting: Setting) -> None:
        self.world = World(world.seed, at=world.at)
        self.setting = setting
        self.tee = setting.tee
        self.machine = self.platform(setting.ca)
        for name, value in setting.machine.items():
            setattr(self.machine, name, value)

    @property
    def intel(self) -> Intel:
        """The scene's own Intel: what happens to it stays in the scene."""
        return self.world.intel

    @property
    def at(self) -> datetime:
        """The verifier's time, where a fault does not change it."""
        return self.world.at

    def platform(self, ca: str, name: str = MACHINE) -> Platform:
        """A machine of the scene alone."""
        return Platform(self.world, name, ca=ca, fmspc=FMSPCS[ca])

    def key(self, owner: str) -> SigningKey:
        """The key of somebody who is not Intel."""
        return signing_key(self.world.seed, "fault", owner)

    def another_world(self) -> World:
        """A world of the same names under keys of its own: what a forger can make."""
        return World(self.world.seed + b" of a forger", at=self.world.at)

    # Evidence

    def draft(self, **fields: object) -> Draft:
        """What the machine's QE would sign; `fields` are those of the report."""
        setting = self.setting
        given: dict[str, object] = {"report_data": _bound(setting.container), **fields}
        return self.machine.draft(
            tee=setting.tee,
            version=setting.version,
            body_type=setting.body_type,
            **given,  # type: ignore[arg-type]
        )

    def quote(self, **fields: object) -> bytes:
        """The machine's evidence over such an enclave or TD."""
        return self.wrapped(self.machine.sign(self.draft(**fields)))

    def signed(self, **changes: object) -> bytes:
        """The quote of a draft in which something departs."""
        return self.machine.sign(msgspec.structs.replace(self.draft(), **changes))

    def certified(self, pem: bytes) -> bytes:
        """A quote that carries this PCK chain."""
        data = CertificationData(CertificationType.PCK_CERTIFICATE_CHAIN, pem)
        return self.signed(certification=data)

    def patched(self, at: int, content: bytes) -> bytes:
        """The quote with other bytes at an offset."""
        quote = self.quote()
        at %= len(quote)
        return quote[:at] + content + quote[at + len(content) :]

    def flipped(self, at: int) -> bytes:
        """The quote with one bit of one byte turned."""
        quote = self.quote()
        return self.patched(at, bytes((quote[at] ^ 1,)))

    def wrapped(self, quote: bytes, **beside: bytes) -> bytes:
        """The quote in the setting's container."""
        if self.setting.container == OPEN_ENCLAVE:
            claims = beside.get("claims", CLAIMS)
            return open_enclave.write_evidence(quote, custom_claims=claims)
        if self.setting.container == CONCLAVE:
            return conclave.write_instance_info(
                quote, self.collateral(), **{**ENCLAVE_KEYS, **beside}
            )
        return quote

    # Collateral

    def collateral(self, *, update: str = "standard", number: int | None = None) -> Collateral:
        """What Intel answers for the machine, without the PCK chain: the quote brings its own."""
        answer = self.world.collateral(self.machine, self.tee, update=update, number=number)
        return msgspec.structs.replace(answer, pck_certificate_chain=None)

    def tcb_info(self, signer: SigningKey | None = None, **changes: object) -> bytes:
        """A response with a TCB info in which members differ, signed."""
        return self.response("tcb_info", self.tcb_info_body(**changes), signer)

    def tcb_info_body(self, **changes: object) -> bytes:
        """The signed bytes of such a TCB info."""
        wire = msgspec.structs.replace(self.tcb_info_wire(), **changes)
        return tcb_info.write_wire(wire)

    def tcb_info_wire(self) -> WireTcbInfoV3:
        """The genuine TCB info as its own table."""
        wire = tcb_info.parse_wire(self.body("tcb_info"))
        assert isinstance(wire, WireTcbInfoV3)
        return wire

    def qe_identity(self, signer: SigningKey | None = None, **changes: object) -> bytes:
        """A response with a QE identity in which members differ, signed."""
        return self.response("qe_identity", self.qe_identity_body(**changes), signer)

    def qe_identity_body(self, **changes: object) -> bytes:
        """The signed bytes of such a QE identity."""
        return enclave_identity.write_wire(
            msgspec.structs.replace(self.qe_identity_wire(), **changes)
        )

    def qe_identity_wire(self) -> WireEnclaveIdentity:
        """The genuine QE identity as its own table."""
        return enclave_identity.parse_wire(self.body("qe_identity"))

    def body(self, piece: str) -> bytes:
        """The genuine signed bytes of "tcb_info" or "qe_identity"."""
        return SignedJson.parse(getattr(self.collateral(), piece), MEMBERS[piece]).body

    def response(self, piece: str, body: bytes, signer: SigningKey | None = None) -> bytes:
        """A response around any bytes, signed by the TCB signer unless by somebody else."""
        key = signer or self.intel.tcb_signing.key
        return SignedJson(body, key.sign_raw(body)).envelope(MEMBERS[piece])

    # Cases

    def truth(self) -> Case:
        """The case without the fault: a verifier accepts it."""
        return self.case()

    def case(
        self,
        *,
        quote: bytes | None = None,
        collateral: Collateral | None = None,
        at: datetime | None = None,
        **pieces: bytes | None,
    ) -> Case:
        """A case in which what is named departs; `pieces` are those of `Collateral`."""
        return Case(
            quote=self.quote() if quote is None else quote,
            collateral=msgspec.structs.replace(collateral or self.collateral(), **pieces),
            at=at or self.at,
            tee=self.tee,
        )

    def with_piece(self, piece: str, content: bytes) -> Case:
        """A case in which one piece of collateral has other bytes."""
        changed = msgspec.structs.replace(self.collateral(), **{piece: content})
        return self.case(collateral=changed)


def _bound(container: str) -> bytes:
    """The report data that a container asks for."""
    if container == OPEN_ENCLAVE:
        return hashlib.sha256(CLAIMS).digest()
    if container == CONCLAVE:
        return hashlib.sha512(b"".join(ENCLAVE_KEYS.values())).digest()
    return CHALLENGE
