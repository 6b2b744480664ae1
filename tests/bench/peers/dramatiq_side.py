"""dramatiq on Redis: `python dramatiq_side.py MEASURE URL OUT NUMBER`. Its worker runs threads of this process."""

import json
import sys
import time

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

_, name, url, out, count = sys.argv
broker = RedisBroker(url=url)
broker.add_middleware(Results(backend=RedisBackend(url=url)))
dramatiq.set_broker(broker)
late_s = []
done = []


@dramatiq.actor(store_results=True)
def noop():
    done.append(1)
    return 0


@dramatiq.actor
def timed(at_s):
    late_s.append(time.time() - at_s)


def throughput(number):
    for _ in range(number):
        noop.send()
    worker = dramatiq.Worker(broker, worker_threads=8)
    started_s = time.perf_counter()
    worker.start()
    while len(done) < number:
        time.sleep(0.005)
    took_s = time.perf_counter() - started_s
    worker.stop(timeout=1000)
    return {"jobs_per_s": number / took_s}


def latency(number):
    worker = dramatiq.Worker(broker, worker_threads=8)
    worker.start()
    time.sleep(1)
    for seen in range(1, number + 1):
        timed.send(time.time())
        while len(late_s) < seen:
            time.sleep(0.002)
        time.sleep(0.01)
    worker.stop(timeout=1000)
    return {"late_s": late_s}


figures = {"throughput": throughput, "latency": latency}[name](int(float(count)))
with open(out, "w") as file:
    json.dump(figures, file)
