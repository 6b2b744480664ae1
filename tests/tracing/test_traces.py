"""Traces from a request to what its job does, in a collector in memory."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from arq.connections import ArqRedis
from opentelemetry import baggage, trace
from opentelemetry.context import Context as OtelContext
from opentelemetry.context import attach, detach
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased
from opentelemetry.trace import SpanContext
from pydantic import BaseModel

from errand import Context, Delays, Retry, job
from errand.monitor.job_snapshot import read_job
from errand.queue.queue import Queue
from errand.tracing import current
from errand.tracing.spans import Spans
from errand.tracing.unsampled import parent_in
from errand.wire.origin import JobOrigin
from jobs.welcome_email import welcome_email
from settings import Settings
from tests.conftest import OpenClient, RunWorker, make_settings
from tests.mail.letters import SENDER
from tests.peers import SmtpReceiver
from tests.waiting import eventually
from tests.worker.test_worker import ended

REQUEST_ID = "9f2c-1"
NOWHERE = OtelContext()


class Nothing(BaseModel):
    """No args."""


@job()
async def follower(ctx: Context, args: Nothing) -> None:
    """Follows the other."""


@job(max_tries=3, retry=Delays([0.01]))
async def twice(ctx: Context, args: Nothing) -> None:
    """Succeeds at the second attempt, with a job that follows."""
    if ctx.attempt == 1:
        raise Retry("not yet")
    ctx.add_task(follower)


@pytest.fixture
def settings(tmp_path: Path, mail_server: SmtpReceiver, redis_url: str) -> Settings:
    return make_settings(tmp_path, redis_url=redis_url, smtp_url=mail_server.url, mail_from=SENDER)


@pytest.fixture
def queue(redis: ArqRedis) -> Queue:
    return Queue(redis, ended_ttl_s=60)


@pytest.fixture
def collected(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """Every span of this process; for Errand, and for FastAPI, which asks for the program's provider."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    current.use(Spans(provider))
    yield exporter
    current.use(None)


def named(spans: InMemorySpanExporter, name: str) -> list[ReadableSpan]:
    return [span for span in spans.get_finished_spans() if span.name == name]


def parent_of(span: ReadableSpan, spans: InMemorySpanExporter) -> ReadableSpan | None:
    above = span.parent
    return next((one for one in spans.get_finished_spans() if above and one.context.span_id == above.span_id), None)


def way_up(span: ReadableSpan, spans: InMemorySpanExporter) -> list[str]:
    """The names of the spans above it, the nearest first."""
    above = parent_of(span, spans)
    return [] if above is None else [above.name, *way_up(above, spans)]


async def test_a_trace_leads_from_the_request_to_the_mail_server(
    open_client: OpenClient, redis: ArqRedis, run_worker: RunWorker, collected: InMemorySpanExporter
) -> None:
    async with open_client() as client, run_worker([welcome_email]):
        answer = await client.post(
            "/v1/jobs/welcome_email",
            json={"to": "ada@example.com", "name": "Ada"},
            headers={"X-Request-ID": REQUEST_ID},
        )
        put = answer.json()
        assert (await ended(redis, put["id"])).status == "succeeded"
        seen = (await client.get(f"/v1/jobs/{put['id']}")).json()
    (sent,) = named(collected, "smtp send")
    attempt, enqueue, request = way_up(sent, collected)
    assert (attempt, enqueue) == ("process mail:welcome_email", "enqueue mail:welcome_email")
    assert request.startswith("POST")
    assert sent.attributes is not None and sent.attributes["smtp.response.code"] == 250
    trace_id = f"{sent.context.trace_id:032x}"
    for view in (put, seen):
        assert (view["trace_id"], view["request_id"]) == (trace_id, REQUEST_ID)


async def test_no_span_has_a_url_that_is_as_good_as_a_key(
    open_client: OpenClient, tmp_path: Path, redis_url: str, collected: InMemorySpanExporter
) -> None:
    signing = make_settings(tmp_path, redis_url=redis_url, file_url_keys="f" * 32)
    async with open_client(signing) as client:
        link = (await client.post("/v1/webhook-portal-links", json={"tenant": "acme"})).json()["url"]
        source = {"preset": "avatar", "source_url": "https://images.example/cat.jpg"}
        image = (await client.post("/v1/image-urls", json=source)).json()["url"].replace("avatar", "other")
        upload = (await client.post("/v1/uploads", json={"bytes": 3})).json()["url"]
        file = "/v1/files/resize/1/a.png?expires=1&signature=of-a-file"
        for url in (link, link.replace("?", "/events?"), image, upload, file):
            await client.get(url)
    noted = [str(value) for span in collected.get_finished_spans() for value in (span.attributes or {}).values()]
    assert "/v1/uploads" in noted
    secrets = (link.partition("link=")[2], image.split("/")[3], upload.rpartition("/")[2], "of-a-file")
    assert [secret for secret in secrets if any(secret in text for text in noted)] == []


async def test_later_attempts_and_jobs_that_follow_have_traces_of_their_own_with_links(
    redis: ArqRedis, queue: Queue, run_worker: RunWorker, collected: InMemorySpanExporter
) -> None:
    async with run_worker([twice, follower]):
        job_id = (await queue.enqueue("twice", {})).job_id
        await ended(redis, job_id)

        async def followed() -> list[ReadableSpan]:
            return named(collected, "process default:follower")

        (after,) = await eventually(followed)
    (put,) = named(collected, "enqueue default:twice")
    first, second = named(collected, "process default:twice")
    assert first.parent is not None and first.parent.span_id == put.context.span_id
    assert first.status.description == "Retry: not yet"
    assert second.parent is None
    assert [link.context.span_id for link in second.links] == [put.context.span_id]
    (added,) = named(collected, "enqueue default:follower")
    assert way_up(added, collected) == ["process default:twice"]
    assert after.parent is None
    assert [link.context.span_id for link in after.links] == [added.context.span_id]
    traces = {span.context.trace_id for span in (first, second, after)}
    assert len(traces) == 3
    job_seen = await read_job(redis, job_id)
    assert job_seen is not None and job_seen.origin.trace_id == f"{put.context.trace_id:032x}"


async def test_what_is_logged_in_an_attempt_names_trace_and_request(
    redis: ArqRedis, queue: Queue, run_worker: RunWorker, collected: InMemorySpanExporter
) -> None:
    seen: list[dict[str, str]] = []

    @job()
    async def looks(ctx: Context, args: Nothing) -> None:
        """Notes what a line that is logged now would have."""
        seen.append(current.ids())

    entered = current.REQUEST_ID.set(REQUEST_ID)
    put = await queue.enqueue("looks", {})
    current.REQUEST_ID.reset(entered)
    async with run_worker([looks]):
        await ended(redis, put.job_id)
    (attempt,) = named(collected, "process default:looks")
    context = attempt.context
    ids = {"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}", "request_id": REQUEST_ID}
    assert seen == [ids]


@pytest.fixture
def unsampled(collected: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """Traces are on, and none is sampled."""
    provider = TracerProvider(sampler=ParentBased(ALWAYS_OFF))
    provider.add_span_processor(SimpleSpanProcessor(collected))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    current.use(Spans(provider))
    return collected


@pytest.mark.parametrize("around", [NOWHERE, baggage.set_baggage("tenant", "acme", NOWHERE)], ids=["alone", "baggage"])
async def test_a_trace_that_is_not_sampled_is_handed_on_and_nothing_of_it_is_recorded(
    redis: ArqRedis, queue: Queue, run_worker: RunWorker, unsampled: InMemorySpanExporter, around: OtelContext
) -> None:
    seen: list[SpanContext] = []

    @job()
    async def looks(ctx: Context, args: Nothing) -> None:
        """Notes whose child a span would be that began now, and begins one where every new trace is sampled."""
        seen.append(trace.get_current_span().get_span_context())
        assert dict(baggage.get_all()) == dict(baggage.get_all(around))
        entered = attach(NOWHERE)
        assert not trace.get_current_span().get_span_context().is_valid, "whoever wants a trace of its own begins one"
        detach(entered)
        with all_traces.get_tracer("library").start_as_current_span("call") as span:
            seen.append(span.get_span_context())

    all_traces = TracerProvider(sampler=ParentBased(ALWAYS_ON))
    all_traces.add_span_processor(SimpleSpanProcessor(unsampled))
    put = await queue.enqueue("looks", {})
    if around:
        # the worker is part of a program that has entered something
        attach(around)
    async with run_worker([looks]):
        assert (await ended(redis, put.job_id)).status == "succeeded"
    job_seen = await read_job(redis, put.job_id)
    assert job_seen is not None and job_seen.origin.trace_id == f"{seen[0].trace_id:032x}"
    assert seen[0].is_valid and not seen[0].trace_flags.sampled
    assert seen[1].trace_id == seen[0].trace_id and not seen[1].trace_flags.sampled
    assert unsampled.get_finished_spans() == ()
    assert not trace.get_current_span().get_span_context().is_valid
    assert put.job_id.replace("-", "") == job_seen.origin.trace_id


@pytest.mark.parametrize(
    ("text", "is_left_out"),
    [
        (f"00-{'1' * 32}-{'2' * 16}-00", True),
        (f"00-{'1' * 32}-{'2' * 16}-02", True),
        (f"00-{'1' * 32}-{'2' * 16}-01", False),
        (f"00-{'1' * 32}-{'2' * 16}-03", False),
        ("nonsense", False),
    ],
)
def test_only_a_span_that_is_surely_not_sampled_is_left_out(text: str, is_left_out: bool) -> None:
    assert (parent_in(JobOrigin(parent={"traceparent": text}), job_id="a") is not None) == is_left_out
    assert parent_in(JobOrigin(parent={"traceparent": text, "tracestate": "a=b"}), job_id="a") is None


async def test_without_traces_and_request_ids_a_job_carries_nothing(redis: ArqRedis, queue: Queue) -> None:
    put = await queue.enqueue("twice", {})
    body = await redis.get(f"arq:job:{put.job_id}")
    assert body is not None and json.loads(body).keys() == {"t", "f", "a", "k", "et"}


@pytest.mark.parametrize(
    ("variables", "on"),
    [
        ({}, False),
        ({"OTEL_TRACES_EXPORTER": "none"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}, True),
    ],
)
def test_the_standard_variables_switch_a_process_on(variables: dict[str, str], on: bool) -> None:
    program = """
import json, sys
from errand.tracing import current, switch
switch.by_environment("worker")
from opentelemetry import trace
resource = getattr(trace.get_tracer_provider(), "resource", None)
named = resource and resource.attributes["service.name"]
print(json.dumps([current.is_on(), "opentelemetry.sdk.trace" in sys.modules, named]))
import os; sys.stdout.flush(); os._exit(0)  # without the last export: nobody is there
"""
    clean: dict[str, Any] = {"PATH": "", "PYTHONPATH": str(Path(__file__).parent.parent.parent), **variables}
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=clean, check=True)
    assert json.loads(run.stdout) == [on, on, "errand-worker" if on else None]


@pytest.mark.parametrize(
    ("variable", "value", "reason"),
    [
        ("OTEL_BSP_MAX_QUEUE_SIZE", "0", "max_queue_size must be a positive integer."),
        ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "many", "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT must be a non-negative integer"),
        ("OTEL_PROPAGATORS", "pigeon", "Propagator pigeon not found."),
    ],
)
def test_a_value_that_opentelemetry_cannot_use_stops_the_start_with_one_line(
    variable: str, value: str, reason: str
) -> None:
    program = 'from errand.tracing import switch; switch.by_environment("worker")'
    given = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_EXPORTER_OTLP_HEADERS": "key=secret"}
    clean = {"PATH": "", "PYTHONPATH": str(Path(__file__).parent.parent.parent), **given, variable: value}
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=clean, check=False)
    (line,) = run.stderr.splitlines()
    assert run.returncode == 1
    assert line.startswith("settings: ") and reason in line and variable in line and "secret" not in line
