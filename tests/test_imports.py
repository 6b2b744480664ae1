"""The directions in which imports may point, and what the API must start without."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SHARED_ROOMS = {"engine", "resources", "worker"}
JOB_TYPES = sorted(
    path.stem
    for path in (ROOT / "jobs").iterdir()
    if path.stem not in SHARED_ROOMS and not path.stem.startswith("_") and (path.suffix == ".py" or path.is_dir())
)


def imports_of(folder: str) -> Iterator[tuple[str, str]]:
    """Every (file, imported module) below that folder, imports inside functions included."""
    for path in [ROOT / folder] if folder.endswith(".py") else sorted((ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                yield from ((str(path.relative_to(ROOT)), alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path}: imports are absolute here"
                base = node.module or ""
                yield from ((str(path.relative_to(ROOT)), f"{base}.{alias.name}") for alias in node.names)


def reaches(imported: str, room: str) -> bool:
    return imported == room or imported.startswith(f"{room}.")


def forbidden() -> list[tuple[str, str]]:
    """(from, to) pairs that no import may take."""
    pairs = [
        ("jobs", "service"),
        ("service", "errand.process.worker"),
        ("service", "errand.worker.worker"),
        ("service", "arq.worker"),
        ("jobs/engine", "settings"),
        ("jobs/engine", "jobs.resources"),
        ("jobs/engine", "errand.process.worker"),
        ("jobs/resources", "errand.process.worker"),
        ("settings.py", "jobs"),
        ("settings.py", "service"),
    ]
    for name in JOB_TYPES:
        place = f"jobs/{name}" if (ROOT / "jobs" / name).is_dir() else f"jobs/{name}.py"
        pairs += [(place, f"jobs.{other}") for other in JOB_TYPES if other != name]
        pairs += [(place, "errand.process.worker"), (place, "errand.worker.worker"), ("jobs/engine", f"jobs.{name}")]
        pairs += [("jobs/resources", f"jobs.{name}"), ("service", f"jobs.{name}"), ("jobs/worker.py", f"jobs.{name}")]
    return pairs


@pytest.mark.parametrize(("source", "target"), forbidden())
def test_imports_point_down(source: str, target: str) -> None:
    assert [place for place, imported in imports_of(source) if reaches(imported, target)] == []


def test_the_rule_sees_an_import_that_breaks_it() -> None:
    assert ("jobs/worker.py", "jobs.engine.worker.Worker") in set(imports_of("jobs/worker.py"))
    assert len(JOB_TYPES) >= 3


def test_only_entry_points_read_the_environment() -> None:
    """`Settings.read` and `os.environ` are for programs; everything else is handed what it needs."""
    readers = {
        str(path.relative_to(ROOT))
        for folder in ("service", "jobs")
        for path in (ROOT / folder).rglob("*.py")
        if reads_the_environment(path)
    }
    assert readers == {"service/__main__.py", "service/doctor.py", "service/run.py", "jobs/worker.py"}


def reads_the_environment(path: Path) -> bool:
    """True where its code does; a docstring or a message may show others how to."""
    used = {ast.unparse(node) for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)}
    return not used.isdisjoint({"Settings.read", "os.environ"})


@pytest.mark.parametrize(
    "statement",
    [
        "import service.app",
        "import errand.server.app; errand.server.app.create_app(Settings(), redis_url='unix:///none')",
    ],
)
def test_the_api_starts_without_the_libraries_of_jobs(statement: str) -> None:
    heavy = "pyvips", "aiosmtplib", "aiosmtpd", "aiohttp", "jinja2", "pebble"
    program = (
        f"from settings import Settings; {statement}; import sys; print([m for m in {heavy!r} if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=False)
    assert run.stdout.strip() == "[]", run.stderr
