"""What a reader of a page has before them: its text, its links, its forms."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

import httpx

OWN_PAGE = {"sec-fetch-site": "same-origin"}
"""What a browser says of a form of the dashboard."""

VOID = {"meta", "link", "input", "br", "hr", "img"}


@dataclass
class SeenForm:
    """A form with its fields as they stand."""

    method: str
    action: str
    fields: dict[str, str] = field(default_factory=dict)
    button: str = ""


class SeenPage(HTMLParser):
    """A page, read as a browser reads it, without its scripts."""

    def __init__(self, answer: httpx.Response) -> None:
        super().__init__()
        assert answer.headers["content-type"] == "text/html; charset=utf-8", answer.text
        self.answer = answer
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.links: dict[str, str] = {}
        self.forms: list[SeenForm] = []
        self.title = self.text = ""
        self._open: list[str] = []
        self._link: str | None = None
        self.feed(answer.text)
        assert self._open == [], "every element is closed"

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        attributes = {name: value or "" for name, value in attrs}
        self.tags.append((tag, attributes))
        if tag not in VOID:
            self._open.append(tag)
        if tag == "a":
            self._link = attributes["href"]
        elif tag == "form":
            self.forms.append(SeenForm(attributes["method"], attributes["action"]))
        elif tag == "input" and self.forms and "name" in attributes:
            self.forms[-1].fields[attributes["name"]] = attributes.get("value", "")

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag
        if tag == "a":
            self._link = None

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._link is not None and data.strip():
            self.links[data.strip()] = self._link
        if self._open and self._open[-1] == "title" and "svg" not in self._open:
            self.title += data
        if self._open and self._open[-1] == "button" and "form" in self._open:
            self.forms[-1].button = data.strip()

    def form(self, button: str) -> SeenForm:
        """The form with that button."""
        (found,) = [form for form in self.forms if form.button == button]
        return found

    @property
    def buttons(self) -> set[str]:
        return {form.button for form in self.forms}


def foreign_tags(page: SeenPage) -> list[str]:
    """The tags that no template of the dashboard has: somebody else's text has become a part of the page."""
    own = [attributes.get("src", "").endswith("/live.js") for tag, attributes in page.tags if tag == "script"]
    return [tag for tag, _ in page.tags if tag in ("img", "b", "iframe")] + ["script"] * (own != [True])


async def seen(client: httpx.AsyncClient, path: str, *, status: int = 200, **options: Any) -> SeenPage:
    """The page at that path."""
    answer = await client.get(path, **options)
    assert answer.status_code == status, answer.text
    return SeenPage(answer)


async def pressed(client: httpx.AsyncClient, page: SeenPage, button: str, **fields: str) -> httpx.Response:
    """The answer to the form with that button, as a browser sends it, with these fields filled in."""
    form = page.form(button)
    return await client.post(form.action, data={**form.fields, **fields}, headers=OWN_PAGE)
