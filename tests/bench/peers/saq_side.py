"""SAQ: `python saq_side.py MEASURE URL OUT NUMBER`."""

import asyncio
import json
import sys
import time

import uvloop
from saq import Queue, Worker

late_s = []
done = 0


async def noop(ctx):
    global done
    done += 1


async def timed(ctx, *, at_s):
    late_s.append(time.time() - at_s)


async def throughput(queue, number):
    for start in range(0, number, 100):
        await asyncio.gather(*(queue.enqueue("noop") for _ in range(min(100, number - start))))
    worker = Worker(queue, functions=[noop, timed], concurrency=100)
    started_s = time.perf_counter()
    running = asyncio.create_task(worker.start())
    while done < number:
        await asyncio.sleep(0.005)
    took_s = time.perf_counter() - started_s
    await worker.stop()
    running.cancel()
    return {"jobs_per_s": number / took_s}


async def latency(queue, number):
    worker = Worker(queue, functions=[noop, timed], concurrency=100)
    running = asyncio.create_task(worker.start())
    await asyncio.sleep(1)
    for count in range(1, number + 1):
        await queue.enqueue("timed", at_s=time.time())
        while len(late_s) < count:
            await asyncio.sleep(0.002)
        await asyncio.sleep(0.01)
    await worker.stop()
    running.cancel()
    return {"late_s": late_s}


async def main():
    name, url, out, number = sys.argv[1:]
    queue = Queue.from_url(url)
    await queue.connect()
    figures = await {"throughput": throughput, "latency": latency}[name](queue, int(float(number)))
    with open(out, "w") as file:
        json.dump(figures, file)


uvloop.run(main())
