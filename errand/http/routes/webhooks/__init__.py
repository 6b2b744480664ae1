"""Webhooks over HTTP: endpoints, events that go to them, and what is sent again."""

from __future__ import annotations

from fastapi import APIRouter

from errand.http.routes.webhooks import endpoints, events, resending
from errand.job.catalog import Catalog


def routers(catalog: Catalog) -> list[APIRouter]:
    """None if this service has no job type that delivers."""
    if events.JOB_TYPE not in catalog:
        return []
    return [endpoints.router, resending.router, events.router]
