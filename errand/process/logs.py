"""Gives every log line of a process one form, whether Errand, uvicorn or Arq writes it."""

from __future__ import annotations

import logging
import sys
import traceback
from types import TracebackType
from typing import Any, Literal

import structlog

from errand.secrets import redaction
from errand.tracing import current

CHATTY = ("arq.worker", "mail.log")
"""Loggers whose ordinary lines repeat Errand's, or are useless; their warnings are kept."""


TRACES = ("exception", "stack")
"""Fields of many lines."""


def configure(*, level: str, form: Literal["console", "json"], process: int | None = None) -> None:
    """Sends structlog and the standard library's loggers to standard output in one form.

    Each line says which `process` of several it is of, if there is a number.
    """
    shared: list[Any] = [
        # what a hook has bound for its attempt
        structlog.contextvars.merge_contextvars,
        _with_trace,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        *([] if process is None else [_of_process(process)]),
    ]
    renderer: Any = (
        structlog.processors.JSONRenderer()
        if form == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stdout.isatty(), pad_event_to=0, pad_level=False, sort_keys=False)
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    remove_meta = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    written = [renderer, _without_secrets] if form == "json" else [_in_one_line, renderer, _without_secrets]
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=[remove_meta, *written])
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in CHATTY:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    sys.excepthook = _report_exception
    logging.getLogger("arq.worker").addFilter(_is_not_an_attempt)


def _with_trace(_: Any, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """The trace, and the request, in which the line is logged; what the line says itself stands."""
    return {**current.ids(), **event} if current.is_on() else event


def _of_process(process: int) -> structlog.typing.Processor:
    def add(_: Any, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        return {**event, "process": process}

    return add


def _in_one_line(_: Any, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """A stock producer names its jobs as it likes: a line break in a name must not forge a line, nor a colour hide one.

    JSON escapes them itself. Tracebacks keep their lines.
    """
    return {
        name: repr(value) if isinstance(value, str) and name not in TRACES and not value.isprintable() else value
        for name, value in event.items()
    }


def _without_secrets(_: Any, __: str, line: Any) -> str:
    """Hides secrets in the finished line: a library may put a URL into an error, or a server the command it refuses."""
    return redaction.hide(str(line))


def _report_exception(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Prints what Python prints when an exception ends the process, without secrets."""
    sys.stderr.write(redaction.hide("".join(traceback.format_exception(kind, error, trace))))


def _is_not_an_attempt(record: logging.LogRecord) -> bool:
    """False for Arq's lines about an attempt: they repeat Errand's, with every argument of the job in them."""
    return not (isinstance(record.msg, str) and record.msg.startswith("%6.2fs"))
