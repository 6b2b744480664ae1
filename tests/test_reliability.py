"""Holds docs/reliability.md to its word: the test that is named for a promise is there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "reliability.md").read_text()
PROMISES = PAGE.partition("## The promises")[2].partition("\n## ")[0]


def test_each_promise_names_a_test_that_exists() -> None:
    rows = [line for line in PROMISES.splitlines() if line.startswith("| ") and not line.startswith("| what")]
    assert len(rows) > 20
    for row in rows:
        named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", row)
        assert named, f"names no test: {row}"
        for place, name in named:
            there = re.search(rf"^(async )?def {name}\(", (ROOT / place).read_text(), re.MULTILINE)
            assert there, f"{place} has no {name}"
