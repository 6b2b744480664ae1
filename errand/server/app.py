"""The ASGI app that the server serves: the API of `errand.http` with the fast path in front of it."""

from __future__ import annotations

from errand.http.api import Api, create_api
from errand.http.routes.enqueue_route import fast_endpoints
from errand.server import guide
from errand.server.fast_path import FastPath
from errand.settings import Settings


class Service(FastPath):
    """An ASGI app. `api` is the FastAPI app behind the fast path."""

    def __init__(self, api: Api, *, limit_bytes: int) -> None:
        self.api = api
        self.state = api.state
        super().__init__(api, endpoints=fast_endpoints(api), limit_bytes=limit_bytes, record=api.state.record)


def create_app(settings: Settings, *, redis_url: str) -> Service:
    """The service for these settings, on the Redis at `redis_url`.

    Raises ImportError, TypeError or ValueError if a package of job types cannot be used.
    """
    api = create_api(settings, redis_url=redis_url)
    guide.install(api, settings)
    return Service(api, limit_bytes=settings.body_limit_bytes)
