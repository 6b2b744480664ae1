"""Shapes the answers that show webhook endpoints and events."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal
from urllib.parse import quote

from pydantic import BaseModel, Field

from errand.http.answers.job_view import utc, utc_or_none
from errand.secrets import secret_args
from errand.webhooks.endpoints import Endpoint, EndpointAttempt, EndpointDefinition
from errand.webhooks.signing import public_key

LINKS = ("rotate", "test", "resend", "recover", "attempts")
"""What can be done with an endpoint, or seen of it: paths below its own."""


class AuthView(BaseModel):
    """How an endpoint's deliveries are authorised, with stars instead of the secret."""

    kind: Literal["basic", "bearer"]
    user: str | None = None
    password: str | None = None
    token: str | None = None


class ClientCertificateView(BaseModel):
    """The certificate that deliveries show, with stars instead of its key."""

    certificate: str
    key: str


class EndpointView(EndpointDefinition):
    """An endpoint. Its secrets are not shown, but right after they were made."""

    client_certificate: ClientCertificateView | None = None  # type: ignore[assignment]  # as `auth`
    auth: AuthView | None = None  # type: ignore[assignment]  # shown without the models that take secrets in
    id: str
    state: Literal["enabled", "throttled", "disabled"]
    throttled_until: datetime | None = Field(description="its receiver has asked for a pause until then")
    disabled_reason: str | None = Field(description="why it was disabled, if its owner did not do it")
    secret: str | None = Field(description="what the receiver verifies with; shown once, when it was made")
    public_key: str | None = Field(description="what `v1a` signatures verify with, if it is `asymmetric`")
    previous_secret_until: datetime | None = Field(description="until then deliveries are signed with the old one too")
    created_at: datetime
    updated_at: datetime
    links: dict[str, str]


class EndpointPage(BaseModel):
    """Some of the endpoints, in the order of their ids."""

    endpoints: list[EndpointView]
    next: str | None = Field(description="where the next page is; null where this is the last")


class DeliveryView(BaseModel):
    """One delivery of an event: a job."""

    endpoint_id: str
    job_id: str


class WebhookEventView(BaseModel):
    """An event that was put for every endpoint that receives it."""

    id: str = Field(description="the `webhook-id` of all its deliveries")
    count: int = Field(description="how many endpoints receive it")
    deliveries: list[DeliveryView] = Field(description="none if the event was put before, under the same key")


class EndpointAttemptView(BaseModel):
    """One attempt to deliver to an endpoint."""

    at: datetime = Field(description="when it ended")
    job_id: str
    number: int = Field(description="the number of the attempt at this delivery")
    webhook_id: str
    event: str
    outcome: Literal["delivered", "failed"]
    status: int | None = Field(description="of the answer; null if there was none")
    fault: str | None = Field(description="its kind, as `dns` or `timeout`; `status` for an answer that is no success")
    error: str | None
    remote: str = Field(description="address and port of the receiver")
    timings_ms: dict[str, float]
    headers: list[tuple[str, str]] = Field(description="of the answer, as far as 8 KiB hold them")
    body: str = Field(description="the start of the answer: 1 KiB if it was delivered, else 16 KiB")
    request_headers: list[tuple[str, str]] = Field(
        description="what the delivery was signed and sent with, if it failed; what it carried stands in the job"
    )
    links: dict[str, str]


class EndpointAttemptPage(BaseModel):
    """Some of the attempts, the latest first."""

    attempts: list[EndpointAttemptView]
    next: str | None = Field(description="where the next page is; null where this is the last")


class RecoveredView(BaseModel):
    """What a recovery has put again."""

    count: int
    ids: list[str] = Field(description="of the first ten jobs")
    complete: bool = Field(description="false if it stopped at its limit: send it again with `cursor` for the rest")
    cursor: str | None = Field(description="where it stopped; null at the end")


def attempt_view(attempt: EndpointAttempt, *, root_path: str) -> Mapping[str, Any]:
    """The attempt as the API shows it."""
    shown = attempt.model_dump(exclude={"at_ms"})
    outcome = "delivered" if attempt.fault is None else "failed"
    links = {"job": f"{root_path}/v1/jobs/{quote(attempt.job_id, safe='')}"}
    return {"at": utc(attempt.at_ms), "outcome": outcome, **shown, "links": links}


def endpoint_view(
    endpoint: Endpoint, *, root_path: str, secret: str | None = None, throttled_until_ms: int | None = None
) -> Mapping[str, Any]:
    """The endpoint as the API shows it, with stars in the place of passwords and tokens."""
    own = f"{root_path}/v1/webhook-endpoints/{endpoint.id}"
    shown = endpoint.definition.model_dump(mode="json")
    until_ms = endpoint.previous_until_ms if endpoint.previous_secret is not None else None
    return {
        **secret_args.shown(EndpointDefinition, shown),
        "id": endpoint.id,
        "state": "disabled" if not endpoint.enabled else "throttled" if throttled_until_ms else "enabled",
        "throttled_until": utc_or_none(throttled_until_ms),
        "disabled_reason": endpoint.disabled_reason,
        "secret": secret,
        "public_key": public_key(endpoint.signing_key) if endpoint.signing_key else None,
        "previous_secret_until": utc_or_none(until_ms),
        "created_at": utc(endpoint.created_ms),
        "updated_at": utc(endpoint.updated_ms),
        "links": {
            "self": own,
            **{name: f"{own}/{name}" for name in ("rotate", "test", "resend", "recover", "attempts")},
        },
    }
