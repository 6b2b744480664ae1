"""The settings of images: what may be read, what outputs may cost, how thoroughly they are compressed."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field
from pydantic_settings import NoDecode

from errand.settings.comma_separated import comma_separated


def _json(value: object) -> object:
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError:
        raise ValueError('must be JSON: {"card": {"width": 400, "height": 300}}') from None


class ImageSettings(BaseModel):
    """A part of `Settings`."""

    image_source_megapixels: float = Field(250, gt=0, le=100_000)
    image_output_megapixels: float = Field(200, gt=0, le=100_000)
    image_cpu_s: float = Field(10, gt=0, le=240)
    avif_effort: int = Field(1, ge=0, le=9)
    image_extra_formats: Annotated[
        tuple[Literal["heic", "bmp", "ico", "svg", "pdf"], ...], NoDecode, comma_separated()
    ] = ()
    image_presets: Annotated[dict[str, dict[str, Any]], NoDecode, BeforeValidator(_json)] = {}
