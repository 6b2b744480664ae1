"""An installation for a browser to look at: jobs of every kind, and hostile texts wherever others can write."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import redis

from errand import RESULTS, SyncClient, group
from errand.redis.embedded import socket_path
from errand.wire import keys
from errand.wire.job_id import new_job_ids
from jobs.webhook import webhook
from jobs.welcome_email import welcome_email
from tests.conftest import make_settings
from tests.http.answers_seen import LETTER
from tests.pictures import image
from tests.processes.conftest import House, a_house
from tests.waiting import eventually_sync

HOSTILE = "<script>fire()</script><img src=x onerror=fire()> javascript:fire()"
STRANGE = f"{HOSTILE} \u202egnp.exe \ud800"
"""With a mark that turns what follows around, and half of a character."""


class Hostile(BaseHTTPRequestHandler):
    """A receiver that answers with what it would like a reader's browser to run, and has a page for that reader."""

    def do_POST(self) -> None:  # the standard library's name
        self.rfile.read(int(self.headers["content-length"]))
        self._answer(500, HOSTILE)

    def do_GET(self) -> None:
        """A form that sends itself to the address in the query."""
        target = self.path.partition("?")[2]
        form = f"<form id=f method=post action='{target}'></form><script>document.forms.f.submit()</script>"
        self._answer(200, f"<!doctype html><title>Win a prize</title>{form}")

    def _answer(self, status: int, text: str) -> None:
        self.send_response(status)
        self.send_header("content-type", "text/html")
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextmanager
def hostile_site() -> Iterator[int]:
    """Its port."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hostile)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


@contextmanager
def used_house(folder: Path) -> Iterator[House]:
    """API and worker, when all that they were given has been done."""
    networks = {"WEBHOOK_ALLOW_NETWORKS": "127.0.0.0/8"}
    with hostile_site() as port, a_house(folder, environment=networks) as house:
        house.api()
        house.worker()
        receiver = f"http://127.0.0.1:{port}/?x=javascript:fire()"
        refused = {"url": receiver, "event": "a.b", "data": {"<b>": [HOSTILE, None, 1.5]}}
        _define(house, receiver)
        sizes = {"sizes": [{"width": 32, "format": ["png", "webp"]}]}
        upload = {"args": (None, json.dumps(sizes)), "file": ("a.png", image(64, 48, form="png"))}
        put = [
            house.post("/v1/jobs/webhook?max_tries=1", json=refused),
            house.post("/v1/jobs/welcome_email", json={**LETTER, "name": "<script>fire()</script>"}),
            house.post("/v1/jobs/webhook", json={"endpoint_id": "acme", "event": "a.b", "data": HOSTILE}),
            house.post("/v1/jobs/resize", files=upload),
        ]
        house.post("/v1/jobs/webhook", json=refused)
        _put_family(house, receiver)
        _put_strange(house)
        for job in put:
            house.ended(job)
        # what the audit keeps of it
        house.http.post(f"{house.url}/v1/jobs/%3Cimg%20src=x%20onerror=fire()%3E/cancel")
        (house.data_dir / "mail" / f"{time.time_ns()}-hostile.eml").write_bytes(hostile_letter())
        yield house


def _define(house: House, receiver: str) -> None:
    endpoint = {"url": receiver, "description": HOSTILE, "metadata": {"x": HOSTILE}, "retry_s": []}
    house.http.put(f"{house.url}/v1/webhook-endpoints/acme", json=endpoint).raise_for_status()
    nightly = {"type": "welcome_email", "args": LETTER, "cron": "0 3 * * *"}
    house.post("/v1/schedules", expect=201, json=nightly)


def _put_family(house: House, receiver: str) -> None:
    """Two letters, and the job that waits for both."""
    letters = [welcome_email.s(to="ada@example.com", name=name) for name in ("Ada", "Grace")]
    said = webhook.s(url=receiver, event="a.b", data=RESULTS)
    with SyncClient(make_settings(house.data_dir), redis_url=f"unix://{_socket_of(house)}") as client:
        client.enqueue(group(*letters, then=said))


def _put_strange(house: House) -> None:
    """As another program can: a job of a hostile name and id, and args that the API would refuse."""
    later_ms = int(time.time() * 1000) + 40 * 3_600_000
    args = {"url": "https://a.example/", "event": STRANGE, "data": {STRANGE: "x" * 1_000_000}}
    with redis_of(house) as client:
        for job_id, name in (('x"><script>fire()<b>', STRANGE), ("strange", "webhook")):
            body: dict[str, Any] = {"t": None, "f": name, "a": [], "k": args, "et": later_ms}
            client.set(keys.body(job_id), json.dumps(body))
            client.zadd(keys.queue(keys.DEFAULT_QUEUE), {job_id: later_ms})


def _socket_of(house: House) -> Path:
    return socket_path(house.data_dir / "redis")


@contextmanager
def redis_of(house: House) -> Iterator[redis.Redis]:
    """A client of the house's own Redis."""
    with redis.Redis(unix_socket_path=str(_socket_of(house))) as client:
        yield client


def put_failing(house: House, number: int) -> list[str]:
    """The ids of jobs that have failed by their args, and will each time."""
    ids, now_ms = new_job_ids(number), int(time.time() * 1000)
    body = json.dumps({"t": None, "f": "welcome_email", "a": [], "k": {"to": "nobody"}, "et": now_ms})
    with redis_of(house) as client:
        client.mset({keys.body(job_id): body for job_id in ids})
        client.zadd(keys.queue("mail"), dict.fromkeys(ids, now_ms))
        eventually_sync(lambda: client.exists(*map(keys.result, ids)) == number)
    return ids


def hostile_letter() -> bytes:
    letter = EmailMessage()
    letter["To"], letter["Subject"], letter["X-Note"] = "ada@example.com", HOSTILE, HOSTILE
    letter.set_content(HOSTILE)
    runs = "<script>top.fire(); parent.fire()</script><img src=/canary onerror=top.fire()><iframe src=/canary></iframe>"
    letter.add_alternative(
        f'<meta http-equiv=refresh content="0; url=/canary"><link rel=stylesheet href=/canary>{runs}', subtype="html"
    )
    letter.add_attachment(b"x", maintype="text", subtype="html", filename="<script>fire()</script>.html")
    return bytes(letter)
