"""What an event type is: a name, the model of its data, an example."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import to_json

from errand.webhooks.event_name import EVENT_NAME

Model = TypeVar("Model", bound=type[BaseModel])

MARK = "__webhook_event__"
"""The attribute of a declared model that holds its event type."""

MAX_FAULTS = 100
"""Of data, that are named: to name those of a mebibyte took the API a second, and its answer had 16 MB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventType:
    """A kind of event."""

    name: str
    model: type[BaseModel]
    example: Mapping[str, Any]
    """Data that fit the model."""
    description: str

    @property
    def summary(self) -> str:
        """The first line of the description."""
        return self.description.partition("\n")[0]

    @property
    def data_schema(self) -> dict[str, Any]:
        """The JSON Schema of the data."""
        return self.model.model_json_schema()

    def faults_of(self, data: Any) -> list[tuple[tuple[str | int, ...], str]]:
        """Where data that are to be sent do not fit, and why, if in many places as one fault; nothing if they do."""
        try:
            # as JSON: a strict model takes a time as the text that it is there
            self.model.model_validate_json(to_json(data))
        except ValidationError as error:
            if error.error_count() > MAX_FAULTS:
                return [((), f"does not fit in more than {MAX_FAULTS} places")]
            faults = error.errors(include_url=False, include_input=False, include_context=False)
            return [(fault["loc"], fault["msg"].removeprefix("Value error, ")) for fault in faults]
        return []


def webhook_event(name: str, *, example: Mapping[str, Any]) -> Callable[[Model], Model]:
    """Declares that events of this name carry what the model says. Its docstring describes them to receivers.

    >>> @webhook_event("invoice.paid", example={"id": 7, "amount_cents": 1200})
    ... class InvoicePaid(BaseModel):
    ...     '''An invoice was paid in full.'''
    ...     id: int
    ...     amount_cents: int

    The model stays as it is. What is sent is the data as they came, not what the model makes of them.

    Raises ValueError for a name that no event may have, or an example that does not fit the model.
    """
    if not re.fullmatch(EVENT_NAME, name):
        raise ValueError(f"{name!r} is no name of an event: letters, digits and '_:/-', in parts separated by dots")

    def declare(model: Model) -> Model:
        description = inspect.cleandoc(model.__doc__ or name)
        event_type = EventType(name=name, model=model, example=example, description=description)
        if faults := event_type.faults_of(example):
            raise ValueError(f"the example of {name} does not fit {model.__name__}: {in_words(faults)}")
        setattr(model, MARK, event_type)
        return model

    return declare


def in_words(faults: list[tuple[tuple[str | int, ...], str]]) -> str:
    """The faults in one line."""
    return "; ".join(f"{'.'.join(map(str, path)) or 'data'}: {message}" for path, message in faults)
