"""What became of a letter after the mail server had taken it: delivered, bounced, complained of."""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from base64 import b64decode
from collections.abc import Iterator, Mapping, Sequence
from email import policy
from email.message import EmailMessage, Message
from email.parser import BytesParser
from typing import Annotated, Any, Literal
from urllib.parse import unquote

from pydantic import BaseModel, ConfigDict, Field

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


class NotAnEvent(Exception):
    """The body is none of the shapes that are known."""


class BadSignature(Exception):
    """The body was not signed by who should have."""


def job_of(message_id: str | None) -> str | None:
    """Errand's letters have Message-IDs made of the job's id."""
    found = re.fullmatch(r"\s*<?([^<>@\s]+)@[^<>@\s]+>?\s*", message_id or "")
    return unquote(found[1]) if found else None


# --- RFC 3464


def of_dsn(body: bytes) -> list[EmailEvent]:
    """The events that a delivery status notification reports, one for each recipient. Raises NotAnEvent."""
    report = BytesParser(policy=policy.default).parsebytes(body)
    parts = list(report.walk())
    statuses = [part for part in parts if part.get_content_type() == "message/delivery-status"]
    if not statuses:
        raise NotAnEvent("a delivery status notification has a part message/delivery-status (RFC 3464)")
    message_id = next(_original_ids(parts), None)
    groups = [group for status in statuses for group in _groups(status)]
    return [event for group in groups if (event := _of_recipient(group, message_id)) is not None]


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


def _of_recipient(group: Message, message_id: str | None) -> EmailEvent | None:
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
        message_id=message_id and str(message_id).strip(),
        detail=f"{status} {said}".strip()[:1000],
    )


def means_the_address(status: str) -> bool:
    """True for an enhanced code by which the address takes no mail."""
    return status.startswith("5.") and ENHANCED.get(status[2:]) is Kind.ADDRESS


# --- Mailgun


def of_mailgun(body: Mapping[str, Any], *, key: str) -> list[EmailEvent]:
    """Mailgun's webhook, signed by HMAC-SHA256 over timestamp and token. Raises BadSignature, NotAnEvent."""
    signed = body.get("signature")
    fields = (
        [str(signed.get(name, "")) for name in ("timestamp", "token", "signature")] if isinstance(signed, dict) else []
    )
    if len(fields) != 3:
        raise BadSignature("the body has no signature")
    _check_mailgun_signature(*fields, key=key)
    data = body.get("event-data")
    if not isinstance(data, dict):
        raise NotAnEvent("the body has no event-data")
    what = _of_names(MAILGUN, f"{data.get('event')} {data.get('severity', '')}".strip())
    status = _inner(data, "delivery-status")
    return [
        EmailEvent(
            event=what,
            address=data.get("recipient", ""),
            permanent=what == "bounced",
            message_id=str(_inner(_inner(data, "message"), "headers").get("message-id", ""))[:500] or None,
            detail=str(status.get("message") or status.get("description") or "")[:1000],
        )
    ]


def _check_mailgun_signature(timestamp: str, token: str, signature: str, *, key: str) -> None:
    """Raises BadSignature. Neither end of the time is open: the cut between timestamp and token is not signed."""
    expected = hmac.new(key.encode(), f"{timestamp}{token}".encode(), hashlib.sha256).hexdigest()
    if not hmac.compare_digest(expected.encode(), signature.encode()):
        raise BadSignature("the signature is not that of MAILGUN_SIGNING_KEY")
    if not re.fullmatch(r"[0-9]{1,18}", timestamp) or abs(time.time() - int(timestamp)) > MAILGUN_LIMIT_S:
        raise BadSignature("it was signed at another time")


MAILGUN_LIMIT_S = 24 * 3600
"""Mailgun sends an event again for eight hours. It signs no body: with an old signature any event could be sent."""


MAILGUN: Mapping[str, What] = {
    "delivered": "delivered",
    "failed permanent": "bounced",
    "failed temporary": "deferred",
    "complained": "complained",
    "unsubscribed": "unsubscribed",
}


# --- Postmark


def of_postmark(body: Mapping[str, Any]) -> list[EmailEvent]:
    """Postmark's webhook, whose sender has been admitted by its password. Raises NotAnEvent."""
    record = str(body.get("RecordType"))
    if record == "SubscriptionChange" and body.get("SuppressSending") is not True:
        raise NotAnEvent("the address was set free: DELETE it from /v1/suppressions")
    what = _of_names(POSTMARK, record)
    job_id = _inner(body, "Metadata").get("job-id")
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


def _of_names(names: Mapping[str, What], name: str) -> What:
    if name not in names:
        raise NotAnEvent(f"{name[:80]!r} is none of the events that count: {', '.join(names)}")
    return names[name]


def _inner(body: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    inner = body.get(name)
    return inner if isinstance(inner, dict) else {}
