"""Reports of mail servers, as anybody may have written them."""

from __future__ import annotations

import json
import time

import pytest

from errand.mail.events.dsn import of_dsn
from errand.mail.events.email_event import NotAnEvent
from errand.mail.events.ses import of_ses


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


STATUS = b"Content-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; x\r\n\r\n"


def test_parts_within_parts_and_parameters_of_nonsense_are_refused() -> None:
    nested = b"".join(b"Content-Type: multipart/mixed; boundary=%d\r\n\r\n--%d\r\n" % (at, at) for at in range(300))
    began_s = time.process_time()
    with pytest.raises(NotAnEvent, match="parts within parts"):
        of_dsn(nested + STATUS + b"a\r\n" * 80_000)
    assert time.process_time() - began_s < 0.5
    with pytest.raises(NotAnEvent, match="letters within letters"):
        of_dsn(b"Content-Type: message/rfc822\r\n\r\n" * 4_000 + STATUS)
    with pytest.raises(NotAnEvent, match="cannot be read"):
        of_dsn(b"Content-Type: multipart/report; boundary=b; a*0*=x; a*=y; a*1=z\r\n\r\n--b\r\n" + STATUS)


def test_blank_lines_are_no_recipients() -> None:
    began_s = time.process_time()
    group = b"Final-Recipient: rfc822; ada@example.com\r\nAction: failed\r\n"
    assert len(of_dsn(STATUS + group + b"\n" * 200_000 + group)) == 2
    assert time.process_time() - began_s < 0.5


def test_a_recipient_that_is_no_address_hides_no_other() -> None:
    recipients = ("x400; /c=de/a=x", "rfc822; ada@example.com", "rfc822; nobody")
    groups = [f"Final-Recipient: {each}\r\nAction: failed\r\nStatus: 5.1.1\r\n\r\n".encode() for each in recipients]
    assert [event.address for event in of_dsn(STATUS + b"".join(groups))] == ["ada@example.com"]
    bounced = {"bouncedRecipients": [{"emailAddress": each} for each in ("nobody", "ada@example.com", "")]}
    notice = {"notificationType": "Bounce", "bounce": {"bounceType": "Transient", **bounced}}
    assert [event.address for event in of_ses(json.dumps(notice))] == ["ada@example.com"]
