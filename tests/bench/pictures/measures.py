"""What is measured of images, each in turn with what it is set beside."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pyvips

from errand.resources.process_pool import ProcessPool
from tests.bench.candidate import percentile_ms
from tests.bench.pictures.decode_side import compare_decodes
from tests.bench.runs import LIMIT_S, ROOT, Figures
from tests.ports import free_port
from tests.processes.conftest import House

CORES = os.cpu_count() or 1
AT_ONCE = 3 * CORES
"""So that no process of the pool waits for the next upload."""

TOUCHED_BYTES = 1024**3
"""More than what the uploads of a run take of the page cache."""

ASKS_PER_S = 100
ASKER_NICE = -10
ENDLESS = 10**9


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
    """Images a second from the upload to the stored output: an API process, a worker process, a pool of all cores.

    The time that the clients' own processor time takes of all cores does not count: they are on other machines.
    """
    with _house() as (house, processes):
        uploaded(house.port, source, number=2 * AT_ONCE)
        _touch_memory(source.parent)
        before_s = _cpu_s(processes)
        load = uploaded(house.port, source, number=number)
        took_s = load["took_s"] - load["cpu_s"] / CORES
        return {"images_per_s": number / took_s, "cpu_ms": 1000 * (_cpu_s(processes) - before_s) / number}


def beside_a_storm(source: Path, seconds: float) -> Figures:
    """p99 of a small request to the API, while images are uploaded and made as fast as can be, and while none are."""
    with _house() as (house, _):
        uploaded(house.port, source, number=2 * AT_ONCE)
        with ThreadPoolExecutor(1) as one:
            idle = one.submit(_asked, house.port, seconds).result()
            busy = one.submit(_asked, house.port, seconds)
            uploaded(house.port, source, seconds=seconds)
            return {"idle_ms": percentile_ms(idle, 0.99), "storm_ms": percentile_ms(busy.result(), 0.99)}


def decodes(source: Path, number: int) -> Figures:
    """CPU seconds of three sizes in one job and in three, and the most memory of a process that makes them."""
    return asyncio.run(_in_a_pool(source, number))


async def _in_a_pool(source: Path, number: int) -> Figures:
    async with ProcessPool.open(processes=1, memory_limit_bytes=1024**3) as pool:
        return await pool.run(600, compare_decodes, source, number)


def _touch_memory(folder: Path) -> None:
    """Has the system use memory, and takes it back: what is stored next is written to that.

    A virtual machine gets its memory from its host page by page, at the first use of each. To store an upload there
    costs 6 to 9 ms; in memory that was in use before, as it is on a server that has run for a while, 1 ms.
    """
    path, piece = folder / "touched", bytes(4 * 1024**2)
    with path.open("wb") as file:
        for _ in range(TOUCHED_BYTES // len(piece)):
            file.write(piece)
    path.unlink()


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


def uploaded(port: int, source: Path, *, number: int = ENDLESS, seconds: float = LIMIT_S) -> Figures:
    """So many jobs, or for so long, each answered at its end; several at once."""
    out = source.with_name("uploads.json")
    script = Path(__file__).with_name("upload_side.py")
    limits = [str(limit) for limit in (number, seconds, AT_ONCE)]
    subprocess.run([sys.executable, str(script), str(port), str(source), str(out), *limits], check=True)
    figures: Figures = json.loads(out.read_text())
    return figures


def _asked(port: int, seconds: float) -> list[float]:
    """How long small requests take during that time, in seconds."""
    with suppress(PermissionError):
        # of this thread: how long it waits for a processor, once the answer is there, is none of the API's doing
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), ASKER_NICE)
    latencies_s: list[float] = []
    connection = http.client.HTTPConnection("127.0.0.1", port)
    ends_s = time.perf_counter() + seconds
    while (sent_s := time.perf_counter()) < ends_s:
        connection.request("GET", "/v1/job-types")
        connection.getresponse().read()
        latencies_s.append(time.perf_counter() - sent_s)
        time.sleep(1 / ASKS_PER_S)
    connection.close()
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
