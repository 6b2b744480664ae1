"""A letter's text, made from its HTML where its author wrote none."""

from __future__ import annotations

import re
from html.parser import HTMLParser

UNSEEN = frozenset({"style", "script", "head", "title", "template"})


PARAGRAPHS = frozenset({"p", "h1", "h2", "h3", "h4", "h5", "h6", "table", "ul", "ol", "blockquote", "hr"})


LINES = frozenset({"br", "div", "tr", "li", "header", "footer", "section"})


def plain_text(html: str) -> str:
    """What a reader would see, as lines: links with their URL behind them, images as their `alt`, items with a dash."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    lines = (" ".join(line.split()) for line in "".join(reader.parts).split("\n"))
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._unseen = 0
        self._links: list[tuple[str, int]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag in UNSEEN:
            self._unseen += 1
        elif tag == "a":
            self._links.append((given.get("href", ""), len(self.parts)))
        elif tag == "img":
            self.handle_data(given.get("alt", ""))
        self._break(tag)
        if tag == "li":
            self.parts.append("- ")

    def handle_endtag(self, tag: str) -> None:
        if tag in UNSEEN:
            self._unseen = max(self._unseen - 1, 0)
        elif tag == "a" and self._links:
            self._end_link(*self._links.pop())
        elif tag != "li":
            self._break(tag)

    def handle_data(self, data: str) -> None:
        if not self._unseen:
            # a line break in HTML is a space
            self.parts.append(re.sub(r"\s+", " ", data))

    def _break(self, tag: str) -> None:
        if tag in PARAGRAPHS:
            self.parts.append("\n\n")
        elif tag in LINES:
            self.parts.append("\n")

    def _end_link(self, url: str, start: int) -> None:
        shown = "".join(self.parts[start:]).strip()
        if url and url not in (shown, f"mailto:{shown}") and not url.startswith("#"):
            self.parts.append(f" ({url})")
