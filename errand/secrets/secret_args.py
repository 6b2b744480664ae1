"""Args that are secret: kept in the queue as they are, since the job needs them, and never shown.

The args model says which they are: fields of type `SecretStr`, `SecretBytes` or `Secret[…]`, at any depth, and what
its JSON Schema marks as `writeOnly`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from typing import Any

from pydantic import BaseModel, Secret, SecretBytes, SecretStr, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import PydanticSerializationError, core_schema, to_jsonable_python

from errand.secrets import redaction
from errand.secrets.redaction import STARS, Hide

Schema = dict[str, Any]


SECRET = (SecretStr, SecretBytes, Secret)


ALTERNATIVES = ("anyOf", "oneOf", "allOf")


_serialize_secret = TypeAdapter(Secret[int]).core_schema["serialization"]["function"]


def kept(args: BaseModel) -> dict[str, Any]:
    """The args as the queue keeps them: JSON values without defaults, secrets among them.

    Raises ValueError for secret bytes that are no text.
    """
    shown = args.model_dump(mode="json", exclude_defaults=True)
    return revealed(shown, args) if secret_fields_of(type(args)) else shown


def revealed(shown: dict[str, Any], args: BaseModel) -> dict[str, Any]:
    """A JSON dump of those args without defaults, with the secrets instead of their stars."""
    if not secret_fields_of(type(args)):
        return shown
    try:
        known: dict[str, Any] = _revealed(shown, args.model_dump(exclude_defaults=True))
    except (PydanticSerializationError, UnicodeDecodeError):
        # without its cause, which may quote the secret
        raise ValueError("a secret that is bytes must be UTF-8 text: jobs are kept as JSON") from None
    return known


def shown(model: type[BaseModel], args: Mapping[str, Any]) -> Mapping[str, Any]:
    """Kept args as views show them: stars instead of secrets."""
    fields = secret_fields_of(model)
    return fields.mapped(args, lambda _: STARS) if fields else args


def hider(model: type[BaseModel], args: Any) -> Hide:
    """What hides the secrets of these args, and those of this process, in a text; the args need not fit the model."""
    fields = secret_fields_of(model)
    if not fields:
        return redaction.hide
    found: list[str] = []
    fields.mapped(args, lambda secret: found.extend(_texts_in(secret)))
    return redaction.hiding(found)


def has_stars(model: type[BaseModel], args: Any) -> bool:
    """True if the args came back from a view."""
    fields = secret_fields_of(model)
    if not fields:
        return False
    found: list[str] = []
    fields.mapped(args, lambda secret: found.extend(_texts_in(secret)))
    return STARS in found


def check_not_stars(secret: SecretStr) -> SecretStr:
    """For a field that takes a secret in. Raises ValueError if it came back from a view."""
    if secret.get_secret_value() == STARS:
        raise ValueError("stands for a secret that is not shown: send the secret itself")
    return secret


class SecretFields:
    """The fields of an args model that are secret; false if there are none."""

    def __init__(self, model: type[BaseModel]) -> None:
        # other producers put args under the aliases of fields
        self._schemas = [
            model.model_json_schema(by_alias=by_alias, schema_generator=_Marking) for by_alias in (False, True)
        ]
        self._any = any(_is_secret(node) for schema in self._schemas for node in _nodes_of(schema))

    def __bool__(self) -> bool:
        return self._any

    def mapped(self, args: Any, replace: Callable[[Any], Any]) -> Any:
        """A copy of the args with what `replace` makes of each secret; None, which is no secret, stays."""
        return self._mapped(args, [(schema, schema) for schema in self._schemas], replace)

    def _mapped(self, value: Any, at: list[tuple[Schema, Schema]], replace: Callable[[Any], Any]) -> Any:
        """`at`: the schemas that may describe the value, each behind the document that it stands in."""
        known = _distinct((root, option) for root, schema in at for option in _options(root, schema))
        if value is not None and any(_is_secret(option) for _, option in known):
            return replace(value)
        if isinstance(value, Mapping):
            return {
                name: self._mapped(item, [(root, of) for root, one in known for of in _of_field(one, name)], replace)
                for name, item in value.items()
            }
        if isinstance(value, list | tuple):
            return [
                self._mapped(item, [(root, of) for root, one in known for of in _of_item(one, index)], replace)
                for index, item in enumerate(value)
            ]
        return value


@cache
def secret_fields_of(model: type[BaseModel]) -> SecretFields:
    """The secret fields of that model."""
    return SecretFields(model)


class _Marking(GenerateJsonSchema):
    """Pydantic's, which marks SecretStr and SecretBytes, with Secret[…] marked as well; it warns of nothing."""

    ignored_warning_kinds = {"skipped-choice", "non-serializable-default"}  # noqa: RUF012  # as its parent declares it

    def generate_inner(self, schema: Any) -> JsonSchemaValue:
        described = super().generate_inner(schema)
        secret = schema.get("serialization", {}).get("function") is _serialize_secret
        return {**described, "writeOnly": True} if secret else described

    def handle_invalid_for_json_schema(self, schema: core_schema.CoreSchema, error_info: str) -> JsonSchemaValue:
        """What has no schema has no known secrets."""
        return {}


def _revealed(shown: Any, known: Any) -> Any:
    """`shown` is the JSON of `known`, which holds the secrets as objects; if they differ in shape, `shown` stays."""
    if isinstance(known, SECRET):
        return to_jsonable_python(known.get_secret_value())
    if isinstance(known, dict) and isinstance(shown, dict) and len(known) == len(shown):
        return {name: _revealed(item, of) for (name, item), of in zip(shown.items(), known.values(), strict=True)}
    if isinstance(known, list | tuple) and isinstance(shown, list) and len(known) == len(shown):
        return [_revealed(item, of) for item, of in zip(shown, known, strict=True)]
    if isinstance(known, set | frozenset) and isinstance(shown, list):
        # a copy of a set may have another order than the set
        return [_revealed(STARS, item) for item in known] if any(isinstance(item, SECRET) for item in known) else shown
    return shown


def _is_secret(schema: Schema) -> bool:
    return schema.get("writeOnly") is True


def _options(root: Schema, schema: Schema) -> Iterator[Schema]:
    """The schema itself, what it refers to, and each of its alternatives."""
    yield schema
    if "$ref" in schema:
        yield from _options(root, root["$defs"][schema["$ref"].rpartition("/")[2]])
    for kind in ALTERNATIVES:
        for alternative in schema.get(kind, ()):
            yield from _options(root, alternative)


def _distinct(options: Iterable[tuple[Schema, Schema]]) -> list[tuple[Schema, Schema]]:
    """Each once. Of models that name each other several alternatives lead to the same schemas: with each level of the
    args there would be twice as many."""
    return list({id(option): (root, option) for root, option in options}.values())


def _of_field(schema: Schema, name: str) -> Iterator[Schema]:
    """What may describe the field of that name."""
    properties = schema.get("properties", {})
    if name in properties:
        yield properties[name]
        return
    yield from schema.get("patternProperties", {}).values()
    if isinstance(schema.get("additionalProperties"), dict):
        yield schema["additionalProperties"]


def _of_item(schema: Schema, index: int) -> Iterator[Schema]:
    first = schema.get("prefixItems", ())
    if index < len(first):
        yield first[index]
    elif isinstance(schema.get("items"), dict):
        yield schema["items"]


def _nodes_of(node: Any) -> Iterator[Schema]:
    if isinstance(node, dict):
        yield node
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from _nodes_of(child)


def _texts_in(secret: Any) -> Iterator[str]:
    """The values in a secret, as they may stand in a text."""
    if isinstance(secret, Mapping | list | tuple):
        for part in secret.values() if isinstance(secret, Mapping) else secret:
            yield from _texts_in(part)
    elif not isinstance(secret, bool) and secret is not None:
        yield str(secret)
