"""Keeps the order of an ordered endpoint: a delivery waits until all that were put before it have ended.

A message joins the line before its delivery is put, so that no later one can overtake it, and the line is given its job
once it is: a worker may put it back time and again before it has a look at the line. What has ended leaves it; one
that ended otherwise, because it was cancelled or its worker died, is found by the next to wait for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from errand.job.control import Snooze
from errand.redis import script
from errand.redis.cluster.partitions import Partitions
from errand.redis.outage import is_outage
from errand.settings import WEBHOOK_QUEUE
from errand.webhooks.endpoints.soon import news
from errand.wire import keys

KEEP_MS = 30 * 86_400_000
PATIENCE_MS = 60_000
"""How long a message that was announced is waited for if nobody knows its delivery: its put may have failed."""
SOONEST_S, LATEST_S = 0.1, 60.0
UNTRIED_S = 1.0
"""The latest if the delivery that is waited for was put back before it was tried: it is made due as soon as there is
room."""
REDIS_WAIT_S = 2.0
"""When a delivery of which nobody knows where it stands is looked at again."""
APART_S = 0.02
"""Those that wait come again one after another, so far apart."""
MAX_ENDED = 20
"""How many that have ended without a word are removed by one look."""


class EndpointLines:
    """The lines of one installation."""

    def __init__(self, partitions: Partitions) -> None:
        self._partitions = partitions
        redis = self._redis = partitions.first
        self._look = script.load(redis, "webhooks/endpoints/gates/line")
        self._join = script.load(redis, "webhooks/endpoints/gates/join")
        self._put = script.load(redis, "webhooks/endpoints/gates/put")

    async def join(self, endpoint_ids: Sequence[str], message_id: str) -> bool:
        """Before the deliveries are put; if they are not put after all, it has to `leave`.

        False if it was in one of the lines before, or if there are none.
        """
        if not endpoint_ids:
            return False
        lines = [keys.webhook_line(each) for each in endpoint_ids]
        joined: int = await self._join(keys=lines, args=[message_id, KEEP_MS])
        return joined == len(lines)

    async def put(self, jobs: Mapping[str, str], message_id: str) -> None:
        """Its deliveries were put: the job of each endpoint. Raises redis' errors."""
        names = [name(each) for each in jobs for name in (keys.webhook_line, keys.webhook_line_jobs)]
        await self._put(keys=names, args=[message_id, KEEP_MS, *jobs.values()])

    async def leave(self, endpoint_ids: Sequence[str], message_id: str) -> None:
        """Its delivery has ended, or is none."""
        with news():  # if it is missed, the next in line finds that it has ended
            async with self._redis.pipeline(transaction=False) as pipeline:
                for each in endpoint_ids:
                    pipeline.zrem(keys.webhook_line(each), message_id)
                    pipeline.hdel(keys.webhook_line_jobs(each), message_id)
                await pipeline.execute()

    async def wait(self, endpoint_id: str, message_id: str, *, job_id: str) -> None:
        """Returns if it is the first. Raises Snooze if it is not, or if nobody can say."""
        try:
            after_s = await self._after_s(endpoint_id, message_id, job_id)
        except Exception as error:
            if not is_outage(error):
                raise
            after_s = REDIS_WAIT_S
        if after_s > 0:
            reason = f"others are before it at the endpoint {endpoint_id}"
            raise Snooze(reason, after_s=min(after_s, LATEST_S), code="endpoint_order")

    async def _after_s(self, endpoint_id: str, message_id: str, job_id: str) -> float:
        """When to look again; 0 if it is the first."""
        for _ in range(MAX_ENDED):
            found: tuple[int, bytes, bytes] = await self._look(
                keys=[keys.webhook_line(endpoint_id), keys.webhook_line_jobs(endpoint_id)],
                args=[message_id, job_id, PATIENCE_MS, KEEP_MS],
            )
            before, first, known = found
            if before == 0:
                return 0.0
            wait_s = SOONEST_S if known.startswith(b"@") else await self._wait_for_s(known.decode())
            if wait_s is not None:
                return wait_s + before * APART_S
            await self.leave([endpoint_id], first.decode())
        return SOONEST_S

    async def _wait_for_s(self, job_id: str) -> float | None:
        """When to look again if that job is the first in line; None if it has ended."""
        redis = await self._partitions.having(job_id)
        async with redis.pipeline(transaction=False) as pipeline:
            pipeline.exists(keys.body(job_id))
            pipeline.exists(keys.lease(job_id))
            pipeline.zscore(keys.queue(WEBHOOK_QUEUE), job_id)
            pipeline.exists(keys.attempts(job_id))
            pipeline.exists(keys.put_back(job_id))
            pipeline.time()
            exists, runs, due_ms, was_tried, was_put_back, (seconds, micros) = await pipeline.execute()
        if not exists:
            return None
        if runs or due_ms is None:
            return SOONEST_S
        left_s = float(due_ms / 1000 - seconds - micros / 1e6)
        return min(max(left_s, SOONEST_S), UNTRIED_S if was_put_back and not was_tried else LATEST_S)
