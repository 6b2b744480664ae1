"""Code that verifies deliveries, in the languages of those who receive them. Tests run it."""

from __future__ import annotations

from errand.webhooks.pages.render import code

LANGUAGES = {"py": "Python", "ts": "TypeScript", "go": "Go"}
"""By the end of a file's name."""


def snippet(language: str, *, event: str) -> str:
    """A whole file that verifies deliveries, and takes the events of that name. An event's name needs no escapes."""
    return code(f"templates/verify.{language}.j2", name=event)
