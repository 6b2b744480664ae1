"""The form reader by itself: the same parts however the body is cut, and a clear word where it is no form."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from fastapi import Request
from starlette.types import Message

from errand.http.answers.problems import Problem
from errand.http.requests.multipart import parts_of
from tests.http.requests import forms

BINARY = bytes(range(256)) * 8 + b"\r\n--" + forms.BOUNDARY.encode()[:-1] + b"\r\n"
BODY = forms.form(forms.part("args", b"{}"), forms.part("file", BINARY, filename="a b.png"), forms.part("", b""))


def request_of(chunks: Sequence[bytes], content_type: str = forms.HEADERS["Content-Type"]) -> Request:
    """A request whose body comes in these chunks."""
    messages: list[Message] = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    messages.append({"type": "http.request", "body": b"", "more_body": False})

    async def receive() -> Message:
        return messages.pop(0)

    headers = [(b"content-type", content_type.encode())]
    return Request({"type": "http", "method": "POST", "headers": headers}, receive)


async def read(request: Request) -> list[tuple[str, str | None, bytes]]:
    """(name, filename, content) of each part."""
    return [(part.name, part.filename, await part.read(limit_bytes=10_000)) async for part in parts_of(request)]


@pytest.mark.parametrize("size_bytes", [1, 2, 7, 63, len(BODY)])
async def test_the_parts_are_the_same_however_the_body_is_cut(size_bytes: int) -> None:
    chunks = [BODY[start : start + size_bytes] for start in range(0, len(BODY), size_bytes)]
    assert await read(request_of(chunks)) == [("args", None, b"{}"), ("file", "a b.png", BINARY), ("", None, b"")]


async def test_a_part_that_nobody_read_is_passed_over() -> None:
    assert [part.name async for part in parts_of(request_of([BODY]))] == ["args", "file", ""]


async def test_what_follows_the_last_part_is_ignored() -> None:
    assert len(await read(request_of([BODY, b"an epilogue"]))) == 3


@pytest.mark.parametrize("size_bytes", [1, 7, 10_000])
async def test_what_precedes_the_first_part_is_ignored(size_bytes: int) -> None:
    """RFC 2046, section 5.1.1; here with what looks like a boundary and begins no line."""
    body = f"a preamble, --{forms.BOUNDARY}\r\nand more\r\n".encode() + BODY
    chunks = [body[start : start + size_bytes] for start in range(0, len(body), size_bytes)]
    assert [part[0] for part in await read(request_of(chunks))] == ["args", "file", ""]


async def test_header_names_are_read_in_any_case() -> None:
    body = f'--{forms.BOUNDARY}\r\ncontent-DISPOSITION: form-data; name="args"\r\n\r\n{{}}\r\n'.encode() + forms.END
    assert await read(request_of([body])) == [("args", None, b"{}")]


@pytest.mark.parametrize("cut_bytes", [4, len(forms.END), len(forms.END) + 40, len(BODY) - 10, len(BODY)])
async def test_a_body_that_ends_too_early_is_refused(cut_bytes: int) -> None:
    with pytest.raises(Problem, match="ends in the middle") as refused:
        await read(request_of([BODY[:-cut_bytes]]))
    assert refused.value.status == 422


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/form-data", BODY),
        ("multipart/form-data; boundary=", BODY),
        ("multipart/form-data; boundary=another", BODY),
        ("multipart/form-data; boundary=" + "x" * 5_000, BODY),
        (forms.HEADERS["Content-Type"], b"no form at all"),
        (forms.HEADERS["Content-Type"], b"no form at all" * 2_000),
        (forms.HEADERS["Content-Type"], forms.part("args", b"{}", headers={"X": "x" * 100_000})),
        (forms.HEADERS["Content-Type"], forms.part("args", b"{}", headers={f"X-{n}": "" for n in range(1_000)})),
    ],
    ids=[
        "no boundary",
        "empty boundary",
        "other boundary",
        "long boundary",
        "no form",
        "a long preamble",
        "long header",
        "many headers",
    ],
)
async def test_what_is_no_form_is_refused(content_type: str, body: bytes) -> None:
    with pytest.raises(Problem, match="not valid multipart/form-data") as refused:
        await read(request_of([body], content_type))
    assert refused.value.status == 422


async def test_a_part_over_its_limit_is_refused_before_it_is_read_whole() -> None:
    taken = 0

    async def receive() -> Message:
        nonlocal taken
        taken += 1
        head = forms.part("args", b"")[:-2] if taken == 1 else b""
        return {"type": "http.request", "body": head + bytes(1_000), "more_body": True}

    headers = [(b"content-type", forms.HEADERS["Content-Type"].encode())]
    with pytest.raises(Problem) as refused:
        await read(Request({"type": "http", "method": "POST", "headers": headers}, receive))
    assert (refused.value.status, taken < 20) == (413, True)
