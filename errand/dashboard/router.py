"""Joins the pages of the dashboard into one router."""

from __future__ import annotations

from fastapi import APIRouter

from errand.dashboard import assets
from errand.dashboard.pages import (
    audit,
    bulk,
    dead_jobs,
    job,
    job_actions,
    job_types,
    jobs,
    live,
    overview,
    queues,
    schedules,
    sign_in,
    webhooks,
    workers,
)

PAGES = (
    *(overview, jobs, job, job_actions, bulk, dead_jobs, queues, workers),
    *(schedules, job_types, webhooks, audit, live, sign_in),
)


def router() -> APIRouter:
    """Every page below `/dashboard`, its actions and its files."""
    joined = APIRouter(include_in_schema=False)
    joined.include_router(assets.router)
    for page in PAGES:
        joined.include_router(page.router)
    return joined
