"""Holds docs/security.md to its word: each row of the threat model names tests, and they are there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
MODEL = (ROOT / "docs" / "security.md").read_text().partition("## Who may do what")[2].partition("\n## ")[0]


def test_each_row_names_a_test_that_exists() -> None:
    rows = [line for line in MODEL.splitlines() if line.startswith("| ") and not line.startswith("| who ")]
    assert len(rows) > 12
    for row in rows:
        named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", row)
        assert named, f"names no test: {row}"
        for place, name in named:
            there = re.search(rf"^(async )?def {name}\(", (ROOT / place).read_text(), re.MULTILINE)
            assert there, f"{place} has no {name}"
