"""How fast `dcap pccs import` takes in machines, every certificate verified, and where the time goes.

    python benchmarks/pccs_import.py [--machines 1000] [--certificates 10] [--processes 0 2]

A `platform_collaterals.json` of a simulated world into an empty SQLite store: reading, proof, selection,
and the one transaction. Beside it what cannot be saved: the ECDSA verifications alone, and the parts
by themselves. The process's CPU time tells what a busy machine's wall clock does not.

The issue asks for 500 platforms/s with full verification.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from dcap.api.pccs_admin import PlatformRecord
from dcap.formats.certificate import Certificate
from dcap.formats.collateral import ENCLAVE_IDENTITY, TCB_INFO
from dcap.formats.pck_extensions import PckExtensions
from dcap.pccs.items import (
    Holding,
    IdentityKey,
    Item,
    Key,
    PckCertificate,
    PckCrlKey,
    Platform,
    RootCrlKey,
    TcbInfoKey,
)
from dcap.pccs.pck_proof import prove_platform, tcbm_of
from dcap.pccs.store.holdings import pack_holdings
from dcap.pccs.store.store import Store
from dcap.pccs.transfer.arrangement import arrange
from dcap.pccs.transfer.platform_collaterals import (
    PlatformCollaterals,
    import_platform_collaterals,
)
from dcap.simulator.tcb_model import PCE_SVN
from dcap.simulator.world import AT, World
from dcap.verification.anchors import TrustAnchor
from dcap.verification.signature import Signatures, is_valid

TARGET = 500


def holding(world: World, number: int, certificates: int) -> tuple[PlatformRecord, Holding]:
    """A machine and its certificates, the highest first. Its PPID stands in for an encrypted one."""
    machine = world.platform(f"machine {number}")
    machine.svn = certificates
    chain = world.intel.chain(world.intel.platform_ca)
    made = [machine.certificate(rung) for rung in range(certificates, 0, -1)]
    said = [PckExtensions.parse(one.certificate.sgx_extension or b"") for one in made]
    ppid = machine.ppid * 24
    names = {"qe_id": machine.qe_id.hex().upper(), "pce_id": machine.pce_id.hex().upper()}
    record = PlatformRecord(
        **names,
        cpu_svn=machine.cpu_svn.hex().upper(),
        pce_svn=PCE_SVN.to_bytes(2, "little").hex().upper(),
        enc_ppid=ppid.hex().upper(),
    )
    return record, Holding(
        platform=Platform(**names, fmspc=machine.fmspc, ca="PLATFORM", encrypted_ppid=ppid),
        certificates=tuple(
            PckCertificate(tcbm=tcbm_of(of), pem=one.pem, components=of.cpu_svn, pce_svn=of.pce_svn)
            for of, one in zip(said, made, strict=True)
        ),
        issuer_chain=chain,
    )


def items(world: World, fmspc: bytes) -> Iterator[Item]:
    """All collateral of one FMSPC."""
    intel, at = world.intel, world.at
    generation, signers = intel.generation(), intel.chain(intel.tcb_signing)
    chain = intel.chain(intel.platform_ca)
    info = intel.tcb_info("SGX", fmspc, bytes(2), at, generation).envelope(TCB_INFO)
    identity = intel.enclave_identity("QE", at, generation).envelope(ENCLAVE_IDENTITY)
    pieces: tuple[tuple[Key, bytes, bytes], ...] = (
        (RootCrlKey(), intel.root_ca_crl(at), b""),
        (PckCrlKey("PLATFORM"), intel.pck_crl("platform", at), chain),
        (TcbInfoKey("SGX", fmspc), info, signers),
        (IdentityKey("QE"), identity, signers),
    )
    for key, body, of in pieces:
        yield Item(key=key, body=body, issuer_chain=of, fetched_at=at, origin="benchmark")


def file_of(world: World, machines: int, certificates: int) -> bytes:
    """The file to import."""
    made = [holding(world, number, certificates) for number in range(machines)]
    fmspc = made[0][1].platform.fmspc
    arranged = arrange(items(world, fmspc))
    return b"".join(arranged.write([one for one, _ in made], [one for _, one in made]))


def timed(act: Callable[[], object]) -> tuple[float, float]:
    """Wall and CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    act()
    return time.perf_counter() - wall, time.process_time() - cpu


def tell(what: str, machines: int, wall: float, cpu: float) -> None:
    """One line of the table."""
    print(f"{what:<34} {machines / wall:9.0f} /s  {cpu / machines * 1e3:7.2f} ms CPU a machine")


def parts(data: bytes, anchor: TrustAnchor) -> None:
    """What the import is made of, each part by itself, in one thread."""
    read = list(PlatformCollaterals.parse(data).machines())
    machines = len(read)
    claims = []
    for one in read:
        chain = Certificate.parse_chain(one.claimed.issuer_chain)
        for _, pem in one.claimed.certificates:
            leaf = Certificate.parse_chain(pem)[0]
            claims.append((chain[0].public_key, leaf.signature, leaf.tbs))
    tell("ECDSA verification alone", machines, *timed(lambda: [is_valid(c) for c in claims]))
    tell(
        "reading the file",
        machines,
        *timed(lambda: list(PlatformCollaterals.parse(data).machines())),
    )
    signatures = Signatures()
    proven: list[Holding] = []

    def prove() -> None:
        proven.extend(
            prove_platform(one.claimed, at=AT, anchor=anchor, signatures=signatures) for one in read
        )

    tell("proof, verification included", machines, *timed(prove))
    tell("packing", machines, *timed(lambda: [pack_holdings([one]) for one in proven]))


def measure(file: Path, root: Path, processes: list[int]) -> int:
    """In a process that has seen nothing but the file."""
    data = file.read_bytes()
    world_root = Certificate.parse_chain(root.read_bytes())[0]
    anchor = TrustAnchor.insecure_test_root(world_root)
    machines = len(PlatformCollaterals.parse(data).records())
    best = 0.0
    for number in processes:
        with (
            tempfile.TemporaryDirectory() as folder,
            Store.open(f"sqlite:///{folder}/s.db") as store,
        ):

            def act(store: Store = store, number: int = number) -> None:
                report = import_platform_collaterals(
                    store, data, at=AT, anchor=anchor, processes=number
                )
                assert report.kept["platform"] == machines
                assert report.complete

            wall, cpu = timed(act)
        tell(f"import, {number} more processes", machines, wall, cpu)
        best = max(best, machines / wall)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{'peak memory, the file included':<34} {peak:9.0f} MB")
    parts(data, anchor)
    print(f"\n{'met' if best >= TARGET else 'NOT met'}: {best:.0f} platforms/s, asked {TARGET}")
    return 0 if best >= TARGET else 1


def main() -> int:
    """Make the file, measure, and say whether the target is met."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--machines", type=int, default=1000)
    parser.add_argument("--certificates", type=int, default=10)
    parser.add_argument("--processes", type=int, nargs="+", default=[0, 2])
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.file:
        return measure(given.file, given.file.with_suffix(".pem"), given.processes)
    world = World("benchmark", AT)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "platform_collaterals.json"
        file.write_bytes(file_of(world, given.machines, given.certificates))
        file.with_suffix(".pem").write_bytes(world.root_pem)
        size, load = file.stat().st_size / 1e6, os.getloadavg()[0]
        print(f"{given.machines} machines of {given.certificates} certificates, {size:.1f} MB;")
        print(
            f"{os.cpu_count()} cores, load {load:.1f}, Python {sys.version.split()[0]}\n",
            flush=True,
        )
        processes = [str(number) for number in given.processes]
        again = [sys.executable, __file__, "--file", str(file), "--processes", *processes]
        return subprocess.run(again, check=False).returncode


if __name__ == "__main__":
    raise SystemExit(main())
