"""The settings of e-mail: its server, its sender, and what to do if it is unknown whether a letter was taken."""

from __future__ import annotations

import re
from email.errors import HeaderParseError
from email.headerregistry import Address
from email.utils import getaddresses
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    DirectoryPath,
    Field,
    FilePath,
    SecretStr,
    field_validator,
    model_validator,
)
from pydantic_settings import NoDecode

from errand.settings.comma_separated import comma_separated
from errand.settings.urls import check_url

WhenUnsure = Literal["resend", "fail", "hold"]
"""What becomes of a letter if it is unknown whether the server took it."""


EHLO_NAME = (
    r"^([A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)+|\[[0-9A-Fa-f.:IPv]+\])$"
)
"""A full domain name, or an address in brackets (RFC 5321 §4.1.1.1)."""


RETURN_PATH = r"^[A-Za-z0-9._-]{1,20}@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+$"
"""Short in front of the @, because the job's id is put there too."""


TOPIC_ARN = r"^arn:aws[a-z-]*:sns:[a-z0-9-]{5,32}:[0-9]{12}:[A-Za-z0-9_-]{1,256}$"


class SinkFault(BaseModel):
    """What the mail sink answers instead of taking a letter, and to which part of the letters."""

    model_config = ConfigDict(frozen=True)

    code: int | None
    """A reply code; None: it hangs up."""
    rate: float

    @classmethod
    def parse(cls, text: str) -> Self:
        """`451:0.3` or `drop:0.1`. Raises ValueError."""
        found = re.fullmatch(r"([45]\d\d|drop):(0(?:\.\d+)?|1(?:\.0+)?)", text)
        if not found:
            raise ValueError("must be CODE:RATE or drop:RATE, comma separated, such as 451:0.3,550:0.05,drop:0.1")
        return cls(code=None if found[1] == "drop" else int(found[1]), rate=float(found[2]))


SCHEMES = ("smtp", "smtps", "ses", "postmark")


class DomainRate(BaseModel):
    """How many letters a recipient domain gets in how many seconds."""

    model_config = ConfigDict(frozen=True)

    domain: str
    """`*`: each that has no rate of its own."""
    quota: int = Field(ge=1, le=1_000_000)
    window_s: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """`gmail.com=20/s`, `*=600/min`. Raises ValueError."""
        found = re.fullmatch(r"(\*|[A-Za-z0-9.-]+\.[A-Za-z0-9-]+)=([1-9]\d{0,5})/(s|min|h|d)", text)
        if not found:
            raise ValueError("must be DOMAIN=NUMBER/TIME or *=NUMBER/TIME, such as gmail.com=20/s,*=600/min")
        window_s = {"s": 1, "min": 60, "h": 3600, "d": 86_400}[found[3]]
        return cls(domain=found[1].lower(), quota=int(found[2]), window_s=window_s)


NEXT_URL = re.compile(rf"\s*,\s*(?=(?:{'|'.join(SCHEMES)})://)")
"""Between two relays: a comma in a password is none."""


def _check_relays(urls: SecretStr) -> SecretStr:
    for url in NEXT_URL.split(urls.get_secret_value()):
        check_url(url, *SCHEMES)
    return urls


class MailSettings(BaseModel):
    """A part of `Settings`."""

    smtp_url: Annotated[SecretStr, AfterValidator(_check_relays)] | None = None
    mail_from: str = "Errand <errand@localhost>"
    mail_when_unsure: WhenUnsure = "resend"
    template_dir: DirectoryPath | None = None
    dkim_key_file: FilePath | None = None
    dkim_selector: str | None = Field(None, pattern=r"^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$", max_length=63)
    mail_return_path: str | None = Field(None, pattern=RETURN_PATH, max_length=254)
    mailgun_signing_key: Annotated[SecretStr, Field(min_length=8)] | None = None
    ses_topic_arn: str | None = Field(None, pattern=TOPIC_ARN)
    postmark_webhook_password: Annotated[SecretStr, Field(min_length=8)] | None = None
    sink_faults: Annotated[tuple[SinkFault, ...], NoDecode, comma_separated(SinkFault.parse)] = ()
    mail_domain_connections: int | None = Field(None, ge=1, le=1000)
    mail_domain_rates: Annotated[tuple[DomainRate, ...], NoDecode, comma_separated(DomainRate.parse)] = ()
    mail_ehlo_name: str | None = Field(None, pattern=EHLO_NAME, max_length=253)

    @model_validator(mode="after")
    def _check_dkim(self) -> Self:
        if (self.dkim_key_file is None) != (self.dkim_selector is None):
            raise ValueError("DKIM_SELECTOR: DKIM_KEY_FILE and DKIM_SELECTOR are needed together")
        return self

    @property
    def mail_domain(self) -> str:
        """The sender's domain."""
        return getaddresses([self.mail_from])[0][1].rpartition("@")[2]

    @property
    def smtp_urls(self) -> list[str]:
        """The relays, in the order in which they are preferred."""
        return NEXT_URL.split(self.smtp_url.get_secret_value()) if self.smtp_url else []

    @property
    def smtp_servers(self) -> list[str]:
        """Those of the relays that are mail servers, not providers."""
        return [url for url in self.smtp_urls if url.startswith(("smtp:", "smtps:"))]

    @property
    def takes_addresses_beyond_ascii(self) -> bool:
        """False if each relay is a provider whose API takes none. A mail server says so itself, at EHLO (RFC 6531)."""
        return not self.smtp_urls or bool(self.smtp_servers)

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
