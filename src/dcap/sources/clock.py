"""The wall clock, which only this floor and those above it may read. Instants below are arguments.

Source: house rule 6 of the architecture ("time is an argument").
"""

from datetime import UTC, datetime


def now() -> datetime:
    """This machine's time, aware, in UTC."""
    return datetime.now(UTC)
