"""The doctor on what lies in caches: row 12 of §6. Files are written by hand, as the libraries do."""

import hashlib
import os
import posixpath
import struct
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from dcap.doctor import caches
from dcap.formats.crl import Crl
from dcap.simulator import World
from dcap.simulator.platform import Platform
from dcap.sources.cache import CachedSource
from dcap.sources.foreign_caches import write_intel_entry
from dcap.sources.freshness import Freshness
from doctor.scratch import (
    APP,
    Seen,
    add_aesm,
    laptop,
    process,
    say,
    scene,
    sgx_host,
    write,
)
from sources.kept_world import CountingSource, anchor_of, need_for, world_of

AESM_CACHE = "/var/opt/aesmd/.dcap-qcnl"
AZURE_CACHE = f"{APP.home}/.az-dcap-client"
OWN_CACHE = f"{APP.home}/.cache/dcap"
CONF = "/etc/sgx_default_qcnl.conf"
DAY = timedelta(days=1)
HEADERS = b"HTTP/1.1 200 OK\r\n\r\n"
CHECKS = caches.CHECKS


@pytest.fixture(scope="module")
def world() -> World:
    """One world for all: nobody moves its clock."""
    return world_of("doctor")


@pytest.fixture(scope="module")
def machine(world: World) -> Platform:
    """A machine of it."""
    return world.platform("node")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A server with AESM running."""
    return add_aesm(sgx_host(tmp_path))


def look(root: Path, now: datetime, **changes: object) -> Seen:
    """What the family says of a machine at an instant."""
    return say(CHECKS, scene(root, clock=lambda: now, **changes))


def string(data: bytes) -> bytes:
    """A length and as many bytes."""
    return struct.pack("<I", len(data)) + data


def intel(root: Path, body: bytes, until: datetime, *, name: bytes = b"x") -> str:
    """An entry of collateral as Intel's library keeps it for aesmd; its path."""
    path = f"{AESM_CACHE}/{hashlib.sha256(name).hexdigest()}"
    header = struct.pack("<HIq", 1, 2, int(until.timestamp()))
    write(root, path, header + string(HEADERS) + string(body))
    return path


def azure(root: Path, body: bytes, until: datetime) -> str:
    """An entry as Azure's client keeps it for the shell; its path."""
    path = f"{AZURE_CACHE}/{hashlib.sha256(b'x').hexdigest()}"
    write(root, path, struct.pack("<Hq", 1, int(until.timestamp())) + body)
    return path


def crl_of(world: World, machine: Platform) -> Crl:
    """The PCK CRL, which ends first."""
    return Crl.parse(world.collateral(machine).pck_crl)


def test_entries_in_date_are_told_with_their_ages(
    root: Path, world: World, machine: Platform
) -> None:
    """No finding; how many there are, and which one ends first."""
    crl = crl_of(world, machine)
    intel(root, crl.der, world.at + DAY)
    seen = look(root, world.at)
    assert seen.codes == []
    (right,) = seen.rights
    assert f"{AESM_CACHE}: 1 entry" in right.what
    assert f"the first ends {crl.next_update:%Y-%m-%d %H:%M} UTC" in right.what
    assert "used by aesmd" in right.evidence


def test_nobody_has_kept_anything(tmp_path: Path, world: World) -> None:
    """No cache at all: said, and no finding."""
    seen = look(laptop(tmp_path), world.at)
    assert (seen.codes, [each.what for each in seen.skipped]) == ([], ["caches of collateral"])


@pytest.mark.parametrize(
    "body",
    [
        lambda world, machine: crl_of(world, machine).der,
        lambda world, machine: crl_of(world, machine).to_hex(),
        lambda world, machine: world.collateral(machine).tcb_info,
        lambda world, machine: world.collateral(machine).qe_identity,
    ],
    ids=["crl", "hex crl", "tcb info", "identity"],
)
def test_row_12_intel_s_cache_serves_what_has_ended(
    root: Path, world: World, machine: Platform, body: Callable[[World, Platform], bytes]
) -> None:
    """Expired verdicts: nextUpdate has passed, and the cache's own limit (168 h) has not."""
    now = world.at + 60 * DAY
    path = intel(root, body(world, machine), now + DAY)
    finding = look(root, now).finding("caches-expired")
    assert f"Intel's library, {AESM_CACHE}, gives aesmd collateral that ended" in finding.what
    assert finding.evidence[0].startswith(f"{path}: ")
    assert f"served until {now + DAY:%Y-%m-%d %H:%M} UTC" in finding.evidence[0]
    assert finding.mends[0].text == f"`sudo rm {path}`, then `sudo systemctl restart aesmd`"


def test_row_12_what_the_cache_itself_no_longer_serves_is_well(
    root: Path, world: World, machine: Platform
) -> None:
    """Past both limits an entry is fetched anew: no finding."""
    now = world.at + 60 * DAY
    intel(root, crl_of(world, machine).der, now - DAY)
    assert look(root, now).codes == []


def test_row_12_the_mend_names_the_hours_that_are_configured(
    root: Path, world: World, machine: Platform
) -> None:
    """verify_collateral_cache_expire_hours is what lets it come again."""
    now = world.at + 60 * DAY
    intel(root, crl_of(world, machine).der, now + DAY)
    write(root, CONF, '{"verify_collateral_cache_expire_hours": 168}')
    mends = look(root, now).mends("caches-expired")
    assert f"lower verify_collateral_cache_expire_hours (168) in {CONF}" in mends
    write(root, CONF, '{"verify_collateral_cache_expire_hours": 12}')
    assert "lower" not in look(root, now).mends("caches-expired")


@pytest.mark.parametrize(
    ("left", "kept", "found"),
    [
        (2 * DAY, 5 * DAY, ["caches-expiring"]),
        (2 * DAY, 1 * DAY, []),
        (4 * DAY, 9 * DAY, []),
    ],
    ids=["beyond its end", "fetched anew before", "not soon"],
)
def test_row_12_what_will_be_served_beyond_its_end_is_told_before(
    root: Path, world: World, machine: Platform, left: timedelta, kept: timedelta, found: list[str]
) -> None:
    """Less than three days to nextUpdate, and a cache that keeps it longer."""
    crl = crl_of(world, machine)
    now = crl.next_update - left
    intel(root, crl.der, now + kept)
    assert look(root, now).codes == found


def test_row_12_azure_s_cache_serves_what_has_ended(
    root: Path, world: World, machine: Platform
) -> None:
    """The same of Azure's client, in the shell's HOME: its own limit alone counts."""
    now = world.at + 60 * DAY
    path = azure(root, world.collateral(machine).tcb_info, now + DAY)
    (root / AZURE_CACHE.lstrip("/")).chmod(0o775)
    finding = look(root, now).finding("caches-expired")
    assert "Azure's client" in finding.what
    assert f"FMSPC {machine.fmspc.hex().upper()}" in finding.evidence[0]
    assert finding.mends[0].text.startswith(f"`rm {path}`")
    assert "AZDCAP_CACHE_EXPIRY_IN_SECONDS" in finding.mends[1].text


def test_many_files_go_by_their_folder(root: Path, world: World, machine: Platform) -> None:
    """More than a few are named within one `find`, and what is sound beside them is left alone."""
    now = world.at + 60 * DAY
    for number in range(30):
        intel(root, crl_of(world, machine).der, now + DAY, name=bytes([number]))
    sound = intel(root, world.intel.pck_crl(machine.ca, now), now + DAY, name=b"sound")
    finding = look(root, now).finding("caches-expired")
    assert finding.mends[0].text.startswith(f"`sudo find {AESM_CACHE} -type f \\( -name ")
    assert finding.mends[0].text.count("-name ") == 30
    assert posixpath.basename(sound) not in finding.mends[0].text
    assert finding.evidence[-1] == "… and 10 more"


def test_an_entry_that_nobody_can_read_is_told(root: Path, world: World) -> None:
    """A file cut off, and one of nothing known: each with its exact path."""
    path = intel(root, b"<html>", world.at + DAY)
    write(root, f"{AESM_CACHE}/cut", b"\1\0")
    finding = look(root, world.at).finding("caches-corrupt")
    assert "2 entries" in finding.what
    assert any(line.startswith(path) for line in finding.evidence)
    assert any("ends within its header" in line for line in finding.evidence)


def test_a_file_in_the_place_of_a_cache_holds_nothing(root: Path, world: World) -> None:
    """What is no folder is no cache, and no crash (who owns what is `homes`' to say)."""
    write(root, f"{AESM_CACHE}", b"no folder")
    assert "nobody here" in look(root, world.at).skipped[0].why


@pytest.mark.skipif(os.geteuid() == 0, reason="root lists every folder")
def test_a_folder_that_the_doctor_cannot_open_is_skipped(root: Path, world: World) -> None:
    """A cache that may not be listed is said, and not taken for an empty one."""
    (root / AESM_CACHE.lstrip("/")).mkdir(mode=0o000)
    assert "another account" in look(root, world.at).skipped[0].why


# ── certificates that were prepared ─────────────────────────────────────────────────────────────


def prepare(root: Path, world: World, machine: Platform, until: datetime) -> str:
    """An entry of type 4, as `dcap pccs cache` writes it; its name."""
    name, content = write_intel_entry(
        qe_id=machine.qe_id.hex(),
        pce_id="0000",
        cpu_svn=machine.cpu_svn.hex(),
        tcb_info=world.collateral(machine).tcb_info,
        issuer_chain=b"chain",
        certificates=b'[{"cert": "x", "tcbm": "y"}]',
        expires=until,
    )
    write(root, f"{AESM_CACHE}/{name}", content)
    return name


def test_local_cache_only_needs_prepared_certificates(
    root: Path, world: World, machine: Platform
) -> None:
    """0xE001 while quoting: local_cache_only is set, and nothing was prepared for aesmd."""
    write(root, CONF, '{"local_cache_only": true}')
    seen = look(root, world.at)
    assert seen.codes == ["caches-unprepared"] * 2  # the shell has none either
    assert any(f"aesmd has no certificates prepared in {AESM_CACHE}" in each.what
               for each in seen.findings)  # fmt: skip
    assert "dcap pccs cache" in seen.findings[0].mends[0].text
    assert look(root, world.at, roles=frozenset({"verifier"})).codes == []
    prepare(root, world, machine, world.at + DAY)
    assert [each.what.split(" has ")[0].split(" and ")[-1]
            for each in look(root, world.at).findings] == ["this shell"]  # fmt: skip
    ended = look(root, world.at + 2 * DAY)
    assert any("they have ended" in each.what for each in ended.findings)


def test_the_name_of_a_machine_is_never_shown(root: Path, world: World, machine: Platform) -> None:
    """A prepared entry's file name holds the QE id: masked in words, a pattern in commands."""
    now = world.at + 60 * DAY
    name = prepare(root, world, machine, now + DAY)
    seen = look(root, now)
    finding = seen.finding("caches-expired")
    assert f"-name '*_{name.partition('_')[2]}'" in finding.mends[0].text
    assert machine.qe_id.hex() not in repr(seen).lower()


# ── dcap's own ──────────────────────────────────────────────────────────────────────────────────


def own(root: Path, world: World, machine: Platform) -> None:
    """Something in dcap's own cache of the shell."""
    folder = root / OWN_CACHE.lstrip("/")
    source = CachedSource(
        CountingSource(world, machine),
        directory=folder,
        anchor=anchor_of(world),
        freshness=Freshness(),
        clock=lambda: world.at,
        judged_at=lambda: world.at,
    )
    source.collateral(need_for(machine))
    assert any(folder.iterdir())


def test_dcap_s_own_cache_never_serves_what_has_ended(
    root: Path, world: World, machine: Platform
) -> None:
    """Ours is fetched anew by itself: no finding; without a network nothing can replace it."""
    own(root, world, machine)
    later = world.at + 60 * DAY
    assert look(root, later).codes == []
    environ = {"HOME": APP.home, "DCAP_OFFLINE": "1"}
    assert look(root, world.at, environ=environ).codes == []
    finding = look(root, later, environ=environ).finding("caches-offline")
    assert f"what the cache of dcap, {OWN_CACHE}, holds ended" in finding.what
    assert "DCAP_OFFLINE=0 dcap verify" in finding.mends[0].text


def test_a_cache_that_two_share_is_told_once(root: Path, world: World, machine: Platform) -> None:
    """One folder, two users: one finding that names both."""
    now = world.at + 60 * DAY
    intel(root, crl_of(world, machine).der, now + DAY)
    process(root, 900, "app", uid=APP.uid, environ={"AZDCAP_CACHE": "/var/opt/aesmd"})
    write(root, "/proc/900/maps", "7f /usr/lib/libdcap_quoteprov.so.1\n")
    assert "gives aesmd and app (900) collateral" in look(root, now).finding("caches-expired").what
