"""Who may see the dashboard, who may act there, and what other sites cannot do."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from arq.connections import ArqRedis

from errand.dashboard import session
from errand.settings import ApiKey
from settings import Settings
from tests.conftest import OpenClient, make_settings
from tests.dashboard.page_seen import OWN_PAGE, seen
from tests.dashboard.signed_in import OWNER, READER, sign_in
from tests.http.answers_seen import LETTER


async def test_a_key_opens_a_session_that_its_cookie_alone_names(guarded_client: httpx.AsyncClient) -> None:
    asked = await seen(guarded_client, "/dashboard/jobs?type=webhook", status=401)
    assert asked.form("Sign in").fields["back"] == "/dashboard/jobs?type=webhook"
    wrong = await sign_in(guarded_client, "wrong-key-0123456")
    assert wrong.status_code == 401 and "set-cookie" not in wrong.headers
    entered = await sign_in(guarded_client, OWNER)
    assert (entered.status_code, entered.headers["location"]) == (303, "/dashboard/jobs")
    cookie = entered.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=strict" in cookie and "Secure" in cookie
    assert "Path=/dashboard;" in cookie and "Max-Age=43200" in cookie and OWNER not in cookie
    page = await seen(guarded_client, "/dashboard")
    assert "olga" in page.text and "Sign out" in page.buttons
    # the API itself takes no cookie: a page of another site could make a browser send one
    assert (await guarded_client.get("/v1/jobs")).status_code == 401


async def test_a_session_ends_by_signing_out_by_time_and_with_its_key(
    guarded_client: httpx.AsyncClient, redis: ArqRedis, guarded: Settings
) -> None:
    await sign_in(guarded_client, OWNER)
    copied = guarded_client.cookies[session.COOKIE]
    assert (await guarded_client.post("/dashboard/sign-out", headers=OWN_PAGE)).status_code == 303
    assert session.COOKIE not in guarded_client.cookies
    assert await session.read(redis, copied, guarded.api_keys) is None
    (reader, owner) = guarded.api_keys
    fresh = await session.opened(redis, owner, for_s=60)
    opened = await session.read(redis, fresh, guarded.api_keys)
    assert opened is not None and opened.key == owner
    assert await session.read(redis, fresh, [reader]) is None
    assert await session.read(redis, await session.opened(redis, owner, for_s=-1), guarded.api_keys) is None
    version, start, ends, *rest = fresh.split(".")
    later = ".".join((version, start, str(int(ends) + 1), *rest))
    for forged in (later, fresh[:-1] + "é", "1.2.3", "", "1." + "9" * 5_000 + ".x.y.z", f"1.{start}.².y.z"):
        assert await session.read(redis, forged, guarded.api_keys) is None


async def test_a_session_does_not_outlive_a_key_that_expires(redis: ArqRedis) -> None:
    key = ApiKey.parse(f"{OWNER};expires=2100-01-01")
    opened = await session.read(redis, await session.opened(redis, key, for_s=10**10), [key])
    assert opened is not None and key.expires_at is not None
    assert time.time() < opened.ends_at_s == key.expires_at.timestamp()


async def test_scopes_decide_which_buttons_there_are_and_what_the_server_does(
    guarded_client: httpx.AsyncClient,
) -> None:
    put = await guarded_client.post(
        "/v1/jobs/welcome_email?delay=1h", json=LETTER, headers={"Authorization": f"Bearer {OWNER}"}
    )
    path = f"/dashboard/jobs/{put.json()['id']}"
    await sign_in(guarded_client, READER)
    assert "Cancel" not in (await seen(guarded_client, path)).buttons
    refused = await guarded_client.post(f"{path}/cancel", headers=OWN_PAGE)
    assert refused.status_code == 403 and "lacks the scope" in refused.text
    await sign_in(guarded_client, OWNER)
    assert "Cancel" in (await seen(guarded_client, path)).buttons
    assert (await guarded_client.post(f"{path}/cancel", headers=OWN_PAGE)).status_code == 303


FOREIGN: list[dict[str, str]] = [
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
    {"sec-fetch-site": "none"},
    {"origin": "https://evil.example"},
    {"origin": "null"},
    {},
]


@pytest.mark.parametrize("headers", FOREIGN, ids=json.dumps)
async def test_a_page_of_another_site_changes_nothing(guarded_client: httpx.AsyncClient, headers: Any) -> None:
    await sign_in(guarded_client, OWNER)
    for path in ("jobs/x/cancel", "sign-out", "sign-in", "theme"):
        refused = await guarded_client.post(f"/dashboard/{path}", headers=headers)
        assert refused.status_code == 403 and "nothing was done" in refused.text


async def test_without_fetch_metadata_the_origin_says_where_a_form_stands(guarded_client: httpx.AsyncClient) -> None:
    await sign_in(guarded_client, OWNER)
    own = {"origin": "https://errand.example"}
    assert (await guarded_client.post("/dashboard/theme", data={"theme": "dark"}, headers=own)).status_code == 303
    page = await seen(guarded_client, "/dashboard")
    assert page.tags[0][1]["data-theme"] == "dark"
    # or a browser would hide it
    assert page.answer.headers.get_list("referrer-policy") == ["same-origin"]


@pytest.mark.parametrize(
    "back", ["https://evil.example", "//evil.example", "/dashboard/\\evil", "/v1/jobs", "/dashboardx"]
)
async def test_a_form_leads_to_no_other_site(guarded_client: httpx.AsyncClient, back: str) -> None:
    assert (await sign_in(guarded_client, OWNER, back=back)).headers["location"] == "/dashboard"


async def test_it_can_be_read_only_or_off(open_client: OpenClient, tmp_path: Path, redis_url: str) -> None:
    async with open_client(make_settings(tmp_path, redis_url=redis_url, dashboard="read-only")) as client:
        job = (await client.post("/v1/jobs/welcome_email?delay=1h", json=LETTER)).json()
        page = await seen(client, f"/dashboard/jobs/{job['id']}")
        assert "read-only" in page.text and page.buttons == {"Set"}
        refused = await client.post(f"/dashboard/jobs/{job['id']}/cancel", headers=OWN_PAGE)
        assert refused.status_code == 403 and "read-only" in refused.text
    async with open_client(make_settings(tmp_path, redis_url=redis_url, dashboard="off")) as client:
        assert (await client.get("/dashboard")).status_code == 404


async def test_without_keys_it_is_for_this_machine_alone(open_client: OpenClient) -> None:
    async with open_client(client=("203.0.113.7", 50_000)) as client:
        assert (await client.get("/dashboard")).status_code == 403
    async with open_client() as client:
        rebound = await client.get("/dashboard", headers={"host": "evil.example"})
        assert rebound.status_code == 403


async def test_the_audit_says_who_did_what_and_is_for_admins(guarded_client: httpx.AsyncClient) -> None:
    await sign_in(guarded_client, READER)
    assert "Audit" not in (await seen(guarded_client, "/dashboard")).links
    assert (await guarded_client.get("/dashboard/audit")).status_code == 403
    await sign_in(guarded_client, OWNER)
    await guarded_client.post("/dashboard/queues/cpu/pause", headers=OWN_PAGE)
    page = await seen(guarded_client, "/dashboard/audit?kind=changed&by=olga")
    assert "pause queue" in page.text and "/dashboard/queues/cpu/pause" in page.text and "sign in" in page.text
    chosen = {"action": "cancel", "id": "x"}
    run = (await guarded_client.post("/dashboard/bulk/run", data=chosen, headers=OWN_PAGE)).headers["location"]
    assert run in (await seen(guarded_client, "/dashboard/audit?kind=changed")).links.values()
    refused = await seen(guarded_client, "/dashboard/audit?kind=refused")
    assert "refused: scope" in refused.text
    assert (await guarded_client.get("/dashboard/audit?kind=x")).status_code == 422
