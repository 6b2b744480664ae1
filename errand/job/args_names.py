"""Which names the args of a job may have: a misspelt or renamed arg must not vanish without a word.

Pydantic ignores names that a model does not have. An arg lost like that is found when the job has done the wrong thing.
A model whose config says what happens to other names (`extra`) decides for itself. The models within the args are read
by the same rule, but for those that rewrite what they are given.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from functools import cache
from itertools import islice
from typing import Any

from pydantic import AliasChoices, AliasPath, BaseModel, RootModel
from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

MAX_NAME_CHARS = 64
"""Of a name that is quoted, and of one for which a similar one is searched."""

MAX_NAMED = 20


Path = tuple[str | int, ...]
"""Where a name stands in the args."""


@cache
def names_of(model: type[BaseModel]) -> tuple[str, ...] | None:
    """The names and aliases of the model's fields; None if the model itself says what happens to other names."""
    if "extra" in model.model_config:
        return None
    names: list[str | AliasPath | None] = []
    for name, info in model.model_fields.items():
        names += _names_of_field(name, info)
    if any(isinstance(name, AliasPath) for name in names):
        return None
    # the queue keeps what a model computes beside its fields
    names += model.model_computed_fields
    return tuple(dict.fromkeys(name for name in names if isinstance(name, str)))


def unknown_in(model: type[BaseModel], args: Any) -> dict[str, str]:
    """Each name in `args` that the model does not have, with a message that names the one that was probably meant."""
    if _knows_all(model, args):
        return {}
    known = names_of(model) or ()
    unknown = [name for name in args if name not in known]
    return {str(name)[:MAX_NAME_CHARS]: _message(str(name), known) for name in unknown[:MAX_NAMED]}


def unknown_names(args: BaseModel, given: Any) -> dict[Path, str]:
    """The same for the args and the models within them, by where the names stand; `args` was read from `given`."""
    if _is_flat(type(args)) and _knows_all(type(args), given):
        return {}  # at once: it is asked for each attempt
    return {
        **{(name,): message for name, message in unknown_in(type(args), given).items()},
        **unknown_below(args, given),
    }


def unknown_below(args: BaseModel, given: Any) -> dict[Path, str]:
    """The same for the models within the args alone.

    It goes by what each value was read as, so that of alternatives the one that was taken decides.
    """
    if not models_below(type(args)):
        return {}
    return dict(islice(_unknown_in_fields(args, given, ()), MAX_NAMED))


def _knows_all(model: type[BaseModel], args: Any) -> bool:
    """True if the model has each of the names, or decides itself about others."""
    known = _known_to(model)
    return known is None or not (type(args) is dict or isinstance(args, Mapping)) or args.keys() <= known


@cache
def _known_to(model: type[BaseModel]) -> frozenset[str] | None:
    names = names_of(model)
    return None if names is None else frozenset(names)


@cache
def _is_flat(model: type[BaseModel]) -> bool:
    return not models_below(model)


@cache
def models_below(model: type[BaseModel]) -> frozenset[type[BaseModel]]:
    """The models that the fields of a model name, at any depth."""
    found: set[type[BaseModel]] = set()
    ahead = [model]
    while ahead:
        below = {one for info in ahead.pop().model_fields.values() for one in _models_in(info.annotation)}
        ahead += below - found
        found |= below
    return frozenset(found)


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        yield annotation
    # of `type Name = …` its value; of `Annotated[…]`, a list, a union and the like their parts
    parts = [annotation.__value__] if hasattr(annotation, "__value__") else typing.get_args(annotation)
    for part in parts:
        yield from _models_in(part)


def _names_of_field(name: str, info: FieldInfo) -> list[str | AliasPath | None]:
    alias = info.validation_alias
    return [name, *(alias.choices if isinstance(alias, AliasChoices) else [alias])]


def _unknown_in_fields(args: BaseModel, given: Any, path: Path) -> Iterator[tuple[Path, str]]:
    if isinstance(args, RootModel):
        yield from _unknown_in_value(args.root, given, path)
    elif isinstance(given, Mapping):
        for name, info in type(args).model_fields.items():
            for known in _names_of_field(name, info):
                if isinstance(known, str) and known in given:
                    yield from _unknown_in_value(getattr(args, name), given[known], (*path, known))


def _unknown_in_value(value: Any, given: Any, path: Path) -> Iterator[tuple[Path, str]]:
    if isinstance(value, BaseModel):
        if not _rewrites(type(value)):
            for name, message in unknown_in(type(value), given).items():
                yield (*path, name), message
        yield from _unknown_in_fields(value, given, path)
    elif isinstance(value, Mapping) and isinstance(given, Mapping) and len(value) == len(given):
        # by their order: keys may have been read as numbers, say
        for item, (key, item_given) in zip(value.values(), given.items(), strict=True):
            yield from _unknown_in_value(item, item_given, (*path, str(key)[:MAX_NAME_CHARS]))
    elif isinstance(value, list | tuple) and isinstance(given, list | tuple):
        for index, (item, item_given) in enumerate(zip(value, given, strict=False)):
            yield from _unknown_in_value(item, item_given, (*path, index))


class Closed(GenerateJsonSchema):
    """JSON Schema that says which models within the args take no other names."""

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        model: type[BaseModel] = schema["cls"]
        shown = super().model_schema(schema)
        return {**shown, "additionalProperties": False} if is_closed(model) else shown


@cache
def is_closed(model: type[BaseModel]) -> bool:
    """True if the model, within the args, takes no other names than its own."""
    return names_of(model) is not None and not _rewrites(model)


@cache
def _rewrites(model: type[BaseModel]) -> bool:
    """True if what the model is given, or is kept as, need not have the names of its fields."""
    own = model.__pydantic_decorators__
    return (
        issubclass(model, RootModel)
        or bool(own.model_serializers)
        or any(validator.info.mode != "after" for validator in own.model_validators.values())
    )


def _message(name: str, known: tuple[str, ...]) -> str:
    if not known:
        return "is unknown: this type takes no args"
    meant = get_close_matches(name[:MAX_NAME_CHARS], known, n=1)
    return f"is unknown; did you mean '{meant[0]}'?" if meant else f"is unknown; known are: {', '.join(known)}"
