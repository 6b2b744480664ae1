"""Bounces as mail servers send them: delivery status notifications (RFC 3464)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from email.message import Message
from email.parser import BytesParser
from email.policy import Compat32
from email.utils import getaddresses
from itertools import islice

from errand.mail.events.email_event import EmailEvent, NotAnEvent, What, about, means_the_address
from errand.mail.return_path import job_in

RECIPIENT_HEADERS = ("Delivered-To", "X-Original-To", "Envelope-To", "To")
"""Where the report's own recipient stands: the return path of the letter. The first three are written on arrival."""


READ_BYTES = 256 * 1024
"""Of a report, which anybody may have written. Behind what it says stands the letter that came back, perhaps whole."""
HEADER_LINES, HEADER_CHARS = 100, 2_000
"""Of one header. To take apart one of a megabyte keeps Python busy for an hour."""
MAX_NAMED = 20
"""Of the addresses that a report was sent to."""
MAX_MULTIPARTS = 20
"""Each line is compared with the boundaries of all that it is in: in five hundred of them it took ten seconds."""
BLANK_LINES = re.compile(rb"(?:\r?\n){3,}")
"""Among recipients each would be one more of them, about nobody."""


class _Bounded(Compat32):
    """Reads headers as they stand, and no more of each than that; the newer policies take each value apart at once."""

    def header_source_parse(self, sourcelines: list[str]) -> tuple[str, str]:
        name, value = super().header_source_parse(sourcelines[:HEADER_LINES])
        return name, value[:HEADER_CHARS]

    def header_fetch_parse(self, name: str, value: str) -> str:
        return value


PARSER = BytesParser(policy=_Bounded())


def of_dsn(body: bytes, *, return_path: str | None = None) -> list[EmailEvent]:
    """The events that a delivery status notification reports, one for each recipient. Raises NotAnEvent.

    The job is the one that the report's own address names (`return_path` with its id), else that of the Message-ID of
    the returned letter. Both are what the report says of itself: see `Deliveries.take_report`.
    """
    report, parts = _parsed(body[:READ_BYTES])
    statuses = [part for part in parts if part.get_content_type() == "message/delivery-status"]
    if not statuses:
        raise NotAnEvent("a delivery status notification has a part message/delivery-status (RFC 3464)")
    job_id = return_path and next(_jobs_named(report, return_path), None)
    message_id = next(_original_ids(parts), None)
    groups = [group for status in statuses for group in _groups(status)]
    return [event for group in groups if (event := _of_recipient(group, job_id, message_id)) is not None]


def _parsed(report: bytes) -> tuple[Message, list[Message]]:
    """The report and all its parts, itself the first. Raises NotAnEvent."""
    if report.lower().count(b"multipart/") > MAX_MULTIPARTS:
        raise NotAnEvent(f"the report has more than {MAX_MULTIPARTS} parts within parts")
    try:
        parsed = PARSER.parsebytes(BLANK_LINES.sub(b"\r\n\r\n", report))
        return parsed, list(parsed.walk())
    except RecursionError:  # of letters within letters, each of which is a `message/rfc822`
        raise NotAnEvent("the report has letters within letters, hundreds deep") from None
    except TypeError:  # of the library, for parameters in numbered pieces of which one has no number
        raise NotAnEvent("a Content-Type of the report cannot be read") from None


def _jobs_named(report: Message, return_path: str) -> Iterator[str]:
    """The jobs that the report was addressed to."""
    values = (_unfolded(value) for name in RECIPIENT_HEADERS for value in report.get_all(name, []))
    for _, address in getaddresses(list(islice(values, MAX_NAMED))):
        if job_id := job_in(address, return_path):
            yield job_id


def _groups(status: Message) -> Iterator[Message]:
    """The first is about the message, the others each about one recipient."""
    payload = status.get_payload()
    if isinstance(payload, list):
        yield from (group for group in payload if isinstance(group, Message))


def _original_ids(parts: Sequence[Message]) -> Iterator[str]:
    """The Message-IDs of the letter that the report is about."""
    for part in parts[1:]:
        if part.get_content_type() == "text/rfc822-headers":
            content = part.get_payload(decode=True)
            headers = PARSER.parsebytes(content if isinstance(content, bytes) else b"")
            yield from headers.get_all("Message-ID", [])
        elif part.get_content_type() == "message/rfc822":
            payload = part.get_payload()
            for inner in payload if isinstance(payload, list) else []:
                if isinstance(inner, Message):
                    yield from inner.get_all("Message-ID", [])


ACTIONS: Mapping[str, What] = {"failed": "bounced", "delayed": "deferred", "delivered": "delivered"}


def _of_recipient(group: Message, job_id: str | None, message_id: str | None) -> EmailEvent | None:
    """None for what is about no recipient, or only passed on."""
    recipient = _unfolded(group["Original-Recipient"] or group["Final-Recipient"]).partition(";")[2].strip()
    action = ACTIONS.get(_unfolded(group["Action"]).lower())
    if not recipient or action is None:
        return None
    status = _unfolded(group["Status"]).split(" ")[0]
    said = _unfolded(group["Diagnostic-Code"]).partition(";")[2].strip()
    return about(
        recipient,
        event=action,
        permanent=action == "bounced" and means_the_address(status),
        job_id=job_id,
        message_id=message_id and _unfolded(message_id),
        detail=f"{status} {said}".strip()[:1000],
    )


def _unfolded(value: object) -> str:
    """The value of a header on one line, in UTF-8 if it is beyond ASCII (RFC 6532); empty if there is none."""
    text = str(value or "").encode("ascii", errors="surrogateescape").decode(errors="replace")
    return " ".join(text.split())
