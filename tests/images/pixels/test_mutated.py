"""Damaged images by the hundred: each is made smaller, or refused in words about itself; no process dies.

`make fuzz-images` tries as many as one likes.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.images.fuzz import MOST_RESIDENT_MB, fuzz, outcome


async def test_a_mutated_image_is_made_or_refused() -> None:
    account = await fuzz(seed=0, count=200, processes=1)
    assert account.faults == []
    assert account.kinds.total() == 200 and 0 < account.kinds["made"] < 100
    assert account.resident_mb < MOST_RESIDENT_MB


@pytest.mark.parametrize("seed", [239_675])
def test_what_a_mutation_has_shown_once(seed: int, tmp_path: Path) -> None:
    assert not outcome(seed, tmp_path).startswith("FAULT")
