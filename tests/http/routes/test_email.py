"""`/v1/email-previews` and `/v1/suppressions`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
from arq.connections import ArqRedis

from errand.wire import codec, keys
from settings import Settings
from tests.conftest import OpenClient
from tests.http.answers_seen import faulty_fields, problem_of


async def test_a_letter_is_shown_and_not_sent(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/email-previews", json={"name": "Bo", "locale": "de-AT"})
    seen = answer.json()
    assert (answer.status_code, seen["subject"]) == (200, "Willkommen, Bo!")
    assert seen["text"].startswith("Hallo Bo,") and "Hallo Bo,</h1>" in seen["html"]


async def test_a_template_of_ones_own_is_shown(open_client: OpenClient, settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "note.txt.j2").write_text("{% block subject %}Note{% endblock %}{{ data.total }}")
    async with open_client(settings.model_copy(update={"template_dir": tmp_path})) as client:
        seen = await client.post("/v1/email-previews", json={"template": "note", "data": {"total": 7}})
        assert seen.json() == {"subject": "Note", "text": "7\n", "html": None}
        lacking = await client.post("/v1/email-previews", json={"template": "note"})
        # one that stands in for a shipped template is seen at once
        assert (await client.post("/v1/email-previews", json={})).json()["subject"] == "Welcome, Ada!"
        (tmp_path / "welcome.html.j2").write_text("{% block subject %}Our own{% endblock %}")
        assert (await client.post("/v1/email-previews", json={})).json()["subject"] == "Our own"
    assert faulty_fields(lacking) == ["body.template"] and "total" in lacking.text


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"template": "absent"}, "template"),
        ({"template": "../x"}, "template"),
        ({"to": "x"}, "to"),
        ({"cc": "x"}, "cc"),
    ],
)
async def test_what_makes_no_letter_is_named(client: httpx.AsyncClient, body: dict[str, str], field: str) -> None:
    assert faulty_fields(await client.post("/v1/email-previews", json=body)) == [f"body.{field}"]


async def test_an_address_is_suppressed_listed_and_set_free(client: httpx.AsyncClient) -> None:
    for name in ("Ada", "b/o", "cy"):
        added = await client.post("/v1/suppressions", json={"address": f"{name}@example.com", "detail": "asked"})
        assert (await client.get(added.headers["location"])).json() == added.json()
        assert (added.status_code, added.json()["reason"]) == (201, "manual")
    first = (await client.get("/v1/suppressions", params={"limit": 2})).json()
    rest = (await client.get("/v1/suppressions", params={"limit": 2, "cursor": first["cursor"]})).json()
    listed = [each["address"] for each in [*first["suppressions"], *rest["suppressions"]]]
    assert listed == ["cy@example.com", "b/o@example.com", "ada@example.com"] and rest["cursor"] is None
    assert (await client.delete("/v1/suppressions/ADA@example.com")).status_code == 204
    assert (await client.delete("/v1/suppressions/b/o@example.com")).status_code == 204
    problem_of(await client.delete("/v1/suppressions/ada@example.com"), 404, "not-suppressed")


@pytest.mark.parametrize("cursor", ["x", "1", " a@b", "x a@b"])
async def test_a_cursor_that_no_page_named_is_refused(client: httpx.AsyncClient, cursor: str) -> None:
    assert faulty_fields(await client.get("/v1/suppressions", params={"cursor": cursor})) == ["query.cursor"]


@pytest.mark.parametrize(
    ("added", "asked"),
    [("ada@xn--bcher-kva.example", "Ada@BÜCHER.example"), ("ada@bücher.example", "ada@XN--bcher-kva.example")],
)
async def test_a_domain_is_suppressed_in_each_of_its_spellings(
    client: httpx.AsyncClient, added: str, asked: str
) -> None:
    """Mail servers report the form that travels, jobs are put with the one that people write."""
    await client.post("/v1/suppressions", json={"address": added})
    found = await client.get(f"/v1/suppressions/{asked}")
    assert (found.status_code, found.json()["address"]) == (200, "ada@xn--bcher-kva.example")
    assert (await client.delete(f"/v1/suppressions/{asked}")).status_code == 204


async def test_a_page_goes_on_whatever_number_of_addresses_one_moment_has(
    client: httpx.AsyncClient, redis: ArqRedis
) -> None:
    names = [f"{number:03}@example.com" for number in range(250)]
    await redis.zadd(keys.SUPPRESSED_AT, dict.fromkeys(names, 1_000))
    record = {"reason": "manual", "detail": "", "job_id": None, "at_ms": 1_000}
    kept = {name: codec.dumps(record) for name in names}
    await redis.hset(keys.SUPPRESSIONS, mapping=kept)  # type: ignore[misc]  # types both its clients
    listed: list[str] = []
    query: dict[str, Any] = {"limit": 40}
    while True:
        page = (await client.get("/v1/suppressions", params=query)).json()
        listed += [each["address"] for each in page["suppressions"]]
        if page["cursor"] is None:
            break
        query["cursor"] = page["cursor"]
    assert listed == sorted(names, reverse=True)
