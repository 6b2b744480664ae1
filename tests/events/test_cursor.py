"""Cursors are read as they were written; other texts are none."""

from __future__ import annotations

import pytest

from errand.events.cursor import cursor_of, positions_in


@pytest.mark.parametrize("positions", [{"default": (1, 0)}, {"default": (1795237200000, 3), "cpu-2": (5, 17)}])
def test_a_cursor_is_read_as_it_was_written(positions: dict[str, tuple[int, int]]) -> None:
    assert positions_in(cursor_of(positions)) == positions


@pytest.mark.parametrize("text", ["", "1-0", "x@default", "1-0@default,", "1-0@", "1-0@a b", "9" * 30 + "-0@default"])
def test_other_texts_are_no_cursors(text: str) -> None:
    assert positions_in(text) is None
