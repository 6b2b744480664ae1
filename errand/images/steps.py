"""The three steps of a job on an image: fetch the source, render, store."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from pydantic import BaseModel, ConfigDict

from errand.extras import needs
from errand.images.args import ImageArgs
from errand.images.formats import Format, SourceFormat
from errand.images.options import image_options
from errand.images.refusal import ImageRefused
from errand.images.size import Size, UnknownPreset, with_presets
from errand.job.context import Context
from errand.job.control import Fail
from errand.job.stored_file import path_of_file
from errand.resources.openers import outbound, process_pool, storage
from errand.resources.reports import Listener, listening_after
from errand.tracing import current

if TYPE_CHECKING:
    from errand.images.pixels.encode import Rendered
    from errand.images.pixels.pipeline import Result

RESOURCES = (outbound, process_pool, storage, image_options)
"""What the steps take: the `uses` of the job."""


DOWNLOAD_LIMIT_BYTES = 64 * 1024 * 1024


DOWNLOAD_DEADLINE_S = 30


RENDER_LIMIT_S = 240
"""On the clock, for a machine that is too busy: the limit that an image meets is the one of its CPU time."""


SHOWN_AFTER_S = 0.25
"""What takes no longer shows no steps: each is written to Redis and read by each client that waits for the job, a tenth
of the processor time of all that an upload to one small output takes, and nobody sees it pass."""


FETCHED, RENDERED = 0.1, 0.9
"""The shares of a job's progress at which these steps have ended."""


HASH_CHARS = 32
"""Of the SHA-256 in an output's key, in hexadecimal: 128 bits."""


class InputMissing(Fail):
    """What the outputs are made of was not there, or not given. Another attempt would not help; another day may."""


class Output(BaseModel):
    """One stored image."""

    width: int
    height: int
    format: Format
    bytes: int
    url: str
    frames: int = 1
    quality: int | None = None
    sha256: str = ""


class SourceInfo(BaseModel):
    """The image that came in. `blurhash` (https://blurha.sh) is what a page shows until an output is loaded."""

    model_config = ConfigDict(from_attributes=True)

    width: int
    height: int
    format: SourceFormat
    frames: int
    bytes: int
    sha256: str
    dominant_colour: str
    blurhash: str

    @classmethod
    def of(cls, made: Result) -> Self:
        """What rendering has found."""
        return cls.model_validate(made.source)


@dataclass(frozen=True, slots=True)
class SourceFile:
    """The image that came in, in a folder in which outputs have their place too, until the block ends."""

    path: Path
    folder: Path


@asynccontextmanager
async def fetched(ctx: Context, args: ImageArgs) -> AsyncIterator[SourceFile]:
    """The upload, or what is at the URL, as a local file. Raises InputMissing."""
    with tempfile.TemporaryDirectory(prefix="errand-images-") as folder:
        source = SourceFile(Path(folder, "source"), Path(folder))
        with current.span("image fetch"):
            await _fetch(ctx, args, source.path)
        if args.file is None:
            # an upload is there at once: to show that would cost a fifteenth of what the worker does for a photo
            await ctx.progress(FETCHED, "source fetched")
        yield source


async def _fetch(ctx: Context, args: ImageArgs, target: Path) -> None:
    from errand.resources.outbound import OutboundRefused
    from errand.resources.storage import FileMissing

    try:
        if args.file is not None:
            file = args.file
            await ctx.use(storage).link(file.key, target, size_bytes=file.bytes, etag=file.etag)
        else:
            await ctx.use(outbound).download(
                str(args.source_url), target, limit_bytes=DOWNLOAD_LIMIT_BYTES, deadline_s=DOWNLOAD_DEADLINE_S
            )
    except FileMissing:
        raise InputMissing("the uploaded file is no longer stored") from None
    except OutboundRefused as error:
        raise InputMissing(f"source_url: {error}") from None


async def rendered(ctx: Context, source: SourceFile, args: ImageArgs) -> Result:
    """Makes the outputs, in a process of the pool, and shows which are made if that lasts.

    Raises Fail for a bad image, and for one that costs too much.
    """
    with needs("images"):
        from errand.images.pixels.pipeline import Request, render
    from errand.resources.process_pool import CpuTimeSpent

    pool, options = ctx.use(process_pool), ctx.use(image_options)
    try:
        sizes = with_presets(args.sizes, options.presets)
        request = Request(
            sizes=sizes,
            strictness=args.strictness,
            animation=args.animation,
            watermarks=await _fetch_watermarks(ctx, source.folder, sizes),
            reports=source.folder / "reports",
        )
        with current.span("image render"):
            async with listening_after(SHOWN_AFTER_S, source.folder / "reports", _shown(ctx, sizes)):
                return await pool.run(RENDER_LIMIT_S, render, source.path, source.folder, request, options)
    except (ImageRefused, UnknownPreset) as error:
        raise Fail(str(error)) from None
    except CpuTimeSpent:
        raise Fail("the image takes more CPU time than one of its size may: it is damaged, or made to") from None


def _shown(ctx: Context, sizes: Sequence[Size]) -> Listener:
    """Shows each report, `step: text`, as the job's progress: one for decoding, one for each output."""
    steps = 1 + sum(len(size.formats) for size in sizes)

    async def show(report: str) -> None:
        step, _, text = report.partition(": ")
        current.event(text)
        await ctx.progress(FETCHED + (RENDERED - FETCHED) * int(step) / steps, text)

    return show


async def _fetch_watermarks(ctx: Context, folder: Path, sizes: Sequence[Size]) -> dict[str, Path]:
    """The files of all watermarks that the sizes name, by key. Raises InputMissing."""
    from errand.resources.storage import FileMissing

    keys = {size.watermark.key for size in sizes if size.watermark is not None}
    paths = {key: folder / f"watermark-{number}" for number, key in enumerate(sorted(keys))}
    for key, path in paths.items():
        try:
            await ctx.use(storage).fetch(key, path)
        except FileMissing:
            raise InputMissing(f"no watermark is stored under {key}") from None
    return paths


async def stored(ctx: Context, made: Result) -> list[Output]:
    """Stores the outputs under the job's id, each by its own content, in their order."""
    with current.span("image store"):
        return list(await asyncio.gather(*(_store(ctx, image) for image in made.outputs)))


async def _store(ctx: Context, image: Rendered) -> Output:
    # another attempt that makes the same stores the same; a file is never replaced by other content
    name = f"{image.sha256[:HASH_CHARS]}-{image.width}x{image.height}.{image.format}"
    key = f"resize/{ctx.job_id}/{name}"
    size_bytes = await ctx.use(storage).save(key, image.path, media_type=f"image/{image.format}")
    return Output(
        width=image.width,
        height=image.height,
        format=image.format,
        bytes=size_bytes,
        url=path_of_file(key),
        frames=image.frames,
        quality=image.quality,
        sha256=image.sha256,
    )
