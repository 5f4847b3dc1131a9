"""The tests' own way of going over a table: it can fail, and says where."""

from pathlib import Path

import pytest

from rows import each


def test_each_row_is_tested_and_every_failure_is_told(tmp_path: Path) -> None:
    """All rows are tried, also after one has failed; each failure names its row; fixtures come along."""
    seen: list[int] = []

    @each("row", [1, 2, 3, 4])
    def odd(row: int, tmp_path: Path) -> None:
        assert tmp_path.is_dir()
        seen.append(row)
        assert row % 2

    with pytest.raises(ExceptionGroup, match="2 of 4 rows") as caught:
        odd(tmp_path=tmp_path)
    assert seen == [1, 2, 3, 4]
    assert [error.__notes__ for error in caught.value.exceptions] == [["row: 2"], ["row: 4"]]


def test_an_empty_table_is_no_success() -> None:
    """Whose rows are gone tests nothing, and fails."""

    @each("row", [])
    def anything(row: int) -> None:
        raise AssertionError(row)

    with pytest.raises(AssertionError, match="no rows"):
        anything()


@each("row", ["a", "b"])
def test_a_fixture_is_made_once_for_all_rows(row: str, tmp_path: Path) -> None:
    """What a row leaves is there for the next: such rows must not need a place of their own."""
    assert not (tmp_path / row).exists()
    (tmp_path / row).touch()
    assert len(list(tmp_path.iterdir())) == 1 + (row == "b")
