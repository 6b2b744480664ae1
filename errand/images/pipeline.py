"""From an image to its outputs, with libvips. Runs in a process of the pool, never beside an event loop.

An image is decoded once, at the largest size asked for: for JPEG and WebP libvips then does a fraction of the full
work.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from errand.images.decode import decode
from errand.images.encode import Rendered, shape, write
from errand.images.libvips import set_up
from errand.images.options import ImageOptions
from errand.images.plan import plan
from errand.images.size import Size, Strictness
from errand.images.source import read_source
from errand.resources.pool_process import limit_cpu_time


def render(
    path: Path,
    folder: Path,
    sizes: Sequence[Size],
    options: ImageOptions,
    strictness: Strictness = "normal",
) -> list[Rendered]:
    """Writes one file per size into `folder`, in that order.

    Raises ImageRefused if the source is not a readable image, is cut short, or costs more than `options` allow.
    """
    limit_cpu_time(options.cpu_s)
    set_up()
    source = read_source(path, strictness)
    options.check_source(source.width, source.height)
    plans = [plan(size, width=source.width, height=source.height) for size in sizes]
    formats = [size.format or source.format for size in sizes]
    options.check_outputs(plans, formats)
    cost = options.cost_megapixels(plans, formats)
    limit_cpu_time(options.cpu_limit_s(source.width * source.height, cost))
    base = decode(source, plans, strictness, options)
    return [
        write(shape(base, source, planned), size, folder / f"{number}", form, options)
        for number, (size, planned, form) in enumerate(zip(sizes, plans, formats, strict=True), start=1)
    ]
