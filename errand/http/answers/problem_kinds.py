"""Every kind of problem that the API answers with, and what to do about it.

A problem's `type` is `/problems/<kind>`; that address answers with what stands here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class ProblemKind(NamedTuple):
    """One kind of problem."""

    status: int
    meaning: str
    advice: str


AGAIN = "Send the same request again after the seconds that `Retry-After` names."


LOOK = "Compare the path with the list at `/docs`, and the id with what the API returned."


KINDS: Mapping[str, ProblemKind] = {
    "bad-request": ProblemKind(
        400,
        "The request is not valid HTTP, or ended before it was complete.",
        "Look for a proxy in between that rewrites requests, and for a client that gave up.",
    ),
    "content-too-large": ProblemKind(
        413,
        "The body is larger than the limit of this route.",
        "Send less, or raise `BODY_LIMIT_BYTES`, `BATCH_LIMIT_BYTES` or `UPLOAD_LIMIT_BYTES`.",
    ),
    "defined-in-code": ProblemKind(
        409,
        "The schedule is defined in code, so the API cannot change or delete it.",
        "Change it in the code. It can be paused, resumed and triggered by the API.",
    ),
    "endpoint-changed": ProblemKind(
        409,
        "Another request made the webhook endpoint at the same time.",
        "Read the endpoint, then send the request again.",
    ),
    "expires-before": ProblemKind(
        409, "The new time of the job is later than the time at which the job expires.", "Choose an earlier time."
    ),
    "file-has-changed": ProblemKind(
        412,
        "The file is not the one that `If-Match` or `If-Unmodified-Since` means.",
        "Read it anew: without the condition, from its beginning.",
    ),
    "forbidden": ProblemKind(
        403,
        "The key is valid, but lacks the scope that this request needs.",
        "Use a key with that scope. `make key` makes one.",
    ),
    "foreign-page": ProblemKind(
        403,
        "The request did not come from a page of this dashboard, so nothing was done.",
        "Open the dashboard itself and act there.",
    ),
    "http-version-not-supported": ProblemKind(
        505, "The service speaks HTTP/1.1 and HTTP/1.0.", "Use one of these versions."
    ),
    "idempotency-key-reused": ProblemKind(
        422,
        "This `Idempotency-Key` was sent before with another request.",
        "Use a new key for each new request, and the same key only to repeat the same request.",
    ),
    "image-not-ready": ProblemKind(503, "The image is being made, or too many images wait before it.", AGAIN),
    "image-refused": ProblemKind(
        422, "The image cannot be made from this source.", "The detail says what is wrong with the source."
    ),
    "internal-error": ProblemKind(
        500,
        "The service failed on this request.",
        "The log of the service has the traceback. Please report it.",
    ),
    "invalid-request": ProblemKind(
        422,
        "Something in the query, the headers or the body does not fit.",
        "`errors` names each field and what is wrong with it. `/docs` shows what the route takes.",
    ),
    "job-has-changed": ProblemKind(
        412,
        "The job is no longer as your `If-Match` says.",
        "Read the job again, decide again, and send the new `ETag`.",
    ),
    "malformed-idempotency-key": ProblemKind(
        400,
        "The `Idempotency-Key` is no text of the allowed length.",
        "Send up to 256 visible characters, such as a UUID.",
    ),
    "malformed-if-match": ProblemKind(
        400, "`If-Match` holds no ETag.", "Send an `ETag` as the API returned it, quotes included."
    ),
    "method-not-allowed": ProblemKind(
        405, "The path exists, but not with this method.", "`Allow` names the methods of the path."
    ),
    "no-letter": ProblemKind(
        404,
        "The job has sent no letter, or it was too long ago.",
        "Check the job id; only jobs that send mail have letters.",
    ),
    "no-signing-keys": ProblemKind(409, "URLs of files cannot be signed: no key is set.", "Set `FILE_URL_KEYS`."),
    "no-worker": ProblemKind(
        503,
        "No worker has reported lately. Jobs are accepted and wait.",
        "Start a worker: `make run-worker`, `errand worker`.",
    ),
    "not-found": ProblemKind(404, "There is nothing at this address.", LOOK),
    "not-implemented": ProblemKind(
        501, "The service does not speak this part of HTTP.", "The detail says what is possible."
    ),
    "not-suppressed": ProblemKind(404, "The address is not suppressed.", "Nothing has to be done: letters go to it."),
    "not-unique": ProblemKind(
        409,
        "Another job holds the same `unique_key`.",
        "The answer names that job. Send `Existing-Job: true` to get it with 200 instead.",
    ),
    "nothing-to-retry": ProblemKind(
        409, "The args of the job were lost before they could be read, so it cannot run again.", "Put a new job."
    ),
    "queue-full": ProblemKind(
        503,
        "The queue holds as many unfinished jobs as `QUEUE_LIMIT` allows. Nothing was accepted.",
        f"{AGAIN} Add workers, or raise the limit.",
    ),
    "queue-of-others": ProblemKind(
        409, "The job is in a queue that this service does not serve.", "Ask the service that has the queue."
    ),
    "range-not-satisfiable": ProblemKind(
        416, "The file has no bytes in the range that was asked for.", "Ask without `Range`."
    ),
    "rate-limited": ProblemKind(
        429, "This key, or this address, has made as many requests as `RATE_LIMIT` allows.", AGAIN
    ),
    "read-only": ProblemKind(403, "The dashboard is set to be read only.", "Set `DASHBOARD=on`, or use the API."),
    "redis-unavailable": ProblemKind(
        503,
        "Redis could not be reached, or did not answer in time. It is not known whether the request had an effect.",
        f"{AGAIN} With an `Idempotency-Key` a repeated request never has its effect twice.",
    ),
    "request-header-fields-too-large": ProblemKind(
        431, "The headers are too many or too large.", "Send fewer or shorter headers."
    ),
    "request-in-flight": ProblemKind(
        409, "The first request under this `Idempotency-Key` has not been read completely.", AGAIN
    ),
    "request-timeout": ProblemKind(
        408, "The request came too slowly.", "Send it again; `BODY_TIMEOUT_S` sets the limit."
    ),
    "run-not-stopped": ProblemKind(
        409, "The bulk run goes on, or has come to its end: there is nothing to go on with.", "Start another run."
    ),
    "storage-unavailable": ProblemKind(
        503, "The storage of files cannot be read or written: it is full, read-only or unreachable.", AGAIN
    ),
    "too-many-endpoints": ProblemKind(409, "There are as many webhook endpoints as can be kept.", "Delete some."),
    "too-many-listeners": ProblemKind(503, "As many programs listen for webhook events as can be served.", AGAIN),
    "too-many-refused": ProblemKind(
        429,
        "Too many wrong keys came from this address (`REFUSAL_LIMIT`).",
        "Correct the key of the client, then wait for the seconds that `Retry-After` names.",
    ),
    "too-many-runs": ProblemKind(
        503, "As many bulk runs are under way as may be.", "Wait for the end of one of them, or stop it."
    ),
    "too-many-schedules": ProblemKind(409, "There are as many schedules as can be kept.", "Delete some."),
    "too-many-watchers": ProblemKind(
        503,
        "This process serves as many watchers of events as `WATCHER_LIMIT` allows.",
        f"{AGAIN} Or add API processes.",
    ),
    "tus-version": ProblemKind(412, "The upload speaks another version of tus.", "Use a client of tus 1.0."),
    "unauthorized": ProblemKind(
        401,
        "The service asks for a key, and the request has none, or one that is not valid any more.",
        "Send `Authorization: Bearer KEY`. `make key` makes a key.",
    ),
    "unavailable": ProblemKind(503, "What this needs cannot be reached for now.", AGAIN),
    "unfit-schedule": ProblemKind(
        409,
        "The schedule cannot run: its job type is gone, or its args do not fit the type any more.",
        "Change the schedule.",
    ),
    "unknown-delivery": ProblemKind(404, "There is no such webhook delivery.", LOOK),
    "unknown-endpoint": ProblemKind(404, "There is no such webhook endpoint.", LOOK),
    "unknown-event-type": ProblemKind(
        404, "No event type of this name is declared.", "`GET /v1/webhook-event-types` lists them."
    ),
    "unknown-file": ProblemKind(404, "Nothing is stored under this key.", LOOK),
    "unknown-job": ProblemKind(
        404,
        "There is no job with this id.",
        "It may have been forgotten: succeeded jobs are kept for `RESULT_TTL_S`, failed ones for `DEAD_TTL_S`.",
    ),
    "unknown-job-type": ProblemKind(
        404,
        "There is no job type of this name.",
        "`GET /v1/job-types` lists them. `JOB_PACKAGES` names where they are.",
    ),
    "unknown-letter": ProblemKind(404, "The mail sink has no such letter.", LOOK),
    "unknown-queue": ProblemKind(404, "There is no queue of this name.", "`GET /v1/queues` lists them."),
    "unknown-run": ProblemKind(404, "There is no such bulk run, or it was more than a day ago.", LOOK),
    "unknown-schedule": ProblemKind(404, "There is no schedule with this id.", "`GET /v1/schedules` lists them."),
    "unknown-template": ProblemKind(404, "There is no template of this name.", "Look into `TEMPLATE_DIR`."),
    "unknown-upload": ProblemKind(404, "There is no such upload, or it has expired.", "Begin a new upload."),
    "unsupported-media-type": ProblemKind(
        415, "The body is of a type that this route does not take.", "The detail names the type to send."
    ),
    "uri-too-long": ProblemKind(414, "The path and the query are too long.", "Send fewer or shorter parameters."),
    "wrong-offset": ProblemKind(
        409, "The part does not begin where the upload ends.", "Ask for the offset with `HEAD`, and go on from there."
    ),
    "wrong-state": ProblemKind(
        409,
        "The job is in a state that does not allow this.",
        "The detail names the state. An ended job cannot be cancelled; only a failed or cancelled one is retried.",
    ),
}
