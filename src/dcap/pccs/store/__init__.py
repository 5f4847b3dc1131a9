"""Where a PCCS keeps its items: one SQL database, SQLite, PostgreSQL, MySQL or MariaDB alike.

It keeps what it is given: what may be kept is decided by `pccs.trust` and the service. `store.Store`
is the door. Nothing here imports Alembic unless a database of an older schema is opened.
"""
