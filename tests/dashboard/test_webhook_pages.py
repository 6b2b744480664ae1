"""Webhook endpoints: enabled, disabled, tried and recovered by those who may, from pages of the dashboard alone."""

from __future__ import annotations

import httpx
from arq.connections import ArqRedis

from errand.webhooks.endpoints import Endpoints
from jobs.webhook import webhook
from tests.conftest import RunWorker
from tests.dashboard.page_seen import OWN_PAGE, SeenPage, pressed, seen
from tests.dashboard.signed_in import OWNER, READER, sign_in
from tests.peers import HttpReceiver

PAGE = "/dashboard/webhook-endpoints/acme"


async def test_an_endpoint_is_disabled_enabled_tried_and_recovered(
    client: httpx.AsyncClient, run_worker: RunWorker, receiver: HttpReceiver
) -> None:
    await client.put("/v1/webhook-endpoints/acme", json={"url": receiver.url, "retry_s": []})
    page = await seen(client, PAGE)
    assert (await pressed(client, page, "Disable")).headers["location"] == PAGE
    disabled = await seen(client, PAGE)
    assert "It is sent nothing" in disabled.text and "Disable" not in disabled.buttons
    assert "acme is disabled" in (await seen(client, "/dashboard")).text
    assert (await pressed(client, disabled, "Enable")).headers["location"] == PAGE
    receiver.answers = [500]
    async with run_worker([webhook]):
        tried = (await pressed(client, page, "Send a test")).headers["location"]
        job_id = tried.removesuffix("?done=put").rpartition("/")[2]
        assert (await client.get(f"/v1/jobs/{job_id}?wait=30")).json()["status"] == "failed"
        dead = (await seen(client, PAGE)).links
        of_acme = await seen(client, dead["dead delivery"])
        assert "webhook of acme" in of_acme.text and of_acme.links["acme"] == PAGE
        preview = await seen(client, dead["replay…"])
        assert "1 job would be put again" in preview.text and preview.form("Replay").fields["about"] == "acme"
        recovered = SeenPage(await pressed(client, page, "Put again"))
        assert "1 delivery is put again" in recovered.text and job_id in recovered.links
        assert (await client.get(f"/v1/jobs/{job_id}?wait=30")).json()["status"] == "succeeded"
        again = await client.post(f"{PAGE}/resend", data={"job_id": job_id}, headers=OWN_PAGE)
        assert again.status_code == 303 and job_id not in again.headers["location"]
        await receiver.wait_for(3)
    assert {request.headers["webhook-id"] for request in receiver.requests} == {
        receiver.requests[0].headers["webhook-id"]
    }
    bad = await client.post(f"{PAGE}/recover", data={"since": "yesterday"}, headers=OWN_PAGE)
    assert bad.status_code == 422 and "since" in bad.text
    assert (await client.post(f"{PAGE}x/enable", headers=OWN_PAGE)).status_code == 404


async def test_who_may_do_it_and_from_where(guarded_client: httpx.AsyncClient, redis: ArqRedis) -> None:
    made = {"url": "https://acme.example/hooks"}
    key = {"Authorization": f"Bearer {OWNER}"}
    await guarded_client.put("/v1/webhook-endpoints/acme", json=made, headers=key)
    await Endpoints(redis).throttle("acme", for_s=60)
    await sign_in(guarded_client, READER)
    page = await seen(guarded_client, PAGE)
    assert "asks for a pause" in page.text and page.buttons == {"Set", "Sign out"}
    for action in ("disable", "test", "resend", "recover"):
        assert (await guarded_client.post(f"{PAGE}/{action}", headers=OWN_PAGE)).status_code == 403
    await sign_in(guarded_client, OWNER)
    assert {"Disable", "Send a test", "Put again"} <= (await seen(guarded_client, PAGE)).buttons
    for action in ("disable", "enable", "test", "resend", "recover"):
        foreign = await guarded_client.post(f"{PAGE}/{action}", headers={"sec-fetch-site": "cross-site"})
        assert foreign.status_code == 403 and "nothing was done" in foreign.text
    assert "asks for a pause" in (await seen(guarded_client, "/dashboard")).text
