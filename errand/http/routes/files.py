"""`GET /v1/files/{key}`: what jobs have stored."""

from __future__ import annotations

import mimetypes
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request, Response
from fastapi.responses import StreamingResponse

from errand.http.answers.problems import ERRORS, Problem, documented
from errand.http.gates import auth, head_requests
from errand.http.requests import etags
from errand.http.shared import SharedDep
from errand.resources.storage import FileMissing

MEDIA_TYPES = mimetypes.MimeTypes()
"""Python's own table, not the machine's, which may know more or less; with what Python 3.11 does not know."""


MEDIA_TYPES.add_type("image/webp", ".webp")


MEDIA_TYPES.add_type("image/avif", ".avif")


SHOWN = frozenset(f"image/{kind}" for kind in ("jpeg", "png", "webp", "avif", "gif", "tiff"))
"""What a browser may show in place: pictures without scripts. SVG is none, PDF is none; they are saved."""


router = APIRouter(prefix="/v1/files", tags=["files"])


UPLOADS = "uploads/"
"""What clients sent is for jobs alone: shown under our name, a page among it could act as ours."""


Key = Annotated[
    str,
    Path(
        description="as an output's `url` ends; it may have slashes",
        examples=["resize/01a1fb3e-ca8c-7394-a804-a09bf4f589ca/1-320x213.jpeg"],
    ),
]


@router.get(
    "/{key:path}",
    response_class=StreamingResponse,
    responses={
        200: {"content": {"application/octet-stream": {}}, "description": "the file"},
        304: {"description": "the client's copy is still right"},
        **documented({404: "nothing is stored there"}),
        **{status: ERRORS[status] for status in (401, 403, 422, 429)},
    },
    dependencies=[Depends(auth.require("read"))],
    operation_id="get_file",
)
async def get_file(key: Key, request: Request, to: SharedDep) -> Response:
    """A stored output, streamed."""
    try:
        if key.lower().startswith(UPLOADS):  # a folder may not know small letters from capitals
            raise FileMissing(key)
        info = await to.storage.info(key)
    except FileMissing:
        raise Problem(404, "unknown-file", f"Nothing is stored under '{key}'.") from None
    name = key.rpartition("/")[2]
    media_type = MEDIA_TYPES.guess_type(name)[0] or "application/octet-stream"
    etag = info.etag if info.etag.startswith('"') else f'"{info.etag}"'
    headers = {
        "ETag": etag,
        "Cache-Control": "private, max-age=3600",
        # never a page: stored bytes are data, and what runs no script is all that a browser shows of them
        "Content-Security-Policy": "default-src 'none'; sandbox; frame-ancestors 'none'",
        # without keys this machine is served, also where a page from elsewhere shows a picture of ours
        "Cross-Origin-Resource-Policy": "same-site",
        "Content-Disposition": f'{"inline" if media_type in SHOWN else "attachment"}; filename="{name}"',
    }
    if etags.is_known(request, etag):
        return Response(status_code=304, headers=headers)
    headers["Content-Length"] = str(info.size_bytes)
    if head_requests.ASKED in request.scope:
        return Response(headers=headers, media_type=media_type)
    return StreamingResponse(to.storage.read(key), headers=headers, media_type=media_type)
