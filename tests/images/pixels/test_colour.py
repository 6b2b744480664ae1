"""Which profiles mean sRGB: an image in it is not converted, which would change nothing and take long."""

from __future__ import annotations

import pytest
import pyvips

from errand.images.pixels.colour import in_srgb, is_srgb
from tests.pictures import image


def profile(name: str) -> bytes:
    embedded = pyvips.Image.new_from_buffer(image(8, 8, profile=name), "").get("icc-profile-data")
    assert isinstance(embedded, bytes)
    return embedded


def gamma_1(srgb: bytes) -> bytes:
    """The same primaries, called sRGB too, with a straight line instead of the curve (ICC.1:2010, section 10.5)."""
    count = int.from_bytes(srgb[128:132], "big")
    tags = {srgb[at : at + 4]: int.from_bytes(srgb[at + 4 : at + 8], "big") for at in range(132, 132 + 12 * count, 12)}
    straight = b"curv" + bytes(8)
    changed = bytearray(srgb)
    for name in (b"rTRC", b"gTRC", b"bTRC"):
        changed[tags[name] : tags[name] + len(straight)] = straight
    return bytes(changed)


def test_srgb_is_known_by_what_it_does_and_not_by_its_name() -> None:
    assert is_srgb(profile("srgb"))
    assert not is_srgb(gamma_1(profile("srgb")))


@pytest.mark.parametrize("content", [b"", b"no profile", bytes(500)])
def test_what_is_no_profile_is_left_to_libvips(content: bytes) -> None:
    assert not is_srgb(content)


def test_wide_gamut_is_none() -> None:
    assert not is_srgb(profile("p3"))
    assert not is_srgb(profile("cmyk"))


@pytest.mark.parametrize("says", ["multiband", "srgb", "rgb", "b-w", "cmyk", "rgb16", "grey16", "scrgb", "histogram"])
@pytest.mark.parametrize("bands", [1, 2, 3, 4])
@pytest.mark.parametrize("form", ["uchar", "ushort", "float"])
def test_whatever_an_image_says_of_its_bands_it_gets_colours_of_a_byte(says: str, bands: int, form: str) -> None:
    """A TIFF may say anything: of one whose four bands nobody knew the mean colours were those of other pixels."""
    made = in_srgb((pyvips.Image.black(4, 4, bands=bands) + 50).cast(form).copy(interpretation=says))
    assert (made.interpretation, made.format) == ("srgb", "uchar") and made.bands in (3, 4)
    assert made.avg() >= 0  # it can be computed


def test_of_many_bands_without_a_name_three_are_colours() -> None:
    colours = pyvips.Image.black(4, 4).linear(1, [10, 20, 30, 40, 50, 60])
    assert in_srgb(colours.cast("uchar").copy(interpretation="multiband"))(0, 0) == [10, 20, 30]
