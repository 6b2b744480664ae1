"""Postmark's webhook."""

from __future__ import annotations

import hmac
from base64 import b64decode
from collections.abc import Mapping
from typing import Any

from errand.mail.events.email_event import BadSignature, EmailEvent, NotAnEvent, What, event_of, inner_of


def of_postmark(body: Mapping[str, Any]) -> list[EmailEvent]:
    """Postmark's webhook, whose sender has been admitted by its password. Raises NotAnEvent."""
    record = str(body.get("RecordType"))
    if record == "SubscriptionChange" and body.get("SuppressSending") is not True:
        raise NotAnEvent("the address was set free: DELETE it from /v1/suppressions")
    what = event_of(POSTMARK, record)
    job_id = inner_of(body, "Metadata").get("job-id")
    return [
        EmailEvent(
            event=what,
            address=body.get("Recipient") or body.get("Email") or "",
            permanent=what == "bounced" and bool(body.get("Inactive") or body.get("Type") == "HardBounce"),
            job_id=str(job_id)[:200] if job_id else None,
            detail=str(body.get("Details") or body.get("Description") or "")[:1000],
        )
    ]


POSTMARK: Mapping[str, What] = {
    "Delivery": "delivered",
    "Bounce": "bounced",
    "SpamComplaint": "complained",
    "SubscriptionChange": "unsubscribed",
}


def check_basic_password(header: str, password: str) -> None:
    """Raises BadSignature if an `Authorization: Basic` header has another password; the name is free."""
    scheme, _, encoded = header.partition(" ")
    try:
        given = b64decode(encoded, validate=True).partition(b":")[2]
    except ValueError:  # no base64, or no ASCII at all
        given = b""
    if scheme.lower() != "basic" or not hmac.compare_digest(given, password.encode()):
        raise BadSignature("the password is not that of POSTMARK_WEBHOOK_PASSWORD")
