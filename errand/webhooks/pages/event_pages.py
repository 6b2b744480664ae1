"""The pages of event types: the list of them, and what one carries."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable

from errand.webhooks.event_types import EventType
from errand.webhooks.pages.render import Nav, Page, page
from errand.webhooks.pages.schema_rows import rows_of
from errand.webhooks.pages.snippets import LANGUAGES, snippet

EXAMPLE_TIME = "2026-11-21T05:00:00Z"
EXAMPLE_ID = "msg_01a1fb3e-ca8c-7394-a804-a09bf4f589ca"


def events_page(event_types: Iterable[EventType], *, path_of: Callable[[str], str], nav: Nav = ()) -> Page:
    """Every event type, with a link to its page, whose path `path_of` makes of the event's name."""
    return page("event_types", title="Webhook events", event_types=list(event_types), path_of=path_of, nav=nav)


def event_page(event_type: EventType, *, nav: Nav) -> Page:
    """What the events of one type carry, an example as a receiver gets it, and code that verifies it."""
    body = {"type": event_type.name, "timestamp": EXAMPLE_TIME, "data": event_type.example}
    return page(
        "event_type",
        title=event_type.name,
        event_type=event_type,
        nav=nav,
        rows=rows_of(event_type.data_schema),
        schema=json.dumps(event_type.data_schema, indent=2, ensure_ascii=False),
        example=json.dumps(body, indent=2, ensure_ascii=False),
        message_id=EXAMPLE_ID,
        snippets=[(name, snippet(language, event=event_type.name)) for language, name in LANGUAGES.items()],
    )
