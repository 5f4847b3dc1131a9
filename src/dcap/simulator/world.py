"""A world: one simulated Intel, its machines, and a clock. The same seed and clock, the same bytes.

    world = World("ci", at=datetime(2026, 1, 1, tzinfo=UTC))
    machine = world.platform("node-1")
    quote = machine.quote(b"nonce")
    collateral = world.collateral(machine)

Verifiers trust it only under its own root (`world.root_pem`), and say so. Not here: routes (`pcs`),
departures from the truth (`faults`).
"""

from datetime import UTC, datetime, timedelta

from dcap.formats.collateral import ENCLAVE_IDENTITY, TCB_INFO, Collateral
from dcap.simulator.intel import Intel
from dcap.simulator.keys import derive
from dcap.simulator.platform import Platform

AT = datetime(2026, 1, 1, 12, tzinfo=UTC)
#: FMSPC of the machines that nobody gave one, by CA.
FMSPCS = {"processor": bytes.fromhex("00A0A5000000"), "platform": bytes.fromhex("90C0A5000000")}


class World:
    """Everything simulated. `at` is its clock; `advance` moves it."""

    def __init__(self, seed: bytes | str = b"dcap", at: datetime = AT) -> None:
        self.seed = seed.encode() if isinstance(seed, str) else seed
        self.at = at
        self.intel = Intel(self.seed)
        self.platforms: dict[str, Platform] = {}

    def advance(self, by: timedelta) -> None:
        """Let time pass (or, with a negative delta, go back)."""
        self.at += by

    def platform(
        self, name: str = "machine", *, ca: str = "platform", fmspc: bytes | None = None
    ) -> Platform:
        """The machine of that name, made on first use: multi-package unless `ca="processor"`."""
        if name not in self.platforms:
            self.platforms[name] = Platform(self, name, ca=ca, fmspc=fmspc or FMSPCS[ca])
        return self.platforms[name]

    def fmspc(self, label: str) -> bytes:
        """An FMSPC of its own for a label."""
        return derive(self.seed, "fmspc", label)[:6]

    @property
    def root_pem(self) -> bytes:
        """The simulated root, for `--insecure-test-root`."""
        return self.intel.root.pem

    def collateral(
        self,
        platform: Platform,
        tee: str = "SGX",
        *,
        update: str = "standard",
        number: int | None = None,
        tcb_info_version: int = 3,
    ) -> Collateral:
        """What Intel would answer now for a machine."""
        intel, at = self.intel, self.at
        generation = intel.generation(update, number)
        signers = intel.chain(intel.tcb_signing)
        tcb_info = intel.tcb_info(
            tee, platform.fmspc, platform.pce_id, at, generation, tcb_info_version
        )
        identity = intel.enclave_identity("QE" if tee == "SGX" else "TD_QE", at, generation)
        return Collateral(
            pck_crl_issuer_chain=intel.chain(intel.pck_ca(platform.ca)),
            root_ca_crl=intel.root_ca_crl(at),
            pck_crl=intel.pck_crl(platform.ca, at),
            tcb_info_issuer_chain=signers,
            tcb_info=tcb_info.envelope(TCB_INFO),
            qe_identity_issuer_chain=signers,
            qe_identity=identity.envelope(ENCLAVE_IDENTITY),
            pck_certificate_chain=platform.pck_chain(),
        )
