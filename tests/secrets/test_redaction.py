"""Secrets in texts: found as they are, and as Python, JSON or a URL writes them."""

from __future__ import annotations

import json
import time
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


ALL_SORTS = 'é"\\% '


@pytest.mark.parametrize(
    "secrets",
    [[ALL_SORTS * 200_000], [f"{number}{ALL_SORTS}" for number in range(150_000)], [f"aaaa{n}" for n in range(900)]],
    ids=["a long one", "many", "as many as are looked for"],
)
def test_secrets_of_args_that_a_client_has_made_up_cost_a_moment(secrets: list[str]) -> None:
    began_s = time.thread_time()
    hide = redaction.hiding(secrets)
    texts = [hide(f"fault {number}: must be a text, not {secrets[0][:20]}") for number in range(100)]
    assert time.thread_time() - began_s < 0.5
    assert len(set(texts)) in (1, 100)


def test_of_more_secrets_than_are_looked_for_every_text_is_hidden() -> None:
    secrets = [f"secret-{number}" for number in range(redaction.MAX_SECRETS)]
    assert redaction.hiding(secrets)("it is secret-999, says a b") == f"it is {STARS}, says a b"
    assert redaction.hiding([*secrets, "one more"])("it is secret-999") == STARS


def test_a_long_text_is_searched_for_long_secrets_too() -> None:
    hide, secret = redaction.hiding(["short", "s" * 5_000]), "s" * 5_000
    assert hide("a short one") == f"a {STARS} one"
    assert hide(f"a {secret} and a short one") == f"a {STARS} and a {STARS} one"


def test_long_secrets_that_all_stand_in_a_text_are_each_looked_for_once() -> None:
    def cpu_s(chars: int) -> float:
        hide, text = redaction.hiding(["a" * chars + "b", "another"]), "a" * 3 * chars + "b another"
        began_s = time.thread_time()
        assert hide(text) == "a" * 2 * chars + f"{STARS} {STARS}"
        return time.thread_time() - began_s

    assert cpu_s(60_000) < 8 * max(cpu_s(15_000), 0.05)
