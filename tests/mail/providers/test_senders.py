"""Letters by the APIs of SES and Postmark: what is asked, what each answer means, and what is never known."""

from __future__ import annotations

import asyncio
import json
from base64 import b64decode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from errand.job.clock import Clock
from errand.mail.providers import http_api
from errand.mail.relays import Transport, opened_relays
from errand.mail.smtp import PoolLimits
from errand.mail.verdict import Kind, Refusal
from errand.mail.writing.compose import compose
from errand.mail.writing.message import Attachment, Message
from tests.conftest import make_settings
from tests.mail.letters import DATE, SENDER, TEMPLATES, letter
from tests.mail.providers.scripted_api import CUT, HANGS_UP, MUTE, Answer, ScriptedApi
from tests.mail.raw_server import RawServer
from tests.waiting import eventually

T, A, S, U = Kind.TRANSIENT, Kind.ADDRESS, Kind.SENDER, Kind.UNSURE

SES_YES: Answer = (200, {"MessageId": "0100-1"})
POSTMARK_YES: Answer = (200, {"ErrorCode": 0, "Message": "OK", "MessageID": "b7bc-1"})


def ses_url(api: ScriptedApi, more: str = "") -> str:
    return f"ses://AKID:se%2Fcret@eu-west-1?endpoint=http://{api.address}{more}"


def postmark_url(api: ScriptedApi) -> str:
    return f"postmark://:tok%2Fen@{api.address}?stream=letters"


@asynccontextmanager
async def sending(*urls: str) -> AsyncIterator[Transport]:
    async with opened_relays(urls, limits=PoolLimits(connections=2), name=None) as transport:
        yield transport


async def test_ses_gets_the_letter_as_it_is_signed_and_tagged() -> None:
    sent = letter("ada@bücher.example", "Žofie", cc=["bo@example.com"])
    async with ScriptedApi(SES_YES).serving() as api:
        async with sending(ses_url(api, "&configuration_set=events")) as transport:
            assert await transport.send(sent) == "200 0100-1"
    ((path, headers, body),) = api.requests
    asked = json.loads(body)
    assert path == "/v2/email/outbound-emails"
    assert b64decode(asked["Content"]["Raw"]["Data"]) == sent.content
    assert asked["Destination"] == {"ToAddresses": ["ada@xn--bcher-kva.example", "bo@example.com"]}
    assert asked["ConfigurationSetName"] == "events"
    # it would take the place of the header From, which is signed
    assert "FromEmailAddress" not in asked and "FeedbackForwardingEmailAddress" not in asked
    assert asked["EmailTags"] == [{"Name": "job-id", "Value": "job-1"}]
    assert "/eu-west-1/ses/aws4_request, SignedHeaders=content-type;host;x-amz-date, " in headers["Authorization"]
    assert headers["Host"] == api.address


async def test_ses_passes_bounces_on_to_the_return_path() -> None:
    message = Message(to="ada@example.com", template="welcome")
    back = "bounces@acme.example"
    sent = compose(message, TEMPLATES, sender=SENDER, job_id="job-1", date=DATE, return_path=back)
    async with ScriptedApi(SES_YES).serving() as api, sending(ses_url(api)) as transport:
        await transport.send(sent)
    ((_, _, body),) = api.requests
    assert json.loads(body)["FeedbackForwardingEmailAddress"] == "bounces+job-1@acme.example"


async def test_keys_of_ses_in_a_file_are_read_again_for_each_letter(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    async with ScriptedApi(SES_YES).serving() as api:
        url = f"ses://eu-west-1?endpoint=http://{api.address}&credentials_file={file}"
        async with sending(url) as transport:
            with pytest.raises(Refusal, match="credentials_file") as refused:
                await transport.send(letter())
            for key, more in (("AKID1", {}), ("AKID2", {"SessionToken": "tok"})):
                file.write_text(json.dumps({"AccessKeyId": key, "SecretAccessKey": "s", **more}))
                await transport.send(letter())
    first, second = (headers for _, headers, _ in api.requests)
    assert refused.value.kind is S
    assert "Credential=AKID1/" in first["Authorization"] and "Credential=AKID2/" in second["Authorization"]
    assert second["X-Amz-Security-Token"] == "tok"


async def test_postmark_gets_what_the_letter_says() -> None:
    logo = Attachment(content=b"PNG", filename="logo.png", content_type="image/png", cid="logo")
    sent = letter(
        name='Žofie "Z"',
        cc=["bo@example.com"],
        reply_to="cy@example.com",
        tags=["welcome"],
        unsubscribe_url="https://acme.example/u",
        attachments=[logo],
    )
    async with ScriptedApi(POSTMARK_YES).serving() as api, sending(postmark_url(api)) as transport:
        assert await transport.send(sent) == "200 b7bc-1"
    ((path, headers, body),) = api.requests
    asked = json.loads(body)
    assert (path, headers["X-Postmark-Server-Token"], asked["MessageStream"]) == ("/email", "tok/en", "letters")
    assert asked["From"] == '"Acme" <hello@acme.example>' and asked["To"] == '"Žofie \\"Z\\"" <ada@example.com>'
    assert (asked["Cc"], asked["ReplyTo"]) == ("bo@example.com", "cy@example.com")
    assert asked["Subject"] == 'Welcome, Žofie "Z"!' and asked["TextBody"].startswith('Hello Žofie "Z",')
    assert 'Hello Žofie "Z",</h1>' in asked["HtmlBody"]
    named = {header["Name"]: header["Value"] for header in asked["Headers"]}
    assert named == {
        "Message-ID": "<job-1@acme.example>",
        "X-PM-KeepID": "true",
        "Auto-Submitted": "auto-generated",
        "X-Tag": "welcome",
        "List-Unsubscribe": "<https://acme.example/u>",
        "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
    }
    (enclosed,) = asked["Attachments"]
    assert (b64decode(enclosed["Content"]), enclosed["ContentID"]) == (b"PNG", "cid:logo")
    assert asked["Metadata"] == {"job-id": "job-1"}


SES_ANSWERS: list[tuple[Answer, Kind]] = [
    ((429, {"__type": "TooManyRequestsException", "message": "Maximum sending rate exceeded."}), T),
    ((400, {"__type": "com.amazonaws#ThrottlingException", "message": "Daily message quota exceeded"}), T),
    ((400, {"__type": "SendingPausedException"}), S),
    ((400, {"__type": "MessageRejected", "message": "Email address is not verified."}), S),
    ((403, {"__type": "SignatureDoesNotMatch"}), S),
    ((400, {"__type": "NewException"}), S),
    ((301, "moved"), S),
    ((500, {"__type": "InternalFailure"}), U),
    ((502, "<html>"), U),
    ((503, "busy"), T),
    ((504, "late"), U),
    (HANGS_UP, U),
    (MUTE, U),
]

POSTMARK_ANSWERS: list[tuple[Answer, Kind]] = [
    ((401, {"ErrorCode": 10, "Message": "Bad token"}), S),
    ((422, {"ErrorCode": 300, "Message": "Invalid 'To' address"}), S),
    ((422, {"ErrorCode": 406, "Message": "inactive recipient"}), A),
    ((200, {"ErrorCode": 406, "Message": "inactive recipient"}), A),
    ((422, {"ErrorCode": 99_999}), S),
    ((422, {"ErrorCode": "?"}), S),
    ((429, "slow"), T),
    ((500, {"ErrorCode": 0}), U),
    ((503, {"ErrorCode": 100, "Message": "maintenance"}), T),
    ((404, "x" * 100_000), S),
    (HANGS_UP, U),
]


@pytest.mark.parametrize(
    ("provider", "answer", "kind"),
    [("ses", *case) for case in SES_ANSWERS] + [("postmark", *case) for case in POSTMARK_ANSWERS],
)
async def test_each_answer_means_what_the_provider_says(
    provider: str, answer: Answer, kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_api, "ANSWER_S", 0.2 if answer == MUTE else 120)
    async with ScriptedApi(SES_YES, [answer]).serving() as api:
        async with sending(ses_url(api) if provider == "ses" else postmark_url(api)) as transport:
            with pytest.raises(Refusal) as refused:
                await transport.send(letter())
            assert refused.value.kind is kind, refused.value
            assert len(str(refused.value)) < 1200
            await transport.send(letter())


async def test_the_name_of_an_error_may_stand_in_a_header() -> None:
    async with ScriptedApi(SES_YES, [(400, {"message": "slow down"})]).serving() as api:
        api.answer_headers = {"x-amzn-ErrorType": "TooManyRequestsException:http://internal.example/"}
        async with sending(ses_url(api)) as transport:
            with pytest.raises(Refusal) as refused:
                await transport.send(letter())
    assert refused.value.kind is T


@pytest.mark.parametrize("answer", [(429, "slow"), (403, {"__type": "AccessDeniedException"})])
async def test_a_provider_that_refuses_who_sends_is_passed_over_for_the_next(answer: Answer) -> None:
    async with ScriptedApi(SES_YES, [answer]).serving() as api, RawServer.serving() as raw:
        async with sending(ses_url(api), f"smtp://{raw.url}") as transport:
            for number in range(2):
                await transport.send(letter(job_id=f"job-{number}"))
    assert (len(api.requests), len(raw.letters)) == (1, 2)


async def test_a_letter_too_large_for_a_provider_goes_by_the_next_and_the_others_as_before() -> None:
    async with ScriptedApi(POSTMARK_YES, [(413, "")]).serving() as api, RawServer.serving() as raw:
        async with sending(postmark_url(api), f"smtp://{raw.url}") as transport:
            for number in range(2):
                await transport.send(letter(job_id=f"job-{number}"))
    assert (len(api.requests), len(raw.letters)) == (2, 1)


async def test_what_is_unsure_goes_to_no_other_relay() -> None:
    async with ScriptedApi(SES_YES, [HANGS_UP]).serving() as api, RawServer.serving() as raw:
        async with sending(ses_url(api), f"smtp://{raw.url}") as transport:
            with pytest.raises(Refusal):
                await transport.send(letter())
    assert raw.connections == []


async def test_a_letter_that_was_taken_is_sent_though_the_rest_of_the_answer_is_lost() -> None:
    """Unsure, it would be sent again."""
    async with ScriptedApi(CUT).serving() as api, sending(ses_url(api)) as transport:
        assert await transport.send(letter()) == "200"


async def test_a_provider_that_is_away_has_got_nothing() -> None:
    async with sending("ses://AKID:s@eu-west-1?endpoint=http://127.0.0.1:1") as transport:
        with pytest.raises(Refusal, match="no connection") as refused:
            await transport.send(letter())
    assert refused.value.kind is T


async def test_an_address_beyond_ascii_is_none_for_providers_and_goes_by_the_next() -> None:
    utf8 = {"EHLO": [b"250-raw\r\n250 SMTPUTF8"]}
    async with ScriptedApi(POSTMARK_YES).serving() as api, RawServer.serving(script=utf8) as raw:
        async with sending(postmark_url(api), ses_url(api), f"smtp://{raw.url}") as transport:
            await transport.send(letter("jörg@example.com"))
    assert (len(api.requests), len(raw.letters)) == (0, 1)


async def test_the_marker_is_set_before_anything_is_posted_and_no_more_letters_go_at_once_than_connections() -> None:
    begun: list[int] = []
    async with ScriptedApi(MUTE).serving() as api, sending(ses_url(api)) as transport:

        async def begin() -> None:
            begun.append(len(api.requests))

        letters = [asyncio.create_task(transport.send(letter(), begin=begin, clock=Clock())) for _ in range(4)]
        await eventually(lambda: done(len(api.requests) == 2))
        for task in letters:
            task.cancel()
        await asyncio.gather(*letters, return_exceptions=True)
    assert begun[0] == 0 and len(begun) == 2


async def done(value: bool) -> bool:
    return value


@pytest.mark.parametrize(
    "url",
    [
        "ses://eu-west-1",
        "ses://AKID@eu-west-1",
        "ses://AKID:s@localhost",
        "ses://AKID:s@eu-west-1/x",
        "ses://AKID:s@eu-west-1?region=x",
        "ses://AKID:s@eu-west-1?endpoint=x",
        "postmark://token@api.postmarkapp.com",
        "postmark://api.postmarkapp.com",
        "postmark://:t@api.postmarkapp.com?tls=none",
    ],
)
async def test_a_url_that_cannot_be_read_is_said_without_its_secrets(url: str) -> None:
    with pytest.raises(ValueError, match=r"^SMTP_URL: must be ") as fault:
        async with sending(url):
            pass
    assert "AKID" not in str(fault.value)


def test_letters_leave_this_machine_over_tls_alone() -> None:
    assert http_api.origin_of("email.eu-west-1.amazonaws.com", None) == "https://email.eu-west-1.amazonaws.com"
    assert http_api.origin_of("vpce.example", 8443) == "https://vpce.example:8443"
    assert http_api.origin_of("127.0.0.1", 8080) == "http://127.0.0.1:8080"


def test_keys_and_tokens_in_urls_are_secrets_of_the_installation(tmp_path: Path) -> None:
    url = "ses://AKID:se%2Fcret@eu-west-1,postmark://:tok%2Fen@api.postmarkapp.com"
    settings = make_settings(tmp_path, smtp_url=url)
    assert {"se%2Fcret", "se/cret", "tok%2Fen", "tok/en"} <= set(settings.secrets)
    assert "%2Fcret" not in repr(settings) and "%2Fen" not in repr(settings)
