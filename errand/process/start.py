"""What each process does as it starts, and the one line with which it ends if it cannot start."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager

from errand.process import forks, lifeline, logs
from errand.redis import embedded
from errand.secrets import redaction
from errand.settings import SHIPPED_JOBS, Settings
from errand.tracing import switch


def prepare(settings: Settings, *, program: str) -> None:
    """Logs in one form and without secrets; an end with the parent if it asked for that.

    Files are made for this user alone, forks without the signal handlers of this process.
    """
    lifeline.hold()
    prepare_child(settings, program=program)


def prepare_child(settings: Settings, *, program: str, process: int | None = None) -> None:
    """The same for a process that a prepared one has started, which ends it by other means.

    `program` is its name in traces, `process` its number if there are several of its kind.
    """
    os.umask(0o077)
    forks.isolate_children()
    logs.configure(level=settings.log_level, form=settings.log_format, process=process)
    redaction.configure(settings.secrets)
    switch.by_environment(program)


@contextmanager
def redis_url(settings: Settings) -> Iterator[str]:
    """The URL of the Redis server: `REDIS_URL`, or that of the embedded server, which runs until the block ends.

    Exits with one line if the embedded server does not start.
    """
    with ExitStack() as stack:
        if settings.redis_url is not None:
            url = settings.redis_url.get_secret_value()
        else:
            try:
                url = stack.enter_context(embedded.joined(settings.data_dir, fsync=settings.embedded_fsync))
            except (ImportError, RuntimeError, OSError) as error:
                raise SystemExit(f"embedded Redis: {_in_one_line(error)}") from None
        yield url


@contextmanager
def exit_if_unusable() -> Iterator[None]:
    """Exits with one line if the block raises what a package of job types raises that cannot be used."""
    try:
        yield
    except (ImportError, TypeError, ValueError) as error:
        raise SystemExit(f"job types: {_reason(error)}") from None


def check_importable(packages: Iterable[str]) -> None:
    """Exits with one line if one of the packages does not exist. Imports none, only the packages around them."""
    with exit_if_unusable():
        for name in packages:
            if importlib.util.find_spec(name) is None:
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def _reason(error: Exception) -> str:
    if isinstance(error, ModuleNotFoundError) and error.name == SHIPPED_JOBS:
        return f"{SHIPPED_JOBS} is only in an installed Errand; here, name the packages to use: --packages jobs"
    return _in_one_line(error)


def _in_one_line(error: Exception) -> str:
    return " ".join(str(error).split())
