"""What schemathesis must know of this API besides its document; loaded by it as its hooks."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import schemathesis
from schemathesis.specs.openapi.checks import positive_data_acceptance

MORE_THAN_A_SCHEMA_SAYS = (
    # two parameters that exclude or need each other
    ("query.delay", "cannot be given together with run_at|is missing, and so is run_at"),
    ("query.expires_in", "ends before the job is due"),
    ("query.unique_for", "says nothing without unique_key"),
    ("query.on_conflict", "says nothing without unique_key"),
    (r"query\.unique_key", "must hold printable characters"),
    ("query.run_after", "says nothing without depends_on"),
    # jobs that are known
    ("query.depends_on", "names the job .*, which is not known"),
    ("query.depends_on", "names 1 to"),
    ("query.unique_key", "cannot be given together with depends_on"),
    # how long a text such as `10m` is
    (r"query\.(delay|expires_in|unique_for)", "Input should be (less|greater) than"),
    (r"body\.(grace|jitter)_s", "Input should be (less|greater) than"),
    # opaque: only what the service gave is one
    (
        r"(query|body)\.cursor",
        "must be the '?cursor'? of a page|is of a list with other|is none that a page has named",
    ),
    # the queues of this installation
    ("query.queue", "is unknown: "),
    # what a text means, past its pattern
    (r"body\.cron", "is no cron expression|names no time|has"),
    (r"body\.timezone", "is no time zone"),
    (r"query\.(run_at|since|until)", "must be within the years"),
    # one way to announce an upload: as JSON, or by headers
    ("body", "is missing: send JSON"),
    (r"header\.Upload-(Length|Metadata|Offset)", ""),
    # a schedule's args are those of the type that is named beside them
    (r"body\.args(\..*)?", ""),
    # validators of the job types' own: addresses of letters, receivers, sources of pictures
    (r"body(\.\d+)?\.(name|detail)", "must be plain text|must not be blank|may not hold|must hold no"),
    (r"body(\.\d+)?\.(to|address)", "not a valid email address"),
    (r"body\.events\.\d+(\.address)?", "not a valid email address|must be the name of an event"),
    (r"query\.events?(\.\d+)?", "must be the name of an event"),
    (r"body\.(ca|client_certificate)(\..*)?", "must be (one or more certificates|a certificate) in PEM|stands for"),
    (r"body\.(auth|headers)\..*", "must be|is not the name|is set by|stands for"),
    (r"body(\.\d+)?\.(template|data)(\..*)?", "there is no template|cannot be rendered"),
    (r"body\.expires_in", "Input should be"),
    (r"body(\.\d+)?\.file", "image|HEIC|PDF|SVG|is not stored"),
    (r"body\.secret", "must be whsec_"),
    (r"body(\.\d+)?\.(source_)?url", ""),
    (
        r"body(\.\d+)?",
        "only a url of https has certificates|give either a file|give either a url|does not fit in more than|"
        "needs a type, a fingerprint or what the faults are about",
    ),
    (r"body(\.\d+)?\.sizes\.\d+(\..*)?", ""),
)
"""Fields (a pattern) and what a 422 says of them (a pattern) where a request that fits the document is refused."""
SAID_ELSEWHERE = {
    "/problems/idempotency-key-reused",
    # tus: the version that the client speaks, and as many bytes as were announced
    "/problems/tus-version",
    "/problems/content-too-large",
}
"""Refusals that depend on more than one request, or on what another protocol says."""
MAX_WAIT_S = 0.3
RECEIVER = os.environ.get("CONTRACT_RECEIVER", "127.0.0.1:9999")


@schemathesis.serializer("application/offset+octet-stream")
def part_of_an_upload(_: Any, value: Any) -> bytes:
    """As tus sends it: bytes and nothing around them."""
    return value if isinstance(value, bytes) else str(value).encode()


@schemathesis.check
def fitting_data_acceptance(ctx: Any, response: Any, case: Any) -> bool | None:
    """A request that fits the document is accepted, or refused for one of the reasons above and no other."""
    if response.status_code == 422 and all(map(_is_more_than_a_schema, response.json().get("errors", [{}]))):
        return None
    if response.status_code in (412, 413, 422) and response.json()["type"] in SAID_ELSEWHERE:
        return None
    if response.status_code in (400, 412) and "If-Match" in case.headers:
        # what tag a job has only a look at it shows; and not all that is made for a header's pattern fits it
        return None
    return positive_data_acceptance(ctx, response, case)


@schemathesis.hook
def before_call(_: Any, case: Any, kwargs: dict[str, Any]) -> None:
    """Keeps the run short and on this machine: no wait is long, and what is fetched or posted to is loopback.

    Nothing that does not fit the document becomes fitting by it, or the other way round.
    """
    wait = str((case.query or {}).get("wait", ""))
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", wait) and MAX_WAIT_S < float(wait) <= 60:
        case.query["wait"] = MAX_WAIT_S
    for node in _objects_in(case.body):
        for name in ("url", "source_url"):
            if isinstance(node.get(name), str):
                node[name] = _on_loopback(node[name])


def _is_more_than_a_schema(fault: dict[str, str]) -> bool:
    return any(
        re.fullmatch(field, fault.get("field", ""), re.DOTALL) and re.search(message, fault.get("message", ""))
        for field, message in MORE_THAN_A_SCHEMA_SAYS
    )


def _objects_in(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
    for child in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _objects_in(child)


def _on_loopback(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:
        return url
    return urlunsplit(("http", RECEIVER, *parts[2:])) if parts.scheme in ("http", "https") and parts.netloc else url
