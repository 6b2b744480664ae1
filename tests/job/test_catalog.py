"""Finds job types, and says what is wrong with one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from pydantic import BaseModel

from errand.job.catalog import Catalog, discover
from errand.job.context import Context
from errand.job.job_type import job
from errand.job.retry_policy import Exponential
from errand.job.stored_file import StoredFile


class Text(BaseModel):
    text: str


class Upload(BaseModel):
    picture: StoredFile | None = None


@job()
async def twin(ctx: Context, args: Text) -> None: ...


first_twin = twin


@job()  # type: ignore[no-redef]
async def twin(ctx: Context, args: Text) -> None: ...


def test_the_shipped_types_are_found() -> None:
    assert set(discover(["jobs"])) == {"welcome_email", "webhook", "resize"}


def test_one_module_may_be_named_by_itself() -> None:
    with pytest.raises(ValueError, match="two job types are named twin"):
        discover(["tests.job.test_catalog"])


def test_one_type_seen_twice_is_one_type() -> None:
    assert list(Catalog([twin, twin])) == ["twin"]


def test_a_job_type_says_what_it_takes_and_returns() -> None:
    @job(max_tries=3, timeout_s=5, retry=Exponential(base_s=1))
    async def measured(ctx: Context, args: Upload) -> int:
        """Measures something.

        At length.
        """
        return 1

    assert (measured.name, measured.summary) == ("measured", "Measures something.")
    assert measured.file_field == "picture" and twin.file_field is None
    assert measured.result_schema == {"type": "integer"}


async def test_a_job_type_can_be_called_as_the_function_it_is() -> None:
    from datetime import UTC, datetime

    @job()
    async def double(ctx: Context, args: Text) -> str:
        return args.text * ctx.attempt

    ctx = Context(job_id="1", attempt=2, max_tries=5, enqueued_at=datetime.now(UTC))
    assert await double(ctx, Text(text="ab")) == "abab"
    await ctx.progress(0.5)
    with pytest.raises(LookupError, match="declare it first"):
        ctx.use(open)  # type: ignore[arg-type]


def test_a_function_of_another_shape_is_refused_with_the_right_one() -> None:
    async def one_parameter(ctx: Context) -> None: ...

    async def no_model(ctx: Context, args: dict[str, str]) -> None: ...

    def generator(ctx: Context, args: Text) -> Iterator[str]:
        yield ""

    async def async_generator(ctx: Context, args: Text) -> AsyncIterator[str]:
        yield ""

    for function in (one_parameter, no_model, generator, async_generator):
        with pytest.raises(TypeError, match=rf"{function.__name__}\(ctx: Context, args: SomeModel\)"):
            job()(function)  # type: ignore[arg-type]


@pytest.mark.parametrize("numbers", [{"max_tries": 0}, {"timeout_s": 0}, {"timeout_s": -1}])
def test_numbers_out_of_range_are_refused_when_the_type_is_defined(numbers: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="max_tries >= 1 and timeout_s > 0"):
        job(**numbers)  # type: ignore[call-overload]
