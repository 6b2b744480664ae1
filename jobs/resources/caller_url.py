"""A URL that a caller names in the args of a job."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, HttpUrl


def _carries_no_credentials(url: HttpUrl) -> HttpUrl:
    if url.username or url.password:
        raise ValueError("put no credentials in the URL: args are shown in every view of the job")
    return url


CallerUrl = Annotated[HttpUrl, AfterValidator(_carries_no_credentials)]
"""`http` or `https`, without a user and password in it."""
