"""Endpoints: who receives which events, with which secret; kept in Redis, read by the API and by every worker.

It knows no HTTP route and no job type: it says who an event goes to, and what a delivery needs.
"""

from errand.webhooks.endpoints.attempts import AttemptFilter, EndpointAttempt, EndpointAttempts
from errand.webhooks.endpoints.definition import EndpointDefinition
from errand.webhooks.endpoints.endpoint import Endpoint
from errand.webhooks.endpoints.gates import EndpointLines, EndpointPace
from errand.webhooks.endpoints.health import EndpointHealth
from errand.webhooks.endpoints.journal import EndpointJournal
from errand.webhooks.endpoints.notices import EndpointNotices
from errand.webhooks.endpoints.store import Endpoints
from errand.webhooks.endpoints.targets import EndpointTargets

__all__ = [
    "AttemptFilter",
    "Endpoint",
    "EndpointAttempt",
    "EndpointAttempts",
    "EndpointDefinition",
    "EndpointHealth",
    "EndpointJournal",
    "EndpointLines",
    "EndpointNotices",
    "EndpointPace",
    "EndpointTargets",
    "Endpoints",
]
