"""Letters to one domain: so many in a time, over so many connections, and what waits costs no try and no other."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from arq.connections import ArqRedis

from errand.job.context import Context
from errand.job.control import Snooze
from errand.job.once import Once
from errand.mail.domains.pace import LONGEST_LOOK_S, DomainConnections, DomainRates
from errand.mail.domains.slow_domains import Pause, SlowDomains
from errand.monitor.job_snapshot import JobSnapshot
from errand.monitor.waiting import why_waiting
from errand.settings import MAIL_QUEUE
from errand.settings.mail import DomainRate
from errand.wire import keys
from jobs.welcome_email import welcome_email
from tests.conftest import RunWorker, make_settings
from tests.jobs.test_welcome_email import deferred, enqueue
from tests.mail.raw_server import WAITS, RawServer
from tests.waiting import NEVER_S, eventually
from tests.worker.test_worker import due_now, ended


async def code_of(redis: ArqRedis, job: JobSnapshot) -> str | None:
    why = await why_waiting(redis, job, silent_s=10)
    return None if why is None else why.code


async def test_a_domain_gets_so_many_letters_in_a_time_each_at_a_moment_of_its_own(
    redis: ArqRedis, run_worker: RunWorker, tmp_path: Path
) -> None:
    async with RawServer.serving() as raw:
        settings = make_settings(tmp_path, smtp_url=f"smtp://{raw.url}", mail_domain_rates="example.com=1/h,*=100/s")
        async with run_worker([welcome_email], settings):
            await ended(redis, await enqueue(redis))
            waiting = [await enqueue(redis, f"bo{number}@example.com") for number in (1, 2)]
            first, second = [await deferred(redis, job_id) for job_id in waiting]
            assert (await ended(redis, await enqueue(redis, "cy@example.org"))).status == "succeeded"
            assert len(raw.letters) == 2
            # somebody who reschedules it changes nothing: the domain's next moment is what it was
            await due_now(redis, first.id, queue=MAIL_QUEUE)
            again = await deferred(redis, first.id)
            await redis.hset(keys.once(first.id), "turn", json.dumps({"state": "done", "value": 1}))  # type: ignore[misc]
            await due_now(redis, first.id, queue=MAIL_QUEUE)
            done = await ended(redis, first.id)
    due_s = [round(((job.run_at_ms or 0) / 1000 - time.time()) / 3600) for job in (first, second, again)]
    # the two run at once: either may have been first
    assert sorted(due_s[:2]) == [1, 2] and due_s[2] == due_s[0]
    assert await code_of(redis, second) == "domain_paced"
    assert (first.attempt, first.attempts, done.status, done.attempt) == (0, (), "succeeded", 1)


async def waits_s(rates: DomainRates, kept: dict[str, bytes]) -> float:
    """How long an attempt at a letter has to wait, of which `kept` is remembered; 0 if it may be sent."""

    async def once(name: str) -> Once:
        async def write(state: bytes, *, wait: bool) -> None:
            kept[name] = state

        return Once(name, kept=json.loads(kept.get(name, b"{}")), write=write)

    try:
        ctx = Context(job_id="a", attempt=1, max_tries=3, enqueued_at=datetime.now(UTC), effect=once)
        await rates.admit(ctx, "example.com")
    except Snooze as snooze:
        return snooze.after_s
    return 0.0


async def test_each_attempt_takes_a_moment_whatever_the_clocks_of_workers_say(
    redis: ArqRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates = DomainRates(redis, {"*": DomainRate(domain="*", quota=1, window_s=3600)})
    letter: dict[str, bytes] = {}
    right_s = time.time
    assert await waits_s(rates, {}) == 0
    with monkeypatch.context() as patched:
        patched.setattr("time.time", lambda: right_s() + 3600)
        assert await waits_s(rates, letter) == pytest.approx(3600, abs=NEVER_S)
    assert await waits_s(rates, letter) == pytest.approx(3600, abs=NEVER_S)
    letter["turn"] = b'{"state": "done", "value": 1}'
    assert await waits_s(rates, letter) == 0
    assert await waits_s(rates, letter) == pytest.approx(7200, abs=NEVER_S), "the second one has another moment"


async def test_a_clock_of_redis_that_was_set_back_holds_up_no_letters(redis: ArqRedis) -> None:
    rates = DomainRates(redis, {"*": DomainRate(domain="*", quota=1, window_s=3600)})
    written_us = int((time.time() + 7200) * 1_000_000)
    await redis.set(keys.domain_rate("example.com"), f"{written_us + 3_600_000_000} {written_us}")
    assert await waits_s(rates, {}) == pytest.approx(3600, abs=NEVER_S)
    slow = SlowDomains(redis)
    paused = await slow.slow_down("example.com")
    name = keys.slow_domain("example.com")
    assert (await slow.pause_of("example.com") or paused).rest_s == pytest.approx(paused.rest_s, abs=NEVER_S)
    await redis.pexpire(name, await redis.pttl(name) + 3_600_000)
    assert await slow.pause_of("example.com") == Pause(0, 1)


async def test_a_domain_holds_so_many_connections_and_the_others_are_free_for_others(
    redis: ArqRedis, run_worker: RunWorker, tmp_path: Path
) -> None:
    async with RawServer.serving(DOT=[WAITS]) as raw:
        settings = make_settings(tmp_path, smtp_url=f"smtp://{raw.url}", mail_connections=2, mail_domain_connections=1)
        async with run_worker([welcome_email], settings):
            slow = await enqueue(redis)
            await eventually(lambda: raw.has_come_to("250", 1))
            second = await deferred(redis, await enqueue(redis, "bo@example.com"))
            other = await ended(redis, await enqueue(redis, "cy@example.org"))
            assert (other.status, len(raw.letters), second.attempts) == ("succeeded", 2, ())
            assert await code_of(redis, second) == "domain_busy"
            raw.go_on.set()
            assert (await ended(redis, slow)).status == "succeeded"
            await due_now(redis, second.id, queue=MAIL_QUEUE)
            assert (await ended(redis, second.id)).status == "succeeded"


def test_letters_that_wait_for_a_connection_look_again_one_after_another() -> None:
    connections, waits_s = DomainConnections(1), []
    with connections.one_for("example.com"):
        for _ in range(400):
            with pytest.raises(Snooze) as snooze, connections.one_for("example.com"):
                pass
            waits_s.append(snooze.value.after_s)
        with connections.one_for("example.org"):
            pass
    assert waits_s == sorted(waits_s) and waits_s[1] - waits_s[0] > 0.2 and waits_s[-1] == LONGEST_LOOK_S
    with connections.one_for("example.com"):
        pass


def test_without_a_limit_there_is_none() -> None:
    connections = DomainConnections(None)
    with connections.one_for("example.com"), connections.one_for("example.com"):
        pass
