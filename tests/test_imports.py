"""The directions in which imports may point, the sizes of rooms and functions, and what the API starts without."""

from __future__ import annotations

import ast
import statistics
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

FLOORS: list[set[str]] = [
    {"errand.http", "errand.http.scope", "errand.version", "errand.secrets"}
    | {"errand.extras", "errand.redis_url", "errand.private_folder", "errand.heap", "errand.mypy_plugin"},
    {"errand.settings", "errand.wire"},
    {"errand.redis", "errand.tracing"},
    {"errand.job", "errand.queue", "errand.leases"},
    {"errand.worker", "errand.audit", "errand.monitor", "errand.schedules", "errand.resources"},
    {"errand.mail", "errand.images", "errand.webhooks", "errand.events", "errand.dead_jobs", "errand.doctor"}
    | {"errand.move"},
    {"errand.client", "errand.uploads", "errand.sentry"},
    {"errand.integration", "errand.http.answers", "errand.process"},
    {"errand.http.gates"},
    {"errand.http.shared"},
    {"errand.http.requests"},
    {"errand.http.routes"},
    {"errand.http.document", "errand.dashboard"},
    {"errand.http.api"},
    {"errand.server"},
    {"errand.testing"},
    {"errand", "errand.cli", "errand.__main__"},
    {"jobs", "settings"},
    {"service"},
]
"""From the ground up. A room imports rooms of lower floors alone, and none of its own floor."""
SAME_FLOOR = {("jobs", "settings"), ("errand.__main__", "errand.cli")}
"""Entry points, which may."""

MAX_FILES = 16
MAX_LINES = 60
MAX_MEDIAN_LINES = 8

FILES = sorted(path for folder in ("errand", "service", "jobs") for path in (ROOT / folder).rglob("*.py"))
FILES.append(ROOT / "settings.py")
ROOMS = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def room_of(module: str) -> str:
    """The longest name of a room that the module is in; `errand` and `errand.http` alone are their own `__init__`."""
    parts = module.split(".")
    for length in range(len(parts), 0, -1):
        if (room := ".".join(parts[:length])) in ROOMS and (
            room not in ("errand", "errand.http") or length == len(parts)
        ):
            return room
    raise AssertionError(f"{module} is in no room: give it a floor")


MODULES = {module_of(path): path for path in FILES}


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def imports_of(path: Path) -> Iterator[str]:
    """The modules of this repository that a file imports, imports inside functions and for types included."""
    for node in ast.walk(tree_of(path)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute here"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            if (known := name if name in MODULES else name.rpartition(".")[0]) in MODULES:
                yield known


def test_imports_point_down() -> None:
    up = {module: found for module, path in MODULES.items() if (found := imports_up(path))}
    assert up == {}


def imports_up(path: Path) -> set[str]:
    """What it imports of rooms on its own floor or above."""
    room = room_of(module_of(path))
    return {
        imported
        for imported in imports_of(path)
        if (other := room_of(imported)) != room and ROOMS[other] >= ROOMS[room] and (room, other) not in SAME_FLOOR
    }


def test_no_file_imports_itself_by_way_of_others() -> None:
    graph = {module: {other for other in imports_of(path) if other != module} for module, path in MODULES.items()}
    while leaves := [module for module, imported in graph.items() if not imported]:
        for leaf in leaves:
            del graph[leaf]
        for imported in graph.values():
            imported.difference_update(leaves)
    assert graph == {}


def test_the_rule_sees_an_import_that_breaks_it(tmp_path: Path) -> None:
    file = tmp_path / "up.py"
    file.write_text("def late() -> None:\n    from errand.worker.worker import Worker\n")
    assert list(imports_of(file)) == ["errand.worker.worker"]
    assert ROOMS[room_of("errand.worker.worker")] > ROOMS[room_of("errand.queue.queue")]


@pytest.mark.parametrize("room", ["errand.redis", "errand.queue", "errand.leases", "errand.worker", "errand.monitor"])
def test_the_queue_knows_no_job_type_and_no_http(room: str) -> None:
    texts = {path: path.read_text() for path in FILES if room_of(module_of(path)) == room}
    assert [path for path, text in texts.items() if "fastapi" in text or "import jobs" in text] == []


def test_one_job_type_never_imports_another() -> None:
    job_types = {f"jobs.{path.stem}" for path in (ROOT / "jobs").glob("*.py") if not path.stem.startswith("_")}
    assert len(job_types) >= 3
    for name in job_types:
        assert set(imports_of(MODULES[name])) & (job_types - {name}) == set()


def test_rooms_are_rooms() -> None:
    folders = {path.parent for path in FILES}
    crowded = {
        str(folder): number
        for folder in folders
        if (number := sum(1 for file in folder.iterdir() if file.suffix in (".py", ".lua"))) > MAX_FILES
    }
    assert crowded == {}
    for folder in folders - {ROOT}:
        assert ast.get_docstring(ast.parse((folder / "__init__.py").read_text())), f"{folder} says what lives there"


def test_functions_are_short() -> None:
    lengths = {
        f"{module}.{node.name}": (node.end_lineno or 0) - node.lineno + 1
        for module, path in MODULES.items()
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert {name: lines for name, lines in lengths.items() if lines > MAX_LINES} == {}
    assert statistics.median(lengths.values()) <= MAX_MEDIAN_LINES


def test_only_entry_points_read_the_environment() -> None:
    """`Settings.read` and `os.environ` are for programs; everything else is given what it needs."""
    readers = {module_of(path) for path in FILES if reads_the_environment(path)}
    assert readers <= {
        "jobs.__main__",
        "service.__main__",
        "service.app",
        "service.dev",
        "service.run",
        "errand.cli.main",
        "errand.cli.doctor",
        "errand.settings.settings",
        "errand.testing.plugin",
        "errand.resources.pool_process",
        "errand.tracing.switch",  # OpenTelemetry's own variables
        "errand.images.pixels",  # sets one of libvips, for which there is no call
    }


def reads_the_environment(path: Path) -> bool:
    """True if its code does; a docstring or a message may show others how to."""
    attributes = (node for node in ast.walk(tree_of(path)) if isinstance(node, ast.Attribute))
    used = {ast.unparse(node) for node in attributes if node.attr in ("read", "environ")}
    return not used.isdisjoint({"Settings.read", "os.environ"})


HEAVY = ("pyvips", "aiosmtpd", "aiohttp", "jinja2", "pebble", "opentelemetry.sdk")


@pytest.mark.parametrize(
    ("statement", "heavy"),
    [
        ("from errand.server.app import create_app; create_app(Settings(), redis_url='unix:///none')", HEAVY),
        ("import errand.process.worker; from errand.worker import Worker", ("fastapi", *HEAVY)),
    ],
)
def test_what_is_not_needed_is_not_loaded(statement: str, heavy: tuple[str, ...]) -> None:
    program = (
        f"from settings import Settings; {statement}; import sys; print([m for m in {heavy!r} if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=False)
    assert run.stdout.strip() == "[]", run.stderr
