"""The shipped welcome letter, at the widths of a small phone, a tablet and a desk, light and dark."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

from errand.mail.writing.compose import render
from errand.mail.writing.message import Message
from errand.mail.writing.templates import Templates
from tests.screenshots.browser import Browser, Scheme, write_picture

WIDTHS = (320, 600, 1000)
SCHEMES: tuple[Scheme, ...] = ("light", "dark")


async def take(browser: Browser, folder: Path) -> None:
    """`letter-320-light.webp` and so on. Raises AssertionError if a reader would have to scroll sideways."""
    data = {"button_url": "https://acme.example/start"}
    message = Message(to="ada@example.com", name="Ada", template="welcome", data=data)
    html = render(message, Templates(), sender="Acme <hello@acme.example>").html or ""
    for width in WIDTHS:
        for scheme in SCHEMES:
            await browser.show(f"data:text/html;charset=utf-8,{quote(html)}", width=width, height=400, scheme=scheme)
            seen = await browser.value_of("document.documentElement.scrollWidth")
            assert seen <= width, f"the letter is {seen} pixels wide in a window of {width}"
            write_picture(await browser.picture(), folder, f"letter-{width}-{scheme}")
