"""The texts in a PNG: how long they are once inflated, which no header says.

libvips inflates and keeps them all, also if no output takes them along: a file of 2 MB had two gigabytes of them, and
the allocation that failed ended the process.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

MAX_TEXT_BYTES = 32 * 1024**2
"""Of all texts of a file. Programs that draw keep their whole project there, a megabyte or two."""

SIGNATURE_BYTES = 8
TEXTS = (b"tEXt", b"zTXt", b"iTXt")


def has_too_much_text(path: Path) -> bool:
    """True if the texts of this PNG, inflated, have more than `MAX_TEXT_BYTES`."""
    left = MAX_TEXT_BYTES
    with path.open("rb") as file:
        file.seek(SIGNATURE_BYTES)
        for kind, content in _texts(file):
            left -= _inflated_bytes(kind, content, limit=left)
            if left < 0:
                return True
    return False


def _texts(file: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    """Each chunk with a text, in the whole file: they may stand behind the pixels (PNG, 3rd edition, 11.3.3)."""
    while len(head := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        if kind in TEXTS:
            yield kind, file.read(length)
            length = 0
        file.seek(length + 4, 1)


def _inflated_bytes(kind: bytes, content: bytes, *, limit: int) -> int:
    """At most one more than `limit`."""
    rest = content.partition(b"\0")[2]
    if kind == b"zTXt":
        return _inflated(rest[1:], limit)
    if kind == b"iTXt" and rest[:1] == b"\1":
        return _inflated(rest[2:].partition(b"\0")[2].partition(b"\0")[2], limit)
    return min(len(content), limit + 1)


def _inflated(stream: bytes, limit: int) -> int:
    try:
        return len(zlib.decompressobj().decompress(stream, limit + 1))
    except zlib.error:
        return 0  # libvips does not keep it
