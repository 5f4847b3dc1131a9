"""The appraisal policies. At most one is the default of an FMSPC, as in Intel's PCCS.

Source: `pccs-and-pcs-api.md` §1.8.
"""

from typing import Any, Final

from sqlalchemy import Connection, Row, delete, insert, select, update

from dcap.pccs.items import AppraisalPolicy
from dcap.pccs.store.database import Database
from dcap.pccs.store.schema import POLICIES

_ORDERED: Final = select(POLICIES).order_by(POLICIES.c.fmspc, POLICIES.c.id)


class Policies:
    """The table of policies. Part of a `Store`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, policy: AppraisalPolicy) -> None:
        """Keep a policy under its id; as a default, it is the only one of its FMSPC."""
        self._database.write(lambda connection: put_policy(connection, policy), "policies")

    def get(self, policy_id: str) -> AppraisalPolicy | None:
        """The policy of an id."""
        found = self._select(POLICIES.c.id == policy_id)
        return found[0] if found else None

    def defaults(self, fmspc: bytes) -> tuple[AppraisalPolicy, ...]:
        """The default policies of an FMSPC."""
        return self._select(POLICIES.c.fmspc == fmspc, POLICIES.c.is_default)

    def list(self) -> tuple[AppraisalPolicy, ...]:
        """All of them, by FMSPC and id."""
        return self._select()

    def delete(self, policy_id: str) -> bool:
        """Forget one; false where it was not there."""
        statement = delete(POLICIES).where(POLICIES.c.id == policy_id)
        return self._database.write(
            lambda connection: connection.execute(statement).rowcount > 0, "policies"
        )

    def _select(self, *conditions: Any) -> tuple[AppraisalPolicy, ...]:
        statement = _ORDERED.where(*conditions)
        rows = self._database.read(lambda connection: connection.execute(statement).all())
        return tuple(_policy(row) for row in rows)


def every_policy(connection: Connection) -> tuple[AppraisalPolicy, ...]:
    """All policies, as a snapshot's connection sees them."""
    return tuple(_policy(row) for row in connection.execute(_ORDERED))


def put_policy(connection: Connection, policy: AppraisalPolicy) -> None:
    """Write one."""
    if policy.is_default:
        others = update(POLICIES).where(POLICIES.c.fmspc == policy.fmspc)
        connection.execute(others.values(is_default=False))
    connection.execute(delete(POLICIES).where(POLICIES.c.id == policy.id))
    connection.execute(
        insert(POLICIES).values(
            id=policy.id,
            type=policy.type,
            policy=policy.policy,
            is_default=policy.is_default,
            fmspc=policy.fmspc,
        )
    )


def _policy(row: Row[Any]) -> AppraisalPolicy:
    return AppraisalPolicy(
        id=row.id,
        type=row.type,
        policy=row.policy,
        is_default=row.is_default,
        fmspc=bytes(row.fmspc),
    )
