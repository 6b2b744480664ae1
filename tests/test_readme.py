"""The README says what is true: its commands, its settings, its lines to try."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from arq.connections import ArqRedis

from errand.monitor.job_snapshot import read_job
from errand.server import run
from settings import Settings

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_the_lines_to_try_are_those_that_make_run_prints(capsys: pytest.CaptureFixture[str]) -> None:
    run.greet(Settings())
    printed = re.findall(r"curl .*", capsys.readouterr().out)
    shown = re.findall(r"^\$ (curl .* (?:-d|-F) .*)$", README, re.MULTILINE)
    assert shown == printed


def test_every_setting_is_in_the_table_and_nothing_else() -> None:
    table = README.partition("## Settings")[2].partition("\n\n**")[0]
    named = {
        name for row in re.findall(r"^\| (`[A-Z].*?) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)
    }
    assert named == {name.upper() for name in Settings.model_fields}


def test_every_make_target_it_names_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"make ([a-z]+(?:-[a-z]+)*)", README)) <= targets


async def test_the_app_that_it_shows_is_short_and_works(
    redis: ArqRedis, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (code,) = re.findall(r"^```python\n(from fastapi .*?)^```", README, re.MULTILINE | re.DOTALL)
    assert len(code.splitlines()) <= 25
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    monkeypatch.setenv("REDIS_URL", redis_url)
    shown: dict[str, Any] = {}
    exec(compile(code, "README.md", "exec", dont_inherit=True), shown)
    app = shown["app"]
    transport = httpx.ASGITransport(app=app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://test") as client,
    ):
        answer = await client.post("/signup", json={"email": "ada@example.com", "name": "Ada"})
    assert answer.status_code == 201
    job = await read_job(redis, answer.json()["greeting"])
    assert job is not None and (job.type, job.args["to"]) == ("welcome_email", "ada@example.com")


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))], ids=lambda page: page.name
)
def test_every_file_that_a_page_links_to_is_there(page: Path) -> None:
    links = re.findall(r"\]\((?!https?://)([^)#]+)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []
