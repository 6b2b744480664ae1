"""What acts on the jobs that a queue has: cancel, retry, reschedule or forget one; pause and resume them all."""

from __future__ import annotations

from typing import Literal

from arq.connections import ArqRedis
from arq.jobs import serialize_result
from arq.utils import timestamp_ms, to_unix_ms

from errand.queue.uniqueness import UNTIL_END_LIMIT_MS
from errand.redis import script
from errand.wire import codec, keys, records
from errand.wire.flow import Flow
from errand.wire.indexes import DeadEntry, EndedName
from errand.wire.limits import KeptLimits
from errand.wire.origin import JobOrigin
from errand.wire.running import lost_attempt

CancelAnswer = Literal["cancelled", "cancelling", "ended", "unknown", "changed"]


RescheduleAnswer = Literal["rescheduled", "in_progress", "ended", "unknown", "changed", "held"]


RetryAnswer = Literal["retried", "queued", "deferred", "in_progress", "ended", "unknown", "changed"]


class QueueActions:
    """The jobs of one queue, in Arq's format, stock producers' included."""

    def __init__(self, redis: ArqRedis, *, name: str, ended_ttl_s: float) -> None:
        """`ended_ttl_s`: how long a cancelled job is kept."""
        self.name = name
        self.key = keys.queue(name)
        self._redis = redis
        self._ended_ttl_s = ended_ttl_s
        self._cancel = script.load(redis, "queue/cancel")
        self._retry = script.load(redis, "queue/retry")
        self._reschedule = script.load(redis, "queue/reschedule")
        self._forget = script.load(redis, "queue/forget")

    async def cancel(self, job_id: str, *, seen: str = "") -> CancelAnswer:
        """Ends a job as `cancelled`: at once if it has not started or waits for its next try.

        `cancelling` if it runs: its worker is notified and ends it. A stock worker must have `allow_abort_jobs`.
        `changed` if `seen` is given and is not the job's revision (`snapshot.JobSnapshot`) any more: nothing is done
        then, and so it is with the calls below.
        """
        names, arguments = await self._cancel_call(job_id, spare_running=False, seen=seen)
        answer: bytes = await self._cancel(keys=names, args=arguments)
        if answer == b"stock":
            await self._redis.zadd(keys.ABORT, {job_id: timestamp_ms()})
            return "cancelling"
        return answer.decode()  # type: ignore[return-value]  # the script's other words

    async def retry(self, job_id: str, *, seen: str = "") -> RetryAnswer:
        """Makes a job that has failed and waits for its next try due now; says what any other job is.

        A job that is deferred for its first attempt is left so. For one that has ended see `Replays`.
        """
        answer: bytes = await self._retry(keys=self._names_of(job_id), args=[job_id, keys.events(self.key), seen])
        return answer.decode()  # type: ignore[return-value]  # the script's six words

    async def reschedule(
        self, job_id: str, *, delay_ms: int = 0, run_at_ms: int | None = None, seen: str = ""
    ) -> RescheduleAnswer:
        """Makes a job that is queued or deferred, for whichever attempt, due at another time; the times are as those
        of `enqueue`. Says what any other job is.
        """
        body = await self._redis.get(keys.body(job_id))
        names = self._names_of(job_id)
        if body is not None and (unique := codec.unique_of(body)):
            names.append(keys.unique(self.key, *unique))
        run_at = "" if run_at_ms is None else run_at_ms
        answer: bytes = await self._reschedule(
            keys=names, args=[job_id, keys.events(self.key), delay_ms, run_at, UNTIL_END_LIMIT_MS, seen]
        )
        return answer.decode()  # type: ignore[return-value]  # the script's six words

    def _names_of(self, job_id: str) -> list[str]:
        """What the scripts look at that move a job which waits."""
        return [
            self.key,
            keys.wake(self.key),
            keys.body(job_id),
            keys.result(job_id),
            keys.lease(job_id),
            keys.tries(job_id),
            keys.running(self.key),
            keys.attempts(job_id),
            keys.progress(job_id),
        ]

    async def forget(self, job_id: str, *, seen: str = "") -> bool:
        """Forgets an ended job and what is remembered of its effects; False if no job of that id has ended, or
        if it is another than was `seen`.
        """
        result = await self._redis.get(keys.result(job_id))
        if result is None:
            return False
        record = codec.readable_or_empty(result)
        entry = DeadEntry.in_result(job_id, record)
        return bool(
            await self._forget(
                keys=[
                    keys.dead(self.key),
                    keys.dead_by_group(self.key),
                    keys.result(job_id),
                    keys.once(job_id),
                    keys.ended(self.key),
                    keys.needs(job_id),
                    keys.needed_by(job_id),
                    keys.children(job_id),
                ],
                args=[str(entry or ""), str(EndedName.in_result(record)), job_id, seen],
            )
        )

    async def pause(self) -> None:
        """Nothing is claimed from the queue until it is resumed; what runs goes on."""
        await self._redis.set(keys.paused(self.key), timestamp_ms())

    async def resume(self) -> None:
        """Ends a pause and wakes a worker."""
        async with self._redis.pipeline(transaction=True) as transaction:
            transaction.delete(keys.paused(self.key))
            transaction.lpush(keys.wake(self.key), 1)
            await transaction.execute()

    async def _cancel_call(
        self, job_id: str, *, spare_running: bool, seen: str = "", not_after: int | str = ""
    ) -> tuple[list[str], list[str | bytes | int]]:
        """KEYS and ARGV of the script."""
        names = [
            self.key,
            keys.running(self.key),
            keys.body(job_id),
            keys.result(job_id),
            keys.lease(job_id),
            keys.tries(job_id),
            keys.attempts(job_id),
            keys.progress(job_id),
            keys.once(job_id),
            keys.cancels(self.key),
            keys.ended(self.key),
            keys.needed(self.key),
        ]
        outcome = await self._cancelled_outcome(job_id)
        record = codec.loads(outcome) if outcome else {}
        type_name, last = EndedName.in_result(record).type if outcome else "", Flow.of(record).last
        names.append(keys.needed(keys.queue(last.queue)) if last else keys.needed(self.key))
        keep_ms = int(self._ended_ttl_s * 1000)
        channels = keys.events(self.key), keys.cancel_calls(self.key)
        ends = last.id if last else ""
        return names, [job_id, outcome, keep_ms, *channels, int(spare_running), type_name, seen, not_after, ends]

    async def _cancelled_outcome(self, job_id: str) -> bytes:
        """The result record of a cancelled job; empty for an unknown one, which the script will not use."""
        async with self._redis.pipeline(transaction=True) as transaction:
            transaction.mget(keys.body(job_id), keys.tries(job_id))
            transaction.lrange(keys.attempts(job_id), 0, -1)
            transaction.hget(keys.running(self.key), job_id)
            (body, tries), attempts, started = await transaction.execute()
        if body is None:
            return b""
        job, record = codec.job_in(body)
        now_ms = timestamp_ms()
        # the script ends a job that was started only if its lease has gone: its worker may live on, unheard
        lost = lost_attempt(started, at_ms=now_ms) if started is not None else None
        made = [*codec.readable(attempts), *([lost] if lost else [])]
        more = {"attempts": made, **KeptLimits.of(record).fields(), **Flow.of(record).fields()}
        more |= JobOrigin.of(record, job_id=job_id).fields()
        error = records.Error(
            "Cancel", "cancelled after its worker was lost" if lost else "cancelled before it started"
        )
        outcome = serialize_result(
            job.function,
            job.args,
            job.kwargs,
            int(tries or 0),
            to_unix_ms(job.enqueue_time),
            False,
            records.JobCancelled(error),
            now_ms,
            now_ms,
            ref=job_id,
            queue_name=self.key,
            job_id=job_id,
            serializer=lambda outcome: codec.dumps({**outcome, **more}),
        )
        return outcome or b""
