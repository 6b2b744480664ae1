"""`GET /v1/job-types`: what a client needs to know to enqueue."""

from __future__ import annotations

import httpx

from jobs.welcome_email import welcome_email
from tests.http.answers_seen import LETTER


async def test_every_type_is_listed_with_its_args_and_how_it_is_tried(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/job-types")
    assert answer.status_code == 200
    types = {one["name"]: one for one in answer.json()}
    assert list(types) == ["resize", "webhook", "welcome_email"]
    assert {name: one["takes_file"] for name, one in types.items()} == {
        "resize": True,
        "webhook": False,
        "welcome_email": False,
    }
    letter = types["welcome_email"]
    assert letter["args_schema"]["required"] == ["to", "name"]
    assert "message_id" in letter["result_schema"]["properties"]
    assert (letter["max_tries"], letter["timeout_s"]) == (welcome_email.max_tries, welcome_email.timeout_s)
    assert letter["retry"] == welcome_email.retry.describe() and letter["queue"] == "mail"
    assert letter["summary"].startswith("Sends a welcome message")
    assert types["webhook"]["retry"]["delays_s"][:2] == [5, 300]
    assert (await client.post(letter["links"]["enqueue"], json=LETTER)).status_code == 202
