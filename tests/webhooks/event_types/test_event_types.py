"""Event types, from the declaration to what the API says of them and does with events."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import AsyncIterator
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import httpx
import pytest
from arq.connections import ArqRedis
from pydantic import BaseModel

from errand.webhooks import webhook_event
from errand.webhooks.event_types import EventType, EventTypes, declared_in
from settings import Settings
from tests.conftest import OpenClient, make_settings
from tests.webhooks.event_types import shop

SHOP = "tests.webhooks.event_types.shop"
GOOD = declared_in((SHOP,))["invoice.paid"].example


@pytest.fixture
def settings(tmp_path: Path, redis_url: str) -> Settings:
    return make_settings(tmp_path, redis_url=redis_url, job_packages=f"jobs,{SHOP}")


@pytest.fixture
async def client(open_client: OpenClient, redis: ArqRedis) -> AsyncIterator[httpx.AsyncClient]:
    async with open_client() as client:
        yield client


def test_a_declared_model_stays_what_it_is() -> None:
    assert shop.UserCreated(name="Ada").model_dump() == {"name": "Ada"}
    assert list(declared_in((SHOP,))) == ["invoice.paid", "user/created:v2"]


@pytest.mark.parametrize(
    ("name", "example", "message"),
    [("no spaces", {"name": "x"}, "no name of an event"), ("a.b", {"nam": "x"}, "example of a.b does not fit .*name")],
)
def test_a_faulty_declaration_is_refused(name: str, example: dict[str, Any], message: str) -> None:
    class Made(BaseModel):
        name: str

    with pytest.raises(ValueError, match=message):
        webhook_event(name, example=example)(Made)


def test_two_models_cannot_declare_one_event() -> None:
    twice = [EventType(name="a", model=shop.Line, example={}, description="") for _ in range(2)]
    with pytest.raises(ValueError, match="two models declare the event a"):
        EventTypes(twice)


async def test_the_api_lists_them(client: httpx.AsyncClient) -> None:
    paid, created = (await client.get("/v1/webhook-event-types")).json()
    assert (paid["name"], paid["example"]["id"]) == ("invoice.paid", 7)
    assert paid["data_schema"]["required"] == ["id", "paid_at", "lines"]
    assert paid["description"] == "An invoice was paid in full.\n\nIt comes once for each invoice."
    for each in (paid, created):
        assert (await client.get(each["links"]["page"])).status_code == 200


FAULTY = [
    ({**GOOD, "id": "7"}, "body.data.id"),
    ({**GOOD, "lines": [{"text": "Tea", "cents": -1}]}, "body.data.lines.0.cents"),
    ({}, "body.data.id"),
    (None, "body.data"),
    ({**GOOD, "lines": [{}] * 1_000}, "body.data"),
]


@pytest.mark.parametrize(("data", "field"), FAULTY)
async def test_an_event_that_carries_something_else_is_refused(
    client: httpx.AsyncClient, redis: ArqRedis, data: Any, field: str
) -> None:
    event = {"event": "invoice.paid", "data": data}
    fanned_out = await client.post("/v1/webhook-events", json=event)
    alone = await client.post("/v1/jobs/webhook", json={"url": "https://a.example/", **event})
    batch = await client.post("/v1/jobs/webhook/batch", json=[{"url": "https://a.example/", **event}])
    assert [each.status_code for each in (fanned_out, alone, batch)] == [422] * 3
    assert fanned_out.json()["errors"][0]["field"] == field
    assert max(len(each.content) for each in (fanned_out, alone, batch)) < 2_000
    assert "is not what invoice.paid carries" in alone.text and "is not what invoice.paid carries" in batch.text
    assert await redis.keys("arq:job:*") == []


async def test_one_that_fits_is_taken_as_it_came_and_others_may_carry_anything(client: httpx.AsyncClient) -> None:
    assert (await client.put("/v1/webhook-endpoints/a", json={"url": "https://a.example/"})).status_code == 201
    data = {**GOOD, "id": 2**70, "more": [1.5]}
    sent = await client.post("/v1/webhook-events", json={"event": "invoice.paid", "data": data})
    (delivery,) = sent.json()["deliveries"]
    assert (await client.get(f"/v1/jobs/{delivery['job_id']}")).json()["args"]["data"] == data
    assert (await client.post("/v1/webhook-events", json={"event": "invoice.void", "data": 1})).status_code == 202


# --- the pages


class Tags(HTMLParser):
    """What a page is made of."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.links: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links += [value or "" for name, value in attrs if name in ("href", "src") and value != "data:,"]
        assert not any(name.startswith("on") or name == "style" for name, _ in attrs)

    def handle_data(self, data: str) -> None:
        self.text += data


async def test_a_page_shows_what_an_event_carries_without_scripts(client: httpx.AsyncClient) -> None:
    answer = await client.get("/docs/webhooks/invoice.paid")
    page = Tags(answer.text)
    assert answer.headers["content-type"].startswith("text/html")
    assert "script" not in page.tags and "b" not in page.tags, "what a description says is text"
    assert not [link for link in page.links if "//" in link]
    for shown in (
        "It comes once",
        "lines[].cents",
        "a price, <b>before</b> tax",
        '"card" or "transfer" or null',
        "from 0",
    ):
        assert shown in page.text
    for snippet in ("def verified(", "export function verified(", "func Verified("):
        assert snippet in page.text
    assert '"type": "invoice.paid"' in page.text and 'event["type"] == "invoice.paid"' in page.text


async def test_pages_link_to_each_other_below_any_prefix(client: httpx.AsyncClient) -> None:
    index = Tags((await client.get("/docs/webhooks")).text)
    assert index.links == ["/docs/webhooks/invoice.paid", "/docs/webhooks/user/created:v2"]
    for link in index.links:
        assert Tags((await client.get(link)).text).links == ["/docs/webhooks"]


async def test_their_policy_lets_their_own_style_through_and_nothing_else(client: httpx.AsyncClient) -> None:
    answer = await client.get("/docs/webhooks")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy
    (style,) = re.findall(r"<style>(.*?)</style>", answer.text, re.DOTALL)
    assert f"style-src 'sha256-{b64encode(sha256(style.encode()).digest()).decode()}'" in policy


async def test_they_ask_for_a_key_as_all_pages_do(open_client: OpenClient, tmp_path: Path) -> None:
    settings = make_settings(tmp_path, api_keys="k" * 20, job_packages=f"jobs,{SHOP}")
    async with open_client(settings) as client:
        assert (await client.get("/docs/webhooks")).status_code == 401
        assert (await client.get("/docs/webhooks/invoice.paid", auth=("any", "k" * 20))).status_code == 200
        assert (await client.get("/docs/webhooks/none", auth=("any", "k" * 20))).status_code == 404
        assert (await client.get("/v1/webhook-event-types")).status_code == 401
