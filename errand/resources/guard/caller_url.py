"""URLs in args and definitions, refused when they come in if no request to them could ever be made."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, HttpUrl, ValidationInfo

from errand.job.args_context import ArgsContext
from errand.resources.guard.url_policy import WEB_PORTS, UrlPolicy
from errand.settings import Settings

SINK_HOST = "127.0.0.1"


def fault_of_url(url: str, settings: Settings) -> str | None:
    """What those settings have against it; None if nothing. The sink of a developer's machine is let through."""
    known = [(SINK_HOST, settings.webhook_sink_port)] if settings.serves_sinks else []
    return UrlPolicy.of(settings).fault_of(url, known=known)


def _is_taken(url: HttpUrl, info: ValidationInfo) -> HttpUrl:
    if url.username or url.password:
        raise ValueError("put no credentials in the URL: args are shown in every view of the job")
    if not isinstance(info.context, ArgsContext):
        return url
    settings = info.context.settings
    # the usual URL, at a tenth of the price: batches have thousands
    is_usual = url.port in WEB_PORTS and (url.scheme == "https" or not settings.webhook_https_only)
    if not is_usual and (fault := fault_of_url(str(url), settings)):
        raise ValueError(fault)
    return url


CallerUrl = Annotated[HttpUrl, AfterValidator(_is_taken)]
"""`http` or `https`, without a user and password in it; with a request also as the settings have it (`UrlPolicy`)."""
