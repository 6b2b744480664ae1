"""The API of this installation as an ASGI app, for a server of your own choice: `service.app:create()` (a factory)."""

from errand.server.app import Service, create_app
from settings import Settings


def create() -> Service:
    """The service for the settings of this process; `REDIS_URL` must be set, since nothing here starts a server."""
    settings = Settings.read()
    if settings.redis_url is None:
        raise SystemExit("settings: REDIS_URL must be set: only `python -m service` starts the embedded Redis")
    return create_app(settings, redis_url=settings.redis_url.get_secret_value())
