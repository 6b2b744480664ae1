"""One attempt: what is said of one that has failed."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from pydantic import BaseModel

from errand import Context, job
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
