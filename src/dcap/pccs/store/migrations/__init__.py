"""What changes between versions of the schema, one file a version, for Alembic.

Rules: a migration bears being run again from its start, because MySQL commits each change of a table
at once (a look before each; MySQL itself has no `IF NOT EXISTS` for these); it never imports `schema`,
which is of the newest version; it changes the counter in `dcap_changes`, so that every replica forgets
what it remembers.
"""
