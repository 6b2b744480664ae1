"""The service in-process, for tests. To make an app takes longer than most of them: each is made once, and kept.

An app that is opened again connects again and has a feed and a storage of its own: nothing of an earlier test is left.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from errand.http.gates.audit import RefusedCredentials
from errand.http.gates.throttle import RefusalThrottle
from errand.server import guide
from errand.server.app import Service, create_app
from settings import Settings


def make_settings(folder: Path, **values: Any) -> Settings:
    """Settings of these values, less what a test cannot share with others; the environment has no say in them.

    To look for each field in the environment would take longer than most tests.
    """
    defaults: dict[str, Any] = {
        "data_dir": folder,
        "webhook_allow_networks": "127.0.0.0/8",
        "webhook_sink_port": 0,
        "cpu_processes": 1,
    }
    made = Settings.__new__(Settings)
    BaseModel.__init__(made, **{**defaults, **values})
    return made


@dataclass(frozen=True)
class _Made:
    """An app, and what it was made with."""

    settings: Settings
    redis_url: str
    app: Service


_made: list[_Made] = []
MAX_MADE = 8


def app_with(settings: Settings, *, redis_url: str) -> Service:
    """An app that is not open: one that was made for such settings, whatever their folder, or a new one."""
    if settings.data_dir.joinpath(*guide.BUILT_AT).exists():  # it is served, by routes of its own
        return create_app(settings, redis_url=redis_url)
    wanted = settings.model_copy(update={"data_dir": Path("any")})
    for one in _made:
        if (one.settings, one.redis_url) == (wanted, redis_url) and one.app.state.shared is None:
            return _as_new(one.app, settings)
    app = create_app(settings, redis_url=redis_url)
    _made.append(_Made(wanted, redis_url, app))
    del _made[:-MAX_MADE]
    return app


def _as_new(app: Service, settings: Settings) -> Service:
    """Nothing of whom it has admitted and refused before is left."""
    app.state.settings = settings
    app.state.api_keys = settings.api_keys
    app.state.throttle = RefusalThrottle(settings.refusal_limit)
    app.state.record.refused = RefusedCredentials()
    return app


def forget_apps() -> None:
    """The next test has an app made for it: the job types, say, are others now."""
    _made.clear()
