"""Reads what the mail sink has kept: a list of letters, and one of them as its reader would see it."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email import policy
from email.message import EmailMessage
from email.parser import BytesHeaderParser, BytesParser
from pathlib import Path
from urllib.parse import quote

NAME = re.compile(r"(?P<at_ns>\d{15,20})-[A-Za-z0-9-]{0,64}\.eml")


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptLetter:
    """One letter of the list."""

    name: str
    at: datetime
    recipient: str
    subject: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedLetter:
    """A letter with all that is in it."""

    headers: Sequence[tuple[str, str]]
    text: str
    html: str | None
    """Images that it shows by `cid:` stand in it as data."""
    enclosed: Sequence[str]
    raw: bytes


def newest_letters(folder: Path, *, limit: int) -> list[KeptLetter]:
    """The newest first."""
    if not folder.is_dir():
        return []
    names = sorted((file.name for file in folder.iterdir() if NAME.fullmatch(file.name)), reverse=True)
    return [_listed(folder, name) for name in names[:limit]]


def label_of(message_id: str) -> str:
    """What of a `Message-ID` stands in the name of its file."""
    label = "".join(char for char in message_id.partition("@")[0] if char.isalnum() or char == "-")
    return label[:64]


def letter_of_job(folder: Path, job_id: str) -> tuple[str, OpenedLetter] | None:
    """The letter that a job sent last, with its name; None if there is none."""
    start = f"<{quote(job_id, safe='')}@"
    end = f"-{label_of(start)}.eml"
    names = sorted(file.name for file in folder.iterdir() if file.name.endswith(end)) if folder.is_dir() else []
    letter = open_letter(folder, names[-1]) if names else None
    # ids that differ in other characters alone have the same label
    is_its = letter is not None and dict(letter.headers).get("Message-ID", "").startswith(start)
    return (names[-1], letter) if letter is not None and is_its else None


def open_letter(folder: Path, name: str) -> OpenedLetter | None:
    """That letter; None if there is none of that name."""
    file = folder / name
    if not NAME.fullmatch(name) or not file.is_file():
        return None
    raw = file.read_bytes()
    # the list of a bytes parser's type is wider than what the policy makes
    message = BytesParser(policy=policy.default).parsebytes(raw)
    assert isinstance(message, EmailMessage)
    return OpenedLetter(
        headers=[(header, str(value)) for header, value in message.items()],
        text=_body(message, "plain") or "",
        html=_with_images(message, _body(message, "html")),
        enclosed=[part.get_filename() or part.get_content_type() for part in message.iter_attachments()],
        raw=raw,
    )


def _listed(folder: Path, name: str) -> KeptLetter:
    with (folder / name).open("rb") as file:
        headers = BytesHeaderParser(policy=policy.default).parse(file)
    seconds = int(name.partition("-")[0]) / 1e9
    return KeptLetter(
        name=name,
        at=datetime.fromtimestamp(seconds, UTC),
        recipient=str(headers["To"] or ""),
        subject=str(headers["Subject"] or ""),
    )


def _body(message: EmailMessage, kind: str) -> str | None:
    part = message.get_body((kind,))
    if part is None:
        return None
    try:
        return str(part.get_content())
    except LookupError:  # a charset that Python does not know
        content = part.get_payload(decode=True)
        return content.decode("latin-1") if isinstance(content, bytes) else ""


def _with_images(message: EmailMessage, html: str | None) -> str | None:
    for part in message.walk() if html else ():
        cid = str(part["Content-ID"] or "").strip("<>")
        if cid and html and part.get_content_maintype() == "image":
            content = part.get_payload(decode=True)
            data = b64encode(content if isinstance(content, bytes) else b"").decode()
            html = html.replace(f"cid:{cid}", f"data:{part.get_content_type()};base64,{data}")
    return html
