"""Switches traces on: by the standard variables for Errand's own processes, or as a program has configured them."""

from __future__ import annotations

import os
import sys
from importlib.metadata import entry_points

import structlog

from errand.tracing import current

log = structlog.get_logger("errand.tracing")

ASKED_BY = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_TRACES_EXPORTER")
"""Variables of OpenTelemetry of which one is set if spans are to go somewhere."""


def by_environment(program: str) -> None:
    """Has this process export its spans if OpenTelemetry's standard variables ask for it; `program` is its name there.

    `opentelemetry-instrument` may have configured it before; then nothing is configured twice. Exits with one line if
    OpenTelemetry cannot use the value of a variable.
    """
    if not _is_asked_for():
        return
    try:
        _configure(program)
        by_program()
    except ImportError as error:
        log.warning("OTEL_… asks for traces: pip install 'errand[otel]'", error=str(error))
    except Exception as error:  # noqa: BLE001  # the SDK and each exporter raise what they like
        raise SystemExit(f"settings: {_in_one_line(error)} ({_names_set()})") from None


def _in_one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _names_set() -> str:
    """The names alone: a header may be a password."""
    return ", ".join(sorted(name for name in os.environ if name.startswith("OTEL_")))


def by_program() -> None:
    """Makes spans if this program has configured OpenTelemetry's SDK by now; imports nothing if it has not."""
    if current.is_on() or "opentelemetry.sdk.trace" not in sys.modules:
        return
    from opentelemetry import trace

    provider = trace.get_tracer_provider()
    if not isinstance(provider, trace.ProxyTracerProvider | trace.NoOpTracerProvider):
        from errand.tracing.spans import Spans

        current.use(Spans(provider))


def _is_asked_for() -> bool:
    if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    exporter = os.environ.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    return exporter != "none" and any(os.environ.get(name) for name in ASKED_BY)


def _configure(program: str) -> None:
    """A provider by the SDK's own reading of its variables: resource, sampler, limits, batches."""
    from opentelemetry import trace
    from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    from errand.tracing.resource import HashedOnce

    if not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        return
    is_named = SERVICE_NAME in OTELResourceDetector().detect().attributes
    resource = Resource.create({} if is_named else {SERVICE_NAME: f"errand-{program}"})
    provider = TracerProvider(resource=HashedOnce(resource))
    for name in _exporters():
        found = list(entry_points(group="opentelemetry_traces_exporter", name=name))
        if not found:
            raise ImportError(f"no exporter {name} is installed")
        provider.add_span_processor(BatchSpanProcessor(found[0].load()()))
    trace.set_tracer_provider(provider)


def _exporters() -> list[str]:
    """By the names of their entry points; `otlp` is one of two, and `errand[otel]` brings that by HTTP."""
    protocol = os.environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL")
    otlp = "otlp_proto_grpc" if protocol == "grpc" else "otlp_proto_http"
    names = os.environ.get("OTEL_TRACES_EXPORTER") or "otlp"
    return [otlp if name == "otlp" else name for name in map(str.strip, names.split(","))]
