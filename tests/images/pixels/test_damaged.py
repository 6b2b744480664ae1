"""What an image lacks, how much of that is forgiven, and that a refusal speaks of this image alone."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import pyvips

from errand.images.options import ImageOptions
from errand.images.pixels.pipeline import Request, render
from errand.images.pixels.scans import lacks_scans
from errand.images.refusal import ImageRefused
from errand.images.size import Size, Strictness
from errand.resources.process_pool import ProcessPool
from tests.pictures import image


def rendered(folder: Path, content: bytes, strictness: Strictness = "normal") -> pyvips.Image:
    """The first output of a resize to 100 pixels, decoded."""
    stored = folder / "stored"
    stored.write_bytes(content)
    (folder / "source").unlink(missing_ok=True)
    (folder / "source").hardlink_to(stored)
    request = Request(sizes=[Size(width=100, format="png")], strictness=strictness)
    (output,) = render(folder / "source", folder, request, ImageOptions()).outputs
    assert stored.read_bytes() == content, "the stored file is never changed"
    return pyvips.Image.new_from_file(str(output.path))


def refusal(folder: Path, content: bytes, strictness: Strictness = "normal") -> str:
    with pytest.raises(ImageRefused) as refused:
        rendered(folder, content, strictness)
    assert "/" not in str(refused.value), "no path of the server"
    return str(refused.value)


async def test_a_file_that_is_larger_than_the_memory_there_may_be_is_taken_for_cut(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(image(300, 200)[:-2])
    os.truncate(tmp_path / "large", 2 * 1024**3)
    async with ProcessPool.open(processes=1, memory_limit_bytes=256 * 1024**2) as pool:
        assert await pool.run(60, lacks_scans, tmp_path / "large")


def flipped(content: bytes, at: float) -> bytes:
    """Forty bytes changed at that share of it."""
    start = int(len(content) * at)
    return content[:start] + bytes(byte ^ 0x55 for byte in content[start : start + 40]) + content[start + 40 :]


def with_tag(tiff: bytes, tag: int, value: int) -> bytes:
    """The little-endian TIFF with another value in its first directory (TIFF 6.0, section 2)."""
    at = tiff.index(struct.pack("<HH", tag, 3), struct.unpack_from("<I", tiff, 4)[0])
    return tiff[: at + 8] + struct.pack("<H", value) + tiff[at + 10 :]


def planar_tiff_that_lacks_a_plane() -> bytes:
    """Grey and another band, each in a strip of its own; the second strip is empty."""
    entries = [
        *((256, 3, 1, 50), (257, 3, 1, 50), (258, 3, 2, 8 | 8 << 16), (259, 3, 1, 1), (262, 3, 1, 1)),
        *((273, 4, 2, 200), (277, 3, 1, 2), (278, 3, 1, 50), (279, 4, 2, 208), (284, 3, 1, 2), (338, 3, 1, 0)),
    ]
    directory = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries)
    head = (b"II*\0" + struct.pack("<I", 8) + directory + bytes(4)).ljust(200, b"\0")
    return head + struct.pack("<II", 216, 0) + struct.pack("<II", 2_500, 0) + bytes([200]) * 2_500


def test_a_tiff_that_is_cut_short_is_refused_at_every_place(tmp_path: Path) -> None:
    for options in ({}, {"compression": "deflate"}, {"compression": "lzw"}, {"tile": True}):
        # the directory of a TIFF may be its end: here it is the start, so that its header can be read
        content = image(300, 200, form="tiff", **options)
        for kept in (0.3, 0.6, 0.95):
            assert "cut short" in refusal(tmp_path, content[: int(len(content) * kept)]), (options, kept)


def test_a_tiff_whose_pixels_cannot_be_decoded_is_no_black_picture(tmp_path: Path) -> None:
    lzma = with_tag(image(300, 200, form="tiff", compression="deflate"), 259, 34_925)
    assert "TIFF has a compression that is not read: LZMA" in refusal(tmp_path, lzma)
    assert "TIFF is damaged or cut short: " in refusal(tmp_path, planar_tiff_that_lacks_a_plane())


@pytest.mark.parametrize("interlace", [False, True])
def test_a_jpeg_that_lacks_its_end_marker_alone_is_taken(tmp_path: Path, interlace: bool) -> None:
    whole = image(300, 200, interlace=interlace)
    without_end = whole.removesuffix(b"\xff\xd9")
    taken = rendered(tmp_path, without_end)
    assert (taken - rendered(tmp_path, whole)).abs().max() == 0
    assert "JPEG is damaged or cut short: premature end of JPEG image" in refusal(tmp_path, without_end, "strict")


@pytest.mark.parametrize("interlace", [False, True])
def test_a_jpeg_that_lacks_pixels_is_refused_unless_that_is_accepted(tmp_path: Path, interlace: bool) -> None:
    cut = image(300, 200, interlace=interlace)[:-150]
    assert "JPEG is damaged or cut short: " in refusal(tmp_path, cut)
    assert "JPEG is damaged or cut short: " in refusal(tmp_path, cut, "strict")
    left = rendered(tmp_path, cut, "lenient")
    assert (left.width, left.height) == (100, 67)


def test_changed_bytes_that_leave_grey_are_refused_unless_that_is_accepted(tmp_path: Path) -> None:
    """A decoder that lost its way fills the rest with grey, and warns only."""
    content = image(300, 200)
    grey = next(
        changed
        for changed in (flipped(content, share / 50) for share in range(10, 50))
        if has_grey_end(rendered(tmp_path, changed, "lenient"))
    )
    assert "JPEG is damaged or cut short: Corrupt JPEG data" in refusal(tmp_path, grey)


def has_grey_end(picture: pyvips.Image) -> bool:
    last = picture.crop(0, picture.height - 1, picture.width, 1)
    return bool(last.deviate() < 1)


def test_changed_bytes_of_a_png_are_refused_unless_they_are_accepted(tmp_path: Path) -> None:
    content = flipped(image(300, 200, form="png"), 0.5)
    assert "PNG is damaged or cut short" in refusal(tmp_path, content)
    assert rendered(tmp_path, content, "lenient").width == 100


def test_a_refusal_is_about_this_image_and_not_about_the_one_before(tmp_path: Path) -> None:
    cut_gif = image(300, 200, form="gif")
    cut_gif = cut_gif[: len(cut_gif) // 2]
    alone = refusal(tmp_path, cut_gif)
    for share in range(10, 50, 4):
        with suppress(ImageRefused):
            rendered(tmp_path, flipped(image(300, 200), share / 50))
        with suppress(ImageRefused):
            rendered(tmp_path, image(300, 200)[:-150], "lenient")
        assert refusal(tmp_path, cut_gif) == alone
    assert alone == "the GIF is damaged or cut short: Unexpected end of GIF source data"
    assert rendered(tmp_path, image(300, 200, form="tiff")).width == 100


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "the file is empty: send an image (JPEG"),
        (b"\0\0\0\x1cftypheic\0\0\0\0mif1heicmiaf" + bytes(100), "it is HEIC, convert it to one of these"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic" + bytes(100), "it is HEIC"),
        (b"\0\0\0\x18ftypisom\0\0\0\0isommp42" + bytes(100), "it is a video"),
        (b"%PDF-1.7\n" + bytes(100), "it is PDF"),
        (b"BM" + bytes(100), "it is BMP"),
        (b"\0\0\1\0\1\0" + bytes(100), "it is ICO"),
        (b"\xff\x0a" + bytes(100), "it is JPEG XL"),
        (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "it is SVG"),
        (b"\xff\xd8\xff\xe0" + bytes(100), "it begins like JPEG and is damaged"),
    ],
)
def test_what_is_not_read_is_named_with_what_is(tmp_path: Path, content: bytes, said: str) -> None:
    assert said in refusal(tmp_path, content)


def test_an_animated_avif_shows_its_still_image(tmp_path: Path) -> None:
    """Its first brand is that of the animation, and that of the image comes behind it."""
    still = image(300, 200, form="avif")
    assert still[4:12] == b"ftypavif"
    assert rendered(tmp_path, still[:8] + b"avis" + still[12:]).width == 100


WARNED_OF = """
import logging, sys
from pathlib import Path
from errand.images.options import ImageOptions
from errand.images.pixels.pipeline import Request, render
from errand.images.size import Size

logging.basicConfig(stream=sys.stdout, level="DEBUG")
folder = Path(sys.argv[1])
render(folder / "cut.jpg", folder, Request(sizes=[Size(width=100)], strictness="lenient"), ImageOptions())
"""


def test_warnings_of_libvips_call_no_python_and_are_not_written(tmp_path: Path) -> None:
    """The call would come from a thread of libvips; if the garbage collector ran in it, the process could end."""
    (tmp_path / "cut.jpg").write_bytes(image(300, 200)[:-150])

    ran = subprocess.run([sys.executable, "-c", WARNED_OF, tmp_path], capture_output=True, text=True, check=True)

    assert [line for line in ran.stdout.splitlines() if "VIPS: " in line] == []
    assert ran.stderr == ""
