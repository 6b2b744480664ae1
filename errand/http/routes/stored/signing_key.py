"""The key that signs URLs of stored files and of images; without one a request for such a URL is refused."""

from __future__ import annotations

from typing import Any

from pydantic import SecretStr

from errand.http.answers.problems import ERRORS, Problem, documented
from errand.http.shared import Shared

SIGNING: dict[int | str, dict[str, Any]] = {
    **documented({409: "the service has no keys to sign with"}),
    **{status: ERRORS[status] for status in (401, 403, 422, 429)},
}
"""What may go wrong when a URL is signed, for the OpenAPI document."""


def signing_key(to: Shared) -> SecretStr:
    """The newest of `FILE_URL_KEYS`. Raises Problem 409 if there is none."""
    if not to.settings.file_url_keys:
        raise Problem(409, "no-signing-keys", "Set FILE_URL_KEYS: one or more keys of at least 32 characters.")
    return to.settings.file_url_keys[0]
