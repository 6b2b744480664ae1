"""The portal: what a tenant sees and changes by a signed link, and what no link opens."""

from __future__ import annotations

import asyncio
import html
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
import standardwebhooks
import trustme
from arq.connections import ArqRedis
from pydantic import SecretStr

from errand.http.routes.webhooks import portal
from errand.webhooks.portal_link import LinkRefused, PortalLink
from jobs.webhook import webhook
from settings import Settings
from tests.conftest import OpenClient, RunWorker, make_settings
from tests.peers import HttpReceiver
from tests.waiting import eventually
from tests.webhooks.endpoints.test_endpoints import ended
from tests.webhooks.event_types.test_event_types import SHOP, Tags

KEY = "k" * 20
SECRETS = ["s" * 40, "t" * 40]
ADMIN = {"Authorization": f"Bearer {KEY}"}
FRAMES = "https://app.acme.example"


@pytest.fixture
def settings(tmp_path: Path, redis_url: str) -> Settings:
    options = {"api_keys": KEY, "file_url_keys": ",".join(SECRETS), "webhook_portal_frames": FRAMES}
    return make_settings(tmp_path, redis_url=redis_url, job_packages=f"jobs,{SHOP}", **options)


@pytest.fixture
async def client(open_client: OpenClient, redis: ArqRedis) -> AsyncIterator[httpx.AsyncClient]:
    async with open_client() as client:
        yield client


async def link_of(client: httpx.AsyncClient, tenant: str = "acme", **options: Any) -> str:
    body = {"tenant": tenant, **options}
    answer = await client.post("/v1/webhook-portal-links", json=body, headers=ADMIN)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["url"])


async def make(client: httpx.AsyncClient, name: str, **definition: Any) -> None:
    answer = await client.put(f"/v1/webhook-endpoints/{name}", json=definition, headers=ADMIN)
    assert answer.status_code == 201, answer.text


def actions_in(page: str) -> dict[str, str]:
    """Where the forms of a page go, by the text of their button."""
    forms = re.findall(r'<form method="post" action="([^"]+)">.*?<button>(.*?)</button>', page, re.DOTALL)
    return {text: html.unescape(path) for path, text in forms}


def secret_in(page: str) -> str:
    found = re.search(r"whsec_[A-Za-z0-9+/=]+", page)
    assert found
    return found[0]


async def endpoints_of(client: httpx.AsyncClient) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await client.get("/v1/webhook-endpoints", headers=ADMIN)).json()["endpoints"]
    return found


async def test_a_tenant_makes_an_endpoint_tries_it_and_sends_an_event_again(
    client: httpx.AsyncClient, redis: ArqRedis, run_worker: RunWorker, receiver: HttpReceiver
) -> None:
    home = await link_of(client)
    add = actions_in((await client.get(home)).text)["Add the endpoint"]
    made = await client.post(add, data={"url": receiver.url, "events": "invoice.*, endpoint.test"})
    secret = secret_in(made.text)
    (endpoint,) = await endpoints_of(client)
    assert (endpoint["tenant"], endpoint["events"]) == ("acme", ["invoice.*", "endpoint.test"])
    page = next(link for link in Tags(made.text).links if endpoint["id"] in link)
    async with run_worker([webhook]):
        tested = await client.post(actions_in((await client.get(page)).text)["Send a test event"])
        assert tested.status_code == 303 and "on its way" in (await client.get(tested.headers["location"])).text
        await receiver.wait_for(1)

        async def listed() -> str | None:
            text = (await client.get(page)).text
            return text if "endpoint.test" in text and "Send again" in text else None

        text = await eventually(listed)
        (job_id,) = re.findall(r'name="job_id" value="([^"]+)"', text)
        again = await client.post(actions_in(text)["Send again"], data={"job_id": job_id})
        assert again.status_code == 303
        first, second = await receiver.wait_for(2)
    headers = {name.lower(): value for name, value in second.headers.items()}
    assert standardwebhooks.Webhook(secret).verify(second.body, headers)["type"] == "endpoint.test"
    assert first.headers["webhook-id"] == second.headers["webhook-id"] and first.body == second.body


async def test_it_changes_what_is_its_own_and_nothing_else(client: httpx.AsyncClient) -> None:
    kept = {"headers": {"X-A": "1"}, "auth": {"kind": "bearer", "token": "t0ken"}, "timeout_s": 5, "retry_s": [7]}
    await make(client, "one", url="https://a.example/", tenant="acme", **kept)
    page = (await link_of(client)).replace("?", "/endpoints/one?")
    shown = (await client.get(page)).text
    assert "t0ken" not in shown and "whsec_" not in shown
    form = {"url": "https://a.example/x", "events": "a.b", "description": '"><script>', "enabled": "no", "tenant": "b"}
    saved = await client.post(actions_in(shown)["Save"], data={**form, "timeout_s": "20"})
    after = (await client.get(saved.headers["location"])).text
    assert "It is saved" in after and "<script" not in after
    (endpoint,) = await endpoints_of(client)
    shown_auth = {"kind": "bearer", "token": "**********"}
    assert {name: endpoint[name] for name in kept} == {**kept, "auth": shown_auth} and endpoint["tenant"] == "acme"
    assert (endpoint["url"], endpoint["events"], endpoint["state"]) == ("https://a.example/x", ["a.b"], "disabled")
    rotated = await client.post(actions_in(after)["Make another secret"])
    assert secret_in(rotated.text) and (await endpoints_of(client))[0]["previous_secret_until"]
    removed = await client.post(actions_in(after)["Remove the endpoint"])
    assert removed.status_code == 303 and await endpoints_of(client) == []


@pytest.mark.parametrize("url", ["https://b.example/", "https://a.example:8443/", "http://a.example/"])
@pytest.mark.parametrize("credentials", ["auth", "ca", ""])
async def test_credentials_that_no_page_shows_are_sent_to_no_host_of_the_tenants_choice(
    client: httpx.AsyncClient, url: str, credentials: str
) -> None:
    auth, ca = {"kind": "bearer", "token": "t0ken"}, trustme.CA().cert_pem.bytes().decode()
    kept: dict[str, Any] = {"auth": auth, "ca": ca}
    kept = {name: value for name, value in kept.items() if name == credentials}
    await make(client, "one", url="https://a.example/", tenant="acme", **kept)
    page = (await link_of(client)).replace("?", "/endpoints/one?")
    is_refused = credentials == "auth" or (credentials == "ca" and url.startswith("http:"))
    saved = await client.post(page, data={"url": url, "events": "*"})
    assert saved.status_code == (422 if is_refused else 303), saved.text
    (endpoint,) = await endpoints_of(client)
    assert endpoint["url"] == ("https://a.example/" if is_refused else url)


async def test_forms_that_come_at_once_make_no_more_endpoints_than_there_may_be(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """10,000 at once would leave no room for any other tenant's."""
    monkeypatch.setattr(portal, "MAX_OF_TENANT", 3)
    link = await link_of(client)
    form = {"url": "https://a.example/", "events": "*"}
    answers = await asyncio.gather(*(client.post(link, data=form) for _ in range(20)))
    made = [answer.status_code for answer in answers].count(201)
    assert made == len(await endpoints_of(client)) <= 3
    while made < 3:
        made += (await client.post(link, data=form)).status_code == 201
    assert "as many already" in (await client.post(link, data=form)).text


@pytest.mark.parametrize(
    ("form", "fault"),
    [
        ({"url": "ftp://a.example/", "events": "*"}, "must begin with https://"),
        ({"url": "http://a.example:25/", "events": "*"}, "port 25"),
        ({"url": "https://ada:pw@a.example/", "events": "*"}, "credentials"),
        ({"url": "https://a.example/", "events": "not/so?"}, "name of an event"),
        ({"events": "*"}, "must begin with https://"),
        ({"url": "https://a.example/", "events": ""}, "events"),
    ],
)
async def test_what_makes_no_endpoint_is_said_on_the_page_with_what_was_typed(
    client: httpx.AsyncClient, form: dict[str, str], fault: str
) -> None:
    answer = await client.post(await link_of(client), data=form)
    assert answer.status_code == 422 and fault in Tags(answer.text).text
    assert html.escape(form.get("url", "")) in answer.text and await endpoints_of(client) == []


async def test_a_tenant_sees_and_touches_no_endpoint_of_another(
    client: httpx.AsyncClient, redis: ArqRedis, run_worker: RunWorker, receiver: HttpReceiver
) -> None:
    await make(client, "mine", url=receiver.url, tenant="acme")
    await make(client, "bonds", url=receiver.url, tenant="bond")
    await make(client, "nobodys", url=receiver.url)
    sent = await client.post("/v1/webhook-endpoints/bonds/test", headers=ADMIN)
    job_id = sent.json()["deliveries"][0]["job_id"]
    async with run_worker([webhook]):
        await ended(redis, job_id)
    home = await link_of(client)
    page = (await client.get(home)).text
    assert "endpoints/mine" in page and "bonds" not in page and "nobodys" not in page
    for name in ("bonds", "nobodys"):
        for action in ("", "/rotate", "/test", "/resend", "/remove"):
            path = home.replace("?", f"/endpoints/{name}{action}?")
            assert (await client.post(path, data={"job_id": job_id})).status_code == 404
        assert (await client.get(home.replace("?", f"/endpoints/{name}?"))).status_code == 404
    stolen = await client.post(home.replace("?", "/endpoints/mine/resend?"), data={"job_id": job_id})
    assert stolen.status_code == 404 and len(receiver.requests) == 1
    assert len(await endpoints_of(client)) == 3


async def test_only_a_signed_link_opens_it_until_it_expires(client: httpx.AsyncClient) -> None:
    valid = parse_qs(urlsplit(await link_of(client)).query)["link"][0]
    tenant, expires, signature = valid.split(".")
    other = PortalLink(tenant="bond", expires_s=int(expires)).signed(SecretStr(SECRETS[0])).split(".")[0]
    old = PortalLink(tenant="acme", expires_s=1).signed(SecretStr(SECRETS[0]))
    forged = PortalLink(tenant="acme", expires_s=int(expires)).signed(SecretStr("x" * 40))
    refused = [
        "",
        "x",
        f"{tenant}.{expires}.",
        f"{other}.{expires}.{signature}",
        f"{tenant}.{expires}9.{signature}",
        old,
        forged,
    ]
    for link in [*refused, "é.1.2", f"{valid}=", "." * 900]:
        answer = await client.get("/portal/webhooks", params={"link": link})
        assert (answer.status_code, answer.headers["content-type"].partition(";")[0]) == (403, "text/html"), link
    assert (await client.get("/portal/webhooks", params={"link": valid})).status_code == 200
    # the key is on its way out, and its links open still
    by_old_key = PortalLink(tenant="acme", expires_s=int(expires)).signed(SecretStr(SECRETS[1]))
    assert (await client.get("/portal/webhooks", params={"link": by_old_key})).status_code == 200


def test_a_link_reads_as_it_was_written() -> None:
    for tenant in ("a", "a.b/c?", "Žofie", "x" * 128):
        link = PortalLink(tenant=tenant, expires_s=2**33)
        assert PortalLink.read(link.signed(SecretStr(SECRETS[0])), [SecretStr(SECRETS[0])]) == link
    with pytest.raises(LinkRefused):
        PortalLink.read(link.signed(SecretStr(SECRETS[0])), [])


async def test_its_pages_load_nothing_run_nothing_and_are_framed_by_the_named_alone(client: httpx.AsyncClient) -> None:
    home = await link_of(client)
    await make(client, "one", url="https://a.example/", tenant="acme", asymmetric=True)
    paths = [home, *(home.replace("?", f"{path}?") for path in ("/endpoints/one", "/events", "/events/invoice.paid"))]
    for path in paths:
        answer = await client.get(path)
        assert answer.status_code == 200
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy and "form-action 'self'" in policy
        assert f"frame-ancestors {FRAMES}" in policy and answer.headers["referrer-policy"] == "no-referrer"
        page = Tags(answer.text)
        assert page.tags.isdisjoint({"script", "img", "link", "iframe"} - {"link"})
        assert all(link.startswith("/portal/webhooks") and "link=" in link for link in page.links)
        for link in page.links:
            assert (await client.get(link)).status_code == 200


async def test_who_changes_something_by_a_link_stands_in_the_audit_and_the_link_does_not(
    client: httpx.AsyncClient, capsys: pytest.CaptureFixture[str]
) -> None:
    home = await link_of(client, "acme corp")
    await client.post(home, data={"url": "https://a.example/", "events": "*"})
    said = (await client.get("/v1/audit", headers=ADMIN)).text + capsys.readouterr().out
    assert "portal.acme-corp" in said and "portal_create_endpoint" in said
    assert parse_qs(urlsplit(home).query)["link"][0] not in said


async def test_a_link_needs_admin_a_key_to_sign_with_and_an_end(open_client: OpenClient, tmp_path: Path) -> None:
    settings = make_settings(tmp_path, api_keys=f"{KEY},{'w' * 20}:write")
    async with open_client(settings) as client:
        body = {"tenant": "acme"}
        without = await client.post("/v1/webhook-portal-links", json=body, headers=ADMIN)
        assert (without.status_code, without.json()["type"]) == (409, "/problems/no-signing-keys")
        weak = {"Authorization": f"Bearer {'w' * 20}"}
        assert (await client.post("/v1/webhook-portal-links", json=body, headers=weak)).status_code == 403
        for faulty in ({}, {"tenant": ""}, {"tenant": "a", "expires_in": "90d"}, {"tenant": "a", "more": 1}):
            assert (await client.post("/v1/webhook-portal-links", json=faulty, headers=ADMIN)).status_code == 422
        assert (await client.get("/portal/webhooks", params={"link": "a.1.b"})).status_code == 403
