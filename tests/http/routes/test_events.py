"""`GET /v1/events` and `GET /v1/jobs/{id}/events`: jobs watched live, without a gap, by any number of watchers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from arq.connections import ArqRedis
from pydantic import BaseModel

from errand.events import feed as job_feed
from errand.events import history
from errand.events.cursor import positions_in
from errand.events.fan_out import FanOut
from errand.http.answers import event_stream
from errand.http.answers.problems import Problem
from errand.http.routes import events
from errand.job.context import Context
from errand.job.job_type import job
from errand.monitor.job_snapshot import goes_on
from errand.queue.queue import Queue
from errand.redis.cluster.partitions import Partitions
from errand.redis.connection import connect
from errand.wire import keys
from settings import Settings
from tests.conftest import RunWorker, make_settings
from tests.dying import fragile
from tests.http.answers_seen import LETTER, faulty_fields, problem_of
from tests.http.routes.watching import Event, Service, serving
from tests.redis_servers import RedisServer
from tests.waiting import eventually

QUEUE = keys.queue("default")


class Walk(BaseModel):
    steps: int = 2


@job(max_tries=1)
async def walk(ctx: Context, args: Walk) -> str:
    for step in range(args.steps):
        await ctx.progress((step + 1) / args.steps, f"step {step + 1}")
    return "there"


@pytest.fixture
async def service(redis: ArqRedis, redis_url: str, settings: Settings) -> AsyncIterator[Service]:
    async with serving(settings, redis_url) as service:
        yield service


@pytest.fixture
def queue(redis: ArqRedis) -> Queue:
    return Queue(redis, ended_ttl_s=60)


def story(events: list[Event]) -> list[tuple[str, str]]:
    return [(event.name, event.data["id"]) for event in events]


async def put(service: Service, **params: Any) -> str:
    answer = await service.client.post("/v1/jobs/welcome_email", json=LETTER, params=params)
    return str(answer.json()["id"])


async def test_every_change_of_every_job_is_sent_as_it_happens(
    service: Service, queue: Queue, run_worker: RunWorker
) -> None:
    async with service.watching() as stream:
        assert stream.answer.headers["content-type"].startswith("text/event-stream")
        assert (stream.answer.headers["cache-control"], stream.answer.headers["x-accel-buffering"]) == (
            "no-store",
            "no",
        )
        assert (stream.opening.retry, stream.opening.comment) == ("2000", "watching")
        first = await queue.enqueue("walk", {})
        async with run_worker([walk]):
            events = await stream.events(5)
        kinds = ["queued", "in_progress", "progress", "progress", "succeeded"]
        assert story(events) == [(kind, first.job_id) for kind in kinds]
        assert [event.data["attempt"] for event in events] == [0, 1, 1, 1, 1]
        assert [event.data["status"] for event in events] == [
            kind.replace("progress", "in_progress").replace("in_in_", "in_") for kind in kinds
        ]
        assert {(event.data["type"], event.data["queue"]) for event in events} == {("walk", "default")}
        assert [event.data["progress"]["note"] for event in events[2:4]] == ["step 1", "step 2"]
        ids = [event.id for event in events]
        assert len(set(ids)) == 5 and "" not in ids
        later = await put(service, delay="1h")
        await queue.cancel(later)
        dead = await queue.enqueue("fragile", {})
        async with run_worker([fragile]):
            rest = await stream.events(5)
    assert story(rest) == [
        ("deferred", later),
        ("cancelled", later),
        ("queued", dead.job_id),
        ("in_progress", dead.job_id),
        ("failed", dead.job_id),
    ]
    assert rest[1].data["type"] == "welcome_email" and rest[4].data["attempt"] == 1


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, ["walk", "letter", "walk cancelled", "letter cancelled"]),
        ({"type": "walk"}, ["walk", "walk cancelled"]),
        ({"type": ["walk", "welcome_email"], "status": "cancelled"}, ["walk cancelled", "letter cancelled"]),
        (
            {"status": ["queued", "cancelled"], "queue": ["default", "mail"]},
            ["walk", "letter", "walk cancelled", "letter cancelled"],
        ),
        ({"queue": "cpu"}, []),
    ],
)
async def test_a_watcher_receives_what_its_filter_has(
    service: Service, queue: Queue, params: dict[str, Any], expected: list[str]
) -> None:
    async with service.watching(**params) as stream, service.watching() as everything:
        walking, letter = (await queue.enqueue("walk", {})).job_id, await put(service)
        await queue.cancel(walking)
        await queue.cancel(letter)
        await everything.events(4)
        found = await stream.events(len(expected))
        service.shared.feed.end_all("stopping")
        names = {walking: "walk", letter: "letter"}
        found += [event for event in await stream.until_end() if event.name]
    received = [names[event.data["id"]] + (" cancelled" if event.name == "cancelled" else "") for event in found]
    assert received == expected


async def test_one_job_is_watched_from_what_is_known_to_its_end(
    service: Service, queue: Queue, run_worker: RunWorker
) -> None:
    one, other = await queue.enqueue("walk", {"steps": 1}), await queue.enqueue("walk", {})
    async with service.watching(f"/v1/jobs/{one.job_id}/events") as stream:
        async with run_worker([walk]):
            events = [event for event in await stream.until_end() if event.name]
    assert story(events) == [(kind, one.job_id) for kind in ("queued", "in_progress", "progress", "succeeded")]
    assert events[0].data["job"]["status"] == "queued"
    assert events[-1].data["job"] == (await service.client.get(f"/v1/jobs/{one.job_id}")).json()
    assert events[-1].data["job"]["result"] == "there"
    assert "job" not in events[1].data
    assert other.job_id


async def test_a_job_that_has_ended_is_sent_once(service: Service) -> None:
    job_id = await put(service)
    await service.client.post(f"/v1/jobs/{job_id}/cancel")
    path = f"/v1/jobs/{job_id}/events"
    async with service.watching(path) as stream:
        (only,) = await stream.until_end()
    assert (only.name, only.data["job"]["status"]) == ("cancelled", "cancelled")
    async with service.watching(path, after=only.id) as stream:
        # by which a client knows not to come back
        assert stream.answer.status_code == 204


async def test_a_watcher_of_a_job_comes_back_for_what_it_missed(service: Service, queue: Queue) -> None:
    job_id = await put(service, delay="1h")
    path = f"/v1/jobs/{job_id}/events"
    async with service.watching(path) as stream:
        (first,) = await stream.events(1)
    await queue.cancel(job_id)
    async with service.watching(path, after=first.id) as stream:
        (end,) = [event for event in await stream.until_end() if event.name]
    assert (end.name, end.data["job"]["status"]) == ("cancelled", "cancelled")


async def test_a_watcher_that_comes_back_receives_what_it_missed_from_any_process_without_gap_or_repeat(
    service: Service, queue: Queue, settings: Settings, redis_url: str
) -> None:
    received: list[str] = []
    ids: list[str] = []

    async def produce() -> None:
        for _ in range(15):
            ids.extend([put.job_id for put in await asyncio.gather(*(queue.enqueue("walk", {}) for _ in range(10)))])

    async with serving(settings, redis_url) as other:
        async with service.watching() as stream:
            producing = asyncio.create_task(produce())
            received += [event.data["id"] for event in await stream.events(5)]
            last = stream.last_id
        for turn in range(6):
            async with (other, service)[turn % 2].watching(after=last) as stream:
                received += [event.data["id"] for event in await stream.events(10)]
                last = stream.last_id
        await producing
        async with other.watching(after=last) as stream:
            received += [event.data["id"] for event in await stream.events(150 - len(received))]
            last = stream.last_id
            more = await queue.enqueue("walk", {})
            assert (await stream.events(1))[0].data["id"] == more.job_id
    assert received == ids


@pytest.mark.parametrize("cursor", ["nonsense", "1-0@default", "99999999999999-0@default", "1-0@default,x"])
async def test_a_cursor_from_which_changes_are_missing_is_answered_with_missed(service: Service, cursor: str) -> None:
    job_id = await put(service)
    async with (
        service.watching(after=cursor) as stream,
        service.watching(f"/v1/jobs/{job_id}/events", after=cursor) as own,
    ):
        assert (await stream.events(1))[0].name == "missed"
        missed, present = await own.events(2)
        assert (missed.name, present.name, present.data["job"]["id"]) == ("missed", "queued", job_id)
        await put(service)
        assert (await stream.events(1))[0].name == "queued"


async def test_a_cursor_that_names_some_queues_or_unknown_ones_becomes_one_of_all(service: Service) -> None:
    job_id = await put(service)
    queues = set(positions_in(service.shared.feed.cursor) or {}) | {"default", "cpu", "mail", "webhooks"}
    for path in ("/v1/events", f"/v1/jobs/{job_id}/events"):
        async with service.watching(path, after="5-0@elsewhere") as stream:
            assert set(positions_in(stream.opening.id) or {}) == queues
            await service.client.post(f"/v1/jobs/{job_id}/reschedule", params={"delay": 60})
            (event,) = await stream.events(1)
            assert (event.name, set(positions_in(event.id) or {})) == ("deferred", queues)


async def test_a_heartbeat_names_no_cursor_past_what_has_not_been_sent(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed = service.shared.feed
    job_id = await put(service)
    hand_out, may_hand_out = FanOut._hand_out, asyncio.Event()

    async def held_back(fan_out: FanOut, changes: Any) -> None:
        await may_hand_out.wait()
        await hand_out(fan_out, changes)

    async with service.watching() as stream, service.watching(f"/v1/jobs/{job_id}/events") as own:
        await own.events(1)
        await put(service)
        await stream.events(1)
        monkeypatch.setattr(FanOut, "_hand_out", held_back)
        before, watchers = feed.cursor, list(feed._watchers)
        await service.client.post(f"/v1/jobs/{job_id}/reschedule", params={"delay": 60})

        async def received() -> bool:
            return feed.cursor != before

        await eventually(received)
        for watcher in watchers:
            watcher.wake()
        heartbeat = await stream.block()
        assert (heartbeat.comment, heartbeat.id) == ("still here", before)
        may_hand_out.set()
        for blocks in (stream, own):
            assert [event.name for event in await blocks.events(1)] == ["deferred"]


async def test_streams_stay_open_while_redis_is_stopped_and_go_on_where_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_feed, "HEARTBEAT_S", 0.3)
    # a disk that is busy has `everysec` put a write off, and a kill loses it: then the streams end, and say so
    server = RedisServer(tmp_path, options=["appendonly yes", "appendfsync always"])
    with server.running():
        async with serving(make_settings(tmp_path / "data"), server.url) as service:
            first = await put(service, delay=60)
            async with service.watching() as stream, service.watching(f"/v1/jobs/{first}/events") as own:
                assert story(await own.events(1)) == [("deferred", first)]
                server.kill()
                for blocks in (stream, own):
                    for _ in range(3):
                        assert (await blocks.block()).comment == "still here"
                server.start()

                async def back() -> bool:
                    return (await service.client.get(f"/v1/jobs/{first}")).status_code == 200

                await eventually(back)
                await service.client.post(f"/v1/jobs/{first}/reschedule", params={"delay": 30})
                second = await put(service)
                await service.client.post(f"/v1/jobs/{first}/cancel")
                expected = [("deferred", first), ("queued", second), ("cancelled", first)]
                assert story(await stream.events(3)) == expected
                assert story(await own.events(2)) == [expected[0], expected[2]]


async def test_changes_while_nobody_watched_are_answered_with_missed(service: Service, redis: ArqRedis) -> None:
    async with service.watching() as stream:
        await put(service)
        (seen,) = await stream.events(1)
    await redis.delete(keys.watched(QUEUE))
    await put(service)
    async with service.watching(after=seen.id) as stream:
        assert (await stream.events(1))[0].name == "missed"


async def test_changes_that_were_trimmed_are_answered_with_missed(service: Service, redis: ArqRedis) -> None:
    async with service.watching() as stream:
        await put(service)
        (seen,) = await stream.events(1)
    for _ in range(3):
        await put(service)
    await redis.xtrim(keys.history(keys.queue("mail")), maxlen=1, approximate=False)
    async with service.watching(after=seen.id) as stream:
        assert (await stream.events(1))[0].name == "missed"


async def test_all_watchers_of_a_process_share_one_subscription(service: Service, redis: ArqRedis) -> None:
    async def listeners() -> int:
        ((_, count),) = await redis.pubsub_numsub(keys.events(QUEUE))
        return int(count)

    async with contextlib.AsyncExitStack() as stack:
        streams = [await stack.enter_async_context(service.watching()) for _ in range(30)]
        assert (await listeners(), service.shared.feed.watchers) == (1, 30)
        job_id = await put(service)
        for stream in streams:
            assert (await stream.events(1))[0].data["id"] == job_id

    async def nobody() -> bool:
        return service.shared.feed.watchers == 0 and await listeners() == 0

    await eventually(nobody)


async def test_a_queue_that_nobody_watches_keeps_nothing(service: Service, redis: ArqRedis) -> None:
    await put(service)
    assert await redis.exists(keys.history(QUEUE), keys.watched(QUEUE)) == 0
    async with service.watching():
        assert 0 < await redis.pttl(keys.watched(QUEUE)) <= history.WATCH_MS
        await put(service)
        assert 0 < await redis.pttl(keys.history(QUEUE)) <= history.HISTORY_MS


async def test_a_silent_stream_shows_that_it_lives(
    redis: ArqRedis, redis_url: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_feed, "HEARTBEAT_S", 0.3)
    async with serving(settings, redis_url) as service:
        job_id = await put(service)
        async with service.watching() as stream, service.watching(f"/v1/jobs/{job_id}/events") as own:
            await own.events(1)
            for blocks in (stream, own):
                beat = await blocks.block()
                # with the cursor: it must not age while nothing that the filter has changes
                assert (beat.name, beat.comment) == ("", "still here") and beat.id
            # as if a stock worker ended it: nothing is published
            await redis.copy(keys.body(job_id), "spare")
            end = await Queue(redis, ended_ttl_s=60)._cancelled_outcome(job_id)
            await redis.set(keys.result(job_id), end)
            assert [event.name for event in await own.until_end()][-1] == "cancelled"


async def test_a_watcher_that_does_not_read_is_ended_and_holds_up_nobody(
    service: Service, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_stream, "CUT_AFTER_S", 0.2)
    feed = service.shared.feed
    with socket.socket() as lazy:
        lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        lazy.setblocking(False)
        loop = asyncio.get_running_loop()
        host, _, port = service.url.removeprefix("http://").partition(":")
        await loop.sock_connect(lazy, (host, int(port)))
        await loop.sock_sendall(lazy, b"GET /v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")

        async def watched() -> bool:
            return feed.watchers == 1

        await eventually(watched)
        async with service.watching() as stream:

            async def cut() -> bool:
                await queue.enqueue_many("walk", [{}] * 500)
                await stream.events(500)
                return feed.watchers == 1

            await eventually(cut)


async def test_a_client_that_hangs_up_is_noticed_without_an_event(service: Service) -> None:
    async with service.watching():
        assert service.shared.feed.watchers == 1

    async def noticed() -> bool:
        return service.shared.feed.watchers == 0

    await eventually(noticed)


@pytest.mark.parametrize(
    "more",
    [b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", b"%x\r\n%b\r\n" % (2_000_000, bytes(2_000_000))],
    ids=["another request", "a body without an end"],
)
async def test_a_client_that_has_sent_more_is_noticed_when_it_hangs_up(
    service: Service, more: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is read of it while another request waits: what is written for a sign of life meets nobody."""
    monkeypatch.setattr(job_feed, "HEARTBEAT_S", 0.1)
    reader, writer = await asyncio.open_connection("127.0.0.1", httpx.URL(service.url).port)
    body = b"" if more.startswith(b"GET") else b"Transfer-Encoding: chunked\r\n"
    writer.write(b"GET /v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\n" + body + b"\r\n")
    await reader.readuntil(b": watching")
    assert service.shared.feed.watchers == 1
    writer.write(more)
    await writer.drain()
    writer.close()

    async def noticed() -> bool:
        return service.shared.feed.watchers == 0

    await eventually(noticed)


async def test_a_stop_of_the_service_ends_every_stream_at_once(
    redis: ArqRedis, redis_url: str, settings: Settings
) -> None:
    async with serving(settings, redis_url) as service:
        async with service.watching() as stream:
            service.server.should_exit = True
            (last,) = await stream.until_end()
            assert "stops" in last.comment


async def test_a_stream_outlives_an_outage_of_redis_and_misses_nothing(tmp_path: Path) -> None:
    with RedisServer(tmp_path).running() as server:
        async with serving(make_settings(tmp_path / "data"), server.url) as service:
            async with service.watching() as stream:
                first = await put(service)
                assert story(await stream.events(1)) == [("queued", first)]
                async with contextlib.AsyncExitStack() as stack:
                    redis = connect(server.url, reply_timeout_s=5)
                    stack.push_async_callback(redis.aclose)
                    queue = Queue(redis, ended_ttl_s=60)
                    await redis.client_kill_filter(_type="pubsub")
                    missed = [(await queue.enqueue("walk", {})).job_id for _ in range(20)]
                assert story(await stream.events(20)) == [("queued", job_id) for job_id in missed]


async def test_more_watchers_than_a_process_takes_are_asked_to_come_back(
    redis: ArqRedis, redis_url: str, tmp_path: Path
) -> None:
    async with serving(make_settings(tmp_path, watcher_limit=2), redis_url) as service:
        async with service.watching(), service.watching():
            refused = await service.client.get("/v1/events")
            problem_of(refused, 503, "too-many-watchers")
            assert int(refused.headers["retry-after"]) > 0

        async def again() -> bool:
            async with service.watching() as stream:
                return stream.answer.status_code == 200

        await eventually(again)


async def test_what_is_wrong_is_said_before_the_stream_begins(redis: ArqRedis, redis_url: str, tmp_path: Path) -> None:
    settings = make_settings(tmp_path, api_keys="a-reading-key-of-tests:read,a-writing-key-of-tests:write")
    async with serving(settings, redis_url) as service:
        client = service.client
        problem_of(await client.get("/v1/events"), 401, "unauthorized")
        problem_of(
            await client.get("/v1/events", headers={"Authorization": "Bearer a-writing-key-of-tests"}), 403, "forbidden"
        )
        client.headers["Authorization"] = "Bearer a-reading-key-of-tests"
        problem_of(await client.get("/v1/jobs/nope/events"), 404, "unknown-job")
        assert faulty_fields(await client.get("/v1/events?status=done")) == ["query.status.0"]
        assert faulty_fields(await client.get("/v1/events?queue=nope")) == ["query.queue"]
        assert faulty_fields(await client.get("/v1/events?types=x")) == ["query.types"]
        assert faulty_fields(await client.get("/v1/events", headers={"Last-Event-ID": "x" * 8001})) == [
            "header.Last-Event-ID"
        ]
        head = await client.head("/v1/events")
        assert (head.status_code, head.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
        assert service.shared.feed.watchers == 0


async def test_the_document_shows_what_a_stream_holds(service: Service) -> None:
    document = (await service.client.get("/openapi.json")).json()
    for path in ("/v1/events", "/v1/jobs/{id}/events"):
        answers = document["paths"][path]["get"]["responses"]
        assert list(answers["200"]["content"]) == ["text/event-stream"]
        data = [
            json.loads(line.removeprefix("data: "))
            for line in answers["200"]["content"]["text/event-stream"]["example"].splitlines()
            if line.startswith("data: ")
        ]
        assert data and all(
            event.keys() <= document["components"]["schemas"]["JobEvent"]["properties"].keys() for event in data
        )


async def test_a_job_that_is_not_where_its_id_belongs_is_looked_for_in_all_other_partitions_at_once(
    redis: ArqRedis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with contextlib.AsyncExitStack() as stack:
        clients = [connect(redis_url, reply_timeout_s=10) for _ in range(4)]
        for client in clients:
            stack.push_async_callback(client.aclose)
        found = Partitions(clients)
        likely, *others = found.in_order("a")
        together = asyncio.Barrier(len(others))
        for client in others:
            monkeypatch.setattr(client, "pipeline", pipelines_that_meet(together, client.pipeline))
        assert not await goes_on(found, "a")
        to: Any = SimpleNamespace(partitions=found, queue_keys=[QUEUE])
        with pytest.raises(Problem, match="no job"):
            await events._read_job(to, "a")
        await Queue(likely, ended_ttl_s=60).enqueue("any", {}, job_id="a")
        assert await goes_on(found, "a"), "and there alone, if it is there"


def pipelines_that_meet(together: asyncio.Barrier, make: Any) -> Any:
    """Makes pipelines of which none is sent before all others are about to be."""

    def made(*, transaction: bool) -> Any:
        pipeline = make(transaction=transaction)
        execute = pipeline.execute

        async def execute_together() -> Any:
            async with asyncio.timeout(5):
                await together.wait()
            return await execute()

        pipeline.execute = execute_together
        return pipeline

    return made
