"""Text from a caller that stands in a header of a letter, and names of people."""

from __future__ import annotations

import re
import unicodedata
from typing import Annotated

from pydantic import AfterValidator

BREAKS_LINES = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Unicode categories that no header value may hold: control characters, halves of a pair, line separators."""


TURNS_TEXT = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""They change the direction in which the text around them is shown: "moc.elpmaxe" reads as "example.com" behind one."""


SHOWS_NOTHING = frozenset("\u115f\u1160\u3164\uffa0\u2800\u17b4\u17b5")
"""Letters and symbols that are blank: the fillers of Hangul, the empty pattern of Braille, two vowels of Khmer."""


LINK = re.compile(
    r"[a-z][a-z0-9+.-]{1,15}://|\bwww\d?\.|"
    # a domain with a path, a query or a port
    r"(?<![@\w.-])(?:[\w-]+\.)+[^\W\d_]{2,}[/?:](?=\S)|"
    # a bare domain that mail readers make a link of
    r"(?<![@\w.-])(?:[a-z0-9-]+\.)*[a-z0-9-]{2,}\."
    r"(?:com|net|org|info|biz|io|co|me|ly|app|dev|xyz|top|site|shop|online|link|click|live|club|ru|cn|su|tk|to|gg|gl|gd|cc)\b"
    r"(?![\w@.])",
    re.IGNORECASE,
)


def check_header_text(text: str) -> str:
    """The text, if no part of it can end a header, hide an encoded line break, or turn text around.

    Raises ValueError.
    CVE-2024-6923: `=?utf-8?q?x=0d=0aBcc=3a…?=` becomes a line of its own when Python folds the header again.
    """
    # not `isprintable`: it knows neither the ideographic space nor the joiners that names are written with
    if "=?" in text or any(unicodedata.category(character) in BREAKS_LINES for character in text):
        raise ValueError("must be plain text without line breaks, control characters or '=?'")
    if not TURNS_TEXT.isdisjoint(text):
        raise ValueError("must be plain text without characters that change the direction of text")
    return text


def check_person_name(name: str) -> str:
    """The name, if it can be one. Raises ValueError for what is blank, or a link.

    A sign-up form that takes any name and any address sends for its callers: "Win a prize at bad.example/x" would stand
    in the subject of a letter that comes from you.
    """
    check_header_text(name)
    if not any(_shows(character) for character in name):
        raise ValueError("must not be blank")
    if LINK.search(name):
        raise ValueError("must be a name: it has a link in it")
    return name


def _shows(character: str) -> bool:
    return unicodedata.category(character)[0] in "LNPS" and character not in SHOWS_NOTHING


HeaderText = Annotated[str, AfterValidator(check_header_text)]
"""For a field of a job's args: `title: HeaderText = Field(max_length=200)`."""


PersonName = Annotated[str, AfterValidator(check_person_name)]
"""For a name that somebody typed into a form: `name: PersonName = Field(max_length=200)`."""
