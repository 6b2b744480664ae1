"""Calls a job function with its dependencies, by fast-depends; one that has none never comes here.

FastAPI's own solver would do, but a worker would have to load FastAPI and make a request up for each attempt. Of each
function fast-depends is given one like it, whose signature has its own markers: so FastAPI's are understood, too.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import cache, wraps
from typing import Annotated, Any

from errand.job.context import Context, Opener
from errand.job.functions.depends import OVERRIDES, Depends, marker_in
from errand.settings import Settings

ATTEMPT = "errand_attempt"
"""The name under which every dependency finds the attempt."""


BY_NAME = inspect.Parameter.KEYWORD_ONLY


VARIABLE = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def with_dependencies(function: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """The function, called with its dependencies. Values that are given by name take their places, as in a test.

    Raises TypeError for a parameter that is neither the context, nor the args, nor a dependency.
    """
    first, second, *others = inspect.signature(function, eval_str=True).parameters.values()
    for parameter in others:
        if _marker_of(parameter) is None:
            raise TypeError(f"{function.__qualname__}: {parameter.name} must be Annotated[…, Depends(…)]")
    for marker in _markers(function, set()):
        _check(marker.dependency)

    @wraps(function)
    async def solved(ctx: Context, args: Any, **given: Any) -> Any:
        own = {first.name: ctx, second.name: args, **given}
        named = {_unique(FIRST, name): value for name, value in own.items()}
        async with AsyncExitStack() as stack:
            return await _model_of(function).asolve(stack=stack, cache_dependencies={}, **named, **{ATTEMPT: ctx})

    return solved


def worker_wide(function: Callable[..., Any]) -> list[Opener[Any]]:
    """What a worker has to open for this function: its dependencies of the scope `worker`, and those below them."""
    return [OpenedByWorker(marker.dependency) for marker in _markers(function, set()) if marker.scope == "worker"]


@dataclass(frozen=True, slots=True)
class OpenedByWorker:
    """The `Opener` of a dependency of the scope `worker`."""

    dependency: Callable[..., Any]

    @property
    def __name__(self) -> str:
        return self.dependency.__name__

    @asynccontextmanager
    async def __call__(self, settings: Settings) -> AsyncIterator[Any]:
        async with AsyncExitStack() as stack:
            model = _model_of(_instead_of(self.dependency))
            yield await model.asolve(stack=stack, cache_dependencies={}, nested=True)


def _check(dependency: Callable[..., Any]) -> None:
    """Raises TypeError for a dependency that asks for what no job has, such as a request."""
    for parameter in _parameters_of(dependency):
        has_value = parameter.kind in VARIABLE or parameter.default is not inspect.Parameter.empty
        if not has_value and parameter.annotation is not Context and _marker_of(parameter) is None:
            name = getattr(dependency, "__qualname__", repr(dependency))
            raise TypeError(f"the dependency {name} asks for {parameter.name}, which a job does not have")


def _markers(function: Callable[..., Any], seen: set[Any]) -> Iterator[Depends]:
    for parameter in _parameters_of(function):
        marker = _marker_of(parameter)
        if marker is not None and marker.dependency not in seen:
            seen.add(marker.dependency)
            yield marker
            if marker.scope == "attempt":
                yield from _markers(marker.dependency, seen)


def _model_of(function: Callable[..., Any]) -> Any:
    # looked at for each attempt: overrides of tests come and go
    return _built(function, frozenset(OVERRIDES.items()))


@cache
def _built(function: Callable[..., Any], overrides: frozenset[tuple[Any, Any]]) -> Any:
    from fast_depends.core import build_call_model
    from fast_depends.dependencies import Provider

    return build_call_model(Translation({}).of(function), dependency_provider=Provider())


@dataclass(frozen=True, slots=True)
class Translation:
    """Functions as fast-depends reads them, one for each, so that it knows a dependency again.

    The parameters have names that no other function's have: fast-depends passes each value on to all below it that have
    a parameter of that name, whatever they depend on.
    """

    done: dict[Any, Callable[..., Any]]

    def of(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function with fast-depends' own markers."""
        if function not in self.done:
            number = len(self.done)
            parameters = [each for each in _parameters_of(function) if each.kind not in VARIABLE]
            renamed = _renamed(function, {_unique(number, each.name): each.name for each in parameters})
            # before its dependencies, which may be numbered by how many there are
            self.done[function] = renamed
            renamed.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
                [self._parameter(each).replace(name=_unique(number, each.name), kind=BY_NAME) for each in parameters]
            )
        return self.done[function]

    def _parameter(self, parameter: inspect.Parameter) -> inspect.Parameter:
        marker = _marker_of(parameter)
        if marker is None:
            return _marked(parameter, _attempt) if parameter.annotation is Context else parameter
        if marker.scope == "worker":
            return _marked(parameter, _taken_from_worker(marker.dependency))
        return _marked(parameter, self.of(_instead_of(marker.dependency)), use_cache=marker.use_cache)


FIRST = 0
"""The number of the job's own function."""


def _unique(number: int, name: str) -> str:
    return f"errand_{number}_{name}"


def _marked(parameter: inspect.Parameter, call: Callable[..., Any], *, use_cache: bool = True) -> inspect.Parameter:
    from fast_depends.dependencies import Dependant

    marker = Dependant(call, use_cache=use_cache, cast=False, cast_result=False)
    return parameter.replace(annotation=Annotated[Any, marker], default=inspect.Parameter.empty)


async def _attempt(errand_attempt: Context) -> Context:
    return errand_attempt


@cache
def _taken_from_worker(dependency: Callable[..., Any]) -> Callable[..., Any]:
    async def taken(errand_attempt: Context) -> Any:
        return errand_attempt.use(OpenedByWorker(dependency))

    return taken


def _instead_of(dependency: Callable[..., Any]) -> Callable[..., Any]:
    return OVERRIDES.get(dependency, dependency)


def _marker_of(parameter: inspect.Parameter) -> Depends | None:
    annotated = typing.get_args(parameter.annotation)[1:] if _is_annotated(parameter.annotation) else ()
    return marker_in(*annotated, parameter.default)


def _is_annotated(annotation: Any) -> bool:
    return typing.get_origin(annotation) is Annotated


def _parameters_of(function: Callable[..., Any]) -> list[inspect.Parameter]:
    return list(inspect.signature(function, eval_str=True).parameters.values())


def _renamed(function: Callable[..., Any], names: Mapping[str, str]) -> Callable[..., Any]:
    """The function with other names for its parameters (new → its own), of the kind that it is."""

    def own(given: Mapping[str, Any]) -> dict[str, Any]:
        return {names[name]: value for name, value in given.items()}

    async def opened_async(**given: Any) -> AsyncIterator[Any]:
        async with asynccontextmanager(function)(**own(given)) as value:
            yield value

    def opened(**given: Any) -> Iterator[Any]:
        with contextmanager(function)(**own(given)) as value:
            yield value

    async def awaited(**given: Any) -> Any:
        return await function(**own(given))

    def called(**given: Any) -> Any:
        return function(**own(given))

    for is_of_kind, renamed in (
        (inspect.isasyncgenfunction, opened_async),
        (inspect.isgeneratorfunction, opened),
        (inspect.iscoroutinefunction, awaited),
    ):
        # an instance of a class may be called as any of them
        if is_of_kind(function) or is_of_kind(getattr(function, "__call__", None)):  # noqa: B004
            return renamed
    return called
