"""What changes between versions of the schema, one file a version, for Alembic.

Rules: a migration bears being run again from its start, because MySQL commits each change of a table
at once (`if_not_exists`, or a look before); it never imports `schema`, which is of the newest version;
it changes the counter in `dcap_changes`, so that every replica forgets what it remembers.
"""
