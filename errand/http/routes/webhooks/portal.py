"""The portal: pages in which a tenant manages its webhook endpoints, opened by a signed link that expires."""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import parse_qsl

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from fastapi.routing import APIRoute
from pydantic import ValidationError

from errand.http.answers.problems import Problem
from errand.http.gates import auth
from errand.http.gates.body_limit import short_body
from errand.http.routes.webhooks import endpoints, resending
from errand.http.routes.webhooks.endpoints import EndpointId
from errand.http.scope import header
from errand.http.shared import Shared, in_time, shared_of
from errand.resources.guard import fault_of_url
from errand.settings import ApiKey, digest_of
from errand.webhooks.endpoints import AttemptFilter, Endpoint, EndpointDefinition
from errand.webhooks.event_types import declared_in
from errand.webhooks.pages import Given, Page, Portal, event_page, events_page, policy, problem_page
from errand.webhooks.portal_link import LinkRefused, PortalLink
from errand.wire.job_id import new_job_id

HOME = "/portal/webhooks"
ATTEMPTS = 50
MAX_OF_TENANT = 50
"""How many endpoints a tenant may have by the portal; the API makes more."""
THE_MOST = "there are as many already as there may be"
MAX_FIELDS = 20
FORM_LIMIT_BYTES = 64 * 1024
"""A hundred filters are a fifth of it. To undo the escapes in a mebibyte of them held up the loop for 0.2 s."""
OWN_FIELDS = ("url", "events", "description", "enabled")
"""What of an endpoint its tenant decides; all else stays as the API has set it."""
SAID = {
    "saved": "It is saved, and holds for what waits already.",
    "tested": "A test event is on its way.",
    "resent": "The event is on its way again.",
}


class PortalRoute(APIRoute):
    """Says what is wrong with a page, too."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_for_people(request: Request) -> Response:
            try:
                return await handle(request)
            except Problem as problem:
                return _shown(request, problem_page(problem.detail), status=problem.status)

        return handle_for_people


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """One request that a valid link has opened."""

    request: Request
    to: Shared
    portal: Portal
    tenant: str
    """Whose endpoints it may see and change."""

    async def endpoint(self, endpoint_id: str) -> Endpoint:
        """Raises Problem 404 if the tenant has no such endpoint."""
        endpoint = await in_time(self.to.webhook_endpoints.read(endpoint_id))
        if endpoint is None or endpoint.definition.tenant != self.tenant:
            raise endpoints.unknown(endpoint_id)
        return endpoint

    async def form(self) -> dict[str, str]:
        """The fields of the form that was sent. Raises Problem 413 or 422 if the body is none."""
        kind = header(self.request.scope, b"content-type").partition(";")[0].strip().lower()
        try:
            if kind != "application/x-www-form-urlencoded":
                raise ValueError
            body = (await short_body(self.request, limit_bytes=FORM_LIMIT_BYTES)).decode()
            return dict(parse_qsl(body, keep_blank_values=True, max_num_fields=MAX_FIELDS))
        except ValueError:
            raise Problem(422, "invalid-request", "This is not what the page's form sends.") from None

    def page(self, text: Page, *, status: int = 200) -> Response:
        """The answer that shows it."""
        return _shown(self.request, text, status=status)

    def back(self, *parts: str, said: str = "") -> Response:
        """To another page, once something was done."""
        more = f"&said={said}" if said else ""
        return RedirectResponse(self.portal.path(*parts) + more, status_code=303)


async def visit(
    request: Request, link: Annotated[str, Query(max_length=1000, description="as it was given")] = ""
) -> Visit:
    """Admits a request by its link. Raises Problem 403 or 429."""
    to = shared_of(request)
    try:
        opened = PortalLink.read(link, to.settings.file_url_keys)
    except LinkRefused as error:
        request.scope.setdefault(auth.REFUSED_FOR, []).append("link")
        raise Problem(403, "forbidden", f"This page cannot be opened: {error}.") from None
    request.scope[auth.ADMITTED_BY] = _visitor(opened.tenant)
    await auth.count(request, f"portal:{opened.tenant}")
    return Visit(
        request=request,
        to=to,
        portal=Portal(home=f"{to.root_path}{HOME}", link=link),
        tenant=opened.tenant,
    )


VisitDep = Annotated[Visit, Depends(visit)]


router = APIRouter(prefix=HOME, include_in_schema=False, route_class=PortalRoute)


@router.get("")
async def show_endpoints(visit: VisitDep) -> Response:
    """All endpoints of the tenant."""
    return visit.page(visit.portal.endpoints_page(await _of_tenant(visit)))


@router.post("", operation_id="portal_create_endpoint")
async def create_endpoint(visit: VisitDep) -> Response:
    """Another endpoint; its secret is shown on the page that answers."""
    given = _given(await visit.form())
    known = await _of_tenant(visit)
    try:
        definition = _definition(given, visit)
        if len(known) >= MAX_OF_TENANT:
            raise ValueError(THE_MOST)
        endpoint = await _made(visit, definition)
    except ValueError as error:
        return visit.page(visit.portal.endpoints_page(known, given=given, fault=_in_words(error)), status=422)
    return visit.page(visit.portal.secret_page(endpoint), status=201)


async def _made(visit: Visit, definition: EndpointDefinition) -> Endpoint:
    """A new endpoint of the tenant. Raises Problem 409; ValueError if so many were made at the same time that there are
    more than there may be: each request that sees that takes its own back, and the last one sees all."""
    endpoints = visit.to.webhook_endpoints
    now_ms = await in_time(endpoints.now_ms())
    endpoint = Endpoint.new(new_job_id(), definition, secret=None, now_ms=now_ms)
    if await in_time(endpoints.put(endpoint)) != "done":
        raise Problem(409, "too-many-endpoints", "There is no room for another endpoint in this service.")
    if len(await _of_tenant(visit)) > MAX_OF_TENANT:
        await in_time(endpoints.remove(endpoint.id))
        raise ValueError(THE_MOST)
    return endpoint


@router.get("/endpoints/{id}")
async def show_endpoint(id: EndpointId, visit: VisitDep, said: str = "") -> Response:
    """One endpoint, and its latest attempts."""
    return await _endpoint_page(visit, await visit.endpoint(id), said=SAID.get(said, ""))


@router.post("/endpoints/{id}", operation_id="portal_change_endpoint")
async def change_endpoint(id: EndpointId, visit: VisitDep) -> Response:
    """What the tenant decides of it is changed."""
    given, endpoint = _given(await visit.form()), await visit.endpoint(id)
    try:
        await _change(visit, id, _definition(given, visit))
    except ValueError as error:
        return await _endpoint_page(visit, endpoint, given=given, fault=_in_words(error))
    return visit.back("endpoints", id, said="saved")


async def _change(visit: Visit, endpoint_id: str, own: EndpointDefinition) -> None:
    """Raises ValueError if what the API has set would go where the tenant says."""
    now_ms = await in_time(visit.to.webhook_endpoints.now_ms())
    changed = {name: getattr(own, name) for name in OWN_FIELDS}

    def change(kept: Endpoint) -> Endpoint:
        _check_origin(kept.definition, own)
        return kept.defined(kept.definition.model_copy(update=changed), now_ms=now_ms)

    await in_time(visit.to.webhook_endpoints.change(endpoint_id, change))


def _check_origin(kept: EndpointDefinition, own: EndpointDefinition) -> None:
    """Credentials that no page shows would go to any server that the tenant names. Raises ValueError; also for a
    URL that has no certificates, if there are some for it: nobody could read such an endpoint."""
    before, after = [(url.scheme, url.host, url.port) for url in (kept.url, own.url)]
    if before != after and (kept.auth or kept.client_certificate):
        raise ValueError("the URL must stay on its host: those who run this service have set credentials for that host")
    if kept.ca and own.url.scheme != "https":
        raise ValueError("the URL must begin with https://: those who run this service have set its authorities")


@router.post("/endpoints/{id}/rotate", operation_id="portal_rotate_secret")
async def rotate_secret(id: EndpointId, visit: VisitDep) -> Response:
    """Another secret, shown on the page that answers."""
    await visit.endpoint(id)
    now_ms = await in_time(visit.to.webhook_endpoints.now_ms())
    rotated = await in_time(visit.to.webhook_endpoints.change(id, lambda kept: kept.rotated(now_ms=now_ms)))
    if rotated is None:
        raise endpoints.unknown(id)
    return visit.page(visit.portal.secret_page(rotated))


@router.post("/endpoints/{id}/test", operation_id="portal_test_endpoint")
async def test_endpoint(id: EndpointId, visit: VisitDep) -> Response:
    """A test event."""
    await visit.endpoint(id)
    await resending.test_webhook_endpoint(id, visit.to)
    return visit.back("endpoints", id, said="tested")


@router.post("/endpoints/{id}/resend", operation_id="portal_resend_event")
async def resend_event(id: EndpointId, visit: VisitDep) -> Response:
    """The event of a delivery to this endpoint once more."""
    await visit.endpoint(id)
    job_id = (await visit.form()).get("job_id", "")[:256]
    job = await visit.to.find(job_id)
    if job is None or job.args.get("endpoint_id") != id:
        raise Problem(404, "unknown-delivery", "This delivery is not known any more.")
    await resending.resend_webhook_event(id, resending.Resend(job_id=job_id), visit.to)
    return visit.back("endpoints", id, said="resent")


@router.post("/endpoints/{id}/remove", operation_id="portal_remove_endpoint")
async def remove_endpoint(id: EndpointId, visit: VisitDep) -> Response:
    """Nothing is sent there any more."""
    await visit.endpoint(id)
    await in_time(visit.to.webhook_endpoints.remove(id))
    return visit.back()


@router.get("/events")
async def show_event_types(visit: VisitDep) -> Response:
    """What may be sent."""
    event_types = declared_in(visit.to.settings.packages).values()
    portal = visit.portal
    return visit.page(events_page(event_types, path_of=lambda name: portal.path("events", name), nav=portal.nav))


@router.get("/events/{name:path}")
async def show_event_type(name: str, visit: VisitDep) -> Response:
    """What one type carries, and code that verifies it."""
    event_type = declared_in(visit.to.settings.packages).get(name)
    if event_type is None:
        raise Problem(404, "unknown-event-type", f"No event type '{name[:200]}' is declared.")
    return visit.page(event_page(event_type, nav=visit.portal.nav))


async def _of_tenant(visit: Visit) -> list[Endpoint]:
    return await in_time(visit.to.webhook_endpoints.of_tenant(visit.tenant))


async def _endpoint_page(visit: Visit, endpoint: Endpoint, **shown: Any) -> Response:
    attempts, _ = await in_time(visit.to.webhook_attempts.page(endpoint.id, AttemptFilter(), limit=ATTEMPTS))
    status = 422 if shown.get("fault") else 200
    return visit.page(visit.portal.endpoint_page(endpoint, attempts, **shown), status=status)


def _given(form: dict[str, str]) -> Given:
    texts = {name: form.get(name, "").strip() for name in ("url", "events", "description")}
    return Given(**texts, enabled=form.get("enabled") != "no")


def _definition(given: Given, visit: Visit) -> EndpointDefinition:
    """Raises ValueError for what is no endpoint."""
    if fault := fault_of_url(given.url, visit.to.settings):
        raise ValueError(f"the URL {fault}")
    return EndpointDefinition.model_validate(
        {
            "url": given.url,
            "events": re.split(r"[\s,]+", given.events),
            "description": given.description,
            "enabled": given.enabled,
            "tenant": visit.tenant,
        }
    )


def _in_words(error: ValueError) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    faults = error.errors(include_url=False, include_input=False, include_context=False)
    return "; ".join(f"{fault['loc'][0]}: {fault['msg'].removeprefix('Value error, ')}" for fault in faults)


def _visitor(tenant: str) -> ApiKey:
    """Whom the audit names. It has no scope of the API."""
    name = re.sub(r"[^A-Za-z0-9._-]", "-", f"portal.{tenant}")[:64]
    return ApiKey(digest=digest_of(f"portal of {tenant}"), scopes=frozenset(), name=name)


def _shown(request: Request, text: Page, *, status: int) -> Response:
    frames = " ".join(request.app.state.settings.webhook_portal_frames) or "'none'"
    return HTMLResponse(
        text, status_code=status, headers={"Content-Security-Policy": policy(forms=True, frames=frames)}
    )
