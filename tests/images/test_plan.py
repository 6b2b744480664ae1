"""The geometry of a resize, in numbers."""

from __future__ import annotations

from typing import Any

import pytest

from errand.images.plan import Plan, Region, plan
from errand.images.size import Fit, Size

LANDSCAPE, PORTRAIT = (600, 400), (400, 600)


def planned(source: tuple[int, int], **size: Any) -> Plan:
    return plan(Size(**size), width=source[0], height=source[1])


def sides(of: Plan) -> tuple[tuple[int, int], tuple[int, int]]:
    """The scaled region's, and the canvas'."""
    return (of.width, of.height), (of.canvas_width, of.canvas_height)


@pytest.mark.parametrize(
    ("fit", "source", "scaled", "canvas"),
    [
        ("inside", LANDSCAPE, (300, 200), (300, 200)),
        ("inside", PORTRAIT, (200, 300), (200, 300)),
        ("outside", LANDSCAPE, (450, 300), (450, 300)),
        ("outside", PORTRAIT, (300, 450), (300, 450)),
        ("contain", LANDSCAPE, (300, 200), (300, 300)),
        ("contain", PORTRAIT, (200, 300), (300, 300)),
        ("fill", LANDSCAPE, (300, 300), (300, 300)),
    ],
)
def test_each_fit_scales_and_may_pad(
    fit: Fit, source: tuple[int, int], scaled: tuple[int, int], canvas: tuple[int, int]
) -> None:
    found = planned(source, width=300, height=300, fit=fit)
    assert (found.region, *sides(found)) == (Region(0, 0, *source), scaled, canvas)


@pytest.mark.parametrize(("source", "region"), [(LANDSCAPE, (100, 0, 400, 400)), (PORTRAIT, (0, 100, 400, 400))])
def test_cover_cuts_the_middle_out_before_it_scales(source: tuple[int, int], region: tuple[int, int, int, int]) -> None:
    assert planned(source, width=300, height=300, fit="cover") == Plan(Region(*region), 300, 300, 300, 300)


def test_of_a_strip_that_covers_a_square_only_the_square_is_scaled() -> None:
    strip = planned((5_000, 20), width=500, height=500, fit="cover")
    assert strip == Plan(Region(2_490, 0, 20, 20), 500, 500, 500, 500)


@pytest.mark.parametrize("fit", ["inside", "outside", "cover", "contain", "fill"])
def test_one_side_decides_the_other_for_every_fit(fit: Fit) -> None:
    assert sides(planned((600, 401), width=300, fit=fit)) == ((300, 200), (300, 200))
    assert sides(planned((600, 401), height=100, fit=fit)) == ((150, 100), (150, 100))


@pytest.mark.parametrize(
    ("fit", "enlarge", "scaled", "canvas"),
    [
        ("inside", None, (6, 4), (6, 4)),
        ("inside", True, (300, 200), (300, 200)),
        ("outside", None, (6, 4), (6, 4)),
        ("outside", True, (450, 300), (450, 300)),
        ("contain", None, (6, 4), (300, 300)),
        ("contain", True, (300, 200), (300, 300)),
        ("cover", None, (300, 300), (300, 300)),
        ("cover", False, (4, 4), (4, 4)),
        ("fill", None, (300, 300), (300, 300)),
        ("fill", False, (6, 4), (6, 4)),
    ],
)
def test_a_small_image_is_enlarged_only_if_that_is_asked_for(
    fit: Fit, enlarge: bool | None, scaled: tuple[int, int], canvas: tuple[int, int]
) -> None:
    small = planned((6, 4), width=300, height=300, fit=fit, enlarge=enlarge)
    assert sides(small) == (scaled, canvas)


@pytest.mark.parametrize("fit", ["cover", "fill", "inside"])
def test_one_side_alone_names_no_exact_size_and_enlarges_nothing(fit: Fit) -> None:
    assert sides(planned((6, 4), width=300, fit=fit))[1] == (6, 4)


def test_cover_that_may_not_enlarge_keeps_the_shape_of_the_box() -> None:
    assert sides(planned((1_000, 300), width=1_200, height=600, fit="cover", enlarge=False))[1] == (600, 300)


def test_no_side_vanishes() -> None:
    assert sides(planned((3_000, 1), width=10))[1] == (10, 1)
    assert sides(planned((1, 3_000), width=10, height=10))[1] == (1, 10)


def test_rounding_never_changes_the_side_that_was_asked_for() -> None:
    for width in range(1, 200, 7):
        for height in range(1, 200, 3):
            inside, outside, cover = (
                planned((width, height), width=97, height=89, fit=fit, enlarge=True)
                for fit in ("inside", "outside", "cover")
            )
            assert max(inside.width - 97, inside.height - 89) == 0
            assert min(outside.width - 97, outside.height - 89) == 0
            assert (cover.canvas_width, cover.canvas_height) == (97, 89)
            assert cover.region.width / cover.region.height == pytest.approx(97 / 89)


def test_a_size_may_leave_all_but_one_side_open() -> None:
    assert Size(height=10).width is None and Size(format="webp").height is None
