"""What answers look like, for the OpenAPI document: one example of each model, one problem of each status."""

from __future__ import annotations

from typing import Any

from errand.http.requests.job_path import JOB_ID

OTHER_ID = "01a1fb3e-ca26-7a4b-a22c-73c5f6b6e8ac"


JOB_PATH = f"/v1/jobs/{JOB_ID}"


STARTED, ENDED = "2026-11-20T23:15:58.536000Z", "2026-11-20T23:15:58.548000Z"


PUT_AT = "2026-11-20T23:15:58.518000Z"


ERROR = {
    "type": "Retry",
    "message": "the receiver answered 500",
    "traceback": None,
    "fingerprint": "Retry@errand.webhooks.delivery:_check_taken",
}


WAITING_JOB: dict[str, Any] = {
    "id": JOB_ID,
    "type": "welcome_email",
    "queue": "default",
    "status": "queued",
    "attempt": 0,
    "max_tries": 8,
    "args": {"to": "ada@example.com", "name": "Ada"},
    "result": None,
    "error": None,
    "attempts": [],
    "progress": None,
    "enqueued_at": PUT_AT,
    "run_at": PUT_AT,
    "started_at": None,
    "finished_at": None,
    "expires_at": None,
    "priority": 0,
    "trace_id": None,
    "request_id": None,
    "planned_attempts": [PUT_AT, "2026-11-20T23:16:08.518000Z"],
    "gives_up_at": "2026-11-20T23:16:08.518000Z",
    "links": {
        "self": JOB_PATH,
        "wait": f"{JOB_PATH}?wait=30",
        "cancel": f"{JOB_PATH}/cancel",
        "reschedule": f"{JOB_PATH}/reschedule",
    },
}


ENDED_JOB: dict[str, Any] = {
    **WAITING_JOB,
    "waiting": None,
    "status": "succeeded",
    "attempt": 1,
    "result": {"message_id": f"<{JOB_ID}@localhost>", "response": "250 2.0.0 kept"},
    "attempts": [
        {
            "number": 1,
            "outcome": "succeeded",
            "due_at": PUT_AT,
            "started_at": STARTED,
            "ended_at": ENDED,
            "worker": "host:13689:4f0e35",
            "error": None,
            "next_attempt_at": None,
            "blocked": None,
        }
    ],
    "started_at": STARTED,
    "finished_at": ENDED,
    "planned_attempts": None,
    "gives_up_at": None,
    "links": {"self": JOB_PATH, "children": f"{JOB_PATH}/children"},
}


LISTED_JOB: dict[str, Any] = {
    name: ENDED_JOB[name]
    for name in (
        *("id", "type", "queue", "status", "attempt", "max_tries", "error"),
        *("enqueued_at", "run_at", "started_at", "finished_at", "expires_at", "links"),
    )
}


SCHEDULE: dict[str, Any] = {
    "id": "hello-ada",
    "type": "welcome_email",
    "queue": None,
    "args": {"to": "ada@example.com", "name": "Ada"},
    "cron": "0 9 * * *",
    "timezone": "Europe/Berlin",
    "misfire": "skip",
    "grace_s": 60.0,
    "jitter_s": 0.0,
    "enforce": False,
    "paused": False,
    "source": "http",
    "next_fires": [{"utc": "2026-11-21T08:00:00Z", "local": "2026-11-21T09:00:00+01:00"}],
    "last_fire": None,
    "last_missed_at": None,
    "problem": None,
    "created_at": PUT_AT,
    "updated_at": PUT_AT,
    "links": {
        "self": "/v1/schedules/hello-ada",
        "trigger": "/v1/schedules/hello-ada/trigger",
        "pause": "/v1/schedules/hello-ada/pause",
    },
}


DEAD_JOB: dict[str, Any] = {
    "id": OTHER_ID,
    "type": "webhook",
    "queue": "default",
    "attempt": 10,
    "error": ERROR,
    "enqueued_at": "2026-11-17T12:00:00Z",
    "finished_at": PUT_AT,
    "links": {"self": f"/v1/jobs/{OTHER_ID}", "retry": f"/v1/jobs/{OTHER_ID}/retry"},
}


DEAD_GROUP: dict[str, Any] = {
    "type": "webhook",
    "queue": "default",
    "fingerprint": f"acme-billing/{ERROR['fingerprint']}",
    "about": "acme-billing",
    "count": 312,
    "oldest_at": "2026-11-20T22:00:00Z",
    "newest_at": PUT_AT,
    "example": {"id": OTHER_ID, "message": ERROR["message"]},
}


SUPPRESSION: dict[str, Any] = {
    "address": "ada@example.com",
    "reason": "hard_bounce",
    "detail": "550 5.1.1 no such user",
    "job_id": JOB_ID,
    "at": PUT_AT,
}


ENDPOINT: dict[str, Any] = {
    "id": "acme-billing",
    "url": "https://acme.example/hooks",
    "description": "",
    "events": ["invoice.*"],
    "tenant": None,
    "headers": {},
    "auth": None,
    "timeout_s": 20.0,
    "retry_s": [5, 300, 1800],
    "concurrency": 100,
    "rate_per_s": None,
    "ordered": False,
    "client_certificate": None,
    "ca": None,
    "enabled": True,
    "metadata": {},
    "state": "enabled",
    "throttled_until": None,
    "disabled_reason": None,
    "asymmetric": False,
    "secret": None,
    "public_key": None,
    "previous_secret_until": None,
    "created_at": PUT_AT,
    "updated_at": PUT_AT,
    "links": {
        "self": "/v1/webhook-endpoints/acme-billing",
        "rotate": "/v1/webhook-endpoints/acme-billing/rotate",
        "test": "/v1/webhook-endpoints/acme-billing/test",
        "resend": "/v1/webhook-endpoints/acme-billing/resend",
        "recover": "/v1/webhook-endpoints/acme-billing/recover",
        "attempts": "/v1/webhook-endpoints/acme-billing/attempts",
    },
}


ANSWERS: dict[str, Any] = {
    "ImageUrl": {"url": "/v1/images/HrK4zZ0/avatar/aHR0cHM6Ly9pbWFnZXMuZXhhbXBsZS9jYXQuanBn"},
    "PortalLinkView": {
        "url": "/portal/webhooks?link=YWNtZQ.1795478400.HrK4zZ0",
        "expires_at": "2026-11-24T00:00:00Z",
    },
    "SignedUrl": {
        "url": f"/v1/files/resize/{JOB_ID}/9f86d081884c7d65-320x213.jpeg?expires=1795478400&signature=HrK4zZ0",
        "expires_at": "2026-11-24T00:00:00Z",
    },
    "AcceptedJobView": {**WAITING_JOB, "durability": "fsync-always"},
    "JobView": ENDED_JOB,
    "Batch": {"count": 2, "ids": [JOB_ID, OTHER_ID], "durability": "fsync-always"},
    "JobPage": {"jobs": [LISTED_JOB], "next": None, "cursor": None},
    "ChildrenPage": {"jobs": [LISTED_JOB], "next": None, "cursor": None},
    "DeadJobPage": {"jobs": [DEAD_JOB], "cursor": None},
    "DeadGroups": {"groups": [DEAD_GROUP], "more": 0},
    "ReplayedView": {
        "dry_run": False,
        "count": 1,
        "ids": [OTHER_ID],
        "skipped": 0,
        "remaining": 0,
        "last_due_at": PUT_AT,
    },
    "ScheduleView": SCHEDULE,
    "SchedulePage": {"schedules": [SCHEDULE], "next": None},
    "QueueView": {
        "name": "default",
        "paused": False,
        "due": 12,
        "deferred": 3,
        "in_progress": 100,
        "dead": 1,
        "oldest_due_s": 0.8,
        "workers": 1,
        "last_minutes": [{"at": "2026-11-20T23:15:00Z", "attempts": {"succeeded": 1204, "retry": 3}}],
        "links": {"pause": "/v1/queues/default/pause"},
    },
    "WorkerView": {
        "host": "host",
        "pid": 13689,
        "version": "0.1.0",
        "queues": ["default", "cpu"],
        "slots": 102,
        "draining": False,
        "loop_lag_ms": 1.4,
        "last_heartbeat_at": PUT_AT,
        "running": [{"id": JOB_ID, "started_at": STARTED}],
    },
    "Stats": {"due": 12, "deferred": 3, "in_progress": 100, "oldest_due_s": 0.8, "workers": 1},
    "JobTypeView": {
        "name": "shout",
        "summary": "Turns a text to upper case.",
        "queue": "default",
        "takes_file": False,
        "args_schema": {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]},
        "result_schema": {"type": "string"},
        "max_tries": 3,
        "timeout_s": 10.0,
        "retry": {"kind": "exponential", "base_s": 5, "cap_s": 3600},
        "priority": 0,
        "limits": [{"kind": "concurrency", "most": 5, "per_s": None, "key": "{customer_id}"}],
        "repeats": {"kind": "debounce", "period_s": 30.0, "key": None},
        "links": {"enqueue": "/v1/jobs/shout"},
    },
    "Health": {"status": "ok"},
    "AuditView": {
        "entries": [
            {
                "at": PUT_AT,
                "kind": "changed",
                "by": "ci",
                "action": "pause_queue",
                "method": "POST",
                "path": "/v1/queues/default/pause",
                "made": None,
                "status": 200,
                "address": "203.0.113.7",
                "reason": None,
                "left_out": 0,
            }
        ],
        "cursor": None,
    },
    "PreviewView": {"subject": "Welcome, Ada!", "text": "Hello Ada,\n\nWelcome to Acme.\n", "html": "<!doctype html>…"},
    "SuppressionView": SUPPRESSION,
    "TakenView": {"taken": 1},
    "EmailView": {
        "job_id": JOB_ID,
        "address": "ada@example.com",
        "state": "delivered",
        "detail": "250 2.0.0 OK",
        "at": PUT_AT,
    },
    "EndpointView": ENDPOINT,
    "EventTypeView": {
        "name": "invoice.paid",
        "description": "An invoice was paid in full.",
        "data_schema": {"type": "object", "properties": {"id": {"type": "integer"}}, "required": ["id"]},
        "example": {"id": 7},
        "links": {"page": "/docs/webhooks/invoice.paid"},
    },
    "UploadView": {
        "url": "/v1/uploads/HrK4zZ0aHrK4zZ0aHrK4zZ0aHrK4zZ0a",
        "offset": 0,
        "file": {"key": f"uploads/{JOB_ID}", "bytes": 4_800_000, "filename": "cat.jpg"},
        "expires_at": "2026-11-24T00:00:00Z",
    },
    "EndpointAttemptPage": {
        "attempts": [
            {
                "at": PUT_AT,
                "job_id": JOB_ID,
                "number": 1,
                "webhook_id": f"msg_{JOB_ID}",
                "event": "invoice.paid",
                "outcome": "failed",
                "status": 503,
                "fault": "status",
                "error": "the receiver answered 503",
                "remote": "93.184.215.14:443",
                "timings_ms": {"wait": 12.5, "read": 0.1},
                "headers": [["Content-Length", "0"]],
                "body": "",
                "request_headers": [
                    ["content-type", "application/json"],
                    ["webhook-id", f"msg_{JOB_ID}"],
                    ["webhook-timestamp", "1795237200"],
                    ["webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="],
                ],
                "links": {"job": f"/v1/jobs/{JOB_ID}"},
            }
        ],
        "next": None,
    },
    "RecoveredView": {"count": 1, "ids": [JOB_ID], "complete": True, "cursor": None},
    "EndpointPage": {"endpoints": [ENDPOINT], "next": None},
    "WebhookEventView": {
        "id": f"msg_{JOB_ID}",
        "count": 1,
        "deliveries": [{"endpoint_id": "acme-billing", "job_id": JOB_ID}],
    },
    "SuppressionPage": {"suppressions": [SUPPRESSION], "cursor": None},
}
"""By the name of the model."""


PROBLEMS: dict[int, tuple[str, str]] = {
    400: ("bad-request", "This is not a valid HTTP/1.1 request."),
    401: ("unauthorized", "Send 'Authorization: Bearer <key>' with one of the service's keys."),
    403: ("forbidden", "This key lacks the scope 'write', which this request needs."),
    408: ("request-timeout", "The rest of the request did not come within 30 seconds, so nothing was accepted."),
    409: ("wrong-state", f"Job {JOB_ID} is succeeded; only a job that has not ended can be cancelled."),
    412: (
        "job-has-changed",
        f"Job {JOB_ID} is not as it was when it had that ETag; it is succeeded now. GET it and decide anew.",
    ),
    413: ("content-too-large", "The body is larger than 1048576 bytes. Send less, or raise the limit."),
    415: ("unsupported-media-type", "Send the part as 'application/offset+octet-stream'."),
    414: ("uri-too-long", "The path and query are longer than 8192 bytes."),
    422: ("invalid-request", "The request does not fit: query.dleay: is unknown; did you mean 'delay'?"),
    429: ("rate-limited", "More than 100 requests in 1 s came with this credential. Try again in 1 s."),
    431: (
        "request-header-fields-too-large",
        "The headers are more than 100, or longer than 32768 bytes together.",
    ),
    503: ("redis-unavailable", "Redis cannot be reached, so nothing was promised. Try again in 2 seconds."),
}


MALFORMED_TAG = "If-Match must be * or ETags as GET gives them, in their double quotes, with commas between them."


CHANGED_FILE = "The file is not the one that If-Match or If-Unmodified-Since means."


OF_PATHS: dict[tuple[int, str], tuple[str, str]] = {
    (404, "/v1/jobs"): ("unknown-job", f"There is no job '{JOB_ID}'. It never was, or it has been forgotten."),
    (404, "/v1/schedules"): ("unknown-schedule", "There is no schedule 'nightly-report'."),
    (404, "/v1/queues"): ("unknown-queue", "There is no queue 'mail'. The queues are: default, cpu."),
    (404, "/v1/files"): (
        "unknown-file",
        f"Nothing is stored under 'resize/{JOB_ID}/9f86d081884c7d65-320x213.jpeg'.",
    ),
    (404, "/v1/images"): (
        "unknown-file",
        "There is no such image: its address is neither an upload's nor a URL.",
    ),
    (403, "/v1/images"): ("forbidden", "The signature is not one of this service for this preset and this image."),
    (416, "/v1/images"): ("range-not-satisfiable", "The file has 1024 bytes, and none of them is in that range."),
    (503, "/v1/images"): ("image-not-ready", "The image is not made yet. Try again in 5 seconds."),
    (409, "/v1/image-urls"): ("no-signing-keys", "Set FILE_URL_KEYS: one or more keys of at least 32 characters."),
    (404, "/v1/uploads"): ("unknown-upload", "There is no such upload, or it has expired."),
    (409, "/v1/uploads"): ("wrong-offset", "The upload is at offset 1048576: go on there."),
    (412, "/v1/uploads"): ("tus-version", "This service speaks tus 1.0.0."),
    (413, "/v1/uploads"): ("content-too-large", "The upload has more than the 4800000 bytes that were announced."),
    (409, "/v1/webhook-portal-links"): (
        "no-signing-keys",
        "Set FILE_URL_KEYS: one or more keys of at least 32 characters.",
    ),
    (404, "/v1/file-urls"): ("unknown-file", "Nothing is stored under 'uploads/1'."),
    (409, "/v1/file-urls"): ("no-signing-keys", "Set FILE_URL_KEYS: one or more keys of at least 32 characters."),
    (400, "/v1/files"): ("malformed-if-match", MALFORMED_TAG),
    (400, "/v1/images"): ("malformed-if-match", MALFORMED_TAG),
    (412, "/v1/files"): ("file-has-changed", CHANGED_FILE),
    (412, "/v1/images"): ("file-has-changed", CHANGED_FILE),
    (416, "/v1/files"): ("range-not-satisfiable", "The file has 1024 bytes, and none of them is in that range."),
    (404, "/v1/emails"): ("no-letter", f"Job {JOB_ID} has sent no letter, or it was too long ago."),
    (404, "/v1/webhook-endpoints"): ("unknown-endpoint", "There is no endpoint 'acme-billing'."),
    (409, "/v1/webhook-endpoints"): (
        "endpoint-changed",
        "The endpoint acme-billing was made meanwhile. Send this again.",
    ),
    (404, "/v1/suppressions"): ("not-suppressed", "'ada@example.com' is not suppressed."),
    (409, "/v1/schedules"): (
        "defined-in-code",
        "Schedule nightly-report is defined in code, to be changed there. It can be paused, resumed and triggered.",
    ),
    (503, "/readyz"): (
        "no-worker",
        "No worker has reported lately: jobs are accepted and wait. Start one with 'make run-worker'.",
    ),
}
"""Where a status means something else under a path."""


def problem_example(status: int, path: str, operation: dict[str, Any]) -> dict[str, Any]:
    """A problem that the operation at that path may answer with that status."""
    kind, detail = next(
        (
            example
            for (of_status, prefix), example in OF_PATHS.items()
            if of_status == status and path.startswith(prefix)
        ),
        PROBLEMS.get(status, ("other", str(operation["responses"][str(status)]["description"]))),
    )
    if status == 400 and operation["operationId"].startswith("enqueue_"):
        kind = "malformed-idempotency-key"
        detail = "Idempotency-Key must be given once, with 1 to 255 printable ASCII characters, in quotes or not."
    if status == 409 and operation["operationId"].startswith("enqueue_"):
        kind, detail = "not-unique", f"Job {JOB_ID} holds the unique key 'user-7' and waits."
    problem = {
        "type": f"/problems/{kind}",
        "title": kind.replace("-", " ").capitalize(),
        "status": status,
        "detail": detail,
    }
    if status == 422:
        problem["errors"] = [{"field": "query.dleay", "message": "is unknown; did you mean 'delay'?"}]
    return problem
