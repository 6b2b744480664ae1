"""Takes a job's file: `multipart/form-data` read as it comes and streamed into storage, never held whole."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from jobs.engine.job_type import JobType
from jobs.engine.stored_file import StoredFile
from jobs.resources.storage import Storage
from service.multipart import Part, parts_of
from service.problems import FaultyField, Problem

ARGS_LIMIT_BYTES = 64 * 1024


@asynccontextmanager
async def received_args(request: Request, storage: Storage, job_type: JobType[Any, Any]) -> AsyncIterator[BaseModel]:
    """The validated args of a type that takes a file, from JSON or from a form with a file.

    The stored upload is forgotten again where the block (or the reading) fails: nothing refers to it then.
    """
    stored: list[StoredFile] = []
    try:
        if _is_form(request):
            raw = await _read_form(request, storage, job_type, stored)
        else:
            raw = _parsed(await request.body())
        yield _validated(job_type, raw)
    except BaseException:
        for file in stored:
            with contextlib.suppress(Exception):  # the first error is the one to tell
                await storage.delete(file.key)
        raise


def request_body(job_type: JobType[Any, Any]) -> dict[str, Any]:
    """The OpenAPI description of both ways to send the args."""
    args = {"$ref": f"#/components/schemas/{job_type.args_model.__name__}"}
    form = {
        "type": "object",
        "required": ["file"],
        "properties": {
            "args": {**args, "description": "the args as JSON, without the file"},
            "file": {"type": "string", "format": "binary"},
        },
    }
    examples = {f"example {number}": {"value": value} for number, value in enumerate(job_type.examples, start=1)}
    return {
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {"schema": form, "encoding": {"args": {"contentType": "application/json"}}},
                "application/json": {"schema": args, "examples": examples},
            },
        }
    }


def _is_form(request: Request) -> bool:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower() == "multipart/form-data"


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
            raw = _parsed(await part.read(limit_bytes=ARGS_LIMIT_BYTES))
        else:
            await _store(part, storage, stored)
    if not isinstance(raw, dict) or not stored:
        raise _bad_form("args" if stored else "file", "must be a JSON object" if stored else "is missing")
    return {**raw, str(job_type.file_field): stored[0].model_dump(mode="json")}


async def _store(part: Part, storage: Storage, stored: list[StoredFile]) -> None:
    key = f"uploads/{uuid.uuid4()}"
    size = await storage.write(key, part.chunks())
    stored.append(StoredFile(key=key, bytes=size, filename=part.filename and part.filename[:255]))


def _validated(job_type: JobType[Any, Any], raw: Any) -> BaseModel:
    try:
        args: BaseModel = job_type.args_model.model_validate(raw)
    except ValidationError as error:
        faults = [{**fault, "loc": ("body", *fault["loc"])} for fault in error.errors(include_url=False)]
        raise RequestValidationError(faults) from None
    return args


def _parsed(body: bytes) -> Any:
    try:
        return from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise _bad_form("", f"is not valid JSON: {error}") from None


def _bad_form(part: str, message: str) -> Problem:
    field = f"body.{part}" if part else "body"
    return Problem(
        422,
        "invalid-request",
        f"The request does not fit: {field} {message}",
        errors=[FaultyField(field=field, message=message)],
    )
