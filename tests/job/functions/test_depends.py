"""Dependencies of jobs: one instance for each attempt, closed after it, overridden in tests; FastAPI's marker too."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import Annotated, Any

import fastapi
import httpx
import pytest
from arq.connections import ArqRedis
from pydantic import BaseModel

from errand import Client, Context, Depends, job
from errand.job.functions.depends import overridden
from examples.functions import Rates, copy_slowly, count_primes, count_words, main
from settings import Settings
from tests.conftest import RunWorker, make_settings

SEEN: list[str] = []


class Nothing(BaseModel): ...


class Session:
    pass


async def session() -> AsyncIterator[Session]:
    SEEN.append("opened")
    try:
        yield Session()
        SEEN.append("committed")
    except ValueError:
        SEEN.append("rolled back")
        raise
    finally:
        SEEN.append("closed")


def settings_of_app() -> Iterator[str]:
    yield "settings"
    SEEN.append("settings closed")


async def repository(session: Annotated[Session, fastapi.Depends(session)], name: str = "books") -> tuple[Session, str]:
    return session, name


class Paging:
    def __init__(self, settings: Annotated[str, Depends(settings_of_app)]) -> None:
        self.settings = settings


@job()
async def asks(
    ctx: Context,
    args: Nothing,
    session: Annotated[Session, Depends(session)],
    repository: Annotated[tuple[Session, str], fastapi.Depends(repository)],
    paging: Annotated[Paging, Depends(Paging)],
    old_style: str = Depends(settings_of_app),  # type: ignore[assignment]
) -> bool:
    SEEN.append("ran")
    assert (repository[1], paging.settings, old_style) == ("books", "settings", "settings")
    return repository[0] is session


@job()
async def fails(ctx: Context, args: Nothing, session: Annotated[Session, Depends(session)]) -> None:
    raise ValueError("no")


@pytest.fixture(autouse=True)
def nothing_seen() -> None:
    SEEN.clear()


def attempt() -> Context:
    return Context(job_id="1", attempt=1, max_tries=1, enqueued_at=datetime.now(UTC))


async def test_an_attempt_has_one_instance_of_each_closed_after_it_in_reverse() -> None:
    assert await asks(attempt(), Nothing())
    assert SEEN == ["opened", "ran", "settings closed", "committed", "closed"]


async def test_a_dependency_sees_the_error_of_the_attempt() -> None:
    with pytest.raises(ValueError, match="no"):
        await fails(attempt(), Nothing())
    assert SEEN == ["opened", "rolled back", "closed"]


async def test_one_takes_the_place_of_another_in_a_test_below_others_too() -> None:
    fake = Session()

    async def fake_session(ctx: Context) -> Session:
        SEEN.append(f"fake for {ctx.job_id}")
        return fake

    with overridden(session, fake_session):
        assert await asks(attempt(), Nothing())
    assert SEEN == ["fake for 1", "ran", "settings closed"]
    # one that is given by name is not asked for
    assert not await asks(attempt(), Nothing(), session=fake)
    assert SEEN[3:5] == ["opened", "ran"]


async def replica() -> str:
    return "replica"


async def primary() -> str:
    return "primary"


def report(db: Annotated[str, Depends(replica)]) -> str:
    return db


@job()
async def of_two(
    ctx: Context, args: Nothing, db: Annotated[str, Depends(primary)], report: Annotated[str, Depends(report)]
) -> list[str]:
    return [db, report]


async def test_names_of_parameters_are_each_functions_own() -> None:
    assert await of_two(attempt(), Nothing()) == ["primary", "replica"]


async def test_what_a_job_does_not_have_is_refused_when_the_type_is_defined() -> None:
    async def of_request(request: fastapi.Request) -> str:
        return request.url.path

    async def below(path: Annotated[str, Depends(of_request)]) -> str:
        return path

    async def wants(ctx: Context, args: Nothing, path: Annotated[str, Depends(below)]) -> None: ...

    async def takes_more(ctx: Context, args: Nothing, more: int) -> None: ...

    # local names are none of the module's
    for function, hints in (
        (of_request, {"request": fastapi.Request}),
        (below, {"path": Annotated[str, Depends(of_request)]}),
        (wants, {"ctx": Context, "args": Nothing, "path": Annotated[str, Depends(below)]}),
    ):
        function.__annotations__ = {**hints, "return": None}
    with pytest.raises(TypeError, match="of_request asks for request, which a job does not have"):
        job()(wants)
    with pytest.raises(TypeError, match="more must be Annotated"):
        job()(takes_more)


async def test_the_same_functions_serve_a_route() -> None:
    app = fastapi.FastAPI()

    @app.get("/books")
    async def books(repository: Annotated[Any, fastapi.Depends(repository)]) -> str:
        return str(repository[1])

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://app") as client:
        assert (await client.get("/books")).json() == "books"


async def test_the_example_runs_on_a_worker(
    redis: ArqRedis, redis_url: str, run_worker: RunWorker, settings: Settings
) -> None:
    types: list[Any] = [count_words, copy_slowly, count_primes]
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(Client(settings, redis_url=redis_url))
        await stack.enter_async_context(run_worker(types))
        assert await main(make_settings(settings.data_dir, redis_url=redis_url)) == [5, "HELLO", 10]
        assert Rates.opened == 1
    assert Rates.opened == 0
