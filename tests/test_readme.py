"""README and docs say what is true: their commands, settings, requests to try, and code."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent, indent
from typing import Any

import httpx
import pytest
from arq.connections import ArqRedis

from docs.site.stage import MADE
from errand.monitor.job_snapshot import read_job
from errand.server import run
from settings import Settings
from tests.conftest import OpenClient

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
MAX_CODE_COLUMNS = 100


def docs(name: str) -> str:
    return (ROOT / "docs" / f"{name}.md").read_text()


def blocks(page: str, language: str) -> list[str]:
    found = re.findall(rf"^( *)```{language}\n(.*?)^\1```", page, re.MULTILINE | re.DOTALL)
    return [dedent(code) for _, code in found]


def own_app() -> dict[str, str]:
    """The modules of README's own app: text by path."""
    return {path: code for code in blocks(README, "python") for path in re.findall(r"\A# (myapp/\w+\.py)$", code, re.M)}


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 150


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_code_is_wider_than_a_screen(page: Path) -> None:
    code = re.findall(r"^```\w+\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    assert [line for block in code for line in block.splitlines() if len(line) > MAX_CODE_COLUMNS] == []


def test_the_requests_to_try_are_those_that_make_run_prints(capsys: pytest.CaptureFixture[str]) -> None:
    run.greet(Settings())
    printed = re.findall(r"curl .*", capsys.readouterr().out)
    shown = re.sub(r"\s*\\\n\s*", " ", docs("api")).splitlines()
    assert set(printed) <= set(shown)
    assert f"$ {printed[0]}" in re.sub(r"\s*\\\n\s*", " ", README).splitlines()


async def test_the_answer_that_it_shows_is_a_part_of_the_real_one(open_client: OpenClient) -> None:
    (shown,) = (json.loads(block) for block in blocks(README, "json"))
    async with open_client() as client:
        real = (await client.post("/v1/jobs/welcome_email", json={"to": "ada@example.com", "name": "Ada"})).json()
    assert shown.keys() <= real.keys() and shown["links"].keys() <= real["links"].keys()
    its_own = {"id", "links", "durability"}
    assert {name: real[name] for name in shown.keys() - its_own} == {
        name: shown[name] for name in shown.keys() - its_own
    }


async def test_the_ended_job_of_the_api_page_has_the_fields_of_a_real_one(open_client: OpenClient) -> None:
    (shown,) = (json.loads(block) for block in blocks(docs("api"), "json"))
    async with open_client() as client:
        put = await client.post("/v1/jobs/webhook", json={"url": "https://a.example/", "event": "a", "data": 1})
        real = (await client.get(put.headers["location"])).json()
    assert shown.keys() == real.keys()


@pytest.mark.parametrize("page", [README, docs("compare")], ids=["README", "compare"])
def test_the_figures_of_the_comparison_are_those_of_the_benchmarks(page: str) -> None:
    candidates = "Errand|arq, tuned|arq, as shipped|SAQ [0-9.]+|taskiq [0-9.]+"
    measured = re.findall(rf"^\| (?:{candidates}) \|[^|]*\| ([\d,]+) jobs/s \|", docs("benchmarks"), re.MULTILINE)
    (row,) = re.findall(r"^\| no-op jobs a second \|.*", page, re.MULTILINE)
    figures = [int(figure.replace(",", "")) for figure in measured]
    three_digits = {f"{float(f'{figure:.3g}'):,.0f}" for figure in figures}
    assert set(re.findall(r"\d[\d,]+", row)) == three_digits and len(measured) == 5


def test_every_setting_is_in_the_table_and_nothing_else() -> None:
    rows = re.findall(r"^\| (`[A-Z].*?) \|", docs("settings"), re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert named == {name.upper() for name in Settings.model_fields}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_make_target_a_page_names_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"[`\n]make ([a-z]+(?:-[a-z]+)*)", page.read_text())) <= targets


@pytest.fixture
def myapp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, redis_url: str) -> Iterator[dict[str, Any]]:
    """README's own app, written to a folder, as its user would import it."""
    for path, code in own_app().items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "var"))
    monkeypatch.setenv("REDIS_URL", redis_url)
    monkeypatch.setenv("JOB_PACKAGES", "myapp.jobs")
    yield vars(__import__("myapp.main").main)
    for name in [name for name in sys.modules if name.partition(".")[0] == "myapp"]:
        del sys.modules[name]


async def test_the_app_that_it_shows_is_short_and_works(redis: ArqRedis, myapp: dict[str, Any]) -> None:
    assert len(own_app()["myapp/main.py"].splitlines()) <= 15
    app = myapp["app"]
    transport = httpx.ASGITransport(app=app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://test") as client,
    ):
        answer = await client.post("/signup", params={"name": "Ada"})
    assert answer.status_code == 201
    job = await read_job(redis, answer.json()["job"])
    assert job is not None and (job.type, job.args["name"]) == ("greet", "Ada")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_all_python_that_a_page_shows_can_be_compiled(page: Path) -> None:
    for code in blocks(page.read_text(), "python"):
        try:
            compile(code, page.name, "exec")
        except SyntaxError:  # a part of a function
            compile("async def part():\n" + indent(code, "    "), page.name, "exec")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_and_heading_that_a_page_links_to_is_there(page: Path) -> None:
    for target, anchor in re.findall(r"\]\((?!https?://)([^)#]*)#?([^)]*)\)", page.read_text()):
        if target.removeprefix("../") in MADE:
            continue  # made with the site, which checks links to it
        linked = page.parent / target if target else page
        assert linked.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", linked.read_text(), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}, anchor
