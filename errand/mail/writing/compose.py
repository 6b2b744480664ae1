"""Composes a letter: the headers, the parts, and the bytes that go out."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from email.utils import parseaddr
from urllib.parse import quote

from errand.mail.letter import Letter, LetterFields
from errand.mail.return_path import of_job
from errand.mail.writing import headers
from errand.mail.writing.address import ascii_domain
from errand.mail.writing.dkim import DkimKey
from errand.mail.writing.headers import HeaderRefused
from errand.mail.writing.message import OWN_HEADERS, Attachment, Message
from errand.mail.writing.parts import MultipartWriter, file_part, text_part
from errand.mail.writing.templates import RenderedMail, Templates


def compose(
    message: Message,
    templates: Templates,
    *,
    sender: str,
    job_id: str,
    date: datetime,
    dkim: DkimKey | None = None,
    return_path: str | None = None,
) -> Letter:
    """The letter of that job, dated by the job and signed by `dkim`, so that every attempt sends the same bytes.

    Bounces go to `return_path`, with the job's id in it, else to the sender.

    Raises HeaderRefused if a value cannot stand in its header, TemplateFault if the template cannot be rendered.
    """
    sender_name, sender_spec = parseaddr(sender)
    sender_address = _address(sender_spec)
    to, cc = _address(message.to), [_address(address) for address in message.cc]
    reply_to = _address(message.reply_to) if message.reply_to else None
    domain = sender_address.rpartition("@")[2]
    # stock Arq lets a producer choose any job id: characters that a Message-ID cannot hold are percent-encoded
    message_id = f"<{quote(job_id, safe='')}@{domain}>"
    rendered = render(message, templates, sender=sender)
    further = list(_further_headers(message))
    lines = [
        headers.address_header("From", [(sender_name, sender_address)]),
        headers.address_header("To", [(message.name, to)]),
        *([headers.address_header("Cc", [("", address) for address in cc])] if cc else []),
        *([headers.address_header("Reply-To", [("", reply_to)])] if reply_to else []),
        headers.text_header("Subject", rendered.subject),
        headers.date_header(date),
        headers.token_header("Message-ID", message_id),
        *(write(name, value) for write, name, value in further),
    ]
    content = "\r\n".join([*lines, ""]).encode() + _body(rendered, message.attachments, seed=job_id)
    return Letter(
        sender=of_job(return_path, job_id) if return_path else sender_address,
        recipients=(to, *cc),
        message_id=message_id,
        content=dkim.sign(content, at_s=int(date.timestamp())) if dkim else content,
        # that of a header, too: it stands there as it is
        needs_smtputf8=not all(address.isascii() for address in (sender_address, to, *cc, reply_to or "")),
        job_id=job_id,
        fields=LetterFields(
            sender=(sender_name, sender_address),
            to=(message.name, to),
            cc=cc,
            reply_to=reply_to,
            subject=rendered.subject,
            text=rendered.text,
            html=rendered.html,
            headers=[(name, value) for _, name, value in further],
            attachments=message.attachments,
        ),
    )


def render(message: Message, templates: Templates, *, sender: str) -> RenderedMail:
    """What the letter says. Raises TemplateFault."""
    sender_name, sender_spec = parseaddr(sender)
    known = {
        "name": message.name,
        "to": message.to,
        "sender_name": sender_name or sender_spec.rpartition("@")[2],
        "locale": message.locale or "en",
        "data": message.data,
    }
    return templates.render(message.template, message.locale, known)


def _address(address: str) -> str:
    try:
        return ascii_domain(address)
    except ValueError as error:
        raise HeaderRefused(str(error)) from None


Written = tuple[Callable[[str, str], str], str, str]
"""How a header is written, its name and its value."""


def _further_headers(message: Message) -> Iterator[Written]:
    yield headers.token_header, "Auto-Submitted", "auto-generated"  # RFC 3834: no out-of-office answers, please
    for name, value in message.headers.items():
        if not OWN_HEADERS.fullmatch(name):
            raise HeaderRefused(f"{name[:80]!r} is no header that a job may set")
        yield headers.text_header, name, value
    for tag in message.tags:
        yield headers.text_header, "X-Tag", tag
    if message.unsubscribe_url is not None:
        yield from _unsubscribe_headers(message.unsubscribe_url)


def _unsubscribe_headers(url: str) -> Iterator[Written]:
    """RFC 8058: a POST to the URL unsubscribes, without a further question."""
    if not url.startswith("https://") or any(character in url for character in "<>, \t"):
        raise HeaderRefused("unsubscribe_url must begin with https:// and hold no spaces, commas or brackets")
    yield headers.token_header, "List-Unsubscribe", f"<{url}>"
    yield headers.token_header, "List-Unsubscribe-Post", "List-Unsubscribe=One-Click"


def _body(rendered: RenderedMail, attachments: Sequence[Attachment], *, seed: str) -> bytes:
    """The parts as bytes, with the headers that say what they are; always the same for the same job."""
    writer = MultipartWriter(hashlib.sha256(seed.encode()).hexdigest()[:32])
    shown = [file_part(each) for each in attachments if each.cid is not None]
    enclosed = [file_part(each) for each in attachments if each.cid is None]
    body = text_part(rendered.text, "plain")
    if rendered.html is not None:
        html = text_part(rendered.html, "html")
        body = writer.together("alternative", [body, writer.together("related", [html, *shown]) if shown else html])
    elif shown:
        raise HeaderRefused("an inline image needs an HTML template")
    return b"MIME-Version: 1.0\r\n" + (writer.together("mixed", [body, *enclosed]) if enclosed else body)
