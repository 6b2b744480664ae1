"""The letter that the tests of this room send, and how a mail reader sees it."""

from __future__ import annotations

from datetime import UTC, datetime
from email.header import decode_header, make_header
from email.message import EmailMessage
from email.parser import HeaderParser, Parser
from email.policy import compat32, default
from email.utils import getaddresses
from itertools import product
from typing import Any

from errand.mail.letter import Letter
from errand.mail.writing.compose import compose
from errand.mail.writing.message import Message
from errand.mail.writing.templates import Templates

SENDER = "Acme <hello@acme.example>"
TEMPLATES = Templates()
DATE = datetime(2026, 11, 1, tzinfo=UTC)

NAMES = [
    *(
        "O'Brien",
        'Müller, "Jö" <Jörg>',
        "ada@example.com",
        "a" * 200,
        "=",
        "?=",
        "A",
        "'",
        '"',
        "\\",
        "x\\",
        '"x"',
        "<x>",
    ),
    *(
        "Žofie Černá",
        "山田　太郎",
        "\u0639\u0644\u06cc\u200c\u0631\u0636\u0627",
        "\U0001f469\u200d\U0001f680",
        "Åse\N{NO-BREAK SPACE}Marie",
    ),
    # two long words; two words whose space lies between encoded words; spaces of all kinds
    *(
        f"{'a' * 80} {'b' * 80}",
        f"{'é' * 40} {'ü' * 40}",
        "é é é é",
        f"{'x' * 60} é",
        f"é {'x' * 100}",
        "a  b",
        " a",
        "b ",
        "é  ü",
    ),
    *(
        "J.R.R. Tolkien",
        "St.John",
        "Dr. No",
        "A.B.C",
        "Anna-Maria del Río",
        "Q.Public",
        "Jean/Paul",
        "Ann (Annie) Bo",
        "Ada;",
        "a:b",
        "a,b",
    ),
    *(
        "\u202fx",
        "\u2009x",
        "ñ" * 200,
        "\U0001d504\U0001d521\U0001d51e " * 20,
        "e\u0301" * 50,
        "\u200fعلي",
        "Ng\u0169gĩ",
        "Nguyễn Thị Minh Khai",
        "Þórður",
        "İpek",
        "ß",
    ),
    *("".join(pair) for pair in product("aé\u00a0 .,;:<>@()[]\\\"'=?_", 'aü."=')),
    *(f"{'x' * length}é{'y' * length}" for length in range(0, 90, 3)),
    *(f"{'é' * length} z" for length in range(1, 60, 3)),
    *(f"{'word ' * length}ü" for length in range(1, 30, 2)),
]
"""Names that people have, and odd ones that are harmless."""

NOT_NAMES = [
    *("", " ", "\u00a0", "\u3000\u3000", "\u200b", "\u200d", "\u3164", "\u2800", "\ufeff", "\u200e\u200f"),
    *(
        "http://bad.example",
        "Win at https://bad.example/x",
        "HTTPS://BAD.EXAMPLE",
        "www.bad.example",
        "see WWW.x.example",
    ),
    *(
        "bad.example/win",
        "Win: bit.ly/x",
        "Ada bad.com",
        "bad.com",
        "claim your prize at bad-site.xyz",
        "x.example:8080",
        "x.example?y",
    ),
    *("javascript://x", "ftp://x.example", "пример.рф/x", "t.me/x", "Ada (evil.net)", "evil.org!"),
    *(f"Ada {mark}nib" for mark in "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"),
]
"""What a sign-up form must not put into a subject."""

ADDRESSES = [
    *("=?@example.com", "a=?b@example.com", "=?x?=@example.com", "!#$%&'*+-/=?^_`.{|}~@example.com", "a?=@example.com"),
    *(f"{'a' * 64}@example.com", f"a@{'b' * 60}.{'c' * 60}.{'d' * 60}.example.com", "1@2.example.org", "-@example.com"),
    *(
        "ada@bücher.example.com",
        "jörg@example.com",
        "葉士豪@臺網中心.tw",
        "jeff@臺網中心.tw",
        "\u043c\u0435\u0434\u0432\u0435\u0434\u044c@\u0441-\u0431\u0430\u043b.\u0440\u0444",
        "ñ@é.example.com",
    ),
    *("a+b@example.com", "first.last@sub.example.co.uk", "x_y@example.com", "o'brien@example.com", "Ada@Example.COM"),
]
"""Those that the args take."""

INJECTIONS = [
    *(
        f"Ada{end}Bcc: e@x.example"
        for end in ("\r\n", "\n", "\r", "\0", "\v", "\f", "\x1c", "\x85", "\u2028", "\u2029")
    ),
    *("Ada\r\n", "\nAda", "=?utf-8?q?x=0d=0aBcc=3a_e=40x?=", "Ada =?utf-8?q?x=0aBcc=3a_e=40x?= B", "=?"),
]
"""Names that try to end a header, or to hide a line break in one."""


def letter(
    to: str = "ada@example.com", name: str = "Ada", *, sender: str = SENDER, job_id: str = "job-1", **more: Any
) -> Letter:
    message = Message(to=to, name=name, template="welcome", **more)
    return compose(message, TEMPLATES, sender=sender, job_id=job_id, date=DATE)


def read(content: bytes) -> EmailMessage:
    """As a mail reader does; the standard library's bytes parser knows no RFC 6532."""
    return Parser(policy=default).parsestr(content.decode())


def mailbox(content: bytes, header: str = "To") -> tuple[str, str]:
    """Name and address, decoded as RFC 2047 says; Python's structured parser adds spaces between words below 3.13."""
    raw = HeaderParser(policy=compat32).parsestr(content.decode())[header]
    ((name, address),) = getaddresses([raw.replace("\r\n", "").replace("\n", "")])
    return str(make_header(decode_header(name))) if name else "", address


def part(message: EmailMessage, kind: str) -> str:
    body = message.get_body((kind,))
    assert body is not None
    return str(body.get_content()).replace("\r\n", "\n")


DATA = [
    *(f"a{end}Bcc: e@x.example" for end in ("\r\n", "\n", "\r", "\r\n\r\n", "\n ", " \r\n\t")),
    *("\r\n.\r\nMAIL FROM:<e@x.example>", "\n.\n", ".", "..", "\r\n--=_x--\r\n", "Content-Type: text/html\r\n\r\n<b>"),
    *("<script>alert(1)</script>", "</style><p>", "{{ 7 * 7 }}", "{% raw %}", "{# x #}", "&lt;b&gt;", "&#10;", "<!--"),
    *(
        "=?utf-8?q?x=0d=0aBcc=3a_e=40x?=",
        "=0D=0A",
        "=3D",
        "a=\r\nb",
        "%0d%0aBcc: e",
        "\\r\\n",
        "x" * 1_000,
        "é" * 1_000,
    ),
    *("\N{WAVING HAND SIGN}" * 40, "\u202etxt", "\ufeffx", "a\u00a0b", "  two  spaces  ", "From x", "Zażółć\tgęślą"),
]
"""What a template may be given to show, in its subject too."""
