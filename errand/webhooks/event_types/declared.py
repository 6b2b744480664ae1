"""The event types that packages declare, by name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache

from errand.job.catalog import modules_of
from errand.webhooks.event_types.event_type import MARK, EventType


class EventTypes(Mapping[str, EventType]):
    """Event types by name, in the order of the names. Raises ValueError if two models declare one name."""

    def __init__(self, event_types: Iterable[EventType]) -> None:
        by_name: dict[str, EventType] = {}
        for event_type in event_types:
            known = by_name.setdefault(event_type.name, event_type)
            if known is not event_type:
                models = f"{known.model.__module__} and {event_type.model.__module__}"
                raise ValueError(f"two models declare the event {event_type.name}: {models}")
        self._by_name = dict(sorted(by_name.items()))

    def __getitem__(self, name: str) -> EventType:
        return self._by_name[name]

    def __contains__(self, name: object) -> bool:
        return name in self._by_name  # not by an exception, as a Mapping does: it is asked for each event put

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_name)

    def __len__(self) -> int:
        return len(self._by_name)


@lru_cache(maxsize=64)
def declared_in(packages: tuple[str, ...]) -> EventTypes:
    """The event types in these packages and the modules directly in them, as job types are found.

    Raises ImportError if a module cannot be imported, ValueError if two models declare one name.
    """
    values = (value for package in packages for module in modules_of(package) for value in vars(module).values())
    models = (value for value in values if isinstance(value, type))
    # a subclass of a declared model declares nothing by that
    return EventTypes(vars(model)[MARK] for model in models if MARK in vars(model))
