"""The site builds without a warning; what it says of the program is made from the program."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

import errand
from docs.site import commands, drawings, http_api, licences, python_api, redis_keys, speed_chart, stage
from errand.events.change import Kind
from errand.http.answers.problem_kinds import KINDS
from errand.http.routes.events import JobEvent
from errand.webhooks.endpoints.notices import DISABLED, EXHAUSTED, RECOVERED


@pytest.fixture(scope="module")
def staged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs") / "staged"
    stage.make(folder)
    return folder


def build(folder: Path) -> subprocess.CompletedProcess[str]:
    zensical = str(Path(sys.executable).with_name("zensical"))
    command = [zensical, "build", "--strict", "--config-file", str(folder / "zensical.toml")]
    return subprocess.run(command, capture_output=True, text=True, check=False)


LOADED = re.compile(
    r'<(?:script|img|iframe|source)[^>]*\ssrc="?(?:https?:)?//|<link[^>]*rel="?stylesheet[^>]*href="?(?:https?:)?//'
)


def test_the_site_is_built_with_no_dead_link_and_nothing_from_another_host(staged: Path) -> None:
    built = build(staged)
    assert built.returncode == 0, built.stdout + built.stderr
    assert (staged / "html" / "reference" / "http" / "index.html").exists()
    pages = list((staged / "html").rglob("*.html"))
    assert len(pages) > 30
    assert [str(page) for page in pages if LOADED.search(page.read_text())] == []


def test_a_link_that_leads_nowhere_fails_the_build(tmp_path: Path) -> None:
    (tmp_path / "pages").mkdir()
    (tmp_path / "pages" / "index.md").write_text("# A\n\n[gone](gone.md)\n")
    (tmp_path / "zensical.toml").write_text('[project]\nsite_name = "A"\ndocs_dir = "pages"\nsite_dir = "html"\n')
    assert build(tmp_path).returncode != 0


def test_every_page_is_in_the_navigation(staged: Path) -> None:
    navigation = (staged / "zensical.toml").read_text()
    pages = {str(page.relative_to(staged / "pages")) for page in (staged / "pages").rglob("*.md")}
    assert {page for page in pages if f'"{page}"' not in navigation} == set()


def test_every_operation_command_problem_and_public_name_has_its_entry(staged: Path) -> None:
    reference = {page.stem: page.read_text() for page in (staged / "pages" / "reference").iterdir()}
    paths = http_api.document()["paths"]
    operations = {f"### {method.upper()} {path}\n" for path, methods in paths.items() for method in methods}
    assert {one for one in operations if one not in reference["http"]} == set()
    assert {name for name in KINDS if f"## {name}\n" not in reference["problems"]} == set()
    assert {name for name in errand.__all__ if f"## {name}\n" not in reference["python"]} == set()
    assert "## errand worker\n" in reference["commands"] and "--packages" in reference["commands"]


def test_every_public_name_says_what_it_is() -> None:
    assert [part for part in python_api.page().split("\n## ")[1:] if len(part.splitlines()) < 3] == []
    assert "Usage:" in commands.page()


def test_an_alias_and_a_constant_show_the_text_below_them_and_not_that_of_their_class() -> None:
    entries = dict(part.split("\n", 1) for part in python_api.page().split("\n## ")[1:])
    assert "A parameter `jobs: Jobs` of your route" in entries["Jobs"]
    assert "The version of Errand that is installed" in entries["__version__"]


def test_each_diagram_is_a_picture_with_a_title(staged: Path) -> None:
    pages = {page for page in stage.DOCS.rglob("*.md") if "```mermaid" in page.read_text()}
    assert {page.stem for page in pages} >= {"life-of-a-job", "claim-and-lease", "wire-format", "which-lane"}
    for page in pages:
        text = (staged / "pages" / page.relative_to(stage.DOCS)).read_text()
        pictures = re.findall(r"!\[([^\]]+)\]\(((?:\.\./)*drawings/[^)#]+)#only-(light|dark)\)", text)
        assert len(pictures) == 2 * page.read_text().count("```mermaid") and "```mermaid" not in text
        for title, picture, _ in pictures:
            drawn = (staged / "pages" / page.relative_to(stage.DOCS).parent / picture).read_text()
            assert title and drawn.startswith("<svg") and "<text" in drawn and "foreignObject" not in drawn


def test_a_diagram_without_a_title_or_a_meaning_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "a.md"
    page.write_text("```mermaid\nflowchart LR\n    a --> b\n```\n")
    with pytest.raises(ValueError, match="accTitle"):
        drawings.put_pictures(tmp_path)
    page.write_text("```mermaid\nflwchart LR\n    accTitle: A\n    a --> b\n```\n")
    with pytest.raises(ValueError, match="flwchart"):
        drawings.put_pictures(tmp_path)


def test_every_key_setting_and_package_has_its_entry() -> None:
    keys = redis_keys.entries()
    assert keys["arq:in-progress:ID"].startswith("Arq's in-progress key")
    assert all(keys.values()) and len(keys) > 60
    packages = {name: licence for name, _, licence in licences.entries()}
    assert packages["fastapi"] == "MIT" and "see its own files" not in packages.values()


def test_the_chart_of_the_readme_is_that_of_the_benchmarks() -> None:
    assert speed_chart.CHART.read_text() == speed_chart.chart()
    assert "Errand" in speed_chart.figures()


def test_the_events_and_their_fields_are_those_of_the_program() -> None:
    jobs, _, webhooks = (stage.DOCS / "events.md").read_text().partition("## Of webhooks")
    names, _, fields = jobs.partition("The `data`")
    assert first_cells(names) == {*get_args(Kind), "missed"}
    assert first_cells(fields) == set(JobEvent.model_fields)
    assert first_cells(webhooks) == {DISABLED, RECOVERED, EXHAUSTED, "endpoint.test"}


def first_cells(text: str) -> set[str]:
    """The names in code in the first cells of tables."""
    return {
        name for cell in re.findall(r"^\| (`.*?) \|", text, re.MULTILINE) for name in re.findall(r"`([^`]+)`", cell)
    }
