"""The API process: `python -m service`."""

from __future__ import annotations

from contextlib import nullcontext

import uvicorn

from jobs.engine import embedded_redis, lifeline, logs, redaction
from service.app import create_app
from service.http_protocol import protocol
from settings import Settings

GRACE_S = 5
"""How long a stopping API lets requests end; one that waits for a job is cut off then."""


def main() -> None:
    """Reads the settings and serves until SIGTERM or SIGINT."""
    lifeline.hold()
    settings = Settings.read()
    logs.configure(level=settings.log_level, form=settings.log_format)
    redaction.configure(settings.secrets)
    with embedded_redis.joined(settings.data_dir) if settings.redis_url is None else nullcontext() as own_url:
        url = own_url or settings.redis_url.get_secret_value()  # type: ignore[union-attr]  # one of the two is set
        try:
            app = create_app(settings, redis_url=url)
        except (ImportError, TypeError, ValueError) as error:
            raise SystemExit(f"job types: {error}") from None
        uvicorn.run(
            app,
            host=settings.host,
            port=settings.port,
            loop="uvloop",
            http=protocol(settings.body_timeout_s),
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=GRACE_S,
        )


if __name__ == "__main__":
    main()
