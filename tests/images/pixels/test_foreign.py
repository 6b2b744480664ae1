"""Formats that other libraries read: each is resized or refused as any other is, if the installation asks for it."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import pytest
import pyvips
from PIL import Image

from errand.images.formats import EXTRA_FORMATS
from errand.images.options import ImageOptions
from errand.images.pixels.pipeline import Request, Result, render
from errand.images.refusal import ImageRefused
from errand.images.size import Size

HEIC = base64.b64decode(
    "AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAX1tZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAA"
    "ACJpbG9jAAAAAERAAAEAAQAAAAABoQABAAAAAAAAACUAAAAjaWluZgAAAAAAAQAAABVpbmZlAgAAAAABAABodmMxAAAAAA5waXRt"
    "AAAAAAABAAAA/WlwcnAAAADdaXBjbwAAAHZodmNDAQNwAAAAkAAAAAAAHvAA/P34+AAADwNgAAEAGEABDAH//wNwAAADAJAAAAMA"
    "AAMAHroCQGEAAQAqQgEBA3AAAAMAkAAAAwAAAwAeoCCBBZbq5Ka5uAhoMCAAAAMDIAAAAwAhYgABAAZEAcFzwIkAAAATY29scm5j"
    "bHgAAQANAAaAAAAAFGlzcGUAAAAAAAAAQAAAAEAAAAAoY2xhcAAAAEAAAAABAAAAMAAAAAEAAAAAAAAAAv////AAAAACAAAAEHBp"
    "eGkAAAAAAwgICAAAABhpcG1hAAAAAAAAAAEAAQWBAgMFhAAAAC1tZGF0AAAAISgBrxmA70mlv//f4x/19q/4pshf/8QknfYNh/vP"
    "6NtbwA=="
)
"""64 x 48, red to the left and blue to the right; what we have of libheif cannot write."""


SVG = b"""<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" width="64" height="48">
<rect width="64" height="48" fill="#1414dc"/><rect width="32" height="48" fill="#c81e1e"/></svg>"""


PDF = b"""%PDF-1.4
1 0 obj <</Type /Catalog /Pages 2 0 R>> endobj
2 0 obj <</Type /Pages /Kids [3 0 R] /Count 1>> endobj
3 0 obj <</Type /Page /Parent 2 0 R /MediaBox [0 0 64 48] /Contents 4 0 R /Resources <<>> >> endobj
4 0 obj <</Length 75>> stream
0.08 0.08 0.86 rg 0 0 64 48 re f 0.78 0.12 0.12 rg 0 0 32 48 re f
endstream endobj
trailer <</Root 1 0 R>>
%%EOF"""


def by_pillow(name: str) -> bytes:
    picture = Image.new("RGB", (64, 48), (200, 30, 30))
    picture.paste((20, 20, 220), (32, 0, 64, 48))
    with io.BytesIO() as file:
        picture.save(file, name, **({"sizes": [(64, 48)]} if name == "ICO" else {}))
        return file.getvalue()


FILES = {"heic": HEIC, "svg": SVG, "pdf": PDF, "bmp": by_pillow("BMP"), "ico": by_pillow("ICO")}


def rendered(folder: Path, content: bytes, options: ImageOptions) -> Result:
    (folder / "source").write_bytes(content)
    return render(folder / "source", folder, Request(sizes=[Size(width=32)]), options)


@pytest.mark.parametrize("kind", EXTRA_FORMATS)
def test_another_format_is_resized_as_any(tmp_path: Path, kind: str) -> None:
    made = rendered(tmp_path, FILES[kind], ImageOptions(extra_formats=(kind,)))
    (output,) = made.outputs
    assert made.source.format == kind and made.source.width / made.source.height == pytest.approx(64 / 48, abs=0.02)
    assert (output.width, output.height, output.format) == (32, 24, "jpeg" if kind == "heic" else "png")
    picture = pyvips.Image.new_from_file(str(output.path))
    for x, colour in ((8, [200, 30, 30]), (24, [20, 20, 220])):
        assert picture.getpoint(x, 12)[:3] == pytest.approx(colour, abs=12)


@pytest.mark.parametrize("kind", EXTRA_FORMATS)
def test_another_format_has_the_same_limits_and_refusals(tmp_path: Path, kind: str) -> None:
    content, options = FILES[kind], ImageOptions(extra_formats=(kind,))
    with pytest.raises(ImageRefused, match=f"it is {kind.upper()}, convert it"):
        rendered(tmp_path, content, ImageOptions())
    with pytest.raises(ImageRefused, match=r"over the limit of 0\.001 megapixels"):
        rendered(tmp_path, content, ImageOptions(extra_formats=(kind,), source_megapixels=0.001))
    with pytest.raises(ImageRefused, match="more memory than"):
        rendered(tmp_path, content, ImageOptions(extra_formats=(kind,), memory_bytes=1000))
    with pytest.raises(ImageRefused) as refused:
        rendered(tmp_path, content[:40], options)
    assert "/" not in str(refused.value) and kind.upper() in str(refused.value)


def test_an_icon_is_as_large_as_it_announces(tmp_path: Path) -> None:
    """The pictures in it have sizes of their own: a kilobyte could hold any number of pixels."""
    with io.BytesIO() as file:
        Image.new("RGB", (256, 256)).save(file, "ICO", sizes=[(256, 256)])
        content = bytearray(file.getvalue())
    content[6:8] = (16, 16)  # in the directory: width and height of the first picture
    with pytest.raises(ImageRefused, match="ICO is damaged"):
        rendered(tmp_path, bytes(content), ImageOptions(extra_formats=("ico",)))


def test_a_heic_without_pixels_is_refused(tmp_path: Path) -> None:
    size = HEIC.index(b"ispe") + 8
    content = HEIC[:size] + bytes(4) + HEIC[size + 4 :]
    with pytest.raises(ImageRefused, match="HEIC"):
        rendered(tmp_path, content, ImageOptions(extra_formats=("heic",)))


def test_a_drawing_names_no_file_of_this_machine(tmp_path: Path) -> None:
    Image.new("RGB", (64, 48), (0, 255, 0)).save(tmp_path / "secret.png")
    reference = f'<image href="file://{tmp_path}/secret.png" width="64" height="48"/></svg>'
    rendered_ = rendered(tmp_path, SVG.replace(b"</svg>", reference.encode()), ImageOptions(extra_formats=("svg",)))
    picture = pyvips.Image.new_from_file(str(rendered_.outputs[0].path))
    assert picture.getpoint(8, 12)[:3] == pytest.approx([200, 30, 30], abs=12)
