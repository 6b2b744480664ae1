"""Looks up the tests that a page of docs/ names for what it promises."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent


def section_of(page: str, heading: str) -> str:
    """The text below that heading of a page under docs/."""
    return (ROOT / "docs" / page).read_text().partition(f"## {heading}")[2].partition("\n## ")[0]


def check_rows(section: str, *, head: str, at_least: int) -> None:
    """Every row of the section's tables names tests that exist; `head` is how the row of headings begins."""
    rows = [line for line in section.splitlines() if line.startswith("| ") and not line.startswith(f"| {head}")]
    assert len(rows) >= at_least
    for row in rows:
        named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", row)
        assert named, f"names no test: {row}"
        for path, name in named:
            there = re.search(rf"^(async )?def {name}\(", (ROOT / path).read_text(), re.MULTILINE)
            assert there, f"{path} has no {name}"
