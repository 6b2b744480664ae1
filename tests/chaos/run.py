"""One chaos run: a house, a load, faults, the way back to health, the accounts."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

import httpx

from tests.chaos import accounting, journal
from tests.chaos.accounting import Accounts
from tests.chaos.cluster.failovers import Failover
from tests.chaos.cluster.faults import ClusterFaults
from tests.chaos.cluster.store import ClusterStore
from tests.chaos.effects import Effects
from tests.chaos.faults import Fault, Faults
from tests.chaos.house import House
from tests.chaos.limits.accounts import Disturbances, LimitAccounts
from tests.chaos.load.load import Load
from tests.chaos.load.mix import Mix
from tests.chaos.receivers import Receivers
from tests.chaos.server.faults import ServerFaults
from tests.chaos.server.server import OneServer

LEASE_S = 2.0
"""Short, so that pauses past it and recoveries from kills fit many times into a run."""
DRAIN_S = 2.0
"""Some jobs run longer: a drain hands them back."""
GAP_S = 2.5
SETTLE_LIMIT_S = 180.0
ASKED_AGAIN = 200
SLEEP_S, STANDSTILL_S = 0.02, 0.25
DUE_SOON_S = 60.0
"""What is due later than that after the end is pending: deferred that far, or waiting for such a retry."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to do."""

    seconds: float
    seed: int
    workers: int
    rate: float
    fsync: str
    cluster: str = ""
    """Which servers the cluster is of; empty: Redis is one server."""
    partitions: int = 1
    """Of the queues; more than one in a cluster only."""


@dataclass(frozen=True, slots=True)
class Run:
    """What happened."""

    plan: Plan
    faults: Sequence[Fault]
    kinds: Sequence[str]
    redis_away: Sequence[tuple[float, float]]
    accounts: Accounts
    effects: Effects
    at_once: tuple[Sequence[str], Sequence[str]]
    """Jobs that two attempts ran at the same time: those that no fault explains, and those that one does."""
    limits: LimitAccounts
    disturbances: Disturbances
    cancel_answers: Sequence[int | None]
    settled_s: float
    """How long the queue took to run empty once all was healthy; infinite where it did not."""
    asked_again: Mapping[str, bool]
    """Of some accepted jobs, by id: whether the API says of them what Redis has."""
    deserted: Sequence[str]
    """Programs that ended though nobody had stopped them."""
    stood_still: Sequence[tuple[float, float]]
    """When this program itself was not run by the machine, from and to, in seconds since the epoch."""
    overdue: int
    """Programs that had to be killed because they did not end when asked to."""
    failovers: Sequence[Failover] = ()
    """Of a cluster."""


async def run(plan: Plan, folder: Path, *, say: Callable[[str], None] = print) -> Run:
    """Runs that plan in an empty folder; the logs of all processes stay there."""
    random = Random(plan.seed)
    settings = {"LEASE_S": str(LEASE_S), "DRAIN_S": str(DRAIN_S), "WORKER_CONCURRENCY": "50"}
    settings |= {"REPLICAS": "1", "QUEUE_PARTITIONS": str(plan.partitions)} if plan.cluster else {}
    async with (
        Receivers.serving(Random(random.random())) as receivers,
        _store(plan, folder, random) as store,
        House.open(folder, receivers, store, workers=plan.workers, settings=settings) as house,
    ):
        load = Load(
            api_url=house.api_url,
            hook_url=receivers.http_url,
            lease_s=LEASE_S,
            mix=Mix.of_chaos(plan.rate),
            random=Random(random.random()),
        )
        faults = _faults(house, store, Random(random.random()), say)
        async with _watched_clock() as standstills:
            await load.run_while(faults.run(plan.seconds))
        settled_s = await _settle(house)
        accounts = await accounting.read(store.url, load.ledger, partitions=plan.partitions)
        noted = list(journal.read(house.data_dir))
        disturbances = Disturbances(faults.made, [still for still in standstills if still[1] - still[0] > LEASE_S / 3])
        effects = Effects.of(receivers, noted, house.data_dir)
        return Run(
            plan=plan,
            faults=faults.made,
            kinds=faults.kinds(),
            redis_away=faults.redis_away,
            accounts=accounts,
            effects=effects,
            at_once=effects.at_once(disturbances),
            limits=LimitAccounts.of(accounts.records, noted, load.ledger.repeats, disturbances),
            disturbances=disturbances,
            cancel_answers=load.ledger.cancel_answers,
            settled_s=settled_s,
            asked_again=await _ask_again(house, accounts, random),
            deserted=[end for program in house.programs for end in program.deserted],
            stood_still=standstills,
            overdue=sum(program.overdue for program in house.programs),
            failovers=faults.failovers if isinstance(faults, ClusterFaults) else (),
        )


def _store(plan: Plan, folder: Path, random: Random) -> AbstractAsyncContextManager[OneServer | ClusterStore]:
    if plan.cluster:
        return ClusterStore.open(folder, server=plan.cluster, fsync=plan.fsync, partitions=plan.partitions)
    return OneServer.open(folder, workers=plan.workers, random=random, fsync=plan.fsync)


def _faults(house: House, store: OneServer | ClusterStore, random: Random, say: Callable[[str], None]) -> Faults:
    if isinstance(store, ClusterStore):
        return ClusterFaults(house, random, lease_s=LEASE_S, gap_s=GAP_S, say=say, store=store)
    return ServerFaults(house, random, lease_s=LEASE_S, gap_s=GAP_S, say=say, server=store)


async def _settle(house: House) -> float:
    """How many seconds the healthy house takes until its queues are empty; infinite where they do not become so."""
    healthy_s = time.monotonic()
    await house.ready()
    settled = await accounting.runs_empty(house.store.clients, due_within_s=DUE_SOON_S, limit_s=SETTLE_LIMIT_S)
    return time.monotonic() - healthy_s if settled else math.inf


@asynccontextmanager
async def _watched_clock() -> AsyncIterator[list[tuple[float, float]]]:
    """Notes when a short sleep took long: the machine had no time for us then, and none for the house either."""
    standstills: list[tuple[float, float]] = []

    async def watch() -> None:
        while True:
            slept_s = time.time()
            await asyncio.sleep(SLEEP_S)
            if time.time() - slept_s > STANDSTILL_S:
                standstills.append((slept_s, time.time()))

    watching = asyncio.ensure_future(watch())
    try:
        yield standstills
    finally:
        watching.cancel()


async def _ask_again(house: House, accounts: Accounts, random: Random) -> dict[str, bool]:
    """Looks at a few jobs as a client would."""
    some = random.sample(sorted(accounts.wishes), min(ASKED_AGAIN, len(accounts.wishes)))
    async with httpx.AsyncClient(base_url=house.api_url, timeout=10) as client:
        answers = [(job_id, await client.get(f"/v1/jobs/{job_id}")) for job_id in some]
    known = {job_id: record.status for job_id, record in accounts.records.items()}
    return {job_id: answer.json().get("status") == known.get(job_id) for job_id, answer in answers}
