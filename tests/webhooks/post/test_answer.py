"""An answer is read alike in whatever pieces it comes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from errand.webhooks.post.answer import AnswerReader, NotHttp
from tests.webhooks.post.hostile import DECIDED, UNDECIDED

ANSWERS = {
    name: b"".join(step for step in steps if isinstance(step, bytes))[:3_000]
    for name, (_, steps) in (*DECIDED.items(), *UNDECIDED.items())
}


def read(pieces: Iterable[bytes]) -> tuple[Any, ...]:
    """All that is known of the answer when no more comes."""
    reader = AnswerReader()
    try:
        for piece in pieces:
            reader.feed(piece)
    except NotHttp:
        return ("not HTTP",)
    ended, reusable = reader.ended, reader.reusable
    reader.close()
    return reader.status, list(reader.headers), bytes(reader.body), reader.complete, ended, ended and reusable


@pytest.mark.parametrize("name", ANSWERS)
def test_the_pieces_change_nothing(name: str) -> None:
    answer = ANSWERS[name]
    whole = read([answer] if answer else [])
    assert read(answer[at : at + 1] for at in range(len(answer))) == whole
    for at in range(1, min(len(answer), 200)):
        assert read([answer[:at], answer[at:]]) == whole


def test_a_body_without_a_length_is_all_that_comes() -> None:
    assert read([b"HTTP/1.1 200 OK\r\n\r\nhel", b"lo"])[2:4] == (b"hello", True)
