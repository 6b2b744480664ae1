"""What a mail server says: a code, perhaps an enhanced code, and a text; read strictly, because guesses send twice."""

from __future__ import annotations

import re
from dataclasses import dataclass

LINE = re.compile(rb"([2-5][0-9][0-9])(?:([ -])(.*))?", re.DOTALL)


ENHANCED = re.compile(r"([245]\.\d{1,3}\.\d{1,3})(?:\s|$)")
"""RFC 2034: it leads the text."""


LINE_LIMIT_BYTES = 4096
"""RFC 5321 §4.5.3.1.5 allows 512; some say more."""


MAX_LINES = 128


SHOWN_CHARACTERS = 1000


class Malformed(Exception):
    """What came is no reply."""


@dataclass(frozen=True, slots=True)
class SmtpReply:
    """One reply, all of its lines."""

    code: int
    text: str
    """Its lines without the codes, joined by line feeds."""

    @property
    def enhanced(self) -> str | None:
        """`5.1.1`, if the text begins with such a code and its class is that of the reply (RFC 2034 §4)."""
        found = ENHANCED.match(self.text)
        return found[1] if found and found[1][0] == str(self.code)[0] else None

    def __str__(self) -> str:
        return f"{self.code} {self.text}"[:SHOWN_CHARACTERS]


class PartialReply:
    """The lines of a reply that have come. Each is read once: a reply of 128 long lines took the loop 0.5 s else."""

    def __init__(self) -> None:
        self._code: bytes | None = None
        self._texts: list[str] = []

    def add(self, line: bytes) -> SmtpReply | None:
        """The whole reply, if this is its last line, without its end; else None. Raises Malformed."""
        found = LINE.fullmatch(line)
        if found is None:
            raise Malformed(f"no reply: {readable(line)}")
        if self._code not in (None, found[1]):
            raise Malformed("the lines of the reply have different codes")
        self._code = found[1]
        self._texts.append(readable((found[3] or b"").strip()))
        if found[2] != b"-":
            return SmtpReply(int(found[1]), "\n".join(self._texts))
        if len(self._texts) == MAX_LINES:
            raise Malformed(f"the reply has more than {MAX_LINES} lines")
        return None


def readable(text: bytes) -> str:
    """As text that JSON can hold, and that cannot forge a line of a log."""
    shown = text[:SHOWN_CHARACTERS].decode(errors="replace")
    if shown.isprintable():
        return shown
    return "".join(character if character.isprintable() else "\ufffd" for character in shown)
