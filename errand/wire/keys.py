"""The names of all keys in Redis: Arq's own, and ours beside them.

Arq's names and meanings are those of Arq 0.28 (`arq.constants`). Ours say which queue they belong to; a job's keys end
in its id. The scripts build a job's keys from its id with the same prefixes. In a cluster all of them have one hash tag
before them (`cluster_prefix`), which `errand.redis.cluster` adds: callers and scripts do not know of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from urllib.parse import quote

from arq.constants import (
    abort_jobs_ss,
    default_queue_name,
    in_progress_key_prefix,
    job_key_prefix,
    result_key_prefix,
    retry_key_prefix,
)

DEFAULT_QUEUE = "default"


def cluster_prefix(partition: str) -> str:
    """What each key and channel of that partition has before it in a cluster: the braces keep them in one slot."""
    return f"{{{partition}}}:"


PARTITIONS = "errand:partitions"
"""Sorted set in partition 0 of a cluster: its one score is the most partitions that the installation ever had."""


NEVER = "errand:never"
"""Exists nowhere. A call that names it is refused by a cluster's node while the keys are on their way to another."""


ABORT = abort_jobs_ss
"""Arq's set of job ids to abort; read for stock clients, outside the scripts."""


SCHEDULES = "errand:schedules"
"""Sorted set: schedule id, score = its next time in ms, infinite while it is paused."""


JOB_TYPES = "errand:job-types"
"""Hash: job type → its queue and the schema of its args, as JSON; workers publish it."""


WEBHOOK_ENDPOINTS = "errand:webhooks:endpoints"
"""Sorted set: the ids of all webhook endpoints, in their order."""


WEBHOOK_ENDPOINTS_REVISION = "errand:webhooks:endpoints:revision"
"""Counts the changes of webhook endpoints."""


WEBHOOK_THROTTLED = "errand:webhooks:throttled"
"""Hash: endpoint id → until when its receiver has asked for a pause, in ms since the epoch."""


WEBHOOK_FAILING = "errand:webhooks:failing"
"""Hash: endpoint id → since when every delivery to it fails, in ms of the server's clock."""


WEBHOOK_SENT = "errand:webhooks:sent"
"""Stream: the latest webhook events, while somebody listens to them."""


WEBHOOK_LISTENED = "errand:webhooks:listened"
"""Exists while somebody listens to webhook events."""


SCHEDULES_CHANGED = "errand:schedules:changed"
"""Channel: the ids of schedules whose next time was set by another program than a worker."""


MOVE = "errand:move"
"""JSON: of a move of all jobs from or to this server (`errand.move`); while it exists no API and no worker starts."""


SUPPRESSIONS = "errand:{mail}:suppressions"
"""Hash: address → why it gets no mail, as JSON. The braces keep it in one slot with the next."""


SUPPRESSED_AT = "errand:{mail}:suppressed-at"
"""Sorted set: address, score = when it was suppressed, in ms."""


def audit(kind: str) -> str:
    """Stream: the latest entries of that kind (`errand.audit`), each as JSON in `entry`."""
    return f"errand:audit:{kind}"


DASHBOARD_SECRET = "errand:dashboard:secret"  # noqa: S105  # a key's name
"""What signs the sessions of the dashboard; made by the first sign-in, and without it all of them have ended."""


def signed_out(session_id: str) -> str:
    """Exists until a session that was signed out would have ended."""
    return f"errand:dashboard:signed-out:{session_id}"


def seen_signature(digest: str) -> str:
    """The SHA-256 of the event that a signature has admitted, as hexadecimal digits."""
    return f"errand:seen-signature:{digest}"


BULK_RUNS = "errand:dashboard:bulk-runs"
"""Sorted set: the ids of actions on many jobs that have neither finished nor been stopped, score = when they last said
how far they are, in seconds since the epoch."""


def bulk_run(run_id: str) -> str:
    """JSON: what an action on many jobs is to do, and how far it has come."""
    return f"errand:dashboard:bulk:{run_id}"


def bulk_stop(run_id: str) -> str:
    """Exists if that run is to stop."""
    return f"errand:dashboard:bulk:{run_id}:stop"


def slow_domain(domain: str) -> str:
    """JSON: until when letters to that domain wait, and the how manyth pause it is."""
    return f"errand:slow-domain:{domain}"


def domain_rate(domain: str) -> str:
    """When the next letter to that domain may go, in us of the server's clock."""
    return f"errand:domain-rate:{domain}"


def takes_smtputf8(server: str) -> str:
    """1 if that mail server has offered SMTPUTF8 when it was last spoken with, 0 if not."""
    return f"errand:smtputf8:{server}"


def delivery(job_id: str) -> str:
    """JSON: how far the letter of that job has come."""
    return f"errand:delivery:{job_id}"


def upload(digest: str) -> str:
    """Hash: how far the upload is whose token has that digest, and the names of its parts."""
    return f"errand:upload:{digest}"


def upload_ending(digest: str) -> str:
    """Exists while the sender of that upload's last byte makes its file."""
    return f"errand:upload-ending:{digest}"


def upload_jobs(file_key: str) -> str:
    """Set: the jobs that were put with that upload, by its key in storage."""
    return f"errand:upload-jobs:{file_key}"


FILES_SWEPT = "errand:files-swept"
"""Exists for a while after files have been looked through, so that one worker process does it for all."""


def queue(name: str) -> str:
    """The sorted set of the queue called `name`; `default` is Arq's own default queue."""
    return default_queue_name if name == DEFAULT_QUEUE else f"{default_queue_name}:{name}"


def queue_name(queue: str) -> str:
    """The name of the queue in that sorted set; a queue that was not named by us keeps its key as its name."""
    if queue == default_queue_name:
        return DEFAULT_QUEUE
    return queue.removeprefix(f"{default_queue_name}:")


def body(job_id: str) -> str:
    """Arq's serialised job: `t f a k et`."""
    return job_key_prefix + job_id


def lease(job_id: str) -> str:
    """Arq's in-progress key: exists while a worker runs the job; ours holds the token of its owner."""
    return in_progress_key_prefix + job_id


def tries(job_id: str) -> str:
    """Arq's counter of started attempts."""
    return retry_key_prefix + job_id


def result(job_id: str) -> str:
    """Arq's serialised outcome; ours has the job's attempts in it."""
    return result_key_prefix + job_id


def attempts(job_id: str) -> str:
    """List: the ended attempts of a job that has not ended, oldest first, as JSON."""
    return f"errand:attempts:{job_id}"


def progress(job_id: str) -> str:
    """JSON: what a job that has not ended last reported of itself."""
    return f"errand:progress:{job_id}"


def put_back(job_id: str) -> str:
    """JSON: why a job was last put back without an attempt, until it has another or ends."""
    return f"errand:put-back:{job_id}"


def needs(job_id: str) -> str:
    """Hash: the jobs that this one waits for, each with how it has ended; `held.lua` says what else is in it."""
    return f"errand:needs:{job_id}"


def needed_by(job_id: str) -> str:
    """Set: ids of the jobs that wait for this one."""
    return f"errand:needed-by:{job_id}"


def children(job_id: str) -> str:
    """Sorted set: `<queue> <id>` of each job that this one has put or waits for as its group, score = when, in ms."""
    return f"errand:children:{job_id}"


def once(job_id: str) -> str:
    """Hash: name of an effect → how far it has come, as JSON; kept with a job until it has succeeded."""
    return f"errand:once:{job_id}"


TYPE_LIMIT_CHARS = 200
"""Of a type's name in a key; that of a stock producer's job may be any text."""


def type_in_key(type_name: str) -> str:
    """A type's name as keys have it: percent-encoded, and cut if nobody would have given a type that name."""
    return quote(type_name[:TYPE_LIMIT_CHARS], safe="", errors="replace")[:TYPE_LIMIT_CHARS]


def parked(queue: str, type_name: str) -> str:
    """Sorted set: ids of waiting jobs of a type that the workers which came to them do not know, score = when each is
    due again by itself. An entry counts only while the job has that score in the queue.
    """
    return f"errand:{queue}:parked:{type_in_key(type_name)}"


@lru_cache(maxsize=4096)  # asked for by each delivery while any other waits
def group_in_key(group: str) -> str:
    """A group of jobs that wait for one thing, as keys have it: no type begins like that."""
    return f"@{type_in_key(group)}"


def in_group(queue: str, name: str) -> str:
    """Sorted set: the same of the waiting jobs of a group; `name` is its group as keys have it."""
    return f"errand:{queue}:parked:{name}"


def groups(queue: str) -> str:
    """Set: the groups of which some job waits, as keys have them."""
    return f"errand:{queue}:groups"


def limit_lines(queue: str, type_name: str) -> str:
    """Sorted set: the names of the lines in which a limit holds back jobs of that type, score = when a claim looks at
    that line, in ms of the server's clock. A name is `type:limit`, or `type:limit:SHA-1 of a key`.
    """
    return f"errand:{queue}:lines:{type_in_key(type_name)}"


def limit_line(queue: str, name: str) -> str:
    """Sorted set: ids of the jobs in that line, score = when each was due. An entry counts while the job has its
    `put_back`.
    """
    return f"errand:{queue}:line:{name}"


def limit_slots(queue: str, name: str) -> str:
    """Set: ids of the jobs that run under that limit; one whose lease is gone does not count."""
    return f"errand:{queue}:slots:{name}"


def limit_starts(queue: str, name: str) -> str:
    """List: when the latest attempts under that rate started, in ms of the server's clock, newest first."""
    return f"errand:{queue}:starts:{name}"


def held_slots(queue: str) -> str:
    """Hash: id of a job that runs → the names of the limits under which it holds a slot, with spaces between them."""
    return f"errand:{queue}:held-slots"


def lanes(queue: str) -> str:
    """Set: the priorities above 0 that jobs of the queue have."""
    return f"errand:{queue}:lanes"


def lane(queue: str, priority: int) -> str:
    """Sorted set: ids of the jobs of that priority, score = when each is due, as far as a claim has seen. One of a job
    that has ended goes when its time comes.
    """
    return f"errand:{queue}:lane:{priority}"


def running(queue: str) -> str:
    """Hash: job id → the attempt that was started last, as `number due_ms started_ms token`."""
    return f"errand:{queue}:running"


def needed(queue: str) -> str:
    """Set: ids of the queue's jobs that others wait for."""
    return f"errand:{queue}:needed"


def isolated(queue: str) -> str:
    """Hash: id of a job that runs isolated → the token of its lease; set while its process has it."""
    return f"errand:{queue}:isolated"


def clock_set(queue: str) -> str:
    """Exists for a lease after the server's clock was seen to have been set forward: no lease is judged meanwhile."""
    return f"errand:{queue}:clock-set"


def workers(queue: str) -> str:
    """Sorted set: worker name, score = its last heartbeat in ms of the server's clock."""
    return f"errand:{queue}:workers"


def reports(queue: str) -> str:
    """Hash: worker name → what it says of itself with each heartbeat, as JSON (`worker_report`)."""
    return f"errand:{queue}:reports"


def wake(queue: str) -> str:
    """List: holds a token when an idle worker should look at the queue."""
    return f"errand:{queue}:wake"


def own_wakeup(queue: str, worker: str) -> str:
    """List: what is put there ends that worker's own wait for a wake-up."""
    return f"errand:{queue}:bell:{worker}"


def paused(queue: str) -> str:
    """Exists while nothing is claimed from the queue."""
    return f"errand:{queue}:paused"


def cancels(queue: str) -> str:
    """Hash: id of a running job that somebody has asked to cancel → the token of its lease then.

    What is pushed to the owner may be lost. `*` instead of a token: the next claim is to end it.
    """
    return f"errand:{queue}:cancels"


def idempotency(queue: str, key: str) -> str:
    """What the first request under that key was answered: `due fingerprint enqueued_at id …`, a line, and a memo."""
    return f"errand:{queue}:idempotency:{key}"


def in_flight(queue: str, key: str) -> str:
    """Exists while the first request under that key is coming in."""
    return f"errand:{queue}:in-flight:{key}"


def unique(queue: str, type_name: str, key: str) -> str:
    """The job that holds a unique key: `end ID` until that job ends, `for ID` until the marker expires."""
    return f"errand:{queue}:unique:{type_name}:{key}"


def cancel_calls(queue: str) -> str:
    """Channel: ids of running jobs that are to be cancelled, for the workers of the queue."""
    return f"errand:{queue}:cancel"


def dead(queue: str) -> str:
    """Sorted set: the entries of dead jobs (`dead_entry`), score = when they died in ms of the server's clock."""
    return f"errand:{queue}:dead"


def dead_by_group(queue: str) -> str:
    """Sorted set: the same entries in the order of their bytes, so that jobs of one type and error lie together."""
    return f"errand:{queue}:dead-by-group"


def dead_hooks(queue: str) -> str:
    """Sorted set: ids of dead jobs whose hooks are still to be called, score = from when on another worker may do it,
    in ms of the server's clock.
    """
    return f"errand:{queue}:dead-hooks"


def ended(queue: str) -> str:
    """Set: the names of the queue's indexes of ended jobs (`ended_name`), each of which has its key behind this one."""
    return f"errand:{queue}:ended"


def ended_index(queue: str, name: str) -> str:
    """Sorted set: ids of the jobs that ended so, score = when, in ms of the server's clock, µs behind the point."""
    return f"{ended(queue)}:{name}"


def counters(queue: str) -> str:
    """Hash: how many attempts ended how, and histograms of their latencies."""
    return f"errand:{queue}:counters"


def minutes(queue: str) -> str:
    """Hash: `minute outcome` → how many attempts ended so in it, of the last fifteen; minutes since the epoch."""
    return f"errand:{queue}:minutes"


def day_counts(queue: str) -> str:
    """The beginning of the names of strings that hold the counters of each minute; see `minute_counts`."""
    return f"errand:{queue}:day:1"


def hour_counts(queue: str, hour: int) -> str:
    """String: the counters of each minute of that hour, counted in hours since the epoch."""
    return f"{day_counts(queue)}:{hour}"


def events(queue: str) -> str:
    """Channel: each message holds changes of state, a line `status id` each.

    If the queue is watched: a line `@channel`, then of each change a line `position JSON`, as in the history.
    """
    return f"errand:{queue}:events"


def watched(queue: str) -> str:
    """Since which position of the history no change is missing; exists while somebody watches the queue."""
    return f"errand:{queue}:watched"


def history(queue: str) -> str:
    """Stream: the latest changes of a queue that is watched; each has in `change` a JSON array, or nothing."""
    return f"errand:{queue}:history"


def schedule(schedule_id: str) -> str:
    """Hash: a schedule's definition, and what became of its times."""
    return f"errand:schedule:{schedule_id}"


def webhook_line(endpoint_id: str) -> str:
    """Sorted set: the messages to an ordered endpoint that have not ended; score = when they joined, in µs."""
    return f"errand:webhooks:line:{endpoint_id}"


def webhook_line_jobs(endpoint_id: str) -> str:
    """Hash: message id → its job, as far as that is known."""
    return f"errand:webhooks:line-jobs:{endpoint_id}"


def webhook_pace(endpoint_id: str) -> str:
    """When an endpoint with a rate has, at that, taken all that was let through, in µs since the epoch."""
    return f"errand:webhooks:pace:{endpoint_id}"


def webhook_attempts(endpoint_id: str) -> str:
    """Stream: the latest attempts to deliver to an endpoint; each has in `attempt` its JSON."""
    return f"errand:webhooks:attempts:{endpoint_id}"


def webhook_endpoint(endpoint_id: str) -> str:
    """Hash: an endpoint as JSON, secrets included, and its revision."""
    return f"errand:webhooks:endpoint:{endpoint_id}"


def rate_limit(client: str) -> str:
    """When the client's bucket of requests will be full again, in us; a client is a key's hash or an address."""
    return f"errand:rate:{client}"


def types(queue: str, job_ids: Iterable[str] = ()) -> dict[str, str]:
    """The type that Redis has of each key of that queue, of those that the installation has once, and of these jobs;
    `repair.lua` knows seven of them by their order.
    """
    own = {
        queue: "zset",
        running(queue): "hash",
        ended(queue): "set",
        counters(queue): "hash",
        minutes(queue): "hash",
        SCHEDULES: "zset",
        WEBHOOK_ENDPOINTS: "zset",
        workers(queue): "zset",
        reports(queue): "hash",
        wake(queue): "list",
        paused(queue): "string",
        cancels(queue): "hash",
        isolated(queue): "hash",
        held_slots(queue): "hash",
        lanes(queue): "set",
        **{lane(queue, priority): "zset" for priority in range(1, 10)},
        clock_set(queue): "string",
        dead(queue): "zset",
        dead_by_group(queue): "zset",
        dead_hooks(queue): "zset",
        watched(queue): "string",
        history(queue): "stream",
        needed(queue): "set",
        groups(queue): "set",
        ABORT: "zset",
        WEBHOOK_ENDPOINTS_REVISION: "string",
        WEBHOOK_THROTTLED: "hash",
        WEBHOOK_FAILING: "hash",
        WEBHOOK_SENT: "stream",
        WEBHOOK_LISTENED: "string",
        BULK_RUNS: "zset",
        DASHBOARD_SECRET: "string",
        JOB_TYPES: "hash",
        SUPPRESSIONS: "hash",
        SUPPRESSED_AT: "zset",
        **{audit(kind): "stream" for kind in ("changed", "refused", "reported")},
    }
    of_jobs = {
        name(job_id): kind
        for job_id in job_ids
        for name, kind in {
            **dict.fromkeys((body, lease, tries, result, progress, put_back), "string"),
            attempts: "list",
            once: "hash",
            needs: "hash",
            needed_by: "set",
            children: "zset",
        }.items()
    }
    return own | of_jobs
