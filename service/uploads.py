"""Takes a job's file: `multipart/form-data` read as it comes and streamed into storage, never held whole."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

from fastapi import Request
from pydantic import BaseModel

from jobs.engine.job_type import JobType
from jobs.engine.stored_file import StoredFile
from jobs.resources.storage import Storage
from service import json_body
from service.checked_args import checked_args
from service.multipart import parts_of
from service.problems import Problem

FORM = "multipart/form-data"
ARGS_LIMIT_BYTES = 64 * 1024


@asynccontextmanager
async def received_args(request: Request, storage: Storage, job_type: JobType[Any, Any]) -> AsyncIterator[BaseModel]:
    """The validated args of a type that takes a file, from JSON or from a form with a file.

    The stored upload is forgotten again where the block (or the reading) fails: nothing refers to it then.
    """
    stored: list[StoredFile] = []
    try:
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type == FORM:
            raw = await _read_form(request, storage, job_type, stored)
        elif media_type == "application/json":
            raw = json_body.value_in(await request.body(), field="body")
        else:
            raise json_body.unfit("body", f"must be sent as {FORM} with a file, or as application/json")
        yield checked_args(job_type, raw)
    except BaseException:
        await forget(storage, stored)
        raise


async def keep(storage: Storage, chunks: AsyncIterable[bytes], *, filename: str | None) -> StoredFile:
    """Stores an upload under a key of its own, whole or not at all."""
    key = f"uploads/{uuid.uuid4()}"
    size_bytes = await storage.write(key, chunks)
    return StoredFile(key=key, bytes=size_bytes, filename=filename and filename[:255])


async def forget(storage: Storage, files: Iterable[StoredFile]) -> None:
    """Deletes uploads that no job refers to; what fails is passed over, an earlier error is the one to tell."""
    for file in files:
        with contextlib.suppress(Exception):
            await storage.delete(file.key)


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


async def _read_form(
    request: Request, storage: Storage, job_type: JobType[Any, Any], stored: list[StoredFile]
) -> dict[str, Any]:
    """The args with the upload in their file field; `stored` notes what was stored, also when this fails later."""
    raw: Any = {}
    seen: set[str] = set()
    async for part in parts_of(request):
        if part.name in seen or part.name not in ("args", "file"):
            raise _bad_form(part.name, "is given twice" if part.name in seen else "is neither 'args' nor 'file'")
        seen.add(part.name)
        if part.name == "args":
            raw = json_body.value_in(await part.read(limit_bytes=ARGS_LIMIT_BYTES), field="body.args")
        else:
            stored.append(await keep(storage, part.chunks(), filename=part.filename))
    if not isinstance(raw, dict) or not stored:
        raise _bad_form("args" if stored else "file", "must be a JSON object" if stored else "is missing")
    return {**raw, str(job_type.file_field): stored[0].model_dump(mode="json")}


def _bad_form(part: str, message: str) -> Problem:
    return json_body.unfit(f"body.{part}", message)
