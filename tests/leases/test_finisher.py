"""Outcomes are written by a task that ends with its worker, also if Redis never takes them."""

from __future__ import annotations

import asyncio
from pathlib import Path

from errand.leases.finisher import Finisher
from errand.leases.leases import Finish, Leases
from errand.redis.connection import connect
from errand.redis.outage import Outage
from errand.wire import keys

QUEUE = keys.queue(keys.DEFAULT_QUEUE)


async def test_a_write_that_is_given_up_has_ended_when_the_drain_returns(tmp_path: Path) -> None:
    client = connect(f"unix://{tmp_path}/nobody.sock", reply_timeout_s=5)
    leases = Leases(client, queue=QUEUE, worker="w", lease_s=10)
    finisher = Finisher(leases, Outage(quiet=True), done=lambda outcomes, written: None)
    before = asyncio.all_tasks()
    finisher.put(Finish(job_id="a", token="w#1", status="succeeded"))
    assert await finisher.drain(0.05) == 1, "one outcome is not written"
    assert finisher.idle and asyncio.all_tasks() == before
    await client.aclose()
