"""Answers of a pipeline as rows."""

import pytest

from errand.redis.rows import rows_of


def test_each_row_has_its_answers() -> None:
    assert list(rows_of([1, 2, 3, 4], 2)) == [(1, 2), (3, 4)]
    assert list(rows_of([], 3)) == []


def test_answers_that_fill_no_whole_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="5 answers are no rows of 2"):
        rows_of([1, 2, 3, 4, 5], 2)
