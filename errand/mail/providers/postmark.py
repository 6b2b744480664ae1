"""Postmark, by its API: it takes fields and writes the message itself."""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import unquote, urlsplit

from errand.job.clock import Clock
from errand.mail.letter import Letter, LetterFields
from errand.mail.providers.answers import kind_of_status, provider_refusal, refuse_beyond_ascii
from errand.mail.providers.http_api import ApiAnswer, HttpApi, origin_of
from errand.mail.providers.provider_url import options_of
from errand.mail.verdict import Kind
from errand.mail.writing.message import Attachment

PATH = "/email"


ERRORS: Mapping[int, tuple[Kind, bool]] = {
    # ErrorCode → its kind, and whether it is about who sends, or about this letter
    10: (Kind.SENDER, True),  # bad or missing token
    100: (Kind.TRANSIENT, True),  # maintenance
    300: (Kind.SENDER, False),  # invalid request: a field of the letter
    400: (Kind.SENDER, True),  # sender signature not found
    401: (Kind.SENDER, True),  # sender signature not confirmed
    405: (Kind.SENDER, True),  # out of credits
    406: (Kind.ADDRESS, False),  # inactive recipient: it bounced, or complained, and Postmark sends nothing there
    412: (Kind.SENDER, True),  # the account waits for its approval
    413: (Kind.SENDER, True),
    1235: (Kind.SENDER, True),  # no such message stream
}
"""Postmark's "API error codes". What is not here goes by its status."""


NOT_READABLE = "SMTP_URL: must be postmark://:SERVER_TOKEN@api.postmarkapp.com, with the option stream=NAME"


class PostmarkSender:
    """Sends letters by one server of a Postmark account. `postmark://:SERVER_TOKEN@HOST`, with the option `stream`."""

    def __init__(self, api: HttpApi, *, token: str, stream: str) -> None:
        self._api = api
        self._stream = stream
        self._headers = {"X-Postmark-Server-Token": token, "Accept": "application/json"}

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str, *, connections: int) -> AsyncIterator[PostmarkSender]:
        """Raises ValueError for a URL that it cannot read."""
        parts = urlsplit(url)
        options = options_of(parts, {"stream"}, NOT_READABLE)
        if parts.username or not parts.password or not parts.hostname:
            raise ValueError(NOT_READABLE)
        stream = options.get("stream", "outbound")
        async with HttpApi.open(origin_of(parts.hostname, parts.port), connections=connections) as api:
            yield cls(api, token=unquote(parts.password), stream=stream)

    async def send(
        self, letter: Letter, *, begin: Callable[[], Awaitable[None]] | None = None, clock: Clock | None = None
    ) -> str:
        """The id that Postmark gave it. Raises Refusal; see `errand.mail.relays.Transport`."""
        refuse_beyond_ascii(letter, "Postmark")
        assert letter.fields is not None
        async with (clock or Clock()).turn(self._api.free):
            body = await asyncio.to_thread(self._body, letter, letter.fields)
            if begin is not None:
                await begin()
            answer = await self._api.post(PATH, body, {**self._headers, "Content-Type": "application/json"})
        code = answer.fields.get("ErrorCode")
        if not 200 <= answer.status <= 299 or code not in (0, None):
            raise _refusal(answer, code)
        return f"{answer.status} {answer.fields.get('MessageID', '')}".strip()

    def _body(self, letter: Letter, fields: LetterFields) -> bytes:
        own = [("Message-ID", letter.message_id), ("X-PM-KeepID", "true"), *fields.headers]
        request: dict[str, Any] = {
            "From": _mailbox(*fields.sender),
            "To": _mailbox(*fields.to),
            "Cc": ",".join(fields.cc),
            "ReplyTo": fields.reply_to or "",
            "Subject": fields.subject,
            "TextBody": fields.text,
            "HtmlBody": fields.html or "",
            "Headers": [{"Name": name, "Value": value} for name, value in own],
            "Attachments": [_enclosed(attachment) for attachment in fields.attachments],
            "MessageStream": self._stream,
            "Metadata": {"job-id": letter.job_id[:80]},
            "TrackOpens": False,
            "TrackLinks": "None",
        }
        return json.dumps({name: value for name, value in request.items() if value not in ("", [])}).encode()


def _mailbox(name: str, address: str) -> str:
    """In quotes, and not encoded: the API takes UTF-8."""
    quoted = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{quoted}" <{address}>' if name else address


def _enclosed(attachment: Attachment) -> dict[str, str]:
    shown = {"ContentID": f"cid:{attachment.cid}"} if attachment.cid else {}
    return {
        "Name": attachment.filename,
        "Content": b64encode(attachment.content).decode(),
        "ContentType": attachment.content_type,
        **shown,
    }


def _refusal(answer: ApiAnswer, code: object) -> Exception:
    by_status = (kind_of_status(answer.status), answer.status in (401, 403, 429, 503))
    kind, about_sender = ERRORS.get(code, by_status) if isinstance(code, int) else by_status
    said = f"{answer.status} {code or ''} {answer.fields.get('Message', '')}"
    return provider_refusal(kind, " ".join(said.split()), about_sender=about_sender)
