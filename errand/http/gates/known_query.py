"""Refuses query parameters that a route does not know: a misspelt `delay` must not enqueue a job that runs at once."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches

from fastapi import Request, params
from fastapi.dependencies.utils import get_flat_params
from fastapi.routing import APIRoute

from errand.http.answers.problems import FaultyField, Problem

MAX_SAID = 20
"""Unknown parameters that are said, each with what may be meant: an address has room for thousands."""

NO_QUERY = (params.Path, params.Header, params.Cookie)


async def refuse_unknown(request: Request) -> None:
    """A dependency of every route. Async: FastAPI sends others through a thread."""
    # a route outside the document takes no parameters worth a check
    if request.scope["query_string"] and request.scope["route"].include_in_schema:
        check(request)


def check(request: Request) -> None:
    """Raises Problem 422 that names each unknown parameter, and the one that was probably meant."""
    known = _known_to(request.scope["route"], request.app.state.known_query)
    unknown = [name for name in request.query_params if name not in known]
    if unknown:
        errors = [FaultyField(field=f"query.{name[:64]}", message=_say(name, known)) for name in unknown[:MAX_SAID]]
        if len(unknown) > MAX_SAID:
            errors.append(FaultyField(field="query", message=f"has {len(unknown) - MAX_SAID} more that are unknown"))
        detail = "; ".join(f"{error.field}: {error.message}" for error in errors)
        raise Problem(422, "invalid-request", f"The request does not fit: {detail}", errors=errors)


def _known_to(route: APIRoute, found: dict[int, tuple[str, ...]]) -> tuple[str, ...]:
    """`found` caches by the id of a route: routes cannot be hashed, and live as long as the app."""
    known = found.get(id(route))
    if known is None:
        known = found[id(route)] = tuple(_query_names(route))
    return known


def _query_names(route: APIRoute) -> Iterator[str]:
    """Also those in a model of query parameters, whose fields are no `Query` any more."""
    for field in get_flat_params(route.dependant):
        if not isinstance(field.field_info, NO_QUERY):
            yield field.alias


def _say(name: str, known: tuple[str, ...]) -> str:
    if not known:
        return "is unknown: no query parameters are taken here"
    (meant, *_) = *get_close_matches(name[:64], known, n=1), None
    return f"is unknown; did you mean '{meant}'?" if meant else f"is unknown; known are: {', '.join(known)}"
