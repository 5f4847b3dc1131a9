"""Claims into the store: each proven by itself, all kept in one transaction, or none.

    1. the root's list, which says whose issuers are revoked   2. the lists of the PCK CAs
    3. all other collateral                                    4. the machines, side by side
    5. their raw TCBs: which certificate each reaches          6. one transaction

A `strict` intake ends at the first thing that does not prove (`Forged`) or does not fit together, and
nothing has changed; the other leaves it out and says so. What has expired, is older than what is kept,
or was revoked is left out, and said, by both: a machine all of whose certificates are revoked is kept
without any. Not here: the proofs of collateral (`item_intake`) and machines (`machine_intake`); files
and foreign databases.

Source: `pccs-and-pcs-api.md` §2.4, §4.3, §7.
"""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection

from dcap.pccs.age import is_older
from dcap.pccs.items import AppraisalPolicy, Registration
from dcap.pccs.store.collateral import put_item, standing
from dcap.pccs.store.database import Topic
from dcap.pccs.store.holdings import Packed, put_packed
from dcap.pccs.store.policies import put_policy
from dcap.pccs.store.registrations import cross_off, machines_waiting, put_registrations
from dcap.pccs.store.rows import batches
from dcap.pccs.store.store import Store
from dcap.pccs.transfer.claims import Claims, sorted_out
from dcap.pccs.transfer.item_intake import ItemIntake
from dcap.pccs.transfer.machine_intake import MachineIntake
from dcap.pccs.transfer.report import EXPIRED, OLDER, LeftOut, Report, report_of
from dcap.verification.anchors import TrustAnchor


def take_in(
    store: Store,
    claims: Claims,
    *,
    at: datetime,
    anchor: TrustAnchor,
    strict: bool,
    processes: int = 0,
    replace_machines: bool = False,
) -> Report:
    """Prove the claims, and keep what proves. Raises `Forged`, `FormatError`, `Unavailable`.

    Certificates of another machine take the place of those that are kept under its QE id only where
    nobody registered these, or with `replace_machines`; else they are left out, by a strict intake too.
    With `processes`, so many help where the machines are many. The claims are read once. Until the
    transaction nothing changes; what is proven waits in memory, some 6 KB a machine.
    """
    items = ItemIntake(store, at=at, anchor=anchor, strict=strict)
    items.prove(list(sorted_out(claims.items, items.left_out)))
    machines = MachineIntake(
        store, items, at=at, anchor=anchor, strict=strict, replace_machines=replace_machines
    )
    machines.prove(claims.machines, processes)
    left_out: list[LeftOut] = []
    registrations = list(sorted_out(claims.registrations, left_out))
    policies = list(sorted_out(claims.policies, left_out))
    return _keep(store, at, items, machines, registrations, policies, left_out)


def _keep(
    store: Store,
    at: datetime,
    items: ItemIntake,
    machines: MachineIntake,
    registrations: Sequence[Registration],
    policies: Sequence[AppraisalPolicy],
    left_out: list[LeftOut],
) -> Report:
    """Step 6: everything at once."""
    current = []
    for item in items.proven.values():
        if item.expires is not None and item.expires <= at:
            what = f"expired at {item.expires:%Y-%m-%dT%H:%M:%SZ}"
            left_out.append(LeftOut("item", item.key.text, EXPIRED, what))
        else:
            current.append(item)

    def act(connection: Connection) -> list[LeftOut]:
        older = []
        for item in current:
            if is_older(item, standing(connection, item.key)):
                older.append(LeftOut("item", item.key.text, OLDER, "what is kept is newer"))
            else:
                put_item(connection, item)
        for batch in batches(machines.proven):
            put_packed(connection, {_machine(one): one for one in batch})
        _cross_off(connection, machines.proven)
        put_registrations(connection, registrations)
        for policy in policies:
            put_policy(connection, policy)
        return older

    brought: dict[Topic, Sequence[object]] = {
        "items": current,
        "platforms": machines.proven,
        "registrations": registrations,
        "policies": policies,
    }
    topics = [topic for topic, things in brought.items() if things]
    older = store.database.write(act, *topics) if topics else []
    kept = {
        "item": len(current) - len(older),
        "platform": len({_machine(one) for one in machines.proven}),
        "registration": len(registrations),
        "policy": len(policies),
    }
    return report_of(kept, [*items.left_out, *machines.left_out, *left_out, *older])


def _cross_off(connection: Connection, machines: Sequence[Packed]) -> None:
    """What waits for certificates that came leaves the queue."""
    waits = machines_waiting(connection)
    for packed in machines if waits else ():
        if _machine(packed) in waits:
            platform = packed.holding.platform
            reached = {one.raw for one in packed.holding.raw_tcbs}
            cross_off(connection, *_machine(packed), reached, platform.manifest)


def _machine(packed: Packed) -> tuple[str, str]:
    return packed.holding.platform.qe_id, packed.holding.platform.pce_id
