"""The image formats: how a file shows its own, what each can hold, what each costs to write."""

from __future__ import annotations

from typing import Literal

Format = Literal["jpeg", "png", "webp", "avif", "gif", "tiff"]


ALSO_CALLED = {"jpg": "jpeg", "tif": "tiff"}
"""What callers write as well."""


READABLE = "JPEG, PNG, WebP, AVIF, GIF, TIFF"


SIDE_LIMIT: dict[Format, int] = {"jpeg": 65_500, "webp": 16_383, "avif": 16_384, "gif": 65_535}
"""The longest side in pixels that a format, or its encoder, can have."""


WEIGHT: dict[Format, float] = {"jpeg": 1, "png": 2, "tiff": 2, "webp": 3, "gif": 12, "avif": 3}
"""What a pixel costs to write, in pixels of a JPEG at about 0.05 s of CPU time for a megapixel; AVIF at effort 0."""


AVIF_WEIGHT_OF_EFFORT = (1, 3, 4, 7, 12, 20, 28, 40, 60, 90)
"""By how much more an AVIF costs at the efforts 0 to 9. Measured up to 6; the rest goes on as steeply."""


HEADS: tuple[tuple[bytes, str], ...] = (
    (b"\xff\xd8\xff", "jpeg"),
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (b"II*\0", "tiff"),
    (b"MM\0*", "tiff"),
    (b"II+\0", "tiff"),
    (b"MM\0+", "tiff"),
    (b"%PDF-", "PDF"),
    (b"BM", "BMP"),
    (b"\0\0\1\0", "ICO"),
    (b"8BPS", "Photoshop"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cJXL \r\n", "JPEG XL"),
    (b"\0\0\0\x0cjP  \r\n", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
)


BRANDS = {
    **dict.fromkeys((b"avif", b"avis"), "avif"),
    **dict.fromkeys((b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"hevm", b"hevs"), "HEIC"),
}
"""The brands of an ISO base media file (ISO/IEC 23008-12, AV1 Image File Format)."""


EXTRA_FORMATS = ("heic", "bmp", "ico", "svg", "pdf")
"""What an installation can read besides (`IMAGE_EXTRA_FORMATS`), by the names of `sniff` in small letters."""


LIBRARIES = {"heic": "pi_heif", "bmp": "PIL", "ico": "PIL", "pdf": "pypdfium2"}
"""Their modules; libvips itself reads SVG."""


KEPT_AS: dict[str, Format] = {"heic": "jpeg"}
"""What an output is if it should keep such a format: a photo a JPEG, all others a PNG."""


SourceFormat = Literal["jpeg", "png", "webp", "avif", "gif", "tiff", "heic", "bmp", "ico", "svg", "pdf"]


FORMATS: frozenset[str] = frozenset(WEIGHT)


def sniff(start: bytes) -> str:
    """What a file is by its first bytes: a `Format`, the name of a format that is not read, or "" if unknown.

    The name of the file and its media type say what a client believes; the bytes decide.
    """
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "webp"
    if start[4:8] == b"ftyp":
        return _of_brands(start)
    found = next((name for head, name in HEADS if start.startswith(head)), "")
    # last: the text in another image's metadata may have it, too
    return found or ("SVG" if b"<svg" in start[:1024].lower() else "")


def _of_brands(start: bytes) -> str:
    size = min(int.from_bytes(start[:4], "big"), len(start), 256)
    brands = [start[8:12], *(start[at : at + 4] for at in range(16, size, 4))]
    return next((BRANDS[brand] for brand in brands if brand in BRANDS), "a video or another ISO media file")
