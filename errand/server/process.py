"""The process that serves the API: uvicorn, with Errand's limits on the HTTP protocol."""

from __future__ import annotations

import asyncio
import resource
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import structlog
import uvicorn
from redis.exceptions import RedisError
from uvicorn.config import STARTUP_FAILURE

from errand import heap
from errand.http.api import Api
from errand.process import processors, start
from errand.process.garbage import collect_less
from errand.process.hangup import on_hangup
from errand.process.supervisor import Body, Ready, supervise
from errand.redis.connection import Refused, check_welcome, connect
from errand.server.app import create_app
from errand.server.http_protocol import protocol
from errand.settings import Settings

log = structlog.get_logger("errand.server")

GRACE_S = 5
"""How long a stopping API lets requests end. After that, a request that still waits for its job is cut off."""

REFUSAL_LIMIT_S = 1.5
"""How long the start waits for Redis to say whether it accepts the user and password."""

MAX_FILES = 65_536

MEBIBYTE = 1024**2


def run(settings: Settings, *, read_again: Callable[[], Settings]) -> None:
    """Serves until SIGTERM or SIGINT, by `API_PROCESSES` processes under this one if that is more than one. Blocks.

    On SIGHUP the keys of the settings that are read again then count. `read_again` must be one that can be pickled.
    """
    start.prepare(settings, program="api")
    processes = processors.count(settings.api_processes)
    if processes == 1:
        run_one(settings, read_again=read_again)
    else:
        run_several(settings, processes, read_again=read_again)


def run_several(settings: Settings, processes: int, *, read_again: Callable[[], Settings]) -> None:
    """Serves by so many processes, which accept connections from one listening socket. Exits with 1 if they cannot.

    One socket and not one each (SO_REUSEPORT): there a connection is a certain process's as soon as it comes in, and is
    reset if that one dies, or waits for it while others are idle. From this one whichever is idle takes the next, what
    has come in waits while a process is replaced, and a port that is taken is one line at the start.
    """
    latest = LatestKeys(settings, read_again)
    listening = uvicorn.Config("", **options(settings)).bind_socket()

    def body_of(process: int) -> Body:
        return partial(run_child, latest.settings, process, listening, read_again)

    with start.redis_url(settings), listening:
        code = supervise("api", processes, body_of, stop_within_s=GRACE_S, reload=latest.reload)
    if code:
        raise SystemExit(code)


class LatestKeys:
    """The settings that the next child is started with: with the keys that its siblings have since the last SIGHUP."""

    def __init__(self, settings: Settings, read_again: Callable[[], Settings]) -> None:
        self.settings = settings
        self._read_again = read_again

    def reload(self) -> None:
        """Each child says what comes of it."""
        with suppress(SystemExit, ValueError):
            keys = self._read_again().api_keys
            if keys and self.settings.api_keys:
                self.settings = self.settings.model_copy(update={"api_keys": keys})


def run_child(
    settings: Settings,
    process: int,
    listening: socket.socket,
    read_again: Callable[[], Settings],
    ready: Ready,
) -> None:
    """Serves as the process with that number, of several under one parent."""
    start.prepare_child(settings, program="api", process=process)
    run_one(settings, read_again=read_again, sockets=[listening], ready=ready)


def run_one(
    settings: Settings,
    *,
    read_again: Callable[[], Settings],
    sockets: list[socket.socket] | None = None,
    ready: Ready = lambda: None,
) -> None:
    """Serves in this process, on `sockets` or on `HOST` and `PORT`; `ready` is called when it accepts connections."""
    _allow_connections()
    # the pieces of a few uploads, as they come in: a quarter of a mebibyte each
    heap.keep_freed(16 * MEBIBYTE, of_pieces_below_bytes=MEBIBYTE)
    with start.redis_url(settings) as url:
        asyncio.run(_exit_if_refused(url))
        with start.exit_if_unusable():
            app = create_app(settings, redis_url=url)
        make_document(app.api)
        collect_less()
        on_hangup(reload=lambda: reload_keys(app.api, read_again), stop=lambda: signal.raise_signal(signal.SIGTERM))
        server = ApiServer(uvicorn.Config(app, **options(settings)), ready)
        with suppress(KeyboardInterrupt):  # raised again by uvicorn, once it has stopped
            server.run(sockets)
        if not server.started:
            raise SystemExit(STARTUP_FAILURE)


def make_document(api: Api) -> None:
    """Else the first request for an unknown path makes it, and holds up others for 0.4 s."""
    api.openapi()


class ApiServer(uvicorn.Server):
    """uvicorn's server, which says when it accepts connections."""

    def __init__(self, config: uvicorn.Config, ready: Ready) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Opens what the app needs, then the port."""
        await super().startup(sockets)
        self._ready()


def options(settings: Settings) -> dict[str, Any]:
    """What uvicorn is started with."""
    return {
        "host": settings.host,
        "port": settings.port,
        "loop": "uvloop",
        "http": protocol(settings.body_timeout_s),
        "log_config": None,
        "access_log": False,
        "server_header": False,
        # by default uvicorn believes 127.0.0.1, and what an environment variable of its own names
        "proxy_headers": bool(settings.trusted_proxies),
        "forwarded_allow_ips": [str(network) for network in settings.trusted_proxies],
        "timeout_graceful_shutdown": GRACE_S,
    }


def reload_keys(api: Api, read_again: Callable[[], Settings]) -> None:
    """Has the API admit by the keys that the settings name now; it keeps those it has if the settings are bad."""
    before = api.state.api_keys
    try:
        api.use_keys(read_again().api_keys)
    except (SystemExit, ValueError) as error:
        log.error("the keys stay as they were", reason=str(error))
    else:
        now = api.state.api_keys
        log.info("keys read again", keys=len(now), new=len({*now} - {*before}), gone=len({*before} - {*now}))


def _allow_connections() -> None:
    """Raises the limit on open files: on many systems it is 1,024, and each client that waits or watches takes one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wished = MAX_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_FILES)
    if soft != resource.RLIM_INFINITY and soft < wished:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wished, hard))


async def _exit_if_refused(redis_url: str) -> None:
    """Exits with one line if Redis refuses the connection. The API starts without a Redis that does not answer."""
    redis = connect(redis_url, reply_timeout_s=REFUSAL_LIMIT_S)
    try:
        with suppress(RedisError):
            await check_welcome(redis, within_s=REFUSAL_LIMIT_S)
    except Refused as error:
        raise SystemExit(f"settings: REDIS_URL: {error}") from None
    finally:
        await redis.aclose()
