"""One attempt: what is said of one that has failed, and what of a result is hidden."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest
from pydantic import BaseModel

from errand import Context, job
from errand.secrets.redaction import MAX_SECRETS, STARS, Hide, hiding
from errand.worker.runners import attempt


class Numbers(BaseModel):
    all: list[int] = []


@job()
async def adds(ctx: Context, args: Numbers) -> int:
    return sum(args.all)


@pytest.mark.parametrize(("wrong", "said"), [(2, "all.1: Input"), (1_000, "do not fit in more than 100 places")])
async def test_of_args_that_fit_nowhere_no_more_is_said_than_can_be_read(wrong: int, said: str) -> None:
    ctx = Context(job_id="a", attempt=1, max_tries=2, enqueued_at=datetime.now(UTC))
    outcome = await attempt.run(adds, ctx, {"all": ["x"] * wrong})
    assert outcome.error is not None and (outcome.status, outcome.error.type) == ("failed", "InvalidArgs")
    assert said in outcome.error.message and len(outcome.error.message) < 1_000


class Texts(BaseModel):
    all: list[str] = []


@job()
async def repeats(ctx: Context, args: Texts) -> dict[str, list[str]]:
    return {args.all[0]: args.all, "": []}


SECRETS = [f"secret-{number}" for number in range(MAX_SECRETS)]


async def result_of(texts: list[str], hide: Hide) -> object:
    ctx = Context(job_id="a", attempt=1, max_tries=2, enqueued_at=datetime.now(UTC))
    return (await attempt.run(repeats, ctx, {"all": texts}, hide=hide)).result


async def test_a_result_of_many_texts_is_searched_once_for_all_secrets() -> None:
    began_s = time.thread_time()
    result = await result_of(["secret-1!", *["a"] * 100_000, "a secret-2"], hiding(SECRETS))
    assert time.thread_time() - began_s < 1.5
    assert result == {f"{STARS}!": [f"{STARS}!", *["a"] * 100_000, f"a {STARS}"], "": []}
    assert await result_of(["a"], hiding([*SECRETS, "more"])) == {STARS: [STARS], "": []}
