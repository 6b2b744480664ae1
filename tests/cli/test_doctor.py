"""`errand doctor`: what it looks at beyond Redis, what it prints, and its exit code."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
import redis

from errand.cli import doctor
from errand.doctor import examine
from errand.job.catalog import discover
from errand.wire import keys
from settings import Settings

Answer = dict[str, dict[str, str]]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Settings by the environment, as the program reads them."""
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    monkeypatch.setenv("REDIS_URL", redis_url)
    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
    return tmp_path


def examined(capsys: pytest.CaptureFixture[str]) -> Answer:
    """The findings by check, from the program's JSON."""
    doctor.report(Settings.read(), as_json=True)
    return {finding["check"]: finding for finding in map(json.loads, capsys.readouterr().out.splitlines())}


def test_what_others_have_written_does_not_steer_the_terminal(
    capsys: pytest.CaptureFixture[str], redis_url: str
) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.set(keys.body("a"), json.dumps({"f": "x\x1b[2J"}))
        client.zadd(keys.queue("mail"), {"a": 1})
    doctor.report(Settings.read(), as_json=False)
    assert "types unknown here: x·[2J (1)" in capsys.readouterr().out


def test_warnings_make_the_exit_code_and_are_printed_with_what_fixes_them(
    capsys: pytest.CaptureFixture[str], redis_url: str
) -> None:
    assert doctor.report(Settings.read(), as_json=False) == 1, "the server of these tests writes nothing to disk"
    said = capsys.readouterr().out
    assert said.startswith(f"Redis: {redis_url}\n")
    assert "warning  persistence  nothing is written to disk" in said
    assert "risk: everything accepted" in said and "fix: redis.conf: `appendonly yes`" in said
    assert said.endswith("1 warning(s), 1 note(s), 9 fine\n")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://errand:hunter2@127.0.0.1:1/3", "redis://127.0.0.1:1/3"),
        ("redis+sentinel://errand:hunter2@127.0.0.1:1/m?sentinel_password=hunter2", "redis+sentinel://127.0.0.1:1/m"),
        ("unix:///nowhere/redis.sock?password=hunter2", "unix:///nowhere/redis.sock"),
    ],
)
def test_a_server_that_is_away_is_said_without_its_password(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, url: str, shown: str
) -> None:
    monkeypatch.setenv("REDIS_URL", url)
    assert doctor.report(Settings.read(), as_json=False) == 1
    said = capsys.readouterr().out
    assert said.startswith(f"Redis: {shown}\n") and "cannot be reached" in said
    assert "hunter2" not in said
    assert "storage" in said, "the rest is looked at all the same"


def test_the_storage_is_written_to_and_left_as_it_was(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert examined(capsys)["storage"]["level"] == "ok"
    assert list((here / "files").iterdir()) == []


def test_a_storage_that_cannot_be_written_to_is_found(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "file").touch()
    monkeypatch.setenv("STORAGE_URL", (here / "file" / "below").as_uri())
    finding = examined(capsys)["storage"]
    assert finding["level"] == "warning" and "STORAGE_URL" in finding["fix"]


def test_the_mail_server_is_connected_to(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert examined(capsys)["mail"]["level"] == "ok", "unset: the mail sink"
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        monkeypatch.setenv("SMTP_URL", f"smtp://errand:hunter2@127.0.0.1:{port}")
        assert examined(capsys)["mail"]["found"] == f"the mail server 127.0.0.1:{port} can be reached"
        providers = f"ses://k:s@eu-west-1?endpoint=http://127.0.0.1:{port},postmark://:hunter2@127.0.0.1:{port}"
        monkeypatch.setenv("SMTP_URL", f"smtp://127.0.0.1:{port},{providers}")
        assert examined(capsys)["mail"]["found"] == f"the mail server 127.0.0.1:{port} can be reached"
    finding = examined(capsys)["mail"]
    assert finding["level"] == "warning" and "hunter2" not in str(finding)


def test_what_several_machines_must_share_is_noted_if_redis_is_elsewhere(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "shared" not in examined(capsys)
    monkeypatch.setenv("REDIS_URL", "redis+sentinel://127.0.0.1:1,redis.invalid:2/m")
    assert examined(capsys)["shared"]["level"] == "note"
    monkeypatch.setenv("REDIS_URL", "redis+sentinel://127.0.0.1:1,[::1]:2/m")
    assert "shared" not in examined(capsys)
    monkeypatch.setenv("REDIS_URL", "redis://redis.invalid")
    assert examined(capsys)["shared"]["level"] == "note"
    monkeypatch.setenv("STORAGE_URL", "file:///tmp")
    assert "WEBHOOK_SECRET" in examined(capsys)["shared"]["found"]


def test_queues_that_only_a_worker_names_are_looked_at_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKER_QUEUES", "default,reports")
    queues = examine.installation_of(Settings.read(), discover(["jobs"])).queues
    assert queues == ["default", "cpu", "mail", "webhooks", "reports"]
