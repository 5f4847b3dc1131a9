"""The second version: of machines when they last asked, who said which they are, and when they expire.

Of the queue, what was handed out; indexes for lists by FMSPC and by hour, and for one machine's rows.
Of a machine that was kept before nothing of this is known. Rows of the queue alone are rewritten: their
keys tell machines apart that came with the same names and another PPID or manifest. Each change is
looked for before it is made (`migrations`), and a key that is rewritten twice stays the same.
"""

import hashlib
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_COLUMNS: dict[str, dict[str, Any]] = {
    "dcap_platforms": {
        "last_seen": sa.BigInteger,
        "is_registered": sa.Boolean,
        "expires": sa.BigInteger,
    },
    "dcap_registrations": {"handed_out": sa.BigInteger},
}
_NAMES = ("qe_id", "pce_id", "cpu_svn", "pce_svn")
_INDEXES = {
    "dcap_platforms": {
        "ix_dcap_platforms_fmspc_ca": ["fmspc", "ca"],
        "ix_dcap_platforms_last_seen": ["last_seen"],
        "ix_dcap_platforms_expires": ["expires"],
    },
    "dcap_registrations": {"ix_dcap_registrations_qe_id_pce_id": ["qe_id", "pce_id"]},
}


def upgrade() -> None:
    """Add what is missing of it, and count it as a change."""
    found = sa.inspect(op.get_bind())
    for table, columns in _COLUMNS.items():
        known = {column["name"] for column in found.get_columns(table)}
        for name, kind in columns.items():
            if name not in known:
                op.add_column(table, sa.Column(name, kind))
    for table, indexes in _INDEXES.items():
        there = {index["name"] for index in found.get_indexes(table)}
        for name, keys in indexes.items():
            if name not in there:
                op.create_index(name, table, keys)
    _rewrite_keys()
    op.execute("UPDATE dcap_changes SET number = number + 1, platforms = platforms + 1")


def _rewrite_keys() -> None:
    """Give the rows of the queue their keys of this version."""
    queue = sa.table(
        "dcap_registrations",
        *(
            sa.column(name, sa.LargeBinary)
            for name in ("digest", *_NAMES, "state", "encrypted_ppid", "manifest")
        ),
    )
    to = op.get_bind()
    for old in to.scalars(sa.select(queue.c.digest)).all():
        row = to.execute(sa.select(queue).where(queue.c.digest == old)).one()
        parts = [bytes(getattr(row, name)) for name in _NAMES]
        if bytes(row.state) == b"NOT_AVAILABLE":
            parts.append(b"NOT_AVAILABLE")
        else:
            came_with = (row.encrypted_ppid, row.manifest)
            parts += [hashlib.sha256(one or b"").hexdigest().encode() for one in came_with]
        key = hashlib.sha256(b"".join(len(one).to_bytes(4, "big") + one for one in parts))
        if key.digest() != bytes(old):
            named = sa.update(queue).where(queue.c.digest == old)
            to.execute(named.values(digest=key.digest()))
