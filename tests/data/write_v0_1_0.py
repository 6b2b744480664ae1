"""Wrote `v0.1.0.json`: what the version tagged v0.1.0 leaves in Redis, and what its API said of it.

It ran in the tree of that tag, whose modules it imports: `cp tests/data/write_v0_1_0.py TREE/tests/test_write.py`, and
there `OLD_DATA=v0.1.0.json python -m pytest tests/test_write.py`. It is kept to say how the file came to be.
"""
# mypy: ignore-errors

import json
import os
from base64 import b64encode
from pathlib import Path

from jobs.engine import keys
from jobs.engine.leases import Leases

from jobs.webhook import webhook
from jobs.welcome_email import welcome_email
from tests.waiting import eventually

LETTER = {"to": "ada@example.com", "name": "Ada"}
FAR = "2099-01-01T09:00:00Z"


def text(value):
    """As JSON has it: text, or base64 of what is none."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"base64": b64encode(value).decode()}


async def value_of(redis, key):
    kind = (await redis.type(key)).decode()
    match kind:
        case "string":
            value = text(await redis.get(key))
        case "list":
            value = [text(item) for item in await redis.lrange(key, 0, -1)]
        case "hash":
            value = [[text(name), text(item)] for name, item in (await redis.hgetall(key)).items()]
        case "zset":
            value = [[text(item), score] for item, score in await redis.zrange(key, 0, -1, withscores=True)]
        case "set":
            value = [text(item) for item in await redis.smembers(key)]
    return {"type": kind, "pttl": await redis.pttl(key), "value": value}


async def test_write(client, redis, run_worker, receiver, mail_server, settings):
    jobs = {}

    async def put(name, type_name, args, query="", headers=None):
        answer = await client.post(f"/v1/jobs/{type_name}{query}", json=args, headers=headers)
        assert answer.status_code == 202, answer.text
        jobs[name] = answer.json()["id"]
        return jobs[name]

    hook = {"url": receiver.url, "event": "user.created", "data": {"id": 7}}
    receiver.answers += [204, 410, 503]
    async with run_worker([webhook, welcome_email], max_jobs=1):
        for name, status in (("delivered", "succeeded"), ("refused", "failed")):
            job = await put(name, "webhook", hook)
            assert (await client.get(f"/v1/jobs/{job}?wait=10")).json()["status"] == status
        await put("retried", "webhook", hook)

        async def is_retried():
            return (await client.get(f"/v1/jobs/{jobs['retried']}")).json()["attempts"]

        await eventually(is_retried)
        await put("greeted", "welcome_email", LETTER)
        assert (await client.get(f"/v1/jobs/{jobs['greeted']}?wait=10")).json()["status"] == "succeeded"
    lost = await put("lost", "welcome_email", LETTER)
    leases = Leases(redis, queue=keys.queue("default"), worker="gone:1:abc", lease_s=1)
    (claim,) = (await leases.claim(1)).claims
    assert claim.job_id == lost
    await put("queued", "welcome_email", LETTER)
    await put("keyed", "welcome_email", LETTER, headers={"Idempotency-Key": "k-1"})
    await put("unique", "welcome_email", LETTER, f"?unique_key=ada&run_at={FAR}")
    await put("deferred", "welcome_email", LETTER, f"?run_at={FAR}&max_tries=3")
    cancelled = await put("cancelled", "welcome_email", LETTER)
    await client.post(f"/v1/jobs/{cancelled}/cancel")
    schedule = {"type": "welcome_email", "args": LETTER, "cron": "0 9 * * *", "timezone": "Europe/Berlin"}
    await client.put("/v1/schedules/hello-ada", json=schedule)
    seen = {name: (await client.get(f"/v1/jobs/{job}")).json() for name, job in jobs.items()}
    lists = {
        path: (await client.get(path)).json() for path in ("/v1/dead-jobs", "/v1/schedules", "/v1/dead-jobs/groups")
    }
    known = sorted(key.decode() for key in await redis.keys("*"))
    stored = {key: await value_of(redis, key) for key in known if not key.startswith("arq:in-progress:")}
    Path(os.environ["OLD_DATA"]).write_text(  # noqa: ASYNC240  # nothing else runs
        json.dumps({"jobs": seen, "lists": lists, "keys": stored}, indent=1, sort_keys=True) + "\n"
    )
