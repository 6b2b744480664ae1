"""The geometry of a resize, in numbers."""

from __future__ import annotations

import pytest

from errand.images.plan import Plan, plan
from errand.images.size import Fit, Size

LANDSCAPE, PORTRAIT = (600, 400), (400, 600)


@pytest.mark.parametrize(
    ("fit", "source", "scaled", "canvas"),
    [
        ("inside", LANDSCAPE, (300, 200), (300, 200)),
        ("inside", PORTRAIT, (200, 300), (200, 300)),
        ("outside", LANDSCAPE, (450, 300), (450, 300)),
        ("outside", PORTRAIT, (300, 450), (300, 450)),
        ("cover", LANDSCAPE, (450, 300), (300, 300)),
        ("cover", PORTRAIT, (300, 450), (300, 300)),
        ("contain", LANDSCAPE, (300, 200), (300, 300)),
        ("contain", PORTRAIT, (200, 300), (300, 300)),
        ("fill", LANDSCAPE, (300, 300), (300, 300)),
    ],
)
def test_each_fit_scales_and_then_cuts_or_pads(
    fit: Fit, source: tuple[int, int], scaled: tuple[int, int], canvas: tuple[int, int]
) -> None:
    planned = plan(Size(width=300, height=300, fit=fit), width=source[0], height=source[1])
    assert planned == Plan(*scaled, *canvas)


@pytest.mark.parametrize("fit", ["inside", "outside", "cover", "contain", "fill"])
def test_one_side_decides_the_other_for_every_fit(fit: Fit) -> None:
    assert plan(Size(width=300, fit=fit), width=600, height=401) == Plan(300, 200, 300, 200)
    assert plan(Size(height=100, fit=fit), width=600, height=401) == Plan(150, 100, 150, 100)


@pytest.mark.parametrize("fit", ["inside", "outside", "cover", "contain", "fill"])
def test_a_small_image_is_enlarged(fit: Fit) -> None:
    planned = plan(Size(width=300, height=300, fit=fit), width=3, height=3)
    assert planned == Plan(300, 300, 300, 300)


def test_no_side_vanishes() -> None:
    assert plan(Size(width=10), width=3000, height=1) == Plan(10, 1, 10, 1)
    assert plan(Size(width=10, height=10), width=1, height=3000) == Plan(1, 10, 1, 10)


def test_rounding_never_changes_the_side_that_was_asked_for() -> None:
    for width in range(1, 200, 7):
        for height in range(1, 200, 3):
            inside, outside, cover = (
                plan(Size(width=97, height=89, fit=fit), width=width, height=height)
                for fit in ("inside", "outside", "cover")
            )
            assert max(inside.width - 97, inside.height - 89) == 0
            assert min(outside.width - 97, outside.height - 89) == 0
            assert (cover.width, cover.height) == (outside.width, outside.height)
            assert (cover.canvas_width, cover.canvas_height) == (97, 89)


def test_a_size_may_leave_all_but_one_side_open() -> None:
    assert Size(height=10).model_dump() == {
        **{"width": None, "height": 10, "fit": "inside", "format": None, "quality": None}
    }
