"""A file that an HTTP client uploads with a job: named in the args, kept in storage."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class StoredFile(BaseModel):
    """Where an upload lies. An args model with a field of this type takes `multipart/form-data`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str = Field(pattern=r"^uploads/[0-9a-f-]{36}$", description="its key in storage")
    bytes: int = Field(ge=0, description="its size")
    filename: str | None = Field(default=None, max_length=255, description="what the client called it")
