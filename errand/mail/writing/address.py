"""Addresses of mail: which are taken at the door, and how they travel."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated

from email_validator import EmailNotValidError, validate_email
from pydantic import AfterValidator, BeforeValidator, EmailStr, ValidationInfo

from errand.job.args_context import ArgsContext, LaterCheck

if TYPE_CHECKING:
    from redis.asyncio import Redis

ENCODED_WORD = re.compile(r"=\?[^?\s]+\?[bq]\?[^?\s]*\?=", re.IGNORECASE)


def without_blanks_around(address: object) -> object:
    """As pydantic takes it, which first looks for a name in front of it, anew from each of the blanks there."""
    has_lines = isinstance(address, str) and ("\n" in address or "\r" in address)  # it refuses them at once
    return address.strip() if isinstance(address, str) and not has_lines else address


def check_address(address: str, info: ValidationInfo) -> str:
    """The address, if a letter can be composed to it, and may be taken by a configured relay. Raises ValueError.

    `=?` alone is a fine local part; a whole encoded word (RFC 2047) is refused, because readers that decode it there,
    as they must not, would see another address.
    """
    if ENCODED_WORD.search(address):
        raise ValueError("must not hold an encoded word (=?…?=)")
    ascii_domain(address)
    if isinstance(info.context, ArgsContext) and not address.rpartition("@")[0].isascii():
        settings = info.context.settings
        if not settings.takes_addresses_beyond_ascii:
            raise ValueError("has characters beyond ASCII before the @, which no configured provider of mail takes")
        check = partial(_check_offered, settings.smtp_servers)
        info.context.later.append(LaterCheck(field=info.field_name or "", about="SMTPUTF8", check=check))
    return address


async def _check_offered(urls: Sequence[str], redis: Redis) -> None:
    """Raises ValueError if none of these mail servers can take such an address, as far as is known."""
    from errand.mail.offers import MailServerOffers

    if await MailServerOffers(redis).none_takes_smtputf8(urls):
        raise ValueError("has characters beyond ASCII before the @, which the mail server does not take (SMTPUTF8)")


def ascii_domain(address: str) -> str:
    """The address with its domain as mail servers look it up, in IDNA. Raises ValueError for what is no address."""
    if address.isascii():
        return address
    try:
        parts = validate_email(address, check_deliverability=False, test_environment=True)
    except EmailNotValidError as error:
        raise ValueError(f"is no e-mail address: {error}") from None
    return f"{parts.local_part}@{parts.ascii_domain}"


MailAddress = Annotated[EmailStr, BeforeValidator(without_blanks_around), AfterValidator(check_address)]
"""For a field of a job's args: `to: MailAddress`."""
