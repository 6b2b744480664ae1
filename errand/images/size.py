"""What a size asks for: one output of a resize, or one in each of several formats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from errand.images.edits import Colour, Crop, Focus, GravityName, Pixels, Real, Watermark, Whole
from errand.images.formats import ALSO_CALLED, WEIGHT, Format

Fit = Literal["inside", "cover", "fill", "contain", "outside"]


Strictness = Literal["strict", "normal", "lenient"]
"""How much an image may lack: nothing, not even an end marker; nothing that can be seen; what is left is taken."""


Animation = Literal["first", "keep"]


Metadata = Literal["strip", "icc", "copyright", "all"]


EXACT_FITS = ("cover", "fill")
"""With both sides given they name the very size of the output; to ask for one is to ask for its pixels."""


OutputFormat = Format | Literal["keep", "auto"]


FORMAT_CHOICES = ("jpeg", "png", "webp", "avif", "gif", "tiff", "keep", "auto")


def _known_formats(value: Any) -> Any:
    """Before pydantic tries each side of the union, and complains about both."""
    named = [ALSO_CALLED.get(one, one) if isinstance(one, str) else one for one in _as_list(value)]
    if not 1 <= len(named) <= len(FORMAT_CHOICES) or not all(one in FORMAT_CHOICES for one in named):
        raise ValueError(f"must be one of {', '.join(FORMAT_CHOICES)}, or a list of them")
    return named if isinstance(value, list) else named[0]


def _known_quality(value: Any) -> Any:
    numbers = list(value.values()) if isinstance(value, dict) else [value]
    if not all(isinstance(one, int) and not isinstance(one, bool) and 1 <= one <= 100 for one in numbers):
        raise ValueError("must be a number from 1 to 100, or one for each format")
    named = {ALSO_CALLED.get(name, name): one for name, one in value.items()} if isinstance(value, dict) else value
    if isinstance(named, dict) and not named.keys() <= WEIGHT.keys():
        raise ValueError(f"has an unknown format; there are: {', '.join(WEIGHT)}")
    return named


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


Formats = Annotated[OutputFormat | list[OutputFormat], BeforeValidator(_known_formats)]


Quality = Annotated[int | dict[Format, int], BeforeValidator(_known_quality)]


class Size(BaseModel):
    """One output. With width or height alone the other follows from the image's shape; with neither it stays."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    preset: str | None = Field(
        default=None, description="the name of a preset; what is given beside it replaces its own"
    )
    width: Pixels | None = Field(default=None, description="pixels")
    height: Pixels | None = Field(default=None, description="pixels")
    fit: Fit = Field(
        default="inside",
        description="inside: within the box, shape kept; cover: fills the box, cut at the edges; "
        "fill: stretched to the box; contain: within the box, the rest padded; outside: covers the box, not cut",
    )
    enlarge: bool | None = Field(
        default=None,
        description="true: a small image is enlarged; false: it never is, and the output may be smaller than asked "
        "for; not given: only if fit is cover or fill and both sides are given, which name the very size",
    )
    rotate: Literal[0, 90, 180, 270] = Field(default=0, description="degrees clockwise, before all else")
    flip: Literal["horizontal", "vertical"] | None = Field(default=None, description="mirrored, after rotate")
    crop: Crop | None = Field(default=None, description="the part to take, before it is fitted into the box")
    trim: Annotated[Whole, Field(ge=1, le=254)] | None = Field(
        default=None,
        description="cuts off edges that differ by less than this from the colour of the corner; 10 is usual",
    )
    gravity: GravityName = Field(
        default="center", description="which part cover keeps, and where contain lays the image"
    )
    focus: Focus | None = Field(default=None, description="which point cover keeps in the middle, instead of gravity")
    background: Colour | None = Field(
        default=None, description="of contain, and below what is transparent; white, or transparent if that can be"
    )
    blur: Annotated[Real, Field(ge=0.3, le=100)] | None = Field(default=None, description="sigma in pixels")
    sharpen: Annotated[Real, Field(ge=0.3, le=10)] | None = Field(default=None, description="sigma in pixels")
    watermark: Watermark | None = None
    format: Formats = Field(
        default="keep",
        description="one, or several; keep: the source's own; auto: webp, lossless for graphics, for what it can hold",
    )
    quality: Quality | None = Field(
        default=None, description="for jpeg, webp and avif, or for each; 80, 79 and 63 by default"
    )
    effort: Annotated[Whole, Field(ge=0, le=9)] | None = Field(
        default=None, description="0 is fast, 9 is small; for png, webp, gif and avif"
    )
    progressive: bool = Field(default=False, description="for jpeg, png and gif: shown coarse first")
    lossless: bool = Field(default=False, description="for webp and avif")
    palette: bool | None = Field(
        default=None, description="for png: up to 256 colours; not given: if the source has so"
    )
    max_bytes: Annotated[Whole, Field(ge=100)] | None = Field(
        default=None, description="for jpeg, webp and avif: the quality is lowered until the output fits"
    )
    metadata: Metadata = Field(
        default="strip",
        description="strip: none, colours are sRGB; icc: the source's colours and their profile; "
        "copyright: its Copyright and Artist; all: all of it, place and time included",
    )

    @property
    def enlarges(self) -> bool:
        """True if a small source is enlarged for it."""
        if self.enlarge is None:
            return self.fit in EXACT_FITS and bool(self.width and self.height)
        return self.enlarge

    @property
    def exact(self) -> tuple[int, int] | None:
        """Width and height of the output, if they do not depend on the image."""
        if self.width is None or self.height is None:
            return None
        certain = self.fit == "contain" or (self.fit in EXACT_FITS and self.enlarges)
        return (self.width, self.height) if certain else None

    @property
    def formats(self) -> list[OutputFormat]:
        """Those asked for, in their order."""
        return self.format if isinstance(self.format, list) else [self.format]

    @property
    def keeps_profile(self) -> bool:
        """True if the output has the colours of the source, and its profile."""
        return self.metadata in ("icc", "all")

    def quality_of(self, form: Format, default: int) -> int:
        """The quality asked for of that format."""
        if isinstance(self.quality, dict):
            return self.quality.get(form, default)
        return self.quality or default

    @model_validator(mode="after")
    def _asks_for_something(self) -> Self:
        if not self.model_fields_set - {"fit", "gravity", "enlarge"}:
            raise ValueError("a size needs width, height or both, or says what else to do")
        return self


def resolved(form: OutputFormat, own: Format) -> Format:
    """The format itself, for an image of that format."""
    if form == "auto":
        return "webp"
    return own if form == "keep" else form


class UnknownPreset(ValueError):
    """No preset of that name is in the settings."""


def with_presets(sizes: Sequence[Size], presets: Mapping[str, Size]) -> list[Size]:
    """The sizes, each with what its preset says and it does not. Raises UnknownPreset."""
    return [_with_preset(size, presets) for size in sizes]


def _with_preset(size: Size, presets: Mapping[str, Size]) -> Size:
    if size.preset is None:
        return size
    if size.preset not in presets:
        raise UnknownPreset(f"there is no preset '{size.preset}'; there are: {', '.join(sorted(presets))}")
    given = {name: getattr(size, name) for name in size.model_fields_set - {"preset"}}
    return presets[size.preset].model_copy(update=given)
