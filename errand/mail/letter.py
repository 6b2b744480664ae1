"""Composes the welcome message: the same bytes on every attempt of a job."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from email import policy
from email.headerregistry import Address
from email.message import EmailMessage
from email.parser import Parser
from email.utils import parseaddr
from functools import cache
from typing import Any
from urllib.parse import quote

import jinja2
from email_validator import validate_email

HEADERS = [
    *("From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "MIME-Version", "Content-Type"),
]
"""The headers of a letter, in this order; it has no others."""


ASCII_ONLY = policy.SMTP.clone(cte_type="7bit")
"""For any server: the body is encoded too, because not every server takes 8 bits (RFC 6152)."""


class HeaderRefused(Exception):
    """A value would have become another header, or more than one."""


@dataclass(frozen=True, slots=True)
class Letter:
    """A message ready to be sent."""

    sender: str
    """Envelope sender: the bare address."""
    recipients: tuple[str, ...]
    """Envelope recipients: bare addresses, their domains in ASCII."""
    message_id: str
    content: bytes
    needs_smtputf8: bool
    """A recipient's local part is not ASCII (RFC 6531)."""


def compose(to: str, name: str, *, sender: str, job_id: str, date: datetime) -> Letter:
    """The welcome letter to `name` at `to`, dated by the job so that every attempt sends the same.

    Raises HeaderRefused if a value would not stay within its header.
    """
    sender_name, sender_spec = parseaddr(sender)
    sender_address = Address(sender_name, addr_spec=_ascii_domain(sender_spec))
    recipient = _ascii_domain(to)
    # stock Arq lets a producer choose any job id: characters that a Message-ID cannot hold are percent-encoded
    message_id = f"<{quote(job_id, safe='')}@{sender_address.domain}>"
    known = {"name": name, "sender_name": sender_name or sender_address.domain}

    message = EmailMessage(ASCII_ONLY if recipient.isascii() else policy.SMTPUTF8)
    _set(message, "From", sender_address)
    _set(message, "To", _mailbox(name, recipient))
    _set(message, "Subject", _render("subject.txt.j2", known))
    _set(message, "Date", date)
    _set(message, "Message-ID", message_id)
    _set(message, "Auto-Submitted", "auto-generated")  # RFC 3834: no out-of-office answers, please
    message.set_content(_render("welcome.txt.j2", known))
    message.add_alternative(_render("welcome.html.j2", known), subtype="html")
    message.set_boundary(f"=_{hashlib.sha256(job_id.encode()).hexdigest()[:32]}")
    return Letter(
        sender=sender_address.addr_spec,
        recipients=(recipient,),
        message_id=message_id,
        content=_checked(message, recipient),
        needs_smtputf8=not recipient.isascii(),
    )


def _ascii_domain(address: str) -> str:
    """Mail servers look a domain up in its IDNA form."""
    if address.isascii():
        return address
    parts = validate_email(address, check_deliverability=False, test_environment=True)
    return f"{parts.local_part}@{parts.ascii_domain}"


def _mailbox(name: str, address: str) -> Address:
    """`Address(addr_spec=...)` would refuse a local part that is not ASCII."""
    _refuse_line_breaks("To", name)
    local_part, _, domain = address.rpartition("@")
    return Address(name, username=local_part, domain=domain)


def _set(message: EmailMessage, header: str, value: Any) -> None:
    _refuse_line_breaks(header, str(value))
    message[header] = value


def _refuse_line_breaks(header: str, text: str) -> None:
    # splitlines knows every character that the email package takes for an end of line, U+2028 and \v among them
    if len(f"{text}.".splitlines()) > 1 or "\0" in text or "=?" in text:
        raise HeaderRefused(f"{header} must not hold line breaks or encoded words")


def _checked(message: EmailMessage, recipient: str) -> bytes:
    """The message as bytes, parsed again to check it: folding has turned values into headers and names into addresses.

    CVE-2024-6923, and CVE-2026-1299 for BytesGenerator.
    """
    content = message.as_bytes()
    headers = Parser(policy=policy.default).parsestr(content.decode(), headersonly=True)
    addressed = [address.addr_spec for address in headers["To"].addresses]
    if sorted(headers.keys()) != sorted(HEADERS) or addressed != [recipient]:
        raise HeaderRefused("a value did not stay within its header")
    return content


def _render(template: str, known: dict[str, str]) -> str:
    return _templates().get_template(template).render(known).strip()


@cache
def _templates() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("errand.mail"),
        autoescape=jinja2.select_autoescape(enabled_extensions=["html.j2"], default=False),
        undefined=jinja2.StrictUndefined,
    )
