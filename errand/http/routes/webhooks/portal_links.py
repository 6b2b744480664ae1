"""`POST /v1/webhook-portal-links`: a link by which a tenant opens its portal."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Body, Depends
from pydantic import BaseModel, ConfigDict, Field

from errand.http.gates import auth
from errand.http.requests.json_body import JsonRoute
from errand.http.routes.stored.signing_key import SIGNING, signing_key
from errand.http.routes.webhooks.portal import HOME
from errand.http.shared import SharedDep
from errand.job.when import DurationS
from errand.webhooks.portal_link import PortalLink

HOUR_S, MONTH_S = 3600, 30 * 86_400


class PortalLinkRequest(BaseModel):
    """Whose portal, and for how long."""

    model_config = ConfigDict(extra="forbid")

    tenant: str = Field(min_length=1, max_length=128, description="whose endpoints the link opens, and no others")
    expires_in: DurationS = Field(default=HOUR_S, gt=0, le=MONTH_S, description="seconds, or `10m`-like")


class PortalLinkView(BaseModel):
    """An address that needs no key."""

    url: str = Field(description="its path; put the service's own address before it")
    expires_at: datetime


EXAMPLE = {"an hour": {"value": {"tenant": "acme", "expires_in": "1h"}}}


router = APIRouter(prefix="/v1/webhook-portal-links", tags=["webhooks"], route_class=JsonRoute)


@router.post(
    "",
    responses=SIGNING,
    dependencies=[Depends(auth.require("admin"))],
    operation_id="sign_webhook_portal_link",
)
async def sign_webhook_portal_link(
    body: Annotated[PortalLinkRequest, Body(openapi_examples=EXAMPLE)], to: SharedDep
) -> PortalLinkView:
    """A link by which one tenant sees and changes its endpoints, their secrets and deliveries, until it expires.

    It is made for a page of your own, which `WEBHOOK_PORTAL_FRAMES` lets frame the portal, for a user who is logged in.
    """
    expires_s = int(time.time() + body.expires_in)
    link = PortalLink(tenant=body.tenant, expires_s=expires_s).signed(signing_key(to))
    url = f"{to.root_path}{HOME}?{urlencode({'link': link})}"
    return PortalLinkView(url=url, expires_at=datetime.fromtimestamp(expires_s, tz=UTC))
