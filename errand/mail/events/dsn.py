"""Bounces as mail servers send them: delivery status notifications (RFC 3464)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from email import policy
from email.message import EmailMessage, Message
from email.parser import BytesParser
from email.utils import getaddresses

from errand.mail.events.email_event import EmailEvent, NotAnEvent, What, means_the_address
from errand.mail.return_path import job_in

RECIPIENT_HEADERS = ("Delivered-To", "X-Original-To", "Envelope-To", "To")
"""Where the report's own recipient stands: the return path of the letter. The first three are written on arrival."""


def of_dsn(body: bytes, *, return_path: str | None = None) -> list[EmailEvent]:
    """The events that a delivery status notification reports, one for each recipient. Raises NotAnEvent.

    The job is the one that the report's own address names (`return_path` with its id), else that of the Message-ID of
    the returned letter. Both are what the report says of itself: see `Deliveries.take_report`.
    """
    report = BytesParser(policy=policy.default).parsebytes(body)
    parts = list(report.walk())
    statuses = [part for part in parts if part.get_content_type() == "message/delivery-status"]
    if not statuses:
        raise NotAnEvent("a delivery status notification has a part message/delivery-status (RFC 3464)")
    job_id = return_path and next(_jobs_named(report, return_path), None)
    message_id = next(_original_ids(parts), None)
    groups = [group for status in statuses for group in _groups(status)]
    return [event for group in groups if (event := _of_recipient(group, job_id, message_id)) is not None]


def _jobs_named(report: Message, return_path: str) -> Iterator[str]:
    """The jobs that the report was addressed to."""
    values = [str(value) for name in RECIPIENT_HEADERS for value in report.get_all(name, [])]
    for _, address in getaddresses(values):
        if job_id := job_in(address, return_path):
            yield job_id


def _groups(status: Message) -> Iterator[Message]:
    """The first is about the message, the others each about one recipient."""
    payload = status.get_payload()
    if isinstance(payload, list):
        yield from (group for group in payload if isinstance(group, Message))


def _original_ids(parts: Sequence[Message]) -> Iterator[str]:
    """The Message-IDs of the letter that the report is about."""
    for part in parts[1:]:
        if part.get_content_type() == "text/rfc822-headers" and isinstance(part, EmailMessage):
            content = part.get_payload(decode=True)
            headers = BytesParser(policy=policy.default).parsebytes(content if isinstance(content, bytes) else b"")
            yield from headers.get_all("Message-ID", [])
        elif part.get_content_type() == "message/rfc822":
            payload = part.get_payload()
            for inner in payload if isinstance(payload, list) else []:
                if isinstance(inner, Message):
                    yield from inner.get_all("Message-ID", [])


ACTIONS: Mapping[str, What] = {"failed": "bounced", "delayed": "deferred", "delivered": "delivered"}


def _of_recipient(group: Message, job_id: str | None, message_id: str | None) -> EmailEvent | None:
    """None for what is about no recipient, or only passed on."""
    recipient = str(group["Original-Recipient"] or group["Final-Recipient"] or "").partition(";")[2].strip()
    action = ACTIONS.get(str(group["Action"] or "").strip().lower())
    if not recipient or action is None:
        return None
    status = str(group["Status"] or "").strip().split(" ")[0]
    said = str(group["Diagnostic-Code"] or "").partition(";")[2].strip()
    return EmailEvent(
        event=action,
        address=recipient,
        permanent=action == "bounced" and means_the_address(status),
        job_id=job_id,
        message_id=message_id and str(message_id).strip(),
        detail=f"{status} {said}".strip()[:1000],
    )
