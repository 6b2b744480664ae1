"""Files that are not what they say: cut anywhere, with headers that lie, with another file inside.

What comes out is the picture that the whole file shows, or a refusal that is about this image.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pyvips

from errand.images.options import ImageOptions
from errand.images.pixels.pipeline import Request, render
from errand.images.refusal import ImageRefused
from errand.images.size import Size
from tests.pictures import image

PAYLOAD = b"<script>alert('errand')</script>"


def pixels(folder: Path, content: bytes) -> bytes | None:
    """Those of a small copy; None if the image is refused, in words about itself."""
    (folder / "source").write_bytes(content)
    request = Request(sizes=[Size(width=9, format="png")])
    said = ""
    try:
        (output,) = render(folder / "source", folder, request, ImageOptions()).outputs
    except ImageRefused as refused:
        said = str(refused)
    assert "/" not in said
    if said:
        return None
    shown: bytes = pyvips.Image.new_from_file(str(output.path)).write_to_memory()
    return shown


@pytest.mark.parametrize(
    ("form", "options"),
    [
        ("jpeg", {}),
        ("jpeg", {"interlace": True}),
        ("png", {}),
        ("png", {"interlace": True}),
        ("webp", {}),
        ("webp", {"lossless": True}),
        ("avif", {"effort": 0}),
        ("gif", {}),
        ("tiff", {"compression": "deflate"}),
    ],
)
def test_cut_anywhere_an_image_is_refused_or_shows_the_whole_picture(
    tmp_path: Path, form: str, options: dict[str, Any]
) -> None:
    """At every second byte: what begins a structure of a file has two at least."""
    whole = image(18, 12, form=form, keep="none", **options)
    shown = pixels(tmp_path, whole)
    assert shown is not None
    wrong = [end for end in range(0, len(whole), 2) if pixels(tmp_path, whole[:end]) not in (None, shown)]
    assert wrong == []


def taller_png(content: bytes) -> bytes:
    header = bytearray(content[16:29])
    header[4:8] = struct.pack(">I", 24)
    return content[:16] + header + struct.pack(">I", zlib.crc32(b"IHDR" + header)) + content[33:]


def taller_jpeg(content: bytes) -> bytes:
    at = content.index(b"\xff\xc0") + 5
    return content[:at] + struct.pack(">H", 48) + content[at + 2 :]


def taller_webp(content: bytes) -> bytes:
    return content[:28] + struct.pack("<H", 48) + content[30:]


def taller_avif(content: bytes) -> bytes:
    at = content.index(b"ispe") + 12
    return content[:at] + struct.pack(">I", 48) + content[at + 4 :]


@pytest.mark.parametrize("lie", [taller_png, taller_jpeg, taller_webp, taller_avif])
def test_a_header_that_announces_more_than_there_is_makes_no_picture(
    tmp_path: Path, lie: Callable[[bytes], bytes]
) -> None:
    form = lie.__name__.removeprefix("taller_")
    assert pixels(tmp_path, lie(image(18, 12, form=form, keep="none"))) is None


def with_chunk(content: bytes, head: bytes, at: int) -> bytes:
    return content[:at] + head + content[at:]


POLYGLOTS: dict[str, bytes] = {
    "jpeg with a comment": with_chunk(image(18, 12), b"\xff\xfe" + struct.pack(">H", len(PAYLOAD) + 2) + PAYLOAD, 2),
    "jpeg with a page behind it": image(18, 12) + PAYLOAD,
    "png with a text": with_chunk(
        image(18, 12, form="png"),
        struct.pack(">I", len(PAYLOAD) + 8) + b"tEXtComment\0" + PAYLOAD
        + struct.pack(">I", zlib.crc32(b"tEXtComment\0" + PAYLOAD)),
        33,
    ),
    "gif with a page behind it": image(18, 12, form="gif") + PAYLOAD,
    "webp with a chunk behind it": image(18, 12, form="webp") + b"XXXX" + struct.pack("<I", len(PAYLOAD)) + PAYLOAD,
    "tiff with a page behind it": image(18, 12, form="tiff") + PAYLOAD,
}  # fmt: skip


@pytest.mark.parametrize("kind", POLYGLOTS)
def test_of_another_file_inside_an_image_nothing_comes_out(tmp_path: Path, kind: str) -> None:
    (tmp_path / "source").write_bytes(POLYGLOTS[kind])
    made = render(tmp_path / "source", tmp_path, Request(sizes=[Size(width=18)]), ImageOptions()).outputs
    assert PAYLOAD not in made[0].path.read_bytes()


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt"])
@pytest.mark.parametrize("behind_the_pixels", [False, True])
def test_a_png_whose_texts_inflate_to_gigabytes_is_refused_before_libvips_keeps_them(
    tmp_path: Path, kind: bytes, behind_the_pixels: bool
) -> None:
    """One of 2 MB ended the process: an allocation failed where GLib knows no other way out."""
    head = {b"zTXt": b"Comment\0\0", b"iTXt": b"Comment\0\1\0en\0\0"}[kind]
    content = head + zlib.compress(b"a" * 9 * 2**20)
    text = struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
    picture = image(18, 12, form="png")
    at = len(picture) - 12 if behind_the_pixels else 33
    (tmp_path / "source").write_bytes(picture[:at] + text * 4 + picture[at:])
    with pytest.raises(ImageRefused, match="texts in the image"):
        render(tmp_path / "source", tmp_path, Request(sizes=[Size(width=9)]), ImageOptions())
    (tmp_path / "source").write_bytes(picture[:at] + text * 3 + picture[at:])
    assert render(tmp_path / "source", tmp_path, Request(sizes=[Size(width=9)]), ImageOptions()).outputs
