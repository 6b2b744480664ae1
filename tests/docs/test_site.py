"""The site builds without a warning; what it says of the program is made from the program."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import errand
from docs.site import commands, http_api, python_api, stage
from errand.http.answers.problem_kinds import KINDS


@pytest.fixture(scope="module")
def staged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs") / "staged"
    stage.make(folder)
    return folder


def build(folder: Path) -> subprocess.CompletedProcess[str]:
    zensical = str(Path(sys.executable).with_name("zensical"))
    command = [zensical, "build", "--strict", "--config-file", str(folder / "zensical.toml")]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_site_is_built_and_every_link_in_it_leads_somewhere(staged: Path) -> None:
    built = build(staged)
    assert built.returncode == 0, built.stdout + built.stderr
    assert (staged / "html" / "reference" / "http" / "index.html").exists()


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
