"""Reads the body of a stock Arq job, pickled or JSON, and writes it as Errand keeps it.

A pickle can run any code when it is read. Here it is read by an unpickler that makes plain values alone.
"""

from __future__ import annotations

import io
import pickle  # stock Arq's own form, read without running what it names
from collections.abc import Mapping
from typing import Any

from pydantic_core import PydanticSerializationError, from_json

from errand.job.job_type import JobType
from errand.job.producing.checked_args import InvalidArgs, kept_args
from errand.wire import codec

PLAIN = {
    "builtins": {"set", "frozenset", "bytearray", "complex"},
    "collections": {"OrderedDict"},
    "datetime": {"date", "datetime", "time", "timedelta", "timezone"},
    "decimal": {"Decimal"},
    "uuid": {"UUID", "SafeUUID"},
}
"""What a pickle may name; to make one of them runs no code of anybody's."""

CRON = "cron:"
"""How the names begin that Arq gives to its cron jobs."""


class CannotMove(Exception):
    """Why a job stays where it is."""


class PlainUnpickler(pickle.Unpickler):
    """Makes plain values alone. Raises CannotMove for any other class."""

    def find_class(self, module: str, name: str) -> Any:
        if name in PLAIN.get(module, ()):
            return super().find_class(module, name)
        raise CannotMove(f"its args hold a {module}.{name}, which is no plain value")


def converted(body: bytes, job_types: Mapping[str, JobType[Any, Any]]) -> tuple[str, bytes]:
    """The name of the job's function, and its body as Errand keeps it: args that were given by position have names.

    Args of a job type are checked by its model. Raises CannotMove.
    """
    record = _read(body)
    name, args, kwargs = record["f"], list(record["a"]), dict(record["k"])
    if name.startswith(CRON):
        raise CannotMove("Arq's cron has put it, and will put no more: write a schedule")
    if name in job_types:
        args, kwargs = [], _checked(job_types[name], args, kwargs)
    try:
        text = codec.dumps({"t": record["t"], "f": name, "a": args, "k": kwargs, "et": record["et"]})
        kept = from_json(text)
        is_same = name in job_types or kept["k"] | {"": kept["a"]} == _lists({**kwargs, "": args})
    except (ValueError, RecursionError):  # also for half a character, a value within itself, one that is too deep
        raise CannotMove("its args have no JSON form") from None
    if not is_same:
        raise CannotMove("its args are not the same as JSON: make it a job type, whose model reads them")
    return name, text


def _read(body: bytes) -> Mapping[str, Any]:
    try:
        record = from_json(body) if body.startswith(b"{") else PlainUnpickler(io.BytesIO(body)).load()
        if isinstance(record["f"], str) and isinstance(record["k"], dict) and isinstance(record["a"], list | tuple):
            return {"t": record["t"], "f": record["f"], "a": record["a"], "k": record["k"], "et": int(record["et"])}
    except CannotMove:
        raise
    except Exception:  # noqa: BLE001, S110  # a pickle that is none can raise anything
        pass
    raise CannotMove("it is neither JSON nor a pickle of Arq's")


def _checked(job_type: JobType[Any, Any], args: list[Any], kwargs: dict[str, Any]) -> dict[str, Any]:
    """The args by name, as the queue keeps them. Raises CannotMove if they do not fit the model."""
    names = list(job_type.args_model.model_fields)
    if len(args) == 1 and isinstance(args[0], Mapping) and not kwargs:
        args, kwargs = [], dict(args[0])
    if len(args) > len(names) or not kwargs.keys().isdisjoint(names[: len(args)]):
        raise CannotMove(f"{job_type.name} has no names for its args by position")
    try:
        return kept_args(job_type, (), {**dict(zip(names, args, strict=False)), **kwargs})
    except (InvalidArgs, TypeError, PydanticSerializationError) as error:
        raise CannotMove(f"its args do not fit: {error}") from None
    except Exception as error:  # noqa: BLE001  # what a model's own code raises for one job must not keep the others
        raise CannotMove(f"its args do not fit: {type(error).__name__}") from None


def _lists(value: Any) -> Any:
    """`value` with lists in place of tuples, which are the same in JSON."""
    match value:
        case list() | tuple():
            return [_lists(one) for one in value]
        case dict():
            return {name: _lists(one) for name, one in value.items()}
        case _:
            return value
