"""What somebody has typed into a letter, however much it is, holds up no other job of the worker."""

from __future__ import annotations

import random
import re
import time
import timeit
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest

from errand import Context
from errand.mail.letter import Letter
from errand.mail.sending import Mailer
from errand.mail.smtp.transaction import _as_sent
from errand.mail.writing import dkim
from errand.mail.writing.inline_styles import with_inline_styles
from errand.mail.writing.message import Message
from tests.mail.letters import SENDER, TEMPLATES

MEBIBYTE = 1024**2


@dataclass
class Kept:
    """A transport that has nothing to wait for."""

    letters: list[Letter] = field(default_factory=list)

    async def send(self, letter: Letter, **_: Any) -> str:
        self.letters.append(letter)
        return "250 OK"


async def test_a_letter_with_a_mebibyte_of_data_is_not_written_on_the_event_loop() -> None:
    kept = Kept()
    mailer = Mailer(transport=kept, templates=TEMPLATES, sender=SENDER, when_unsure="resend")
    ctx = Context(job_id="job-1", attempt=1, max_tries=1, enqueued_at=datetime.now(UTC))
    data = {"button_url": "https://acme.example/", "button_text": "&" * MEBIBYTE}
    message = Message(to="ada@example.com", name="Ada", template="welcome", data=data)
    began_s = time.thread_time()
    await mailer.send(ctx, message)
    assert time.thread_time() - began_s < 0.05, "of the loop's own thread; it took ten times as much"
    assert len(kept.letters[0].content) > 4 * MEBIBYTE


def test_html_that_is_larger_than_any_reader_shows_keeps_its_rules_where_they_are() -> None:
    """Other threads have no turn while they are put into the elements."""
    html = f"<html><head><style>p {{ color: red }}</style></head><body><p>{'&amp;' * 200_000}</p></body></html>"
    assert with_inline_styles(html) is html


def test_lines_of_dots_are_sent_about_as_quickly_as_others() -> None:
    def cpu_s(content: bytes) -> float:
        return min(timeit.repeat(lambda: _as_sent(content), number=1, repeat=3, timer=time.thread_time))

    dots, plain = b".\r\n" * (MEBIBYTE // 3), b"xxxx\r\n" * (MEBIBYTE // 6)
    assert _as_sent(b".\r\n.\r\na.\r\n..b\r\n") == b"..\r\n..\r\na.\r\n...b"
    assert cpu_s(dots) < 10 * cpu_s(plain)


def test_a_signed_body_is_read_in_pieces_and_means_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dkim, "PIECE_BYTES", 8)
    drawn = random.Random(1)
    for _ in range(500):
        body = b"".join(drawn.choices([b" ", b"\t", b"\r\n", b"a", b"bc"], k=drawn.randrange(60)))
        single = re.sub(rb"[ \t]+", b" ", body).replace(b" \r\n", b"\r\n").rstrip(b" ").rstrip(b"\r\n")
        assert dkim._relaxed_body(body) == (single + b"\r\n" if single else b"")
