"""What may be printed of what others have written: it must not steer the terminal, nor end the program."""

from __future__ import annotations


def harmless(text: str) -> str:
    """The text with a dot for each character that a terminal would act on, or that cannot be printed."""
    return text if text.isprintable() else "".join(one if one.isprintable() else "·" for one in text)
