"""`GET /v1/files/{key}`: what jobs have stored; and signed URLs of it, for those who have no key."""

from __future__ import annotations

import mimetypes
import re
import time
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Body, Depends, Path, Query, Request, Response
from fastapi.responses import RedirectResponse, StreamingResponse
from fastapi.security import HTTPAuthorizationCredentials
from pydantic import BaseModel, ConfigDict, Field

from errand.http.answers.problems import ERRORS, Problem, documented
from errand.http.gates import auth, head_requests
from errand.http.requests import etags
from errand.http.requests.json_body import JsonRoute
from errand.http.routes.stored.signing_key import SIGNING, signing_key
from errand.http.shared import Shared, SharedDep
from errand.job.stored_file import path_of_file
from errand.job.when import DurationS
from errand.resources.byte_range import BehindTheEnd, part_of
from errand.resources.signed_urls import is_signed, signature_of
from errand.resources.storage import KEY, FileInfo, FileMissing

CHANGED = {
    400: "the `If-Match` is malformed",
    412: "the file is another one than `If-Match` or `If-Unmodified-Since` says",
}


AWAY = {503: "the storage is away; nothing was promised"}


MEDIA_TYPES = mimetypes.MimeTypes()
"""Python's own table, not the machine's, which may know more or less; with what Python 3.11 does not know."""


MEDIA_TYPES.add_type("image/webp", ".webp")


MEDIA_TYPES.add_type("image/avif", ".avif")


SHOWN = frozenset(f"image/{kind}" for kind in ("jpeg", "png", "webp", "avif", "gif", "tiff"))
"""What a browser may show in a page: pictures without scripts. SVG is none, PDF is none; they are saved."""


router = APIRouter(prefix="/v1/files", tags=["files"])


UPLOADS = "uploads/"
"""What clients sent is for jobs alone: shown under our name, a page among it could act as ours."""


OUTPUTS = "resize/"


OUTPUT = re.compile(r"resize/[^/]+/(?P<hash>[0-9a-f]{32})-[^/]+")


HOUR_S = 3600


BUCKET_URL_S = HOUR_S
"""How long a bucket's own URL is good at most."""


YEAR_S = 365 * 86_400


EXAMPLE_KEY = "resize/01a1fb3e-ca8c-7394-a804-a09bf4f589ca/9f86d081884c7d659a2feaa0c55ad015-320x213.jpeg"


EXAMPLE_REQUEST = {"key": EXAMPLE_KEY, "expires_in": "1h"}


Key = Annotated[
    str,
    Path(
        description="as an output's `url` ends; it may have slashes",
        examples=[EXAMPLE_KEY],
    ),
]


Expires = Annotated[
    int | None,
    Query(ge=0, le=2**53, description="of a signed URL: until when, in seconds since 1970", examples=[1795478400]),
]


Signature = Annotated[
    str | None, Query(max_length=100, description="of a signed URL: it needs no key", examples=["HrK4zZ0"])
]


async def may_read(
    request: Request,
    key: Key,
    _: Annotated[HTTPAuthorizationCredentials | None, Depends(auth.bearer)],
    expires: Expires = None,
    signature: Signature = None,
) -> None:
    """Admits a request by its signature; one without by its key. Raises Problem 401, 403 or 429."""
    if signature is None or expires is None:
        return await auth.admit(request, "read")
    secrets = request.app.state.settings.file_url_keys
    if not is_signed(key, expires, signature, secrets):
        auth.refuse(request, "signature")
        raise Problem(403, "forbidden", "The signature is not one of this service for this file and this moment.")
    if expires < time.time():
        raise Problem(403, "forbidden", "The signed URL has expired: ask for another one.")


@router.get(
    "/{key:path}",
    response_class=StreamingResponse,
    responses={
        200: {"content": {"application/octet-stream": {}}, "description": "the file"},
        206: {"content": {"application/octet-stream": {}}, "description": "the part that `Range` asks for"},
        304: {"description": "the client's copy is still right"},
        307: {"description": "with `BUCKET_URLS`: the bucket's own URL"},
        **documented({404: "nothing is stored there", 416: "the file has no such part", **CHANGED, **AWAY}),
        **{status: ERRORS[status] for status in (401, 403, 422, 429)},
    },
    dependencies=[Depends(may_read)],
    # a signed URL needs no key
    openapi_extra={"security": [{}]},
    operation_id="get_file",
)
async def get_file(
    key: Key, request: Request, to: SharedDep, expires: Expires = None, signature: Signature = None
) -> Response:
    """A stored output, streamed; or a part of it."""
    return await file_answer(key, request, to, until_s=expires if signature else None)


async def file_answer(key: str, request: Request, to: Shared, *, until_s: float | None) -> Response:
    """The file, a part of it, or a 304; for all who have its URL `until_s`, for this client alone if that is None.

    With `BUCKET_URLS` it is a redirect to the bucket's own URL. Raises Problem 400, 404, 412 and 416.
    """
    if to.settings.bucket_urls and (answer := await _redirect(key, request, to, until_s)) is not None:
        return answer
    return await streamed_answer(key, request, to, until_s=until_s)


async def streamed_answer(key: str, request: Request, to: Shared, *, until_s: float | None) -> Response:
    """The same, and never a redirect. Raises Problem 400, 404, 412 and 416; StorageFault."""
    info = await _info(to, key)
    headers = _headers(key, info, until_s)
    _check_expected(request, headers["ETag"], info)
    media_type = MEDIA_TYPES.guess_type(key)[0] or "application/octet-stream"
    if _is_known(request, headers["ETag"], info):
        return Response(status_code=304, headers=headers)
    part = _asked_part(request, info.size_bytes, headers["ETag"])
    start, end = part or (0, info.size_bytes)
    headers["Content-Length"] = str(end - start)
    if part:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{info.size_bytes}"
    status = 206 if part else 200
    if head_requests.ASKED in request.scope:
        return Response(status_code=status, headers=headers, media_type=media_type)
    content = to.storage.read(key, part)
    return StreamingResponse(content, status_code=status, headers=headers, media_type=media_type)


async def _info(to: Shared, key: str) -> FileInfo:
    """What is known of a stored output. Raises Problem 404 if there is none under that key."""
    try:
        if key.lower().startswith(UPLOADS):  # a folder may not know small letters from capitals
            raise FileMissing(key)
        return await to.storage.info(key)
    except FileMissing:
        raise Problem(404, "unknown-file", f"Nothing is stored under '{key}'.") from None


async def _redirect(key: str, request: Request, to: Shared, until_s: float | None) -> Response | None:
    """To the bucket, which is not asked before; None if the files are in a folder, or are no business of HTTP."""
    if key.lower().startswith(UPLOADS) or not KEY.fullmatch(key):
        return None
    lasts_s = BUCKET_URL_S if until_s is None else max(1, min(BUCKET_URL_S, until_s - time.time()))
    method: Literal["GET", "HEAD"] = "HEAD" if head_requests.ASKED in request.scope else "GET"
    url = await to.storage.signed_url(method, key, expires_in_s=lasts_s)
    if url is None:
        return None
    # kept for half of the time for which it is good, so that what is followed is good
    return RedirectResponse(url, 307, headers={"Cache-Control": f"private, max-age={int(lasts_s / 2)}"})


def _asked_part(request: Request, size_bytes: int, etag: str) -> tuple[int, int] | None:
    """None if the whole file is to be sent: also if the part was asked for of another content. Raises Problem 416."""
    if request.headers.get("if-range", etag) != etag:
        return None
    try:
        return part_of(request.headers.get("range", ""), size_bytes)
    except BehindTheEnd:
        detail = f"The file has {size_bytes} bytes, and none of them is in that range."
        raise Problem(
            416, "range-not-satisfiable", detail, headers={"Content-Range": f"bytes */{size_bytes}"}
        ) from None


def _headers(key: str, info: FileInfo, expires: float | None) -> dict[str, str]:
    name = key.rpartition("/")[2]
    shown = MEDIA_TYPES.guess_type(name)[0] in SHOWN
    return {
        "ETag": _etag(key, info),
        "Last-Modified": format_datetime(info.modified_at, usegmt=True),
        "Accept-Ranges": "bytes",
        "Cache-Control": _cache_control(key, expires),
        # never a page: stored bytes are data, and what runs no script is all that a browser shows of them
        "Content-Security-Policy": "default-src 'none'; sandbox; frame-ancestors 'none'",
        # without keys this machine is served, also if a page from elsewhere shows a picture of ours
        "Cross-Origin-Resource-Policy": "same-site" if expires is None else "cross-origin",
        "Content-Disposition": f'{"inline" if shown else "attachment"}; filename="{name}"',
    }


def _etag(key: str, info: FileInfo) -> str:
    """An output has its content's hash in its key: the same in every storage, and if it is stored again."""
    if named := OUTPUT.fullmatch(key):
        return f'"{named["hash"]}"'
    return info.etag if info.etag.startswith('"') else f'"{info.etag}"'


def _cache_control(key: str, expires: float | None) -> str:
    """What a job stores under its id stays as it is. A signed URL is for all who have it, as long as it is valid."""
    lasting = ", immutable" if key.startswith(OUTPUTS) else ""
    if expires is not None:
        return f"public, max-age={max(0, min(YEAR_S, int(expires - time.time())))}{lasting}"
    return f"private, max-age={YEAR_S if lasting else HOUR_S}{lasting}"


def _check_expected(request: Request, etag: str, info: FileInfo) -> None:
    """Raises Problem 412 if the client asks for another content than this one, and 400 if it asks for none.

    RFC 9110, section 13.2.2: before all other conditions, and the date counts only if no tag is given.
    """
    if "if-match" in request.headers:
        expected = etags.is_expected(request, etag)
    else:
        expected = _is_unmodified_since(request.headers.get("if-unmodified-since"), info, if_unknown=True)
    if not expected:
        raise Problem(412, "file-has-changed", "The file is not the one that If-Match or If-Unmodified-Since means.")


def _is_known(request: Request, etag: str, info: FileInfo) -> bool:
    """RFC 9110, section 13.2.2: the date counts only if no tag is given."""
    if "if-none-match" in request.headers:
        return etags.is_known(request, etag)
    return _is_unmodified_since(request.headers.get("if-modified-since"), info, if_unknown=False)


def _is_unmodified_since(date: str | None, info: FileInfo, *, if_unknown: bool) -> bool:
    """What is no date is ignored (RFC 9110, sections 13.1.3 and 13.1.4); a date has whole seconds."""
    try:
        return info.modified_at.replace(microsecond=0) <= parsedate_to_datetime(date or "")
    except (ValueError, TypeError, OverflowError):
        return if_unknown


class SignedUrlRequest(BaseModel):
    """Which file, and for how long."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"key": EXAMPLE_KEY, "expires_in": "1h"}]}
    )

    key: str = Field(max_length=256, description="as an output's `url` ends")
    expires_in: DurationS = Field(default=HOUR_S, gt=0, le=YEAR_S, description="seconds, or `10m`-like")


class SignedUrl(BaseModel):
    """An address that needs no key."""

    url: str
    expires_at: datetime


signing = APIRouter(prefix="/v1/file-urls", tags=["files"], route_class=JsonRoute)


@signing.post(
    "",
    responses={**SIGNING, **documented({404: "nothing is stored there", **AWAY})},
    dependencies=[Depends(auth.require("read"))],
    operation_id="sign_file_url",
)
async def sign_file_url(
    body: Annotated[SignedUrlRequest, Body(openapi_examples={"an hour": {"value": EXAMPLE_REQUEST}})], to: SharedDep
) -> SignedUrl:
    """A URL of a stored output for an `<img>`, which cannot send a key."""
    secret = signing_key(to)
    await _info(to, body.key)
    expires_s = int(time.time() + body.expires_in)
    query = f"expires={expires_s}&signature={signature_of(body.key, expires_s, secret)}"
    url = f"{to.root_path}{path_of_file(body.key)}?{query}"
    return SignedUrl(url=url, expires_at=datetime.fromtimestamp(expires_s, tz=UTC))
