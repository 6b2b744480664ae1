"""The service in-process, for tests. To make an app takes longer than most of them: the usual one is made once.

An app that is opened again connects again and has a feed and a storage of its own: nothing of an earlier test is left.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from errand.server.app import Service, create_app
from settings import Settings


def make_settings(folder: Path, **values: Any) -> Settings:
    """Settings as an environment would give them, less what a test cannot share with others."""
    defaults: dict[str, Any] = {
        "data_dir": folder,
        "webhook_allow_networks": "127.0.0.0/8",
        "webhook_sink_port": 0,
        "cpu_processes": 1,
    }
    return Settings(**{**defaults, **values})


def app_with(settings: Settings, *, redis_url: str) -> Service:
    """An app that is not open: the usual one, if that fits and is not open elsewhere in this test."""
    if settings == make_settings(settings.data_dir, redis_url=redis_url):
        usual = _usual(redis_url)
        if usual.state.shared is None:
            usual.state.settings = settings
            return usual
    return create_app(settings, redis_url=redis_url)


@lru_cache(maxsize=2)
def _usual(redis_url: str) -> Service:
    return create_app(make_settings(Path("usual"), redis_url=redis_url), redis_url=redis_url)


def forget_the_usual() -> None:
    """The next test has an app made for it: the job types, say, are others now."""
    _usual.cache_clear()
