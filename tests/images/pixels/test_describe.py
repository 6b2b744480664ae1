"""What is said of an image, against values of the package `blurhash` 1.1.5, the reference in Python."""

from __future__ import annotations

import pytest

from errand.images.pixels.describe import blurhash, dominant_colour

SIDE = range(16)


@pytest.mark.parametrize(
    ("pixels", "expected"),
    [
        ([(16 * x, 16 * y, 128) for y in SIDE for x in SIDE], "LsGu,V2@wxozqSWEjte=gJfjfQfj"),
        (
            [((37 * x + 11 * y) % 256, x * y % 256, (255 - 13 * x) % 256) for y in SIDE for x in SIDE],
            "L@G?ZnrkS*sri*XRS4WXbZWWj@SM",
        ),
    ],
)
def test_a_blurhash_is_the_one_of_the_reference(pixels: list[tuple[int, int, int]], expected: str) -> None:
    assert blurhash(pixels, 16, 16) == expected


def test_the_dominant_colour_is_that_of_most_pixels_and_no_mean_of_all() -> None:
    assert dominant_colour([(200, 10, 10)] * 6 + [(10, 10, 200)] * 5) == "#c80a0a"
