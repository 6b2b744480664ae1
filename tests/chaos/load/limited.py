"""Puts jobs whose starts are controlled: limited, gathered in batches, debounced, throttled."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from random import Random
from typing import Any, Literal

from tests.chaos.load.ledger import Ask, Job, Ledger, Repeat

CUSTOMERS = 12
LARGE_SHARE = 0.5
"""Of the jobs are those of one customer: they wait for each other, and the other customers' must not."""
TOPICS = 4
EVERY_S = 0.5


class Limited:
    """Batches of limited jobs, for several customers."""

    def __init__(self, ask: Ask, random: Random, *, keyed_per_s: float, paced_per_s: float) -> None:
        self._ask = ask
        self._random = random
        self._per_s = {"keyed": keyed_per_s, "paced": paced_per_s}

    async def send_keyed(self) -> None:
        await self._send("keyed", run_s=self._random.choice([0.02, 0.05, 0.1]))

    async def send_paced(self) -> None:
        await self._send("paced", run_s=0.0)

    async def _send(self, type_name: str, *, run_s: float) -> None:
        many = max(round(self._per_s[type_name] * EVERY_S), 1)
        jobs = [Job(type_name, self._args(run_s)) for _ in range(many)]
        priority = {"priority": "5"} if self._random.random() < 0.2 else {}
        await self._ask(f"/v1/jobs/{type_name}/batch", jobs, priority, json=[job.args for job in jobs])

    def _args(self, run_s: float) -> dict[str, Any]:
        is_large = self._random.random() < LARGE_SHARE
        customer = 0 if is_large else self._random.randrange(1, CUSTOMERS)
        fails = {"fail_first": 1} if self._random.random() < 0.05 else {}
        return {"customer": f"customer-{customer}", "run_s": run_s, **fails}


class Gathered:
    """Jobs that run in batches; some of them fail for good, and some at first."""

    def __init__(self, ask: Ask, random: Random, *, per_s: float) -> None:
        self._ask = ask
        self._random = random
        self._many = max(round(per_s * EVERY_S), 1)

    async def send(self) -> None:
        jobs = [self._job() for _ in range(self._many)]
        await self._ask("/v1/jobs/gathered/batch", jobs, json=[job.args for job in jobs])

    def _job(self) -> Job:
        kind = self._random.random()
        if kind < 0.05:
            return Job("gathered", {"doomed": True}, "failed")
        return Job("gathered", {"fail_first": 1} if kind < 0.15 else {})


@dataclass(slots=True)
class Topic:
    """What equal jobs are about. One request of it is under way at a time: it is known which one is the last."""

    name: str
    number: int = 0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Repeated:
    """Jobs that are equal to the ones before them, of a few topics."""

    def __init__(self, ask: Ask, random: Random, ledger: Ledger) -> None:
        self._ask = ask
        self._random = random
        self._ledger = ledger
        self._made = 0
        self._topics: dict[str, list[Topic]] = {}

    async def send(self) -> None:
        kind: Literal["settled", "alert"] = self._random.choice(("settled", "alert"))
        topics = self._topics.setdefault(kind, [self._topic() for _ in range(TOPICS)])
        at = self._random.randrange(TOPICS)
        topic = topics[at]
        if topic.lock.locked():
            return
        async with topic.lock:
            topic.number += 1
            job = Job(kind, {"topic": topic.name, "number": topic.number})
            request, ids = await self._ask(f"/v1/jobs/{kind}", [job], json=job.args)
            if ids:
                self._ledger.repeats.append(Repeat(topic.name, topic.number, request, ids[0]))
            if request.unknown:
                # it may be done while the next one is under way
                topics[at] = self._topic()

    def _topic(self) -> Topic:
        self._made += 1
        return Topic(f"topic-{self._made}")
