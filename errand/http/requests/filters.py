"""Query parameters that several lists share."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query
from pydantic import Field

from errand.http.requests import json_body
from errand.http.shared import Shared

TypeName = Annotated[str, Field(min_length=1, max_length=128, description="only of this type", examples=["webhook"])]


QueueName = Annotated[str, Field(min_length=1, max_length=64, description="only of this queue", examples=["default"])]


MAX_ON_A_PAGE = 100


PageLimit = Annotated[int, Query(ge=1, le=MAX_ON_A_PAGE, description="how many at most", examples=[MAX_ON_A_PAGE])]
"""Of a list in the order of ids; 100 without it."""


PageAfter = Annotated[
    str, Query(max_length=64, description="from `next` of the page before", examples=["acme-billing"])
]
"""The id behind which the page of such a list begins."""


def check_queue(to: Shared, name: str | None, *, field: str) -> None:
    """Raises Problem 422, which names the queues, for one that this service does not have."""
    if name is not None and name not in to.queues:
        raise json_body.invalid(field, f"must be one of the queues: {', '.join(to.queues)}")
