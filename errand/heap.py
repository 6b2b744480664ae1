"""What glibc keeps of the memory that was freed, for what comes next. With another C library all of it does nothing.

What it gives back, it gets from the kernel again page by page, each of which is cleared first: of a photo that is
uploaded, and of one that is decoded, that was a millisecond of processor time each. It keeps more the larger the pieces
are that were freed, but not so much as comes and goes with each photo.
"""

from __future__ import annotations

import ctypes
from contextlib import suppress

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
"""glibc's names (malloc.h)."""


def keep_freed(at_most_bytes: int, *, of_pieces_below_bytes: int) -> None:
    """Keeps so much that was freed at the end of a heap. A piece of more goes back by itself, and at once."""
    _set(M_MMAP_THRESHOLD, of_pieces_below_bytes)
    _set(M_TRIM_THRESHOLD, at_most_bytes)


def use_one() -> None:
    """Has all threads share one heap: with one for each, libvips' threads took 111 MB for a photo, not 87."""
    _set(M_ARENA_MAX, 1)


def _set(option: int, value: int) -> None:
    with suppress(AttributeError, OSError):  # another C library
        ctypes.CDLL(None).mallopt(option, value)
