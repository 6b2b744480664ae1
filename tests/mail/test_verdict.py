"""Replies, sorted: each code of RFC 5321, RFC 3463 and the IANA registry, and words that mean the sender."""

from __future__ import annotations

import pytest

from errand.mail.smtp.reply import Malformed, PartialReply, SmtpReply
from errand.mail.verdict import ENHANCED, Kind, Stage, asked_wait_s, kind_of

T, A, S, U = Kind.TRANSIENT, Kind.ADDRESS, Kind.SENDER, Kind.UNSURE

REPLY_CODES = {
    # RFC 5321 §4.2.2-3, RFC 4954, RFC 7504; before RCPT, at RCPT, after the message; no enhanced code
    **dict.fromkeys((421, 450, 451, 452, 454, 455, 430, 432), (T, T, T)),
    **dict.fromkeys((500, 501, 502, 503, 504, 521, 530, 534, 535, 538, 554, 555), (S, S, S)),
    **dict.fromkeys((550, 551, 553, 556), (S, A, S)),
    552: (S, T, S),
    **dict.fromkeys((200, 211, 220, 221, 250, 334, 354, 300, 199, 600), (T, T, U)),
}


@pytest.mark.parametrize("code", REPLY_CODES)
def test_a_reply_code_means_what_it_says_at_its_stage(code: int) -> None:
    reply = SmtpReply(code, "words")
    assert tuple(kind_of(reply, stage) for stage in (Stage.MAIL, Stage.RCPT, Stage.CONTENT)) == REPLY_CODES[code]


# "SMTP Enhanced Status Codes" at IANA, read November 2026: subject -> the highest detail
REGISTERED = {0: 0, 1: 10, 2: 4, 3: 6, 4: 7, 5: 6, 6: 10, 7: 30}
BAD_ADDRESS = {"1.0", "1.1", "1.2", "1.3", "1.4", "1.6", "1.10", "2.1", "7.17", "7.18"}
LATER = {"1.9", "2.0", "2.2", "2.4", "3.0", "3.1", "3.2", "3.5", "3.6", *(f"4.{detail}" for detail in range(8))}


def test_every_registered_enhanced_code_is_sorted() -> None:
    registered = {f"{subject}.{detail}" for subject, last in REGISTERED.items() for detail in range(last + 1)}
    assert set(ENHANCED) == registered
    for code in registered - {"0.0", "1.5"}:
        expected = A if code in BAD_ADDRESS else T if code in LATER else S
        assert kind_of(SmtpReply(550, f"5.{code} no"), Stage.RCPT) is expected, code
        assert kind_of(SmtpReply(450, f"4.{code} later"), Stage.RCPT) is T
        assert kind_of(SmtpReply(550, f"5.{code} no"), Stage.MAIL) is S, "before RCPT nothing is the recipient's fault"


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("5.0.0 no such user", A),  # says nothing: the reply code decides
        ("5.9.9 no such user", A),  # not registered
        ("4.1.1 of another class", A),
        ("no such user here", A),
        ("Connection frequency limited", S),
        ("too many connections from your host", S),
        ("Relaying denied", S),
        ("rejected: listed at Spamhaus", S),
        ("5.7.1 Service unavailable", S),
        ("5.1.1 blocked, they say, yet the code is clear", A),
    ],
)
def test_a_550_to_rcpt_is_read_by_its_enhanced_code_then_by_its_words(text: str, kind: Kind) -> None:
    assert kind_of(SmtpReply(550, text), Stage.RCPT) is kind


@pytest.mark.parametrize(
    ("text", "wait_s"),
    [
        ("4.2.0 Greylisted, try again in 300 seconds", 301),
        ("Greylisting in action, please come back in 00:04:58", 299),
        ("try again after 5 minutes", 301),
        ("Please wait 2 hours", 7201),
        ("deferred for 90s", 91),
        ("come back in 99999 hours", 4 * 3600),
        ("mailbox busy", None),
        ("in 5 of 7 cases", None),
        ("the limit is 20 connections for 100 messages", None),
        ("wait 3 sec.", 4),
    ],
)
def test_greylisting_says_when_to_come_back(text: str, wait_s: float | None) -> None:
    assert asked_wait_s(SmtpReply(451, text)) == wait_s
    assert asked_wait_s(SmtpReply(550, text)) is None


def parse(lines: list[bytes]) -> SmtpReply | None:
    """What has come with the last of these lines."""
    partial = PartialReply()
    return [partial.add(line) for line in lines][-1]


def test_a_reply_has_all_of_its_lines() -> None:
    assert parse([b"250-one", b"250 two"]) == SmtpReply(250, "one\ntwo")
    assert parse([b"250"]) == SmtpReply(250, "")
    assert parse([b"250-one"]) is None
    assert parse([b"550 Empf\xe4nger"]) == SmtpReply(550, "Empf\ufffdnger")


@pytest.mark.parametrize(
    "lines",
    [
        *([line] for line in (b"", b"OK", b"2_0 x", b"+25 x", b" 250 x", b"2500 x", b"250x", b"199 x", b"600 x")),
        *([b"250-one", last] for last in (b"550 two", b"two")),
    ],
)
def test_what_only_resembles_a_reply_is_none(lines: list[bytes]) -> None:
    with pytest.raises(Malformed):
        parse(lines)
