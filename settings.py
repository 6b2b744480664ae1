"""The settings of this installation: Errand's own, with the job types of `jobs/`. Your own settings can join here."""

from __future__ import annotations

from typing import ClassVar

from errand import settings


class Settings(settings.Settings):
    """Whatever `JOB_PACKAGES` names is added to the job types of this installation."""

    own_job_packages: ClassVar[tuple[str, ...]] = ("jobs",)
