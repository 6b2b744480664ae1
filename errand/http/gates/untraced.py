"""Which requests leave no span of their own in a trace, where the program's traces are on."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

from errand.http.scope import api_path

PROBES = frozenset({"/healthz", "/readyz", "/metrics"})
"""Asked every few seconds, for ever."""

SECRET_PATHS = ("/v1/uploads/", "/v1/images/")
"""What stands there is as good as a key: a span has the whole path."""

SECRET_QUERIES = (b"signature=", b"link=")
"""Of signed URLs of files, and of links to the webhook portal: a span has the query too."""


def is_untraced(scope: MutableMapping[str, Any]) -> bool:
    """True for probes, and for requests whose URL is a secret in itself."""
    path = api_path(scope)
    return (
        path in PROBES or path.startswith(SECRET_PATHS) or any(name in scope["query_string"] for name in SECRET_QUERIES)
    )
