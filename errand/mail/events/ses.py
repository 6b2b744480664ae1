"""Amazon SES's notifications and events, as SNS brings them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from email.utils import parseaddr
from typing import Any

from errand.mail.events.email_event import EmailEvent, NotAnEvent, What, about, inner_of, means_the_address

RECIPIENTS: Mapping[str, tuple[What, str, str]] = {
    # its type → the event, the object about it, and the list of recipients in that
    "Bounce": ("bounced", "bounce", "bouncedRecipients"),
    "Complaint": ("complained", "complaint", "complainedRecipients"),
    "Delivery": ("delivered", "delivery", "recipients"),
    "DeliveryDelay": ("deferred", "deliveryDelay", "delayedRecipients"),
}
"""What else SES sends (Send, Open, Click, Reject, …) says nothing of how far a letter has come."""


GONE = frozenset({"NoEmail", "Suppressed", "OnAccountSuppressionList"})
"""Subtypes of a permanent bounce that mean the address; of a `General` one the code of the receiving server decides."""


def of_ses(text: str) -> list[EmailEvent]:
    """The events in a notification, one for each recipient; none for what does not count. Raises NotAnEvent."""
    try:
        body = json.loads(text)
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise NotAnEvent("the message is no JSON object: does something other than SES publish to the topic?")
    known = RECIPIENTS.get(str(body.get("eventType") or body.get("notificationType")))
    if known is None:
        return []
    what, name, listed = known
    said = inner_of(body, name)
    job_id, message_id = _job_of(inner_of(body, "mail"))
    events = (
        about(
            parseaddr(str(recipient.get("emailAddress", "")))[1],
            event=what,
            permanent=what == "bounced" and _is_permanent(said, str(recipient.get("status") or "")),
            job_id=job_id,
            message_id=message_id,
            detail=str(recipient.get("diagnosticCode") or said.get("smtpResponse") or said.get("bounceSubType") or "")[
                :1000
            ],
        )
        for recipient in _recipients(said.get(listed))
    )
    return [event for event in events if event is not None]


def _recipients(listed: object) -> Iterator[Mapping[str, Any]]:
    """Of a delivery they are plain addresses."""
    for each in listed if isinstance(listed, list) else ():
        if isinstance(each, str):
            yield {"emailAddress": each}
        elif isinstance(each, dict):
            yield each


def _is_permanent(bounce: Mapping[str, Any], status: str) -> bool:
    if bounce.get("bounceType") != "Permanent":
        return False
    return means_the_address(status) or (not status and bounce.get("bounceSubType") in GONE)


def _job_of(mail: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """The job's id by the tag that Errand's sender sets, and the letter's own Message-ID if SES was to keep headers."""
    tagged = inner_of(mail, "tags").get("job-id")
    job_id = str(tagged[0])[:200] if isinstance(tagged, list) and tagged else None
    own = inner_of(mail, "commonHeaders").get("messageId")
    return job_id, str(own)[:500] if own else None
