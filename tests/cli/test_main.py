"""The command line: what each program answers to `--help`, to a mistake, and what it loads."""

from __future__ import annotations

import io
import os
import runpy
import subprocess
import sys
import warnings
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from errand.cli.program import run_program
from errand.version import VERSION
from tests import programs

ROOT = Path(__file__).parent.parent.parent
COMMANDS = ["run", "dev", "api", "worker", "doctor", "health", "move", "key", "version"]
PROGRAMS = ["errand", *(f"errand {command}" for command in COMMANDS), "service", "service.run", "service.dev", "jobs"]


@pytest.fixture(autouse=True)
def _settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Data of each test's own, and no Redis: nothing here gets as far as needing one."""
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1")


def run(program: str, *arguments: str, folder: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    """`python -m program arguments`, its exit code and what it prints."""
    known = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    return programs.run(*program.split(), *arguments, environment=known, folder=folder)


def run_here(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The same in this process, for what ends at its command line: most of a start is imports."""
    module, *command = program.split()
    printed, said = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patched, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the module may be imported already
        patched.setattr(sys, "argv", ["", *command, *arguments])
        patched.setattr(sys, "path", list(sys.path))
        with redirect_stdout(printed), redirect_stderr(said), pytest.raises(SystemExit) as ended:
            runpy.run_module(module, run_name="__main__")
    code = ended.value.code
    return subprocess.CompletedProcess(
        program, code if isinstance(code, int) else 0, printed.getvalue(), said.getvalue()
    )


def the_line(ended: subprocess.CompletedProcess[str], code: int) -> str:
    """The one line on standard error of a program that has ended with that exit code."""
    assert (ended.returncode, ended.stdout) == (code, ""), ended
    (line,) = ended.stderr.splitlines()
    return line


@pytest.mark.parametrize("program", PROGRAMS)
def test_each_program_says_what_it_does_and_refuses_what_it_does_not_know(program: str) -> None:
    shown = run_here(program, "--help")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout.startswith(f"Usage: python -m {program} ") and "--end-with-stdin" not in shown.stdout
    line = the_line(run_here(program, "--unknown"), 2)
    assert line.startswith(f"python -m {program}: ") and "--unknown" in line and "--help" in line


@pytest.mark.parametrize("program", ["errand run", "errand api", "errand version", "service", "service.run", "jobs"])
def test_an_argument_that_nothing_reads_is_refused(program: str) -> None:
    assert "extra" in the_line(run_here(program, "extra"), 2)


def test_without_a_command_the_help_is_shown_and_an_unknown_command_is_refused() -> None:
    shown = run_here("errand")
    assert shown.returncode == 0 and all(f"\n  {command} " in shown.stdout for command in COMMANDS)
    assert "'docter'" in the_line(run_here("errand", "docter"), 2)


def test_it_says_its_version() -> None:
    assert run("errand version").stdout == f"errand {VERSION}\n"


@pytest.mark.parametrize("command", ["run", "api", "worker", "doctor"])
def test_the_packages_must_be_named_and_be_there(command: str) -> None:
    program = f"errand {command}"
    assert "must name a package" in the_line(run_here(program, "--packages", " , "), 2)
    assert the_line(run(program, "--packages", "not_there.jobs"), 1) == "job types: No module named 'not_there'"


@pytest.mark.parametrize("command", ["run", "api", "worker", "doctor"])
def test_a_checkout_without_the_shipped_jobs_says_what_to_do(command: str) -> None:
    assert the_line(run(f"errand {command}"), 1).endswith("name the packages to use: --packages jobs")


def test_packages_of_the_current_folder_are_found_by_the_installed_command_too(tmp_path: Path) -> None:
    for name in ("first", "second", "third"):
        (tmp_path / f"{name}_jobs.py").write_text(
            "from pydantic import BaseModel\n"
            "from errand import Context, job\n"
            "@job()\n"
            f"async def {name}(ctx: Context, args: BaseModel) -> None: ...\n"
        )
    # an installed command's first entry in sys.path is its own folder, not the current one
    program = "import sys; sys.path[:] = [p for p in sys.path if p]; from errand.cli.main import main; main()"
    packages = ["--packages", "first_jobs, second_jobs", "--packages", "third_jobs"]
    ended = subprocess.run(
        [sys.executable, "-c", program, "doctor", *packages, "--json"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1 and "cannot be reached" in ended.stdout, ended


def test_a_missing_extra_is_named_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "hooks.py").write_text("raise ImportError('errand.jobs.webhook needs errand[webhooks]:\\ninstall it')")
    line = the_line(run("errand worker", "--packages", "hooks", folder=tmp_path), 1)
    assert line == "job types: errand.jobs.webhook needs errand[webhooks]: install it"


def test_an_extra_that_is_missed_only_while_the_program_runs_is_named_too() -> None:
    def start() -> None:
        raise ImportError("pictures need errand[images]")

    with pytest.raises(SystemExit, match=r"^service: pictures need errand\[images\]$"):
        run_program(start, prog="service", arguments=[])


def test_any_other_import_that_fails_is_a_fault_with_its_traceback() -> None:
    def start() -> None:
        raise ModuleNotFoundError("No module named 'nope'")

    with pytest.raises(ModuleNotFoundError):
        run_program(start, prog="service", arguments=[])


@pytest.mark.parametrize(
    ("program", "absent"),
    [
        ("from errand.cli import main, key", ["fastapi", "uvicorn", "aiohttp", "obstore", "pyvips", "uvloop"]),
        ("from errand.cli import main; from errand.process import worker", ["fastapi", "starlette", "uvicorn"]),
    ],
)
def test_a_command_loads_only_what_it_needs(program: str, absent: list[str]) -> None:
    shown = f"{program}; import sys; print([name for name in {absent!r} if name in sys.modules])"
    ended = subprocess.run([sys.executable, "-c", shown], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.stdout == "[]\n", ended


def test_the_program_itself_loads_nothing_until_it_runs() -> None:
    """A process of the pool imports it: `errand worker` would give each of them the memory of a whole worker."""
    program = "import errand.__main__, sys; print(sorted({'typer', 'redis', 'structlog'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"
