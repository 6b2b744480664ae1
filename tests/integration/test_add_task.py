"""Durable jobs in an app of one's own: put before the response leaves, or not at all."""

from __future__ import annotations

import contextlib
import io
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import httpx
import pytest
from arq.connections import ArqRedis
from fastapi import BackgroundTasks, Depends, FastAPI, HTTPException, Query, UploadFile, WebSocket
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import AliasChoices, AliasPath, BaseModel, ConfigDict, Field, HttpUrl
from pydantic_core import PydanticSerializationError
from redis.exceptions import ConnectionError, ResponseError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from errand import PREVIOUS, RESULTS, chain, group
from errand.images.size import Size
from errand.integration import add_task
from errand.integration.add_task import Jobs, JobsUnavailable, RequestJobs, jobs_of, put_together
from errand.integration.lifespan import jobs_lifespan, opened
from errand.job.catalog import discover
from errand.job.context import Context
from errand.job.job_type import job
from errand.job.producing.checked_args import InvalidArgs
from errand.monitor.job_snapshot import read_job
from errand.queue.enqueue_script import EnqueueScript
from errand.queue.sender import MAX_BATCH, Sender
from errand.resources.job_files import JobFiles
from errand.uploads import doubtful
from errand.wire import keys
from jobs.resize import resize
from jobs.webhook import webhook
from jobs.welcome_email import WelcomeEmail, welcome_email
from settings import Settings
from tests.conftest import RunWorker, make_settings
from tests.http.answers.test_problems import absent, silent
from tests.http.answers_seen import LETTER, stored_files
from tests.waiting import eventually

QUEUES = [keys.queue("default"), keys.queue("cpu"), keys.queue("mail"), keys.queue("webhooks")]


class Awkward(BaseModel):
    """Args that are called as parameters of `add_task` and `with_options` are, or as nothing in Python can be."""

    self: str
    job_type: str
    delay: str = ""
    job_id: str = Field(default="", alias="job-id")
    later: str = Field(default="", validation_alias=AliasChoices("from_now", AliasPath("times", 0)))


@job()
async def awkward(ctx: Context, args: Awkward) -> str:
    return args.job_id


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")

    value: Any = None


@job()
async def opened_wide(ctx: Context, args: Open) -> None: ...


class Shout(BaseModel):
    text: str
    louder: bool = False
    times: int = Field(default=1, validation_alias="repeat")


@job()
async def shout(ctx: Context, args: Shout) -> str:
    return args.text.upper() * args.times


def plain_function(text: str) -> None: ...


@pytest.fixture
def own(tmp_path: Path, redis_url: str) -> Settings:
    """The settings of an app whose job types are those of this file, too."""
    return make_settings(tmp_path, redis_url=redis_url, job_packages=__name__)


@asynccontextmanager
async def calling(app: FastAPI, *, through: Callable[[ASGIApp], ASGIApp] = lambda app: app) -> AsyncIterator[Any]:
    """A client of that app, which runs with its lifespan; `through` wraps it, as a server or middleware would."""
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(app=through(app), raise_app_exceptions=False), base_url="http://test"
        ) as client,
    ):
        yield client


@pytest.fixture
async def jobs(redis: ArqRedis, own: Settings) -> AsyncIterator[RequestJobs]:
    """The jobs of one block, outside a request."""
    async with opened(own, discover(own.job_packages)) as connection, put_together(connection) as jobs:
        yield jobs


async def queued(redis: ArqRedis) -> list[str]:
    """The types of the jobs in all queues, each queue in its order."""
    ids = [job_id.decode() for queue in QUEUES for job_id in await redis.zrange(queue, 0, -1)]
    return [job.type for job_id in ids if (job := await read_job(redis, job_id, queues=QUEUES))]


# --- when they are put


async def test_a_response_leaves_only_when_the_jobs_are_in_redis(redis: ArqRedis, own: Settings) -> None:
    app, seen = FastAPI(lifespan=jobs_lifespan(own)), []

    @app.post("/signup", status_code=201)
    def signup(jobs: Jobs) -> str:
        return jobs.add_task(welcome_email, to="ada@example.com", name="Ada").id

    def watched(app: ASGIApp) -> ASGIApp:
        async def watching(scope: Scope, receive: Receive, send: Send) -> None:
            async def look(message: Message) -> None:
                seen.append((message["type"], await redis.zcard(keys.queue("mail"))))
                await send(message)

            await app(scope, receive, look)

        return watching

    async with calling(app, through=watched) as client:
        answer = await client.post("/signup")
    assert answer.status_code == 201
    assert seen[0] == ("http.response.start", 1)
    job = await read_job(redis, answer.json(), queues=QUEUES)
    assert job is not None and (job.type, job.args) == ("welcome_email", LETTER)


@pytest.mark.parametrize("way", ["http_exception", "error", "no_such_answer", "bad_query", "dependency"])
async def test_a_route_that_fails_puts_nothing_and_keeps_no_file(redis: ArqRedis, own: Settings, way: str) -> None:
    app = FastAPI(lifespan=jobs_lifespan(own))

    async def with_file(jobs: Jobs) -> None:
        file = await jobs.store(UploadFile(io.BytesIO(b"picture")))
        jobs.add_task(resize, file=file, sizes=[Size(width=1)])

    async def failing(_: None = Depends(with_file)) -> None:
        if way == "dependency":
            raise HTTPException(400)

    @app.post("/", dependencies=[Depends(failing)])
    async def route(jobs: Jobs, number: Annotated[int, Query()] = 0) -> int:
        jobs.add_task(welcome_email, to="ada@example.com", name="Ada")
        if way == "http_exception":
            raise HTTPException(409)
        if way == "error":
            raise ValueError("ours")
        return "no number" if way == "no_such_answer" else 0  # type: ignore[return-value]  # FastAPI finds it out

    async with calling(app) as client:
        answer = await client.post("/", params={"number": "x"} if way == "bad_query" else {})
    expected = {"http_exception": 409, "error": 500, "no_such_answer": 500, "bad_query": 422, "dependency": 400}
    assert answer.status_code == expected[way]
    assert (await redis.dbsize(), stored_files(own.data_dir)) == (0, [])


async def test_an_error_that_is_returned_is_an_answer_as_it_is_to_background_tasks(
    redis: ArqRedis, own: Settings
) -> None:
    app = FastAPI(lifespan=jobs_lifespan(own))
    ran: list[str] = []

    @app.post("/")
    async def login(jobs: Jobs, best_effort: BackgroundTasks) -> JSONResponse:
        jobs.add_task(shout, text="somebody tries keys")
        best_effort.add_task(ran.append, "best effort")
        return JSONResponse({}, status_code=401)

    async with calling(app) as client:
        assert (await client.post("/")).status_code == 401
    assert (await queued(redis), ran) == (["shout"], ["best effort"])


@pytest.mark.usefixtures("usual_limits")
@pytest.mark.parametrize("redis_like", [absent, silent])
@pytest.mark.parametrize("types", [["shout"], ["shout", "shout"], ["shout", "resize"]])
async def test_without_redis_no_success_leaves_but_a_503_and_what_came_before_is_undone(
    tmp_path: Path, redis_like: Any, types: list[str]
) -> None:
    settings = make_settings(tmp_path, redis_url=f"unix://{tmp_path}/redis.sock", job_packages=__name__)
    app, done = FastAPI(lifespan=jobs_lifespan(settings)), []

    def transaction() -> Iterator[None]:
        try:
            yield
            done.append("committed")
        except BaseException:
            done.append("rolled back")
            raise

    @app.post("/", status_code=201, dependencies=[Depends(transaction, scope="function")])
    async def route(jobs: Jobs, picture: UploadFile, best_effort: BackgroundTasks) -> None:
        file = await jobs.store(picture)
        for name in types:
            if name == "resize":
                jobs.add_task(resize, file=file, sizes=[Size(width=1)])
            else:
                jobs.add_task(shout, text="hello")
        best_effort.add_task(done.append, "best effort")

    async with redis_like(tmp_path / "redis.sock"), calling(app) as client:
        answer = await client.post("/", files={"picture": ("a.jpg", b"picture")})
    assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
    assert int(answer.headers["retry-after"]) > 0
    assert answer.json() == {"detail": "The job queue cannot be reached. Try again in 2 seconds."}
    assert done == ["rolled back"]
    # of one that says nothing it is not known whether it has done what it was asked: the file stays until it is
    assert len(stored_files(tmp_path)) == (1 if redis_like is silent else 0)


async def test_what_redis_refuses_for_another_reason_is_a_fault(
    redis: ArqRedis, own: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: object, **__: object) -> None:
        raise ResponseError("on purpose")

    monkeypatch.setattr(EnqueueScript, "_put", refuse)
    app = FastAPI(lifespan=jobs_lifespan(own))

    @app.post("/")
    async def route(jobs: Jobs) -> None:
        jobs.add_task(shout, text="hello")

    async with calling(app) as client:
        assert (await client.post("/")).status_code == 500


async def test_all_that_a_request_depends_on_shares_its_jobs_and_their_order(redis: ArqRedis, own: Settings) -> None:
    app, seen = FastAPI(lifespan=jobs_lifespan(own)), []

    def first(jobs: Jobs) -> None:
        seen.append(jobs)
        jobs.add_task(shout, text="first")

    async def second(jobs: Jobs, _: None = Depends(first)) -> AsyncIterator[None]:
        seen.append(jobs)
        jobs.add_task(webhook, url=HttpUrl("https://receiver.example"), event="second", data=None)
        yield
        jobs.add_task(shout, text="fourth")

    @app.post("/", dependencies=[Depends(second, scope="function")])
    async def route(jobs: Jobs) -> None:
        seen.append(jobs)
        jobs.add_task(resize, source_url=HttpUrl("https://images.example/cat.jpg"), sizes=[Size(width=1)])
        jobs.add_task(welcome_email, WelcomeEmail(to="ada@example.com", name="third"))

    async with calling(app) as client:
        for _ in range(20):
            assert (await client.post("/")).status_code == 200
    assert seen[0] is seen[1] is seen[2] is not seen[3]
    assert await queued(redis) == ["shout", "shout"] * 20 + ["resize"] * 20 + ["welcome_email"] * 20 + ["webhook"] * 20


@pytest.mark.parametrize("first", ["database", "jobs"])
async def test_what_a_signature_names_first_is_ended_last(redis: ArqRedis, own: Settings, first: str) -> None:
    app, jobs_at_commit = FastAPI(lifespan=jobs_lifespan(own)), []

    async def transaction() -> AsyncIterator[None]:
        yield
        jobs_at_commit.append(await redis.zcard(QUEUES[0]))

    database = Depends(transaction, scope="function")

    async def adding(jobs: Jobs, _: None = database) -> None:
        jobs.add_task(shout, text="hello")

    @app.post("/database", dependencies=[database])
    async def database_first(_: None = Depends(adding)) -> None: ...

    @app.post("/jobs")
    async def jobs_first(_: None = Depends(adding)) -> None: ...

    async with calling(app) as client:
        assert (await client.post(f"/{first}")).status_code == 200
    assert jobs_at_commit == [1 if first == "database" else 0]
    assert await redis.zcard(QUEUES[0]) == 1


async def test_a_request_that_adds_nothing_asks_nothing_of_redis(tmp_path: Path) -> None:
    app = FastAPI(lifespan=jobs_lifespan(make_settings(tmp_path, redis_url=f"unix://{tmp_path}/nowhere.sock")))

    @app.get("/")
    async def route(jobs: Jobs) -> None: ...

    async with calling(app) as client:
        assert (await client.get("/")).status_code == 200


# --- what outlives the route


async def test_in_a_stream_a_job_that_would_be_lost_is_refused_and_a_block_puts_it(
    redis: ArqRedis, own: Settings
) -> None:
    app, refused = FastAPI(lifespan=jobs_lifespan(own)), []

    @app.get("/")
    async def route(jobs: Jobs) -> StreamingResponse:
        async def words() -> AsyncIterator[str]:
            yield "a word"
            try:
                jobs.add_task(shout, text="lost")
            except RuntimeError as error:
                refused.append(str(error))
            async with jobs.now() as now:
                now.add_task(shout, text="kept")
            yield str(await redis.zcard(QUEUES[0]))

        return StreamingResponse(words())

    async with calling(app) as client:
        assert (await client.get("/")).text == "a word1"
    assert "jobs.now()" in refused[0]


async def test_a_block_within_a_route_tells_it_of_an_outage_before_it_goes_on(tmp_path: Path) -> None:
    app = FastAPI(lifespan=jobs_lifespan(make_settings(tmp_path, redis_url=f"unix://{tmp_path}/nowhere.sock")))

    @app.post("/")
    async def route(jobs: Jobs) -> str:
        try:
            async with jobs.now() as now:
                now.add_task(welcome_email, to="ada@example.com", name="Ada")
        except JobsUnavailable:
            return "not yet"
        return "put"

    async with calling(app) as client:
        assert (await client.post("/")).json() == "not yet"


async def test_a_websocket_puts_jobs_in_blocks_and_the_rest_at_its_end(redis: ArqRedis, own: Settings) -> None:
    app, sent = FastAPI(lifespan=jobs_lifespan(own)), []

    @app.websocket("/")
    async def talk(socket: WebSocket, jobs: Jobs) -> None:
        await socket.accept()
        jobs.add_task(shout, text="at the end")
        async with jobs.now() as now:
            now.add_task(shout, text="now")
        await socket.send_text(str(await redis.zcard(QUEUES[0])))
        await socket.close()

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    async with app.router.lifespan_context(app):
        scope = {"type": "websocket", "path": "/", "headers": [], "query_string": b"", "subprotocols": []}
        await app(scope, receive, send)
    assert sent[1]["text"] == "1" and await redis.zcard(QUEUES[0]) == 2


async def test_a_mounted_app_shares_the_connection_of_the_one_it_is_mounted_in(redis: ArqRedis, own: Settings) -> None:
    app, mounted = FastAPI(lifespan=jobs_lifespan(own)), FastAPI()

    @mounted.post("/")
    async def route(jobs: Jobs) -> None:
        jobs.add_task(shout, text="hello")

    app.mount("/sub", mounted)

    def as_servers_do(app: ASGIApp) -> ASGIApp:
        """What a lifespan yields comes with every request."""

        async def served(scope: Scope, receive: Receive, send: Send) -> None:
            await app({**scope, "state": dict(lasting or {})}, receive, send)

        return served

    async with app.router.lifespan_context(app) as lasting:
        transport = httpx.ASGITransport(app=as_servers_do(app))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            assert (await client.post("/sub/")).status_code == 200
    assert await queued(redis) == ["shout"]


async def test_an_app_without_the_lifespan_gets_an_error_with_the_line_that_it_lacks(tmp_path: Path) -> None:
    app = FastAPI()

    @app.get("/")
    async def route(jobs: Jobs) -> None: ...

    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        with pytest.raises(RuntimeError, match=r"FastAPI\(lifespan=jobs_lifespan\(Settings.read\(\)\)\)"):
            await client.get("/")


async def test_options_can_limit_one_job(redis: ArqRedis, own: Settings) -> None:
    app = FastAPI(lifespan=jobs_lifespan(own))
    async with app.router.lifespan_context(app), jobs_of(app) as jobs:
        added = jobs.with_options(expires_in=timedelta(minutes=10), max_tries=2).add_task(shout, text="soon")
    job = await read_job(redis, added.id)
    assert job is not None and job.run_at_ms is not None
    assert (job.max_tries, job.expires_at_ms) == (2, job.run_at_ms + 600_000)


async def test_a_full_queue_takes_no_more_unless_that_is_asked_for(redis: ArqRedis, own: Settings) -> None:
    app = FastAPI(lifespan=jobs_lifespan(own.model_copy(update={"queue_limit": 2})))

    @app.post("/{number}")
    async def add(number: int, jobs: Jobs, elsewhere: bool = False, enforce: bool = True) -> None:
        for _ in range(number):
            jobs.with_options(enforce=enforce).add_task(shout, text="a")
        if elsewhere:
            jobs.with_options(enforce=enforce).add_task(
                resize, source_url=HttpUrl("http://a.example"), sizes=[Size(width=1)]
            )

    async with calling(app) as client:
        assert (await client.post("/1")).status_code == 200
        for asked in ("/2", "/2?elsewhere=true"):
            full = await client.post(asked)
            assert (full.status_code, int(full.headers["retry-after"]) > 0) == (503, True)
            assert "'default' is full" in full.json()["detail"]
        assert await queued(redis) == ["shout"]
        for asked in ("/1", "/1?enforce=false", "/2?enforce=false&elsewhere=true"):
            assert (await client.post(asked)).status_code == 200
        assert (await client.post("/1")).status_code == 503
    assert sorted(await queued(redis)) == ["resize"] + ["shout"] * 5


async def test_outside_of_requests_a_block_of_the_app_puts_jobs_or_none(redis: ArqRedis, own: Settings) -> None:
    app = FastAPI(lifespan=jobs_lifespan(own))
    async with app.router.lifespan_context(app):
        async with jobs_of(app) as jobs:
            jobs.add_task(shout, text="kept")
        with contextlib.suppress(KeyError):
            async with jobs_of(app) as jobs:
                jobs.add_task(shout, text="not put")
                raise KeyError
    assert await queued(redis) == ["shout"]


async def test_a_chain_and_a_group_over_two_queues_are_put_with_the_rest(redis: ArqRedis, own: Settings) -> None:
    app = FastAPI(lifespan=jobs_lifespan(own))
    image = resize.s(source_url=HttpUrl("http://a.example"), sizes=[Size(width=1)])
    async with app.router.lifespan_context(app), jobs_of(app) as jobs:
        last = jobs.add_task(chain(shout.s(text="first"), shout.s(text=PREVIOUS)))
        join = jobs.add_task(group(image, shout.s(text="beside"), then=opened_wide.s(value=RESULTS)))
        jobs.add_task(shout, text="alone")
    assert sorted(await queued(redis)) == ["opened_wide", "resize", "shout", "shout", "shout"]
    assert await read_job(redis, last.id) is None
    held = await read_job(redis, join.id)
    assert held is not None and held.held and await redis.hget(keys.needs(join.id), "left") == b"2"  # type: ignore[misc]
    assert [await redis.scard(keys.needed(queue)) for queue in QUEUES[:2]] == [1, 1]  # type: ignore[misc]
    assert [name async for name in redis.scan_iter(f"{keys.children(join.id)}*")] == [keys.children(join.id).encode()]


# --- what a caller may give


def test_what_is_no_job_type_is_for_background_tasks(jobs: RequestJobs) -> None:
    for thing in (plain_function, WelcomeEmail, "welcome_email"):
        with pytest.raises(TypeError, match=r"is no job type: mark it with @job, or give it to .* BackgroundTasks"):
            jobs.add_task(thing, text="hello")  # type: ignore[call-overload]  # type checkers see it, too


@pytest.mark.parametrize(
    ("add", "fault", "words"),
    [
        (
            lambda jobs: jobs.add_task(welcome_email, to="ada", name="Ada"),
            InvalidArgs,
            "^welcome_email: to: .*valid email",
        ),
        (
            lambda jobs: jobs.add_task(welcome_email, to="ada@example.com"),
            InvalidArgs,
            "^welcome_email: name: Field req",
        ),
        (lambda jobs: jobs.add_task(welcome_email, **LETTER, nmae="Ada"), InvalidArgs, "^welcome_email: nmae: "),
        (
            lambda jobs: jobs.add_task(shout, text="a", lauder=True),
            TypeError,
            "lauder is unknown; did you mean",
        ),
        (lambda jobs: jobs.add_task(shout, "a"), TypeError, "by name, or one instance of Shout"),
        (lambda jobs: jobs.add_task(shout, Open()), TypeError, "by name, or one instance of Shout"),
        (lambda jobs: jobs.add_task(shout, Shout(text="a"), text="b"), TypeError, "by name, or one instance"),
        (lambda jobs: jobs.add_task(opened_wide, value=object()), PydanticSerializationError, "object"),
        (lambda jobs: jobs.add_task(shout, text="\ud800"), ValueError, "surrogates|Unicode|unicode|utf"),
        (lambda jobs: jobs.with_options(delay=1, run_at=datetime.now(UTC)), ValueError, "not both"),
        (lambda jobs: jobs.with_options(delay="soon"), ValueError, "length of time"),
        (lambda jobs: jobs.with_options(delay=timedelta(seconds=-1)), ValueError, "greater than or equal to 0"),
        (lambda jobs: jobs.with_options(delay=timedelta(days=400)), ValueError, "less than or equal to"),
        (lambda jobs: jobs.with_options(run_at=datetime(2030, 1, 1)), ValueError, "timezone"),
        (lambda jobs: jobs.with_options(expires_in="soon"), ValueError, "length of time"),
        (lambda jobs: jobs.with_options(max_tries=0), ValueError, "from 1 to 100"),
        (lambda jobs: jobs.with_options(job_id="two words"), ValueError, "is no job id"),
        (lambda jobs: jobs.with_options(job_id=""), ValueError, "is no job id"),
    ],
)
async def test_what_a_caller_does_wrong_is_raised_at_the_call_and_adds_nothing(
    redis: ArqRedis, own: Settings, add: Callable[[RequestJobs], object], fault: type[Exception], words: str
) -> None:
    app = FastAPI(lifespan=jobs_lifespan(own))

    @app.post("/")
    async def route(jobs: Jobs) -> None:
        with pytest.raises(fault, match=words):
            add(jobs)

    async with calling(app) as client:
        assert (await client.post("/")).status_code == 200
    assert await redis.dbsize() == 0


def test_invalid_args_are_named_with_their_job_type_and_their_values_are_not_shown(jobs: RequestJobs) -> None:
    with pytest.raises(InvalidArgs) as refused:
        jobs.add_task(welcome_email, to="nope-s3cret")
    assert str(refused.value).startswith("welcome_email: to: value is not a valid email address")
    assert set(refused.value.faults) == {"to", "name"} and "s3cret" not in str(refused.value)
    assert refused.value.__cause__ is None and refused.value.__suppress_context__


async def test_a_type_that_no_worker_would_find_is_refused_with_the_setting_that_fixes_it(
    redis: ArqRedis, settings: Settings
) -> None:
    async with opened(settings, discover(["jobs"])) as connection, put_together(connection) as jobs:
        with pytest.raises(LookupError, match=f"name {__name__} in JOB_PACKAGES, or the package that it is in"):
            jobs.add_task(shout, text="hello")


async def test_an_arg_may_be_called_anything_and_aliases_reach_the_worker(
    redis: ArqRedis, own: Settings, run_worker: RunWorker
) -> None:
    async with opened(own, discover(own.job_packages)) as connection, run_worker([awkward, shout]):
        async with put_together(connection) as jobs:
            odd: dict[str, Any] = {"self": "s", "job_type": "t", "delay": "d", "job-id": "its alias", "from_now": "f"}
            first = jobs.add_task(awkward, **odd)
            second = jobs.add_task(shout, text="a", repeat=3)
            third = jobs.add_task(shout, text="b", times=2)

        async def results() -> list[Any] | None:
            seen = [await read_job(redis, added.id, queues=QUEUES) for added in (first, second, third)]
            return (
                [job and (job.status, job.result) for job in seen] if all(job and job.ended for job in seen) else None
            )

        assert await eventually(results) == [("succeeded", wanted) for wanted in ("its alias", "AAA", "BB")]


async def test_options_say_when_and_under_which_id(redis: ArqRedis, own: Settings) -> None:
    async with opened(own, discover(own.job_packages)) as connection:
        for _ in range(2):
            async with put_together(connection) as jobs:
                jobs.with_options(delay="10m").add_task(shout, text="delay")
                jobs.with_options(delay=timedelta(minutes=20)).add_task(shout, text="timedelta")
                jobs.with_options(run_at=datetime(2031, 1, 1, tzinfo=UTC)).add_task(shout, text="run_at")
                once = jobs.with_options(job_id="greet-7")
                assert once.add_task(shout, text="once").path == "/v1/jobs/greet-7"
                with pytest.raises(ValueError, match="the id greet-7 was added before"):
                    once.add_task(shout, text="twice")
    now_ms = datetime.now(UTC).timestamp() * 1000
    due = [(job_id, due_ms - now_ms) for job_id, due_ms in await redis.zrange(QUEUES[0], 0, -1, withscores=True)]
    assert due[0][0] == b"greet-7" and len(due) == 7, "one of its kind, the others twice"
    assert [wait_ms for _, wait_ms in due[1:5]] == pytest.approx([600_000] * 2 + [1_200_000] * 2, abs=5000)
    assert await redis.zscore(QUEUES[0], due[6][0]) == datetime(2031, 1, 1, tzinfo=UTC).timestamp() * 1000


def test_a_request_has_an_end_to_what_it_may_add(jobs: RequestJobs, monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_BATCH == 10_000
    monkeypatch.setattr(add_task, "MAX_BATCH", 20)  # a busy machine may not put more in the time that Redis has
    for _ in range(20):
        jobs.add_task(shout, text="hello")
    with pytest.raises(ValueError, match="up to 20 jobs"):
        jobs.add_task(shout, text="one more")


async def test_a_stored_upload_is_there_for_the_job(redis: ArqRedis, own: Settings) -> None:
    app = FastAPI(lifespan=jobs_lifespan(own))

    @app.post("/")
    async def route(picture: UploadFile, jobs: Jobs) -> str:
        return jobs.add_task(resize, file=await jobs.store(picture), sizes=[Size(width=1)]).id

    async with calling(app) as client:
        answer = await client.post("/", files={"picture": ("cat.jpg", b"p" * 3_000_000)})
    job = await read_job(redis, answer.json(), queues=QUEUES)
    assert job is not None
    file = job.args["file"]
    assert (file["bytes"], file["filename"], job.args["sizes"]) == (3_000_000, "cat.jpg", [{"width": 1}])
    assert (own.data_dir / "files" / file["key"]).read_bytes() == b"p" * 3_000_000
    # it stays as long as the job is known
    assert await redis.smembers(keys.upload_jobs(file["key"])) == {job.id.encode()}  # type: ignore[misc]  # redis-py: async or not


@pytest.mark.parametrize("is_put", [True, False])
async def test_a_stored_upload_stays_if_the_answer_of_redis_is_lost_and_its_job_is_there(
    redis: ArqRedis, own: Settings, monkeypatch: pytest.MonkeyPatch, is_put: bool
) -> None:
    monkeypatch.setattr(doubtful, "SETTLED_AFTER_S", 0.01)
    put, known, asked = Sender.send, JobFiles.known, []

    async def known_the_second_time(files: JobFiles, job_ids: Collection[str]) -> set[str]:
        asked.append(job_ids)
        if len(asked) == 1:
            raise ConnectionError("still away")
        return await known(files, job_ids)

    monkeypatch.setattr(JobFiles, "known", known_the_second_time)

    async def unheard(*given: Any) -> None:
        if is_put:
            await put(*given)
        raise ConnectionError("the answer was lost")

    monkeypatch.setattr(Sender, "send", unheard)
    async with opened(own, discover(["jobs"])) as connection:
        block = put_together(connection)
        jobs = await block.__aenter__()
        file = await jobs.store(UploadFile(io.BytesIO(b"picture")))
        added = jobs.add_task(resize, file=file, sizes=[Size(width=1)])
        with pytest.raises(JobsUnavailable):
            await block.__aexit__(None, None, None)

        async def settled() -> bool:
            noted = await redis.smembers(keys.upload_jobs(file.key))  # type: ignore[misc]
            return (noted, stored_files(own.data_dir)) == (({added.id.encode()}, [file.key]) if is_put else (set(), []))

        await eventually(settled)


async def test_no_file_can_be_stored_for_a_response_that_is_under_way(redis: ArqRedis, own: Settings) -> None:
    async with opened(own, discover(["jobs"])) as connection:
        async with put_together(connection) as jobs:
            pass
        with pytest.raises(RuntimeError, match="under way"):
            await jobs.store(UploadFile(io.BytesIO(b"picture")))
    assert stored_files(own.data_dir) == []
