"""What a job has made, on its page: its letter, its pictures, its deliveries."""

from __future__ import annotations

import json
import re
from pathlib import Path

import httpx
from aiohttp import web

from errand import RESULTS, Client, group
from errand.dashboard.made.pictures import pictures_of
from errand.http.requests.waits import MAX_WAIT_S
from jobs.resize import resize
from jobs.webhook import webhook
from jobs.welcome_email import welcome_email
from settings import Settings
from tests.conftest import OpenClient, RunWorker, make_settings
from tests.dashboard.page_seen import SeenPage, seen
from tests.dashboard.signed_in import OWNER, sign_in
from tests.http.answers_seen import LETTER
from tests.peers import HttpReceiver
from tests.pictures import image, size_of
from tests.waiting import eventually

KEY = {"Authorization": f"Bearer {OWNER}"}


async def ended(client: httpx.AsyncClient, path: str, **request: object) -> str:
    """The id of a job that was put there, once it has ended."""
    put = await client.post(path, **request)  # type: ignore[arg-type]  # of httpx
    assert put.status_code == 202, put.text
    body = put.json()
    job_id = body.get("deliveries", [{"job_id": body["id"]}])[0]["job_id"]
    done = (await client.get(f"/v1/jobs/{job_id}", params={"wait": MAX_WAIT_S}, headers=request.get("headers"))).json()  # type: ignore[arg-type]
    assert done["finished_at"], done
    return str(job_id)


def sources(page: SeenPage, tag: str) -> list[str]:
    return [attributes["src"] for name, attributes in page.tags if name == tag]


async def test_a_letter_is_shown_as_it_was_sent_in_a_frame_that_may_do_nothing(
    client: httpx.AsyncClient, run_worker: RunWorker, settings: Settings
) -> None:
    letter = {**LETTER, "name": "Grace"}
    async with run_worker([welcome_email]):
        job_id = await ended(client, "/v1/jobs/welcome_email", json=letter)
    page = await seen(client, f"/dashboard/jobs/{job_id}")
    assert ("iframe", "") in [(tag, attributes.get("sandbox")) for tag, attributes in page.tags]
    frame = await client.get(sources(page, "iframe")[0])
    assert "Grace" in frame.text and frame.headers["content-security-policy"].startswith("sandbox; default-src 'none'")
    kept = await seen(client, page.links["headers, text and source"])
    assert "ada@example.com" in kept.text and "Message-ID" in kept.text
    raw = await client.get(kept.links["The source, as a file"])
    (file,) = (settings.data_dir / "mail").glob("*.eml")
    assert raw.content == file.read_bytes()
    listed = await seen(client, "/dashboard/mail")
    assert listed.links["Welcome, Grace!"].endswith(file.name)
    file.unlink()
    anew = await seen(client, f"/dashboard/jobs/{job_id}")
    assert "by the template as it is now" in anew.text
    assert "Grace" in (await client.get(sources(anew, "iframe")[0])).text


async def test_what_a_template_would_write_is_shown_for_any_data(client: httpx.AsyncClient) -> None:
    listed = await seen(client, "/dashboard/mail")
    assert "Nothing was sent yet" in listed.text and "also in de" in listed.text
    path = listed.links["welcome"]
    page = await seen(client, path, params={"name": "<b>Ada</b>", "locale": "de", "data": '{"x": 1}'})
    assert "Willkommen" in page.text and [tag for tag, _ in page.tags if tag == "b"] == []
    frame = await client.get(sources(page, "iframe")[0])
    assert "&lt;b&gt;Ada" in frame.text and frame.headers["content-security-policy"].startswith("sandbox;")
    for data, said in (("{", "not valid JSON"), ("[]", "data"), ('{"button_url": "javascript:x"}', "http")):
        assert said in (await seen(client, path, params={"data": data}, status=422)).text
    assert (await client.get("/dashboard/mail/templates/none")).status_code == 404


async def test_letters_of_the_sink_are_for_a_machine_without_keys(
    open_client: OpenClient, run_worker: RunWorker, tmp_path: Path, redis_url: str
) -> None:
    """Others see the letter as its template writes it, and their pictures by their session alone."""
    guarded = make_settings(tmp_path, redis_url=redis_url, api_keys=f"olga={OWNER}")
    async with open_client(guarded) as client, run_worker([welcome_email, resize], guarded):
        job_id = await ended(client, "/v1/jobs/welcome_email", json=LETTER, headers=KEY)
        sizes = {"sizes": [{"width": 32, "format": ["png", "webp"]}, {"width": 16, "format": "tiff"}]}
        form = {"args": (None, json.dumps(sizes)), "file": ("a.png", image(64, 48, form="png"))}
        resized = await ended(client, "/v1/jobs/resize", files=form, headers=KEY)
        await sign_in(client, OWNER)
        page = await seen(client, f"/dashboard/jobs/{job_id}")
        assert "by the template as it is now" in page.text
        assert "Ada" in (await client.get(sources(page, "iframe")[0])).text
        assert "without API_KEYS" in (await seen(client, "/dashboard/mail")).text
        (file,) = (tmp_path / "mail").glob("*.eml")
        assert (await client.get(f"/dashboard/mail/letters/{file.name}")).status_code == 404
        pictures = await seen(client, f"/dashboard/jobs/{resized}")
        shown = sources(pictures, "img")
        assert len(shown) == 2 and "24 webp" in pictures.text and "open output 3" in pictures.links
        picture = await client.get(shown[0])
        assert size_of(picture.content) == (32, 24)
        # its browser asks again, also after the session has ended
        assert picture.headers["cache-control"] == "private, no-cache"
        known = {"if-none-match": picture.headers["etag"]}
        assert (await client.get(shown[0], headers=known)).status_code == 304
        client.cookies.clear()
        assert (await client.get(shown[0], headers=known)).status_code == 401


def test_only_what_a_job_has_stored_is_a_picture() -> None:
    good = {"url": "/v1/files/resize/1/a.png", "width": 1, "height": 1, "bytes": 9, "format": "png"}
    assert [picture.path for picture in pictures_of({"outputs": [good]})] == ["/files/resize/1/a.png"]
    assert [picture.is_shown for picture in pictures_of({"outputs": [{**good, "bytes": 10**7}]})] == [False]
    for url in ("https://evil.example/a.png", "/v1/files/../a", "javascript:fire()", "/v1/files/a\"onerror='x'", None):
        assert pictures_of({"outputs": [{**good, "url": url}]}) == []
    assert pictures_of([good]) == pictures_of({"outputs": "x"}) == pictures_of({"outputs": [1]}) == []


async def test_deliveries_say_status_duration_and_answer(
    client: httpx.AsyncClient, run_worker: RunWorker, receiver: HttpReceiver
) -> None:
    await client.put("/v1/webhook-endpoints/acme", json={"url": receiver.url, "retry_s": []})
    receiver.answers = [
        web.Response(status=503, text="come again"),
        web.Response(status=200, text="<b>thank you</b>"),
        web.Response(status=418, text="of an endpoint"),
    ]
    async with run_worker([webhook]):
        args = {"url": receiver.url, "event": "a.b", "data": {}}
        refused = await ended(client, "/v1/jobs/webhook?max_tries=1", json=args)
        taken = await ended(client, "/v1/jobs/webhook", json=args)
        to_endpoint = await ended(client, "/v1/webhook-endpoints/acme/test")
    assert re.search(r"✕ 503[^✕]*come again", (await seen(client, f"/dashboard/jobs/{refused}")).text)
    page = await seen(client, f"/dashboard/jobs/{taken}")
    assert re.search(r"✓ 200\s*\d+ ms\s*127\.0\.0\.1:\d+\s+Body of the answer to attempt 1<b>thank you</b>", page.text)

    async def written() -> bool:
        return "Body of the answer" in (await seen(client, f"/dashboard/jobs/{to_endpoint}")).text

    await eventually(written)
    assert re.search(r"✕ 418[^✕]*of an endpoint", (await seen(client, f"/dashboard/jobs/{to_endpoint}")).text)


async def test_a_job_shows_its_parent_and_its_children(
    client: httpx.AsyncClient, settings: Settings, redis_url: str
) -> None:
    letters = [welcome_email.s(to="ada@example.com", name=name) for name in ("Ada", "Grace")]
    said = webhook.s(url="https://a.example/", event="a.b", data=RESULTS)
    async with Client(settings, redis_url=redis_url):
        join = await group(*letters, then=said).enqueue()
    page = await seen(client, f"/dashboard/jobs/{join.id}")
    assert page.text.count("welcome_email") == 2 and "this job" in page.text and "its parent" not in page.text
    first = next(link for link in page.links.values() if link.startswith("/dashboard/jobs/") and join.id not in link)
    child = await seen(client, first)
    assert child.links[join.id] == f"/dashboard/jobs/{join.id}" and "its parent" in child.text
