"""The lines about images in the report."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from tests.bench.peers.environments import python_of
from tests.bench.pictures import measures
from tests.bench.report import Bar, Report
from tests.bench.runs import in_turn

PHOTOS, TURNS, STORM_S = 120, 5, 8


def images(report: Report, peers: list[Any], *, runs: int) -> None:
    """Photos of 12 megapixels and 4 MB to 800 pixels, from upload to stored output. Libraries alone read one file: what
    a service does besides (receive, store, hash and describe the photo, keep the job) counts against it."""
    with tempfile.TemporaryDirectory(prefix="errand-bench-") as folder:
        photo = measures.photo(Path(folder))
        taken = in_turn(
            {
                "ours": partial(measures.whole_path, photo, PHOTOS),
                "vips": partial(measures.library, "vips", measures.own_python(), photo, PHOTOS),
                "pillow": partial(measures.library, "pillow", python_of("pillow", ["pillow"]), photo, PHOTOS),
                "decodes": partial(measures.decodes, photo, TURNS),
                "storm": partial(measures.beside_a_storm, photo, STORM_S),
            },
            runs=runs,
        )
    report.section("Images", " ".join((images.__doc__ or "").split()))
    ours = taken["ours"]
    for name, what, least in (("vips", "bare pyvips", 0.85), ("pillow", "Pillow", 2.0)):
        other = taken[name]
        ratio = ours["images_per_s"] / other["images_per_s"]
        detail = f"{ours['images_per_s']:.1f} against {other['images_per_s']:.1f} images/s"
        report.line(f"against {what}", f"{ratio:.2f} x", detail, Bar.at_least(least, ratio))
        cpu = other["cpu_ms"] / ours["cpu_ms"]
        report.line("… by CPU time", f"{cpu:.2f} x", f"{ours['cpu_ms']:.0f} against {other['cpu_ms']:.0f} ms each")
    decodes, storm = taken["decodes"], taken["storm"]
    detail = f"{decodes['together_ms']:.0f} ms of CPU time"
    report.line("three sizes in one job", f"{decodes['ratio']:.2f} x three", detail, Bar.at_most(0.6, decodes["ratio"]))
    peak = decodes["peak_mib"]
    report.line("most memory of a process", f"{peak:.0f} MiB", "sizes of up to 1200 pixels", Bar.at_most(80, peak))
    ratio = storm["storm_ms"] / storm["idle_ms"]
    detail = f"p99 {storm['storm_ms']:.1f} against {storm['idle_ms']:.1f} ms"
    report.line("the API beside it", f"{ratio:.2f} x", detail, Bar.at_most(1.5, ratio))
