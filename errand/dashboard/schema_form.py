"""Makes a form of a job type's JSON Schema, and reads args from it.

Texts, numbers, choices and yes-or-no have fields of their own; anything else is a field for JSON. An empty field is
left out, so that the model's default counts. Nothing is checked here: the model does that.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from fastapi.exceptions import RequestValidationError

from errand.dashboard.forms import Form
from errand.http.requests import json_body
from errand.secrets.redaction import STARS

PREFIX = "args."
"""Of the names of fields that are args."""

INPUT_TYPES = {"email": "email", "uri": "url", "password": "password"}

LEFT_OUT = "left_out"
"""The name of the hidden fields that say which args were there and are not in the form."""

NOT_HERE = "the job had one that this form cannot hold: give another one here, or put the job by the API"

MAX_FIELD_CHARS = 20_000
"""Of an arg in the form, which must come back as it is: what is longer is left out, and is not lost without a word."""

NOT_KEPT = re.compile("[\x00\r\ud800-\udfff]")
"""What a browser does not send back as it was."""

SINGLE_LINE_CHARS = 200
"""A longer text has several lines to be read in."""

Kind = Literal["text", "number", "choice", "json"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ArgField:
    """One field of the form."""

    name: str
    label: str
    kind: Kind
    required: bool
    help: str
    value: str = ""
    input_type: str = "text"
    choices: Sequence[str] = ()
    left_out: bool = False
    """There is a value, and it is not in the form: too long, or with characters that no form keeps."""

    @property
    def lines(self) -> int:
        """So many lines high; 0 for a field of one line, which would lose all other line breaks."""
        if self.kind == "json":
            return max(self.value.count("\n") + 1, 3)
        is_long = self.kind == "text" and ("\n" in self.value or len(self.value) > SINGLE_LINE_CHARS)
        return max(self.value.count("\n") + 1, 3) if is_long else 0


def fields_of(schema: Mapping[str, Any], given: Mapping[str, Any]) -> list[ArgField]:
    """The fields of that schema of args, filled with the args that are given; a hidden secret is left empty."""
    required = schema.get("required", ())
    return [
        _field(name, _without_null(prop), schema, required=name in required, given=given)
        for name, prop in schema.get("properties", {}).items()
    ]


def args_in(form: Form, schema: Mapping[str, Any]) -> dict[str, Any]:
    """The args that the form holds. Raises RequestValidationError for a field of JSON that is none, and for one that
    was left out of the form and not filled in."""
    args: dict[str, Any] = {}
    faults = []
    left_out = form.all(LEFT_OUT)
    for field in fields_of(schema, {}):
        text = _text_in(form, field.name)
        if text:
            try:
                args[field.name] = _value(field, text)
            except ValueError as error:
                faults.append({"type": "json", "loc": ("body", field.name), "msg": f"is not valid JSON: {error}"})
        elif field.name in left_out:
            faults.append({"type": "left_out", "loc": ("body", field.name), "msg": NOT_HERE})
    if faults:
        raise RequestValidationError(faults)
    return args


def shown_in(form: Form, schema: Mapping[str, Any]) -> list[ArgField]:
    """The fields as somebody has filled them, to be corrected."""
    left_out = form.all(LEFT_OUT)
    return [
        replace(
            field,
            # a password is typed once more: it would stand in the page
            value="" if field.input_type == "password" else _text_in(form, field.name),
            left_out=field.name in left_out,
        )
        for field in fields_of(schema, {})
    ]


def _text_in(form: Form, name: str) -> str:
    """As it stands in the field: browsers send each line break as two characters. One line loses blanks around it."""
    text = next(iter(form.all(PREFIX + name)), "").replace("\r\n", "\n")
    return text if "\n" in text.strip() else text.strip()


def _field(
    name: str, prop: Mapping[str, Any], schema: Mapping[str, Any], *, required: bool, given: Mapping[str, Any]
) -> ArgField:
    prop = {**_resolved(prop, schema), **prop}
    kind, choices = _kind_of(prop)
    hidden = prop.get("writeOnly") or prop.get("format") == "password"
    value = "" if name not in given else _text(given[name], kind)
    left_out = len(value) > MAX_FIELD_CHARS or NOT_KEPT.search(value) is not None
    return ArgField(
        name=name,
        label=prop.get("title", name),
        kind=kind,
        required=required,
        help=" ".join(_help(prop)),
        value="" if left_out else value,
        left_out=left_out,
        input_type="password" if hidden else INPUT_TYPES.get(prop.get("format", ""), "text"),
        choices=choices,
    )


def _kind_of(prop: Mapping[str, Any]) -> tuple[Kind, Sequence[str]]:
    if "enum" in prop and all(isinstance(choice, str) for choice in prop["enum"]):
        return "choice", prop["enum"]
    match prop.get("type"):
        case "string":
            return "text", ()
        case "integer" | "number":
            return "number", ()
        case "boolean":
            return "choice", ("true", "false")
        case _:
            return "json", ()


def _help(prop: Mapping[str, Any]) -> Iterator[str]:
    if "description" in prop:
        yield str(prop["description"])
    if "default" in prop and prop["default"] not in (None, "", {}, []):
        yield f"(default: {json.dumps(prop['default'])[:60]})"
    elif prop.get("examples"):
        yield f"(such as {json.dumps(prop['examples'][0])[:60]})"


def _value(field: ArgField, text: str) -> Any:
    """What the model is given: a number that is none is left for it to refuse."""
    match field.kind:
        case "json":
            return json_body.parsed(text.encode())
        case "number":
            try:
                return json_body.parsed(text.encode())
            except ValueError:
                return text
        case "choice" if tuple(field.choices) == ("true", "false"):
            return text == "true"
        case _:
            return text


def _text(value: Any, kind: Kind) -> str:
    if value is None or value == STARS:
        return ""
    return value if isinstance(value, str) and kind != "json" else json.dumps(value, indent=2)


def _without_null(prop: Mapping[str, Any]) -> Mapping[str, Any]:
    """Of a field that may be null, what else it may be, if that is one thing."""
    others = [choice for choice in prop.get("anyOf", ()) if choice.get("type") != "null"]
    return (
        {**others[0], **{name: value for name, value in prop.items() if name != "anyOf"}} if len(others) == 1 else prop
    )


def _resolved(prop: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a reference within the schema leads to."""
    path = str(prop.get("$ref", "")).removeprefix("#/$defs/")
    found: Mapping[str, Any] = schema.get("$defs", {}).get(path, {})
    return found
