"""The settings of what Errand keeps as files: its own data, uploads and outputs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field, SecretStr, field_validator
from pydantic_settings import NoDecode

from errand import private_folder
from errand.settings.comma_separated import comma_separated
from errand.settings.units import MIB
from errand.settings.urls import url_with_scheme

DATA_FOLDERS = ("redis", "files", "mail", "webhooks")
"""What the processes make in `DATA_DIR`."""


class FileSettings(BaseModel):
    """A part of `Settings`."""

    data_dir: Path = Path("var")
    storage_url: Annotated[str, url_with_scheme("file", "s3", "gs", "az")] | None = None
    bucket_urls: bool = False
    file_url_keys: Annotated[tuple[SecretStr, ...], NoDecode, comma_separated()] = ()
    upload_limit_bytes: int = Field(64 * MIB, ge=1)
    direct_upload_limit_bytes: int = Field(1024 * MIB, ge=1)
    direct_upload_ttl_s: float = Field(86_400, ge=60, le=7 * 86_400)
    upload_ttl_s: float = Field(30 * 86_400, ge=3600)
    output_ttl_s: float | None = Field(None, ge=3600)

    @field_validator("file_url_keys")
    @classmethod
    def _check_keys(cls, keys: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        """As long as what HMAC-SHA256 makes of them: a shorter one could be guessed."""
        if any(len(key.get_secret_value()) < 32 for key in keys):
            raise ValueError("each key needs at least 32 characters")
        return keys

    @field_validator("data_dir")
    @classmethod
    def _make_absolute(cls, path: Path) -> Path:
        """The API and the worker may change their working directory later; the folder stays the same."""
        return path.expanduser().absolute()

    @property
    def files_url(self) -> str:
        """The URL of stored files: `STORAGE_URL`, or a folder under `DATA_DIR`."""
        return self.storage_url or (self.data_dir / "files").as_uri()

    def keep_data_private(self) -> None:
        """Makes `DATA_DIR`. If it exists it may hold other things too: only Errand's folders are closed to other users.

        Raises OSError.
        """
        private_folder.make(self.data_dir)
        for folder in (self.data_dir / name for name in DATA_FOLDERS):
            if folder.is_dir():
                private_folder.make_or_close(folder)
