"""Which URLs of callers are taken: by the policy, and in args by the settings of the installation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from errand.job.args_context import ArgsContext
from errand.resources.guard import CallerUrl, UrlPolicy
from tests.conftest import make_settings

CALLER_URL: TypeAdapter[object] = TypeAdapter(CallerUrl)


@pytest.mark.parametrize(
    "url", ["https://user:secret@example.com/", "http://user@example.com/", "http://:s@example.com"]
)
def test_credentials_in_a_url_are_refused(url: str) -> None:
    with pytest.raises(ValidationError, match="no credentials"):
        CALLER_URL.validate_python(url)
    assert "credentials" in (UrlPolicy().fault_of(url) or "")


@pytest.mark.parametrize(
    ("url", "settings", "fault"),
    [
        ("https://example.com/a?b=c", {}, None),
        ("http://example.com:8080/", {}, None),
        ("http://example.com:25/", {}, "port 25"),
        ("http://example.com:25/", {"webhook_allow_ports": "25, 26"}, None),
        ("https://example.com:22/", {"webhook_allow_ports": "25"}, "port 22"),
        ("http://example.com/", {"webhook_https_only": "true"}, "must be https"),
        ("https://example.com:8443/", {"webhook_https_only": "true"}, None),
        ("http://127.0.0.1:8010/", {"webhook_https_only": "true", "webhook_sink_port": 8010}, None),
    ],
)
def test_the_settings_say_which_urls_a_request_may_name(
    tmp_path: Path, url: str, settings: dict[str, Any], fault: str | None
) -> None:
    context = ArgsContext(settings=make_settings(tmp_path, **settings))
    CALLER_URL.validate_python(url)  # a worker reads what was put under other settings, and the guard decides
    if fault is None:
        assert str(CALLER_URL.validate_python(url, context=context)) == url
    else:
        with pytest.raises(ValidationError, match=fault):
            CALLER_URL.validate_python(url, context=context)


@pytest.mark.parametrize("url", ["http://[", "http://a:99999999/", "ftp://a.example/"])
def test_what_is_no_web_url_is_taken_nowhere(url: str) -> None:
    assert UrlPolicy().fault_of(url) is not None
