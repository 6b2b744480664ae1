"""`ETag`, `If-None-Match`, `If-Match`: a client need not fetch what it has, nor act on what it has not seen.

A tag is `"STATUS.REVISION.CONTENT"`. All of it is a strong validator of what GET shows, the only kind that RFC 9110
lets `If-Match` go by (§13.1.1): CONTENT is a hash of the very bytes, so that a tag covers what is shown beside the
job's own state, such as why it waits, or how far its letter has come. But a job is not another one because a worker
has become free: an action's target is not the representation, and of its `If-Match` the first two parts must be the
job's. DELETE's target is the job, and takes ended jobs alone, whose state changes no more.

REVISION goes along into the script that acts, which compares it with what it finds: between look and act nothing gets
in. STATUS is compared at the look; of one and the same revision, a deferred job becomes queued by time alone.
"""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import Annotated

from fastapi import Depends, Header, Request
from pydantic import WithJsonSchema

from errand.http.answers.problems import Problem, documented
from errand.monitor.job_snapshot import JobSnapshot

CONTENT_BYTES = 8


ANY = "*"


TAG = r'(W/)?"([!#-~]*)"'


TAGS = re.compile(rf"\s*+{TAG}\s*+(,\s*+{TAG}\s*+)*+,?\s*+")
"""Gives nothing back that it has matched: two runs of spaces side by side would be tried in every division."""


SHOWN_TAGS = r'^(\*|(W/)?"[!#-~]*"(, ?(W/)?"[!#-~]*")*)$'


OUTDATED = documented(
    {
        400: "the `If-Match` is malformed",
        412: "the job has changed since it had that `ETag`; nothing was done",
    }
)


ETAG_EXAMPLE = '"queued.0beec7b5ea3f0fdbc95d0dd47f3c5bc275da8a33.30e2bb7a4a5ef0b1"'


NO_REVISION = "none"
"""What no job's revision is."""


def etag_of(job: JobSnapshot, content: bytes) -> str:
    """The tag of a job that is shown so."""
    digest = blake2b(content, digest_size=CONTENT_BYTES).hexdigest()
    return f'"{_state(job)}.{digest}"'


def is_known(request: Request, etag: str) -> bool:
    """True if `If-None-Match`, which compares weakly, says that the client has it; a malformed one says nothing."""
    given = _given(request, "if-none-match") or ""
    if given == ANY:
        return True
    return bool(TAGS.fullmatch(given)) and etag.strip('"') in [tag for _, tag in re.findall(TAG, given)]


def is_expected(request: Request, etag: str) -> bool:
    """False if `If-Match`, which compares strongly, names other contents alone. Raises Problem 400 for no tags."""
    tags = _strong_tags(_given(request, "if-match"))
    return tags is None or etag.strip('"') in tags


class Seen:
    """The state that a client wants a job to be in, by its `If-Match`."""

    def __init__(self, given: str | None) -> None:
        """Raises Problem 400 for what is neither `*` nor tags."""
        tags = _strong_tags(given)
        self.matters = tags is not None
        self._states = {tag.rpartition(".")[0] for tag in tags or ()}

    def revision(self, job: JobSnapshot) -> str:
        """What the script that acts must find; '' for any.

        Where the job as it was just read is none that the client has seen, the script finds something else, and says
        so, unless the job's state forbids the act anyway: that is said first (RFC 9110 §13.2.1).
        """
        if not self.matters:
            return ""
        return job.revision if _state(job) in self._states else NO_REVISION


async def _seen(
    request: Request,
    _: Annotated[
        str | None,
        Header(
            alias="If-Match",
            description="the `ETag` that GET gave of the job, or several: done only if it is still in that state, "
            "else 412; `*` for any state",
        ),
        WithJsonSchema({"type": "string", "pattern": SHOWN_TAGS, "examples": [ETAG_EXAMPLE]}),
    ] = None,
) -> Seen:
    return Seen(_given(request, "if-match"))


SeenDep = Annotated[Seen, Depends(_seen)]


def outdated(job: JobSnapshot) -> Problem:
    """412: somebody, or time, has changed the job."""
    detail = f"Job {job.id} is not as it was when it had that ETag; it is {job.status} now. GET it and decide anew."
    return Problem(412, "job-has-changed", detail)


def _strong_tags(given: str | None) -> set[str] | None:
    """Those of an `If-Match`; None if any would do. A weak tag matches nothing there (RFC 9110 §13.1.1).

    Raises Problem 400 for what is neither `*` nor tags: no tag at all is hardly meant as any.
    """
    if given in (None, ANY):
        return None
    if not TAGS.fullmatch(given):
        detail = "If-Match must be * or ETags as GET gives them, in their double quotes, with commas between them."
        raise Problem(400, "malformed-if-match", detail)
    return {tag for weak, tag in re.findall(TAG, given) if not weak}


def _state(job: JobSnapshot) -> str:
    return f"{job.status}.{job.revision}"


def _given(request: Request, name: str) -> str | None:
    """All headers of that name as one list; None if there is none."""
    given = request.headers.getlist(name)
    return ", ".join(given).strip() if given else None
