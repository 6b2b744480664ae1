"""Writes the headers of a letter, the same on every Python.

The standard library folds headers when it turns a message into bytes. Below 3.13 that loses or doubles spaces between
encoded words, fails on long names, and has turned values into headers (CVE-2024-6923, CVE-2026-1299). So they are
written here, by the few rules of RFC 2047 and RFC 5322 that are needed, and nothing folds them again.
"""

from __future__ import annotations

import re
import unicodedata
from base64 import b64encode
from collections.abc import Sequence
from datetime import datetime
from email.utils import format_datetime

from errand.mail.writing.header_text import BREAKS_LINES

LINE_CHARACTERS = 76
"""RFC 2047 §2: no more on a line with an encoded word."""


WORD_BYTES = 45
"""In one encoded word of at most 75 characters: `=?utf-8?b?` and `?=` take 12, base64 makes 60 of 45 bytes."""


ATOMS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?: [A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
"""A phrase that needs no quotes (RFC 5322 §3.2.5)."""


NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,63}")


class HeaderRefused(Exception):
    """A value cannot stand in its header."""


def text_header(name: str, text: str) -> str:
    """`Subject: …` as lines, joined by CRLF. Raises HeaderRefused."""
    _check(name, text)
    plain = text.isascii() and "=?" not in text and text == text.strip(" ")
    if plain and len(name) + 2 + len(text) <= LINE_CHARACTERS:
        return f"{name}: {text}"
    return f"{name}: {_encoded(text, used=len(name) + 2)}"


def token_header(name: str, value: str) -> str:
    """A header whose value stands as it is: a Message-ID, a list of URLs in angle brackets. Raises HeaderRefused."""
    _check(name, value)
    if not value.isascii():
        raise HeaderRefused(f"{name} must be ASCII")
    return f"{name}: {value}"


def date_header(date: datetime) -> str:
    """`Date: …`"""
    return f"Date: {format_datetime(date)}"


def address_header(name: str, mailboxes: Sequence[tuple[str, str]]) -> str:
    """`To: …` for (display name, address) pairs, each mailbox on a line of its own. Raises HeaderRefused."""
    return f"{name}: " + ",\r\n ".join(_mailbox(name, display, address) for display, address in mailboxes)


def _mailbox(header: str, display: str, address: str) -> str:
    _check(header, display)
    _check(header, address)
    if not display:
        return address
    phrase = _phrase(display, used=len(header) + 2)
    last_line = phrase.rpartition("\r\n")[2]
    # the name and the address fit on one line, or the address has the next
    gap = " " if len(header) + 2 + len(last_line) + len(address) + 3 <= LINE_CHARACTERS else "\r\n "
    return f"{phrase}{gap}<{address}>"


def _phrase(text: str, *, used: int) -> str:
    """A display name: as atoms, in quotes, or encoded."""
    if text.isascii() and "=?" not in text and used + len(text) + 2 <= LINE_CHARACTERS:
        if ATOMS.fullmatch(text):
            return text
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return _encoded(text, used=used)


def _encoded(text: str, *, used: int) -> str:
    """Encoded words of whole characters, one a line; readers drop the space between them (RFC 2047 §6.2)."""
    words, chunk = [], b""
    limit = min(WORD_BYTES, (LINE_CHARACTERS - used - 12) // 4 * 3)
    for character in text:
        piece = character.encode()
        if len(chunk) + len(piece) > limit:
            words.append(chunk)
            chunk, limit = b"", WORD_BYTES
        chunk += piece
    words.append(chunk)
    return "\r\n ".join(f"=?utf-8?b?{b64encode(word).decode()}?=" for word in words)


def _check(name: str, value: str) -> None:
    if not NAME.fullmatch(name):
        raise HeaderRefused(f"{name[:80]!r} is no name of a header")
    if any(unicodedata.category(character) in BREAKS_LINES for character in value):
        raise HeaderRefused(f"{name} must not hold line breaks or control characters")
