"""Every curl command of the docs against a live API and worker, as its reader would send it."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from docs.site.code_blocks import PAGES, ROOT
from tests.processes.conftest import House, a_house

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="apt install curl")

CONSOLE = re.compile(r"^( *)```console\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
A_JOB = "01a1fb3e-c9b6-7ba1-a6cf-febc51219219"
"""The id in the docs of a job that its reader has put."""
OWN_APP = "127.0.0.1:8001"
"""The reader's own app, of which the docs show two lines: no part of the API."""
ENDLESS = ("/v1/events",)
STREAM_S = 0.5
"""How long an endless stream is read."""
ENDED_BY_US = 28
"""curl's exit code when its time is over."""


def commands_in(page: Path) -> Iterator[str]:
    """The curl commands of a page: each begins a line, behind a prompt if its block has prompts."""
    for found in CONSOLE.finditer(page.read_text()):
        for command in re.split(r"^(?:\$ )?(?=curl )", dedent(found[2]), flags=re.MULTILINE)[1:]:
            if OWN_APP not in command:
                yield command.partition("\n$ ")[0].strip()


COMMANDS = {page: list(commands_in(page)) for page in PAGES}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with a_house(tmp_path_factory.mktemp("docs") / "house") as one:
        one.start("service")
        one.worker()
        yield one


@pytest.fixture(scope="module")
def job_id(house: House) -> str:
    """The job that the docs ask for again."""
    job = house.post("/v1/jobs/welcome_email", json={"to": "ada@example.com", "name": "Ada"})
    return str(job["id"])


def test_all_commands_are_found() -> None:
    text = "".join(page.read_text() for page in PAGES)
    shown = re.findall(r"^ *(?:\$ )?curl .*127\.0\.0\.1:8000", text, re.MULTILINE)
    assert sum(map(len, COMMANDS.values())) == len(shown) >= 15


@pytest.mark.parametrize("page", [page for page, found in COMMANDS.items() if found], ids=lambda page: page.name)
def test_each_is_answered_as_asked(house: House, job_id: str, page: Path) -> None:
    for command in COMMANDS[page]:
        here = command.replace("127.0.0.1:8000", f"127.0.0.1:{house.port}").replace(A_JOB, job_id)
        here = here.replace("127.0.0.1:8010", f"127.0.0.1:{house.sink_port}")
        endless = any(f"{path}?" in here for path in ENDLESS)
        options = f"--silent --show-error --fail-with-body --max-time {STREAM_S if endless else 60}"
        run = subprocess.run(
            ["sh", "-c", here.replace("curl ", f"curl {options} ", 1)],
            capture_output=True,
            text=True,
            cwd=ROOT,
            check=False,
        )
        assert run.returncode == (ENDED_BY_US if endless else 0), f"{here}\n{run.stdout}{run.stderr}"
        assert run.stdout or endless
