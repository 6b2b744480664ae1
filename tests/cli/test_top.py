"""`errand top`: what is drawn of queues, workers and jobs."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from io import StringIO
from pathlib import Path

import httpx
import pytest
from arq.connections import ArqRedis
from pydantic import SecretStr
from rich.console import Console

from errand.cli.top import show
from errand.cli.top.keyboard import Keyboard
from errand.cli.top.view import STATUSES, View
from errand.wire import keys
from settings import Settings
from tests.conftest import OpenClient
from tests.http.answers_seen import LETTER
from tests.waiting import NEVER_S, eventually_sync

LINES, COLUMNS = 40, 160


async def printed(settings: Settings, job_id: str | None = None) -> tuple[int, str]:
    """The exit code and the screen, drawn once."""
    console = Console(file=StringIO(), width=160, force_terminal=True, color_system=None)
    code = await asyncio.to_thread(show, settings, job_id=job_id, every_s=1, once=True, console=console)
    assert isinstance(console.file, StringIO)
    return code, console.file.getvalue()


async def test_it_shows_queues_jobs_and_one_job(open_client: OpenClient, redis: ArqRedis, settings: Settings) -> None:
    async with open_client() as client:
        job_id = (await client.post("/v1/jobs/welcome_email?delay=1h", json=LETTER)).json()["id"]
    await redis.enqueue_job("x\x1b[2J\u202e[bold]", _job_id="hostile")
    code, screen = await printed(settings)
    assert code == 0 and job_id in screen and "deferred" in screen and "mail" in screen
    assert "[2J·[bold]" in screen and "\x1b[2J" not in screen and "\u202e" not in screen
    code, one = await printed(settings, job_id)
    assert code == 0 and "welcome_email" in one and "ada@example.com" not in one
    code, none = await printed(settings, "no\x1b[2J")
    assert code == 1 and "There is no job" in none and "\x1b[2J" not in none


async def test_what_a_worker_says_of_itself_is_drawn_as_it_is(redis: ArqRedis, settings: Settings) -> None:
    """Of other programs, too: it is no markup, and no number of a length that Python refuses to read."""
    queue, name = keys.queue("mail"), "host:\u00b2:1"
    await redis.zadd(keys.workers(queue), {name: time.time() * 1000})
    await redis.hset(keys.reports(queue), name, json.dumps({"version": "[/x]\x1b[2J"}))  # type: ignore[misc]
    await redis.hset(keys.minutes(queue), f"{'9' * 5_000} succeeded", "1")  # type: ignore[misc]
    code, screen = await printed(settings)
    assert code == 0 and "[/x]·[2J" in screen and "\x1b[2J" not in screen


async def test_a_redis_that_is_away_is_one_line(settings: Settings) -> None:
    away = settings.model_copy(update={"redis_url": SecretStr("redis://127.0.0.1:1")})
    with pytest.raises(SystemExit, match=r"^errand top: Redis cannot be reached: .*127.0.0.1:1"):
        await printed(away)


class Terminal:
    """What somebody sees who has started `errand top` in a terminal, and presses keys there."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._seen = ""

    def press(self, keys: str) -> None:
        """What was seen before does not count any more."""
        self._seen = ""
        os.write(self._descriptor, keys.encode())

    def shows(self, *texts: str) -> None:
        """Returns once all of them have been drawn since the last key."""
        try:
            eventually_sync(lambda: all(text in self._looked() for text in texts))
        except TimeoutError:
            raise AssertionError(f"{texts} were not drawn, but {self._seen[-2_000:]!r}") from None

    def _looked(self) -> str:
        with suppress(OSError):  # there is nothing to read yet
            self._seen += os.read(self._descriptor, 65_536).decode(errors="replace")
        return self._seen


@contextmanager
def terminal(environment: Mapping[str, str]) -> Iterator[tuple[Terminal, subprocess.Popen[bytes]]]:
    """`errand top` in a pseudo-terminal of its own."""
    ours, its = os.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    os.set_blocking(ours, False)
    command = [sys.executable, "-m", "errand", "top", "--packages", "jobs", "--every", "0.1"]
    known = {**os.environ, "TERM": "xterm", **environment}
    for name in ("COLUMNS", "LINES"):  # of the terminal of whoever runs the tests
        known.pop(name, None)
    root = Path(__file__).parents[2]
    process = subprocess.Popen(command, stdin=its, stdout=its, stderr=its, env=known, cwd=root, start_new_session=True)
    try:
        yield Terminal(ours), process
    finally:
        process.kill()
        process.wait()
        os.close(ours)
        os.close(its)


async def test_keys_lead_from_page_to_page_and_end_it(
    client: httpx.AsyncClient, redis_url: str, tmp_path: Path
) -> None:
    ids = [(await client.post(f"/v1/jobs/welcome_email?delay={n}h", json=LETTER)).json()["id"] for n in (1, 2)]
    environment = {"REDIS_URL": redis_url, "DATA_DIR": str(tmp_path)}

    def use() -> int:
        with terminal(environment) as (screen, process):
            screen.shows("overview", "Oldest due", ids[0], ids[1])
            screen.press("?")
            screen.shows("follow that job alone")
            screen.press("\x1b")
            screen.shows("overview")
            screen.press("2s")
            screen.shows("jobs, failed")
            screen.press("sss")
            screen.shows("jobs, deferred", ids[0])
            # the job that is due last stands first
            screen.press("\x1b[B\r")
            screen.shows("one job", ids[0])
            screen.press("\x7f")
            screen.shows("jobs, deferred", ids[1])
            screen.press("q")
            return process.wait()

    assert await asyncio.to_thread(use) == 0


async def test_a_key_that_a_slow_line_parts_is_one_key() -> None:
    pressed, (its, ours) = Keyboard(), os.pipe()
    for part in (b"\x1b", b"[", b"B\x1bO", b"A", b"x\x1b"):
        os.write(ours, part)
        pressed.read(its)
    assert [await pressed.next(NEVER_S) for _ in range(4)] == ["down", "up", "x", "esc"]
    os.close(its)
    os.close(ours)


def test_no_key_leads_out_of_a_list() -> None:
    view = View("jobs")
    assert view.after("up", ["a", "b"]) == view and View("jobs", row=9).after("down", ["a", "b"]) == View("jobs", row=1)
    assert view.after("enter", []) == view and view.after("x", ["a"]) == view and view.after("q", []) is None
    for _ in STATUSES:
        assert (view := view.after("s", [])) is not None  # type: ignore[assignment]
    assert view == View("jobs")
