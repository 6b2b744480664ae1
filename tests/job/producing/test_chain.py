"""Chains: each step is put by the success of the one before, with its result."""

from __future__ import annotations

import pytest
from arq.connections import ArqRedis
from pydantic import BaseModel, SecretStr, model_validator

from errand import PREVIOUS, Client, Context, Fail, InvalidArgs, JobFailed, SyncClient, chain, group, job
from errand.dead_jobs.dead_jobs import DeadJobs
from errand.dead_jobs.replay import Replays
from errand.monitor.job_snapshot import read_job
from errand.wire import codec, keys
from settings import Settings
from tests.conftest import RunWorker
from tests.waiting import NEVER_S, eventually

FAULTY: set[str] = set()


class Text(BaseModel):
    """A text."""

    text: str
    times: int = 1


class Sealed(BaseModel):
    """Args that are checked together, and a secret."""

    number: int
    key: SecretStr

    @model_validator(mode="after")
    def check(self) -> Sealed:
        if self.number < 0:
            raise ValueError("is negative")
        return self


@job(max_tries=1)
async def say(ctx: Context, args: Text) -> str:
    """Repeats a text."""
    if args.text in FAULTY:
        raise Fail("cannot be said")
    return args.text * args.times


@job(max_tries=1)
async def count(ctx: Context, args: Text) -> int:
    """Counts letters."""
    return len(args.text)


@job(max_tries=1)
async def seal(ctx: Context, args: Sealed) -> str:
    """Uses a secret."""
    return f"{args.number} {args.key.get_secret_value() == 'word'}"


@job(max_tries=1)
async def start(ctx: Context, args: Text) -> str:
    """Has a chain follow."""
    return ctx.add_task(chain(say.s(text=args.text), count.s(text=PREVIOUS))).id


JOBS = [say, count, seal, start]


async def test_each_step_is_given_the_result_of_the_one_before(
    redis: ArqRedis, redis_url: str, settings: Settings, run_worker: RunWorker
) -> None:
    async with Client(settings, redis_url=redis_url), run_worker(JOBS):
        handle = await chain(
            say.s(text="ab", times=2),
            count.options(delay="1ms").s(text=PREVIOUS),
            seal.s(number=PREVIOUS, key=SecretStr("word")),
        ).enqueue()
        assert await handle.result(timeout_s=NEVER_S) == "4 True"
        assert (await handle.status(), await handle.cancel()) == ("succeeded", "ended")
        assert [event.status async for event in handle.events()] == ["succeeded"] * 3
    counted = codec.loads(await redis.get(keys.result(handle.steps[1].id)))
    assert (counted["k"], counted["flow"]) == ({"text": "abab"}, {"parent": handle.steps[0].id})


async def test_a_job_may_have_one_follow_it(
    redis: ArqRedis, redis_url: str, settings: Settings, run_worker: RunWorker
) -> None:
    async with Client(settings, redis_url=redis_url), run_worker(JOBS):
        last_id = await (await start.enqueue(text="abc")).result(timeout_s=NEVER_S)

        async def last() -> int | None:
            job = await read_job(redis, last_id)
            return job.result if job is not None else None

        assert await eventually(last) == 3


async def test_a_step_that_fails_ends_it_and_its_replay_goes_on(
    redis: ArqRedis, redis_url: str, settings: Settings, run_worker: RunWorker
) -> None:
    async with Client(settings, redis_url=redis_url), run_worker(JOBS):
        FAULTY.add("x")
        handle = await chain(say.s(text="x"), count.s(text=PREVIOUS)).enqueue()
        with pytest.raises(JobFailed, match="cannot be said"):
            await handle.result(timeout_s=NEVER_S)
        assert (await handle.status(), await redis.exists(keys.body(handle.id))) == ("failed", 0)
        FAULTY.remove("x")
        queues = [keys.queue("default")]
        replays = Replays(DeadJobs(redis, queues=queues, ttl_s=600))
        assert await replays.one(handle.steps[0].id, queue=queues[0]) == "replayed"
        assert await handle.result(timeout_s=NEVER_S) == 1


async def test_a_cancel_ends_it_where_it_is(redis: ArqRedis, redis_url: str, settings: Settings) -> None:
    async with Client(settings, redis_url=redis_url):
        handle = await chain(say.options(delay="1h").s(text="x"), count.s(text=PREVIOUS)).enqueue()
        assert (await handle.status(), await handle.cancel()) == ("deferred", "cancelled")
    kept = codec.loads(await redis.get(keys.result(handle.steps[0].id)))
    assert [step["id"] for step in kept["flow"]["then"]] == [handle.id]


def test_a_program_without_a_loop_puts_one(redis_url: str, settings: Settings) -> None:
    with SyncClient(settings, redis_url=redis_url) as client:
        handle = client.enqueue(chain(say.options(delay="1h").s(text="x"), count.s(text=PREVIOUS)))
        assert handle.cancel() == "cancelled"
        joined = client.enqueue(group(say.options(delay="1h").s(text="x"), then=say.s(text="all have ended")))
        assert (joined.status(), joined.cancel()) == ("deferred", "cancelled")


async def test_what_does_not_fit_is_refused_before_anything_is_put() -> None:
    with pytest.raises(InvalidArgs, match="times"):
        say.s(text=PREVIOUS, times="many")
    with pytest.raises(InvalidArgs, match="text"):
        say.s(times=2)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="txt is unknown; did you mean 'text'"):
        say.s(txt=PREVIOUS)  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="nothing comes before"):
        await chain(say.s(text=PREVIOUS)).enqueue()
    with pytest.raises(ValueError, match="1 to 1000 steps"):
        chain()  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="unique_key"):
        say.options(unique_key="x").s(text="y")


async def test_a_result_that_does_not_fit_the_next_step_fails_that_one(
    redis: ArqRedis, redis_url: str, settings: Settings, run_worker: RunWorker
) -> None:
    async with Client(settings, redis_url=redis_url), run_worker(JOBS):
        handle = await chain(count.s(text="abc"), say.s(text=PREVIOUS)).enqueue()
        with pytest.raises(JobFailed, match="InvalidArgs: text: Input should be a valid string"):
            await handle.result(timeout_s=NEVER_S)
