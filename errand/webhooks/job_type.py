"""The name of the job type that delivers."""

from __future__ import annotations

JOB_TYPE = "webhook"
