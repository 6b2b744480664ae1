"""The API in another FastAPI app: behind its dependency, with links that lead on from where it is mounted."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import httpx
import pytest
from arq.connections import ArqRedis
from fastapi import Depends, FastAPI, Header, HTTPException, Response

from errand.http.api import create_api
from errand.integration.add_task import Jobs
from errand.integration.lifespan import jobs_lifespan
from jobs.resize import resize
from jobs.webhook import webhook
from jobs.welcome_email import welcome_email
from settings import Settings
from tests.conftest import RunWorker, make_settings
from tests.http.answers_seen import LETTER, problem_of
from tests.pictures import image

MOUNT = "/admin/queue"
ADMIN = {"x-admin": "yes"}
LINK_KEYS = {"self", "url", "next", "wait", "cancel", "retry", "reschedule", "enqueue", "trigger", "last_job"}
POSTS = (
    "/jobs/resize",
    "/jobs/webhook",
    "/jobs/welcome_email",
    "/cancel",
    "/retry",
    "/reschedule",
    "/pause",
    "/resume",
    "/trigger",
)
SCHEDULE = {"type": "welcome_email", "args": LETTER, "cron": "0 3 * * *", "timezone": "UTC"}


async def require_admin(x_admin: Annotated[str | None, Header()] = None) -> None:
    if x_admin != "yes":
        raise HTTPException(401, "admins alone")


def own_app(settings: Settings) -> FastAPI:
    """An app of one's own, with a route that adds a job."""
    api = create_api(settings, dependencies=[Depends(require_admin)])
    app = FastAPI(lifespan=jobs_lifespan(settings, api=api))
    app.mount(MOUNT, api)

    @app.post("/signup")
    async def signup(jobs: Jobs, response: Response) -> None:
        response.headers["Location"] = jobs.add_task(welcome_email, **LETTER).path

    return app


@asynccontextmanager
async def calling(app: FastAPI, *, root_path: str = "", headers: Any = ADMIN) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the app, which runs with its lifespan alone, as any server runs it."""
    transport = httpx.ASGITransport(app=app, root_path=root_path, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://app.example", headers=headers) as client,
    ):
        yield client


def links_in(node: Any, key: str = "") -> Iterator[str]:
    """Every link in a JSON answer: each path below a key that names links, at any depth."""
    if isinstance(node, dict):
        for name, value in node.items():
            yield from links_in(value, "self" if key == "links" else name)
    elif isinstance(node, list):
        for value in node:
            yield from links_in(value, key)
    elif isinstance(node, str) and key in LINK_KEYS and node.startswith("/"):
        yield node


def links_of(answer: httpx.Response) -> set[str]:
    """Every link in an answer and its headers."""
    found = set(links_in(answer.json())) if answer.headers.get("content-type") == "application/json" else set()
    found |= {answer.headers[name] for name in ("location", "content-location") if name in answer.headers}
    return found | set(re.findall(r"<([^>]+)>", answer.headers.get("link", "")))


async def first_answers(client: httpx.AsyncClient, base: str) -> list[httpx.Response]:
    """Answers of every kind that has links."""
    later = f"{base}/v1/jobs/welcome_email?delay=1h"
    sent = [
        await client.post(f"{base}/v1/jobs/welcome_email", json=LETTER),
        await client.post(later, json=LETTER),
        await client.post(later, json=LETTER, headers={"idempotency-key": "a"}),
        await client.post(f"{later}&unique_key=a", json=LETTER),
        await client.post(f"{later}&unique_key=a&on_conflict=return", json=LETTER),
        await client.post(f"{base}/v1/jobs/welcome_email/batch", json=[LETTER]),
        await client.put(f"{base}/v1/schedules/nightly", json=SCHEDULE),
        await client.post(f"{base}/v1/schedules", json=SCHEDULE),
        await client.post(f"{base}/v1/schedules/nightly/trigger"),
    ]
    paths = ["jobs", "jobs?limit=1", "dead-jobs", "job-types", "queues", "workers", "stats", "schedules"]
    paths += ["schedules?limit=1"]
    return sent + [await client.get(f"{base}/v1/{path}") for path in paths]


async def walk(client: httpx.AsyncClient, answers: list[httpx.Response], base: str) -> set[str]:
    """Follows every link of the answers, and every link of what it leads to; returns all that were followed."""
    followed: set[str] = set()
    ahead = [link for answer in answers for link in sorted(links_of(answer))]
    while ahead:
        link = ahead.pop()
        if link in followed or len(followed) > 200:
            continue
        followed.add(link)
        assert link.startswith(f"{base}/v1/"), link
        path = link.partition("?")[0]
        if path.endswith(POSTS):
            # an action: the answer to another method says that it exists, and nothing is done
            assert (await client.put(path)).headers["allow"] == "POST", link
            continue
        answer = await client.get(link.replace("wait=30", "wait=0"))
        assert answer.status_code < 400, (link, answer.text)
        ahead += links_of(answer)
    return followed


@pytest.mark.parametrize("proxy", ["", "/proxy"])
async def test_every_link_of_every_answer_leads_on(redis: ArqRedis, settings: Settings, proxy: str) -> None:
    async with calling(own_app(settings), root_path=proxy) as client:
        answers = await first_answers(client, f"{proxy}{MOUNT}")
        assert [answer.text for answer in answers if answer.status_code >= 400] == []
        followed = await walk(client, answers, f"{proxy}{MOUNT}")
        kinds = {
            re.sub(r"[0-9a-f-]{36}", "*", link.removeprefix(f"{proxy}{MOUNT}").partition("?")[0]) for link in followed
        }
        assert kinds >= {"/v1/jobs", "/v1/jobs/*", "/v1/jobs/*/cancel", "/v1/jobs/*/reschedule", "/v1/jobs/resize"}
        assert kinds >= {"/v1/schedules", "/v1/schedules/nightly", "/v1/queues/default/pause"}


async def test_a_proxy_may_strip_its_path(redis: ArqRedis, settings: Settings) -> None:
    api = create_api(settings)
    async with calling(api, root_path="/proxy") as client:
        location = (await client.post("/v1/jobs/welcome_email", json=LETTER, headers=LOCAL)).headers["location"]
        assert location.startswith("/proxy/v1/jobs/")
        shown = (await client.get(location.removeprefix("/proxy"), headers=LOCAL)).json()
        assert shown["links"]["self"] == location


LOCAL = {"host": "127.0.0.1"}


async def test_results_lead_to_their_files(redis: ArqRedis, settings: Settings, run_worker: RunWorker) -> None:
    async with calling(own_app(settings)) as client, run_worker([resize, webhook, welcome_email]):
        form: Any = {"args": (None, '{"sizes": [{"width": 32}]}'), "file": ("cat.jpg", image(64, 64))}
        answer = await client.post(f"{MOUNT}/v1/jobs/resize", files=form, headers={"prefer": "wait=30"})
        job = answer.json()
        assert job["status"] == "succeeded", job
        (output,) = job["result"]["outputs"]
        assert output["url"].startswith(f"{MOUNT}/v1/files/resize/")
        assert (await client.get(output["url"])).headers["content-type"] == "image/jpeg"
        events = (await client.get(f"{job['links']['self']}/events")).text
        assert f'"url":"{output["url"]}"' in events and f'"self":"{job["links"]["self"]}"' in events
        await walk(client, [answer], MOUNT)


PATHS = ["/docs", "/redoc", "/openapi.json", "/v1/jobs", "/v1/queues", "/metrics", "/healthz", "/readyz", "/v1/events"]


@pytest.mark.parametrize("api_keys", ["", "sixteen-or-more-chars"])
async def test_the_apps_own_dependency_guards_every_route(
    redis: ArqRedis, tmp_path: Path, redis_url: str, api_keys: str
) -> None:
    settings = make_settings(tmp_path, redis_url=redis_url, api_keys=api_keys)
    async with calling(own_app(settings), headers={}) as client:
        document = (await client.get(f"{MOUNT}/openapi.json", headers=ADMIN)).json()
        for path in PATHS:
            problem_of(await client.get(f"{MOUNT}{path}"), 401, "unauthorized")
        for path, operations in document["paths"].items():
            for method in operations:
                url = f"{MOUNT}{path.replace('{', '').replace('}', '')}"
                problem_of(await client.request(method, url, json=LETTER), 401, "unauthorized")
        assert (await client.post("/signup")).status_code == 200
        for path in ("/docs", "/v1/jobs", "/healthz"):
            assert (await client.get(f"{MOUNT}{path}", headers=ADMIN)).status_code == 200
        # the letters of a developer's machine are not for everybody whom the app admits
        problem_of(await client.get(f"{MOUNT}/dev/mail", headers=ADMIN), 404, "not-found")


async def test_the_document_and_the_pages_know_where_they_are(redis: ArqRedis, settings: Settings) -> None:
    async with calling(own_app(settings)) as client:
        document = (await client.get(f"{MOUNT}/openapi.json")).json()
        assert document["servers"] == [{"url": MOUNT}] and "/v1/jobs" in document["paths"]
        assert not any("security" in operation for path in document["paths"].values() for operation in path.values())
        for page in ("/docs", "/redoc"):
            assert f"{MOUNT}/openapi.json" in (await client.get(f"{MOUNT}{page}")).text


async def test_problems_suggest_paths_that_can_be_followed(redis: ArqRedis, settings: Settings) -> None:
    async with calling(own_app(settings)) as client:
        detail = problem_of(await client.get(f"{MOUNT}/v1/job-type"), 404, "not-found")["detail"]
        assert f"There is nothing at {MOUNT}/v1/job-type. There is GET {MOUNT}/v1/job-types" in detail
        assert f"described at {MOUNT}/docs" in detail
        refused = await client.delete(f"{MOUNT}/v1/queues")
        assert refused.headers["allow"] == "GET, HEAD"
        assert f"at {MOUNT}/v1/queues. GET or HEAD is." in problem_of(refused, 405, "method-not-allowed")["detail"]


@pytest.mark.parametrize("proxy", ["", "/proxy"])
async def test_an_added_job_knows_its_path_in_the_mounted_api(redis: ArqRedis, settings: Settings, proxy: str) -> None:
    async with calling(own_app(settings), root_path=proxy) as client:
        location = (await client.post(f"{proxy}/signup")).headers["location"]
        assert location.startswith(f"{proxy}{MOUNT}/v1/jobs/")
        assert (await client.get(location)).json()["type"] == "welcome_email"


async def test_limits_of_bodies_go_by_the_path_in_the_api(
    redis: ArqRedis, tmp_path: Path, redis_url: str, settings: Settings
) -> None:
    small = make_settings(tmp_path, redis_url=redis_url, body_limit_bytes=1024)
    async with calling(own_app(small)) as client:
        letters = [LETTER] * 100
        assert (await client.post(f"{MOUNT}/v1/jobs/welcome_email/batch", json=letters)).status_code == 202
        too_large = {**LETTER, "name": "a" * 2000}
        problem_of(await client.post(f"{MOUNT}/v1/jobs/welcome_email", json=too_large), 413, "content-too-large")


async def test_a_mounted_api_that_nobody_opened_says_what_to_do(settings: Settings) -> None:
    app = FastAPI()
    app.mount(MOUNT, create_api(settings, dependencies=[Depends(require_admin)]))
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://app.example", headers=ADMIN) as client:
        with pytest.raises(RuntimeError, match="jobs_lifespan"):
            await client.get(f"{MOUNT}/v1/jobs")


async def test_what_a_client_writes_into_the_path_of_the_mount_ends_no_script_and_no_header(
    redis: ArqRedis, settings: Settings
) -> None:
    """As of an app that serves each of its tenants below a path of their own."""
    api = create_api(settings, dependencies=[Depends(require_admin)])
    app = FastAPI(lifespan=jobs_lifespan(settings, api=api))
    app.mount("/of/{tenant}/queue", api)
    mount = "/of/x'-fire()-%22%3E%3Cscript%3Efire()%0D%0AX-Made-Up:%201/queue"
    async with calling(app) as client:
        for page in ("/docs", "/redoc", "/dashboard", "/dashboard/jobs"):
            answer = await client.get(mount + page)
            assert answer.status_code == 200
            assert "x'-" not in answer.text and "<script>fire" not in answer.text
        put = await client.post(f"{mount}/v1/jobs/welcome_email", json=LETTER)
        assert put.status_code == 202 and "\n" not in put.headers["location"]
        assert (await client.get(put.headers["location"])).json()["links"]["self"] == put.headers["location"]


async def test_one_tenants_idempotency_key_is_not_anothers(redis: ArqRedis, settings: Settings) -> None:
    api = create_api(settings, dependencies=[Depends(require_admin)])
    app = FastAPI(lifespan=jobs_lifespan(settings, api=api))
    app.mount("/of/{tenant}/queue", api)
    async with calling(app) as client:
        puts = [f"/of/{tenant}/queue/v1/jobs/welcome_email" for tenant in ("acme", "acme", "other")]
        answers = [await client.post(put, json=LETTER, headers={"idempotency-key": "daily"}) for put in puts]
    first, again, others = [answer.json()["id"] for answer in answers]
    assert again == first and others != first
