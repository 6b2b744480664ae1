"""ETags of jobs: when they change, what is answered 304, and what is not done to a job that has changed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import httpx
import pytest
from arq.connections import ArqRedis

from errand.dead_jobs.dead_jobs import DeadJobs
from errand.dead_jobs.replay import Replays
from errand.leases.leases import Claim, Finish, Leases
from errand.monitor.job_snapshot import JobSnapshot, read_job
from errand.queue.queue import Queue
from errand.wire import keys
from tests.conftest import RunWorker
from tests.dying import QUEUE, die, fragile
from tests.http.answers_seen import problem_of
from tests.http.routes.test_jobs import put_letter
from tests.waiting import eventually


@pytest.fixture
def queue(redis: ArqRedis) -> Queue:
    return Queue(redis, ended_ttl_s=60)


async def tag_of(client: httpx.AsyncClient, place: str) -> str:
    return str((await client.get(place)).headers["etag"])


async def seen(redis: ArqRedis, job_id: str) -> JobSnapshot:
    found = await read_job(redis, job_id)
    assert found is not None
    return found


async def test_what_a_client_has_is_not_sent_again(client: httpx.AsyncClient) -> None:
    place = await put_letter(client)
    first = await client.get(place)
    tag = first.headers["etag"]
    assert tag.startswith('"queued.')
    for known in (tag, f'"other", {tag}', f"W/{tag}", "*"):
        again = await client.get(place, headers={"If-None-Match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    for unknown in ('"other"', tag.strip('"'), "nonsense"):
        again = await client.get(place, headers={"If-None-Match": unknown})
        assert (again.status_code, again.content) == (200, first.content)


async def test_what_stands_beside_the_jobs_own_state_is_in_the_tag_and_keeps_nobody_from_acting(
    client: httpx.AsyncClient,
) -> None:
    place = await put_letter(client)
    unserved = await tag_of(client, place)
    await client.post("/v1/queues/mail/pause")
    assert (await client.get(place, headers={"If-None-Match": unserved})).json()["waiting"]["code"] == "queue_paused"
    assert (await client.post(f"{place}/cancel", headers={"If-Match": unserved})).status_code == 200


async def test_each_change_of_a_job_changes_its_tag_and_a_heartbeat_does_not(
    client: httpx.AsyncClient, redis: ArqRedis, queue: Queue
) -> None:
    put = await queue.enqueue("any", {}, delay_ms=60_000)
    place, leases = f"/v1/jobs/{put.job_id}", Leases(redis, queue=QUEUE, worker="one", lease_s=10)
    tags = [await tag_of(client, place)]

    async def changed() -> None:
        tag = await tag_of(client, place)
        assert tag not in tags
        assert await tag_of(client, place) == tag
        tags.append(tag)

    await queue.reschedule(put.job_id, delay_ms=30_000)
    await changed()
    await queue.reschedule(put.job_id)
    await changed()
    (claim,) = (await leases.claim(1)).claims
    await changed()
    await leases.renew({claim.job_id: claim.token}, {})
    assert await tag_of(client, place) == tags[-1]
    for fraction in (1, 2):
        await leases.show_progress(claim, b'{"fraction": 0.%d, "note": "", "at_ms": 5}' % fraction, keep_ms=60_000)
        await changed()
    await leases.finish([claim.handed_back()])
    await changed()
    (claim,) = (await leases.claim(1)).claims
    await changed()
    await leases.finish([Finish(job_id=claim.job_id, token=claim.token, status="deferred", due_in_ms=0)])
    await changed()
    await queue.cancel(put.job_id)
    await changed()


Act = Callable[[httpx.AsyncClient, str, dict[str, str]], Awaitable[httpx.Response]]


async def cancel(client: httpx.AsyncClient, place: str, headers: dict[str, str]) -> httpx.Response:
    return await client.post(f"{place}/cancel", headers=headers)


async def retry(client: httpx.AsyncClient, place: str, headers: dict[str, str]) -> httpx.Response:
    return await client.post(f"{place}/retry", headers=headers)


async def reschedule(client: httpx.AsyncClient, place: str, headers: dict[str, str]) -> httpx.Response:
    return await client.post(f"{place}/reschedule", params={"delay": "2h"}, headers=headers)


async def forget(client: httpx.AsyncClient, place: str, headers: dict[str, str]) -> httpx.Response:
    return await client.delete(place, headers=headers)


@pytest.mark.parametrize(
    ("act", "ended", "status"),
    [(cancel, False, 200), (reschedule, False, 200), (retry, True, 202), (forget, True, 204)],
)
@pytest.mark.parametrize("weak", [False, True])
async def test_a_job_is_acted_on_only_as_it_was_seen(
    client: httpx.AsyncClient, redis: ArqRedis, run_worker: RunWorker, act: Act, ended: bool, status: int, weak: bool
) -> None:
    if ended:
        place = f"/v1/jobs/{(await die(redis, run_worker, [{}]))[0]}"
        old = '"failed.0beec7b5ea3f0fdbc95d0dd47f3c5bc275da8a33.30e2bb7a4a5ef0b1"'
    else:
        place = await put_letter(client, delay="1h")
        old = await tag_of(client, place)
        await client.post(f"{place}/reschedule", params={"delay": "3h"})
    before = await client.get(place)
    now = before.headers["etag"]
    for outdated in (old, f'{old}, "other"', f"W/{now}" if weak else '"queued"'):
        refused = problem_of(await act(client, place, {"If-Match": outdated}), 412, "job-has-changed")
        assert before.json()["status"] in refused["detail"]
        assert (await client.get(place)).content == before.content
    assert (await act(client, place, {"If-Match": f"{old}, {now}"})).status_code == status


async def test_any_state_will_do_for_a_star(client: httpx.AsyncClient) -> None:
    place = await put_letter(client)
    cancelled = await client.post(f"{place}/cancel", headers={"If-Match": "*"})
    assert cancelled.status_code == 200
    assert cancelled.headers["etag"] == await tag_of(client, place)
    assert cancelled.headers["content-location"] == place
    problem_of(await client.post("/v1/jobs/nope/cancel", headers={"If-Match": "*"}), 404, "unknown-job")


async def test_a_state_that_forbids_the_act_is_told_first(client: httpx.AsyncClient) -> None:
    place = await put_letter(client)
    old = await tag_of(client, place)
    await client.post(f"{place}/cancel")
    problem_of(await client.post(f"{place}/cancel", headers={"If-Match": old}), 409, "wrong-state")
    problem_of(await reschedule(client, place, {"If-Match": old}), 409, "wrong-state")


@pytest.mark.parametrize("given", ["", "queued.1.2", '"open', "*, *", "W/x"])
async def test_what_is_no_tag_is_refused_with_what_to_send(client: httpx.AsyncClient, given: str) -> None:
    place = await put_letter(client)
    refused = await client.post(f"{place}/cancel", headers={"If-Match": given})
    assert "double quotes" in problem_of(refused, 400, "malformed-if-match")["detail"]
    assert (await client.get(place)).json()["status"] == "queued"


async def test_what_comes_between_look_and_act_is_seen_by_the_act(redis: ArqRedis, queue: Queue) -> None:
    """The look is the caller's; each of these comes with a revision that was the job's a moment ago."""
    leases = Leases(redis, queue=QUEUE, worker="one", lease_s=10)
    put = await queue.enqueue("any", {})
    revision = (await seen(redis, put.job_id)).revision
    (claim,) = (await leases.claim(1)).claims
    assert await queue.cancel(put.job_id, seen=revision) == "changed"
    assert await redis.exists(keys.cancels(QUEUE)) == 0
    running = (await seen(redis, put.job_id)).revision
    await leases.renew({claim.job_id: claim.token}, {})
    await leases.finish([failing(claim)])
    assert await queue.retry(put.job_id, seen=running) == "changed"
    assert await queue.reschedule(put.job_id, seen=running) == "changed"
    assert await queue.cancel(put.job_id, seen=running) == "changed"
    waiting = (await seen(redis, put.job_id)).revision
    assert await queue.retry(put.job_id, seen=waiting) == "retried"


async def test_of_a_job_that_runs_the_revision_outlasts_its_heartbeats(redis: ArqRedis, queue: Queue) -> None:
    leases = Leases(redis, queue=QUEUE, worker="one", lease_s=10)
    put = await queue.enqueue("any", {})
    (claim,) = (await leases.claim(1)).claims
    await leases.show_progress(claim, b'{"fraction": 0.5, "note": "half", "at_ms": 5}', keep_ms=60_000)
    revision = (await seen(redis, put.job_id)).revision
    score = await redis.zscore(QUEUE, put.job_id)

    async def later() -> bool:
        await leases.renew({claim.job_id: claim.token}, {})
        return bool(await redis.zscore(QUEUE, put.job_id) != score)

    await eventually(later)
    assert await queue.cancel(put.job_id, seen=revision) == "cancelling"


async def test_a_job_that_has_died_again_is_another_than_was_seen(
    redis: ArqRedis, queue: Queue, run_worker: RunWorker
) -> None:
    replays = Replays(DeadJobs(redis, queues=[QUEUE], ttl_s=60))
    (job_id,) = await die(redis, run_worker, [{}])
    revision = (await seen(redis, job_id)).revision
    assert await replays.one(job_id, queue=QUEUE, seen=revision) == "replayed"
    async with run_worker([fragile]):
        await eventually(lambda: redis.exists(keys.result(job_id)))
    assert await replays.one(job_id, queue=QUEUE, seen=revision) == "changed"
    assert not await queue.forget(job_id, seen=revision)
    assert await queue.forget(job_id, seen=(await seen(redis, job_id)).revision)


async def test_a_stock_workers_job_has_a_revision_as_well(redis: ArqRedis, queue: Queue) -> None:
    put = await queue.enqueue("any", {})
    await redis.set(keys.lease(put.job_id), b"1", px=60_000)
    await redis.incr(keys.tries(put.job_id))
    revision = (await seen(redis, put.job_id)).revision
    assert await queue.cancel(put.job_id, seen=revision) == "cancelling"


def failing(claim: Claim) -> Finish:
    """What an attempt leaves that is to be followed by another in a minute."""
    attempt = (
        b'{"number": 1, "due_at_ms": 1, "started_at_ms": 1, "worker": "one", "ended_at_ms": 2, "outcome": "retry", '
        b'"error": null, "next_attempt_at_ms": 3}'
    )
    return Finish(job_id=claim.job_id, token=claim.token, status="deferred", due_in_ms=60_000, attempt=attempt)


async def test_a_304_says_that_it_has_waited(client: httpx.AsyncClient) -> None:
    place = await put_letter(client)
    await client.post(f"{place}/cancel")
    headers = {"If-None-Match": await tag_of(client, place), "Prefer": "wait=5"}
    answer = await client.get(place, headers=headers)
    assert (answer.status_code, answer.headers["preference-applied"]) == (304, "wait=5")
