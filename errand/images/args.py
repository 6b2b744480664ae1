"""The args of a job on an image: where the image comes from, what is made of it, and what is refused before the 202."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from errand.images.options import ImageOptions
from errand.images.request import check_cost, check_file
from errand.images.size import Animation, Size, Strictness
from errand.job.args_context import ArgsContext
from errand.job.stored_file import StoredFile
from errand.resources.guard import CallerUrl

MAX_SIZES = 20


class ImageArgs(BaseModel):
    """An uploaded `file` or a `source_url`, and the sizes to make of it. Args of one's own can add to it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sizes: Annotated[list[Size], Field(min_length=1, max_length=MAX_SIZES)]
    file: StoredFile | None = Field(default=None, description="the upload; filled in by the service")
    source_url: CallerUrl | None = Field(
        default=None, description="where to fetch the image from, instead of an upload"
    )

    strictness: Strictness = Field(
        default="normal",
        description="normal: refuse an image that lacks anything that can be seen; strict: refuse any fault of the "
        "file, a missing end marker too; lenient: take what can be decoded of it, as a browser does",
    )

    animation: Animation = Field(
        default="first",
        description="of a GIF or WebP with several frames: first, or keep them all in outputs that are gif or webp",
    )

    @model_validator(mode="after")
    def _has_one_source(self) -> Self:
        if (self.file is None) == (self.source_url is None):
            raise ValueError("give either a file (multipart/form-data) or a source_url")
        return self

    @field_validator("file")
    @classmethod
    def _is_an_image(cls, file: StoredFile | None, info: ValidationInfo) -> StoredFile | None:
        if file is not None and isinstance(info.context, ArgsContext) and info.context.file_start is not None:
            extra = info.context.settings.image_extra_formats
            check_file(info.context.file_start, named=file.filename is not None, extra=extra)
        return file

    @model_validator(mode="after")
    def _costs_no_more_than_it_may(self, info: ValidationInfo) -> Self:
        if isinstance(info.context, ArgsContext):
            check_cost(self.sizes, info.context.file_start, ImageOptions.of(info.context.settings))
        return self
