"""Text from a caller that stands in a header of a letter."""

from __future__ import annotations

import unicodedata
from typing import Annotated

from pydantic import AfterValidator

BREAKS_LINES = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Unicode categories that no header value may hold: control characters, halves of a pair, line separators."""


def check_header_text(text: str) -> str:
    """The text, if no part of it can end a header or hide an encoded line break there. Raises ValueError.

    CVE-2024-6923: `=?utf-8?q?x=0d=0aBcc=3a…?=` becomes a line of its own when Python folds the header again.
    """
    # not `isprintable`: it knows neither the ideographic space nor the joiners that names are written with
    if "=?" in text or any(unicodedata.category(character) in BREAKS_LINES for character in text):
        raise ValueError("must be plain text without line breaks, control characters or '=?'")
    return text


HeaderText = Annotated[str, AfterValidator(check_header_text)]
"""For a field of a job's args: `name: HeaderText = Field(max_length=200)`."""
