"""Secrets in texts: found as they are, and as Python, JSON or a URL writes them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from urllib.parse import quote, urlencode

import pytest

from errand.secrets import redaction
from errand.secrets.redaction import STARS, Redaction
from errand.wire.records import MESSAGE_LIMIT_CHARS, TRACEBACK_LIMIT_CHARS, Error

SECRET = "p@ss \"wörd\"\\n/'1'\n"


@pytest.fixture
def _in_this_process() -> Iterator[None]:
    redaction.configure([SECRET])
    yield
    redaction.configure([])


@pytest.mark.parametrize(
    "written",
    [SECRET, repr(SECRET)[1:-1], json.dumps(SECRET), quote(SECRET, safe=""), urlencode({"a": SECRET})],
)
def test_a_secret_is_found_however_it_is_written(written: str) -> None:
    told = Redaction([SECRET])(f"before {written} after")
    assert STARS in told and "wörd" not in told and "rd" not in told.replace("before", "").replace("after", "")


def test_the_longer_of_two_secrets_goes_first() -> None:
    assert Redaction(["abcd", "abcdefgh"])("abcdefgh abcd") == f"{STARS} {STARS}"


def test_what_is_too_short_to_tell_from_words_is_left() -> None:
    assert Redaction(["abc", ""])("abc is the alphabet") == "abc is the alphabet"
    assert Redaction()("text") == "text"


@pytest.mark.usefixtures("_in_this_process")
def test_the_errors_of_jobs_show_no_secret_of_their_process_even_if_they_are_cut() -> None:
    for spare in range(len(SECRET) + 2):
        try:
            raise ValueError("x" * (MESSAGE_LIMIT_CHARS - spare) + SECRET + "y" * (TRACEBACK_LIMIT_CHARS - spare))
        except ValueError as raised:
            error = Error.of(raised)
        assert len(error.message) <= MESSAGE_LIMIT_CHARS
        for text in (error.message, error.traceback or ""):
            assert "wörd" not in text and not text.startswith(tuple(SECRET[start:] for start in range(1, 8)))
            assert "p@" not in text
