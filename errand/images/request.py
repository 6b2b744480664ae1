"""What can be said of a resize before its 202: from the args and from the start of the upload."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from errand.images.formats import FORMATS, sniff
from errand.images.header import ImageShape, announced_size, format_of
from errand.images.options import ImageOptions, Rendition
from errand.images.plan import plan
from errand.images.refusal import ImageRefused, not_an_image
from errand.images.size import Size, resolved, with_presets


def check_file(start: bytes, *, named: bool, extra: Collection[str] = ()) -> None:
    """Raises ValueError if a file that begins so is not read here; `named` if it came with a file's name.

    `extra`: the formats that this installation reads besides the usual ones.
    """
    kind = sniff(start)
    if kind not in FORMATS and kind.lower() not in extra:
        hint = "" if named else "; curl sends the file itself with -F file=@photo.jpg, the @ is needed"
        raise ValueError(not_an_image(start, extra) + hint)


def check_cost(sizes: Sequence[Size], start: bytes | None, options: ImageOptions) -> None:
    """Raises ValueError if these sizes, of an image that begins so, will be refused for their cost, or have no preset.

    Where nothing is known of the image, what counts is the sizes that will be made whatever it is.
    """
    sizes = with_presets(sizes, options.presets)
    shape = announced_size(start) if start else None
    try:
        if shape is None:
            certain = [size for size in sizes if size.exact is not None and size.crop is None]
            return _check(certain, [size.exact or (1, 1) for size in certain], start, options)
        options.check_source(*shape)
    except ImageRefused as refused:
        raise ValueError(str(refused)) from None
    # it may lie on its side: an image is refused if it costs too much either way
    faults = [_fault(sizes, side, start, options) for side in (shape, shape[::-1])]
    if all(faults):
        raise ValueError(faults[0])


def _fault(sizes: Sequence[Size], shape: ImageShape, start: bytes | None, options: ImageOptions) -> str:
    try:
        _check(sizes, [shape] * len(sizes), start, options)
    except ImageRefused as refused:
        return str(refused)
    return ""


def _check(sizes: Sequence[Size], shapes: Sequence[ImageShape], start: bytes | None, options: ImageOptions) -> None:
    own = format_of(start) if start else None
    options.check_outputs(
        [
            # a format that is not known yet costs what the cheapest does
            Rendition(size=size, format=resolved(form, own or "jpeg"), planned=plan(size, width=width, height=height))
            for size, (width, height) in zip(sizes, [(max(w, 1), max(h, 1)) for w, h in shapes], strict=True)
            for form in size.formats
        ]
    )
