"""`POST /v1/uploads`: an address of its own for a file, to put it to at once or, by tus, in parts; then a job on it.

The address is its own permission: it holds a token that nobody can guess, ends after `DIRECT_UPLOAD_TTL_S`, and lets
its holder continue this upload and nothing else. tus 1.0.0 (https://tus.io/protocols/resumable-upload) with its
extensions creation, expiration and termination.
"""

from __future__ import annotations

from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Body, Depends, Header, Path, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from errand.http.answers.problems import ERRORS, TOO_LARGE, Problem, documented, storage_away
from errand.http.gates import auth
from errand.http.requests.json_body import JsonRoute, invalid
from errand.http.shared import Shared, SharedDep
from errand.job.stored_file import StoredFile
from errand.resources.storage import StorageFault
from errand.uploads.sessions import UploadGone, UploadMoved, UploadSession, UploadTooLong

VERSION = "1.0.0"
EXTENSIONS = "creation,expiration,termination"
PART = "application/offset+octet-stream"

EXAMPLE_PATH = "HrK4zZ0aHrK4zZ0aHrK4zZ0aHrK4zZ0a"
EXAMPLE = {"bytes": 4_800_000, "filename": "cat.jpg"}

log = structlog.get_logger("errand.http")

router = APIRouter(prefix="/v1/uploads", tags=["files"], route_class=JsonRoute)

Token = Annotated[
    str, Path(pattern=r"^[A-Za-z0-9_-]{32}$", description="as the upload's `url` ends", examples=[EXAMPLE_PATH])
]
Tus = Annotated[
    str | None,
    Header(alias="Tus-Resumable", description="by tus: the version that the client speaks", examples=["1.0.0"]),
]
Offset = Annotated[
    int, Header(alias="Upload-Offset", ge=0, le=2**53, description="where this part begins", examples=[0])
]
Length = Annotated[
    int | None,
    Header(alias="Upload-Length", ge=1, le=2**53, description="by tus: how many bytes will come", examples=[4_800_000]),
]
Metadata = Annotated[
    str | None,
    Header(
        alias="Upload-Metadata",
        max_length=2_000,
        description="by tus: names, each with a value in base64",
        examples=["filename Y2F0LmpwZw=="],
    ),
]


class NewUpload(BaseModel):
    """What will come."""

    model_config = ConfigDict(extra="forbid")

    bytes: int = Field(ge=1, le=2**53, description="its size")
    filename: str | None = Field(default=None, max_length=255)


class UploadView(BaseModel):
    """How far an upload is."""

    url: str = Field(description="PUT the file here; or continue it here by tus")
    bucket_url: str | None = Field(
        default=None, description="with `BUCKET_URLS`: PUT the file here, and it does not pass through the service"
    )
    offset: int = Field(description="how many bytes have come")
    file: StoredFile = Field(description="as the args of a job name it, once all of it has come")
    expires_at: datetime


AWAY = {503: "the storage or Redis is away; nothing was promised"}
GONE = {404: "there is no such upload, or it has expired", **AWAY}
TUS_ONLY = {412: "the client speaks another version of tus", **GONE}
PROBLEMS: dict[int | str, dict[str, Any]] = {status: ERRORS[status] for status in (413, 422, 429)}


async def speaks_tus(tus: Tus = None) -> None:
    """Raises Problem 412 for another version than ours; no version at all is a plain request."""
    if tus is not None and tus != VERSION:
        raise Problem(412, "tus-version", f"This service speaks tus {VERSION}.", headers={"Tus-Version": VERSION})


def _takes(media_type: str) -> dict[str, Any]:
    """The OpenAPI description of a body of bytes."""
    content = {
        "schema": {"type": "string", "format": "binary"},
        "examples": {"a few bytes": {"value": "\u00ff\u00d8…"}},
    }
    return {"requestBody": {"content": {media_type: content}, "required": True}}


@contextmanager
def _faults(to: Shared) -> Iterator[None]:
    """Answers what may go wrong with an upload."""
    try:
        yield
    except UploadGone:
        raise Problem(404, "unknown-upload", "There is no such upload, or it has expired.") from None
    except UploadMoved as moved:
        detail = f"The upload is at offset {moved.offset}: go on there."
        raise Problem(409, "wrong-offset", detail, headers=_tus({"Upload-Offset": str(moved.offset)})) from None
    except UploadTooLong as fault:
        raise Problem(413, TOO_LARGE, f"The upload has {fault}.") from None
    except StorageFault as fault:
        log.error("an upload could not be stored: see STORAGE_URL", error=str(fault))
        raise storage_away() from None


@router.options(
    "",
    status_code=204,
    responses={status: ERRORS[status] for status in (401, 403, 429)},
    dependencies=[Depends(auth.require("write"))],
    operation_id="show_tus_options",
)
async def show_tus_options(to: SharedDep) -> Response:
    """What of tus this service speaks, and how large a file may be."""
    limits = {"Tus-Version": VERSION, "Tus-Extension": EXTENSIONS}
    return Response(
        status_code=204, headers=_tus({**limits, "Tus-Max-Size": str(to.settings.direct_upload_limit_bytes)})
    )


@router.post(
    "",
    status_code=201,
    responses={
        **documented({412: TUS_ONLY[412], **AWAY}),
        **{status: ERRORS[status] for status in (401, 403, 413, 422, 429)},
    },
    dependencies=[Depends(auth.require("write")), Depends(speaks_tus)],
    operation_id="create_upload",
)
async def create_upload(
    to: SharedDep,
    response: Response,
    body: Annotated[NewUpload | None, Body(openapi_examples={"a photo": {"value": EXAMPLE}})] = None,
    tus: Tus = None,
    length: Length = None,
    metadata: Metadata = None,
) -> UploadView:
    """An address for a file that is to come: announced as JSON, or by the headers of tus."""
    if tus is not None:
        if length is None:
            raise invalid("header.Upload-Length", "is missing: say how many bytes will come")
        body = NewUpload(bytes=length, filename=_filename(metadata))
    if body is None:
        raise invalid("body", f"is missing: send JSON such as {EXAMPLE}".replace("'", '"'))
    if body.bytes > to.settings.direct_upload_limit_bytes:
        detail = f"The file has {body.bytes} bytes, over the limit of {to.settings.direct_upload_limit_bytes}."
        raise Problem(413, TOO_LARGE, detail)
    with _faults(to):
        session = await to.uploads.create(size_bytes=body.bytes, filename=body.filename)
    view = _view(to, session)
    if to.settings.bucket_urls:
        lasts_s = to.settings.direct_upload_ttl_s
        view.bucket_url = await to.storage.signed_url("PUT", session.file.key, expires_in_s=lasts_s)
    response.headers.update(_headers(session) | {"Location": view.url})
    return view


@router.get(
    "/{token}",
    responses={**documented(TUS_ONLY), **PROBLEMS},
    dependencies=[Depends(speaks_tus)],
    operation_id="get_upload",
)
async def get_upload(token: Token, to: SharedDep, response: Response) -> UploadView:
    """How far it is. `HEAD` answers with the headers of tus alone."""
    with _faults(to):
        session = await to.uploads.find(token)
    response.headers.update(_headers(session) | {"Cache-Control": "no-store"})
    return _view(to, session)


@router.patch(
    "/{token}",
    status_code=204,
    responses={
        **documented({409: "the upload is at another offset", 415: f"the part is not {PART}", **TUS_ONLY}),
        **PROBLEMS,
    },
    dependencies=[Depends(speaks_tus)],
    openapi_extra=_takes(PART),
    operation_id="continue_upload",
)
async def continue_upload(token: Token, offset: Offset, request: Request, to: SharedDep) -> Response:
    """One more part, as tus sends it; what has come of a part that breaks off is kept."""
    if request.headers.get("content-type", "") != PART:
        raise Problem(415, "unsupported-media-type", f"Send the part as '{PART}'.")
    with _faults(to):
        session = await to.uploads.append(token, offset, request.stream())
    return Response(status_code=204, headers=_headers(session))


@router.put(
    "/{token}",
    status_code=204,
    responses={**documented({409: "all of the file has come, or comes right now", **GONE}), **PROBLEMS},
    openapi_extra=_takes("application/octet-stream"),
    operation_id="put_upload",
)
async def put_upload(token: Token, request: Request, to: SharedDep) -> Response:
    """The whole file at once: `curl -T cat.jpg URL`."""
    with _faults(to):
        session = await to.uploads.put(token, request.stream())
    return Response(status_code=204, headers=_headers(session))


@router.delete(
    "/{token}",
    status_code=204,
    responses={**documented(TUS_ONLY), **PROBLEMS},
    dependencies=[Depends(speaks_tus)],
    operation_id="give_up_upload",
)
async def give_up_upload(token: Token, to: SharedDep) -> Response:
    """Forgets the upload and all that has come of it; a job's file stays."""
    with _faults(to):
        await to.uploads.give_up(token)
    return Response(status_code=204, headers=_tus({}))


def _filename(metadata: str | None) -> str | None:
    """That of tus' `Upload-Metadata`. Raises Problem 422."""
    for pair in (metadata or "").split(","):
        name, _, value = pair.strip().partition(" ")
        if name in ("filename", "name"):
            try:
                return b64decode(value, validate=True).decode()[:255]
            except (Base64Error, ValueError):
                raise invalid("header.Upload-Metadata", f"{name} is no base64 of a text") from None
    return None


def _view(to: Shared, session: UploadSession) -> UploadView:
    return UploadView(
        url=f"{to.root_path}/v1/uploads/{session.token}",
        offset=session.offset,
        file=session.file,
        expires_at=datetime.fromtimestamp(session.expires_at_s, tz=UTC),
    )


def _headers(session: UploadSession) -> dict[str, str]:
    expires = format_datetime(datetime.fromtimestamp(session.expires_at_s, tz=UTC), usegmt=True)
    return _tus(
        {
            "Upload-Offset": str(session.offset),
            "Upload-Length": str(session.file.bytes),
            "Upload-Expires": expires,
        }
    )


def _tus(headers: dict[str, str]) -> dict[str, str]:
    return {"Tus-Resumable": VERSION, **headers}
