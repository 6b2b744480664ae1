"""One upload that comes in by itself: made, continued where it stopped, whole, or given up."""

from __future__ import annotations

import hashlib
import secrets
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterable, AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

import structlog
from redis.asyncio import Redis

from errand.job.stored_file import StoredFile
from errand.redis import script
from errand.redis.repair import may_be_repaired
from errand.resources.storage import PART_BYTES, FileMissing, Storage, StorageFault
from errand.wire import keys

log = structlog.get_logger("errand.files")

MAX_PARTS = 10_000
"""Of one upload: a client that sends a byte at a time makes a file of each."""


PARTS = "uploads/parts"
"""Where parts lie in the storage, below which each upload has a folder of its own."""


MAX_SENDERS = 8
"""Of one upload at once, of one process: each may hold a part in memory, or the whole file on the disk, and all but one
send in vain. A client whose connections break off comes again before the service knows of it."""


SWEEP_EVERY_S = 600


CLOCKS_DIFFER_S = 2 * 3600
"""The storage has a clock of its own, and so has Redis, by which an upload ends."""


ENDING_MS = 60_000
"""So long the sender of the last byte has to make the file; if its process was killed, another may after this."""


class UploadGone(LookupError):
    """There is no such upload: it never was, has expired or was given up."""


class UploadMoved(Exception):
    """The upload is at another offset than the sender believes, or others are first: it is at `offset`."""

    def __init__(self, offset: int) -> None:
        super().__init__(offset)
        self.offset = offset


class UploadTooLong(ValueError):
    """More bytes came than were announced, or fewer where all should come at once, or more parts than there may be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadSession:
    """How far an upload is."""

    token: str
    """Who has it may continue the upload, and nothing else: it is not in the file's key."""
    file: StoredFile
    """As a job's args name it; `bytes` is what was announced."""
    offset: int
    expires_at_s: float
    parts: tuple[str, ...] = ()

    @property
    def whole(self) -> bool:
        """True once the file can be named in a job's args."""
        return self.offset == self.file.bytes


class UploadSessions:
    """All uploads that are coming in. Methods raise redis' errors, and StorageFault."""

    def __init__(self, redis: Redis, storage: Storage, *, ttl_s: float) -> None:
        self._redis = redis
        self._storage = storage
        self._ttl_s = ttl_s
        self._advance = script.load(redis, "uploads/advance")
        self._swept_s = time.monotonic()
        self._id = secrets.token_hex(8).encode()
        """That of this process, for what it holds in Redis."""
        self._ending: set[str] = set()
        """The ends of uploads that it makes now."""
        self._senders: Counter[str] = Counter()
        """Of each upload that is being sent, by the key of its file."""

    async def create(self, *, size_bytes: int, filename: str | None) -> UploadSession:
        """A new one, of which nothing has come yet; it ends after a time of its own, however far it is."""
        await self._sweep()
        session = UploadSession(
            token=secrets.token_urlsafe(24),
            file=StoredFile(key=f"uploads/{uuid.uuid4()}", bytes=size_bytes, filename=filename and filename[:255]),
            offset=0,
            expires_at_s=time.time() + self._ttl_s,
        )
        async with self._redis.pipeline() as pipeline:
            pipeline.hset(_key(session.token), mapping={"file": session.file.model_dump_json(), "offset": 0})
            pipeline.pexpire(_key(session.token), int(self._ttl_s * 1000))
            await pipeline.execute()
        return session

    async def find(self, token: str) -> UploadSession:
        """Raises UploadGone."""
        async with self._redis.pipeline() as pipeline:
            pipeline.hgetall(_key(token))
            pipeline.pexpiretime(_key(token))
            fields, expires_ms = await pipeline.execute(raise_on_error=False)
        try:
            return _session(token, fields, expires_ms)
        except (KeyError, ValueError):  # there is none, or what another program has written
            raise UploadGone(token) from None

    async def append(self, token: str, offset: int, chunks: AsyncIterable[bytes]) -> UploadSession:
        """Keeps what comes from that offset on, also of a stream that breaks off; whole, it becomes the file.

        Raises UploadGone, UploadMoved, UploadTooLong, and what `chunks` raises.
        """
        session = await self.find(token)
        if session.offset != offset:
            raise UploadMoved(session.offset)
        with self._sending(session):
            async for piece in _pieces(chunks):
                session = await self._add(session, piece)
        return session

    @contextmanager
    def _sending(self, session: UploadSession) -> Iterator[None]:
        """Counts who sends it. Raises UploadMoved if there are too many."""
        name = session.file.key
        if self._senders[name] >= MAX_SENDERS:
            raise UploadMoved(session.offset)
        self._senders[name] += 1
        try:
            yield
        finally:
            self._senders[name] -= 1
            if not self._senders[name]:
                del self._senders[name]

    async def _add(self, session: UploadSession, piece: bytes) -> UploadSession:
        behind = session.offset + len(piece)
        if behind > session.file.bytes:
            raise UploadTooLong(f"more than the {session.file.bytes} bytes that were announced")
        if behind == session.file.bytes:
            return await self._end(session, self._joined(session, piece))
        name = f"{PARTS}/{session.file.key.rpartition('/')[2]}/{session.offset}-{uuid.uuid4()}"
        await self._storage.write(name, _only(piece))
        try:
            await self._note(session, behind, name)
        except (UploadGone, UploadMoved, UploadTooLong):
            await self._storage.delete(name)
            raise
        return replace(session, offset=behind, parts=(*session.parts, name))

    async def _end(self, session: UploadSession, chunks: AsyncIterable[bytes]) -> UploadSession:
        """Makes the file of all its bytes. Raises UploadGone, UploadMoved, and what `chunks` raises.

        Of several who send the end at once only one makes it: the file is what was sent by the one who is answered so,
        and is never replaced.
        """
        ending = keys.upload_ending(_digest(session.token))
        is_first = False

        async def until_first() -> AsyncIterator[bytes]:
            nonlocal is_first
            async for chunk in chunks:
                yield chunk
            # all has come, and nothing is there yet: the storage shows a file once its source has ended
            is_first = await self._begin_end(ending)
            offset = (await self.find(session.token)).offset
            if not is_first or offset != session.offset:
                raise UploadMoved(offset)

        try:
            await self._storage.write(session.file.key, until_first())
            await self._note_end(session)
        finally:
            if is_first:
                self._ending.discard(ending)
                await self._redis.delete(ending)
        await self._drop_parts(session)
        return replace(session, offset=session.file.bytes, parts=())

    async def _begin_end(self, ending: str) -> bool:
        """True if nobody else makes the file. What this process holds for no end of its own, it held when Redis went
        away: a client that sends the end again need not wait until that has expired."""
        if ending in self._ending:
            return False
        is_first = False
        self._ending.add(ending)
        try:
            holder = await self._redis.set(ending, self._id, nx=True, get=True, px=ENDING_MS)
            if holder == self._id:
                await self._redis.pexpire(ending, ENDING_MS)
            is_first = holder in (None, self._id)
        finally:
            if not is_first:
                self._ending.discard(ending)
        return is_first

    async def _note_end(self, session: UploadSession) -> None:
        """Deletes the file if the upload was given up, or expired, while it was made; raises UploadGone then."""
        try:
            await self._note(session, session.file.bytes, "")
        except UploadGone:
            await self._storage.delete(session.file.key)
            raise

    async def _note(self, session: UploadSession, behind: int, name: str) -> None:
        answer = await self._advance(keys=[_key(session.token)], args=[session.offset, behind, name, MAX_PARTS])
        match answer:
            case b"gone":
                raise UploadGone(session.token)
            case b"moved":
                raise UploadMoved((await self.find(session.token)).offset)
            case b"full":
                raise UploadTooLong(f"more than {MAX_PARTS} parts: send larger ones")

    async def _joined(self, session: UploadSession, last: bytes) -> AsyncIterator[bytes]:
        """Raises UploadMoved if another sender has ended the upload meanwhile, UploadGone if parts are lost."""
        try:
            for name in session.parts:
                async for chunk in self._storage.read(name):
                    yield chunk
        except FileMissing:
            offset = (await self.find(session.token)).offset
            raise UploadGone(session.token) if offset == session.offset else UploadMoved(offset) from None
        yield last

    async def put(self, token: str, chunks: AsyncIterable[bytes]) -> UploadSession:
        """Keeps the whole file, which comes at once.

        Raises UploadGone, UploadMoved if the file is whole already or too many send it, UploadTooLong, and what
        `chunks` raises.
        """
        session = await self.find(token)
        if session.whole:
            raise UploadMoved(session.offset)
        with self._sending(session):
            return await self._end(session, _exactly(session.file.bytes, chunks))

    async def give_up(self, token: str) -> None:
        """Forgets it and all that has come of it, but not the file of a job. Raises UploadGone."""
        session = await self.find(token)
        await self._redis.delete(_key(token))
        await self._drop_parts(session)
        # also if it was not whole a moment ago: its end may have come meanwhile
        if not await self._redis.exists(keys.upload_jobs(session.file.key)):
            await self._storage.delete(session.file.key)

    async def _drop_parts(self, session: UploadSession) -> None:
        for name in session.parts:
            await self._storage.delete(name)

    async def _sweep(self) -> None:
        """Deletes parts of uploads that have expired; there are few, so that now and then is enough."""
        if time.monotonic() - self._swept_s < SWEEP_EVERY_S:
            return
        self._swept_s = time.monotonic()
        kept_s = max(2 * self._ttl_s, self._ttl_s + CLOCKS_DIFFER_S)
        try:
            await self._storage.delete_older(f"{PARTS}/", than_s=time.time() - kept_s)
        except StorageFault as fault:
            log.warning("parts of expired uploads are left for the next look", error=str(fault))


def _session(token: str, fields: Mapping[bytes, bytes] | Exception, expires_ms: int) -> UploadSession:
    """Raises KeyError or ValueError for what is no upload, and the error that is there instead of it."""
    if isinstance(fields, Exception):
        raise KeyError(token) if may_be_repaired(fields) else fields
    named = {name.decode(): value.decode() for name, value in fields.items()}
    offsets = sorted((int(name.removeprefix("part:")), name) for name in named if name.startswith("part:"))
    return UploadSession(
        token=token,
        file=StoredFile.model_validate_json(named["file"]),
        offset=int(named["offset"]),
        expires_at_s=expires_ms / 1000,
        parts=tuple(named[name] for _, name in offsets),
    )


def _key(token: str) -> str:
    """By the token's digest: who reads Redis cannot continue uploads."""
    return keys.upload(_digest(token))


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()[:32]


async def _only(piece: bytes) -> AsyncIterator[bytes]:
    yield piece


async def _pieces(chunks: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """In parts as large as a bucket takes them; of a stream that breaks off the last part too, then its error."""
    held: list[bytes] = []
    held_bytes, broken = 0, None
    try:
        async for chunk in chunks:
            held.append(chunk)
            held_bytes += len(chunk)
            if held_bytes >= PART_BYTES:
                piece, held, held_bytes = b"".join(held), [], 0
                yield piece
    except Exception as error:  # noqa: BLE001  # raised again below, once what came before it is kept
        broken = error
    if held_bytes:
        yield b"".join(held)
    if broken is not None:
        raise broken


async def _exactly(size_bytes: int, chunks: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """Raises UploadTooLong if more or fewer bytes come: then nothing is stored."""
    seen = 0
    async for chunk in chunks:
        seen += len(chunk)
        if seen > size_bytes:
            break
        yield chunk
    if seen != size_bytes:
        raise UploadTooLong(f"not the {size_bytes} bytes that were announced")
