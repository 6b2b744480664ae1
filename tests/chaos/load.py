"""A steady load through HTTP, and the ledger of what was asked for and what was answered."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, Literal

import httpx

from tests.pictures import image

End = Literal["succeeded", "failed", "cancelled", "pending", "any"]
"""What a job was asked to come to; `any` if a cancel got no answer."""

REQUEST_LIMIT_S = 10.0
AT_ONCE = 200
"""Requests under way: when the API is slow or away the load does not pile up behind it."""
KEEP_ALIVE_S = 2.0
"""Well before the API ends an idle connection: a request must not meet a closing connection."""
BATCH_EVERY_S = 0.25
STEP_TYPES = frozenset({"step", "join"})
"""Of jobs that nobody asks for by a request: the success of others puts them."""
FAR_OFF_S = 3600


@dataclass(frozen=True, slots=True)
class Job:
    """One that a request asks for."""

    type: str
    args: dict[str, Any]
    end: End = "succeeded"


@dataclass(slots=True)
class Request:
    """One POST of jobs and its answer. Times are seconds since the epoch."""

    number: int
    jobs: list[Job]
    sent_s: float
    took_s: float = 0.0
    status: int | None = None
    """None: no answer came."""
    reached: bool = True
    """False where no connection was made: nothing can have been accepted."""
    error: str = ""
    """What the client met instead of an answer."""

    @property
    def unknown(self) -> bool:
        """No answer: its jobs may be there or not."""
        return self.status is None and self.reached


@dataclass(frozen=True, slots=True)
class Wish:
    """An accepted job: what it is and what should become of it."""

    type: str
    end: End
    accepted_s: float


@dataclass
class Ledger:
    """Everything asked for."""

    requests: list[Request] = field(default_factory=list)
    accepted: dict[str, Wish] = field(default_factory=dict)
    """By job id: what got a 202."""
    cancel_answers: list[int | None] = field(default_factory=list)

    def cancelled(self, job_id: str, status: int | None, answer: Any) -> None:
        """What a cancel was answered: that it is cancelled is a promise too; else it may come to that, or not."""
        self.cancel_answers.append(status)
        is_cancelled = status == 200 and answer["status"] == "cancelled"
        self.accepted[job_id] = replace(self.accepted[job_id], end="cancelled" if is_cancelled else "any")


@dataclass(frozen=True, slots=True)
class Mix:
    """How many of what in a second; `batched` no-ops come in batches, four of them a second."""

    batched: float
    single: float
    cancelled: float
    webhooks: float
    letters: float
    images: float
    far_off: float = 0.2
    roots: float = 0
    """Each has six steps follow."""
    plain_share: float = 0.75
    """Of the batched no-ops: how many do nothing but note that they ran; the others take time, or fail."""

    @classmethod
    def of_chaos(cls, rate: float) -> Mix:
        """`rate` jobs a second in all, of all kinds."""
        roots = rate / 20
        batched = rate - 17 - 7 * roots
        return cls(batched=batched, single=8, cancelled=1, webhooks=4, letters=3, images=0.8, roots=roots)

    @classmethod
    def of_soak(cls, rate: float) -> Mix:
        """Mainly no-ops."""
        return cls(
            batched=rate - 24, single=20, cancelled=1, webhooks=1, letters=1, images=0.2, far_off=0, plain_share=0.95
        )


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
            (_every_s(mix.roots), self._root),
        ]
        return [(every_s, send) for every_s, send in wanted if every_s]

    async def _stream(self, every_s: float, send: Callable[[], Awaitable[None]]) -> None:
        """One kind of request at its pace, whatever becomes of the ones before."""
        due_s = time.monotonic() + every_s * self._random.random()
        while True:
            await asyncio.sleep(max(due_s - time.monotonic(), 0))
            due_s = max(due_s + every_s, time.monotonic() - 1)
            if not self._room.locked():
                sending = asyncio.ensure_future(self._send(send))
                self._under_way.add(sending)
                sending.add_done_callback(self._under_way.discard)

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

    async def _root(self) -> None:
        """Steps that take no time, some time, or fail; it succeeds itself."""
        kinds: list[dict[str, Any]] = [{}, {"run_s": 0.1 * self._lease_s}, {"fail_first": 1}, {"doomed": True}]
        job = Job("root", {**self._random.choices(kinds, weights=[60, 20, 10, 10])[0]})
        await self._put("/v1/jobs/root", [job], json=job.args)

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

    async def _put(
        self,
        path: str,
        jobs: list[Job],
        query: Mapping[str, str] | None = None,
        *,
        file: bytes | None = None,
        **body: Any,
    ) -> list[str]:
        """Posts jobs, each marked with its request; the ids that were accepted."""
        request = Request(len(self.ledger.requests), jobs, time.time())
        self.ledger.requests.append(request)
        for job in jobs:
            _mark(job, request.number)
        if file is not None:
            body["files"] = {"file": (f"{request.number}.jpg", file)}
        request.status, answer = await self._post(path, params=query, request=request, **body)
        request.took_s = time.time() - request.sent_s
        if request.status != 202:
            return []
        ids: list[str] = answer["ids"] if path.endswith("/batch") else [answer["id"]]
        for job_id, job in zip(ids, jobs, strict=True):
            self.ledger.accepted[job_id] = Wish(job.type, job.end, time.time())
        return ids

    async def _post(self, path: str, *, request: Request | None = None, **body: Any) -> tuple[int | None, Any]:
        try:
            answer = await self._client.post(path, **body)
            return answer.status_code, answer.json()
        except httpx.HTTPError as error:
            # where a connection was had and cut off, nobody knows whether the API took it
            if request is not None:
                request.reached = not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
                request.error = type(error).__name__
        return None, None


def mark_of(type_name: str, args: Mapping[str, Any]) -> int | None:
    """The number of the request that a job in Redis came with; None for one that is not of this load."""
    try:
        match type_name:
            case "noop" | "root" | "step" | "join":
                return int(args["mark"])
            case "webhook":
                return int(args["data"]["mark"])
            case "welcome_email":
                return int(args["name"])
            case "resize":
                return int(args["file"]["filename"].removesuffix(".jpg"))
    except (KeyError, TypeError, ValueError):
        return None
    return None


def _mark(job: Job, number: int) -> None:
    match job.type:
        case "noop" | "root":
            job.args["mark"] = str(number)
        case "webhook":
            job.args["data"]["mark"] = number
        case "welcome_email":
            job.args["name"] = str(number)


def _every_s(rate: float) -> float:
    return 1 / rate if rate > 0 else 0.0
