"""Doctor's warnings for the overview: looked for once a minute at most, however many people look at it.

Only checks that cost Redis next to nothing: what the server says of itself, which rights its user has, and the types of
a hundred jobs of each queue. Storage and mail servers are `errand doctor`'s, as are checks whose answer stands on the
page already. A round trip is not judged either: what a busy API process measures is itself.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence

import structlog
from arq.connections import ArqRedis
from fastapi import FastAPI

from errand.doctor.examine import examine, installation_of
from errand.doctor.server_checks import Finding
from errand.http.shared import Shared

log = structlog.get_logger("errand.dashboard")

EVERY_S = 60.0

FIRST_S = 1.0
"""So long the first page waits; later ones show what was found before, while it is looked again."""

LEFT_OUT = frozenset(("workers", "paused", "round-trip"))


class Checkup:
    """What one API process knows."""

    def __init__(self, to: Shared) -> None:
        self._to = to
        self._found: Sequence[Finding] = ()
        self._looked_s = -math.inf
        self._looking: asyncio.Task[None] | None = None

    @property
    def redis(self) -> ArqRedis:
        """What is looked at."""
        return self._to.redis

    async def warnings(self) -> Sequence[Finding]:
        """The latest; none before the first look has ended, if that takes long."""
        if self._looking is None and time.monotonic() - self._looked_s > EVERY_S:
            self._looking = asyncio.create_task(self._look())
        if self._looking is not None and self._looked_s == -math.inf:
            await asyncio.wait({self._looking}, timeout=FIRST_S)
        return self._found

    async def _look(self) -> None:
        try:
            findings = await examine(self._to.clients, installation_of(self._to.settings, self._to.catalog))
            self._found = [each for each in findings if each.level == "warning" and each.check not in LEFT_OUT]
        except Exception:
            log.exception("doctor's checks failed; nothing else is affected")
        finally:
            self._looked_s, self._looking = time.monotonic(), None


def checkup_of(app: FastAPI, to: Shared) -> Checkup:
    """The one of this API process, which begins anew where the API has been opened again."""
    known: Checkup | None = getattr(app.state, "checkup", None)
    if known is None or known.redis is not to.redis:
        known = app.state.checkup = Checkup(to)
    return known
