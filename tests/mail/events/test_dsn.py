"""Reports of mail servers, as anybody may have written them."""

from __future__ import annotations

import time

import pytest

from errand.mail.events.dsn import of_dsn


@pytest.mark.parametrize(
    "head",
    [
        b"To: " + b"ada@example.com, " * 6_000,
        b"Delivered-To: " + b"a " * 100_000,
        b"To: " + b"a\r\n " * 50_000,
        b'X: y\r\nContent-Type: multipart/report; boundary="b"' + b"; a=b" * 8_000,
    ],
    ids=["addresses", "words", "lines", "parameters"],
)
def test_a_report_that_is_costly_to_read_is_read_in_a_moment(head: bytes) -> None:
    """Anybody may write one: read as the standard library does by itself, each of these takes a second or more."""
    group = (
        b"Reporting-MTA: dns; x\r\n\r\nFinal-Recipient: rfc822; ada@example.com\r\nAction: failed\r\nStatus: 5.1.1\r\n"
    )
    kind = b"" if b"boundary" in head else b'Content-Type: multipart/report; boundary="b"\r\n'
    report = (
        head + b"\r\n" + kind + b"\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\n" + group + b"\r\n--b--\r\n"
    )
    began_s = time.process_time()
    events = of_dsn(report, return_path="bounces@acme.example")
    assert time.process_time() - began_s < 0.5
    assert [event.address for event in events] == ["ada@example.com"]
