"""The API of this installation as an ASGI app, for a server that you choose: `uvicorn --factory service.app:create`."""

from errand.server.app import Service, create_app
from settings import Settings


def create() -> Service:
    """The service for the settings of this process; `REDIS_URL` must be set, for no embedded one is started."""
    settings = Settings.read()
    if settings.redis_url is None:
        raise SystemExit("settings: REDIS_URL must be set: only `python -m service` starts the embedded Redis")
    return create_app(settings, redis_url=settings.redis_url.get_secret_value())
