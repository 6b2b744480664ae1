"""`errand top`: what is drawn of queues, workers and jobs."""

from __future__ import annotations

import asyncio
from io import StringIO

from arq.connections import ArqRedis
from rich.console import Console

from errand.cli.top import show
from settings import Settings
from tests.conftest import OpenClient
from tests.http.answers_seen import LETTER


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
