"""taskiq with its list broker: `python taskiq_side.py MEASURE URL OUT NUMBER`. Its worker is a process of its own."""

import asyncio
import json
import os
import subprocess
import sys
import time

import redis.asyncio as aioredis
import uvloop
from taskiq_redis import ListQueueBroker, RedisAsyncResultBackend

URL = os.environ.get("BENCH_URL") or sys.argv[2]
broker = ListQueueBroker(URL).with_result_backend(RedisAsyncResultBackend(URL))
counter = aioredis.Redis.from_url(URL)


@broker.task(task_name="noop")
async def noop():
    return None


@broker.task(task_name="timed")
async def timed(at_s):
    late_s = time.time() - at_s
    await counter.rpush("bench:late", late_s)


def started():
    here = os.path.dirname(os.path.abspath(__file__))
    command = ["taskiq", "worker", "taskiq_side:broker", "--workers", "1", "--max-async-tasks", "100"]
    program = os.path.join(os.path.dirname(sys.executable), command[0])
    environment = {**os.environ, "BENCH_URL": URL, "PYTHONPATH": here}
    return subprocess.Popen(
        [program, *command[1:]], cwd=here, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


async def throughput(number):
    for start in range(0, number, 100):
        await asyncio.gather(*(noop.kiq() for _ in range(min(100, number - start))))
    worker = started()
    left = await counter.llen("taskiq")
    while await counter.llen("taskiq") == left:
        await asyncio.sleep(0.001)
    # from its first taken job: the start of its process is not counted
    started_s, first = time.perf_counter(), await results()
    while await results() < number:
        await asyncio.sleep(0.01)
    took_s = time.perf_counter() - started_s
    worker.kill()
    return {"jobs_per_s": (number - first) / took_s}


async def results():
    return await counter.dbsize()


async def latency(number):
    worker = started()
    await asyncio.sleep(4)
    for count in range(1, number + 1):
        await timed.kiq(time.time())
        while await counter.llen("bench:late") < count:
            await asyncio.sleep(0.002)
        await asyncio.sleep(0.01)
    worker.kill()
    return {"late_s": [float(value) for value in await counter.lrange("bench:late", 0, -1)]}


async def main():
    name, _, out, number = sys.argv[1:]
    await broker.startup()
    figures = await {"throughput": throughput, "latency": latency}[name](int(float(number)))
    with open(out, "w") as file:
        json.dump(figures, file)


if __name__ == "__main__":
    uvloop.run(main())
