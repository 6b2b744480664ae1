"""A batch of prompts for a language model: each tenant at its own rate, all within what the provider takes.

    python -m examples.llm_batch

puts the prompts of two tenants, one of whom has far more than the other; workers (`JOB_PACKAGES=examples.llm_batch`)
answer them. The small tenant does not wait for the large one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from pydantic import BaseModel

from errand import Client, Concurrency, Context, JobHandle, Rate, Retry, Settings, job


class Prompt(BaseModel):
    tenant: str
    text: str


class Provider:
    """Stands for the HTTP API of a provider, which answers 429 if it is asked too much."""

    MOST_AT_ONCE = 4
    asked: list[str] = []  # noqa: RUF012  # of all instances, for the test
    at_once = most_seen = 0

    @classmethod
    async def complete(cls, prompt: Prompt) -> str:
        """Raises OverflowError, as an answer 429 would."""
        cls.at_once += 1
        cls.most_seen = max(cls.most_seen, cls.at_once)
        try:
            if cls.at_once > cls.MOST_AT_ONCE:
                raise OverflowError("429 Too Many Requests")
            await asyncio.sleep(0.001)
            cls.asked.append(prompt.tenant)
            return f"{prompt.tenant}: {prompt.text[::-1]}"
        finally:
            cls.at_once -= 1


@job(
    limits=[
        Concurrency(Provider.MOST_AT_ONCE),  # what the provider takes
        Concurrency(2, key="{tenant}"),  # nobody has it alone
        Rate("10/min", key="{tenant}"),  # what a tenant has paid for
    ],
    max_tries=3,
)
async def complete(ctx: Context, args: Prompt) -> str:
    """Has the model complete one prompt."""
    try:
        return await Provider.complete(args)
    except OverflowError as error:
        raise Retry(str(error), after_s=10) from error


async def put(tenant: str, texts: Sequence[str], *, urgent: bool = False) -> list[JobHandle[str]]:
    """A job for each text; those of somebody who waits in front of a page start before those of a night's batch."""
    prompts = [Prompt(tenant=tenant, text=text) for text in texts]
    return await complete.options(priority=5 if urgent else 0).enqueue_many(prompts)


async def main() -> None:
    async with Client(Settings.read()):
        await put("large", [f"summary {number}" for number in range(1000)])
        (answer,) = await put("small", ["hello"], urgent=True)
        print(await answer.result(timeout_s=60))  # noqa: T201  # what it is for


if __name__ == "__main__":
    asyncio.run(main())
