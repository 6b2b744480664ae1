"""What another program writes over keys of endpoints, uploads, lanes, suppressions and bulk runs: each costs itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from arq.connections import ArqRedis

from errand.leases.groups import Groups
from errand.leases.leases import Finish, Leases
from errand.leases.rows import FollowUpRow
from errand.monitor.job_snapshot import read_job
from errand.queue.queue import Queue
from errand.wire import codec, keys
from tests.conftest import OpenClient
from tests.redis.test_bad_keys import HOOK, MAKERS, QUEUE

EVENT = {"event": "e.a", "data": {}, "tenant": "t"}
TUS = {"Tus-Resumable": "1.0.0", "Content-Type": "application/offset+octet-stream"}


@dataclass
class Installation:
    """An endpoint of each kind, an upload that is half there, a suppressed address."""

    http: httpx.AsyncClient
    redis: ArqRedis
    endpoint: str
    upload: str

    @property
    def names(self) -> list[str]:
        """The keys that all queues share, and those of one endpoint."""
        of_all = set(keys.types("a")) & set(keys.types("b"))
        of_one = (keys.webhook_line, keys.webhook_line_jobs, keys.webhook_pace, keys.webhook_attempts)
        return [*sorted(of_all), *(name(self.endpoint) for name in of_one), keys.webhook_endpoint(self.endpoint)]

    async def faults(self) -> list[str]:
        """What is an error after a first request may have failed: that one has found the bad key, and removed it."""
        seen = []
        for method, path, options in self.requests:
            for turn in range(2):
                status = (await self.http.request(method, path, **options)).status_code
                if status >= 500 and (turn, status) != (0, 503):
                    seen.append(f"{method} {path} is {status}")
        return seen

    @property
    def requests(self) -> list[tuple[str, str, dict[str, Any]]]:
        views = (
            *("/dashboard", "/v1/suppressions", "/v1/webhook-endpoints", "/v1/job-types", "/v1/audit"),
            *(f"/v1/webhook-endpoints/{self.endpoint}", f"/v1/webhook-endpoints/{self.endpoint}/attempts"),
        )
        return [
            ("POST", "/v1/webhook-events", {"json": EVENT}),
            ("POST", "/v1/jobs/webhook?priority=3", {"json": HOOK}),
            ("PUT", "/v1/suppressions/b@c.example", {"json": {}}),
            *(("GET", view, {}) for view in views),
        ]


@pytest.fixture
async def installation(redis: ArqRedis, open_client: OpenClient) -> AsyncIterator[Installation]:
    async with open_client() as http:
        made = {"url": "http://203.0.113.9/", "ordered": True, "rate_per_s": 1, "events": ["e.*"], "tenant": "t"}
        endpoint = (await http.post("/v1/webhook-endpoints", json=made)).json()["id"]
        upload = (await http.post("/v1/uploads", json={"bytes": 4})).json()["url"]
        yield Installation(http, redis, endpoint, upload)


async def test_a_bad_key_of_all_queues_or_of_an_endpoint_fails_no_request_but_the_first(
    installation: Installation,
) -> None:
    """Each key with two types of four."""
    redis, kinds = installation.redis, ("string", "hash", "zset", "stream")
    wrong = []
    for number, name in enumerate(name for name in installation.names for _ in range(2)):
        kind, kept = kinds[(number + number // 8) % 4], await redis.dump(name)
        command, *content = MAKERS[kind]
        await redis.delete(name)
        await redis.execute_command(command, name, *content)  # type: ignore[no-untyped-call]
        wrong += [f"{name} as {kind}: {fault}" for fault in await installation.faults()]
        await redis.delete(name)
        if kept:
            await redis.restore(name, 0, kept)
    assert wrong == []


async def test_garbage_of_the_right_type_keeps_no_event_from_its_endpoint(installation: Installation) -> None:
    redis, endpoint = installation.redis, installation.endpoint
    await redis.zadd(keys.WEBHOOK_ENDPOINTS, {b"\xff y": 0, b"other": 0, b"third": 0})
    await redis.hset(keys.webhook_endpoint("other"), "record", "no JSON")  # type: ignore[misc]  # types both its clients
    await redis.hset(keys.webhook_endpoint("third"), mapping={"record": "7", "revision": b"\xff"})  # type: ignore[misc]
    await redis.hset(keys.WEBHOOK_THROTTLED, mapping={endpoint: "soon", b"\xff": "9" * 5_000})  # type: ignore[misc]
    await redis.set(keys.WEBHOOK_ENDPOINTS_REVISION, "x")
    await redis.xadd(keys.webhook_attempts(endpoint), {"x": "y"})
    await redis.hset(keys.SUPPRESSIONS, "a@b.example", "no JSON")  # type: ignore[misc]
    await redis.zadd(keys.SUPPRESSED_AT, {b"a@b.example": "-inf", b"\xff": "inf"})
    await redis.zadd(keys.BULK_RUNS, {b"\xff": 1})
    assert await installation.faults() == []
    sent = await installation.http.post("/v1/webhook-events", json=EVENT)
    assert [delivery["endpoint_id"] for delivery in sent.json()["deliveries"]] == [endpoint]
    listed = (await installation.http.get("/v1/suppressions")).json()["suppressions"]
    assert "a@b.example" in {each["address"] for each in listed}, "it gets no mail as before"


@pytest.mark.parametrize("content", [("SET", "x"), ("HSET", "offset", "x"), ("HSET", "file", "x", "offset", "1")])
async def test_an_upload_that_was_written_over_is_gone(installation: Installation, content: tuple[str, ...]) -> None:
    (name,) = await installation.redis.keys("errand:upload:*")
    await installation.redis.delete(name)
    await installation.redis.execute_command(content[0], name, *content[1:])  # type: ignore[no-untyped-call]
    for method in ("GET", "PATCH", "PUT", "DELETE"):
        answer = await installation.http.request(method, installation.upload, headers={**TUS, "Upload-Offset": "0"})
        assert answer.status_code == 404, method


async def test_a_group_that_another_program_has_named_hides_no_other(redis: ArqRedis) -> None:
    await redis.sadd(keys.groups(QUEUE), b"\xff", "@one")  # type: ignore[misc]
    assert await Groups(redis, queue=QUEUE).names() == ["@one"]


@pytest.mark.parametrize("name", [keys.lanes(QUEUE), keys.lane(QUEUE, 3), keys.dead(QUEUE), keys.dead_by_group(QUEUE)])
async def test_an_outcome_is_written_with_all_that_belongs_to_it_over_a_bad_key(redis: ArqRedis, name: str) -> None:
    """A script that fails in its midst has written already: made again, it finds no lease and does nothing more."""
    leases = Leases(redis, queue=QUEUE, worker="one", lease_s=60)
    for job_id in ("good", "dead"):
        await Queue(redis, ended_ttl_s=60).enqueue("any", {}, job_id=job_id)
    good, dead = (await leases.claim(2)).claims
    await redis.set(name, "x")
    body = codec.dumps({"t": None, "f": "next", "a": (), "k": {}, "et": 1, "priority": 3})
    rows = [FollowUpRow(QUEUE, "next", body, 0, None)]
    kept: dict[str, Any] = {"result": b"{}", "keep_result_ms": 60_000, "type": "any"}
    outcomes = [
        Finish(job_id=good.job_id, token=good.token, status="succeeded", follow_ups=rows, **kept),
        Finish(job_id=dead.job_id, token=dead.token, status="failed", dead="any f 1700000000000 dead", **kept),
    ]
    assert await leases.finish(outcomes) == [True, True]
    assert [claim.job_id for claim in (await leases.claim(1)).claims] == ["next"]
    assert await redis.zrange(keys.lane(QUEUE, 3), 0, -1) == [b"next"]
    assert await redis.zcard(keys.dead(QUEUE)) == await redis.zcard(keys.dead_by_group(QUEUE)) == 1
    assert await redis.zcard(keys.ended_index(QUEUE, "succeeded:any")) == 1


async def test_entries_of_another_program_among_the_dead_hide_no_group(installation: Installation) -> None:
    odd = (b"a f zzz id", b"a f 00000000000001x id", b"a \xff 000000000000001 id", b"a f", b"a f 999999999999999 \xff")
    await installation.redis.zadd(keys.dead_by_group(QUEUE), dict.fromkeys(odd, 0))
    await installation.redis.zadd(keys.dead(QUEUE), dict.fromkeys(odd, 1))
    for path in ("/v1/dead-jobs/groups", "/v1/dead-jobs", "/v1/dead-jobs?type=a", "/dashboard/dead-jobs"):
        assert (await installation.http.get(path)).status_code == 200, path
    replayed = await installation.http.post("/v1/dead-jobs/replay", json={"type": "a"})
    assert replayed.status_code == 202, replayed.text


@pytest.mark.parametrize(
    "error", [{}, 1, None, {"type": ["a"], "message": 5}, {"type": "a", "message": "b", "fingerprint": 1}]
)
async def test_an_attempt_that_another_program_has_written_ends_no_worker(redis: ArqRedis, error: object) -> None:
    await Queue(redis, ended_ttl_s=60).enqueue("any", {}, job_id="one")
    await redis.rpush(keys.attempts("one"), codec.dumps({"s": False, "r": {"$error": error}}))  # type: ignore[misc]
    (claim,) = (await Leases(redis, queue=QUEUE, worker="one", lease_s=60).claim(1)).claims
    assert (claim.job_id, claim.losses) == ("one", 0)


async def test_odd_attempts_and_tries_of_another_program_hide_no_job(redis: ArqRedis) -> None:
    await Queue(redis, ended_ttl_s=60).enqueue("any", {}, job_id="one")
    odd = {"number": "x", "due_at_ms": 1, "started_at_ms": 1, "worker": "w", "ended_at_ms": [], "outcome": "failed"}
    later = {**odd, "number": 1, "started_at_ms": 1e300, "ended_at_ms": 1}
    await redis.rpush(keys.attempts("one"), codec.dumps(odd), codec.dumps(later))  # type: ignore[misc]
    await redis.set(keys.tries("one"), "9" * 5_000)
    job = await read_job(redis, "one", queues=[QUEUE])
    assert job is not None and (job.attempt, job.attempts) == (0, ())


@pytest.mark.parametrize(
    "written",
    [
        ("SET", keys.tries("one"), 2**63 - 1),
        ("HSET", keys.counters(QUEUE), "attempts:succeeded", 2**63 - 1),
        ("XADD", keys.history(QUEUE), f"{2**64 - 1}-{2**64 - 1}", "change", ""),
    ],
    ids=["tries", "counters", "history"],
)
async def test_what_counts_no_further_stops_no_worker(redis: ArqRedis, written: tuple[Any, ...]) -> None:
    leases = Leases(redis, queue=QUEUE, worker="one", lease_s=60)
    await redis.set(keys.watched(QUEUE), "0-0")
    await redis.execute_command(*written)  # type: ignore[no-untyped-call]
    await Queue(redis, ended_ttl_s=60).enqueue("any", {}, job_id="one")
    (claim,) = (await leases.claim(1)).claims
    assert (await leases.renew({"one": claim.token}, {"attempts:succeeded": 1})).lost == []


async def test_a_long_body_or_entry_of_another_program_holds_up_redis_for_a_moment(redis: ArqRedis) -> None:
    """A pattern that looks for its match from each character on took seconds for these, and minutes for a mebibyte."""
    queue, leases = Queue(redis, ended_ttl_s=60), Leases(redis, queue=QUEUE, worker="one", lease_s=60)
    for job_id in ("body", "entry"):
        await queue.enqueue("any", {}, job_id=job_id, delay_ms=0 if job_id == "entry" else 60_000)
    await redis.sadd(keys.lanes(QUEUE), 1)  # type: ignore[misc]
    await redis.set(keys.body("body"), '"priority":' + "x" * 40_000)
    await redis.set(keys.tries("entry"), 1)
    await redis.hset(keys.running(QUEUE), "entry", "1 " + "5" * 40_000)  # type: ignore[misc]
    before_s = (await redis.info("cpu"))["used_cpu_user"]
    assert await queue.reschedule("body", delay_ms=1_000) == "rescheduled"
    assert len((await leases.claim(1)).claims) == 1
    assert (await redis.info("cpu"))["used_cpu_user"] - before_s < 0.3


async def test_a_child_that_another_program_has_named_keeps_no_other_from_its_cancel(redis: ArqRedis) -> None:
    queue = Queue(redis, ended_ttl_s=60)
    for job_id in ("join", "child"):
        await queue.enqueue("any", {}, job_id=job_id, delay_ms=60_000)
    await redis.hset(keys.needs("join"), "queue", QUEUE)  # type: ignore[misc]
    await redis.zadd(keys.children("join"), {"nonsense": 1, f"{QUEUE} child": 2})
    assert await queue.cancel("join") == "cancelled"
    assert await redis.hget(keys.cancels(QUEUE), "child") == b"*"  # type: ignore[misc]
