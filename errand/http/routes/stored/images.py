"""`GET /v1/images/{signature}/{preset}/{source}`: an image made when it is first asked for, and kept.

It is a job as any other, whose id follows from what is asked: of all who ask for one image at once the first puts it,
and all wait for its end. What was made, or why it could not be, is known as long as the job is remembered.
"""

from __future__ import annotations

import re
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Path, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import to_json

from errand.http.answers.problems import ERRORS, Problem, documented
from errand.http.gates import auth
from errand.http.requests import args as job_args
from errand.http.requests import json_body, waits
from errand.http.requests.json_body import JsonRoute
from errand.http.routes.stored.files import CHANGED, YEAR_S, file_answer
from errand.http.routes.stored.signing_key import SIGNING, signing_key
from errand.http.shared import Shared, SharedDep, in_time
from errand.job.args_context import ArgsContext
from errand.job.job_type import JobType
from errand.job.stored_file import FILES_PATH
from errand.monitor.job_snapshot import JobSnapshot
from errand.queue.new_job import JobExists
from errand.resources.guard.caller_url import fault_of_url
from errand.resources.signed_urls import image_signature_of, is_image_signed
from errand.resources.storage import FileMissing
from errand.wire.limits import JobLimits

JOB_TYPE = "resize"


WAIT_S = 20
"""A browser shows nothing meanwhile. A client that comes again finds the same job, further on."""


RETRY_S = 5


MAX_WAITING = 100
"""Images that requests of one process wait for at once: one more is refused before its job is put."""


MAX_FOR_ONE = 100
"""Requests that wait for one image: who has the address of one that is not made holds up no other image."""


TRIES = 3
"""Of its job, which take ten seconds with their waits: who asks waits for no more of them, and has it put again."""


FINAL = frozenset({"Fail", "InvalidArgs", "Crashed"})
"""Classes of errors after which nothing is tried again: it would end alike, or end another process. After any other the
next request puts the job again."""
MISSING, MISSING_S = "InputMissing", 60
"""So an error is called after which it is tried again at the first request after so many seconds: the source may not
have been there yet, or not for a moment, and the outcome is kept for a month."""


UPLOAD = re.compile(r"uploads/[0-9a-f-]{36}")


EXAMPLE = {"preset": "avatar", "source_url": "https://images.example/cat.jpg"}


Preset = Annotated[str, Path(description="the name of a preset", examples=["avatar"])]


Source = Annotated[
    str,
    Path(
        description="the URL of an image in base64 for URLs, without `=`; or an upload's key",
        examples=["aHR0cHM6Ly9pbWFnZXMuZXhhbXBsZS9jYXQuanBn"],
    ),
]


Signature = Annotated[str, Path(description="as `POST /v1/image-urls` gives it", examples=["HrK4zZ0"])]


router = APIRouter(tags=["files"], route_class=JsonRoute)


class ImageUrlRequest(BaseModel):
    """Which preset, of what is at which URL."""

    model_config = ConfigDict(extra="forbid")

    preset: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")
    source_url: str = Field(max_length=2_000, pattern=r"^https?://")


class ImageUrl(BaseModel):
    """An address that needs no key, and does not expire."""

    url: str


@router.post(
    "/v1/image-urls",
    responses=SIGNING,
    dependencies=[Depends(auth.require("write"))],
    operation_id="sign_image_url",
)
async def sign_image_url(
    body: Annotated[ImageUrlRequest, Body(openapi_examples={"an avatar": {"value": EXAMPLE}})], to: SharedDep
) -> ImageUrl:
    """A URL at which an image is made when it is first asked for."""
    secret = signing_key(to)
    if fault := fault_of_url(body.source_url, to.settings):
        raise json_body.invalid("body.source_url", fault)
    source = urlsafe_b64encode(body.source_url.encode()).rstrip(b"=").decode()
    signature = image_signature_of(body.preset, source, secret)
    return ImageUrl(url=f"{to.root_path}/v1/images/{signature}/{body.preset}/{source}")


@router.get(
    "/v1/images/{signature}/{preset}/{source:path}",
    response_class=Response,
    responses={
        200: {"content": {"image/*": {}}, "description": "the image"},
        206: {"content": {"image/*": {}}, "description": "the part that `Range` asks for"},
        304: {"description": "the client's copy is still right"},
        307: {"description": "with `BUCKET_URLS`: the bucket's own URL"},
        **documented({404: "there is no such image", 416: "the file has no such part", **CHANGED}),
        **{status: ERRORS[status] for status in (403, 422, 429, 503)},
    },
    operation_id="get_image",
)
async def get_image(signature: Signature, preset: Preset, source: Source, request: Request, to: SharedDep) -> Response:
    """The image in that preset: made once, then served as it is stored."""
    if not is_image_signed(preset, source, signature, to.settings.file_url_keys):
        auth.refuse(request, "signature")
        raise Problem(403, "forbidden", "The signature is not one of this service for this preset and this image.")
    job_type = _job_type(to)
    args = await _args(to, job_type, preset, source)
    job_id = f"image-{sha256(to_json([preset, _definition(to, preset), source])).hexdigest()[:40]}"
    job = await to.find(job_id)
    if job is None or not (_is_known_for_good(job) or _was_missing_lately(job)):
        with _turn(request, job_id):
            await _put(to, job_type, args, job_id, ended=job is not None and job.ended)
            job = await waits.ended_or_after(request, to, job_id, wait_s=WAIT_S)
    return await file_answer(_made(job), request, to, until_s=time.time() + YEAR_S)


def _job_type(to: Shared) -> JobType[Any, Any]:
    job_type = to.catalog.get(JOB_TYPE)
    if job_type is None:
        raise Problem(404, "not-found", f"This installation has no job type '{JOB_TYPE}'.")
    return job_type


def _definition(to: Shared, preset: str) -> Any:
    """So that a preset that is changed makes other images."""
    return to.settings.image_presets.get(preset)


async def _args(to: Shared, job_type: JobType[Any, Any], preset: str, source: str) -> dict[str, Any]:
    """The args of the job. Raises Problem 404, and RequestValidationError for a preset that there is not."""
    raw: dict[str, Any] = {"sizes": [{"preset": preset}]}
    if UPLOAD.fullmatch(source):
        try:
            info = await to.storage.info(source)
        except FileMissing:
            raise _no_image() from None
        raw["file"] = {"key": source, "bytes": info.size_bytes}
    else:
        raw["source_url"] = _url_in(source)
    return job_args.checked(job_type, raw, context=ArgsContext(settings=to.settings))


def _url_in(source: str) -> str:
    try:
        return urlsafe_b64decode(source + "=" * (-len(source) % 4)).decode()
    except (Base64Error, ValueError):
        raise _no_image() from None


def _no_image() -> Problem:
    return Problem(404, "unknown-file", "There is no such image: its address is neither an upload's nor a URL.")


@contextmanager
def _turn(request: Request, job_id: str) -> Iterator[None]:
    """Counts those who wait. Raises Problem 503 if there are too many: a line that only grows serves nobody."""
    waiting: Counter[str] = request.app.state.images_waiting
    if waiting[job_id] >= MAX_FOR_ONE or (job_id not in waiting and len(waiting) >= MAX_WAITING):
        raise _busy("Too many requests wait for images.")
    waiting[job_id] += 1
    try:
        yield
    finally:
        waiting[job_id] -= 1
        if not waiting[job_id]:
            del waiting[job_id]


async def _put(to: Shared, job_type: JobType[Any, Any], args: dict[str, Any], job_id: str, *, ended: bool) -> None:
    """`ended`: the job has, and is put again. Raises QueueFull."""
    queue = to.queue_of(job_type)
    if ended and await in_time(to.replays.one(job_id, queue=queue.key)) == "replayed":
        return
    try:
        await queue.enqueue(job_type.name, args, job_id=job_id, limits=JobLimits(max_tries=TRIES))
        await to.job_files.note(job_id, args)
    except JobExists:
        return  # another request was first, and this one waits with it


def _is_known_for_good(job: JobSnapshot) -> bool:
    """False for what may end otherwise another time: a job that has not ended, or that a passing fault has ended."""
    return job.status == "succeeded" or (job.status == "failed" and job.error is not None and job.error.type in FINAL)


def _was_missing(job: JobSnapshot) -> bool:
    return job.status == "failed" and job.error is not None and job.error.type == MISSING


def _was_missing_lately(job: JobSnapshot) -> bool:
    return _was_missing(job) and time.time() < (job.finished_at_ms or 0) / 1000 + MISSING_S


def _made(job: JobSnapshot) -> str:
    """The key of the file. Raises Problem 503 if it is not made yet, 422 if it cannot be."""
    if not job.ended:
        raise _busy("The image is not made yet.")
    if not (_is_known_for_good(job) or _was_missing(job)):
        raise _busy("The image could not be made this time.")
    if job.status != "succeeded":
        raise Problem(422, "image-refused", f"The image cannot be made: {job.error and job.error.message}.")
    return str(job.result["outputs"][0]["url"]).partition(FILES_PATH)[2]


def _busy(what: str) -> Problem:
    detail = f"{what} Try again in {RETRY_S} seconds."
    return Problem(503, "image-not-ready", detail, headers={"Retry-After": str(RETRY_S)})
