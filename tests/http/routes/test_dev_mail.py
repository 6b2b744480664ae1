"""`/dev/mail`: letters of the sink, readable and harmless, on a developer's machine alone."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from errand.mail.writing.message import Attachment
from settings import Settings
from tests.conftest import OpenClient
from tests.http.answers_seen import problem_of
from tests.mail.letters import letter

NAME = "1795222555518000000-job-1.eml"


@pytest.fixture
def kept(settings: Settings) -> Path:
    """A letter whose sender would like to run something, with a picture in it."""
    picture = Attachment(content=b"PNG", filename="logo.png", content_type="image/png", cid="logo")
    content = letter(name="<script>alert(1)</script>", attachments=[picture]).content
    folder = settings.data_dir / "mail"
    folder.mkdir(parents=True)
    (folder / NAME).write_bytes(content)
    (folder / "notes.txt").write_text("no letter")
    return folder


@pytest.mark.usefixtures("kept")
async def test_letters_are_listed_and_shown_without_rights(client: httpx.AsyncClient) -> None:
    listed = await client.get("/dev/mail")
    assert f'<a href="/dev/mail/{NAME}">Welcome, &lt;script&gt;alert(1)&lt;/script&gt;!</a>' in listed.text
    assert "notes.txt" not in listed.text and "<script" not in listed.text
    shown = await client.get(f"/dev/mail/{NAME}")
    assert f'<iframe sandbox src="/dev/mail/{NAME}/html"' in shown.text and "<script" not in shown.text
    assert "ada@example.com" in shown.text and "Hello &lt;script&gt;" in shown.text
    html = await client.get(f"/dev/mail/{NAME}/html")
    assert html.headers["content-security-policy"].startswith("sandbox; default-src 'none'")


async def test_a_letter_is_there_as_it_came(client: httpx.AsyncClient, kept: Path) -> None:
    raw = await client.get(f"/dev/mail/{NAME}/raw")
    assert raw.content == (kept / NAME).read_bytes() and raw.headers["content-type"] == "message/rfc822"


@pytest.mark.usefixtures("kept")
@pytest.mark.parametrize(
    "name", ["1795222555518000001-x.eml", "notes.txt", "..%2F..%2Fpyproject.toml", "%2Fetc%2Fpasswd"]
)
async def test_nothing_else_is_shown(client: httpx.AsyncClient, name: str) -> None:
    assert (await client.get(f"/dev/mail/{name}")).status_code == 404


async def test_the_list_is_empty_before_the_first_letter(client: httpx.AsyncClient) -> None:
    assert "Nothing was sent yet" in (await client.get("/dev/mail")).text


@pytest.mark.parametrize("values", [{"smtp_url": "smtp://mail.example"}, {"api_keys": "a-key-of-16-letters"}])
async def test_the_page_is_not_there_if_others_can_reach_it_or_letters_leave(
    open_client: OpenClient, settings: Settings, values: dict[str, str]
) -> None:
    more = type(settings)(**{**settings.model_dump(include={"data_dir"}), **values})
    async with open_client(more) as client:
        answer = await client.get("/dev/mail", headers={"Authorization": "Bearer a-key-of-16-letters"})
        problem_of(answer, 404, "not-found")


async def test_a_letter_in_an_unknown_charset_is_shown(client: httpx.AsyncClient, kept: Path) -> None:
    head = b"Subject: =?x-none?q?Hi?=\r\nContent-Type: text/plain; charset=x-none\r\n\r\nHello"
    (kept / NAME).write_bytes(head)
    assert "Hello" in (await client.get(f"/dev/mail/{NAME}")).text
    assert (await client.get("/dev/mail")).status_code == 200
