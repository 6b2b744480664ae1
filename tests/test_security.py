"""Holds docs/security.md to its word: each row of the threat model names tests, and they are there."""

from __future__ import annotations

from tests.named_tests import check_rows, section_of


def test_each_row_names_a_test_that_exists() -> None:
    check_rows(section_of("security.md", "Who may do what"), head="who ", at_least=13)
