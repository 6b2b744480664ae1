"""Three capped streams in Redis, one for each kind of entry, read as one, the newest first."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

from redis.asyncio import Redis

from errand.wire import codec, keys

Kind = Literal["changed", "refused", "reported"]
"""What somebody changed; whose credential was refused; what a mail provider or server reported of letters.

Each has a stream of its own: neither a flood of wrong keys nor a morning's letters drive the changes out.
"""
KINDS: tuple[Kind, ...] = get_args(Kind)


CHUNK = 500
MAX_LOOKED_AT = 5_000
"""Entries that one page reads at most: with a filter that takes few it may end early, and the next one goes on."""


@dataclass(frozen=True, slots=True, order=True)
class AuditPosition:
    """The place of an entry among all: the time in ms and the number of its stream, then the kind."""

    at_ms: int
    number: int
    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """What one request did, or was refused."""

    kind: Kind
    by: str
    """The name of the key, or the beginning of its hash; empty if the request showed none that is known."""
    action: str
    """The operation id of the route; empty if the request was refused before a route was found."""
    reason: str = ""
    """Why a credential was refused; empty for other kinds."""
    method: str
    path: str
    made: str = ""
    """The path of what the request made."""
    address: str
    status: int
    """Of the answer."""
    left_out: int = 0
    """How many refusals before this one have no entry of their own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditFilter:
    """Which entries: an empty part takes all. `since_ms` is included, `until_ms` is not."""

    kinds: Collection[Kind] = KINDS
    by: str | None = None
    action: str | None = None
    since_ms: int | None = None
    until_ms: int | None = None

    def takes(self, entry: AuditEntry) -> bool:
        """True if the entry is by that name and of that action; the time is judged by the stream."""
        return self.by in (None, entry.by) and self.action in (None, entry.action)


@dataclass(frozen=True, slots=True)
class AuditPage:
    """Entries with their positions, the newest first; `next` is where the next page begins, None at the end."""

    entries: list[tuple[AuditPosition, AuditEntry]]
    next: AuditPosition | None


class AuditTrail:
    """All entries that are kept: the latest `limit` of each kind, about."""

    def __init__(self, redis: Redis, *, limit: int) -> None:
        """Nothing is kept if `limit` is 0."""
        self._redis = redis
        self._limit = limit

    async def add(self, entry: AuditEntry) -> None:
        """Keeps it. Its time is that of the server's clock. Raises redis' errors."""
        if self._limit:
            record = codec.dumps({name: value for name, value in asdict(entry).items() if name != "kind"})
            await self._redis.xadd(keys.audit(entry.kind), {"entry": record}, maxlen=self._limit, approximate=True)

    async def page(self, filter: AuditFilter, *, limit: int, below: AuditPosition | None = None) -> AuditPage:
        """The newest entries that the filter takes, behind that position. Raises redis' errors."""
        found: list[tuple[AuditPosition, AuditEntry]] = []
        looked_at = 0
        async for position, entry in self._merged(filter, below):
            looked_at += 1
            if entry is not None and filter.takes(entry):
                found.append((position, entry))
            if len(found) == limit or looked_at == MAX_LOOKED_AT:
                return AuditPage(found, position)
        return AuditPage(found, None)

    async def _merged(
        self, filter: AuditFilter, below: AuditPosition | None
    ) -> AsyncIterator[tuple[AuditPosition, AuditEntry | None]]:
        """All kinds, the newest first."""
        streams = {kind: self._of_kind(kind, filter, below) for kind in filter.kinds}
        heads = {kind: head for kind, stream in streams.items() if (head := await anext(stream, None))}
        while heads:
            kind = max(heads, key=lambda kind: heads[kind][0])
            yield heads.pop(kind)
            if head := await anext(streams[kind], None):
                heads[kind] = head

    async def _of_kind(
        self, kind: Kind, filter: AuditFilter, below: AuditPosition | None
    ) -> AsyncIterator[tuple[AuditPosition, AuditEntry | None]]:
        """The entries of one kind; None in place of one that somebody else has written."""
        first, last = str(max(filter.since_ms or 0, 0)), _last(kind, filter, below)
        while rows := await self._redis.xrevrange(keys.audit(kind), last, first, count=CHUNK):
            for id, record in rows:
                at_ms, _, number = id.decode().partition("-")
                yield AuditPosition(int(at_ms), int(number), kind), _read(kind, record)
            last = f"({id.decode()}"


def _last(kind: Kind, filter: AuditFilter, below: AuditPosition | None) -> str:
    """The end of the range, as XREVRANGE takes it."""
    # a time alone takes in all of its millisecond
    ends = [] if filter.until_ms is None else [(filter.until_ms - 1, 2**63, str(max(filter.until_ms - 1, 0)))]
    if below is not None:
        exclusive = "" if kind < below.kind else "("
        ends.append((below.at_ms, below.number, f"{exclusive}{below.at_ms}-{below.number}"))
    return min(ends)[-1] if ends else "+"


FIELDS = {field.name: str if field.type == "str" else int for field in fields(AuditEntry) if field.name != "kind"}


def _read(kind: Kind, record: dict[bytes, bytes]) -> AuditEntry | None:
    try:
        known: dict[str, Any] = codec.loads(record[b"entry"])
        values: dict[str, Any] = {name: type_(known[name]) for name, type_ in FIELDS.items()}
        return AuditEntry(kind=kind, **values)
    except (KeyError, TypeError, ValueError):
        return None
