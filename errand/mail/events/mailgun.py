"""Mailgun's webhook."""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from collections.abc import Mapping
from typing import Any

from errand.mail.events.email_event import (
    BadSignature,
    EmailEvent,
    NotAnEvent,
    What,
    event_of,
    inner_of,
    means_the_address,
)
from errand.mail.smtp.reply import ENHANCED


def of_mailgun(body: Mapping[str, Any], *, key: str) -> list[EmailEvent]:
    """Mailgun's webhook, signed by HMAC-SHA256 over timestamp and token. Raises BadSignature, NotAnEvent."""
    signed = body.get("signature")
    fields = (
        [str(signed.get(name, "")) for name in ("timestamp", "token", "signature")] if isinstance(signed, dict) else []
    )
    if len(fields) != 3:
        raise BadSignature("the body has no signature")
    _check_mailgun_signature(*fields, key=key)
    data = body.get("event-data")
    if not isinstance(data, dict):
        raise NotAnEvent("the body has no event-data")
    what = event_of(MAILGUN, f"{data.get('event')} {data.get('severity', '')}".strip())
    status = inner_of(data, "delivery-status")
    return [
        EmailEvent(
            event=what,
            address=data.get("recipient", ""),
            permanent=what == "bounced" and means_the_address(_status_of(status)),
            message_id=str(inner_of(inner_of(data, "message"), "headers").get("message-id", ""))[:500] or None,
            detail=str(status.get("message") or status.get("description") or "")[:1000],
        )
    ]


def _status_of(status: Mapping[str, Any]) -> str:
    """Mailgun calls every 5xx permanent, those that block the sender too: the receiver's code says whom it means."""
    found = ENHANCED.match(str(status.get("message") or ""))
    return str(status.get("enhanced-code") or (found[1] if found else ""))


def _check_mailgun_signature(timestamp: str, token: str, signature: str, *, key: str) -> None:
    """Raises BadSignature. Neither end of the time is open: the cut between timestamp and token is not signed."""
    expected = hmac.new(key.encode(), f"{timestamp}{token}".encode(), hashlib.sha256).hexdigest()
    if not hmac.compare_digest(expected.encode(), signature.encode()):
        raise BadSignature("the signature is not that of MAILGUN_SIGNING_KEY")
    if not re.fullmatch(r"[0-9]{1,18}", timestamp) or abs(time.time() - int(timestamp)) > MAILGUN_LIMIT_S:
        raise BadSignature("it was signed at another time")


MAILGUN_LIMIT_S = 24 * 3600
"""Mailgun sends an event again for eight hours. It signs no body: with an old signature any event could be sent."""


MAILGUN: Mapping[str, What] = {
    "delivered": "delivered",
    "failed permanent": "bounced",
    "failed temporary": "deferred",
    "complained": "complained",
    "unsubscribed": "unsubscribed",
}
