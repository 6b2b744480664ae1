"""`{customer_id}`: the key that jobs share, as a template over the fields of their args."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import Formatter
from typing import Any

from pydantic import AliasChoices, BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined, from_json, to_json


@dataclass(frozen=True, slots=True)
class FieldOfArgs:
    """A field in a template."""

    names: tuple[str, ...]
    """What it may be called in kept args: its name, then its aliases."""
    default: str
    """Its text in the key if the args do not have it."""

    def text(self, args: Mapping[str, Any]) -> str:
        """Its text in the key of these kept args."""
        for name in self.names:
            if name in args:
                return text_of(args[name])
        return self.default


Part = str | FieldOfArgs


@dataclass(frozen=True, slots=True)
class KeyTemplate:
    """A template whose fields an args model has."""

    parts: Sequence[Part]

    @classmethod
    def of(cls, template: str, args_model: type[BaseModel] | None = None) -> KeyTemplate:
        """Raises ValueError for a template that is malformed, names no field, or one that the model does not have.

        Without a model, what is not in the args is empty in the key.
        """
        parts: list[Part] = []
        for text, field, spec, conversion in Formatter().parse(template):
            if text:
                parts.append(text)
            if field is not None:
                if spec or conversion:
                    raise ValueError(f"{template!r} is no key: a field stands in it as it is, like {{customer_id}}")
                parts.append(_field(field, template, args_model))
        if not any(isinstance(part, FieldOfArgs) for part in parts):
            raise ValueError(f"{template!r} is no key: it names a field of the args, like {{customer_id}}")
        return cls(tuple(parts))

    def key(self, args: Mapping[str, Any]) -> str:
        """The key of a job with these args, as the queue keeps them."""
        return "".join(part if isinstance(part, str) else part.text(args) for part in self.parts)


def _field(name: str, template: str, args_model: type[BaseModel] | None) -> FieldOfArgs:
    if args_model is None:
        return FieldOfArgs((name,), "")
    info = args_model.model_fields.get(name)
    if info is None:
        known = ", ".join(args_model.model_fields)
        raise ValueError(f"{template!r} is no key: {args_model.__name__} has no field {name!r}, it has {known}")
    return FieldOfArgs((name, *_aliases(info)), _default(info))


def _aliases(info: FieldInfo) -> list[str]:
    alias = info.validation_alias or info.alias
    choices = alias.choices if isinstance(alias, AliasChoices) else [alias]
    return [choice for choice in choices if isinstance(choice, str)]


def _default(info: FieldInfo) -> str:
    if info.default_factory_takes_validated_data:
        return ""
    default = info.get_default(call_default_factory=True)
    return "" if default is PydanticUndefined else text_of(from_json(to_json(default)))


def text_of(value: Any) -> str:
    """A kept value in a key: a text as it is, anything else as its JSON."""
    return value if isinstance(value, str) else to_json(value).decode()
