"""URLs from outside carry no secrets into views and logs."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from errand.resources.address_guard import CallerUrl

ADAPTER: TypeAdapter[object] = TypeAdapter(CallerUrl)


@pytest.mark.parametrize(
    "url", ["https://user:secret@example.com/", "http://user@example.com/", "http://:s@example.com"]
)
def test_credentials_are_refused(url: str) -> None:
    with pytest.raises(ValidationError, match="no credentials"):
        ADAPTER.validate_python(url)


def test_an_ordinary_url_is_taken() -> None:
    assert str(ADAPTER.validate_python("https://example.com/a?b=c")) == "https://example.com/a?b=c"
