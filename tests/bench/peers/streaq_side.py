"""streaq: `python streaq_side.py MEASURE URL OUT NUMBER`."""

import asyncio
import json
import sys
import time

import uvloop
from streaq import Worker

_, name, url, out, count = sys.argv
worker = Worker(redis_url=url, concurrency=100, handle_signals=False)
late_s = []
done = 0


@worker.task()
async def noop():
    global done
    done += 1


@worker.task()
async def timed(at_s):
    late_s.append(time.time() - at_s)


async def throughput(number):
    async with worker:
        for start in range(0, number, 500):
            await worker.enqueue_many([noop.enqueue() for _ in range(min(500, number - start))])
    started_s = time.perf_counter()
    running = asyncio.create_task(worker.run_async())
    while done < number:
        await asyncio.sleep(0.005)
    took_s = time.perf_counter() - started_s
    running.cancel()
    return {"jobs_per_s": number / took_s}


async def latency(number):
    running = asyncio.create_task(worker.run_async())
    await asyncio.sleep(2)
    for seen in range(1, number + 1):
        await timed.enqueue(time.time())
        while len(late_s) < seen:
            await asyncio.sleep(0.002)
        await asyncio.sleep(0.01)
    running.cancel()
    return {"late_s": late_s}


async def main():
    figures = await {"throughput": throughput, "latency": latency}[name](int(float(count)))
    with open(out, "w") as file:
        json.dump(figures, file)


uvloop.run(main())
