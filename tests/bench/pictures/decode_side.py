"""What a process of the pool is measured at. It imports this file and no more: the memory is that of its work."""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path

from errand.images.options import ImageOptions
from errand.images.pixels.pipeline import Request, render
from errand.images.size import Size
from tests.peak_memory import peak_mib

THREE = (1200, 800, 320)


def compare_decodes(source: Path, number: int) -> dict[str, float]:
    """One kind after the other, so that what slows the machine down hits all alike."""
    spent: dict[tuple[int, ...], float] = {}
    with tempfile.TemporaryDirectory() as folder:
        shutil.copyfile(source, f"{folder}/source")
        for turn in range(number + 1):
            for widths in (THREE, *((width,) for width in THREE)):
                started_s = time.process_time()
                request = Request(sizes=[Size(width=width) for width in widths])
                render(Path(folder, "source"), Path(folder), request, ImageOptions())
                if turn:
                    spent[widths] = spent.get(widths, 0) + time.process_time() - started_s
    alone_s = sum(spent[(width,)] for width in THREE)
    return {"ratio": spent[THREE] / alone_s, "together_ms": 1000 * spent[THREE] / number, "peak_mib": peak_mib()}
