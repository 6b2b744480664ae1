"""Takes a job's file: `multipart/form-data` read as it comes and streamed into storage, never held whole."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import structlog
from fastapi import Request

from errand.http.answers.problems import Problem, storage_away
from errand.http.requests import args as job_args
from errand.http.requests import json_body
from errand.http.requests.args import KeptArgs
from errand.http.requests.idempotency import KeyedRequest
from errand.http.requests.multipart import Part, parts_of
from errand.http.shared import shared_of
from errand.job.args_context import ArgsContext
from errand.job.job_type import JobType
from errand.job.stored_file import UPLOAD_KEY, StoredFile
from errand.redis.outage import may_be_done
from errand.resources.storage import FileMissing, Storage, StorageFault
from errand.resources.uploads import forget, keep
from errand.uploads.doubtful import DoubtfulUploads

FORM = "multipart/form-data"


ARGS_LIMIT_BYTES = 64 * 1024


START_BYTES = 64 * 1024


log = structlog.get_logger("errand.http")


@dataclass(slots=True)
class Upload:
    """What a request brought. If the storage is None, the file is read and not kept."""

    storage: Storage | None
    keyed: KeyedRequest | None
    limit_bytes: int
    """Of a file that came by itself: a bucket takes any number."""
    is_replaceable: bool = False
    """Who has the bucket's own URL may put another file there until that expires."""
    args: KeptArgs = field(default_factory=dict)
    stored: list[StoredFile] = field(default_factory=list)
    start: bytes | None = None
    """The first bytes of the file, for the args model to look at."""
    job_id: str = ""
    """That of the job which is put with it, once that begins."""

    async def store(self, part: Part) -> None:
        """Stores the file as it comes in."""
        chunks = self._noting_start(part.chunks())
        chunks = self.keyed.taking("file", chunks) if self.keyed else chunks
        self.note("filename", (part.filename or "").encode())
        try:
            self.stored.append(await keep(self.storage, chunks, filename=part.filename))
        except StorageFault as fault:
            log.error("an upload could not be stored: see STORAGE_URL", error=str(fault))
            raise storage_away() from None

    async def _noting_start(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        self.start = b""
        async for chunk in chunks:
            if (room := START_BYTES - len(self.start)) > 0:
                self.start += chunk[:room]
            yield chunk

    async def look_at(self, raw: Any, field: str) -> None:
        """Reads the start of a file that came by itself. Raises Problem 422 if it has not come, or not all of it."""
        named = raw.get(field) if isinstance(raw, dict) else None
        named = named if isinstance(named, dict) else {}
        key = named.get("key")
        if self.storage is None or not isinstance(key, str) or not UPLOAD_KEY.fullmatch(key):
            return
        try:
            info = await self.storage.info(key)
            part = (0, min(info.size_bytes, START_BYTES))
            self.start = b"".join([chunk async for chunk in self.storage.read(key, part)])
        except FileMissing:
            raise json_body.invalid(f"body.{field}", "is not stored: has all of the upload come?") from None
        if info.size_bytes > self.limit_bytes:
            raise json_body.invalid(f"body.{field}", f"has {info.size_bytes} bytes, over {self.limit_bytes}")
        if named.get("bytes") != info.size_bytes:
            raise json_body.invalid(f"body.{field}.bytes", f"does not fit: the upload has {info.size_bytes}")
        named["etag"] = info.etag if self.is_replaceable else None

    def note(self, part: str, content: bytes) -> None:
        """What makes the request the same when it is sent again."""
        if self.keyed is not None:
            self.keyed.take(part, content)

    async def give_up(self, error: BaseException, doubtful: DoubtfulUploads) -> None:
        """Deletes what was stored: at once, or, if its job may be there all the same, once that is known."""
        if self.stored and self.job_id and may_be_done(error):
            doubtful.add(self.stored, {self.job_id: self.args})
        else:
            await self.forget()

    async def forget(self) -> None:
        """Deletes what was stored: nothing refers to it."""
        if self.storage is not None:
            await forget(self.storage, self.stored)


@asynccontextmanager
async def received_args(
    request: Request, storage: Storage | None, job_type: JobType[Any, Any], keyed: KeyedRequest | None
) -> AsyncIterator[Upload]:
    """The args of a type that takes a file, from JSON or from a form with a file.

    The stored upload is forgotten again if the block (or the reading) fails, unless its job may have been put.
    """
    settings = shared_of(request).settings
    upload = Upload(storage, keyed, settings.direct_upload_limit_bytes, is_replaceable=settings.bucket_urls)
    try:
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type == FORM:
            raw = await _read_form(request, job_type, upload)
        elif media_type == "application/json":
            upload.note("body", await request.body())
            raw = json_body.value_in(await request.body(), field="body")
            await upload.look_at(raw, str(job_type.file_field))
        else:
            raise json_body.invalid("body", f"must be sent as {FORM} with a file, or as application/json")
        context = ArgsContext(settings=shared_of(request).settings, file_start=upload.start)
        upload.args = job_args.checked(job_type, raw, context=context)
        yield upload
    except BaseException as error:
        await upload.give_up(error, shared_of(request).doubtful_uploads)
        raise


def request_body(job_type: JobType[Any, Any]) -> dict[str, Any]:
    """The OpenAPI description of both ways to send the args."""
    args = {"$ref": f"#/components/schemas/{job_type.args_model.__name__}"}
    fields = job_type.args_model.model_fields.items()
    needs_args = any(field.is_required() for name, field in fields if name != job_type.file_field)
    form = {
        "type": "object",
        "required": ["args", "file"] if needs_args else ["file"],
        "properties": {
            "args": {**args, "description": "the args as JSON, without the file"},
            "file": {"type": "string", "format": "binary"},
        },
        "additionalProperties": False,
    }
    named = {f"example {number}": value for number, value in enumerate(job_type.examples, start=1)}
    whole = {name: {"value": value} for name, value in named.items() if job_type.takes(value)}
    with_file = {name: {"value": {"args": value}} for name, value in named.items() if name not in whole}
    return {
        "requestBody": {
            "required": True,
            "content": {
                FORM: {
                    "schema": form,
                    "examples": with_file,
                    "encoding": {"args": {"contentType": "application/json"}},
                },
                "application/json": {"schema": args, "examples": whole},
            },
        }
    }


async def _read_form(request: Request, job_type: JobType[Any, Any], upload: Upload) -> dict[str, Any]:
    """The args with the upload in their file field; `upload` notes what was stored, also when this fails later."""
    raw: Any = {}
    seen: set[str] = set()
    async for part in parts_of(request):
        if part.name in seen or part.name not in ("args", "file"):
            raise _bad_form(part.name, "is given twice" if part.name in seen else "is neither 'args' nor 'file'")
        seen.add(part.name)
        if part.name == "args":
            content = await part.read(limit_bytes=ARGS_LIMIT_BYTES)
            upload.note("args", content)
            raw = json_body.value_in(content, field="body.args")
        else:
            await upload.store(part)
    if not isinstance(raw, dict) or not upload.stored:
        missing = "is missing: send it as a part of the form, with curl as -F file=@photo.jpg"
        raise _bad_form("args" if upload.stored else "file", "must be a JSON object" if upload.stored else missing)
    return {**raw, str(job_type.file_field): upload.stored[0].model_dump(mode="json")}


def _bad_form(part: str, message: str) -> Problem:
    return json_body.invalid(f"body.{part}", message)
