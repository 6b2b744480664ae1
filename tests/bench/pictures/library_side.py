"""A library alone: `python library_side.py vips|pillow PHOTO OUT NUMBER PROCESSES`. Needs nothing of Errand."""

from __future__ import annotations

import json
import multiprocessing
import resource
import sys
import tempfile
import time
from pathlib import Path

WIDTH, QUALITY = 800, 80


def by_vips(photo: str, target: str) -> None:
    import pyvips

    image = pyvips.Image.thumbnail(photo, WIDTH, size="down", fail_on="error")
    image.jpegsave(target, Q=QUALITY, optimize_coding=True, keep="none")


def by_pillow(photo: str, target: str) -> None:
    from PIL import Image, ImageOps  # of an environment of its own

    with Image.open(photo) as image:
        image.thumbnail((WIDTH, WIDTH))
        upright = ImageOps.exif_transpose(image)
        upright.convert("RGB").save(target, "JPEG", quality=QUALITY, optimize=True)


def make(library: str, photo: str, number: int) -> float:
    """The CPU seconds of so many, after one that does not count."""
    if library == "vips":
        import pyvips

        pyvips.concurrency_set(1)
        pyvips.cache_set_max(0)
    resize = by_vips if library == "vips" else by_pillow
    with tempfile.TemporaryDirectory() as folder:
        resize(photo, f"{folder}/out.jpeg")
        before_s = _cpu_s()
        for _ in range(number):
            resize(photo, f"{folder}/out.jpeg")
        return _cpu_s() - before_s


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    library, photo, out, number, processes = sys.argv[1:]
    each = int(number) // int(processes)
    with multiprocessing.get_context("spawn").Pool(int(processes)) as pool:
        pool.starmap(make, [(library, photo, 1)] * int(processes))
        started_s = time.perf_counter()
        cpu_s = sum(pool.starmap(make, [(library, photo, each)] * int(processes), chunksize=1))
        took_s = time.perf_counter() - started_s
    made = each * int(processes)
    figures = {"images_per_s": (made + int(processes)) / took_s, "cpu_ms": 1000 * cpu_s / made}
    Path(out).write_text(json.dumps(figures))


if __name__ == "__main__":
    main()
