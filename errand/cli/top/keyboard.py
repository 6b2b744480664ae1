"""Reads single keys from the terminal, as they are pressed; the terminal is as before when the block ends."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager

KEYS = {
    "\x1b[A": "up",
    "\x1bOA": "up",
    "k": "up",
    "\x1b[B": "down",
    "\x1bOB": "down",
    "j": "down",
    "\x1b[D": "esc",
    "\x1bOD": "esc",
    "\x1b": "esc",
    "\x7f": "esc",
    "\r": "enter",
    "\n": "enter",
    "h": "?",
}
"""What a terminal sends → what it means here; any other character means itself."""

PRESSED = re.compile(r"\x1b(?:\[[0-9;]*[A-Za-z~]|O[A-Z])?|.", re.DOTALL)

UNFINISHED = re.compile(r"\x1b(?:\[[0-9;]*|O)?\Z")
"""What a key may begin with that sends several characters, or `esc` alone."""

REST_S = 0.1
"""So long the rest of such a key is waited for: a slow line may part it."""

MAX_BYTES = 1_024
"""Of what somebody pastes, or types while it is looked at Redis."""


class Keyboard:
    """The keys that were pressed and not asked for yet."""

    def __init__(self) -> None:
        self._pressed: asyncio.Queue[str] = asyncio.Queue()
        self._unfinished = ""
        self._waiting: asyncio.TimerHandle | None = None

    async def next(self, within_s: float) -> str | None:
        """The next key; None if there is none in that time."""
        try:
            async with asyncio.timeout(within_s):
                return await self._pressed.get()
        except TimeoutError:
            return None

    def read(self, descriptor: int) -> None:
        """Takes what the terminal has sent."""
        sent = os.read(descriptor, MAX_BYTES)
        if not sent:  # closed: there is nothing to wait for any more
            asyncio.get_running_loop().remove_reader(descriptor)
        self._take(self._unfinished + sent.decode(errors="ignore"))

    def _take(self, text: str) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
        found = UNFINISHED.search(text)
        self._unfinished = found[0] if found else ""
        self._put(text.removesuffix(self._unfinished))
        if found:
            self._waiting = asyncio.get_running_loop().call_later(REST_S, self._put_unfinished)

    def _put_unfinished(self) -> None:
        text, self._unfinished = self._unfinished, ""
        self._put(text)

    def _put(self, text: str) -> None:
        for key in PRESSED.findall(text):
            self._pressed.put_nowait(KEYS.get(key, key))


@contextmanager
def keyboard() -> Iterator[Keyboard]:
    """One that no key comes from if standard input is no terminal, or on Windows."""
    opened = Keyboard()
    try:
        import termios
        import tty
    except ImportError:
        yield opened
        return
    if not sys.stdin.isatty():
        yield opened
        return
    descriptor, loop = sys.stdin.fileno(), asyncio.get_running_loop()
    before = termios.tcgetattr(descriptor)
    tty.setcbreak(descriptor)
    loop.add_reader(descriptor, opened.read, descriptor)
    try:
        yield opened
    finally:
        loop.remove_reader(descriptor)
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
