"""The route class of requests that put jobs: FastAPI documents them, their endpoint reads them itself.

To resolve the parameters of such a request costs FastAPI more than all the rest of it takes.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.routing import APIRoute

Endpoint = Callable[[Request], Coroutine[Any, Any, Response]]


class EnqueueRoute(APIRoute):
    """Hands the request to its endpoint as it is; its dependencies are there for the OpenAPI document."""

    endpoint: Endpoint

    def get_route_handler(self) -> Endpoint:
        return self.endpoint


class FastRoute(EnqueueRoute):
    """One that takes a short body of JSON: the server's fast path may call its endpoint directly."""


def guarded_by(dependencies: Sequence[Any]) -> type[EnqueueRoute]:
    """An EnqueueRoute whose requests pass these dependencies of the app first, as those of all other routes do."""

    class GuardedRoute(EnqueueRoute):
        def get_route_handler(self) -> Endpoint:
            guarded = APIRoute(
                self.path,
                self.endpoint,
                methods=["POST"],
                response_model=None,
                dependencies=dependencies,
                dependency_overrides_provider=self.dependency_overrides_provider,
            )
            return guarded.get_route_handler()

    return GuardedRoute


def fast_endpoints(app: FastAPI) -> dict[str, Endpoint]:
    """The endpoint of each FastRoute, by its path."""
    return {route.path: route.endpoint for route in app.routes if isinstance(route, FastRoute)}
