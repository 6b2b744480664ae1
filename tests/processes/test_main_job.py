"""The main job as a user runs it: API and worker as processes, the three job types, deferred starts."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.parser import BytesParser
from email.policy import default

import pytest
from standardwebhooks import Webhook

from tests.pictures import image, size_of
from tests.processes.conftest import House, a_house


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with a_house(tmp_path_factory.mktemp("main") / "house") as house:
        house.api()
        house.worker()
        yield house


def test_the_three_jobs_have_their_effects(running: House) -> None:
    mail = running.post("/v1/jobs/welcome_email", json={"to": "ada@example.com", "name": "Ada"})
    receiver = f"http://127.0.0.1:{running.sink_port}/"
    hook = running.post("/v1/jobs/webhook", json={"url": receiver, "event": "user.created", "data": {"id": 7}})
    args = json.dumps({"sizes": [{"width": 320}, {"width": 64, "height": 64, "fit": "cover", "format": "webp"}]})
    upload = {"file": ("photo.jpg", io.BytesIO(image(960, 640)))}
    picture = running.post("/v1/jobs/resize", files=upload, data={"args": args})

    done = {job["type"]: running.ended(job) for job in (mail, hook, picture)}
    assert {job["status"] for job in done.values()} == {"succeeded"}
    assert {len(job["attempts"]) for job in done.values()} == {1}
    _check_letter(running, mail["id"])
    _check_delivery(running, hook["id"])
    _check_outputs(running, done["resize"]["result"]["outputs"])


def _check_letter(house: House, job_id: str) -> None:
    (letter,) = (house.data_dir / "mail").glob("*.eml")
    message = BytesParser(policy=default).parsebytes(letter.read_bytes())
    assert message["Message-ID"] == f"<{job_id}@localhost>"
    parts = [part.get_content_type() for part in message.walk()]
    assert parts == ["multipart/alternative", "text/plain", "text/html"]


def _check_delivery(house: House, job_id: str) -> None:
    delivery = json.loads((house.data_dir / "webhooks" / f"{job_id}.json").read_text())
    secret = (house.data_dir / "webhook_secret").read_text().strip()
    body = Webhook(secret).verify(delivery["body"], delivery["headers"])
    assert (body["type"], body["data"]) == ("user.created", {"id": 7})


def _check_outputs(house: House, outputs: list[dict[str, object]]) -> None:
    assert [(output["width"], output["height"], output["format"]) for output in outputs] == [
        (320, 213, "jpeg"),
        (64, 64, "webp"),
    ]
    for output in outputs:
        stored = house.http.get(f"{house.url}{output['url']}")
        assert stored.status_code == 200 and len(stored.content) == output["bytes"]
        assert size_of(stored.content) == (output["width"], output["height"])


def test_a_delayed_job_starts_at_its_time_and_a_past_one_at_once(running: House) -> None:
    body = {"url": f"http://127.0.0.1:{running.sink_port}/", "event": "tick", "data": None}
    past = (datetime.now(UTC) - timedelta(days=1)).isoformat()
    later = running.post("/v1/jobs/webhook", params={"delay": "2"}, json=body)
    at_once = running.post("/v1/jobs/webhook", params={"run_at": past}, json=body)
    assert (later["status"], at_once["status"]) == ("deferred", "queued")
    later, at_once = running.ended(later), running.ended(at_once)
    assert at_once["started_at"] < later["started_at"]
    wait = datetime.fromisoformat(later["started_at"]) - datetime.fromisoformat(later["enqueued_at"])
    assert wait >= timedelta(seconds=2)


def test_a_worker_and_an_api_started_apart_share_redis_and_settings(house: House) -> None:
    house.start("jobs")
    house.api()
    job = house.post("/v1/jobs/welcome_email", json={"to": "ada@example.com", "name": "Ada"})
    assert house.ended(job)["status"] == "succeeded"
