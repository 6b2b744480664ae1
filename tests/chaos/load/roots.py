"""Puts jobs that have steps follow, many by one request, and one more that waits for some of them."""

from __future__ import annotations

from random import Random
from typing import Any

from tests.chaos.load.ledger import Ask, Job

EVERY_S = 0.5
WAITS_FOR = 3


class Roots:
    """Roots whose steps take no time, some time, or fail; each of them succeeds itself."""

    def __init__(self, ask: Ask, random: Random, *, per_s: float, lease_s: float) -> None:
        self._ask = ask
        self._random = random
        self._many = max(round(per_s * EVERY_S), 1)
        self._kinds: list[dict[str, Any]] = [{}, {"run_s": 0.1 * lease_s}, {"fail_first": 1}, {"doomed": True}]

    async def send(self) -> None:
        roots = [Job("root", {**self._kind()}) for _ in range(self._many)]
        _, ids = await self._ask("/v1/jobs/root/batch", roots, json=[job.args for job in roots])
        if ids:
            others = ids[:WAITS_FOR]
            late = Job("late", {"after": others})
            await self._ask("/v1/jobs/late", [late], {"depends_on": ",".join(others)}, json=late.args)

    def _kind(self) -> dict[str, Any]:
        return self._random.choices(self._kinds, weights=[60, 20, 10, 10])[0]
