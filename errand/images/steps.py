"""The three steps of a resize: fetch the source, render, store. Each names what the job must have in its `uses`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, HttpUrl

from errand.extras import needs
from errand.images.formats import Format
from errand.images.options import image_options
from errand.images.refusal import ImageRefused
from errand.images.size import Size, Strictness
from errand.job.context import Context
from errand.job.control import Fail
from errand.job.stored_file import StoredFile, path_of_file
from errand.resources.openers import outbound, process_pool, storage

if TYPE_CHECKING:
    from errand.images.encode import Rendered

DOWNLOAD_LIMIT_BYTES = 64 * 1024 * 1024
DOWNLOAD_DEADLINE_S = 30
RENDER_LIMIT_S = 240
"""On the clock, for a machine that is too busy: the limit that an image meets is the one of its CPU time."""


class Output(BaseModel):
    """One stored image."""

    width: int
    height: int
    format: Format
    bytes: int
    url: str


async def fetch_source(ctx: Context, target: Path, *, upload: StoredFile | None, url: HttpUrl | None) -> None:
    """Writes the upload, or what is at the URL, to `target`. Uses `storage` and `outbound`. Raises Fail."""
    from errand.resources.outbound import OutboundRefused
    from errand.resources.storage import FileMissing

    try:
        if upload is not None:
            await ctx.use(storage).fetch(upload.key, target)
        else:
            await ctx.use(outbound).download(
                str(url), target, limit_bytes=DOWNLOAD_LIMIT_BYTES, deadline_s=DOWNLOAD_DEADLINE_S
            )
    except FileMissing:
        raise Fail("the uploaded file is no longer stored") from None
    except OutboundRefused as error:
        raise Fail(f"source_url: {error}") from None


async def render_sizes(
    ctx: Context, source: Path, folder: Path, sizes: Sequence[Size], *, strictness: Strictness = "normal"
) -> list[Rendered]:
    """Makes the images in `folder`, in a process of the pool. Uses `process_pool` and `image_options`.

    Raises Fail for a bad image, and for one that costs too much.
    """
    with needs("images"):
        from errand.images.pipeline import render
    from errand.resources.process_pool import CpuTimeSpent

    pool, options = ctx.use(process_pool), ctx.use(image_options)
    try:
        return await pool.run(RENDER_LIMIT_S, render, source, folder, sizes, options, strictness)
    except ImageRefused as error:
        raise Fail(str(error)) from None
    except CpuTimeSpent:
        raise Fail("the image takes more CPU time than one of its size may: it is damaged, or made to") from None


async def store_outputs(ctx: Context, images: Sequence[Rendered]) -> list[Output]:
    """Stores the images under the job's id, in their order. Uses `storage`."""
    return list(await asyncio.gather(*(_store(ctx, image) for image in images)))


async def _store(ctx: Context, image: Rendered) -> Output:
    key = f"resize/{ctx.job_id}/{image.path.name}"
    size_bytes = await ctx.use(storage).save(key, image.path)
    return Output(width=image.width, height=image.height, format=image.format, bytes=size_bytes, url=path_of_file(key))
