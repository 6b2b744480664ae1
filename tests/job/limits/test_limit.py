"""Limits as `@job` takes them: their texts are read, and what says nothing is refused."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import AliasChoices, BaseModel, Field

from errand import Concurrency, Context, Rate, job
from errand.job.limits.key_template import KeyTemplate


class Call(BaseModel):
    tenant: str | int
    region: str = "eu"
    size: float = 0.5
    plan: str | None = Field(default=None, validation_alias=AliasChoices("plan", "tariff"))


@pytest.mark.parametrize(
    ("text", "most", "per_ms"),
    [("100/min", 100, 60_000), ("5/s", 5, 1000), ("1000 / 2h", 1000, 7_200_000), ("9/day", 9, 86_400_000)],
)
def test_a_rate_is_read(text: str, most: int, per_ms: int) -> None:
    assert (Rate(text).most, Rate(text).per_ms) == (most, per_ms)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"concurrency": 0}, "from 1 to 10000"),
        ({"concurrency": 10_001}, "from 1 to 10000"),
        ({"rate": "fast"}, "'fast' is no rate"),
        ({"rate": "0/s"}, "1 to 100000 starts"),
        ({"rate": "100001/day"}, "1 to 100000 starts"),
        ({"rate": "5/0s"}, "1 unit of time"),
        ({"concurrency_key": "{tenant}"}, "concurrency_key says nothing without concurrency"),
        ({"rate_key": "{tenant}"}, "rate_key says nothing without rate"),
        ({"concurrency": 5, "concurrency_key": "tenant"}, "names a field of the args"),
        ({"concurrency": 5, "concurrency_key": "{customer}"}, "has no field 'customer', it has tenant, region"),
        ({"rate": "5/s", "rate_key": "{tenant!r}"}, "stands in it as it is"),
        ({"rate": "5/s", "limits": [Rate("9/min")]}, "two limits of one kind"),
    ],
)
def test_what_makes_no_sense_is_refused(options: dict[str, Any], message: str) -> None:
    async def call(ctx: Context, args: Call) -> None: ...

    with pytest.raises(ValueError, match=message):
        job(**options)(call)


def test_short_forms_and_a_list_are_put_together() -> None:
    @job(concurrency=20, rate="100/min", rate_key="{tenant}", limits=[Rate("1000/min"), Concurrency(2, "{tenant}")])
    async def call(ctx: Context, args: Call) -> None: ...

    assert call.limits == (
        Concurrency(20),
        Rate("100/min", "{tenant}"),
        Rate("1000/min"),
        Concurrency(2, "{tenant}"),
    )


def test_a_key_has_the_texts_of_kept_args_and_defaults() -> None:
    template = KeyTemplate.of("{tenant}/{region}/{size}/{plan}", Call)
    assert template.key({"tenant": 7}) == "7/eu/0.5/null"
    assert template.key({"tenant": "ada", "region": "us", "tariff": "pro"}) == "ada/us/0.5/pro"
