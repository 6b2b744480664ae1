"""A letter: a message as it travels, the same bytes on every attempt of a job."""

from __future__ import annotations

from dataclasses import dataclass


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
