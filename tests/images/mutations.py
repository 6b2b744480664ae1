"""Damaged images by the number: the same seed gives the same bytes, so that a fault can be looked at again."""

from __future__ import annotations

import random
from functools import cache

from tests.pictures import image

KINDS: tuple[tuple[str, dict[str, object]], ...] = (
    ("jpeg", {}),
    ("jpeg", {"interlace": True}),
    ("png", {}),
    ("png", {"interlace": True}),
    ("png", {"palette": True}),
    ("webp", {}),
    ("webp", {"lossless": True}),
    ("avif", {"effort": 0}),
    ("gif", {}),
    ("tiff", {}),
    ("tiff", {"compression": "deflate"}),
    ("tiff", {"compression": "lzw", "tile": True}),
)


@cache
def whole(kind: int) -> bytes:
    """The image that is damaged; every third has an alpha channel, if its format can."""
    form, options = KINDS[kind]
    return image(48, 32, form=form, alpha=kind % 3 == 2 and form != "jpeg", **options)


def mutated(seed: int) -> bytes:
    """An image with one to eight faults: bytes changed, cut out, put twice, or taken from another image."""
    chance = random.Random(seed)  # chance, not secrecy
    content = bytearray(whole(seed % len(KINDS)))
    for _ in range(chance.randint(1, 8)):
        # half of the faults in what comes first: headers and tables
        start = chance.randrange(min(len(content), 200) if chance.random() < 0.5 else len(content))
        length = chance.choice((1, 1, 1, 2, 4, 16, 64))
        match chance.randrange(6):
            case 0:
                content[start : start + length] = chance.randbytes(length)
            case 1:
                content[start] ^= 1 << chance.randrange(8)
            case 2:
                content[start : start + length] = chance.choice((b"\xff", b"\0", b"\x7f")) * length
            case 3:
                del content[start : start + length]
            case 4:
                content[start:start] = content[start : start + length]
            case 5:
                other = whole(chance.randrange(len(KINDS)))
                content[start : start + length] = other[start : start + length]
        if len(content) < 16:
            break
    return bytes(content[: chance.randrange(8, len(content) + 1)] if chance.random() < 0.1 else content)
