"""The settings of e-mail: its server, its sender, and what to do if nobody knows whether a letter was taken."""

from __future__ import annotations

from email.errors import HeaderParseError
from email.headerregistry import Address
from email.utils import getaddresses
from typing import Annotated, Literal

from pydantic import BaseModel, DirectoryPath, Field, SecretStr, field_validator

from errand.settings.urls import url_with_scheme

WhenUnsure = Literal["resend", "fail", "hold"]
"""What becomes of a letter if nobody knows whether the server took it."""


EHLO_NAME = (
    r"^([A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)+|\[[0-9A-Fa-f.:IPv]+\])$"
)
"""A full domain name, or an address in brackets (RFC 5321 §4.1.1.1)."""


class MailSettings(BaseModel):
    """A part of `Settings`."""

    smtp_url: Annotated[SecretStr, url_with_scheme("smtp", "smtps")] | None = None
    mail_from: str = "Errand <errand@localhost>"
    mail_when_unsure: WhenUnsure = "resend"
    template_dir: DirectoryPath | None = None
    mail_ehlo_name: str | None = Field(None, pattern=EHLO_NAME, max_length=253)

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
