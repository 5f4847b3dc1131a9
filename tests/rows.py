"""One test over all rows of a table: it makes every assertion of each, and tells every row that fails.

    @each("code", ERROR_CODES)
    def test_every_error_is_explained(code: str) -> None: …

For tables of hundreds of rows, whose assertions take less than what a test of its own would cost in
bookkeeping (some milliseconds in each of its workers). Where a row does work, `parametrize` is right.
"""

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

T = TypeVar("T")
_Test = Callable[..., None]


def each(
    name: str, rows: Iterable[T], *, named: Callable[[T], str] = str
) -> Callable[[_Test], _Test]:
    """The test, once for each row, which it gets as the argument `name`; fixtures are made once."""
    table = tuple(rows)

    def over(test: _Test) -> _Test:
        signature = inspect.signature(test)
        others = [one for one in signature.parameters.values() if one.name != name]

        @functools.wraps(test)
        def over_all(**fixtures: Any) -> None:
            assert table, "the table has no rows"
            failed: list[Exception] = []
            for row in table:
                try:
                    test(**{name: row}, **fixtures)
                except Exception as error:  # noqa: BLE001 - whatever it is, it is told with its row
                    error.add_note(f"{name}: {named(row)}")
                    failed.append(error)
            if failed:
                raise ExceptionGroup(f"{len(failed)} of {len(table)} rows", failed)

        over_all.__signature__ = signature.replace(parameters=others)  # type: ignore[attr-defined]
        return over_all

    return over
