"""Which functions may be jobs: what their signatures must say, and what is read of them."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import UnionType
from typing import Any, Union

from pydantic import BaseModel, TypeAdapter

from errand.job.context import Opener
from errand.job.functions.batches import MAX_BATCH, in_batches
from errand.job.functions.processes import in_process, pool_opener
from errand.job.functions.solving import with_dependencies, worker_wide
from errand.job.functions.threads import in_thread


@dataclass(frozen=True, slots=True)
class Shape:
    """A function as a job."""

    call: Callable[..., Awaitable[Any]]
    args_model: type[Any]
    result_type: Any
    uses: tuple[Opener[Any], ...] = ()
    """What a worker must open for it."""


def shape_of(
    function: Callable[..., Any], *, process: bool, timeout_s: float, batch: int | None = None, wait_s: float = 0.0
) -> Shape:
    """Raises TypeError for a function that cannot be a job, ValueError for a batch whose numbers are out of range."""
    if batch is not None:
        return _shape_of_batch(function, most=batch, wait_s=wait_s)
    parameters, hints = list(inspect.signature(function).parameters), _hints_of(function)
    model, returned = _model(function, parameters, hints, at=0 if process else 1), hints.get("return", Any)
    # raises for what has no JSON Schema
    TypeAdapter(returned).json_schema(mode="serialization")
    if process:
        if len(parameters) != 1 or inspect.iscoroutinefunction(function):
            raise TypeError(
                f"{function.__qualname__}: a job of a process is `def {function.__name__}(args: SomeModel)`"
            )
        return Shape(in_process(function, timeout_s=timeout_s), model, returned, (pool_opener(),))
    call = function if inspect.iscoroutinefunction(function) else in_thread(function)
    if len(parameters) == 2:
        return Shape(call, model, returned)
    return Shape(with_dependencies(call), model, returned, tuple(worker_wide(function)))


def _shape_of_batch(function: Callable[..., Any], *, most: int, wait_s: float) -> Shape:
    """Of `async def name(ctxs: list[Context], many: list[SomeModel])`, which runs up to `most` jobs at once."""
    if not (1 <= most <= MAX_BATCH and wait_s >= 0):
        raise ValueError(f"a batch is of 1 to {MAX_BATCH} jobs, and batch_wait_s is no less than 0")
    parameters, hints = list(inspect.signature(function).parameters), _hints_of(function)
    (model,) = typing.get_args(hints.get(parameters[1])) or (None,) if len(parameters) == 2 else (None,)
    if not (inspect.iscoroutinefunction(function) and isinstance(model, type) and issubclass(model, BaseModel)):
        shape = f"`async def {function.__name__}(ctxs: list[Context], many: list[SomeModel])`"
        raise TypeError(f"{function.__qualname__}: a job of batches is {shape}, and SomeModel is a pydantic model")
    return Shape(in_batches(function, most=most, wait_s=wait_s), model, _of_each(hints.get("return", Any)))


def _of_each(returned: Any) -> Any:
    """What one job has of a list of results, in which an exception may stand for a job that failed."""
    kinds = typing.get_args(returned)
    if typing.get_origin(returned) is not list:
        return None if returned in (None, type(None)) else Any
    each = typing.get_args(kinds[0]) if isinstance(kinds[0], UnionType) else kinds
    results = [kind for kind in each if not (isinstance(kind, type) and issubclass(kind, BaseException))]
    return Union[tuple(results)] if results else None  # noqa: UP007  # of a list that is known only now


def _hints_of(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function)
    except NameError as error:
        raise TypeError(f"{function.__qualname__}: {error}; annotations must name what its module defines") from None


def _model(function: Callable[..., Any], parameters: list[str], hints: dict[str, Any], *, at: int) -> type[Any]:
    """The pydantic model in the annotation of that parameter."""
    model = hints.get(parameters[at]) if len(parameters) > at else None
    generates = inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)
    if isinstance(model, type) and issubclass(model, BaseModel) and not generates:
        return model
    shape = f"`async def {function.__name__}(ctx: Context, args: SomeModel)`, and SomeModel is a pydantic model"
    raise TypeError(f"{function.__qualname__}: a job is {shape}")
