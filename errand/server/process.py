"""The API process."""

from __future__ import annotations

import asyncio
import resource
from contextlib import nullcontext, suppress

import uvicorn
from redis.exceptions import RedisError

from errand.process import lifeline, logs
from errand.redis import embedded as embedded_redis
from errand.redis.connection import Refused, check_welcome, connect
from errand.secrets import redaction
from errand.server.app import create_app
from errand.server.http_protocol import protocol
from errand.settings import Settings

GRACE_S = 5
"""How long a stopping API lets requests end; one that waits for a job is cut off then."""


WELCOME_LIMIT_S = 1.5


MOST_FILES = 65_536


def run(settings: Settings) -> None:
    """Serves until SIGTERM or SIGINT. Blocks."""
    lifeline.hold()
    _allow_connections()
    logs.configure(level=settings.log_level, form=settings.log_format)
    redaction.configure(settings.secrets)
    with embedded_redis.joined(settings.data_dir) if settings.redis_url is None else nullcontext() as own_url:
        url = own_url or settings.redis_url.get_secret_value()  # type: ignore[union-attr]  # one of the two is set
        asyncio.run(_refuse_to_start_unwelcome(url))
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


def _allow_connections() -> None:
    """Many systems let a process open 1,024 files unless it asks for more: as many watchers are not many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


async def _refuse_to_start_unwelcome(redis_url: str) -> None:
    """Exits with one line where Redis answers that it will not have us; its absence is no reason not to start."""
    redis = connect(redis_url, reply_timeout_s=WELCOME_LIMIT_S)
    try:
        with suppress(RedisError):
            await check_welcome(redis, within_s=WELCOME_LIMIT_S)
    except Refused as error:
        raise SystemExit(f"settings: REDIS_URL: {error}") from None
    finally:
        await redis.aclose()
