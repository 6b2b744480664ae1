"""What a size asks for: one output of a resize."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from errand.images.formats import FormatName

Fit = Literal["inside", "cover", "fill", "contain", "outside"]


Strictness = Literal["strict", "normal", "lenient"]
"""How much an image may lack: nothing, not even an end marker; nothing that can be seen; what is left is taken."""


MAX_SIDE = 10_000


EXACT_FITS = ("cover", "fill")
"""With both sides given they name the very size of the output; to ask for one is to ask for its pixels."""


def _no_flag(value: Any) -> Any:
    """JSON's `true` is no number, though Python takes it for 1."""
    if isinstance(value, bool):
        raise ValueError("must be a number, not true or false")
    return value


Whole = Annotated[int, BeforeValidator(_no_flag)]


Pixels = Annotated[Whole, Field(ge=1, le=MAX_SIDE)]


class Size(BaseModel):
    """One output. With width or height alone the other follows from the image's shape."""

    model_config = ConfigDict(frozen=True, extra="forbid")

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
    format: FormatName | None = Field(default=None, description="the source's own if not given")
    quality: Whole | None = Field(
        default=None, ge=1, le=100, description="for jpeg, webp and avif; 80, 79 and 63 by default"
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

    @model_validator(mode="after")
    def _has_a_side(self) -> Self:
        if self.width is None and self.height is None:
            raise ValueError("a size needs width, height or both")
        return self
