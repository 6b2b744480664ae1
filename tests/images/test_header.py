"""What the first bytes of an upload say: what it is, and how large."""

from __future__ import annotations

import pytest

from errand.images.formats import sniff
from errand.images.header import announced_size
from tests.pictures import image

COMMENT = b"\xff\xfe\x00\x11<svg></svg>    "


@pytest.mark.parametrize("form", ["jpeg", "png", "webp", "avif", "gif", "tiff"])
def test_kind_and_size_are_read(form: str) -> None:
    start = image(300, 200, form=form)
    assert sniff(start) == form
    assert announced_size(start) == (300, 200)
    # never past what is there: a size, or none
    assert {announced_size(start[:length]) for length in range(0, len(start), 7)} <= {None, (300, 200)}


def test_text_in_an_image_does_not_make_a_drawing_of_it() -> None:
    start = image(300, 200)
    assert sniff(start[:2] + COMMENT + start[2:]) == "jpeg"
    assert sniff(COMMENT) == "SVG"


@pytest.mark.parametrize("number", [1, 2, 3, 7])
def test_fill_bytes_before_a_marker_of_a_jpeg_are_passed_over(number: int) -> None:
    """ITU T.81, B.1.1.2; taken for a marker, what follows would be the length of a segment."""
    start = image(300, 200)
    assert announced_size(start[:2] + b"\xff" * number + start[2:]) == (300, 200)
    assert announced_size(start[:2] + b"\xff" * number) is None
    assert announced_size(start[:2] + b"\xff\xe0\x00\x04ab" + b"\x00\xc0\x00\x11\x08\xff\xff\xff\xff") is None
