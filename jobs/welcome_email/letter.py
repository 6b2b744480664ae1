"""Composes the welcome message: the same bytes on every attempt of a job."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from email import policy
from email.headerregistry import Address
from email.message import EmailMessage
from email.parser import BytesParser
from email.utils import parseaddr
from functools import cache
from typing import Any

import jinja2
from email_validator import validate_email

HEADERS = [
    *("From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "MIME-Version", "Content-Type"),
]
"""What a letter carries, in this order, and nothing else."""


class HeaderRefused(Exception):
    """A value would have become another header, or more than one."""


@dataclass(frozen=True, slots=True)
class Letter:
    """A message ready to be sent."""

    sender: str
    """Envelope sender: the bare address."""
    recipient: str
    """Envelope recipient: the bare address, its domain in ASCII."""
    message_id: str
    content: bytes
    needs_smtputf8: bool
    """The recipient's local part is not ASCII (RFC 6531)."""


def compose(to: str, name: str, *, sender: str, job_id: str, date: datetime) -> Letter:
    """The welcome letter to `name` at `to`, dated by the job so that every attempt sends the same.

    Raises HeaderRefused where a value does not stay within its header.
    """
    sender_name, sender_spec = parseaddr(sender)
    sender_address = Address(sender_name, addr_spec=sender_spec)
    recipient = _ascii_domain(to)
    message_id = f"<{job_id}@{sender_address.domain}>"
    known = {"name": name, "sender_name": sender_name or sender_address.domain}

    message = EmailMessage(policy.SMTP if recipient.isascii() else policy.SMTPUTF8)
    _set(message, "From", sender_address)
    _set(message, "To", Address(name, addr_spec=recipient))
    _set(message, "Subject", _render("subject.txt.j2", known))
    _set(message, "Date", date)
    _set(message, "Message-ID", message_id)
    _set(message, "Auto-Submitted", "auto-generated")  # RFC 3834: no out-of-office answers, please
    message.set_content(_render("welcome.txt.j2", known))
    message.add_alternative(_render("welcome.html.j2", known), subtype="html")
    message.set_boundary(f"=_{job_id}")
    return Letter(
        sender=sender_spec,
        recipient=recipient,
        message_id=message_id,
        content=_checked(message),
        needs_smtputf8=not recipient.isascii(),
    )


def _ascii_domain(address: str) -> str:
    """Mail servers look a domain up in its IDNA form."""
    parts = validate_email(address, check_deliverability=False, test_environment=True)
    return f"{parts.local_part}@{parts.ascii_domain}"


def _set(message: EmailMessage, header: str, value: Any) -> None:
    text = str(value)
    if "\r" in text or "\n" in text or "\0" in text or "=?" in text:
        raise HeaderRefused(f"{header} must not hold line breaks or encoded words")
    message[header] = value


def _checked(message: EmailMessage) -> bytes:
    """The message as bytes, read back: Python's folding has let values become headers.

    CVE-2024-6923, and CVE-2026-1299 for BytesGenerator.
    """
    content = message.as_bytes()
    names = BytesParser(policy=policy.default).parsebytes(content, headersonly=True).keys()
    if sorted(names) != sorted(HEADERS):
        raise HeaderRefused("a value did not stay within its header")
    return content


def _render(template: str, known: dict[str, str]) -> str:
    return _templates().get_template(template).render(known).strip()


@cache
def _templates() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("jobs.welcome_email"),
        autoescape=jinja2.select_autoescape(enabled_extensions=["html.j2"], default=False),
        undefined=jinja2.StrictUndefined,
    )
