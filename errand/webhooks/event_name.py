"""Names of events: what they may look like."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

EVENT_NAME = r"^[A-Za-z0-9_:/-]+(\.[A-Za-z0-9_:/-]+)*$"
"""Parts separated by dots, as Standard Webhooks 1.0 has them. Beyond its letters, digits and `_` the parts may hold
`-`, `:` and `/`, which names in use hold: `invoice.payment-failed`, `order:created`."""


EventName = Annotated[str, Field(pattern=EVENT_NAME, max_length=128, examples=["invoice.payment-failed"])]
