"""The settings of workers: which jobs they run, how many at once, and how long their outcomes are kept."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Annotated, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field
from pydantic_settings import NoDecode

from errand.settings.comma_separated import comma_separated
from errand.settings.units import DAY_S, MAX_TTL_S, MIB, Processes

CPU_QUEUE = "cpu"
MAIL_QUEUE = "mail"
WEBHOOK_QUEUE = "webhooks"
SHIPPED_JOBS = "errand.jobs"
"""In the wheel: the files of `jobs/`."""


class QueueShare(BaseModel):
    """A queue that a worker serves, and how many of its jobs it runs at once if the setting says so."""

    model_config = ConfigDict(frozen=True)

    name: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")
    concurrency: int | None = Field(None, ge=1, le=10_000)

    @classmethod
    def parse(cls, text: str) -> Self:
        """`NAME` or `NAME:NUMBER`. Raises ValueError."""
        name, colon, number = text.partition(":")
        if colon and not number.isdecimal():
            raise ValueError("must be queues, comma separated, each NAME or NAME:NUMBER")
        return cls(name=name, concurrency=int(number) if colon else None)


class WorkerSettings(BaseModel):
    """A part of `Settings`."""

    own_job_packages: ClassVar[tuple[str, ...]] = ()
    """Job types that an installation always has, beside those of `JOB_PACKAGES`; for a subclass to set."""

    worker_queues: Annotated[tuple[QueueShare, ...], NoDecode, comma_separated(QueueShare.parse)] = ()
    worker_processes: Processes = 1
    worker_concurrency: int = Field(100, ge=1, le=10_000)
    cpu_processes: int = Field(default_factory=lambda: os.cpu_count() or 1, ge=1, le=256)
    cpu_memory_limit_bytes: int = Field(1024 * MIB, ge=128 * MIB)
    mail_connections: int = Field(8, ge=1, le=1000)
    webhook_concurrency: int = Field(500, ge=1, le=10_000)
    lease_s: float = Field(10, ge=1, le=3600)
    drain_s: float = Field(25, ge=0, le=3600)
    max_crashes: int = Field(3, ge=1, le=100)
    result_ttl_s: float = Field(7 * DAY_S, ge=1, le=MAX_TTL_S)
    dead_ttl_s: float = Field(30 * DAY_S, ge=1, le=MAX_TTL_S)
    job_packages: Annotated[tuple[str, ...], NoDecode, comma_separated()] = ()

    def queue_shares(self, known: Iterable[str]) -> dict[str, int]:
        """How many jobs of each queue a worker runs at once; of the `known` queues if `WORKER_QUEUES` names none.

        I/O jobs mostly wait, and many fit into one process; of CPU jobs as many run as there are processes for them, of
        letters as many as there are connections. Webhooks wait for servers of others, of which there are many.
        """
        shares = self.worker_queues or [QueueShare(name=name) for name in known]
        usual = {
            CPU_QUEUE: self.cpu_processes,
            MAIL_QUEUE: self.mail_connections,
            WEBHOOK_QUEUE: self.webhook_concurrency,
        }
        return {share.name: share.concurrency or usual.get(share.name, self.worker_concurrency) for share in shares}

    def for_one_of(self, processes: int) -> Self:
        """The settings of one of so many worker processes: unless `CPU_PROCESSES` is set they share the cores."""
        if "cpu_processes" in self.model_fields_set:
            return self
        return self.model_copy(update={"cpu_processes": max(1, self.cpu_processes // processes)})

    @property
    def packages(self) -> tuple[str, ...]:
        """The packages of job types: the installation's own, then `JOB_PACKAGES`.

        If neither names one, those that Errand ships.
        """
        return (*self.own_job_packages, *self.job_packages) or (SHIPPED_JOBS,)
