"""Parks the many jobs of a type that nobody knows, so that a million of them do not hold up the others.

A worker that meets one claims it and puts it back, which costs about as much as to run a trivial job. If it meets many,
those that are due next are parked by calls that do nothing else, hundreds in each.
"""

from __future__ import annotations

import asyncio
from collections import Counter

import structlog

from errand.leases.parked import Parked

log = structlog.get_logger("errand.worker")


MANY = 20
"""So many jobs of one type are met before more of them are looked for."""


FEW = 0.1
"""The search ends when no more than this part of the jobs that are due next is of that type."""


MAX_TYPES = 1_000
"""Of which jobs are counted at once: a producer may make up a type for each of its jobs."""


class Parking:
    """The search of one worker for jobs of types that nobody knows; one type at a time."""

    def __init__(self, parked: Parked) -> None:
        self._parked = parked
        self._met: Counter[str] = Counter()
        self._search: asyncio.Task[None] | None = None

    def meet(self, type_name: str, *, wait_s: float, note: bytes) -> None:
        """Another job of that type was met; it is parked for about `wait_s`, and `note` says why."""
        if len(self._met) >= MAX_TYPES and type_name not in self._met:
            self._met.clear()
        self._met[type_name] += 1
        if self._met[type_name] >= MANY and (self._search is None or self._search.done()):
            self._met.clear()
            self._search = asyncio.create_task(self._park(type_name, wait_s=wait_s, note=note))

    async def close(self) -> None:
        """Ends the search."""
        if self._search is not None:
            self._search.cancel()
            await asyncio.gather(self._search, return_exceptions=True)

    async def _park(self, type_name: str, *, wait_s: float, note: bytes) -> None:
        looked = parked = total = 0
        try:
            while parked >= FEW * looked:
                looked, parked = await self._parked.park_due(type_name, wait_s=wait_s, note=note)
                total += parked
                if parked == 0:
                    break
        except Exception as error:  # noqa: BLE001  # Redis is away, say; each that is claimed is parked all the same
            log.debug("jobs of an unknown type could not be parked", error=str(error))
        if total:
            log.warning("nobody knows the type of these jobs, they wait", type=type_name, jobs=total)
