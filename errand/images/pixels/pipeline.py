"""From an image to its outputs, with libvips. Runs in a process of the pool, never beside an event loop.

An image is decoded once, at the largest size asked for: for JPEG and WebP libvips then does a fraction of the full
work.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyvips

from errand.images.options import ImageOptions, Rendition
from errand.images.pixels.colour import to_srgb
from errand.images.pixels.decode import decode, decode_frames
from errand.images.pixels.describe import Described, described, hash_of
from errand.images.pixels.encode import Rendered, animation, write
from errand.images.pixels.libvips import set_up
from errand.images.pixels.look import LOOK_PIXELS, interest, kept_after_trim, needs_look
from errand.images.pixels.shape import marked, shaped, without_alpha
from errand.images.pixels.source import ANIMATED, Source, read_source
from errand.images.plan import plan, turned
from errand.images.size import Animation, Size, Strictness, resolved
from errand.resources.pool_process import limit_cpu_time
from errand.resources.reports import report


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is asked of one image, for all its outputs."""

    sizes: Sequence[Size]
    strictness: Strictness = "normal"
    animation: Animation = "first"
    watermarks: Mapping[str, Path] | None = None
    """The files of the watermarks, by key."""
    reports: Path | None = None
    """The pipe in which it is said what is done, each with the number of its step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The outputs, in the order of the sizes and of their formats, and what the source is."""

    outputs: list[Rendered]
    source: Described


def render(path: Path, folder: Path, request: Request, options: ImageOptions) -> Result:
    """Writes the outputs into `folder`.

    Raises ImageRefused if the source is not a readable image, is cut short, or costs more than `options` allow.
    """
    limit_cpu_time(options.cpu_s)
    set_up()
    sha256, size_bytes = hash_of(path)
    source = read_source(path, request.strictness, options.extra_formats)
    frames = source.frames if request.animation == "keep" else 1
    options.check_source(source.width, source.height, frames)
    limit_cpu_time(options.cpu_limit_s(source.width * source.height * frames, 0))
    renditions = _planned(source, request, options, frames)
    options.check_outputs(renditions)
    cost = options.cost_megapixels(renditions)
    limit_cpu_time(options.cpu_limit_s(source.width * source.height * frames, cost))
    bases = _decoded(source, renditions, request, options, frames)
    report(request.reports, f"1: {source.width} x {source.height} decoded")
    outputs = []
    for number, each in enumerate(renditions, start=1):
        outputs.append(write(_pixels(bases, source, each, request), each, source, folder / f"{number}", options))
        report(request.reports, f"{number + 1}: {number} of {len(renditions)} made: {outputs[-1]}")
    about = described(source, to_srgb(bases[0]), sha256=sha256, size_bytes=size_bytes)
    return Result(outputs=outputs, source=about)


def _planned(source: Source, request: Request, options: ImageOptions, frames: int) -> list[Rendition]:
    """Each output: a size in one of its formats. Only what depends on the pixels has them looked at."""
    view = None
    if any(map(needs_look, request.sizes)):
        scale = LOOK_PIXELS / max(source.width, source.height)
        view = decode(source, (scale, scale), request.strictness, options)
    renditions: list[Rendition] = []
    for size in request.sizes:
        kept = focus = None
        if view is not None:
            kept = kept_after_trim(view, source, size)
            focus = interest(view, source, size, kept)
        planned = plan(size, width=source.width, height=source.height, kept=kept, focus=focus)
        for form in (resolved(asked, source.format) for asked in size.formats):
            moving = frames if form in ANIMATED else 1
            renditions.append(Rendition(size=size, format=form, planned=planned, frames=moving))
    return renditions


def _decoded(
    source: Source, renditions: Sequence[Rendition], request: Request, options: ImageOptions, frames: int
) -> Sequence[pyvips.Image]:
    """The frames of an animation; else the one image that all outputs are made of."""
    if frames > 1:
        return decode_frames(source, request.strictness, options)
    keeps = any(each.size.keeps_profile for each in renditions) and source.has_rgb_profile
    return [decode(source, _scales(renditions), request.strictness, options, keep_profile=keeps)]


def _scales(renditions: Sequence[Rendition]) -> tuple[float, float]:
    """Across and down of the upright source, each as an output needs it: the largest is there pixel by pixel."""
    scales = [turned(each.size, *each.planned.scales) for each in renditions]
    return max(across for across, _ in scales), max(down for _, down in scales)


def _pixels(bases: Sequence[pyvips.Image], source: Source, rendition: Rendition, request: Request) -> pyvips.Image:
    images = [_frame(base, source, rendition, request) for base in bases[: rendition.frames]]
    return animation(images, bases[0]) if rendition.frames > 1 else images[0]


def _frame(base: pyvips.Image, source: Source, rendition: Rendition, request: Request) -> pyvips.Image:
    size = rendition.size
    image = shaped(base, source, size, rendition.planned)
    if not size.keeps_profile:
        image = to_srgb(image)
    if size.watermark is not None and request.watermarks is not None:
        image = marked(image, size.watermark, request.watermarks[size.watermark.key])
    return without_alpha(image, size) if rendition.format == "jpeg" else image
