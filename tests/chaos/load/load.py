"""A steady load through HTTP: what a mix says, as long as faults are made."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from random import Random
from typing import Any

import httpx

from tests.chaos.load import limited, roots
from tests.chaos.load.ledger import End, Job, Ledger, Request, Wish, set_mark
from tests.chaos.load.limited import Gathered, Limited, Repeated
from tests.chaos.load.mix import Mix
from tests.chaos.load.roots import Roots
from tests.pictures import image

REQUEST_LIMIT_S = 10.0
AT_ONCE = 200
"""Requests under way: when the API is slow or away the load does not pile up behind it."""
KEEP_ALIVE_S = 2.0
"""Well before the API ends an idle connection: a request must not meet a closing connection."""
BATCH_EVERY_S = 0.25
FAR_OFF_S = 3600


class Load:
    """Sends what a mix says until it is cancelled."""

    def __init__(self, *, api_url: str, hook_url: str, lease_s: float, mix: Mix, random: Random) -> None:
        self.ledger = Ledger()
        self._hook_url = hook_url
        self._lease_s = lease_s
        self._mix = mix
        self._random = random
        limits = httpx.Limits(max_connections=AT_ONCE, keepalive_expiry=KEEP_ALIVE_S)
        self._client = httpx.AsyncClient(base_url=api_url, timeout=REQUEST_LIMIT_S, limits=limits)
        self._photo, self._room = image(160, 120), asyncio.Semaphore(AT_ONCE)
        self._under_way: set[asyncio.Task[None]] = set()
        self._broken: list[BaseException] = []
        """Errors of the harness itself."""

    async def run_while(self, other: Awaitable[None]) -> None:
        """Sends for as long as `other` takes; returns when the last answer has come."""
        streams = [asyncio.create_task(self._stream(every_s, send)) for every_s, send in self._streams()]
        try:
            await other
        finally:
            for stream in streams:
                stream.cancel()
            await asyncio.gather(*streams, return_exceptions=True)
            await asyncio.gather(*self._under_way, return_exceptions=True)
            await self._client.aclose()
        if self._broken:
            raise self._broken[0]

    def _streams(self) -> list[tuple[float, Callable[[], Awaitable[None]]]]:
        mix = self._mix
        wanted = [
            (BATCH_EVERY_S, self._batch),
            (_every_s(mix.single), self._single),
            (_every_s(mix.cancelled), self._cancelled),
            (_every_s(mix.webhooks), self._webhook),
            (_every_s(mix.letters), self._letter),
            (_every_s(mix.images), self._image),
            (_every_s(mix.far_off), self._far_off),
            *self._controlled(),
        ]
        return [(every_s, send) for every_s, send in wanted if every_s]

    def _controlled(self) -> list[tuple[float, Callable[[], Awaitable[None]]]]:
        """Jobs that have others follow, and those whose starts are controlled."""
        mix, ask, random = self._mix, self._ask, self._random
        limits = Limited(ask, random, keyed_per_s=mix.keyed, paced_per_s=mix.paced)
        return [
            (mix.roots and roots.EVERY_S, Roots(ask, random, per_s=mix.roots, lease_s=self._lease_s).send),
            (mix.keyed and limited.EVERY_S, limits.send_keyed),
            (mix.paced and limited.EVERY_S, limits.send_paced),
            (mix.gathered and limited.EVERY_S, Gathered(ask, random, per_s=mix.gathered).send),
            (_every_s(mix.repeated), Repeated(ask, random, self.ledger).send),
        ]

    async def _stream(self, every_s: float, send: Callable[[], Awaitable[None]]) -> None:
        """One kind of request at its pace, whatever becomes of the ones before."""
        due_s = time.monotonic() + every_s * self._random.random()
        while True:
            await asyncio.sleep(max(due_s - time.monotonic(), 0))
            due_s = max(due_s + every_s, time.monotonic() - 1)
            if not self._room.locked():
                sending = asyncio.ensure_future(self._send(send))
                self._under_way.add(sending)
                sending.add_done_callback(self._sent)

    def _sent(self, sending: asyncio.Task[None]) -> None:
        self._under_way.discard(sending)
        if not sending.cancelled() and (error := sending.exception()):
            self._broken.append(error)

    async def _send(self, send: Callable[[], Awaitable[None]]) -> None:
        async with self._room:
            await send()

    # --- what is sent

    async def _batch(self) -> None:
        jobs = [self._noop(place) for place in range(round(self._mix.batched * BATCH_EVERY_S))]
        later = {"delay": f"{self._random.uniform(0.5, 5):.2f}"} if self._random.random() < 0.1 else {}
        await self._put("/v1/jobs/noop/batch", jobs, later, json=[job.args for job in jobs])

    async def _single(self) -> None:
        job = self._noop()
        await self._put("/v1/jobs/noop", [job], json=job.args)

    async def _cancelled(self) -> None:
        """Deferred, or started, for longer than its cancel is away."""
        job = Job("noop", {"run_s": self._lease_s})
        later = {"delay": f"{self._random.uniform(1, 6):.2f}"} if self._random.random() < 0.6 else {}
        ids = await self._put("/v1/jobs/noop", [job], later, json=job.args)
        await asyncio.sleep(self._random.uniform(0, 2))
        for job_id in ids:
            status, answer = await self._post(f"/v1/jobs/{job_id}/cancel")
            self.ledger.cancelled(job_id, status, answer)

    async def _far_off(self) -> None:
        job = Job("noop", {}, "pending")
        await self._put("/v1/jobs/noop", [job], {"delay": str(FAR_OFF_S)}, json=job.args)

    async def _webhook(self) -> None:
        kinds: list[tuple[dict[str, int], End]] = [
            ({}, "succeeded"),
            ({"refuse": 1}, "succeeded"),
            ({"gone": 1}, "failed"),
        ]
        data, end = self._random.choices(kinds, weights=[90, 7, 3])[0]
        job = Job("webhook", {"url": self._hook_url, "event": "chaos.sent", "data": {**data}}, end)
        await self._put("/v1/jobs/webhook", [job], json=job.args)

    async def _letter(self) -> None:
        kinds: list[tuple[str, End]] = [("now", "succeeded"), ("later", "succeeded"), ("never", "failed")]
        kind, end = self._random.choices(kinds, weights=[95, 2, 3])[0]
        address = f"{kind}-{self._random.getrandbits(60):x}@example.com"
        job = Job("welcome_email", {"to": address}, end)
        await self._put("/v1/jobs/welcome_email", [job], json=job.args)

    async def _image(self) -> None:
        doomed = self._random.random() < 0.05
        job = Job("resize", {}, "failed" if doomed else "succeeded")
        # cut short: what is no image at all is refused at the door
        body = self._photo[: len(self._photo) // 3] if doomed else self._photo
        await self._put("/v1/jobs/resize", [job], file=body, data={"args": json.dumps({"sizes": [{"width": 64}]})})

    def _noop(self, place: int = 0) -> Job:
        """One of many: most do nothing, some take time, some longer than a lease, some fail."""
        if self._random.random() < self._mix.plain_share:
            return Job("noop", {})
        kind = self._random.random()
        if kind < 0.1:
            return Job("noop", {"doomed": True}, "failed")
        if kind < 0.4:
            return Job("noop", {"fail_first": self._random.randint(1, 2)})
        longest_s = 1.5 * self._lease_s if kind > 0.95 else 0.4 * self._lease_s
        return Job("noop", {"run_s": round(self._random.uniform(0.05, longest_s), 3)})

    # --- how it is sent

    async def _put(self, path: str, jobs: list[Job], query: Mapping[str, str] | None = None, **body: Any) -> list[str]:
        """Posts jobs; the ids that were accepted."""
        _, ids = await self._ask(path, jobs, query, **body)
        return ids

    async def _ask(
        self,
        path: str,
        jobs: list[Job],
        query: Mapping[str, str] | None = None,
        *,
        file: bytes | None = None,
        **body: Any,
    ) -> tuple[Request, list[str]]:
        """Posts jobs, each marked with its request; that request, and the ids that were accepted."""
        request = Request(len(self.ledger.requests), jobs, time.time())
        self.ledger.requests.append(request)
        for at, job in enumerate(jobs):
            set_mark(job, request.number, at)
        if file is not None:
            body["files"] = {"file": (f"{request.number}.jpg", file)}
        request.status, answer = await self._post(path, params=query, request=request, **body)
        request.took_s = time.time() - request.sent_s
        if request.status != 202 and not request.is_equal:
            return request, []
        ids: list[str] = answer["ids"] if path.endswith("/batch") else [answer["id"]]
        for job_id, job in zip(ids, jobs, strict=True):
            self.ledger.accepted[job_id] = Wish(job.type, job.end, time.time(), answer.get("durability", ""))
        return request, ids

    async def _post(self, path: str, *, request: Request | None = None, **body: Any) -> tuple[int | None, Any]:
        try:
            answer = await self._client.post(path, **body)
            return answer.status_code, answer.json()
        except (httpx.HTTPError, AttributeError) as error:
            # where a connection was had and cut off, nobody knows whether the API took it; an AttributeError is anyio's
            # word for one that ended as soon as it was made
            if request is not None:
                request.reached = not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | AttributeError)
                request.error = type(error).__name__
        return None, None


def _every_s(rate: float) -> float:
    return 1 / rate if rate > 0 else 0.0
