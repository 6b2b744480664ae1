"""Templates of one's own: found, overridden file by file, translated, and refused if they cannot work."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, cast

import pytest

from errand import Context, Fail, Retry
from errand.mail.relays import Transport
from errand.mail.sending import Mailer
from errand.mail.writing.message import Message
from errand.mail.writing.plain_text import plain_text
from errand.mail.writing.templates import RenderedMail, TemplateFault, Templates
from tests.mail.letters import DATE, SENDER

KNOWN = {"name": "Ada <b>", "to": "ada@example.com", "sender_name": "Acme", "locale": "en", "data": {"total": "12 €"}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    files = {
        "invoice.html.j2": "{% extends 'layout.html.j2' %}{% block subject %}\nInvoice for\n {{ name }}{% endblock %}"
        "{% block content %}<p>{{ name }} owes <b>{{ data.total }}</b>.</p>{% endblock %}",
        "invoice.de.html.j2": "{% block subject %}Rechnung{% endblock %}<p>{{ data.total }}</p>",
        "note.txt.j2": "{% block subject %}Note{% endblock %}{{ name }}: {{ data.total }}",
        "welcome.txt.j2": "Hi {{ name }}.",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def render(folder: Path | None, name: str, locale: str | None = None, **data: Any) -> RenderedMail:
    return Templates(folder).render(name, locale, {**KNOWN, "data": {**KNOWN["data"], **data}})  # type: ignore[dict-item]


def test_a_message_of_ones_own_shares_the_layout_and_its_text_is_made_from_its_html(folder: Path) -> None:
    Templates(folder).check()
    invoice = render(folder, "invoice")
    assert invoice.subject == "Invoice for Ada <b>"
    assert "<title>Invoice for Ada &lt;b&gt;</title>" in (invoice.html or "")
    assert ">Ada &lt;b&gt; owes <b>12 €</b>.</p>" in (invoice.html or "")
    assert "Ada <b> owes 12 €." in invoice.text.split("\n") and "color-scheme" not in invoice.text


def test_one_file_overrides_one_shipped_file(folder: Path) -> None:
    welcome = render(folder, "welcome")
    assert (welcome.text, welcome.subject) == ("Hi Ada <b>.\n", "Welcome, Ada <b>!")
    assert "Hello Ada &lt;b&gt;,</h1>" in (welcome.html or "")


@pytest.mark.parametrize(
    ("locale", "subject"), [("de-AT", "Rechnung"), ("de", "Rechnung"), ("fr", "Invoice for Ada <b>")]
)
def test_the_nearest_locale_is_taken(folder: Path, locale: str, subject: str) -> None:
    assert render(folder, "invoice", locale).subject == subject


def test_a_subject_is_one_line_and_read_in_a_moment(folder: Path) -> None:
    (folder / "note.txt.j2").write_text("{% block subject %} Hi\n  {{ data.of }} \r\n now {% endblock %}")
    began_s = time.process_time()
    assert render(folder, "note", of=f"a{' ' * 30_000}b").subject == f"Hi a{' ' * 30_000}b now"
    assert time.process_time() - began_s < 1


def test_a_message_may_be_text_alone(folder: Path) -> None:
    assert render(folder, "note") == RenderedMail("Note", "Ada <b>: 12 €\n", None)


def test_the_shipped_letter_has_a_button_if_there_is_somewhere_to_go() -> None:
    assert "href" not in (render(None, "welcome").html or "")
    for locale, text in (("en", "Get started"), ("de", "Los geht\u2019s")):
        welcome = render(None, "welcome", locale, button_url="https://acme.example/start?a=1&b=2")
        assert 'href="https://acme.example/start?a=1&amp;b=2"' in (welcome.html or "")
        assert f"{text}: https://acme.example/start?a=1&b=2" in welcome.text


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("{{ data.absent }}", "has no attribute 'absent'"),
        ("{{ nmae }}", "'nmae' is undefined"),
        ("{{ data.total | web_url }}", "must begin with http"),
        ("{{ 1 / 0 }}", "ZeroDivisionError"),
        ("{% include 'absent.html.j2' %}", "absent.html.j2"),
    ],
)
def test_data_that_a_template_lacks_are_named(tmp_path: Path, source: str, fault: str) -> None:
    (tmp_path / "faulty.html.j2").write_text("{% block subject %}x{% endblock %}" + source)
    with pytest.raises(TemplateFault, match=fault):
        render(tmp_path, "faulty")


@pytest.mark.parametrize(
    ("source", "error"),
    [
        (None, Retry),
        ("{% block subject %}x{% endblock %}{% if %}", Retry),
        ("{% extends 'absent.html.j2' %}{% block subject %}x{% endblock %}", Retry),
        (b"\xff", Retry),
        ("{% block subject %}x{% endblock %}{{ data.absent }}", Fail),
    ],
    ids=["missing", "half written", "without its layout", "no text", "other data"],
)
async def test_letters_wait_for_their_template_and_fail_by_their_data(
    tmp_path: Path, source: str | bytes | None, error: type[Exception]
) -> None:
    """It is missing or half written while a deployment goes on."""
    if source is not None:
        (tmp_path / "news.html.j2").write_bytes(source if isinstance(source, bytes) else source.encode())
    ctx = Context(job_id="j", attempt=1, max_tries=1, enqueued_at=DATE)
    transport = cast(Transport, None)  # it gets nothing
    mailer = Mailer(transport=transport, templates=Templates(tmp_path), sender=SENDER, when_unsure="resend")
    with pytest.raises(error):
        await mailer.send(ctx, Message(to="ada@example.com", template="news"))


@pytest.mark.parametrize("name", ["absent", "../welcome", "layout.html", ""])
def test_a_name_that_is_no_templates_is_refused(name: str) -> None:
    with pytest.raises(TemplateFault):
        render(None, name)


@pytest.mark.parametrize(
    ("file", "source", "fault"),
    [
        ("x.html.j2", "{% block subject %}x{% endblock %}\n{% if %}", "x.html.j2, line 2"),
        ("x.html.j2", "<p>no subject</p>", "no block 'subject'"),
        ("X y.html.j2", "{% block subject %}x{% endblock %}", "is not named"),
        ("x.html.j2", "{{ a | nofilter }}", "x.html.j2, line 1: No filter named 'nofilter'"),
        ("x.txt.j2", b"\xff", "is not UTF-8"),
    ],
)
def test_a_template_that_cannot_work_stops_the_start(
    tmp_path: Path, file: str, source: str | bytes, fault: str
) -> None:
    (tmp_path / file).write_bytes(source if isinstance(source, bytes) else source.encode())
    with pytest.raises(ValueError, match=f"TEMPLATE_DIR: .*{fault}"):
        Templates(tmp_path).check()


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "//x.example", "https://a b", "data:text/html,x", 'https://x"onclick="y']
)
def test_a_link_leads_to_the_web_or_nowhere(url: str) -> None:
    with pytest.raises(TemplateFault, match="http"):
        render(None, "welcome", button_url=url)


def test_text_is_made_from_html_as_a_reader_sees_it() -> None:
    html = """<html><head><title>T</title><style>p { x: y }</style></head><body><h1>Hello&nbsp;Ada</h1>
    <p>read <a href="https://a.example/x">this</a>, or <a href="https://b.example">https://b.example</a><br>now</p>
    <ul><li>one</li><li>two</li></ul><script>alert(1)</script><img src="x" alt="Logo"></body></html>"""
    assert plain_text(html) == (
        "Hello Ada\n\nread this (https://a.example/x), or https://b.example\nnow\n\n- one\n- two\n\nLogo"
    )
