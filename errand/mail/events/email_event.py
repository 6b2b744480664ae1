"""What became of a letter after the mail server had taken it: delivered, bounced, complained of."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal
from urllib.parse import unquote

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from errand.mail.verdict import ENHANCED, Kind
from errand.mail.writing.address import MailAddress

What = Literal["delivered", "bounced", "deferred", "complained", "unsubscribed"]


class EmailEvent(BaseModel):
    """One event, in the form that is Errand's own."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    event: What
    address: MailAddress
    permanent: bool = Field(False, strict=True, description="of a bounce: the address takes no mail, now or ever")
    job_id: Annotated[str, Field(max_length=200)] | None = Field(None, description="of the job that sent the letter")
    message_id: Annotated[str, Field(max_length=500)] | None = Field(
        None, description="in place of `job_id`: the letter's `Message-ID`"
    )
    detail: str = Field("", max_length=1000)

    @property
    def job(self) -> str | None:
        """The id of the job that sent the letter, if the event says it in one way or the other."""
        return self.job_id or job_of(self.message_id)


def about(address: str, **said: Any) -> EmailEvent | None:
    """The event of one recipient of several; None if that is no address: no letter went there, and what is said of the
    others counts all the same."""
    try:
        return EmailEvent(address=address, **said)
    except ValidationError as error:
        if any(fault["loc"] != ("address",) for fault in error.errors()):
            raise
        return None


class NotAnEvent(Exception):
    """The body is none of the shapes that are known."""


class BadSignature(Exception):
    """The body was not signed by who should have."""


def job_of(message_id: str | None) -> str | None:
    """Errand's letters have Message-IDs made of the job's id."""
    found = re.fullmatch(r"\s*<?([^<>@\s]+)@[^<>@\s]+>?\s*", message_id or "")
    return unquote(found[1]) if found else None


def means_the_address(status: str) -> bool:
    """True for an enhanced code by which the address takes no mail."""
    return status.startswith("5.") and ENHANCED.get(status[2:]) is Kind.ADDRESS


def event_of(names: Mapping[str, What], name: str) -> What:
    """The event that a provider calls so. Raises NotAnEvent."""
    if name not in names:
        raise NotAnEvent(f"{name[:80]!r} is none of the events that count: {', '.join(names)}")
    return names[name]


def inner_of(body: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The object of that name in the body; an empty one if it is none."""
    inner = body.get(name)
    return inner if isinstance(inner, dict) else {}
