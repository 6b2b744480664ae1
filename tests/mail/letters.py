"""The letter that the tests of this room send, and how a mail reader sees it."""

from __future__ import annotations

from datetime import UTC, datetime
from email.message import EmailMessage
from email.parser import Parser
from email.policy import default

from errand.mail.letter import Letter, compose

SENDER = "Acme <hello@acme.example>"
DATE = datetime(2026, 11, 1, tzinfo=UTC)

NAMES = [
    *("O'Brien", 'Müller, "Jö" <Jörg>', "ada@example.com", "a" * 200, "=", "?="),
    *(
        "Žofie Černá",
        "山田　太郎",
        "\u0639\u0644\u06cc\u200c\u0631\u0636\u0627",
        "\U0001f469\u200d\U0001f680",
        "Åse\N{NO-BREAK SPACE}Marie",
    ),
]
"""Names that people have."""

INJECTIONS = [
    *(
        f"Ada{end}Bcc: e@x.example"
        for end in ("\r\n", "\n", "\r", "\0", "\v", "\f", "\x1c", "\x85", "\u2028", "\u2029")
    ),
    *("Ada\r\n", "\nAda", "=?utf-8?q?x=0d=0aBcc=3a_e=40x?=", "Ada =?utf-8?q?x=0aBcc=3a_e=40x?= B", "=?"),
]
"""Names that try to end a header, or to hide a line break in one."""


def letter(to: str = "ada@example.com", name: str = "Ada", *, sender: str = SENDER, job_id: str = "job-1") -> Letter:
    return compose(to, name, sender=sender, job_id=job_id, date=DATE)


def read(content: bytes) -> EmailMessage:
    """As a mail reader does; the standard library's bytes parser knows no RFC 6532."""
    return Parser(policy=default).parsestr(content.decode())


def part(message: EmailMessage, kind: str) -> str:
    body = message.get_body((kind,))
    assert body is not None
    return str(body.get_content()).replace("\r\n", "\n")
