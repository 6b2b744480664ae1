"""The letter: its headers, its parts, and names that try to be more than a name."""

from __future__ import annotations

import html
import re
import time
import unicodedata
from email.header import decode_header, make_header
from email.parser import BytesParser
from email.policy import compat32
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from errand.mail.writing.address import MailAddress
from errand.mail.writing.compose import compose
from errand.mail.writing.header_text import HeaderText, PersonName
from errand.mail.writing.headers import HeaderRefused
from errand.mail.writing.message import Attachment, Message
from errand.mail.writing.templates import Templates
from tests.mail.letters import ADDRESSES, DATA, DATE, INJECTIONS, NAMES, NOT_NAMES, SENDER, letter, mailbox, part, read

BODY_HEADERS = ["MIME-Version", "Content-Type"]
HEADER_TEXT: TypeAdapter[str] = TypeAdapter(HeaderText)
PERSON_NAME: TypeAdapter[str] = TypeAdapter(PersonName)
MAIL_ADDRESS: TypeAdapter[str] = TypeAdapter(MailAddress)


def test_a_letter_has_a_text_and_an_html_part_and_only_its_own_headers() -> None:
    message = read(letter().content)
    assert message.keys() == [*("From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted"), *BODY_HEADERS]
    assert (message["From"], message["To"], message["Subject"]) == (SENDER, "Ada <ada@example.com>", "Welcome, Ada!")
    assert [inner.get_content_type() for inner in message.iter_parts()] == ["text/plain", "text/html"]
    assert part(message, "plain").startswith("Hello Ada,\n\nWelcome to Acme.")
    assert "<h1" in part(message, "html") and "Hello Ada,</h1>" in part(message, "html")


def test_a_name_is_escaped_in_html_and_unchanged_in_text() -> None:
    message = read(letter(name="<b>Ada</b> & Co").content)
    assert "Hello <b>Ada</b> & Co," in part(message, "plain")
    assert "Hello &lt;b&gt;Ada&lt;/b&gt; &amp; Co," in part(message, "html")


def test_each_attempt_of_a_job_composes_the_same_bytes() -> None:
    assert read(letter().content)["Date"].datetime == DATE
    assert letter(name="Žofie").content == letter(name="Žofie").content
    assert letter(job_id="job-2").content != letter().content


@pytest.mark.parametrize(
    ("job_id", "message_id"),
    [("job-1", "<job-1@acme.example>"), ("any thing:ž>", "<any%20thing%3A%C5%BE%3E@acme.example>")],
)
def test_a_message_id_follows_from_the_job_id(job_id: str, message_id: str) -> None:
    composed = letter(job_id=job_id)
    assert composed.message_id == read(composed.content)["Message-ID"] == message_id
    assert len(read(composed.content).get_boundary() or "") <= 70


def test_domains_travel_in_ascii() -> None:
    composed = letter("ada@bücher.example", sender="Acme <hello@münchen.example>")
    assert (composed.sender, composed.recipients) == ("hello@xn--mnchen-3ya.example", ("ada@xn--bcher-kva.example",))
    assert composed.message_id == "<job-1@xn--mnchen-3ya.example>"
    assert read(composed.content)["To"] == "Ada <ada@xn--bcher-kva.example>"
    assert composed.content.isascii() and not composed.needs_smtputf8


def test_a_local_part_beyond_ascii_stands_in_utf8_headers() -> None:
    composed = letter("jörg@bücher.example", "Jörg")
    assert (composed.recipients, composed.needs_smtputf8) == (("jörg@xn--bcher-kva.example",), True)
    assert " <jörg@xn--bcher-kva.example>\r\n".encode() in composed.content
    (to,) = read(composed.content)["To"].addresses
    assert (to.display_name, to.addr_spec) == ("Jörg", "jörg@xn--bcher-kva.example")


@pytest.mark.parametrize("name", NAMES)
def test_any_name_arrives_as_it_was_given(name: str) -> None:
    composed = letter(name=PERSON_NAME.validate_python(name))
    message = read(composed.content)
    assert mailbox(composed.content) == (name, "ada@example.com") and message["Subject"] == f"Welcome, {name}!"
    assert len(message["To"].addresses) == 1
    assert f"Hello {name}," in part(message, "plain")
    assert composed.content.isascii()  # not every server takes 8 bits
    headers = composed.content.partition(b"\r\n\r\n")[0].split(b"\r\n")
    assert max(map(len, headers)) <= 78 and max(map(len, composed.content.split(b"\r\n"))) <= 998
    # other readers decode word for word
    raw = BytesParser(policy=compat32).parsebytes(composed.content)
    assert str(make_header(decode_header(raw["Subject"]))) == f"Welcome, {name}!"


@pytest.mark.parametrize("name", INJECTIONS)
def test_a_name_that_could_end_a_header_is_refused_by_the_args(name: str) -> None:
    with pytest.raises(ValidationError, match="plain text"):
        HEADER_TEXT.validate_python(name)


@pytest.mark.parametrize("name", INJECTIONS)
def test_a_value_that_could_end_a_header_does_not_leave_it(name: str) -> None:
    """In a letter of one's own no model may have looked at it."""
    try:
        composed = letter(name=name)
    except HeaderRefused:
        return
    message = read(composed.content)
    assert message.keys() == read(letter().content).keys() and message["Bcc"] is None
    assert "=?" in name and b"=?utf-8?q" not in composed.content.partition(b"\r\n\r\n")[0]


@pytest.mark.parametrize("name", NOT_NAMES)
def test_what_is_blank_or_a_link_or_turns_text_around_is_no_name(name: str) -> None:
    with pytest.raises(ValidationError):
        PERSON_NAME.validate_python(name)


@pytest.mark.parametrize("address", ADDRESSES)
def test_every_address_that_is_taken_is_written_to(address: str) -> None:
    composed = letter(MAIL_ADDRESS.validate_python(address), "Müller " * 12)
    local, _, domain = address.rpartition("@")
    (recipient,) = composed.recipients
    assert mailbox(composed.content) == ("Müller " * 12, recipient)
    assert recipient.rpartition("@")[0] == local and recipient.rpartition("@")[2].isascii()
    assert not domain.isascii() or recipient.endswith(domain.lower())


@pytest.mark.parametrize(
    "address", ["=?utf-8?q?x=40e?=@example.com", "a=?us-ascii?B?eA==?=@example.com", "a@b", "a b@c.de"]
)
def test_an_address_that_readers_see_as_another_is_refused(address: str) -> None:
    with pytest.raises(ValidationError):
        MAIL_ADDRESS.validate_python(address)


def test_further_headers_stand_behind_those_of_every_letter() -> None:
    composed = letter(
        cc=["bo@example.com"],
        reply_to="jörg@bücher.example",
        headers={"X-Ref": "Grüße", "In-Reply-To": "<1@acme.example>"},
        tags=["welcome"],
        unsubscribe_url="https://acme.example/u?t=1",
    )
    message = read(composed.content)
    assert composed.recipients == ("ada@example.com", "bo@example.com")
    assert (message["Cc"], message["Reply-To"]) == ("bo@example.com", "jörg@xn--bcher-kva.example")
    assert (message["X-Ref"], message["X-Tag"]) == ("Grüße", "welcome")
    assert message["List-Unsubscribe"] == "<https://acme.example/u?t=1>"
    assert message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"


@pytest.mark.parametrize(
    "more",
    [
        {"headers": {"Bcc": "e@x.example"}},
        {"headers": {"X-A: b\r\nBcc": "e@x.example"}},
        {"headers": {"X-A": "b\r\nBcc: e@x.example"}},
        {"tags": ["a\nb"]},
        {"cc": ["e@x.example\r\nRCPT TO:<f@x.example>"]},
        {"reply_to": "a\rb@x.example"},
        {"unsubscribe_url": "http://acme.example/u"},
        {"unsubscribe_url": "https://acme.example/u>, <https://x.example"},
        {"attachments": [Attachment(content=b"", filename="a\r\nb")]},
        {"attachments": [Attachment(content=b"", filename="a", content_type="text")]},
        {"attachments": [Attachment(content=b"", filename="a", cid="a>b")]},
    ],
)
def test_nothing_that_a_job_says_breaks_out_of_its_header(more: dict[str, Any]) -> None:
    with pytest.raises(HeaderRefused):
        letter(**more)


def test_files_are_enclosed_and_images_shown_in_place_the_same_each_time() -> None:
    files = [
        Attachment(content=b"%PDF", filename="Rechnung März.pdf", content_type="application/pdf"),
        Attachment(content=b"PNG", filename="logo.png", content_type="image/png", cid="logo"),
    ]
    message = read(letter(attachments=files).content)
    assert letter(attachments=files).content == letter(attachments=files).content
    (enclosed,) = message.iter_attachments()
    assert (enclosed.get_filename(), enclosed.get_content()) == ("Rechnung März.pdf", b"%PDF")
    (logo,) = (inner for inner in message.walk() if inner.get_content_type() == "image/png")
    assert (logo["Content-ID"], logo.get_content()) == ("<logo>", b"PNG")
    assert "Hello Ada," in part(message, "html")


@pytest.fixture(scope="module")
def with_own_template(tmp_path_factory: pytest.TempPathFactory) -> Templates:
    folder = tmp_path_factory.mktemp("templates")
    (folder / "own.html.j2").write_text("{% block subject %}[{{ data.v }}]{% endblock %}<pre>[{{ data.v }}]</pre>")
    (folder / "own.txt.j2").write_text("[{{ data.v }}]")
    return Templates(folder)


@pytest.mark.parametrize("value", DATA)
def test_data_are_shown_as_they_are_and_make_nothing_else_of_the_letter(
    value: str, with_own_template: Templates
) -> None:
    message = Message(to="ada@example.com", template="own", data={"v": value})
    try:
        content = compose(message, with_own_template, sender=SENDER, job_id="1", date=DATE).content
    except HeaderRefused:
        assert "\u202e" not in value and any(unicodedata.category(c) == "Cc" and c not in "\r\n" for c in value)
        return
    seen = read(content)
    assert seen.keys() == read(letter().content).keys()
    assert seen["Subject"] == re.sub(r"[ \t]*[\r\n]+[ \t]*", " ", f"[{value}]")
    as_lines = re.sub(r"\r\n|\r", "\n", f"[{value}]\n")
    assert part(seen, "plain") == as_lines
    assert html.unescape(part(seen, "html")) == html.unescape(f"<pre>{html.escape(as_lines.rstrip(chr(10)))}</pre>\n")
    assert [inner.get_content_type() for inner in seen.walk()] == ["multipart/alternative", "text/plain", "text/html"]
    assert content.count(b"\r\n") == content.count(b"\n") == content.count(b"\r")


def test_blanks_around_an_address_are_dropped_and_not_each_a_place_to_look_from() -> None:
    def cpu_s(blanks: int) -> float:
        began_s = time.thread_time()
        for _ in range(100):
            with pytest.raises(ValidationError):
                MAIL_ADDRESS.validate_python(" " * blanks + "x")
        return time.thread_time() - began_s

    assert MAIL_ADDRESS.validate_python("  ada@example.com\t") == "ada@example.com"
    with pytest.raises(ValidationError, match="line feed"):
        MAIL_ADDRESS.validate_python("ada@example.com\n")
    assert cpu_s(2_000) < 6 * max(cpu_s(500), 0.02)
