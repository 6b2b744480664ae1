"""What is measured of images, each in turn with what it is set beside."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyvips

from errand.resources.process_pool import ProcessPool
from tests.bench.candidate import percentile_ms
from tests.bench.pictures.decode_side import compare_decodes
from tests.bench.pictures.library_side import WIDTH
from tests.bench.runs import ROOT, Figures
from tests.ports import free_port
from tests.processes.conftest import House

CORES = os.cpu_count() or 1
AT_ONCE = 3 * CORES
"""So that no process of the pool waits for the next upload."""

ASKS_PER_S = 50
BOUNDARY = b"errand-bench"


def photo(folder: Path) -> Path:
    """A JPEG of twelve megapixels and four megabytes, as a telephone makes them."""
    path = folder / "photo.jpeg"
    if not path.exists():
        noise = [pyvips.Image.gaussnoise(500, 375, mean=128, sigma=60, seed=seed) for seed in range(3)]
        soft = noise[0].bandjoin(noise[1:]).resize(8, kernel="cubic")
        grain = pyvips.Image.gaussnoise(soft.width, soft.height, mean=0, sigma=5, seed=9)
        (soft + grain).cast("uchar").copy(interpretation="srgb").write_to_file(str(path), Q=87)
    return path


def library(name: str, python: str, source: Path, number: int) -> Figures:
    """Images a second of a library alone, in as many processes as there are cores."""
    out = source.with_name(f"{name}.json")
    script = Path(__file__).with_name("library_side.py")
    subprocess.run([python, str(script), name, str(source), str(out), str(number), str(CORES)], check=True, cwd=ROOT)
    figures: Figures = json.loads(out.read_text())
    return figures


def whole_path(source: Path, number: int) -> Figures:
    """Images a second from the upload to the stored output: an API process, a worker process, a pool of all cores."""
    with _house() as (house, processes):
        asyncio.run(_uploads(house.port, source.read_bytes(), 2 * AT_ONCE))
        before_s, started_s = _cpu_s(processes), time.perf_counter()
        asyncio.run(_uploads(house.port, source.read_bytes(), number))
        took_s = time.perf_counter() - started_s
        return {"images_per_s": number / took_s, "cpu_ms": 1000 * (_cpu_s(processes) - before_s) / number}


def beside_a_storm(source: Path, seconds: float) -> Figures:
    """p99 of a small request to the API, while images are uploaded and made as fast as can be, and while none are."""
    with _house() as (house, _):
        content = source.read_bytes()
        asyncio.run(_uploads(house.port, content, 2 * AT_ONCE))

        async def quiet() -> None:
            await asyncio.sleep(seconds)

        async def storm() -> None:
            ends_s = time.perf_counter() + seconds
            while time.perf_counter() < ends_s:
                await _uploads(house.port, content, AT_ONCE)

        idle, busy = (asyncio.run(_asked_beside(house.port, work)) for work in (quiet, storm))
        return {"idle_ms": percentile_ms(idle, 0.99), "storm_ms": percentile_ms(busy, 0.99)}


def decodes(source: Path, number: int) -> Figures:
    """CPU seconds of three sizes in one job and in three, and the most memory of a process that makes them."""
    return asyncio.run(_in_a_pool(source, number))


async def _in_a_pool(source: Path, number: int) -> Figures:
    async with ProcessPool.open(processes=1, memory_limit_bytes=1024**3) as pool:
        return await pool.run(600, compare_decodes, source, number)


@contextmanager
def _house() -> Iterator[tuple[House, list[int]]]:
    """A real installation, and the ids of its API's and its worker's processes."""
    with tempfile.TemporaryDirectory(prefix="errand-bench-", ignore_cleanup_errors=True) as folder:
        house = House(Path(folder, "house"), port=free_port(), sink_port=free_port())
        house.environment.update({"LOG_LEVEL": "warning", "CPU_PROCESSES": str(CORES), "EMBEDDED_FSYNC": "everysec"})
        try:
            yield house, [house.api().pid, house.worker().pid]
        finally:
            house.close()


async def _uploads(port: int, content: bytes, number: int) -> None:
    """So many jobs, each answered at its end; several at once."""
    request = _request(content)
    left = iter(range(number))

    async def go_on() -> None:
        for _ in left:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request)
            answer = await reader.read()
            writer.close()
            if b'"status":"succeeded"' not in answer:
                raise RuntimeError(answer.decode(errors="replace"))

    await asyncio.gather(*(go_on() for _ in range(AT_ONCE)))


def _request(content: bytes) -> bytes:
    head = b'--%b\r\nContent-Disposition: form-data; name="' % BOUNDARY
    args = json.dumps({"sizes": [{"width": WIDTH}]}).encode()
    form = b'%bargs"\r\n\r\n%b\r\n%bfile"; filename="a.jpeg"\r\n\r\n%b\r\n--%b--\r\n'
    body = form % (head, args, head, content, BOUNDARY)
    return (
        b"POST /v1/jobs/resize HTTP/1.1\r\nHost: 127.0.0.1\r\nPrefer: wait=60\r\nConnection: close\r\n"
        b"Content-Type: multipart/form-data; boundary=%b\r\nContent-Length: %d\r\n\r\n%b" % (BOUNDARY, len(body), body)
    )


async def _asked_beside(port: int, work: Callable[[], Awaitable[None]]) -> list[float]:
    """How long small requests take while the work is done, in seconds."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    working = asyncio.ensure_future(work())
    latencies_s: list[float] = []
    while not working.done():
        sent_s = time.perf_counter()
        writer.write(b"GET /v1/job-types HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        await reader.readexactly(int(length.split(b":")[1]))
        latencies_s.append(time.perf_counter() - sent_s)
        await asyncio.sleep(1 / ASKS_PER_S)
    writer.close()
    await working
    return latencies_s


def _cpu_s(processes: list[int]) -> float:
    """What these and their children have used so far (Linux)."""
    ticks, parents = {}, {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(stat.parent.name)] = int(fields[1])
        ticks[int(stat.parent.name)] = sum(map(int, fields[11:15]))

    def ours(pid: int) -> bool:
        return pid in processes or (pid in parents and ours(parents[pid]))

    return sum(number for pid, number in ticks.items() if ours(pid)) / os.sysconf("SC_CLK_TCK")


def own_python() -> str:
    return sys.executable
