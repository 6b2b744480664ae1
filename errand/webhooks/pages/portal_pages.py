"""The pages of the portal, in which a tenant manages the endpoints that it receives its events at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlencode

from errand.webhooks.endpoints import Endpoint, EndpointAttempt
from errand.webhooks.pages.render import Nav, Page, page
from errand.webhooks.signing import public_key


@dataclass(frozen=True, slots=True, kw_only=True)
class Portal:
    """The portal of one tenant, as one link opens it."""

    home: str
    """Its path."""
    link: str

    def path(self, *parts: str) -> str:
        """The path of a page of it, with the link that opens it."""
        return f"{'/'.join((self.home, *parts))}?{urlencode({'link': self.link})}"

    @property
    def nav(self) -> Nav:
        """What each page begins with."""
        return [("Endpoints", self.path()), ("Events", self.path("events"))]

    def endpoints_page(self, endpoints: Sequence[Endpoint], *, given: Given | None = None, fault: str = "") -> Page:
        """All endpoints, and the form for another one; with what was typed and what is wrong with it."""
        return page(
            "portal_endpoints",
            title="Webhook endpoints",
            portal=self,
            nav=self.nav,
            endpoints=endpoints,
            given=given or Given(),
            fault=fault,
        )

    def endpoint_page(
        self,
        endpoint: Endpoint,
        attempts: Sequence[EndpointAttempt],
        *,
        given: Given | None = None,
        fault: str = "",
        said: str = "",
    ) -> Page:
        """One endpoint with its latest attempts; `said` is what was just done."""
        return page(
            "portal_endpoint",
            title=str(endpoint.definition.url),
            portal=self,
            nav=self.nav,
            endpoint=endpoint,
            public_key=public_key(endpoint.signing_key) if endpoint.signing_key else None,
            attempts=attempts,
            given=given or Given.of(endpoint),
            fault=fault,
            said=said,
            utc=utc,
        )

    def secret_page(self, endpoint: Endpoint) -> Page:
        """The secret that an endpoint has just been given."""
        return page("portal_secret", title="The secret of your endpoint", portal=self, nav=self.nav, endpoint=endpoint)


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What stands in the form of an endpoint."""

    url: str = ""
    events: str = "*"
    """Filters, separated by spaces or commas."""
    description: str = ""
    enabled: bool = True

    @classmethod
    def of(cls, endpoint: Endpoint) -> Given:
        """As the endpoint is."""
        definition = endpoint.definition
        return cls(
            url=str(definition.url),
            events=" ".join(definition.events),
            description=definition.description,
            enabled=endpoint.enabled,
        )


def utc(ms: int) -> str:
    """A time for people."""
    return f"{datetime.fromtimestamp(ms / 1000, tz=UTC):%Y-%m-%d %H:%M:%S} UTC"
