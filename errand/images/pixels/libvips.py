"""How libvips is set up in a process of the pool, and what it says of its errors."""

from __future__ import annotations

import pyvips
from pyvips import ffi, vips_lib

SPEAKERS = ("VipsJpeg: ", "tiff2vips: ", "vipspng: ", "pngload: ", "gifload: ", "webp: ", "webp2vips: ", "heif: ")
"""Whose lines in the error buffer are about the image. Others are about files, and have their paths."""


FAULTS = {
    "VipsJpeg: ": ("premature end of data segment", "bad Huffman code", "but found marker"),
    "tiff2vips: ": ("",),
}
"""What libvips notes of a damaged image and decodes it all the same: of a JPEG its warnings, of a TIFF any line."""


def set_up() -> None:
    """One thread and no cache: the pool is the parallelism. Only loaders that libvips fuzzes with malformed files.

    No call of Python for libvips' warnings, which an error repeats: it would come from a thread of libvips, the garbage
    collector might run in it and free an image, and if libvips has a warning about that, GLib ends the process.
    """
    pyvips._remove_log_handler()  # what pyvips itself does at the end of the process; nothing at a second call
    pyvips.cache_set_max(0)
    pyvips.concurrency_set(1)
    pyvips.block_untrusted_set(True)
    clear_errors()


def clear_errors() -> None:
    """The buffer is the process': what an earlier image left there would be said of this one."""
    vips_lib.vips_error_clear()


def faults_noted() -> str:
    """The first fault that libvips has noted since the buffer was cleared, and not failed of; "" if there is none."""
    for line in ffi.string(vips_lib.vips_error_buffer()).decode(errors="replace").splitlines():
        for speaker, faults in FAULTS.items():
            if line.startswith(speaker) and any(fault in line for fault in faults):
                return _without_speaker(line)
    return ""


def reason_of(error: pyvips.Error) -> str:
    """The first line of an error that is about the image; "" if there is none."""
    lines = f"{error.message}\n{error.detail}".splitlines()
    return next((said for said in map(_without_speaker, map(str.strip, lines)) if said), "")


def is_out_of_memory(error: pyvips.Error) -> bool:
    """True if libvips, or a decoder in it, could get no memory."""
    said = f"{error.message}\n{error.detail}".lower()
    return "out of memory" in said or "memory allocation" in said or "insufficient memory" in said


def _without_speaker(line: str) -> str:
    said = next((line.removeprefix(speaker) for speaker in SPEAKERS if line.startswith(speaker)), "")
    return "" if "/" in said else said
