"""Lists of many jobs: fills a queue in Errand's own keys, then asks for pages over HTTP, one after the other."""

from __future__ import annotations

import http.client
import json
import time
from typing import Any

import uvloop

from errand.redis.connection import connect
from errand.wire import codec, keys
from errand.wire.job_id import new_job_id
from tests.bench.candidate import main, percentile_ms
from tests.bench.http_side import BODY, KEY

QUEUE = keys.queue(keys.DEFAULT_QUEUE)
FILL = 10_000
PAGE = 20
DEEP = 1_000
ASKED = 400


async def fill(url: str, number: float, ended: float) -> dict[str, Any]:
    """So many jobs, one in each ms, all ended or all due; what the index takes of Redis for each ended one."""
    redis = connect(url, reply_timeout_s=60)
    now_ms, index = int(time.time() * 1000), keys.ended_index(QUEUE, "succeeded:webhook")
    job = {"t": None, "f": "webhook", "a": (), "k": BODY, "et": now_ms}
    end = {**job, "t": 1, "s": True, "r": {"status": 204}, "st": now_ms, "ft": now_ms, "q": QUEUE, "attempts": []}
    kept, key, places = (end, keys.result, index) if ended else (job, keys.body, QUEUE)
    record, listed_bytes = codec.dumps(kept), 0
    for start in range(0, int(number), FILL):
        ids = {new_job_id(): now_ms - at for at in range(start, min(start + FILL, int(number)))}
        await redis.mset({key(job_id): record for job_id in ids})
        before = (await redis.info("memory"))["used_memory"]
        await redis.zadd(places, ids)
        listed_bytes += (await redis.info("memory"))["used_memory"] - before
    if ended:
        await redis.execute_command("SADD", keys.ended(QUEUE), "succeeded:webhook")
    await redis.aclose()
    return {"bytes_per_listed_job": listed_bytes / number}


async def ask(url: str, port: float) -> dict[str, Any]:
    """How long the first page takes, and the 1,000th, or the last where there are fewer; p50 of many."""
    connection = http.client.HTTPConnection("127.0.0.1", int(port))
    first = f"/v1/jobs?limit={PAGE}"
    deep, pages = first, 1
    while (following := _page(connection, deep)["next"]) is not None and pages < DEEP:
        deep, pages = following, pages + 1
    took_s: dict[str, list[float]] = {first: [], deep: []}
    for _ in range(ASKED):
        for place, times_s in took_s.items():
            began_s = time.perf_counter()
            jobs = _page(connection, place)["jobs"]
            times_s.append(time.perf_counter() - began_s)
            if len(jobs) != PAGE:
                raise RuntimeError(f"{len(jobs)} jobs on {place}")
    return {"first_ms": percentile_ms(took_s[first], 0.5), "deep_ms": percentile_ms(took_s[deep], 0.5), "pages": pages}


def _page(connection: http.client.HTTPConnection, place: str) -> dict[str, Any]:
    connection.request("GET", place, headers={"Authorization": f"Bearer {KEY}"})
    answer = connection.getresponse()
    text = answer.read()
    if answer.status != 200:
        raise RuntimeError(text.decode())
    page: dict[str, Any] = json.loads(text)
    return page


if __name__ == "__main__":
    main({"fill": fill, "ask": ask}, uvloop.run)
