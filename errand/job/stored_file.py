"""A file that an HTTP client uploads with a job: named in the args, kept in storage."""

from __future__ import annotations

import re

from pydantic import BaseModel, ConfigDict, Field

FILES_PATH = "/v1/files/"


UPLOAD_KEY = re.compile(r"^uploads/[0-9a-f-]{36}$")


def path_of_file(key: str) -> str:
    """The path at which the HTTP API serves a file that a job has stored: return it in the job's result.

    If the API is mounted in another app, its answers show the path with that of the mount in front.
    """
    return f"{FILES_PATH}{key}"


class StoredFile(BaseModel):
    """A file that a client uploaded, in storage.

    If the args model of a job type has a field of this type, the type's route takes `multipart/form-data`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str = Field(pattern=UPLOAD_KEY.pattern, description="its key in storage")
    bytes: int = Field(ge=0, description="its size")
    filename: str | None = Field(default=None, max_length=255, description="what the client called it")
    # left out if there is none: workers of before it was known refuse it
    etag: str | None = Field(
        default=None,
        max_length=255,
        exclude_if=lambda etag: etag is None,
        description="of a file that may be replaced in its bucket: what it was when the job was put",
    )
