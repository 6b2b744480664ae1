"""Real images through libvips: sizes, formats, colours, and what is refused before or while it is decoded."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast, get_args

import pytest
import pyvips

from errand.images.formats import Format
from errand.images.options import ImageOptions
from errand.images.pixels.encode import Rendered
from errand.images.pixels.pipeline import Request, render
from errand.images.refusal import ImageRefused
from errand.images.size import Size
from tests.pictures import format_of, image, size_of

FORMATS: tuple[Format, ...] = get_args(Format)
LOADERS = {
    "jpeg": "jpegload_buffer",
    "png": "pngload_buffer",
    "webp": "webpload_buffer",
    "avif": "heifload_buffer",
    "gif": "gifload_buffer",
    "tiff": "tiffload_buffer",
}
RED, GREEN, BLUE, WHITE = [255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]

Resizing = Callable[..., list[Rendered]]


@pytest.fixture
def resized(tmp_path: Path) -> Resizing:
    """Renders `resized(image, {"width": 10}, …)`."""

    def resize(source: bytes, *sizes: dict[str, Any]) -> list[Rendered]:
        (tmp_path / "source").write_bytes(source)
        request = Request(sizes=[Size(**size) for size in sizes])
        return render(tmp_path / "source", tmp_path, request, ImageOptions()).outputs

    return resize


def opened(output: Rendered) -> Any:
    return pyvips.Image.new_from_file(str(output.path))


def pixel(output: Rendered, across: float, down: float) -> list[int]:
    """The colour at that share of the width and height."""
    picture = opened(output)
    return [round(band) for band in picture.getpoint(int(picture.width * across), int(picture.height * down))]


def flat(colour: list[int], *, width: int = 60, height: int = 40) -> Any:
    """A picture of one colour."""
    return pyvips.Image.black(width, height).new_from_image(colour).cast("uchar").copy(interpretation="srgb")


def encoded(picture: Any, form: str, **options: Any) -> bytes:
    return cast(bytes, picture.write_to_buffer(f".{form}", **options))


def halves(*, width: int = 60, height: int = 40) -> Any:
    """Red on the left, blue on the right."""
    return flat(RED, width=width // 2, height=height).join(
        flat(BLUE, width=width - width // 2, height=height), "horizontal"
    )


@pytest.mark.parametrize("own", FORMATS)
def test_an_output_has_the_format_of_its_source_unless_another_is_asked_for(resized: Resizing, own: Format) -> None:
    outputs = resized(image(60, 40, form=own), {"width": 30}, *({"width": 30, "format": form} for form in FORMATS))
    assert [output.format for output in outputs] == [own, *FORMATS]
    for output in outputs:
        content = output.path.read_bytes()
        assert format_of(content) == LOADERS[output.format]
        assert size_of(content) == (output.width, output.height) == (30, 20)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ({"width": 33, "height": 21, "fit": "inside"}, (31, 21)),
        ({"width": 33, "height": 21, "fit": "outside"}, (33, 22)),
        ({"width": 33, "height": 21, "fit": "cover"}, (33, 21)),
        ({"width": 33, "height": 21, "fit": "contain"}, (33, 21)),
        ({"width": 33, "height": 21, "fit": "fill"}, (33, 21)),
        ({"width": 33}, (33, 22)),
        ({"height": 33}, (49, 33)),
        ({"width": 1, "height": 1, "fit": "cover"}, (1, 1)),
        ({"width": 601, "enlarge": True}, (601, 404)),
        ({"width": 601}, (61, 41)),
        ({"width": 301, "height": 7, "fit": "cover"}, (301, 7)),
        ({"width": 7, "height": 301, "fit": "contain"}, (7, 301)),
    ],
)
@pytest.mark.parametrize("form", ["jpeg", "png"])
def test_an_output_has_exactly_the_size_asked_for(
    resized: Resizing, form: str, size: dict[str, Any], expected: tuple[int, int]
) -> None:
    (output,) = resized(image(61, 41, form=form), size)
    assert (output.width, output.height) == size_of(output.path.read_bytes()) == expected


def test_many_sizes_of_one_image_are_each_exact(resized: Resizing) -> None:
    """JPEG is shrunk while it is loaded, in eighths: sizes around those steps are where rounding goes wrong."""
    widths = [1, 2, 12, 13, 24, 25, 26, 49, 50, 51, 99, 100, 101, 199, 200, 201]
    outputs = resized(image(200, 133), *({"width": width, "height": width, "fit": "fill"} for width in widths))
    assert [size_of(output.path.read_bytes()) for output in outputs] == [(width, width) for width in widths]


def test_outputs_of_one_size_do_not_overwrite_each_other(resized: Resizing) -> None:
    outputs = resized(image(60, 40), *[{"width": 30}] * 3)
    assert len({output.path for output in outputs}) == 3


def test_cover_cuts_both_sides_alike(resized: Resizing) -> None:
    (output,) = resized(encoded(halves(), "png"), {"width": 20, "height": 40, "fit": "cover"})
    assert (pixel(output, 0, 0.5), pixel(output, 0.95, 0.5)) == (RED, BLUE)


def test_contain_pads_in_white_or_transparent_if_the_image_is(resized: Resizing) -> None:
    size = {"width": 60, "height": 60, "fit": "contain"}
    (padded,) = resized(encoded(flat(RED), "png"), size)
    assert [pixel(padded, 0.5, share) for share in (0, 0.5, 0.99)] == [WHITE, RED, WHITE]
    (clear,) = resized(encoded(flat([*RED, 255]), "png"), size)
    assert (pixel(clear, 0.5, 0)[3], pixel(clear, 0.5, 0.5)) == (0, [*RED, 255])


def test_transparency_is_kept_if_the_format_has_it_and_else_white(resized: Resizing) -> None:
    source = encoded(flat([*RED, 0]), "png")
    outputs = resized(source, *({"width": 30, "format": form} for form in FORMATS))
    for output in outputs:
        colour = pixel(output, 0.5, 0.5)
        if output.format == "jpeg":
            assert colour == pytest.approx(WHITE, abs=2)
        else:
            assert len(colour) == 4 and colour[3] == 0, output.format


@pytest.mark.parametrize("form", ["jpeg", "webp", "avif"])
def test_a_lower_quality_makes_a_smaller_file(resized: Resizing, form: str) -> None:
    low, default, high = (
        output.path.stat().st_size
        for output in resized(
            image(120, 80, form="png"),
            {"width": 120, "format": form, "quality": 10},
            {"width": 120, "format": form},
            {"width": 120, "format": form, "quality": 100},
        )
    )
    assert low < default < high


@pytest.mark.parametrize(
    ("orientation", "top_left"),
    [(1, RED), (2, GREEN), (3, WHITE), (4, BLUE), (5, RED), (6, BLUE), (7, WHITE), (8, GREEN)],
)
def test_the_orientation_in_the_metadata_is_applied(resized: Resizing, orientation: int, top_left: list[int]) -> None:
    """EXIF 2.32, tag 0x0112: which corner of the stored picture is the top left one to look at."""
    top = flat(RED, width=32, height=16).join(flat(GREEN, width=32, height=16), "horizontal")
    bottom = flat(BLUE, width=32, height=16).join(flat(WHITE, width=32, height=16), "horizontal")
    stored = top.join(bottom, "vertical").copy()
    stored.set_type(pyvips.GValue.gint_type, "orientation", orientation)
    source = encoded(stored, "jpeg", Q=100, subsample_mode="off")
    turned = orientation >= 5
    outputs = resized(
        source, {"width": 16}, {"width": 20, "height": 10, "fit": "fill"}, {"width": 128, "enlarge": True}
    )
    assert [(output.width, output.height) for output in outputs] == (
        [(16, 32), (20, 10), (128, 256)] if turned else [(16, 8), (20, 10), (128, 64)]
    )
    for output in outputs:
        assert pixel(output, 0.1, 0.1) == pytest.approx(top_left, abs=12)


@pytest.mark.parametrize("form", FORMATS)
def test_metadata_is_removed(resized: Resizing, form: Format) -> None:
    source = flat(RED).copy()
    source.set_type(pyvips.GValue.gstr_type, "exif-ifd0-Copyright", "where I live")
    source.set_type(pyvips.GValue.blob_type, "xmp-data", b"<where-i-live/>")
    taken = encoded(source, "jpeg", profile="srgb")
    assert b"where I live" in taken and b"<where-i-live/>" in taken
    (output,) = resized(taken, {"width": 30, "format": form})
    left = [name for name in opened(output).get_fields() if name.startswith(("exif", "xmp", "iptc", "icc"))]
    assert left == []
    content = output.path.read_bytes()
    assert b"where I live" not in content and b"where-i-live" not in content


ODD_SOURCES: dict[str, Callable[[], tuple[bytes, list[int]]]] = {
    "grey jpeg": lambda: (encoded(flat([128, 128, 128]).colourspace("b-w"), "jpeg"), [128, 128, 128]),
    "grey png with alpha": lambda: (
        encoded(flat([128, 128, 128]).colourspace("b-w").bandjoin(255), "png"),
        [128, 128, 128, 255],
    ),
    "16-bit png": lambda: (encoded(flat([200, 100, 50]).colourspace("rgb16"), "png"), [200, 100, 50]),
    "16-bit grey png": lambda: (encoded(flat([128, 128, 128]).colourspace("grey16"), "png"), [128, 128, 128]),
    "1-bit png": lambda: (encoded(flat(WHITE).colourspace("b-w") > 128, "png", bitdepth=1), WHITE),
    "palette png": lambda: (encoded(flat([200, 100, 50]), "png", palette=True), [200, 100, 50]),
    "cmyk jpeg": lambda: (encoded(flat([200, 100, 50]).icc_transform("cmyk"), "jpeg", Q=100), [200, 100, 50]),
    "cmyk tiff, no profile": lambda: (
        encoded(flat([200, 100, 50]).colourspace("cmyk"), "tiff", keep="none"),
        [200, 100, 50],
    ),
    "wide gamut": lambda: (
        encoded(flat([200, 100, 50]).icc_transform("p3"), "jpeg", profile="p3", Q=100),
        [200, 100, 50],
    ),
    "lab tiff": lambda: (encoded(flat([200, 100, 50]).colourspace("lab"), "tiff"), [200, 100, 50]),
    "tiff of five bands": lambda: (
        encoded(flat([200, 100, 50]).bandjoin([255, 255]).copy(interpretation="srgb"), "tiff"),
        [200, 100, 50, 255],
    ),
}


@pytest.mark.parametrize("kind", ODD_SOURCES)
def test_the_colours_of_any_source_become_srgb(resized: Resizing, kind: str) -> None:
    source, expected = ODD_SOURCES[kind]()
    as_png, as_jpeg = resized(source, {"width": 30, "format": "png"}, {"width": 30, "format": "jpeg"})
    assert pixel(as_png, 0.5, 0.5) == pytest.approx(expected, abs=25 if "cmyk" in kind else 3)
    assert len(pixel(as_jpeg, 0.5, 0.5)) == 3
    assert pixel(as_jpeg, 0.5, 0.5) == pytest.approx(expected[:3], abs=25 if "cmyk" in kind else 4)
    assert opened(as_png).format == "uchar"


@pytest.mark.parametrize("form", ["gif", "webp"])
def test_the_first_frame_of_an_animation_is_taken(resized: Resizing, form: str) -> None:
    frames = pyvips.Image.arrayjoin([flat(RED), flat(BLUE)], across=1).copy()
    frames.set_type(pyvips.GValue.gint_type, "page-height", 40)
    (output,) = resized(encoded(frames, form), {"width": 30, "format": "png"})
    assert (output.width, output.height) == (30, 20)
    assert pixel(output, 0.5, 0.5)[:3] == pytest.approx(RED, abs=8)


@pytest.mark.parametrize(
    "content",
    [
        b"Dear Sir or Madam,\n" * 100,
        b"1,2,3\n4,5,6\n",
        b"%PDF-1.7\n",
        b"BM" + bytes(60),
        b"P6 2 2 255\n" + bytes(12),
        b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect width="9" height="9"/></svg>',
        b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
        image(60, 40)[:40],
    ],
    ids=["text", "csv", "pdf", "bmp", "ppm", "svg", "svg with a declaration", "no more than a header"],
)
def test_an_unreadable_image_is_refused_with_the_readable_formats(resized: Resizing, content: bytes) -> None:
    with pytest.raises(ImageRefused, match=r"not an image that can be read \(JPEG, PNG, WebP, AVIF, GIF, TIFF\)"):
        resized(content, {"width": 10})


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("kept", [0.5, 0.9, 0.99])
def test_an_image_that_is_cut_short_is_refused(resized: Resizing, form: Format, kept: float) -> None:
    content = image(120, 80, form=form)
    with pytest.raises(ImageRefused, match=r"damaged or cut short|not an image"):
        resized(content[: int(len(content) * kept)], {"width": 30})


@pytest.mark.parametrize("form", ["jpeg", "png"])
@pytest.mark.parametrize("size", [{"width": 10}, {"width": 290}, {"width": 600}])
@pytest.mark.parametrize("interlace", [False, True])
def test_a_cut_is_seen_at_every_scale(resized: Resizing, form: str, size: dict[str, int], interlace: bool) -> None:
    content = image(300, 200, form=form, interlace=interlace)
    with pytest.raises(ImageRefused, match="damaged or cut short"):
        resized(content[: len(content) * 2 // 3], size)


def huge_png() -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 17_000, 17_000, 8, 2, 0, 0, 0)
    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    return start + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")


def huge_avif() -> bytes:
    """Its `ispe` box (ISO/IEC 23008-12 §6.5.3) announces more than is there."""
    content = bytearray(image(64, 64, form="avif"))
    box = content.index(b"ispe")
    content[box + 8 : box + 16] = struct.pack(">II", 17_000, 17_000)
    return bytes(content)


def huge_jpeg() -> bytes:
    content = bytearray(image(16, 16))
    frame = content.index(b"\xff\xc0")
    content[frame + 5 : frame + 9] = struct.pack(">HH", 17_000, 17_000)
    return bytes(content)


@pytest.mark.parametrize("bomb", [huge_png, huge_avif, huge_jpeg])
def test_a_small_file_that_announces_a_huge_image_is_refused_by_its_header(
    resized: Resizing, bomb: Callable[[], bytes]
) -> None:
    content = bomb()
    assert len(content) < 5_000
    with pytest.raises(ImageRefused, match="17000 x 17000 pixels, over the limit of 250 megapixels"):
        resized(content, {"width": 10})


SQUARE = {"width": 10_000, "height": 10_000}


@pytest.mark.parametrize(
    ("sizes", "cost"),
    [
        ([{**SQUARE, "fit": "contain"}] * 3, 300),
        ([{"width": 10_000, "enlarge": True}] * 3, 300),
        ([{**SQUARE, "fit": "fill", "format": "avif"}], 900),
        ([{**SQUARE, "fit": "fill", "max_bytes": 100_000}], 600),
        ([{"width": 7_000, "enlarge": True, "format": "avif"}] * 20, 8820),
    ],
)
def test_outputs_that_cost_too_much_together_are_refused(
    resized: Resizing, sizes: list[dict[str, Any]], cost: int
) -> None:
    with pytest.raises(ImageRefused, match=f"cost as much as {cost} megapixels of JPEG, over the limit of 200"):
        resized(image(20, 20), *sizes)


def test_the_effort_for_avif_is_a_part_of_its_cost(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(image(2_000, 2_000))
    sizes = Request(sizes=[Size(width=2_000, format="avif")])
    with pytest.raises(ImageRefused, match="cost as much as 240 megapixels"):
        render(tmp_path / "source", tmp_path, sizes, ImageOptions(avif_effort=5, output_megapixels=100, memory_bytes=0))
    with pytest.raises(ImageRefused, match="more memory"):
        render(tmp_path / "source", tmp_path, sizes, ImageOptions(avif_effort=1, output_megapixels=100, memory_bytes=0))


@pytest.mark.parametrize(("form", "longest"), [("webp", 16_383), ("avif", 16_384), ("jpeg", 65_500), ("gif", 65_535)])
def test_a_side_longer_than_the_format_takes_is_refused_as_that(resized: Resizing, form: str, longest: int) -> None:
    with pytest.raises(ImageRefused, match=f"70000 x 10 pixels cannot be {form}, whose sides end at {longest}"):
        resized(image(7_000, 1, form="png"), {"height": 10, "format": form, "enlarge": True})


def test_an_output_can_have_the_longest_side_of_its_format(resized: Resizing) -> None:
    (output,) = resized(image(16_383, 1, form="png"), {"height": 1, "format": "webp"})
    assert size_of(output.path.read_bytes()) == (16_383, 1)
