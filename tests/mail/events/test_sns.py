"""Messages of SNS: who signed them, for which topic, and where a certificate may come from."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import trustme

from errand.mail.events import sns
from errand.mail.events.email_event import BadSignature, NotAnEvent
from errand.mail.events.ses import of_ses
from tests.mail.events.sns_messages import CERTIFICATE_URL, TOPIC, certificate, message
from tests.waiting import NEVER_S

FETCH = sns.fetch


@pytest.fixture(autouse=True)
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The URLs that were asked for; each has the certificate."""
    urls: list[str] = []

    def fetch(url: str) -> bytes:
        urls.append(url)
        return certificate()

    monkeypatch.setattr(sns, "fetch", fetch)
    sns._public_key.cache_clear()
    return urls


@pytest.mark.parametrize("version", ["1", "2"])
@pytest.mark.parametrize("more", [{}, {"Subject": "Amazon SES"}])
def test_what_sns_signed_is_read_and_its_certificate_fetched_once(
    fetched: list[str], version: str, more: dict[str, str]
) -> None:
    for _ in range(2):
        read = sns.verified(message("hello", version=version, **more), topic=TOPIC)
        assert read == sns.SnsMessage("hello", None)
    assert fetched == [CERTIFICATE_URL]


def test_a_subscription_is_confirmed_at_sns_alone(fetched: list[str]) -> None:
    url = "https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription&Token=2336"
    asked = {"Type": "SubscriptionConfirmation", "Token": "2336", "SubscribeURL": url}
    sns.confirm(sns.verified(message("confirm", **asked), topic=TOPIC), topic=TOPIC)
    elsewhere = sns.verified(message("confirm", **{**asked, "SubscribeURL": "http://127.0.0.1/"}), topic=TOPIC)
    with pytest.raises(BadSignature):
        sns.confirm(elsewhere, topic=TOPIC)
    assert fetched == [CERTIFICATE_URL, url]


@pytest.mark.parametrize(
    "changed",
    [
        {"Message": "another"},
        {"Subject": "another"},
        {"Signature": "AAAA"},
        {"Signature": "é"},
        {"SignatureVersion": "1"},
        {"SignatureVersion": "3"},
        {"Timestamp": "2026-01-01T00:00:00.000Z"},
        {"Type": "SubscriptionConfirmation"},
    ],
)
def test_what_was_changed_is_refused(changed: dict[str, str]) -> None:
    with pytest.raises(BadSignature):
        sns.verified({**message("hello"), **changed}, topic=TOPIC)


def test_what_is_old_or_of_another_topic_is_refused_though_sns_signed_it(fetched: list[str]) -> None:
    old = (datetime.now(UTC) - timedelta(days=2)).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    for more in ({"Timestamp": old}, {"Timestamp": "now"}, {"TopicArn": f"{TOPIC}2"}, {"TopicArn": ""}):
        with pytest.raises(BadSignature):
            sns.verified(message("hello", **more), topic=TOPIC)
    for body in ({}, {"Type": 1}, {"Type": "UnsubscribeConfirmation"}):
        with pytest.raises(NotAnEvent):
            sns.verified({"TopicArn": TOPIC, **body}, topic=TOPIC)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "http://sns.eu-west-1.amazonaws.com/x.pem",
        "https://sns.eu-west-1.amazonaws.com.evil.example/x.pem",
        "https://evil.example/sns.eu-west-1.amazonaws.com/x.pem",
        "https://sns.eu-west-1.amazonaws.com@evil.example/x.pem",
        "https://evil.example#@sns.eu-west-1.amazonaws.com/x.pem",
        "https://sns.eu-west-1.amazonaws.com:8443/x.pem",
        "https://sns.us-east-1.amazonaws.com/x.pem",
        "https://sns.eu-west-1.amazonaws.com/x.pem\r\nHost: evil.example",
        "https://sns.eu-west-1.amazonaws.com/x",
        "https://sns.eu-west-1.amazonaws.com/x.pem?1.pem",
        "https://sns.eu-west-1.amazonaws.com/x.pem#1.pem",
        "https://SNS.eu-west-1.amazonaws.com/x.pem",
        "HTTPS://sns.eu-west-1.amazonaws.com/x.pem",
        "https://sns.eu-west-1.amazonaws.com/./x.pem",
        "https://sns.eu-west-1.amazonaws.com//x.pem",
        "https://sns.eu-west-1.amazonaws.com/%78.pem",
        "https://[/x.pem",
    ],
)
def test_a_certificate_of_another_host_is_not_even_fetched(fetched: list[str], url: str) -> None:
    with pytest.raises(BadSignature):
        sns.verified(message("hello", SigningCertURL=url), topic=TOPIC)
    assert fetched == []


@pytest.mark.parametrize("content", [b"", b"no certificate", certificate(ends_in=timedelta(seconds=-1))])
def test_a_certificate_that_is_none_or_has_ended_proves_nothing(
    monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    monkeypatch.setattr(sns, "fetch", lambda url: content)
    with pytest.raises(BadSignature):
        sns.verified(message("hello"), topic=TOPIC)


class Pages(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(302 if self.path == "/moved" else 200)
        self.send_header("Location", "/x.pem")
        self.end_headers()
        self.wfile.write(b"x" * 100_000)

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def https(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """A server whose certificate this process trusts."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    yield f"https://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def test_a_fetch_is_bounded_follows_no_redirect_and_trusts_known_authorities_alone(
    https: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert len(FETCH(f"{https}/x.pem")) == sns.FETCH_LIMIT_BYTES
    with pytest.raises(sns.FetchFault, match="answered 302"):
        FETCH(f"{https}/moved")
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "other.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "other.pem"))
    with pytest.raises(sns.FetchFault, match="SSLCertVerificationError"):
        FETCH(f"{https}/x.pem")


def test_a_fetch_waits_for_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """The threads in which it would wait store uploads too."""
    monkeypatch.setattr(sns, "_fetches", threading.BoundedSemaphore(1))
    monkeypatch.setattr(sns, "FETCH_LIMIT_S", NEVER_S)
    faults: list[sns.FetchFault] = []

    def fetch() -> None:
        try:
            FETCH("https://sns.eu-west-1.amazonaws.com/x.pem")
        except sns.FetchFault as fault:
            faults.append(fault)

    with sns._fetches:
        thread = threading.Thread(target=fetch, daemon=True)
        thread.start()
        thread.join(NEVER_S / 2)
    assert [str(fault) for fault in faults] == ["too many certificates are fetched"]


SES = {"mail": {"tags": {"job-id": ["1"]}, "commonHeaders": {"messageId": "<2@acme.example>"}}}


def bounce(kind: str, subtype: str, **recipient: str) -> dict[str, Any]:
    about = {"bounceType": kind, "bounceSubType": subtype, "bouncedRecipients": [{"emailAddress": ADA, **recipient}]}
    return {**SES, "eventType": "Bounce", "bounce": about}


ADA = "ada@example.com"


@pytest.mark.parametrize(
    ("body", "event", "permanent"),
    [
        (bounce("Permanent", "General", status="5.1.1", diagnosticCode="smtp; 550 5.1.1 no"), "bounced", True),
        (bounce("Permanent", "General", status="5.7.1"), "bounced", False),
        (bounce("Permanent", "General"), "bounced", False),
        (bounce("Permanent", "OnAccountSuppressionList"), "bounced", True),
        (bounce("Transient", "MailboxFull", status="5.1.1"), "bounced", False),
        ({**SES, "notificationType": "Delivery", "delivery": {"recipients": [ADA]}}, "delivered", False),
        (
            {
                **SES,
                "eventType": "Complaint",
                "complaint": {"complainedRecipients": [{"emailAddress": f"Ada <{ADA}>"}]},
            },
            *("complained", False),
        ),
        (
            {**SES, "eventType": "DeliveryDelay", "deliveryDelay": {"delayedRecipients": [{"emailAddress": ADA}]}},
            *("deferred", False),
        ),
    ],
)
def test_each_event_of_ses_is_read(body: dict[str, Any], event: str, permanent: bool) -> None:
    (read,) = of_ses(json.dumps(body))
    assert (read.event, read.permanent, read.address, read.job) == (event, permanent, ADA, "1")


def test_without_a_tag_the_letters_own_message_id_names_the_job() -> None:
    mail = {"mail": {"commonHeaders": {"messageId": "<job-2@acme.example>"}}}
    (read,) = of_ses(json.dumps({**mail, "notificationType": "Delivery", "delivery": {"recipients": [ADA]}}))
    assert read.job == "job-2"


@pytest.mark.parametrize("body", [{}, {"eventType": "Open"}, {"eventType": "Bounce", "bounce": [1]}, {"eventType": {}}])
def test_what_says_nothing_of_a_letter_changes_nothing(body: dict[str, Any]) -> None:
    assert of_ses(json.dumps(body)) == []


@pytest.mark.parametrize("text", ["", "hello", "[]", "Successfully validated SNS topic"])
def test_what_is_no_event_of_ses_is_said(text: str) -> None:
    with pytest.raises(NotAnEvent):
        of_ses(text)
