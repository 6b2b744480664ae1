"""`make fuzz-images`: damaged images by the hundred thousand, in the pool, under its limits.

Each is made smaller or refused in words about itself. What counts as a fault: a process that dies, a computation that
does not end, one that takes more CPU time or memory than it may, an error of another kind, words that name a path.
Each fault is shown with its seed: `make fuzz-images SEED=123 COUNT=1` looks at it again.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from errand.images.options import ImageOptions
from errand.images.pixels.pipeline import Request, render
from errand.images.refusal import ImageRefused
from errand.images.size import Size
from errand.resources.process_pool import ProcessPool
from tests.images.mutations import mutated
from tests.peak_memory import peak_mib

REQUEST = Request(sizes=[Size(width=24), Size(width=20, height=20, fit="cover", format="webp")])
LENIENT = Request(sizes=[Size(width=24, format="png")], strictness="lenient", animation="keep")

MEMORY_BYTES = 512 * 1024**2
OPTIONS = ImageOptions(memory_bytes=MEMORY_BYTES, source_megapixels=10)
"""A damaged header may announce any number of pixels: up to the limit they are decoded, if the mode is lenient."""

LIMIT_S = 60
"""On the clock, for one image of 48 x 32 pixels: it is for a machine that is busy."""

MOST_CPU_S = 5.0
MOST_RESIDENT_MB = MEMORY_BYTES // 1024**2 + 100
MAX_WORDS = 200
BATCH = 50


def outcome(seed: int, folder: Path) -> str:
    """What became of a seed: "made", or why it was refused; with "FAULT" in front if it should not have been so."""
    started = time.process_time()
    said = ""
    for request in (REQUEST, LENIENT):
        (folder / "source").write_bytes(mutated(seed))
        try:
            render(folder / "source", folder, request, OPTIONS)
            said = said or "made"
        except ImageRefused as refused:
            said = said or str(refused)
        except Exception as error:  # noqa: BLE001  # each other kind is a fault
            return f"FAULT {type(error).__name__}: {error}"
    if (spent := time.process_time() - started) > MOST_CPU_S:
        return f"FAULT {spent:.1f} s of CPU time: {said}"
    return f"FAULT words: {said}" if "/" in said or len(said) > MAX_WORDS else said


def outcomes(first: int, end: int) -> tuple[list[str], float]:
    """Those of several seeds, and the most memory, in MB, that this process has had so far."""
    with tempfile.TemporaryDirectory() as folder:
        found = [outcome(seed, Path(folder)) for seed in range(first, end)]
    return found, peak_mib()


class Account:
    """What was found so far."""

    def __init__(self) -> None:
        self.kinds: Counter[str] = Counter()
        self.faults: list[str] = []
        self.resident_mb = 0.0

    def add(self, seed: int, said: str) -> None:
        self.kinds["made" if said == "made" else "fault" if said.startswith("FAULT") else "refused"] += 1
        if said.startswith("FAULT"):
            self.faults.append(f"{seed}: {said}")
            sys.stdout.write(f"{self.faults[-1]}\n")

    def __str__(self) -> str:
        kinds = ", ".join(f"{number:,} {kind}" for kind, number in self.kinds.most_common())
        return f"{self.kinds.total():,} images: {kinds}; at most {self.resident_mb:.0f} MB in a process"


async def _try(pool: ProcessPool, account: Account, first: int, end: int) -> None:
    """A batch; if its process dies or is late, each of its seeds alone, to know which it was."""
    try:
        found, resident_mb = await pool.run(LIMIT_S * 5, outcomes, first, end)
    except Exception as error:  # noqa: BLE001  # the same
        if end - first == 1:
            account.add(first, f"FAULT {type(error).__name__}: {error}")
            return
        for seed in range(first, end):
            await _try(pool, account, seed, seed + 1)
        return
    account.resident_mb = max(account.resident_mb, resident_mb)
    for number, said in enumerate(found):
        account.add(first + number, said)


async def fuzz(*, seed: int, count: int, processes: int) -> Account:
    """Tries the seeds from the first on."""
    account = Account()
    batches = iter(range(seed, seed + count, BATCH))
    async with ProcessPool.open(processes=processes, memory_limit_bytes=MEMORY_BYTES) as pool:

        async def go_on() -> None:
            for first in batches:
                await _try(pool, account, first, min(first + BATCH, seed + count))
                if account.kinds.total() % 5_000 < BATCH:
                    sys.stdout.write(f"… {account}\n")
                    sys.stdout.flush()

        await asyncio.gather(*(go_on() for _ in range(processes)))
    return account


def main() -> int:
    """Prints the faults and an account; the exit code is 0 if there is no fault."""
    options = argparse.ArgumentParser(prog="make fuzz-images", description=__doc__)
    options.add_argument("--seed", type=int, default=0, help="the first one (0)")
    options.add_argument("--count", type=int, default=100_000, help="how many images (100,000)")
    options.add_argument("--processes", type=int, default=2)
    given = options.parse_args()
    account = asyncio.run(fuzz(seed=given.seed, count=given.count, processes=given.processes))
    sys.stdout.write(f"{account}\n")
    return 1 if account.faults or account.resident_mb > MOST_RESIDENT_MB else 0


if __name__ == "__main__":
    sys.exit(main())
