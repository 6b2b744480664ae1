"""A letter: a message as it travels, the same bytes on every attempt of a job."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from errand.mail.writing.message import Attachment


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterFields:
    """What a letter says, for providers that take fields and write the message themselves. Nothing is encoded."""

    sender: tuple[str, str]
    """Display name and address."""
    to: tuple[str, str]
    cc: Sequence[str]
    reply_to: str | None
    subject: str
    text: str
    html: str | None
    headers: Sequence[tuple[str, str]]
    """Those that are nothing of the above: the job's own, `X-Tag`, `List-Unsubscribe`."""
    attachments: Sequence[Attachment]


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
    """The local part of a recipient, or of an address in a header, is not ASCII (RFC 6531)."""
    job_id: str = ""
    fields: LetterFields | None = None
