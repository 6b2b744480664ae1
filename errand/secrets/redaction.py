"""Keeps secrets out of what people read: log lines, the errors of attempts, notes.

What is known to be secret is replaced wherever it appears as it is, or as Python, JSON or a URL would write it. What a
program has made of it otherwise (encoded, cut in two, hashed) is not recognised, and a secret of fewer than four
characters is left: it would be found in half of all words.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from typing import ClassVar
from urllib.parse import quote, quote_plus

STARS = "**********"
"""As pydantic shows a secret."""


SHORTEST_CHARS = 4


MAX_SECRETS = 1_000
"""Of args: if there are more, a text about them is hidden as a whole. To look for 190,000 took two seconds."""


Hide = Callable[[str], str]
"""Takes a text, and gives it back without secrets."""


class Redaction:
    """Knows some secrets, and how to replace them in a text."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        forms = {form for secret in secrets if len(secret) >= SHORTEST_CHARS for form in _forms_of(secret)}
        self._any = _pattern(forms) if forms else None

    def __call__(self, text: str) -> str:
        return text if self._any is None else self._any.sub(STARS, text)


class _Process:
    """The secrets that this process was started with."""

    redaction: ClassVar[Redaction] = Redaction()


def configure(secrets: Iterable[str]) -> None:
    """Sets which secrets this process was started with: passwords in its settings."""
    _Process.redaction = Redaction(secrets)


def hide(text: str) -> str:
    """The text without the secrets that this process was started with."""
    return _Process.redaction(text)


def hiding(secrets: Iterable[str]) -> Hide:
    """Hides these secrets as well."""
    return _OfArgs(secrets)


class _OfArgs:
    """Hides the secrets of args, which are whatever a client has sent.

    What is longer than a text is not looked for in it, and a pattern is made of what is there alone: one of a secret of
    a mebibyte took seven seconds to make.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        self._secrets = {secret for secret in secrets if len(secret) >= SHORTEST_CHARS}
        self._forms: list[str] = []
        self._of_chars = 0

    def __call__(self, text: str) -> str:
        if len(self._secrets) > MAX_SECRETS:
            return STARS if text else text
        there = [form for form in self._forms_for(len(text)) if form in text and form not in STARS]
        # one after the other: a pattern of several long ones begins anew with each at each character
        for form in sorted(there, key=len, reverse=True):
            text = text.replace(form, STARS)
        return hide(text)

    def _forms_for(self, chars: int) -> list[str]:
        """Of those that a text of so many characters can have: no form is shorter than its secret."""
        if chars > self._of_chars:
            self._of_chars = 2 * chars
            fitting = (secret for secret in self._secrets if len(secret) <= self._of_chars)
            self._forms = [form for secret in fitting for form in _forms_of(secret)]
        return self._forms


def longest_chars(secrets: Iterable[str]) -> int:
    """Of the forms in which one of them is found in a text; 0 if there is none."""
    return max((len(form) for secret in secrets for form in _forms_of(secret)), default=0)


def _pattern(forms: Iterable[str]) -> re.Pattern[str]:
    """The longest first: what contains another one is replaced as a whole."""
    return re.compile("|".join(map(re.escape, sorted(forms, key=len, reverse=True))))


def _forms_of(secret: str) -> set[str]:
    """How it may stand in a text."""
    return {
        secret,
        repr(secret)[1:-1],
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        quote(secret, safe="", errors="replace"),
        quote_plus(secret, errors="replace"),
    }
