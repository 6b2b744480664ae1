"""Split off."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from errand.http.requests import json_body
from errand.http.shared import Shared

TypeName = Annotated[str, Field(min_length=1, max_length=128, description="only of this type", examples=["webhook"])]


QueueName = Annotated[str, Field(min_length=1, max_length=64, description="only of this queue", examples=["default"])]


def check_queue(to: Shared, name: str | None, *, field: str) -> None:
    """Raises Problem 422, which names the queues, for one that this service does not have."""
    if name is not None and name not in to.queues:
        raise json_body.invalid(field, f"must be one of the queues: {', '.join(to.queues)}")
