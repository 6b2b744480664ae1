"""What is read from an ASGI scope by hand."""

from __future__ import annotations

import pytest

from errand.http.scope import ENDLESS, announced_bytes, api_path, header


@pytest.mark.parametrize(
    ("value", "announced"),
    [
        (b"0", 0),
        (b"12", 12),
        (b"0" * 5_000, 0),
        (b"0" * 5_000 + b"7", 7),
        (b"9" * 5_000, ENDLESS),
        (b"", None),
        (b"-1", None),
        (b"1.5", None),
        (b"+5", None),
    ],
)
def test_a_length_is_read_however_many_digits_it_has(value: bytes, announced: int | None) -> None:
    assert announced_bytes(value) == announced


@pytest.mark.parametrize(
    ("path", "root", "expected"),
    [
        ("/v1/jobs", "", "/v1/jobs"),
        ("/admin/queue/v1/jobs", "/admin/queue", "/v1/jobs"),
        ("/v1/jobs", "/proxy", "/v1/jobs"),
        ("/administration/v1", "/admin", "/administration/v1"),
    ],
)
def test_a_path_is_that_within_the_api(path: str, root: str, expected: str) -> None:
    assert api_path({"path": path, "root_path": root}) == expected


def test_a_header_is_the_first_of_its_name_and_one_of_the_headers_that_are_there_now() -> None:
    scope = {"headers": [(b"a", b"1"), (b"a", b"2")]}
    assert (header(scope, b"a"), header(scope, b"b")) == ("1", "")
    changed = {**scope, "headers": [(b"b", b"3")]}
    assert (header(changed, b"a"), header(changed, b"b")) == ("", "3")
