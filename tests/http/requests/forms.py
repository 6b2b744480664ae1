"""Multipart forms written by hand, so that a test can get them wrong."""

from __future__ import annotations

from collections.abc import Mapping

BOUNDARY = "frontier"
HEADERS = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
END = f"--{BOUNDARY}--\r\n".encode()


def part(name: str, content: bytes, *, filename: str | None = None, headers: Mapping[str, str] | None = None) -> bytes:
    """One part of a form."""
    disposition = f'form-data; name="{name}"' + (f'; filename="{filename}"' if filename else "")
    lines = [f"{key}: {value}\r\n" for key, value in {"Content-Disposition": disposition, **(headers or {})}.items()]
    return f"--{BOUNDARY}\r\n{''.join(lines)}\r\n".encode() + content + b"\r\n"


def form(*parts: bytes) -> bytes:
    """A whole form."""
    return b"".join(parts) + END
