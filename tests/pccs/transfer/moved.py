"""A world's collateral and machines as claims and files: what the transfer's tests move about."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from dcap.api.pccs_admin import PlatformRecord
from dcap.formats.collateral import ENCLAVE_IDENTITY, TCB_INFO
from dcap.formats.pck_extensions import PckExtensions
from dcap.pccs.items import (
    Ca,
    CrlKey,
    Holding,
    IdentityKey,
    Item,
    Key,
    PckCrlKey,
    RootCrlKey,
    TcbInfoKey,
    Update,
    Version,
)
from dcap.pccs.pck_proof import Claimed, Offered, prove_platform, tcbm_of
from dcap.pccs.store.store import Store
from dcap.pccs.transfer.arrangement import arrange
from dcap.simulator.intel import ROOT_CRL_URL
from dcap.simulator.platform import Platform
from dcap.simulator.tcb_model import PCE_SVN
from dcap.simulator.world import World
from dcap.verification.anchors import TrustAnchor

RUNGS = (5, 4, 3)


def anchor_of(world: World) -> TrustAnchor:
    """The world's root."""
    return TrustAnchor.insecure_test_root(world.intel.root.certificate)


def opened(folder: Path, name: str = "store") -> Store:
    """A new store of SQLite."""
    return Store.open(f"sqlite:///{folder}/{name}.db")


def item(world: World, key: Key, at: datetime | None = None) -> Item:
    """What Intel gives for a key."""
    body, chain = _piece(world, key, at or world.at)
    return Item(key=key, body=body, issuer_chain=chain, fetched_at=world.at, origin="test")


def _piece(world: World, key: Key, at: datetime) -> tuple[bytes, bytes]:
    intel = world.intel
    if isinstance(key, RootCrlKey | CrlKey):
        return intel.root_ca_crl(at), b""
    if isinstance(key, PckCrlKey):
        return intel.pck_crl(key.ca.lower(), at), intel.chain(intel.pck_ca(key.ca.lower()))
    assert isinstance(key, TcbInfoKey | IdentityKey)
    generation = intel.generation((key.update or "standard").lower(), key.number)
    chain = intel.chain(intel.tcb_signing)
    if isinstance(key, IdentityKey):
        identity = intel.enclave_identity(key.name, at, generation)
        return identity.envelope(ENCLAVE_IDENTITY), chain
    version = 2 if key.version == 3 else 3
    info = intel.tcb_info(key.tee, key.fmspc, bytes(2), at, generation, version)
    return info.envelope(TCB_INFO), chain


def common_keys(version: Version = 4) -> Iterator[Key]:
    """What is the same for all machines."""
    yield RootCrlKey()
    yield CrlKey(ROOT_CRL_URL)
    cas: tuple[Ca, ...] = ("PROCESSOR", "PLATFORM")
    for ca in cas:
        yield PckCrlKey(ca)
    updates: tuple[Update, ...] = ("STANDARD", "EARLY")
    for update in updates:
        yield IdentityKey("QE", version, update)
        yield IdentityKey("QVE", version, update)
        if version > 3:
            yield IdentityKey("TD_QE", version, update)


def keys_of(machine: Platform, version: Version = 4) -> Iterator[Key]:
    """The TCB infos of a machine."""
    updates: tuple[Update, ...] = ("STANDARD", "EARLY")
    for update in updates:
        yield TcbInfoKey("SGX", machine.fmspc, version, update)
        if machine.ca == "platform" and version > 3:
            yield TcbInfoKey("TDX", machine.fmspc, version, update)


def collateral(world: World, *machines: Platform, version: Version = 4) -> list[Item]:
    """All collateral of some machines."""
    keys = dict.fromkeys(
        (*common_keys(version), *(k for m in machines for k in keys_of(m, version)))
    )
    return [item(world, key) for key in keys]


def offered(machine: Platform, rungs: tuple[int, ...] = RUNGS) -> tuple[Offered, ...]:
    """Certificates of a machine for some rungs."""
    made = [machine.certificate(rung) for rung in rungs]
    said = [PckExtensions.parse(one.certificate.sgx_extension or b"") for one in made]
    return tuple((tcbm_of(of), one.pem) for of, one in zip(said, made, strict=True))


def claimed(machine: Platform, rungs: tuple[int, ...] = RUNGS) -> Claimed:
    """A machine with its certificates."""
    intel = machine.world.intel
    return Claimed(
        qe_id=machine.qe_id.hex().upper(),
        pce_id=machine.pce_id.hex().upper(),
        certificates=offered(machine, rungs),
        issuer_chain=intel.chain(intel.pck_ca(machine.ca)),
        encrypted_ppid=machine.encrypted_ppid,
        manifest=machine.manifest if machine.ca == "platform" else None,
    )


def holding(machine: Platform, rungs: tuple[int, ...] = RUNGS) -> Holding:
    """The same, proven."""
    world = machine.world
    return prove_platform(claimed(machine, rungs), at=world.at, anchor=anchor_of(world))


def record(machine: Platform) -> PlatformRecord:
    """A machine as lists name it."""
    return PlatformRecord(
        qe_id=machine.qe_id.hex().upper(),
        pce_id=machine.pce_id.hex().upper(),
        cpu_svn=machine.cpu_svn.hex().upper(),
        pce_svn=PCE_SVN.to_bytes(2, "little").hex().upper(),
        enc_ppid=machine.encrypted_ppid.hex().upper(),
    )


def file_of(world: World, *machines: Platform, version: Version = 4) -> bytes:
    """A `platform_collaterals.json` with some machines and all their collateral."""
    arranged = arrange(collateral(world, *machines, version=version), version=version)
    records = [record(machine) for machine in machines]
    return b"".join(arranged.write(records, [holding(machine) for machine in machines]))
