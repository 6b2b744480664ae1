"""What a job wants to have written: to whom, by which template, with what enclosed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from errand.job.control import Fail

if TYPE_CHECKING:
    from errand.resources.storage import Storage

TEMPLATE_NAME = r"^[a-z0-9][a-z0-9_-]{0,63}$"


LOCALE = r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}$"


TemplateName = Annotated[str, Field(pattern=TEMPLATE_NAME)]


Locale = Annotated[str, Field(pattern=LOCALE, examples=["de", "pt-BR"])]
"""A language tag (RFC 5646): its template is used if there is one, else that of the language, else the plain one."""


ATTACHMENT_LIMIT_BYTES = 18 * 1024 * 1024
"""Large providers take letters of 25 MB, and base64 makes four bytes of three."""


OWN_HEADERS = re.compile(r"(?i)x-[a-z0-9-]+|in-reply-to|references|precedence|feedback-id|list-id|list-help|importance")
"""Headers that a job may set; the others are set by what they say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """A file that travels with the letter, or an image that its HTML shows as `<img src="cid:NAME">`."""

    content: bytes = field(repr=False)
    filename: str
    content_type: str = "application/octet-stream"
    cid: str | None = None
    """The name by which the HTML shows it; None: it is enclosed."""

    @classmethod
    async def stored(
        cls,
        storage: Storage,
        key: str,
        *,
        filename: str,
        content_type: str = "application/octet-stream",
        cid: str | None = None,
    ) -> Attachment:
        """One that lies in storage, under that key. Raises FileMissing, or Fail if it is too large for a letter."""
        content = b""
        async for chunk in storage.read(key):
            content += chunk
            if len(content) > ATTACHMENT_LIMIT_BYTES:
                raise Fail(f"{filename} has more than {ATTACHMENT_LIMIT_BYTES} bytes: store it, and send a link")
        return cls(content=content, filename=filename, content_type=content_type, cid=cid)


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A message to one person: `await ctx.use(mailer).send(ctx, Message(to=…, template="invoice", data={…}))`."""

    to: str
    name: str = ""
    """The display name of the recipient."""
    template: str
    data: Mapping[str, Any] = field(default_factory=dict)
    """JSON values; the template sees them as `data`."""
    locale: str | None = None
    cc: Sequence[str] = ()
    reply_to: str | None = None
    attachments: Sequence[Attachment] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    """Further headers: `X-…`, `In-Reply-To`, `References`, `Precedence`, `Feedback-ID`, `List-Id`, `Importance`."""
    tags: Sequence[str] = ()
    """What statistics of the letter are counted by; each becomes an `X-Tag`."""
    unsubscribe_url: str | None = None
    """An https URL that takes a POST: mail readers show a button (RFC 8058)."""
