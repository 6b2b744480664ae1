"""Event types: what an event of a name carries, declared in code, checked when it is sent, shown to its receivers.

`@webhook_event` on a pydantic model is all that a declaration takes; `declared_in` finds those of the packages that
`JOB_PACKAGES` names. Events whose name nobody has declared may carry anything.
"""

from errand.webhooks.event_types.declared import EventTypes, declared_in
from errand.webhooks.event_types.event_type import EventType, webhook_event

__all__ = ["EventType", "EventTypes", "declared_in", "webhook_event"]
