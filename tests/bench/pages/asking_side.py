"""Asks for every page of the dashboard, in turn of a service with few jobs and of one with very many."""

from __future__ import annotations

import http.client
import json
import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import uvloop

from tests.bench.candidate import main, percentile_ms

BASE = "/dashboard"
WARM = 5
PAGES = {
    "overview": "",
    "overview, a day": "?span=day",
    "jobs": "/jobs",
    "jobs of a type": "/jobs?type=welcome_email",
    "jobs that wait": "/jobs?status=queued&status=deferred",
    "failed jobs": "/jobs?status=failed",
    "jobs of half a day ago": "/jobs?until={noon}",
    "a search that finds": "/jobs?find=ada",
    "a webhook that succeeded": "/jobs/{succeeded}",
    "a webhook that failed": "/jobs/{failed}",
    "a letter that waits": "/jobs/{waiting}",
    "run again": "/job-types/webhook?like={failed}",
    "dead jobs": "/dead-jobs",
    "look before a replay": "/dead-jobs/replay?type=webhook&limit=100",
    "queues": "/queues",
    "workers": "/workers",
    "schedules": "/schedules",
    "a schedule": "/schedules/nightly",
    "job types": "/job-types",
    "a job type": "/job-types/resize",
    "webhook endpoints": "/webhook-endpoints",
    "a webhook endpoint": "/webhook-endpoints/acme",
    "mail": "/mail",
    "a template": "/mail/templates/welcome",
    "audit": "/audit",
}
WIDE = {"a search that finds nothing": "/jobs?find=zebra", "a look at all that match": "/bulk"}
"""These read up to 10,000 jobs, as they say: with as many as that they take ten times as long as with 1,000."""
WIDE_ASKS = 5
JOBS = {
    "succeeded": "type=webhook&status=succeeded",
    "failed": "type=webhook&status=failed",
    "waiting": "type=welcome_email&status=deferred",
}
ASSET = re.compile(rb'(?:href|src)="(/dashboard/static/[^"]+)"')


class Service:
    """One that is asked; its connection is kept."""

    def __init__(self, port: float) -> None:
        self._http = http.client.HTTPConnection("127.0.0.1", int(port), timeout=60)
        self._asset_bytes: dict[bytes, int] = {}

    def prepare(self) -> None:
        """What has a page of its own, and is no job."""
        self._put("/v1/webhook-endpoints/acme", {"url": "https://acme.example/hooks"})
        letter = {"to": "ada@example.com", "name": "Ada"}
        self._put("/v1/schedules/nightly", {"type": "welcome_email", "args": letter, "cron": "0 3 * * *"})
        noon = (datetime.now(UTC) - timedelta(hours=12)).strftime("%Y-%m-%dT%H:%M:%SZ")
        self._known = {"noon": noon, **{name: self._newest(query) for name, query in JOBS.items()}}

    def ask(self, page: str) -> tuple[float, bytes]:
        """How long the page took, and its HTML."""
        path = BASE + (PAGES | WIDE)[page].format(**self._known)
        began_s = time.perf_counter()
        if path == f"{BASE}/bulk":
            form = {"content-type": "application/x-www-form-urlencoded", "sec-fetch-site": "same-origin"}
            text = self._send("POST", path, b"action=cancel&all=yes&query=", form)
        else:
            text = self._send("GET", path)
        return time.perf_counter() - began_s, text

    def weight_of(self, html: bytes) -> int:
        """In bytes, of a page that is opened for the first time: with its style sheet, script and icon."""
        return len(html) + sum(self._weight_of_asset(path) for path in set(ASSET.findall(html)))

    def _weight_of_asset(self, path: bytes) -> int:
        if path not in self._asset_bytes:
            self._asset_bytes[path] = len(self._send("GET", path.decode()))
        return self._asset_bytes[path]

    def _newest(self, query: str) -> str:
        (job,) = json.loads(self._send("GET", f"/v1/jobs?limit=1&{query}"))["jobs"]
        return str(job["id"])

    def _put(self, path: str, body: Any) -> None:
        self._send("PUT", path, json.dumps(body).encode(), {"content-type": "application/json"})

    def _send(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> bytes:
        self._http.request(method, path, body, dict(headers or {}))
        answer = self._http.getresponse()
        text = answer.read()
        if answer.status not in (200, 201):
            raise RuntimeError(f"{method} {path}: {answer.status} {text[-1_000:].decode()}")
        return text


async def ask(url: str, few_port: float, many_port: float, number: float) -> dict[str, Any]:
    """p50 and p99 of so many, for each page with few and with many jobs, and the page's weight in bytes."""
    services = {"few": Service(few_port), "many": Service(many_port)}
    for service in services.values():
        service.prepare()
    figures: dict[str, Any] = {}
    for page in (*PAGES, *WIDE):
        figures |= _asked(page, services, int(number) if page in PAGES else WIDE_ASKS)
    return figures


def _asked(page: str, services: dict[str, Service], number: int) -> dict[str, Any]:
    took_s: dict[str, list[float]] = {which: [] for which in services}
    heaviest = 0
    for turn in range(WARM + number):
        for which, service in services.items():
            page_s, html = service.ask(page)
            if turn >= WARM:
                took_s[which].append(page_s)
            else:
                heaviest = max(heaviest, service.weight_of(html))
    times = {
        f"{page} {which} p{share * 100:.0f}_ms": percentile_ms(values, share)
        for which, values in took_s.items()
        for share in (0.5, 0.99)
    }
    return {**times, f"{page} bytes": heaviest}


if __name__ == "__main__":
    main({"ask": ask}, uvloop.run)
