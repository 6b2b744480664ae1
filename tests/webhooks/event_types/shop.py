"""Events as an installation declares them, in a module that tests name in JOB_PACKAGES."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from errand.webhooks import webhook_event


class Line(BaseModel):
    """A part of an invoice."""

    text: str
    cents: int = Field(ge=0, description="a price, <b>before</b> tax")


@webhook_event(
    "invoice.paid",
    example={"id": 7, "paid_at": "2026-11-21T05:00:00Z", "lines": [{"text": "Tea", "cents": 450}], "by": "card"},
)
class InvoicePaid(BaseModel):
    """An invoice was paid in full.

    It comes once for each invoice.
    """

    model_config = ConfigDict(strict=True)

    id: int
    paid_at: datetime
    lines: list[Line] = Field(min_length=1)
    by: Literal["card", "transfer"] | None = None


@webhook_event("user/created:v2", example={"name": "Žofie"})
class UserCreated(BaseModel):
    """Somebody signed up."""

    name: str


class NotDeclared(InvoicePaid):
    """A subclass declares nothing."""
