"""Delivers one event to one receiver: signs it, posts it when its turn has come, and decides by the answer."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, TypedDict
from urllib.parse import urlsplit

from pydantic import BaseModel
from pydantic_core import to_json

from errand.extras import needs
from errand.job.context import Context
from errand.job.control import Fail, Retry, Snooze
from errand.job.retry_policy import Delays
from errand.settings import WEBHOOK_QUEUE, Settings
from errand.tracing import current
from errand.webhooks.made_attempt import MadeAttempt
from errand.webhooks.post_fault import NotTried, PostFault
from errand.webhooks.retry_after import retry_after_s
from errand.webhooks.schedule import RETRY_AFTER_CAP_S, SCHEDULE_S
from errand.webhooks.secret import installation_secret
from errand.webhooks.target import Target, target_of_url
from errand.webhooks.turns.breaker import Breakers
from errand.webhooks.turns.few_at_once import FewAtOnce
from errand.webhooks.turns.receivers import Limit, Receivers
from errand.wire import keys

if TYPE_CHECKING:
    from errand.webhooks.endpoints import EndpointJournal, EndpointLines, EndpointPace, EndpointTargets
    from errand.webhooks.post import HttpAnswer, Poster
    from errand.webhooks.turns.waiting import WaitingDeliveries


TEXT_LIMIT_CHARS = 1024
"""Of the body of an answer that is kept with a delivery that succeeded."""


LOOKED_UP_AGAIN_S = (5.0, 15.0)
"""When a delivery is made that could not have its host's name looked up; name servers are waited for about as long."""


PUT_BACK_IN_A_TURN, FAULTS_IN_A_TURN = 25, 10
"""Of the event loop: two or three milliseconds. All others start as they come: in smaller groups each costs more."""


class Delivery(BaseModel):
    """What the receiver answered, and how long it took."""

    status: int
    duration_s: float
    remote: str = ""
    """Address and port of the receiver."""
    timings_ms: dict[str, float] = {}
    """The phases: dns, connect (TLS included), wait (until the status line), read."""
    body: str = ""
    """The start of the answer's body."""

    @classmethod
    def of(cls, answer: HttpAnswer, target: Target) -> Delivery:
        """From the answer of that receiver."""
        return cls(
            status=answer.status,
            duration_s=round(sum(answer.timings_ms.values()) / 1000, 3),
            remote=answer.remote,
            timings_ms=answer.timings_ms,
            body=target.readable(answer.body, limit_chars=TEXT_LIMIT_CHARS),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Deliverer:
    """Opened once in a worker; `ctx.use(deliverer)` in a job."""

    poster: Poster
    secrets: tuple[str, ...]
    """The installation's own, the present one first; the others are on their way out."""
    receivers: Receivers
    host_limit: int
    """How many deliveries one host may have at once."""
    breakers: Breakers
    targets: EndpointTargets | None = None
    journal: EndpointJournal | None = None
    pace: EndpointPace | None = None
    lines: EndpointLines | None = None
    waiting: WaitingDeliveries | None = None
    """None, as the targets and the journal, if the settings name no Redis."""
    put_backs: FewAtOnce = field(default_factory=partial(FewAtOnce, PUT_BACK_IN_A_TURN))
    faults: FewAtOnce = field(default_factory=partial(FewAtOnce, FAULTS_IN_A_TURN))

    def to_url(self, url: str) -> Target:
        """A receiver that the job names itself."""
        return target_of_url(url, secrets=self.secrets)

    async def to_endpoint(self, endpoint_id: str) -> Target:
        """An endpoint as it is now, whatever it was when the event was put. Raises Cancel if it receives nothing."""
        assert self.targets is not None, "a worker knows its Redis"
        return await self.targets.of(endpoint_id)

    async def deliver(self, ctx: Context, target: Target, event: Mapping[str, Any], *, webhook_id: str) -> Delivery:
        """Posts `event` as JSON, signed.

        Raises Fail if the receiver answers 410 (no more events), if the address in its URL is refused, or if its
        schedule has ended; Retry for any other answer but a 2xx, whose wait is no shorter than what the receiver asks
        for; Snooze if it is busy, or if there is no room to look up its name.
        """
        made = MadeAttempt(ctx=ctx, target=target, event=str(event["type"]), webhook_id=webhook_id)
        try:
            made.answer = await self._post(made, to_json(event))
            ctx.count(f"posts:{made.answer.status // 100}xx")
            if not 200 <= made.answer.status < 300:
                made.asked_s = retry_after_s(made.answer.header("retry-after"), now=datetime.now(UTC))
                _check_taken(ctx, target, made.answer, asked_s=made.asked_s)
        except PostFault as fault:
            await self.faults.turn()
            ctx.count(f"posts:{fault.kind}")
            made.fault, made.error = fault.kind, _after_fault(ctx, target, fault)
            await self._note(made)
            raise made.error from None
        except (Fail, Retry) as error:
            made.fault, made.error = "status", error
            await self._note(made)
            raise
        await self._note(made)
        return Delivery.of(made.answer, target)

    async def _post(self, made: MadeAttempt, body: bytes) -> HttpAnswer:
        """One attempt, when its turn has come. Raises PostFault, Snooze."""
        limits = made.target.limits(of_host=self.host_limit)
        if self._are_put_back(made.target, limits):
            await self.put_backs.turn()
        waits = False
        try:
            return await self._in_turn(made, body, limits)
        except Snooze as put_back:
            waits = bool(put_back.waits_for)
            if self.waiting is not None:
                self.waiting.note(put_back)
            raise
        finally:
            if self.waiting is not None and not waits:
                self.waiting.freed(limits)

    def _are_put_back(self, target: Target, limits: tuple[Limit, ...]) -> bool:
        """Others to the same receiver were, just before: a claim may bring hundreds of these."""
        fails = target.endpoint_id is not None and self.breakers.admits(target.endpoint_id) == 0
        return fails or self.receivers.puts_back(limits[0][0])

    async def _in_turn(self, made: MadeAttempt, body: bytes, limits: tuple[Limit, ...]) -> HttpAnswer:
        target = made.target
        async with self.receivers.turn(*limits):
            # inside: much may have failed while this one waited for its turn
            with self.breakers.attempt(target.endpoint_id) as attempt:
                await self._wait_at_endpoint(made)
                now = datetime.now(UTC)
                headers = made.sent = {**target.signer.headers(made.webhook_id, body, now=now), **target.headers}
                try:
                    with current.span("POST", _request_to(target.url) if current.is_on() else None, kind="client"):
                        answer = await self.poster.post(
                            target.url, body=body, headers=headers, deadline_s=target.timeout_s, tls=target.tls
                        )
                        current.note({"http.response.status_code": answer.status})
                except NotTried as reason:
                    raise _put_back(reason) from None
                except PostFault:
                    attempt.ok = False
                    raise
                attempt.ok = answer.status < 500 and answer.status != 429
            if 200 <= answer.status < 300:
                await self._leave_line(made)  # before the turn of the next
            return answer

    async def _wait_at_endpoint(self, made: MadeAttempt) -> None:
        """For its place in line, and for the rate. Raises Snooze."""
        target = made.target
        if self.lines is not None and target.endpoint_id and target.ordered:
            await self.lines.wait(target.endpoint_id, made.webhook_id, job_id=made.ctx.job_id)
        if self.pace is not None and target.endpoint_id and target.rate_per_s:
            await self.pace.take(target.endpoint_id, rate_per_s=target.rate_per_s)

    async def _leave_line(self, made: MadeAttempt) -> None:
        target = made.target
        if self.lines is not None and target.endpoint_id and target.ordered:
            await self.lines.leave([target.endpoint_id], made.webhook_id)

    async def _note(self, made: MadeAttempt) -> None:
        if made.is_last:
            await self._leave_line(made)
        if self.journal is not None:
            await self.journal.note(made)


def _request_to(url: str) -> dict[str, str | int]:
    """What a span says of the request: not the path and the query, which may have a secret of the receiver."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return {"http.request.method": "POST", "server.address": parts.hostname or "", "server.port": port}


def _put_back(reason: NotTried) -> Snooze:
    """Spread, so that those which came at once do not come again at once."""
    return Snooze(str(reason), after_s=random.uniform(*LOOKED_UP_AGAIN_S), code="lookups_busy")  # noqa: S311  # no secret


def _check_taken(ctx: Context, target: Target, answer: HttpAnswer, *, asked_s: float) -> None:
    """Standard Webhooks 1.0: 2xx is success, 410 says stop, anything else is tried again."""
    said = target.readable(answer.body, limit_chars=200).strip()
    reason = f"the receiver answered {answer.status}" + (f": {said}" if said else "")
    if answer.status == 410:
        raise Fail(reason, about=target.endpoint_id or "")
    raise _again(ctx, target, reason, at_least_s=asked_s)


def _after_fault(ctx: Context, target: Target, fault: PostFault) -> Fail | Retry:
    reason = f"{fault.kind}: {fault}"
    if fault.is_final:
        return Fail(reason, about=target.endpoint_id or "")
    return _again(ctx, target, reason)


def _again(ctx: Context, target: Target, reason: str, *, at_least_s: float = 0.0) -> Fail | Retry:
    """The wait of the receiver's own schedule, or the end of it. Dead deliveries are apart by endpoint."""
    about = target.endpoint_id or ""
    if ctx.attempt > len(target.retry_s):
        return Fail(reason, about=about)
    if target.retry_s is SCHEDULE_S:
        return Retry(reason, at_least_s=at_least_s, about=about)
    own_s = Delays(target.retry_s, cap_s=max(target.retry_s)).delay_s(ctx.attempt)
    return Retry(reason, after_s=own_s, at_least_s=min(at_least_s, RETRY_AFTER_CAP_S), about=about)


class _OfEndpoints(TypedDict, total=False):
    """What a Deliverer has if it knows a Redis."""

    targets: EndpointTargets
    journal: EndpointJournal
    pace: EndpointPace
    lines: EndpointLines
    waiting: WaitingDeliveries


@asynccontextmanager
async def deliverer(settings: Settings) -> AsyncIterator[Deliverer]:
    """The signing secret, the endpoints and a guarded client. On a developer's machine also the webhook sink, the one
    address of that machine that the guard lets through."""
    with needs("webhooks"):
        from errand.resources.guard import AddressGuard, UrlPolicy
        from errand.webhooks.post import EgressProxy, Poster
        from errand.webhooks.sink import opened_sink

    slots = settings.queue_shares([WEBHOOK_QUEUE]).get(WEBHOOK_QUEUE, settings.webhook_concurrency)
    async with AsyncExitStack() as stack:
        allowed = await stack.enter_async_context(opened_sink(settings))
        guard = AddressGuard(settings.webhook_allow_networks, allow_endpoints=allowed, policy=UrlPolicy.of(settings))
        url = settings.webhook_proxy
        proxy = EgressProxy.at(url.get_secret_value(), direct=allowed) if url else None
        receivers = Receivers(slots=slots)
        breakers = Breakers(receivers.far_off)
        of_endpoints = await stack.enter_async_context(_opened_endpoints(settings, receivers, breakers))
        yield Deliverer(
            poster=await stack.enter_async_context(Poster.open(guard, proxy=proxy)),
            secrets=(installation_secret(settings), *(old.get_secret_value() for old in settings.webhook_old_secrets)),
            receivers=receivers,
            host_limit=settings.webhook_host_concurrency,
            breakers=breakers,
            **of_endpoints,
        )


@asynccontextmanager
async def _opened_endpoints(
    settings: Settings, receivers: Receivers, breakers: Breakers
) -> AsyncIterator[_OfEndpoints]:
    """Nothing if the settings name no Redis, as in a test of a job function."""
    from errand.leases.groups import groups_in
    from errand.queue.queue import Queue
    from errand.redis.cluster import partitions
    from errand.redis.outage import REPLY_TIMEOUT_S
    from errand.webhooks import endpoints as room
    from errand.webhooks.turns.waiting import WaitingDeliveries

    if settings.redis_url is None:
        yield {}
        return
    url, number = settings.redis_url.get_secret_value(), settings.queue_partitions
    async with partitions.opened(url, number=number, reply_timeout_s=REPLY_TIMEOUT_S) as found:
        redis = found.first
        endpoints = room.Endpoints(redis)
        attempts = room.EndpointAttempts(redis, limit=settings.webhook_attempts_kept)
        notices = room.EndpointNotices(
            endpoints, Queue(redis, name=WEBHOOK_QUEUE, ended_ttl_s=settings.result_ttl_s, limit=settings.queue_limit)
        )
        journal = room.EndpointJournal(endpoints, notices, room.EndpointHealth(redis, endpoints, notices), attempts)
        waiting = WaitingDeliveries(
            groups_in(found.clients, queue=keys.queue(WEBHOOK_QUEUE)),
            endpoints,
            receivers=receivers,
            breakers=breakers,
            host_limit=settings.webhook_host_concurrency,
        )
        try:
            async with waiting.looked_after():
                yield {
                    "targets": room.EndpointTargets(endpoints),
                    "journal": journal,
                    "pace": room.EndpointPace(redis),
                    "lines": room.EndpointLines(found),
                    "waiting": waiting,
                }
        finally:
            await journal.close()
