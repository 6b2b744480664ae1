"""`examples/signup.py` as its reader runs it: the app, a worker, and what of a request outlives each of them."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Callable
from email.parser import BytesParser
from email.policy import default
from pathlib import Path
from typing import Any

import httpx
from arq.connections import ArqRedis

from tests.peers import SmtpReceiver
from tests.pictures import image, size_of
from tests.ports import free_port
from tests.processes.conftest import House
from tests.programs import Program
from tests.waiting import eventually_sync

ADA = {"email": "ada@example.com", "name": "Ada"}


class Signup:
    """The example, running beside a house."""

    def __init__(self, house: House) -> None:
        self.house = house
        self._port = free_port()
        self.process = self.start()

    def start(self) -> Program:
        """The documented command."""
        process = self.house.start("uvicorn", "examples.signup:app", "--port", str(self._port))
        eventually_sync(self.answers)
        return process

    def answers(self) -> bool:
        try:
            return self.call("GET", "/docs").status_code == 200
        except httpx.HTTPError:
            return False

    def call(self, method: str, path: str, **request: Any) -> httpx.Response:
        return self.house.http.request(method, f"http://127.0.0.1:{self._port}{path}", **request)

    def users(self) -> list[tuple[str, str]]:
        database = sqlite3.connect(self.house.data_dir / "signup.db")
        try:
            return list(database.execute("SELECT email, name FROM users ORDER BY id"))
        finally:
            database.close()

    def noted(self) -> str:
        log = self.house.data_dir / "audit.log"
        return log.read_text() if log.exists() else ""

    def letters_to(self) -> list[str]:
        found = (self.house.data_dir / "mail").glob("*.eml")
        return [
            BytesParser(policy=default).parsebytes(path.read_bytes())["To"].addresses[0].addr_spec for path in found
        ]


def test_a_sign_up_is_answered_at_once_and_what_it_promised_survives_the_app(house: House) -> None:
    app = Signup(house)
    answer = app.call("POST", "/signup", json=ADA)
    app.process.kill()
    assert (answer.status_code, answer.json()) == (201, {**ADA, "id": 1})
    assert app.users() == [("ada@example.com", "Ada")]
    assert app.letters_to() == [], "no worker has run yet"

    house.api()
    house.worker()
    assert eventually_sync(app.letters_to) == ["ada@example.com"]
    deliveries = eventually_sync(lambda: list((house.data_dir / "webhooks").glob("*.json")))
    assert json.loads(json.loads(deliveries[0].read_text())["body"])["data"] == {**ADA, "id": 1}


def test_without_redis_nobody_is_signed_up_and_with_it_the_same_request_is_taken(
    new_house: Callable[..., House], redis: ArqRedis, redis_url: str, tmp_path: Path
) -> None:
    path = tmp_path / "redis.sock"
    app = Signup(new_house(environment={"REDIS_URL": f"unix://{path}"}))
    refused = app.call("POST", "/signup", json=ADA)
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "2")
    assert refused.headers["content-type"] == "application/problem+json"
    assert (app.users(), app.noted()) == ([], "")

    path.symlink_to(redis_url.removeprefix("unix://"))
    assert app.call("POST", "/signup", json=ADA).status_code == 201
    assert app.users() == [("ada@example.com", "Ada")]
    again = app.call("POST", "/signup", json=ADA)
    assert again.status_code == 409

    app.house.start("jobs")
    eventually_sync(lambda: "ada@example.com signed up" in app.noted())
    assert eventually_sync(app.letters_to) == ["ada@example.com"], "one letter: what raised has put nothing"


def test_an_avatar_is_resized_by_the_worker(house: House) -> None:
    app = Signup(house)
    house.api()
    house.worker()
    answer = app.call("POST", "/users/1/avatar", files={"picture": ("ada.jpg", image(600, 400))})
    assert answer.status_code == 202
    (job_id,) = answer.json()["jobs"]
    assert answer.headers["location"] == f"{house.url}/v1/jobs/{job_id}"
    done = house.ended({"id": job_id})
    stored = [house.http.get(f"{house.url}{output['url']}").content for output in done["result"]["outputs"]]
    assert [size_of(content) for content in stored] == [(256, 256), (64, 64)]


async def test_of_several_letters_one_fails_and_the_others_are_sent_in_their_order(
    new_house: Callable[..., House], mail_server: SmtpReceiver
) -> None:
    mail_server.replies["RCPT"] = ["250 OK", "550 5.1.1 no such mailbox", "250 OK"]
    house = new_house(environment={"SMTP_URL": mail_server.url, "WORKER_QUEUES": "default,mail:1"})
    people = [{"email": f"{name}@example.com", "name": name} for name in ("ada", "nobody", "grace")]

    def invite() -> list[dict[str, Any]]:
        app = Signup(house)
        answer = app.call("POST", "/invite", json=people)
        assert answer.status_code == 202
        house.api()
        house.worker()
        return [house.ended({"id": job_id}) for job_id in answer.json()["jobs"]]

    first, second, third = await asyncio.to_thread(invite)
    assert [job["status"] for job in (first, second, third)] == ["succeeded", "failed", "succeeded"]
    assert "no such mailbox" in second["error"]["message"]
    assert [recipients for _, recipients in mail_server.envelopes] == [["ada@example.com"], ["grace@example.com"]]


def test_a_best_effort_notice_needs_no_worker_and_no_redis(new_house: Callable[..., House], tmp_path: Path) -> None:
    app = Signup(new_house(environment={"REDIS_URL": f"unix://{tmp_path}/nowhere.sock"}))
    assert app.call("POST", "/notify", params={"email": "ada@example.com"}).status_code == 202
    eventually_sync(lambda: "a notice for ada@example.com" in app.noted())
