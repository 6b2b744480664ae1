"""Finds the job types of packages, so that a new module with an `@job` needs no other edit."""

from __future__ import annotations

import importlib
import pkgutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from types import ModuleType
from typing import Any

from errand.extras import ExtraMissing
from errand.job.hooks import AttemptHook, DeadHook, Hook
from errand.job.job_type import JobType
from errand.wire.keys import DEFAULT_QUEUE


class Catalog(Mapping[str, JobType[Any, Any]]):
    """Job types by name, and the hooks around them.

    Raises ValueError if two types share a name, or two schedules an id.
    """

    def __init__(self, job_types: Iterable[JobType[Any, Any]], hooks: Iterable[Hook] = ()) -> None:
        self.hooks = tuple(dict.fromkeys(hooks))
        self._by_name: dict[str, JobType[Any, Any]] = {}
        for job_type in job_types:
            known = self._by_name.setdefault(job_type.name, job_type)
            if known is not job_type:
                modules = f"{known.function.__module__} and {job_type.function.__module__}"
                raise ValueError(f"two job types are named {job_type.name}: {modules}")
        ids = Counter(schedule.id for job_type in self._by_name.values() for schedule in job_type.schedules)
        if twice := [schedule_id for schedule_id, number in ids.items() if number > 1]:
            raise ValueError(f"two schedules have the id {twice[0]}")

    @property
    def queues(self) -> list[str]:
        """The names of the queues that the types use, the default one first."""
        job_types = self._by_name.values()
        named = [job_type.queue for job_type in job_types]
        named += [schedule.queue for job_type in job_types for schedule in job_type.schedules if schedule.queue]
        others = set(named) - {DEFAULT_QUEUE}
        return [DEFAULT_QUEUE, *sorted(others)]

    def __getitem__(self, name: str) -> JobType[Any, Any]:
        return self._by_name[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_name)

    def __len__(self) -> int:
        return len(self._by_name)


def discover(packages: Iterable[str]) -> Catalog:
    """The job types and hooks in these packages, and in the modules directly in them; a module may be named as well.

    Raises ImportError if a module cannot be imported, ValueError if two types share a name.
    """
    found = [value for package in packages for module in modules_of(package) for value in vars(module).values()]
    return Catalog(
        [value for value in found if isinstance(value, JobType)],
        [value for value in found if isinstance(value, AttemptHook | DeadHook)],
    )


def modules_of(package: str) -> Iterator[ModuleType]:
    """The package and the modules directly in it; a module by itself. Raises ImportError."""
    root = _module(package)
    yield root
    for info in pkgutil.iter_modules(getattr(root, "__path__", ())):
        if info.name != "__main__":
            yield _module(f"{package}.{info.name}")


def _module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ExtraMissing as error:
        raise ExtraMissing(f"{name} {error}") from error
