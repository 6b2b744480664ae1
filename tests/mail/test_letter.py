"""The letter: its headers, its parts, and names that try to be more than a name."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from errand.mail.header_text import HeaderText
from errand.mail.letter import HEADERS, HeaderRefused
from tests.mail.letters import DATE, INJECTIONS, NAMES, SENDER, letter, part, read

HEADER_TEXT: TypeAdapter[str] = TypeAdapter(HeaderText)


def test_a_letter_has_a_text_and_an_html_part_and_only_its_own_headers() -> None:
    message = read(letter().content)
    assert message.keys() == HEADERS
    assert (message["From"], message["To"], message["Subject"]) == (SENDER, "Ada <ada@example.com>", "Welcome, Ada!")
    assert [inner.get_content_type() for inner in message.iter_parts()] == ["text/plain", "text/html"]
    assert part(message, "plain").startswith("Hello Ada,\n\nwelcome to Acme.")
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
    assert "To: Jörg <jörg@xn--bcher-kva.example>\r\n".encode() in composed.content


@pytest.mark.parametrize("name", NAMES)
def test_any_name_arrives_as_it_was_given(name: str) -> None:
    composed = letter(name=HEADER_TEXT.validate_python(name))
    message = read(composed.content)
    (to,) = message["To"].addresses
    assert (to.display_name, to.addr_spec, message["Subject"]) == (name, "ada@example.com", f"Welcome, {name}!")
    assert f"Hello {name}," in part(message, "plain")
    assert composed.content.isascii()  # not every server takes 8 bits
    assert max(map(len, composed.content.split(b"\r\n"))) <= 998  # RFC 5322 §2.1.1


@pytest.mark.parametrize("name", INJECTIONS)
def test_a_name_that_could_end_a_header_is_refused_by_the_args_and_by_the_letter(name: str) -> None:
    with pytest.raises(ValidationError, match="plain text"):
        HEADER_TEXT.validate_python(name)
    with pytest.raises(HeaderRefused):
        letter(name=name)


def test_an_injection_by_the_sender_is_refused() -> None:
    with pytest.raises(HeaderRefused):
        letter(sender="=?utf-8?q?x=0d=0aBcc=3a_e=40x?= <hello@acme.example>")


def test_a_name_does_not_become_an_address() -> None:
    """Python 3.11 drops the quotes when it folds this one."""
    name = f" \\ {'a' * 30}%:{'a' * 60};"
    try:
        message = read(letter(name=name).content)
    except HeaderRefused:
        return
    assert [address.addr_spec for address in message["To"].addresses] == ["ada@example.com"]
