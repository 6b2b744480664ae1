"""Holds docs/reliability.md to its word: the test that is named for a promise is there."""

from __future__ import annotations

from tests.named_tests import check_rows, section_of


def test_each_promise_names_a_test_that_exists() -> None:
    check_rows(section_of("reliability.md", "The promises"), head="what", at_least=21)
