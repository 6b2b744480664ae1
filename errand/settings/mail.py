"""The settings of e-mail: its server, its sender, and what to do if nobody knows whether a letter was taken."""

from __future__ import annotations

from email.errors import HeaderParseError
from email.headerregistry import Address
from email.utils import getaddresses
from typing import Annotated, Literal

from pydantic import BaseModel, SecretStr, field_validator

from errand.settings.urls import url_with_scheme


class MailSettings(BaseModel):
    """A part of `Settings`."""

    smtp_url: Annotated[SecretStr, url_with_scheme("smtp", "smtps")] | None = None
    mail_from: str = "Errand <errand@localhost>"
    mail_when_unsure: Literal["resend", "fail"] = "resend"

    @field_validator("mail_from")
    @classmethod
    def _check_sender(cls, sender: str) -> str:
        try:
            ((name, spec),) = getaddresses([sender])
            address = Address(name, addr_spec=spec)
        except (HeaderParseError, ValueError, IndexError):
            address = Address()
        if not (address.username and address.domain) or not sender.isprintable() or "=?" in sender:
            raise ValueError("must be an address such as 'Acme <hello@acme.example>'")
        return sender
