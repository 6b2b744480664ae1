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
    made,
    overview,
    queues,
    schedules,
    sign_in,
    workers,
)
from errand.dashboard.pages.webhooks import actions as webhook_actions
from errand.dashboard.pages.webhooks import endpoints as webhook_endpoints
from errand.extras import ExtraMissing

PAGES = (
    *(overview, jobs, job, job_actions, made, bulk, dead_jobs, queues, workers),
    *(schedules, job_types, webhook_endpoints, webhook_actions, audit, live, sign_in),
)


def router() -> APIRouter:
    """Every page below `/dashboard`, its actions and its files."""
    joined = APIRouter(include_in_schema=False)
    joined.include_router(overview.front)
    joined.include_router(assets.router)
    for page in PAGES:
        joined.include_router(page.router)
    for router in _mail_pages():
        joined.include_router(router)
    return joined


def _mail_pages() -> tuple[APIRouter, ...]:
    """None in an installation without `errand[mail]`."""
    try:
        from errand.dashboard.pages.mail import letters, templates
    except ExtraMissing:
        return ()
    return (letters.router, templates.router)
