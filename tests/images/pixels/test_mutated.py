"""Damaged images by the hundred: each is made smaller, or refused in words about itself; no process dies.

`python -m tests.images.pixels.test_mutated 0 100000` tries as many as one likes; a seed alone shows what it does.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from errand.images.options import ImageOptions
from errand.images.pixels.pipeline import Request, render
from errand.images.refusal import ImageRefused
from errand.images.size import Size
from errand.resources.process_pool import ProcessPool
from tests.images.mutations import mutated

REQUEST = Request(sizes=[Size(width=24), Size(width=20, height=20, fit="cover", format="webp")])


def outcomes(first: int, end: int) -> list[str]:
    """What became of each seed: "made", or why it was refused."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(first, end):
            Path(folder, "source").write_bytes(mutated(seed))
            try:
                render(Path(folder, "source"), Path(folder), REQUEST, ImageOptions())
                found.append("made")
            except ImageRefused as refused:
                found.append(str(refused))
    return found


async def test_a_mutated_image_is_made_or_refused() -> None:
    async with ProcessPool.open(processes=1, memory_limit_bytes=1024**3) as pool:
        found = await pool.run(100, outcomes, 0, 200)
    assert len(found) == 200 and 0 < found.count("made") < 100
    assert [said for said in found if "/" in said or len(said) > 200] == []


if __name__ == "__main__":
    for number in range(int(sys.argv[1]), int(sys.argv[-1]) + (len(sys.argv) == 2)):
        outcome = outcomes(number, number + 1)[0]
        if len(sys.argv) == 2 or number % 1000 == 0:
            sys.stdout.write(f"{number}: {outcome}\n")
