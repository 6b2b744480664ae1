"""Each thing that a size can ask for, on real pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import pyvips

from errand.images.edits import SHARES
from errand.images.options import ImageOptions
from errand.images.pixels.encode import Rendered
from errand.images.pixels.pipeline import Request, Result, render
from errand.images.refusal import ImageRefused
from errand.images.size import Animation, Size
from tests.pictures import image

RED, GREEN, BLUE, WHITE, BLACK = [255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255], [0, 0, 0]


def flat(colour: list[int], width: int, height: int) -> pyvips.Image:
    return pyvips.Image.black(width, height).new_from_image(colour).cast("uchar").copy(interpretation="srgb")


def grid() -> bytes:
    """Nine fields of 40 x 40 pixels, each with a green of its own: 20 in the north-west, 180 in the south-east."""
    fields = [flat([0, 20 * (number + 1), 0], 40, 40) for number in range(9)]
    return bytes(pyvips.Image.arrayjoin(fields, across=3).write_to_buffer(".png"))


def rendered(folder: Path, content: bytes, *sizes: dict[str, Any], animation: Animation = "first") -> Result:
    (folder / "source").write_bytes(content)
    marks = {"watermarks/dot.png": folder / "mark"}
    request = Request(sizes=[Size(**size) for size in sizes], animation=animation, watermarks=marks)
    return render(folder / "source", folder, request, ImageOptions())


def opened(output: Rendered, **options: Any) -> pyvips.Image:
    return pyvips.Image.new_from_file(str(output.path), **options).copy_memory()  # the next one has the same name


def one(folder: Path, content: bytes, **size: Any) -> pyvips.Image:
    return opened(rendered(folder, content, size).outputs[0])


def colour(picture: pyvips.Image, across: float = 0.5, down: float = 0.5) -> list[int]:
    return [round(band) for band in picture.getpoint(int(picture.width * across), int(picture.height * down))]


FIELDS = {"northwest": 20, "north": 40, "northeast": 60, "west": 80, "center": 100, "east": 120} | {
    "southwest": 140,
    "south": 160,
    "southeast": 180,
}


@pytest.mark.parametrize("gravity", SHARES)
def test_gravity_says_which_part_cover_keeps(tmp_path: Path, gravity: str) -> None:
    wide = one(tmp_path, grid(), width=120, height=40, fit="cover", gravity=gravity)
    high = one(tmp_path, grid(), width=40, height=120, fit="cover", gravity=gravity)
    row, column = (FIELDS[gravity] // 20 - 1) // 3, (FIELDS[gravity] // 20 - 1) % 3
    assert [colour(wide, share)[1] for share in (0.1, 0.5, 0.9)] == [20 * (3 * row + n + 1) for n in range(3)]
    assert [colour(high, down=share)[1] for share in (0.1, 0.5, 0.9)] == [20 * (3 * n + column + 1) for n in range(3)]


@pytest.mark.parametrize("gravity", SHARES)
def test_gravity_says_where_contain_lays_the_image(tmp_path: Path, gravity: str) -> None:
    padded = one(tmp_path, grid(), width=360, height=120, fit="contain", gravity=gravity, background="#0000ff")
    left = int(240 * SHARES[gravity][0])
    assert colour(padded, (left + 60) / 360)[:3] == [0, 100, 0]
    assert (colour(padded, 0)[:3] == BLUE) == (left > 0) and (colour(padded, 0.999)[:3] == BLUE) == (left < 240)


def test_a_focus_stays_in_the_picture(tmp_path: Path) -> None:
    for x, y, field in ((0.9, 0.9, 180), (0.5, 0.1, 40), (0, 0, 20)):
        size = {"width": 120, "height": 40, "fit": "cover", "focus": {"x": x, "y": y}}
        picture = one(tmp_path, grid(), **size)
        assert colour(picture, (x * 119) / 120)[1] == field


@pytest.mark.parametrize("gravity", ["attention", "entropy"])
def test_smart_gravity_finds_what_there_is_to_see(tmp_path: Path, gravity: str) -> None:
    plain = flat(WHITE, 400, 100)
    busy = pyvips.Image.gaussnoise(60, 60, mean=128, sigma=80, seed=1).cast("uchar")
    source = plain.insert(busy.bandjoin([busy.invert(), busy.rot90()]).copy(interpretation="srgb"), 320, 20)
    found = one(tmp_path, bytes(source.write_to_buffer(".png")), width=50, height=50, fit="cover", gravity=gravity)
    assert found.deviate() > 20


def test_a_crop_is_taken_before_the_box(tmp_path: Path) -> None:
    crop = {"left": 40, "top": 80, "width": 40, "height": 40}
    assert colour(one(tmp_path, grid(), crop=crop, width=20), 0, 0.9) == pytest.approx([0, 160, 0], abs=1)
    assert one(tmp_path, grid(), crop=crop).width == 40
    assert one(tmp_path, grid(), crop={**crop, "width": 900}).width == 80
    with pytest.raises(ImageRefused, match="outside of the image of 120 x 120"):
        one(tmp_path, grid(), crop={**crop, "left": 120})


@pytest.mark.parametrize(
    ("size", "corner"),
    [
        ({"rotate": 90}, 140),
        ({"rotate": 180}, 180),
        ({"rotate": 270}, 60),
        ({"flip": "horizontal"}, 60),
        ({"flip": "vertical"}, 140),
        ({"rotate": 90, "flip": "horizontal"}, 20),
    ],
)
def test_rotate_and_flip(tmp_path: Path, size: dict[str, Any], corner: int) -> None:
    assert colour(one(tmp_path, grid(), width=60, **size), 0.1, 0.1)[1] == corner


def test_a_rotated_image_is_fitted_as_it_stands_then(tmp_path: Path) -> None:
    turned = one(tmp_path, image(60, 40), width=20, rotate=90)
    assert (turned.width, turned.height) == (20, 30)


def test_trim_cuts_edges_of_one_colour(tmp_path: Path) -> None:
    framed = flat(WHITE, 300, 200).insert(flat(RED, 100, 50), 40, 60)
    trimmed = one(tmp_path, bytes(framed.write_to_buffer(".png")), trim=10)
    assert (trimmed.width, trimmed.height) == (100, 50)
    assert (colour(trimmed, 0, 0), colour(trimmed, 0.99, 0.99)) == (RED, RED)
    assert one(tmp_path, bytes(flat(WHITE, 30, 20).write_to_buffer(".png")), trim=10).width == 30
    narrow = one(tmp_path, bytes(flat(WHITE, 2, 90).insert(flat(RED, 2, 30), 0, 20).write_to_buffer(".png")), trim=10)
    assert (narrow.width, narrow.height) == (2, 30)


def test_blur_and_sharpen(tmp_path: Path) -> None:
    half = flat(BLACK, 50, 50).join(flat([200, 200, 200], 50, 50), "horizontal")
    source = bytes(half.write_to_buffer(".png"))
    plain, soft, crisp = (one(tmp_path, source, width=50, **edit) for edit in ({}, {"blur": 4}, {"sharpen": 2}))
    assert colour(soft, 0.4)[0] > colour(plain, 0.4)[0] + 10
    assert crisp.max() > plain.max()
    assert (soft.bands, crisp.bands, crisp.interpretation) == (3, 3, "srgb")


def test_the_background_shows_through_what_is_transparent(tmp_path: Path) -> None:
    clear = bytes(flat([*RED, 0], 20, 20).write_to_buffer(".png"))
    assert colour(one(tmp_path, clear, width=10, background="#00ff00")) == GREEN
    assert colour(one(tmp_path, clear, width=10, background="#00ff00", format="jpeg")) == pytest.approx(GREEN, abs=3)
    assert colour(one(tmp_path, clear, width=10)) == [*RED, 0] or colour(one(tmp_path, clear, width=10))[3] == 0
    half = one(tmp_path, grid(), width=60, height=30, fit="contain", background="#0000ff80")
    assert colour(half, 0) == [*BLUE, 128]


def test_a_watermark_is_laid_over_the_output(tmp_path: Path) -> None:
    flat(RED, 10, 10).write_to_file(str(tmp_path / "mark") + ".png")
    Path(str(tmp_path / "mark") + ".png").rename(tmp_path / "mark")
    mark = {"key": "watermarks/dot.png", "width": 0.2, "margin": 0, "gravity": "northwest"}
    marked = one(tmp_path, grid(), width=100, watermark=mark)
    assert (colour(marked, 0.05, 0.05), colour(marked, 0.5, 0.5)) == (RED, [0, 100, 0])
    faint = one(tmp_path, grid(), width=100, watermark={**mark, "opacity": 0.5})
    assert colour(faint, 0.05, 0.05) == pytest.approx([128, 10, 0], abs=2)
    (tmp_path / "mark").write_bytes(b"no image")
    with pytest.raises(ImageRefused, match=r"watermark watermarks/dot\.png is not an image"):
        one(tmp_path, grid(), width=100, watermark=mark)


def test_one_size_in_several_formats(tmp_path: Path) -> None:
    made = rendered(tmp_path, grid(), {"width": 30, "format": ["avif", "webp", "jpg", "keep"]}, {"width": 20})
    assert [(each.format, each.width) for each in made.outputs] == [
        *(("avif", 30), ("webp", 30), ("jpeg", 30), ("png", 30), ("png", 20))
    ]


def test_auto_writes_graphics_without_loss(tmp_path: Path) -> None:
    palette = bytes(pyvips.Image.new_from_buffer(grid(), "").write_to_buffer(".png", palette=True))
    made = rendered(tmp_path, palette, {"width": 120, "format": "auto"}).outputs[0]
    assert made.format == "webp"
    assert (opened(made).extract_band(0, n=3) - pyvips.Image.new_from_buffer(palette, "")).abs().max() == 0


def test_a_palette_is_kept_or_made_or_left(tmp_path: Path) -> None:
    palette = bytes(pyvips.Image.new_from_buffer(grid(), "").write_to_buffer(".png", palette=True))
    for content, given, expected in ((palette, {}, True), (palette, {"palette": False}, False), (grid(), {}, False)):
        assert bool(one(tmp_path, content, width=60, **given).get_typeof("palette")) == expected
    assert one(tmp_path, grid(), width=60, palette=True).get_typeof("palette")


@pytest.mark.parametrize("form", ["jpeg", "webp", "avif"])
def test_an_output_has_at_most_the_bytes_asked_for(tmp_path: Path, form: str) -> None:
    photo = image(300, 200, form="png")
    (free,) = rendered(tmp_path, photo, {"width": 200, "format": form}).outputs
    most = free.path.stat().st_size * 2 // 3
    (small,) = rendered(tmp_path, photo, {"width": 200, "format": form, "max_bytes": most}).outputs
    assert most / 2 < small.path.stat().st_size <= most
    assert small.quality is not None and free.quality is not None and small.quality < free.quality
    with pytest.raises(ImageRefused, match="cannot be made of at most 100 bytes"):
        rendered(tmp_path, photo, {"width": 200, "format": form, "max_bytes": 100})


def test_quality_for_each_format_lossless_and_progressive(tmp_path: Path) -> None:
    photo = image(60, 40, form="png")
    size = {"width": 60, "format": ["jpeg", "webp"], "quality": {"jpeg": 30, "webp": 90}}
    assert [each.quality for each in rendered(tmp_path, photo, size).outputs] == [30, 90]
    assert rendered(tmp_path, photo, {"width": 60, "format": "webp", "lossless": True}).outputs[0].quality is None
    same = one(tmp_path, photo, format="webp", lossless=True)
    assert (same - pyvips.Image.new_from_buffer(photo, "")).abs().max() == 0
    assert one(tmp_path, photo, width=30, format="jpeg", progressive=True).get_typeof("interlaced")


def animated(frames: int = 3) -> bytes:
    colours = [RED, GREEN, BLUE][:frames]
    joined = pyvips.Image.arrayjoin([flat(each, 60, 40) for each in colours], across=1).copy()
    joined.set_type(pyvips.GValue.gint_type, "page-height", 40)
    joined.set_type(pyvips.GValue.array_int_type, "delay", [100, 200, 300][:frames])
    joined.set_type(pyvips.GValue.gint_type, "loop", 2)
    return bytes(joined.write_to_buffer(".gif"))


def test_an_animation_is_kept_with_its_times_if_that_is_asked_for(tmp_path: Path) -> None:
    size = {"width": 30, "height": 30, "fit": "cover", "format": ["gif", "webp", "png"]}
    made = rendered(tmp_path, animated(), size, animation="keep")
    assert [each.frames for each in made.outputs] == [3, 3, 1] and made.source.frames == 3
    for output in made.outputs[:2]:
        whole = opened(output, n=-1)
        assert (whole.width, whole.get("page-height"), whole.get("n-pages")) == (30, 30, 3)
        assert (whole.get("delay"), whole.get("loop")) == ([100, 200, 300], 2)
        tops = [whole.getpoint(15, 30 * frame + 15)[:3] for frame in range(3)]
        assert all(top == pytest.approx(each, abs=8) for top, each in zip(tops, (RED, GREEN, BLUE), strict=True))
    (still,) = rendered(tmp_path, animated(), {"width": 30}).outputs
    assert (still.frames, opened(still, n=-1).height) == (1, 20)


def test_the_frames_of_an_animation_count_together(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(animated())
    request = Request(sizes=[Size(width=60)], animation="keep")
    with pytest.raises(ImageRefused, match="60 x 40 pixels in each of 3 frames"):
        render(tmp_path / "source", tmp_path, request, ImageOptions(source_megapixels=0.005))
    with pytest.raises(ImageRefused, match="cost as much as"):
        render(tmp_path / "source", tmp_path, request, ImageOptions(output_megapixels=0.05))


def test_a_frame_costs_something_however_small_it_is(tmp_path: Path) -> None:
    """Eleven megabytes of frames of one pixel took half a minute."""
    frame = bytes.fromhex("21f9040001000000 2c00000000010001000002024401 00")
    (tmp_path / "source").write_bytes(b"GIF89a\1\0\1\0\x80\0\0\0\0\0\xff\xff\xff" + frame * 70_000 + b";")
    request = Request(sizes=[Size(width=60)], animation="keep")
    with pytest.raises(ImageRefused, match="1 x 1 pixels in each of 70000 frames, which count 4096 at least, over the"):
        render(tmp_path / "source", tmp_path, request, ImageOptions())
    request = Request(sizes=[Size(width=1, format="webp")] * 3, animation="keep")
    (tmp_path / "source").write_bytes(animated())
    with pytest.raises(ImageRefused, match="cost as much as"):
        render(tmp_path / "source", tmp_path, request, ImageOptions(output_megapixels=0.03))


def tagged() -> bytes:
    source = flat([200, 100, 50], 60, 40).icc_transform("p3", input_profile="srgb").copy()
    for name, text in (("Copyright", "(c) Ada"), ("Artist", "Ada"), ("Model", "my camera")):
        source.set_type(pyvips.GValue.gstr_type, f"exif-ifd0-{name}", text)
    return bytes(source.write_to_buffer(".jpeg", Q=100, subsample_mode="off"))


@pytest.mark.parametrize(
    ("metadata", "copyright_kept", "model_kept", "profile_kept"),
    [("strip", 0, 0, 0), ("icc", 0, 0, 1), ("copyright", 1, 0, 0), ("all", 1, 1, 1)],
)
@pytest.mark.parametrize("form", ["jpeg", "png", "webp", "avif"])
def test_of_the_metadata_is_kept_what_is_asked_for(
    tmp_path: Path, form: str, metadata: str, copyright_kept: int, model_kept: int, profile_kept: int
) -> None:
    picture = one(tmp_path, tagged(), width=30, format=form, metadata=metadata, quality=100)
    content = next(tmp_path.glob(f"1-*.{form}")).read_bytes()
    assert (b"(c) Ada" in content, b"my camera" in content) == (bool(copyright_kept), bool(model_kept))
    assert bool(picture.get_typeof("icc-profile-data")) == bool(profile_kept)
    seen = picture.icc_transform("srgb", embedded=True) if profile_kept else picture
    assert colour(seen) == pytest.approx([200, 100, 50], abs=4)
    if profile_kept:
        assert colour(picture) != pytest.approx([200, 100, 50], abs=4)


def test_sizes_that_keep_the_profile_change_no_others(tmp_path: Path) -> None:
    plain, _ = rendered(tmp_path, tagged(), {"width": 30, "format": "png"}, {"width": 30, "metadata": "icc"}).outputs
    assert colour(opened(plain)) == pytest.approx([200, 100, 50], abs=2)


def test_the_result_says_what_the_source_is(tmp_path: Path) -> None:
    content = bytes(flat([200, 100, 50], 60, 40).write_to_buffer(".png"))
    about = rendered(tmp_path, content, {"width": 30}).source
    assert (about.width, about.height, about.format, about.frames, about.bytes) == (60, 40, "png", 1, len(content))
    assert len(about.sha256) == 64 and about.dominant_colour == "#c86432"
    # by the reference encoder: one colour has no other factors
    assert about.blurhash[0] == "L" and len(about.blurhash) == 28
