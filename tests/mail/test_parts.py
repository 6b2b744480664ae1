"""The parts of a letter, read back by the standard library: texts of all kinds, files with odd names."""

from __future__ import annotations

from email import policy
from email.message import EmailMessage
from email.parser import BytesParser

import pytest

from errand.mail.writing.message import Attachment
from errand.mail.writing.parts import LINE_BYTES, file_part, text_part


def read(part: bytes) -> EmailMessage:
    message = BytesParser(policy=policy.default).parsebytes(part)
    assert message.defects == []
    return message


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("Hello Ada,\n\nwelcome.\n", "7bit"),
        ("no end of line", "7bit"),
        ("", "7bit"),
        (".\r\n..\nFrom x\n", "7bit"),
        ("one\rtwo\r\nthree\n\n\n", "7bit"),
        ("x" * LINE_BYTES, "7bit"),
        ("x" * (LINE_BYTES + 1), "quoted-printable"),
        ("a\0b", "quoted-printable"),
        ("a = b, Zoë \t\n" * 20, "quoted-printable"),
        ("\nZoë" + "x" * 300, "quoted-printable"),
        ("Größe \n", "base64"),
        ("Добро пожаловать\n" * 50, "base64"),
        ("\N{WAVING HAND SIGN}", "base64"),
    ],
)
def test_a_text_is_encoded_only_if_it_must_be_and_arrives_as_it_was(text: str, encoding: str) -> None:
    part = text_part(text, "plain")
    message = read(part)
    assert message["Content-Transfer-Encoding"] == encoding
    content = message.get_payload(decode=True)
    assert isinstance(content, bytes)
    sent = text.replace("\r\n", "\n").replace("\r", "\n")
    assert content.decode() == (sent if sent.endswith("\n") else f"{sent}\n").replace("\n", "\r\n")
    assert part.isascii() and max(map(len, part.split(b"\r\n"))) <= LINE_BYTES
    assert part.count(b"\r\n") == part.count(b"\n") == part.count(b"\r")


NAMES = [
    *("a.pdf", "Invoice 7 (copy).pdf", 'a"b.pdf', "a\\b.pdf", "a%41.pdf", "a;b=c.pdf", "'x'", "x" * 200 + ".pdf"),
    *("Rechnung März.pdf", "счёт.pdf", "\N{WAVING HAND SIGN}" * 40 + ".pdf", "日本語" * 20, "a*b?.txt"),
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("cid", [None, "logo"])
def test_a_file_arrives_under_its_name(name: str, cid: str | None) -> None:
    content = bytes(range(256)) * 40
    part = file_part(Attachment(content=content, filename=name, content_type="application/pdf", cid=cid))
    message = read(part)
    assert (message.get_filename(), message.get_content()) == (name, content)
    assert message.get_content_type() == "application/pdf"
    assert message.get_content_disposition() == ("inline" if cid else "attachment")
    assert message["Content-ID"] == ("<logo>" if cid else None)
    assert part.isascii() and max(map(len, part.split(b"\r\n"))) <= 100
