"""One SELECT of one row that is asked over and over, made ready once: what a request costs.

    ask = Lookup(database, statement, Found)          # Found(*columns)
    found = ask(qe=…, pce=…)                          # None where there is no row

SQLAlchemy's road through one small SELECT costs more than twice what SQLite's own does, and a
transaction around a single statement is two statements more, on a server two round trips. So SQLite is
asked by its driver, and PostgreSQL without a transaction: one statement sees one moment anyway. Where
that fails, the same is asked by the usual road, which tries once more and says what is wrong.
"""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import Any, Generic, TypeVar

from sqlalchemy import Select

from dcap.pccs.store.database import Database

T = TypeVar("T")
_Convert = Callable[[Any], Any]


class Lookup(Generic[T]):
    """See the file's docstring. Safe among threads."""

    def __init__(self, database: Database, statement: Select[Any], found: Callable[..., T]) -> None:
        self._database = database
        self._statement = statement
        self._found = found
        self._is_sqlite = database.dialect == "sqlite"
        dialect = database.engine.dialect
        compiled = statement.compile(dialect=dialect)
        self._sql = str(compiled)
        self._binds: list[tuple[str, _Convert]] = [
            (name, compiled.binds[name].type.bind_processor(dialect) or _as_it_is)
            for name in compiled.positiontup or ()
        ]
        self._columns: list[_Convert] = [
            column.type.result_processor(dialect, None) or _as_it_is
            for column in statement.selected_columns
        ]

    def __call__(self, **values: object) -> T | None:
        """The first row. Raises what `Database.read` does."""
        if self._is_sqlite:
            with self._database.errors():
                try:
                    return self._by_the_driver(values)
                except sqlite3.Error:
                    pass
        row = self._database.read_row(lambda to: to.execute(self._statement, values).first())
        return None if row is None else self._found(*row)

    def _by_the_driver(self, values: dict[str, object]) -> T | None:
        given = tuple(convert(values[name]) for name, convert in self._binds)
        with closing(self._database.engine.raw_connection()) as connection:
            cursor = connection.cursor()
            try:
                row = cursor.execute(self._sql, given).fetchone()
            finally:
                cursor.close()
        if row is None:
            return None
        converted = (convert(value) for convert, value in zip(self._columns, row, strict=True))
        return self._found(*converted)


def _as_it_is(value: Any) -> Any:  # noqa: ANN401 - a column's
    return value
