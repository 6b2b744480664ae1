"""OpenTelemetry's current context, kept so that what is entered for a job is made once something asks for it.

To make and enter it is a tenth of what a no-op job costs, and most jobs do nothing that would look at it.
"""

from __future__ import annotations

import contextvars
from contextvars import ContextVar, Token
from typing import Protocol

from opentelemetry import context as otel_context
from opentelemetry.context import Context
from opentelemetry.context.context import _RuntimeContext
from opentelemetry.context.contextvars_context import ContextVarsRuntimeContext

from errand.tracing.attempts import OfAttempt


class Makes(Protocol):
    """Something within which others are."""

    def in_context(self) -> Context:
        """OpenTelemetry's context of what is within it."""


class Later(Context):
    """What is entered in place of a context that is made later, if at all."""

    __slots__ = ("of",)

    def __init__(self, of: Makes) -> None:
        self.of = of


class Lazily(_RuntimeContext):
    """OpenTelemetry's current context. That of an attempt in an unsampled trace is not even entered."""

    def __init__(self, kept: ContextVar[Context]) -> None:
        self.kept = kept
        self.nothing = contextvars.Context().run(kept.get)
        """Is there if nothing has been entered, or but an attempt in an unsampled trace."""

    def get_current(self) -> Context:
        context = self.kept.get()
        if context is self.nothing:
            of_attempt: Context | None = None if OfAttempt.under_way.get(None) is None else OfAttempt.context()
            return context if of_attempt is None else of_attempt
        return context.of.in_context() if type(context) is Later else context

    def attach(self, context: Context) -> Token[Context]:
        return self.kept.set(context)

    def detach(self, token: Token[Context]) -> None:
        self.kept.reset(token)


def _lazily() -> Lazily | None:
    """Has OpenTelemetry's context kept so; None if that is another than its own, how it is kept may be anybody's."""
    runtime = getattr(otel_context, "_RUNTIME_CONTEXT", None)
    kept = getattr(runtime, "_current_context", None) if type(runtime) is ContextVarsRuntimeContext else None
    if not isinstance(kept, ContextVar):
        return None
    lazily = Lazily(kept)
    otel_context._RUNTIME_CONTEXT = lazily
    return lazily


LAZILY = _lazily()
