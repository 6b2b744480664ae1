"""No log of a process shows a password of its settings or a key, even if a server throws it back in an error."""

from __future__ import annotations

import base64
import re
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.http.answers_seen import LETTER
from tests.processes.conftest import House
from tests.waiting import eventually_sync

PASSWORD = "hunter2-pa%2Fss"
AS_SENT = "hunter2-pa/ss"
KEY = "key-hunter2-0123456789"


class RedisParrot(socketserver.StreamRequestHandler):
    """Knows no command, and says so as old servers do: with its arguments."""

    def handle(self) -> None:
        while line := self.rfile.readline():
            parts = [(self.rfile.readline(), self.rfile.readline().strip())[1] for _ in range(int(line[1:]))]
            self.wfile.write(b"-ERR unknown command, with args beginning with: " + b", ".join(parts)[:200] + b"\r\n")


class SmtpParrot(socketserver.StreamRequestHandler):
    """Refuses every login, and quotes what it received."""

    def handle(self) -> None:
        self.wfile.write(b"220 parrot\r\n")
        while line := self.rfile.readline():
            word, _, rest = line.strip().partition(b" ")
            if word == b"EHLO":
                self.wfile.write(b"250-parrot\r\n250 AUTH PLAIN\r\n")
            elif word == b"AUTH":
                said = base64.b64decode(rest.split()[-1]).replace(b"\0", b" ")
                self.wfile.write(b"535 5.7.8 not known: " + said + b"\r\n")
            else:
                self.wfile.write(b"221 bye\r\n")


@contextmanager
def listening(handler: type[socketserver.BaseRequestHandler]) -> Iterator[int]:
    """The port that it listens on."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def leaks_in(text: str) -> list[str]:
    return re.findall("hunter2.{0,20}", text)


@pytest.mark.parametrize("form", ["console", "json"])
def test_a_password_that_redis_throws_back_is_in_no_log(new_house: Callable[..., House], form: str) -> None:
    with listening(RedisParrot) as port:
        house = new_house(environment={"REDIS_URL": f"redis://ada:{PASSWORD}@127.0.0.1:{port}", "LOG_FORMAT": form})
        house.start("service", API_KEYS=KEY)
        worker = house.start("jobs")
        eventually_sync(lambda: house.answers("/healthz") or house.processes[0].poll() is not None)
        if house.processes[0].poll() is None:
            for key in (KEY, f"{KEY}-wrong"):
                headers = {"Authorization": f"Bearer {key}"}
                answer = house.http.post(f"{house.url}/v1/jobs/welcome_email?key={KEY}", json=LETTER, headers=headers)
                assert answer.status_code in (401, 500, 503) and leaks_in(answer.text) == []
        eventually_sync(lambda: worker.poll() is not None or "unknown command" in house.log("jobs").read_text())
        doctor = house.start("errand", "doctor", "--packages", "jobs")
        assert doctor.wait(60) == 1
    for module in ("service", "jobs", "errand"):
        text = house.log(module).read_text()
        assert leaks_in(text) == []
    assert "**********" in house.log("jobs").read_text(), "it was thrown back, and hidden"


def test_a_password_that_a_mail_server_throws_back_is_in_no_log_and_no_view(new_house: Callable[..., House]) -> None:
    with listening(SmtpParrot) as port:
        house = new_house(environment={"SMTP_URL": f"smtp://ada:{PASSWORD}@127.0.0.1:{port}?starttls=never"})
        house.api()
        house.worker()
        job = house.post("/v1/jobs/welcome_email", json=LETTER)

        def tried() -> str | None:
            text = house.http.get(f"{house.url}/v1/jobs/{job['id']}").text
            return text if "535" in text else None

        shown = eventually_sync(tried)
    assert "not known:  ada **********" in str(shown)
    for text in (str(shown), house.log("service").read_text(), house.log("jobs").read_text()):
        assert leaks_in(text) == []
