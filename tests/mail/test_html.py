"""The HTML of letters: styles inside the elements, and nothing of what mail readers drop or show wrongly."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from errand.mail.writing.inline_styles import with_inline_styles
from errand.mail.writing.templates import Templates
from tests.mail.test_templates import render

ELEMENTS = {"html", "head", "meta", "title", "style", "body"} | {
    *("div", "table", "tbody", "tr", "td", "a", "p", "h1", "img", "br")
}
"""What all mail readers show. Not among them: script, form, input, iframe, video, svg, link, base, object."""

VOID = frozenset({"meta", "img", "br", "hr"})

PROPERTIES = re.compile(
    r"(margin|padding|border|background-color|color|font-family|font-size|font-weight|line-height|text-decoration|"
    r"text-align|vertical-align|width|height|max-width|border-radius|display|max-height|overflow|-webkit-text-size-adjust)"
    r"(-\w+)*"
)
"""Not among them: position, float, flex, grid, background (Outlook drops the whole of it), var(), url()."""

GMAIL_CUTS_AT_BYTES = 102 * 1024


class Linter(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.faults: list[str] = []
        self.open: list[str] = []
        self.css = ""
        self.classes: set[str] = set()
        self.feed(html)
        self.close()
        if self.open:
            self.faults.append(f"not closed: {self.open}")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.classes |= set(given.get("class", "").split())
        self._expect(tag in ELEMENTS, f"<{tag}>")
        self._expect(not any(name.startswith("on") for name in given), f"<{tag}> with a script")
        self._expect(tag != "img" or {"alt", "height", "src"} <= given.keys(), "an image needs alt, height and src")
        self._expect(tag != "table" or given.get("role") == "presentation", "a table of the layout is no table of data")
        self._expect(tag != "html" or bool(given.get("lang")), "<html> without lang")
        for name, value in (each.split(":", 1) for each in given.get("style", "").split(";") if each.strip()):
            self._expect(bool(PROPERTIES.fullmatch(name.strip())), f"<{tag}> with {name}")
            self._expect("url(" not in value and "var(" not in value, f"<{tag}> with {value}")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        self._expect(bool(self.open) and self.open.pop() == tag, f"</{tag}> closes another")

    def handle_data(self, data: str) -> None:
        if self.open[-1:] == ["style"]:
            self.css += data

    def _expect(self, holds: bool, fault: str) -> None:
        if not holds:
            self.faults.append(fault)


DATA = {"button_url": "https://acme.example/start?a=1&b=2", "logo_url": "https://acme.example/logo.png"}


@pytest.mark.parametrize("locale", ["en", "de"])
@pytest.mark.parametrize("data", [{}, DATA])
def test_the_shipped_letter_has_nothing_that_mail_readers_drop(locale: str, data: dict[str, str]) -> None:
    html = render(None, "welcome", locale, **data).html or ""
    linted = Linter(html)
    assert linted.faults == [] and len(html.encode()) < GMAIL_CUTS_AT_BYTES / 10
    assert "@import" not in linted.css and "@font-face" not in linted.css
    # what some readers drop with <style> is only what cannot stand elsewhere
    left = re.sub(r"@media [^{]+\{(\s*[^{}]+\{[^{}]*\})*\s*\}", "", linted.css)
    assert not linted.classes & set(re.findall(r"\.([a-z]+)", re.sub(r"\{[^{}]*\}", "", left))), left


def test_the_linter_sees_what_is_wrong() -> None:
    bad = "<p style='position:fixed'><script></script><img src=x><table></table><div>"
    assert len(Linter(bad).faults) == 5


def test_a_templates_rules_go_into_the_elements_and_media_rules_stay(tmp_path: Path) -> None:
    (tmp_path / "note.html.j2").write_text(
        "{% block subject %}x{% endblock %}<style>p { color: #111; margin: 0 } a:hover { color: red }"
        " @media (max-width: 600px) { p { margin: 8px !important } }</style><p style='color: #222'>{{ name }}</p>"
    )
    html = render(tmp_path, "note").html or ""
    assert re.search(r'<p style="margin: 0;\s*color: #222">Ada &lt;b&gt;</p>', html), html
    assert "a:hover" in html and "@media (max-width: 600px)" in html and "color: #111" not in html


def test_styles_from_elsewhere_are_not_fetched(tmp_path: Path) -> None:
    (tmp_path / "own.css").write_text("p { color: red }")
    for href in ("http://127.0.0.1:1/own.css", (tmp_path / "own.css").as_uri(), str(tmp_path / "own.css")):
        html = with_inline_styles(f"<style>b {{ x: y }}</style><link rel='stylesheet' href='{href}'><p>x</p>")
        assert "red" not in html and "<link" not in html


def test_html_without_rules_is_left_as_it_is() -> None:
    assert with_inline_styles("<p>x") == "<p>x"


def test_a_message_of_ones_own_adds_its_styles_to_the_layout(tmp_path: Path) -> None:
    (tmp_path / "sum.html.j2").write_text(
        '{% extends "layout.html.j2" %}{% block subject %}x{% endblock %}'
        "{% block styles %}.sum { font-weight: 700; }{% endblock %}"
        "{% block content %}<b class='sum'>7</b>{% endblock %}"
    )
    Templates(tmp_path).check()
    assert '<b class="sum" style="font-weight: 700;">7</b>' in (render(tmp_path, "sum").html or "")
