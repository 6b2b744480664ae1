"""Webhooks over HTTP: endpoints, events that go to them, what these carry, and what is sent again."""

from __future__ import annotations

from fastapi import APIRouter

from errand.http.routes.webhooks import (
    attempts,
    endpoints,
    event_types,
    events,
    listening,
    portal,
    portal_links,
    resending,
)
from errand.job.catalog import Catalog
from errand.webhooks.job_type import JOB_TYPE
from errand.webhooks.pages import can_render


def routers(catalog: Catalog) -> list[APIRouter]:
    """None if this service has no job type that delivers."""
    if JOB_TYPE not in catalog:
        return []
    routers = [endpoints.router, attempts.router, resending.router, events.router, listening.router, event_types.router]
    return [*routers, event_types.pages, portal.router, portal_links.router] if can_render() else routers
