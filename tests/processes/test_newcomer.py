"""A newcomer with curl alone: every mistake is answered by a sentence that says what to do."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.processes.conftest import ROOT, House, a_house

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="apt install curl")

LETTER = '{"to": "ada@example.com", "name": "Ada"}'
JSON = ["-H", "content-type:application/json"]
WELCOME = "/v1/jobs/welcome_email"
PHOTO = f"file=@{ROOT}/examples/photo.jpg"
SIZES = 'args={"sizes": [{"width": 320}]}'
WHEN = "such as 90s, 10m or 2h30m"

MISTAKES: dict[str, tuple[list[str], int, str]] = {
    # the body
    "an unknown type": (["/v1/jobs/welcome_mail", *JSON, "-d", LETTER], 404, "The types are: resize, webhook"),
    "no content type": ([WELCOME, "-d", LETTER], 422, "sent with 'Content-Type: application/json'"),
    "a text": ([WELCOME, "-H", "content-type:text/plain", "-d", LETTER], 422, "must be JSON, sent with"),
    "a form": ([WELCOME, *JSON, "-d", "to=ada@example.com", "-d", "name=Ada"], 422, "It looks like a form: send JSON"),
    "a multipart form": ([WELCOME, "-F", "to=ada@example.com"], 422, "must be JSON, sent with"),
    "half of it": ([WELCOME, *JSON, "-d", LETTER[:-1]], 422, "is not valid JSON: EOF while parsing an object"),
    "single quotes": ([WELCOME, *JSON, "-d", "{'to': 'ada@example.com'}"], 422, "JSON has double quotes"),
    "no quotes": ([WELCOME, *JSON, "-d", "{to: ada@example.com}"], 422, "has the shell taken them away?"),
    "quotes of Windows": ([WELCOME, *JSON, "-d", "'{to:"], 422, "in Windows' cmd.exe write"),
    "no body": (["-X", "POST", WELCOME, *JSON], 422, "It is empty: send the args"),
    "no body and no type": (["-X", "POST", WELCOME], 422, "must be JSON, sent with"),
    "a file's name": ([WELCOME, *JSON, "--data-raw", "@letter.json"], 422, "curl reads a file for -d @FILE"),
    "a list": ([WELCOME, *JSON, "-d", f"[{LETTER}]"], 422, "must be a JSON object"),
    "a number": ([WELCOME, *JSON, "-d", "7"], 422, "must be a JSON object"),
    "not a number": ([WELCOME, *JSON, "-d", '{"to": NaN}'], 422, "is not valid JSON"),
    "a byte order mark": ([WELCOME, *JSON, "--data-binary", "\ufeff{}"], 422, "send UTF-8 without one"),
    "a missing field": ([WELCOME, *JSON, "-d", '{"to": "ada@example.com"}'], 422, "body.name: Field required"),
    "a field too many": ([WELCOME, *JSON, "-d", '{"to": "a@b.example", "name": "A", "x": 1}'], 422, "body.x: Extra"),
    "a bad address": ([WELCOME, *JSON, "-d", '{"to": "ada", "name": "A"}'], 422, "must have an @-sign"),
    "no whole URL": (
        ["/v1/jobs/webhook", *JSON, "-d", '{"url": "me.example", "event": "a", "data": 1}'],
        *(422, "must be a whole URL, such as https://"),
    ),
    "a batch of one": ([f"{WELCOME}/batch", *JSON, "-d", LETTER], 422, "must be an array of 1 to 10000 args"),
    "a bad item": ([f"{WELCOME}/batch", *JSON, "-d", f"[{LETTER}, {{}}]"], 422, "body.1.to: Field required"),
    "a body too large": ([WELCOME, *JSON, "-H", "content-length: 99999999", "-d", "{}"], 413, "Send less, or raise"),
    # when, and on what conditions
    "no duration": ([f"{WELCOME}?delay=soon", *JSON, "-d", LETTER], 422, WHEN),
    "a duration below nothing": ([f"{WELCOME}?delay=-5", *JSON, "-d", LETTER], 422, WHEN),
    "an empty duration": ([f"{WELCOME}?delay=", *JSON, "-d", LETTER], 422, WHEN),
    "no time": ([f"{WELCOME}?run_at=tomorrow", *JSON, "-d", LETTER], 422, "such as 2030-01-01T09:00:00Z"),
    "a time in seconds": ([f"{WELCOME}?run_at=1893456000", *JSON, "-d", LETTER], 422, "such as 2030-01-01T09:00:00Z"),
    "a day": ([f"{WELCOME}?run_at=2030-01-01", *JSON, "-d", LETTER], 422, "such as 2030-01-01T09:00:00Z"),
    "a time of nowhere": ([f"{WELCOME}?run_at=2030-01-01T09:00:00", *JSON, "-d", LETTER], 422, "timezone"),
    "a plus": ([f"{WELCOME}?run_at=2030-01-01T09:00:00+02:00", *JSON, "-d", LETTER], 422, "a '+' is written %2B"),
    "both": ([f"{WELCOME}?delay=5&run_at=2030-01-01T09:00:00Z", *JSON, "-d", LETTER], 422, "not both"),
    "a slip": ([f"{WELCOME}?dleay=5", *JSON, "-d", LETTER], 422, "did you mean 'delay'?"),
    "a bad key": ([WELCOME, *JSON, "-H", "Idempotency-Key;", "-d", LETTER], 400, "with 1 to 255 printable ASCII"),
    # the path and the method
    "GET of a type": ([WELCOME], 404, "is a job type, and no job's id. To put such a job, POST"),
    "a slash too many": ([f"{WELCOME}/", *JSON, "-d", LETTER], 404, "There is POST /v1/jobs/welcome_email."),
    "PUT": (["-X", "PUT", WELCOME, *JSON, "-d", LETTER], 405, "POST is. The API is described at /docs."),
    "GET to cancel": (["/v1/jobs/x/cancel"], 405, "GET is not possible at /v1/jobs/x/cancel. POST is."),
    "nowhere": (["/"], 404, "The API is described at /docs."),
    "nearly": (["/v1/job-type"], 404, "There is GET /v1/job-types or"),
    "an unknown method": (["-X", "FOO", "/healthz"], 400, "not a valid HTTP/1.1 request"),
    "no job": (["/v1/jobs/nope"], 404, "There is no job 'nope'."),
    "an odd id": (["/v1/jobs/%00%ff%20'"], 404, "It never was, or it has been forgotten."),
    "a long id": ([f"/v1/jobs/{'a' * 200}"], 422, "at most 128 characters"),
    "a huge id": ([f"/v1/jobs/{'a' * 9000}"], 414, "longer than 8192 bytes"),
    "a wait that is no number": (["/v1/jobs/x?wait=soon"], 422, "query.wait: Input should be a valid number"),
    "a wait too long": (["/v1/jobs/x?wait=600"], 422, "less than or equal to 60"),
    "no queue": (["-X", "POST", "/v1/queues/nope/pause"], 404, "The queues are: default, cpu"),
    "no file": (["/v1/files/nope"], 404, "Nothing is stored under 'nope'."),
    "a foreign name": (["/v1/job-types", "-H", "Host: errand.example"], 403, "ask it at 127.0.0.1, or set API_KEYS"),
    # uploads
    "the file is missing": (["/v1/jobs/resize", "-F", SIZES], 422, "with curl as -F file=@photo.jpg"),
    "the args are missing": (["/v1/jobs/resize", "-F", PHOTO], 422, "body.sizes: Field required"),
    "a wrong part": (["/v1/jobs/resize", "-F", PHOTO, "-F", "sizes=320"], 422, "is neither 'args' nor 'file'"),
    "bad args": (["/v1/jobs/resize", "-F", PHOTO, "-F", "args={'sizes': []}"], 422, "JSON has double quotes"),
    "args that are a list": (
        ["/v1/jobs/resize", "-F", PHOTO, "-F", "args=[]"],
        422,
        "body.args: must be a JSON object",
    ),
    "the bare file": (["/v1/jobs/resize", "-H", "content-type:image/jpeg", "-d", "x"], 422, "multipart/form-data"),
    "no boundary": (["/v1/jobs/resize", "-H", "content-type:multipart/form-data", "-d", "x"], 422, "no boundary"),
    "no picture at all": (["/v1/jobs/resize", *JSON, "-d", '{"sizes": [{"width": 9}]}'], 422, "give either a file"),
    # the rest
    "a schedule of words": (
        ["/v1/schedules", *JSON, "-d", f'{{"type": "welcome_email", "args": {LETTER}, "cron": "every day"}}'],
        *(422, "such as '30 9 * * MON-FRI'"),
    ),
    "an unknown zone": (
        [
            *("/v1/schedules", *JSON, "-d"),
            f'{{"type": "welcome_email", "args": {LETTER}, "cron": "* * * * *", "timezone": "Berlin"}}',
        ],
        *(422, "did you mean Europe/Berlin?"),
    ),
    "a schedule's odd id": (["-X", "PUT", "/v1/schedules/a.b", *JSON, "-d", "{}"], 422, "must be 1 to 64 letters"),
    "a replay of nothing": (
        ["/v1/dead-jobs/replay", *JSON, "-d", "{}"],
        422,
        "needs a type, a fingerprint or what the faults are about",
    ),
    "a cursor": (["/v1/dead-jobs?cursor=x"], 422, "must be the cursor of a page, unchanged"),
    "no worker": (["/readyz"], 503, "Start one with 'make run-worker'."),
}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """An API that is asked wrong things only, and so serves them all. No worker runs."""
    folder: Path = tmp_path_factory.mktemp("newcomer")
    with a_house(folder / "house") as one:
        one.api()
        yield one


def curl(house: House, *arguments: str) -> tuple[int, str, dict[str, Any]]:
    """Status, media type and JSON; the argument that begins with `/` is the path."""
    shown = [house.url + argument if argument.startswith("/") else argument for argument in arguments]
    command = ["curl", "--silent", "--globoff", "--max-time", "60", "--write-out", r"\n%{http_code} %{content_type}"]
    printed = subprocess.run([*command, *shown], capture_output=True, text=True, check=True).stdout
    content, _, last = printed.rpartition("\n")
    status, _, media_type = last.partition(" ")
    return int(status), media_type, json.loads(content)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_every_mistake_is_answered_by_a_sentence_that_says_what_to_do(house: House, mistake: str) -> None:
    arguments, status, sentence = MISTAKES[mistake]
    answered, media_type, problem = curl(house, *arguments)
    assert (answered, media_type) == (status, "application/problem+json"), problem
    assert sentence in problem["detail"]
    assert problem["status"] == status and problem["type"].startswith("/problems/") and problem["title"]


def test_an_old_client_is_served_too(house: House) -> None:
    status, _, job = curl(house, "--http1.0", WELCOME, *JSON, "-d", LETTER)
    assert (status, job["status"]) == (202, "queued")


def test_https_where_none_is_spoken_ends_at_once_and_hurts_nobody(house: House) -> None:
    https = house.url.replace("http:", "https:")
    assert subprocess.run(["curl", "-sk", "--max-time", "60", https], check=False).returncode == 35
    assert curl(house, "/healthz")[0] == 200
