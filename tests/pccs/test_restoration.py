"""A backup is proven again when it is restored: whoever changed it gains nothing."""

import base64
import hashlib
import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from dcap.errors import DcapError
from dcap.pccs.items import IdentityKey, RootCrlKey
from dcap.pccs.restoration import proven_values
from dcap.pccs.store.backup import backup, restore
from dcap.pccs.store.store import Store
from dcap.simulator.events import IntermediateRevoked
from dcap.simulator.world import World
from pccs.rig import Rig, anchor_of, pck_line
from pccs.transfer.moved import item

DAY = timedelta(days=1)


def saved(tmp_path: Path) -> tuple[Rig, Path]:
    """A rig with a machine and all collateral, and its backup."""
    rig = Rig(tmp_path)
    rig.fill(rig.world.platform())
    archive = tmp_path / "archive"
    backup(rig.store, archive, made_at=rig.clock())
    return rig, archive


def altered(archive: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the records of an archive, and make its checksum hold again."""
    head, *lines, end = archive.read_bytes().splitlines()
    records = [json.loads(line) for line in lines]
    for record in records:
        change(record)
    kept = [head, *(json.dumps(record).encode() for record in records if record)]
    state = hashlib.sha256(b"".join(line + b"\n" for line in kept)).hexdigest()
    last = {**json.loads(end), "records": len(kept) - 1, "sha256": state}
    archive.write_bytes(b"\n".join([*kept, json.dumps(last).encode(), b""]))


def restored(tmp_path: Path, archive: Path, rig: Rig) -> Store:
    """A new store of an archive."""
    store = Store.open(f"sqlite:///{tmp_path}/restored.db")
    try:
        restore(
            store,
            archive,
            lambda values: proven_values(values, at=rig.clock(), anchor=anchor_of(rig.world)),
        )
    except BaseException:
        store.close()
        raise
    return store


def test_a_backup_that_nobody_touched_is_the_store(tmp_path: Path) -> None:
    """The machine and every item, also one that has expired meanwhile, with its own dates."""
    rig, archive = saved(tmp_path)
    rig.world.advance(400 * DAY)
    with restored(tmp_path, archive, rig) as store:
        kept = {one.key: one for one in rig.store.items.summaries()}
        assert {one.key: one for one in store.items.summaries()} == kept
        (mine,) = rig.store.platforms.holdings()
        (theirs,) = store.platforms.holdings()
        assert (theirs.certificates, theirs.raw_tcbs) == (mine.certificates, mine.raw_tcbs)


def _other_identity(record: dict[str, Any]) -> None:
    """An item of another world under the key of ours."""
    if record["type"] == "item" and record["value"]["key"]["type"] == "identity":
        forged = item(World("stranger"), IdentityKey("QE"))
        record["value"]["body"] = _base64(forged.body)


def _other_certificate(record: dict[str, Any]) -> None:
    """A certificate of another world for a machine of ours."""
    if record["type"] == "machine":
        forged = World("stranger").platform().certificate(5).pem
        record["value"]["certificates"][0]["pem"] = _base64(forged)


def _other_chain_alone(record: dict[str, Any]) -> None:
    """A machine without certificates, its chain of another world."""
    if record["type"] == "machine":
        intel = World("stranger").intel
        record["value"] |= {
            "certificates": [],
            "issuer_chain": _base64(intel.chain(intel.platform_ca)),
        }


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


@pytest.mark.parametrize("change", [_other_identity, _other_certificate, _other_chain_alone])
def test_an_altered_backup_is_refused_whole(
    tmp_path: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    """Its checksum holds, what it says is forged: nothing of it is kept."""
    rig, archive = saved(tmp_path)
    altered(archive, change)
    with pytest.raises(DcapError, match="pccs-forged"):
        restored(tmp_path, archive, rig)
    with Store.open(f"sqlite:///{tmp_path}/restored.db") as store:
        assert store.statistics().items == 0


def test_dates_are_those_of_the_signed_bytes(tmp_path: Path) -> None:
    """An archive says that nothing expires until 2099: what is restored says what Intel said."""
    rig, archive = saved(tmp_path)

    def prolong(record: dict[str, Any]) -> None:
        if record["type"] == "item":
            record["value"] |= {"expires": "2099-01-01T00:00:00Z", "number": 999}

    altered(archive, prolong)
    with restored(tmp_path, archive, rig) as store:
        kept = {one.key: one for one in rig.store.items.summaries()}
        assert {one.key: one for one in store.items.summaries()} == kept


def test_items_behind_machines_are_refused(tmp_path: Path) -> None:
    """Moved to the end, the lists would not be looked at when machines are proven."""
    rig, archive = saved(tmp_path)
    head, *lines, end = archive.read_bytes().splitlines()
    archive.write_bytes(b"\n".join([head, *reversed(lines), end, b""]))
    altered(archive, lambda _: None)
    with pytest.raises(DcapError, match="items do not come first"):
        restored(tmp_path, archive, rig)


def test_what_was_revoked_meanwhile_is_left_out(tmp_path: Path) -> None:
    """The archive has the root's new list and what the revoked signer signed: the rest is restored."""
    rig = Rig(tmp_path)
    machine = rig.world.platform()
    rig.fill(machine)
    IntermediateRevoked("tcb-signing").apply(rig.world)
    rig.world.advance(DAY)
    assert rig.upstream.item(RootCrlKey(), after=rig.clock() - DAY / 2)
    archive = tmp_path / "archive"
    backup(rig.store, archive, made_at=rig.clock())
    with restored(tmp_path, archive, rig) as store:
        assert store.items.get(IdentityKey("QE")) is None
        offline = Rig(tmp_path, beside=rig, store=store)
        assert offline.ask(pck_line(machine)).status == 200
