"""No request to an address that a caller names goes past the guard: each way out is walked."""

from __future__ import annotations

import ast
import asyncio
import ipaddress
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from arq.connections import ArqRedis

from errand.job.catalog import discover
from errand.monitor.job_snapshot import JobSnapshot, read_job
from errand.queue.queue import Queue
from errand.resources.guard import AddressGuard
from errand.resources.outbound import Outbound, OutboundRefused
from errand.wire import keys
from errand.wire.limits import JobLimits
from jobs.resize import resize
from jobs.webhook import webhook
from tests.conftest import OpenClient, RunWorker, make_settings
from tests.peers import HttpReceiver
from tests.waiting import eventually

ROOT = Path(__file__).parent.parent.parent.parent

OPENS = {
    *("ClientSession", "TCPConnector", "create_connection", "open_connection", "start_connection", "urlopen"),
    *("HTTPConnection", "HTTPSConnection", "AsyncClient", "socket", "build_opener"),
}
"""Calls that open a connection, or make what does."""

GUARDED = {"errand/resources/outbound.py", "errand/webhooks/post/dial.py", "errand/resources/guard/address_guard.py"}
NAMED_BY_NO_CALLER = {
    "errand/mail/smtp/connection.py": "mail servers of SMTP_URL",
    "errand/mail/providers/http_api.py": "mail providers of SMTP_URL",
    "errand/doctor/outside_redis.py": "the same",
    "errand/mail/events/sns.py": "the hosts of Amazon SNS alone, whatever a message names",
    "errand/webhooks/post/proxy.py": "the egress proxy, which judges addresses in the guard's place",
    "errand/redis/guardian.py": "the embedded Redis",
    "errand/testing/server.py": "the Redis of an app that is tested",
    "errand/server/run.py": "the API that it has started, and for `errand health` the one on PORT of this machine",
    "errand/cli/listen.py": "a developer's API and a developer's program",
}

CALLERS = {
    "resize": lambda url: {"sizes": [{"width": 8}], "source_url": url},
    "webhook": lambda url: {"url": url, "event": "a", "data": None},
}
"""Args of each job type that takes a URL."""


def opening_calls(path: Path) -> set[str]:
    """The names of the calls in that file by which it opens connections."""
    calls = [node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    names = {call.attr if isinstance(call, ast.Attribute) else getattr(call, "id", "") for call in calls}
    return names & OPENS


def test_each_file_that_opens_connections_is_guarded_or_asks_nobody_whom_a_caller_names() -> None:
    files = {path for folder in ("errand", "jobs", "service") for path in (ROOT / folder).rglob("*.py")}
    found = {str(path.relative_to(ROOT)) for path in files if opening_calls(path)}
    assert found == GUARDED | NAMED_BY_NO_CALLER.keys()


def test_each_job_type_that_takes_a_url_is_walked() -> None:
    schemas = {name: json.dumps(job_type.args_schema) for name, job_type in discover(["jobs"]).items()}
    assert {name for name, schema in schemas.items() if '"format": "uri"' in schema} == CALLERS.keys()


REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "address": ("http://127.0.0.1:{port}/", {"webhook_allow_networks": ""}, "not public"),
    "name": ("http://localhost:{port}/", {"webhook_allow_networks": ""}, "not public"),
    "port": ("http://127.0.0.1:25/", {}, "port 25"),
    "scheme": ("http://127.0.0.1:{port}/", {"webhook_https_only": True}, "must be https"),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_what_was_queued_for_a_forbidden_url_fails_without_a_connection(
    redis: ArqRedis, run_worker: RunWorker, tmp_path: Path, name: str
) -> None:
    """Queued by a program of its own, or before the settings forbade it."""
    url, settings, message = REFUSED[name]
    async with counting() as (port, connections), run_worker([resize, webhook], make_settings(tmp_path, **settings)):
        for job_type in (resize, webhook):
            args = CALLERS[job_type.name](url.format(port=port))
            queue = Queue(redis, name=job_type.queue, ended_ttl_s=60)
            # a name is tried again, by its schedule: it may lead elsewhere the next time
            put = await queue.enqueue(job_type.name, args, limits=JobLimits(max_tries=1) if name == "name" else None)
            done = await ended(redis, put.job_id, queue=job_type.queue)
            assert (done.status, len(done.attempts)) == ("failed", 1)
            assert done.error is not None and message in done.error.message
    assert connections == []


@pytest.mark.parametrize("location", ["http://127.0.0.1:25/", "http://ada:s3cret@127.0.0.1:{port}/"])
async def test_a_redirect_leads_nowhere_else(location: str, tmp_path: Path, receiver: HttpReceiver) -> None:
    async with counting() as (port, connections):
        receiver.answers = [web.Response(status=302, headers={"Location": location.format(port=port)})]
        async with Outbound.open(AddressGuard([ipaddress.ip_network("127.0.0.0/8")]), connections=1) as client:
            with pytest.raises(OutboundRefused):
                await client.download(receiver.url, tmp_path / "file", limit_bytes=100, deadline_s=60)
    assert connections == [] and len(receiver.requests) == 1


@pytest.mark.parametrize("path", ["/v1/jobs/webhook", "/v1/jobs/resize", "/v1/webhook-endpoints"])
async def test_a_request_that_names_such_a_url_is_refused(
    open_client: OpenClient, redis_url: str, tmp_path: Path, path: str
) -> None:
    settings = make_settings(tmp_path, webhook_https_only=True)
    async with open_client(settings) as client:
        for url, message in (("http://a.example/", "must be https"), ("https://a.example:22/", "port 22")):
            body = CALLERS.get(path.rpartition("/")[2], lambda url: {"url": url})(url)
            answer = await client.post(path, json=body)
            assert answer.status_code == 422
            (error,) = answer.json()["errors"]
            assert error["field"] in ("body.url", "body.source_url") and message in error["message"]


@asynccontextmanager
async def counting() -> AsyncIterator[tuple[int, list[object]]]:
    """The port of a server on loopback, and whoever has connected to it."""
    connections: list[object] = []
    server = await asyncio.start_server(lambda _, writer: connections.append(writer), "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], connections


async def ended(redis: ArqRedis, job_id: str, *, queue: str) -> JobSnapshot:
    async def look() -> JobSnapshot | None:
        job = await read_job(redis, job_id, queues=[keys.queue(queue)])
        return job if job is not None and job.ended else None

    return await eventually(look)
