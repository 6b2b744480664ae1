"""The page "In ten minutes", done as it says: its files in an empty folder, its commands, its test."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from docs.site.code_blocks import blocks_of
from tests.docs.test_shell import lines_of
from tests.ports import free_port
from tests.processes.conftest import ROOT, House, a_house
from tests.waiting import eventually_sync

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="apt install curl")

PAGE = ROOT / "docs" / "start" / "ten-minutes.md"
COMMANDS = list(lines_of(PAGE))
CODE = {found[1]: block.code for block in blocks_of(PAGE) if (found := re.match(r"# (\S+\.py)$", block.code, re.M))}
APP_PORT = free_port()


@pytest.fixture(scope="module")
def hello(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """The folder `hello` with the page's files, and all of its programs running."""
    folder = tmp_path_factory.mktemp("ten") / "hello"
    for path, code in CODE.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(code)
    for command in COMMANDS:
        if command[0] == "echo":
            (folder / command[-1]).write_text(command[1])
    with a_house(folder / "var", root=folder, environment={"PYTHONPATH": f"{folder}:{ROOT}"}) as house:
        for command in COMMANDS:
            if command[0] == "uvicorn":
                house.start("uvicorn", *command[1:-1], str(APP_PORT))
            elif command[0] == "errand":
                house.start("errand", *command[1:])
        eventually_sync(lambda: house.answers("/readyz") and answers(APP_PORT))
        yield house


def answers(port: int) -> bool:
    return subprocess.run(["curl", "-s", f"http://127.0.0.1:{port}/openapi.json"], capture_output=True).returncode == 0


def asked(house: House, command: list[str]) -> str:
    """The answer to one of the page's requests."""
    here = [word.replace(":8000", f":{house.port}").replace(":8001", f":{APP_PORT}") for word in command]
    run = subprocess.run([*here, "--silent", "--fail-with-body"], capture_output=True, text=True, check=False)
    assert run.returncode == 0, shlex.join(here) + run.stdout + run.stderr
    return run.stdout


def test_its_requests_are_answered_as_it_says(hello: House) -> None:
    order, look = (command for command in COMMANDS if command[0] == "curl")
    assert '"job"' in asked(hello, order)
    eventually_sync(lambda: '"status":"succeeded"' in asked(hello, look))
    assert '"type":"report"' in asked(hello, look)


def test_its_dashboard_shows_the_schedule(hello: House) -> None:
    page = hello.http.get(f"{hello.url}/dashboard/schedules")
    assert page.status_code == 200 and "clean_up" in page.text


def test_its_test_passes(hello: House) -> None:
    (command,) = (command for command in COMMANDS if command[0] == "pytest")
    run = subprocess.run(
        # no plugin is installed where Errand is not: pytest is given the one that it would find
        [sys.executable, "-m", *command, "-p", "errand.testing.plugin", "-o", "addopts=", "--quiet"],
        cwd=hello.root,
        env={**os.environ, "PYTHONPATH": f"{hello.root}:{ROOT}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "1 passed" in run.stdout


def test_all_of_its_files_are_there(hello: House) -> None:
    assert {str(path.relative_to(hello.root)) for path in Path(hello.root).rglob("*.py")} >= set(CODE)
    assert set(CODE) == {"myapp/jobs.py", "myapp/main.py", "test_reports.py"}
