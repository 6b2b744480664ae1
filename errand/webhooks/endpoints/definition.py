"""What the owner of an endpoint decides about it."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationInfo, model_validator

from errand.resources.guard import CallerUrl
from errand.secrets.secret_args import check_not_stars
from errand.webhooks.endpoints.tls import Authority, ClientCertificate, check_fits, is_kept
from errand.webhooks.header_name import HEADER_NAME
from errand.webhooks.schedule import DEADLINE_S, SCHEDULE_S

FILTER = re.compile(r"[A-Za-z0-9_:/*-]+(\.[A-Za-z0-9_:/*-]+)*")
HEADER_NAME_CHARACTERS = 128
TOKEN = re.compile(r"[\x21-\x7e]+")
HEADER_VALUE = re.compile(r"[\x20-\x7e]{0,1024}")


OURS = frozenset(
    {
        *(
            "host",
            "content-length",
            "content-type",
            "content-encoding",
            "transfer-encoding",
            "connection",
            "keep-alive",
        ),
        *("te", "trailer", "upgrade", "expect", "accept-encoding", "authorization", "cookie", "user-agent"),
    }
)
"""Headers that a delivery or the connection sets itself; `authorization` comes from `auth`."""
OUR_PREFIXES = ("webhook-", "proxy-")


def _check_filter(text: str) -> str:
    if not FILTER.fullmatch(text):
        raise ValueError("must be the name of an event, in which '*' stands for any characters: 'invoice.*'")
    return text


def _check_header(name: str) -> str:
    if len(name) > HEADER_NAME_CHARACTERS or not HEADER_NAME.fullmatch(name):
        raise ValueError("is not the name of a header")
    if name.lower() in OURS or name.lower().startswith(OUR_PREFIXES):
        raise ValueError(f"the header {name} is set by the delivery itself")
    return name


def _check_header_value(value: str) -> str:
    if not HEADER_VALUE.fullmatch(value):
        raise ValueError("must be up to 1024 visible ASCII characters and spaces")
    return value


EventFilter = Annotated[str, Field(min_length=1, max_length=128), AfterValidator(_check_filter)]
HeaderName = Annotated[str, AfterValidator(_check_header)]
HeaderValue = Annotated[str, AfterValidator(_check_header_value)]
Wait = Annotated[float, Field(ge=1, le=7 * 86_400)]


def _check_token(token: SecretStr) -> SecretStr:
    if not TOKEN.fullmatch(token.get_secret_value()):
        raise ValueError("must be visible ASCII characters: it is sent in a header")
    return check_not_stars(token)


class BasicAuth(BaseModel):
    """`Authorization: Basic`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["basic"]
    user: Annotated[str, Field(max_length=256, pattern=r"^[^:\x00-\x1f\x7f]*$")]
    password: Annotated[SecretStr, AfterValidator(check_not_stars)] = Field(max_length=256)


class BearerAuth(BaseModel):
    """`Authorization: Bearer`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["bearer"]
    token: Annotated[SecretStr, AfterValidator(_check_token)] = Field(max_length=4096)


class EndpointDefinition(BaseModel):
    """Who receives which events, and how."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: CallerUrl = Field(examples=["https://receiver.example/hooks"])
    description: str = Field("", max_length=500)
    events: list[EventFilter] = Field(
        default=["*"], min_length=1, max_length=100, description="which events; `*` stands for any characters"
    )
    tenant: str | None = Field(None, max_length=128, description="receives only the events of this tenant")
    headers: dict[HeaderName, HeaderValue] = Field(default={}, max_length=20, description="sent with every delivery")
    auth: BasicAuth | BearerAuth | None = Field(None, discriminator="kind")
    timeout_s: float = Field(DEADLINE_S, ge=1, le=DEADLINE_S, description="for a status line, the connection included")
    retry_s: list[Wait] = Field(
        default=list(SCHEDULE_S),
        max_length=len(SCHEDULE_S),
        description="the waits after each failed attempt, in seconds; after the last one the delivery has failed",
    )
    client_certificate: ClientCertificate | None = None
    ca: Authority | None = Field(
        None, description="PEM: the receiver's certificate must come from one of these, not from those known to all"
    )
    asymmetric: bool = Field(
        False, description="sign with ed25519 (`v1a`) too: the receiver needs no secret, only the `public_key` shown"
    )
    ordered: bool = Field(
        False,
        description="one delivery after another, in the order of their events: each waits for those before it",
    )
    concurrency: int = Field(100, ge=1, le=1000, description="deliveries at once, of each worker")
    rate_per_s: float | None = Field(
        None,
        ge=0.01,
        le=10_000,
        description="deliveries a second, of all workers together; what a second takes may come at once",
    )
    enabled: bool = True
    metadata: dict[str, Annotated[str, Field(max_length=500)]] = Field(default={}, max_length=20)

    @model_validator(mode="after")
    def _has_certificates_that_fit(self, info: ValidationInfo) -> Self:
        if (self.ca or self.client_certificate) and self.url.scheme != "https":
            raise ValueError("only a url of https has certificates: leave out `ca` and `client_certificate`")
        if self.client_certificate is not None and not is_kept(info):
            check_fits(self.client_certificate)
        return self

    def receives(self, event: str, tenant: str | None) -> bool:
        """True if an event of that name goes there; one with a tenant goes to that tenant's endpoints alone."""
        return self.enabled and self.tenant == tenant and takes(tuple(self.events), event)


Parts = tuple[str, tuple[str, ...], str]
"""Of a filter with stars: what stands before the first one, between them, and behind the last one."""


def takes(patterns: tuple[str, ...], event: str) -> bool:
    """True if one of the filters has the event of that name."""
    if event in patterns:
        return True
    for first, between, last in _starred(patterns):
        # most begin otherwise: a call for each takes twice as long
        if event.startswith(first) and _has_behind(event, len(first), between, last):
            return True
    return False


@lru_cache(maxsize=4096)
def _starred(patterns: tuple[str, ...]) -> tuple[Parts, ...]:
    """The filters with stars. A regular expression of a hundred of them takes 75 ms to compile, this takes 0.1 ms."""
    split = (pattern.split("*") for pattern in patterns if "*" in pattern)
    return tuple((first, tuple(filter(None, between)), last) for first, *between, last in split)


def _has_behind(event: str, at: int, between: tuple[str, ...], last: str) -> bool:
    """True if these parts follow one another from there on, and the last one ends it.

    A star may stand for dots: `invoice.*` takes `invoice.line.added` too. Each part is looked for at the first place
    that it has behind the one before, and at no other: to try all takes longer than anybody can wait.
    """
    end = len(event) - len(last)
    if at > end or not event.endswith(last):
        return False
    for part in between:
        found = event.find(part, at, end)
        if found < 0:
            return False
        at = found + len(part)
    return True
