"""The welcome letter, from its args to a real mail server."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.message import EmailMessage
from email.parser import Parser
from email.policy import default
from pathlib import Path
from typing import Any

import pytest
from arq.connections import ArqRedis
from pydantic import ValidationError

from errand.mail.letter import HEADERS, HeaderRefused, Letter, compose
from errand.mail.sink import opened_sink
from errand.mail.smtp import CONNECTIONS, Rejected, SmtpPool, SmtpServer, Unavailable
from errand.monitor.job_snapshot import JobSnapshot, read_job
from errand.queue.queue import Queue
from errand.wire import keys
from errand.wire.records import Error
from jobs.welcome_email import WelcomeEmail, welcome_email
from settings import Settings
from tests.conftest import RunWorker, make_settings
from tests.peers import SmtpReceiver
from tests.waiting import eventually
from tests.worker.test_worker import due_now, ended

SENDER = "Acme <hello@acme.example>"
DATE = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.fixture
def settings(tmp_path: Path, mail_server: SmtpReceiver) -> Settings:
    return make_settings(tmp_path, smtp_url=mail_server.url, mail_from=SENDER)


def letter(to: str = "ada@example.com", name: str = "Ada", *, sender: str = SENDER, job_id: str = "job-1") -> Letter:
    return compose(to, name, sender=sender, job_id=job_id, date=DATE)


def read(content: bytes) -> EmailMessage:
    """As a mail reader does; the standard library's bytes parser knows no RFC 6532."""
    return Parser(policy=default).parsestr(content.decode())


def part(message: EmailMessage, kind: str) -> str:
    body = message.get_body((kind,))
    assert body is not None
    return str(body.get_content()).replace("\r\n", "\n")


# --- the letter


def test_a_letter_has_a_text_and_an_html_part_and_no_header_beside_its_own() -> None:
    message = read(letter().content)
    assert message.keys() == HEADERS
    assert (message["From"], message["To"], message["Subject"]) == (SENDER, "Ada <ada@example.com>", "Welcome, Ada!")
    assert [inner.get_content_type() for inner in message.iter_parts()] == ["text/plain", "text/html"]
    assert part(message, "plain").startswith("Hello Ada,\n\nwelcome to Acme.")
    assert "<h1" in part(message, "html") and "Hello Ada,</h1>" in part(message, "html")


def test_a_name_is_escaped_in_html_and_stands_as_it_is_in_text() -> None:
    message = read(letter(name="<b>Ada</b> & Co").content)
    assert "Hello <b>Ada</b> & Co," in part(message, "plain")
    assert "Hello &lt;b&gt;Ada&lt;/b&gt; &amp; Co," in part(message, "html")


def test_each_attempt_of_a_job_composes_the_same_bytes() -> None:
    assert read(letter().content)["Date"].datetime == DATE
    assert letter(name="Žofie").content == letter(name="Žofie").content
    assert letter(job_id="job-2").content != letter().content


@pytest.mark.parametrize(
    ("job_id", "message_id"),
    [("job-1", "<job-1@acme.example>"), ("any thing:ž>", "<any%20thing%3A%C5%BE%3E@acme.example>")],
)
def test_a_message_id_follows_from_the_job_id(job_id: str, message_id: str) -> None:
    composed = letter(job_id=job_id)
    assert composed.message_id == read(composed.content)["Message-ID"] == message_id
    assert len(read(composed.content).get_boundary() or "") <= 70


def test_domains_travel_in_ascii() -> None:
    composed = letter("ada@bücher.example", sender="Acme <hello@münchen.example>")
    assert (composed.sender, composed.recipient) == ("hello@xn--mnchen-3ya.example", "ada@xn--bcher-kva.example")
    assert composed.message_id == "<job-1@xn--mnchen-3ya.example>"
    assert read(composed.content)["To"] == "Ada <ada@xn--bcher-kva.example>"
    assert composed.content.isascii() and not composed.needs_smtputf8


def test_a_local_part_beyond_ascii_stands_in_utf8_headers() -> None:
    composed = letter("jörg@bücher.example", "Jörg")
    assert (composed.recipient, composed.needs_smtputf8) == ("jörg@xn--bcher-kva.example", True)
    assert "To: Jörg <jörg@xn--bcher-kva.example>\r\n".encode() in composed.content


NAMES = [
    *("O'Brien", 'Müller, "Jö" <Jörg>', "ada@example.com", "a" * 200, "=", "?="),
    *(
        "Žofie Černá",
        "山田　太郎",
        "\u0639\u0644\u06cc\u200c\u0631\u0636\u0627",
        "\U0001f469\u200d\U0001f680",
        "Åse\N{NO-BREAK SPACE}Marie",
    ),
]


@pytest.mark.parametrize("name", NAMES)
def test_any_name_arrives_as_it_was_given(name: str) -> None:
    composed = letter(name=WelcomeEmail(to="ada@example.com", name=name).name)
    message = read(composed.content)
    (to,) = message["To"].addresses
    assert (to.display_name, to.addr_spec, message["Subject"]) == (name, "ada@example.com", f"Welcome, {name}!")
    assert f"Hello {name}," in part(message, "plain")
    assert composed.content.isascii()  # not every server takes 8 bits
    assert max(map(len, composed.content.split(b"\r\n"))) <= 998  # RFC 5322 §2.1.1


INJECTIONS = [
    *(
        f"Ada{sign}Bcc: e@x.example"
        for sign in ("\r\n", "\n", "\r", "\0", "\v", "\f", "\x1c", "\x85", "\u2028", "\u2029")
    ),
    *("Ada\r\n", "\nAda", "=?utf-8?q?x=0d=0aBcc=3a_e=40x?=", "Ada =?utf-8?q?x=0aBcc=3a_e=40x?= B", "=?"),
]


@pytest.mark.parametrize("name", INJECTIONS)
def test_a_name_that_could_end_a_header_is_refused_by_the_args_and_by_the_letter(name: str) -> None:
    with pytest.raises(ValidationError, match="plain text"):
        WelcomeEmail(to="ada@example.com", name=name)
    with pytest.raises(HeaderRefused):
        letter(name=name)


def test_an_injection_by_the_sender_is_refused() -> None:
    with pytest.raises(HeaderRefused):
        letter(sender="=?utf-8?q?x=0d=0aBcc=3a_e=40x?= <hello@acme.example>")


def test_a_name_does_not_become_an_address() -> None:
    """Python 3.11 drops the quotes when it folds this one."""
    name = f" \\ {'a' * 30}%:{'a' * 60};"
    try:
        message = read(letter(name=name).content)
    except HeaderRefused:
        return
    assert [address.addr_spec for address in message["To"].addresses] == ["ada@example.com"]


@pytest.mark.parametrize(
    "faulty",
    [{"to": "nobody"}, {"to": "a@b.c\r\nRCPT TO:<e@x.example>"}, {"name": ""}, {"name": "a" * 201}, {"cc": "x"}],
)
def test_args_that_make_no_letter_are_refused(faulty: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        WelcomeEmail.model_validate({"to": "ada@example.com", "name": "Ada", **faulty})


# --- the mail server's address


@pytest.mark.parametrize(
    ("url", "host", "port", "user", "implicit_tls", "starttls"),
    [
        ("smtp://mail.example", "mail.example", 25, None, False, None),
        ("smtp://mail.example:2525?starttls=required", "mail.example", 2525, None, False, True),
        ("smtp://mail.example?starttls=never", "mail.example", 25, None, False, False),
        ("smtp://ada:pw@mail.example", "mail.example", 587, ("ada", "pw"), False, True),
        ("smtp://ada:pw@mail.example?starttls=auto", "mail.example", 587, ("ada", "pw"), False, None),
        ("smtp://ada:pw@127.0.0.1", "127.0.0.1", 587, ("ada", "pw"), False, None),
        ("smtp://a%40b:p%2Fw%3A@[::1]:25", "::1", 25, ("a@b", "p/w:"), False, None),
        ("smtps://mail.example", "mail.example", 465, None, True, False),
        ("smtps://ada:pw@mail.example:4650", "mail.example", 4650, ("ada", "pw"), True, False),
    ],
)
def test_a_password_travels_to_another_machine_only_under_tls(
    url: str, host: str, port: int, user: tuple[str, str] | None, implicit_tls: bool, starttls: bool | None
) -> None:
    username, password = user or (None, None)
    assert SmtpServer.parse(url) == SmtpServer(host, port, username, password, implicit_tls, starttls)


@pytest.mark.parametrize(
    "url",
    [
        *(f"smtp://ada:s3{sign}cr3t@mail.example" for sign in "/?#℀"),
        *(f"smtp://ada:25{sign}cr3t@mail.example" for sign in "/?#"),
        "smtp://ada:s3cr3t@mail.example:port",
        "smtp://ada:s3cr3t@mail.example?starttls=maybe",
        "smtp://ada:s3cr3t@mail.example?startls=required",
    ],
)
def test_an_unreadable_url_is_refused_without_showing_the_password(url: str) -> None:
    with pytest.raises(ValueError, match="SMTP_URL") as refused:
        SmtpServer.parse(url)
    assert "s3" not in str(refused.value) and "cr3t" not in str(refused.value)


def test_a_server_does_not_show_its_password() -> None:
    assert "s3cr3t" not in repr(SmtpServer.parse("smtp://ada:s3cr3t@mail.example"))


# --- handing over


async def send(url: str, sent: Letter | None = None) -> str:
    async with SmtpPool.open(url) as pool:
        return await pool.send(sent or letter())


async def test_a_letter_arrives_as_composed_in_its_envelope(mail_server: SmtpReceiver) -> None:
    assert await send(mail_server.url) == "250 OK"
    assert mail_server.letters == [letter().content]
    assert mail_server.envelopes == [("hello@acme.example", ["ada@example.com"])]


@pytest.mark.parametrize("command", ["MAIL", "RCPT", "DATA"])
@pytest.mark.parametrize(
    ("reply", "error"),
    [
        *((reply, Unavailable) for reply in ("421 4.3.2 closing", "450 4.2.1 busy", "452 4.3.1 full")),
        *((reply, Rejected) for reply in ("550 5.1.1 nobody", "554 5.7.1 spam")),
    ],
)
async def test_4xx_says_later_and_5xx_never_and_the_next_letter_is_taken(
    mail_server: SmtpReceiver, command: str, reply: str, error: type[Exception]
) -> None:
    mail_server.replies[command] = [reply]
    async with SmtpPool.open(mail_server.url) as pool:
        with pytest.raises(error, match=f"the mail server answered {reply}"):
            await pool.send(letter())
        await pool.send(letter())
    assert len(mail_server.letters) == 1


async def test_a_server_that_is_not_there_may_come_back() -> None:
    with pytest.raises(Unavailable):
        await send("smtp://127.0.0.1:1")


async def test_letters_follow_one_another_on_a_connection(mail_server: SmtpReceiver) -> None:
    async with SmtpPool.open(mail_server.url) as pool:
        for number in range(3):
            await pool.send(letter(job_id=f"job-{number}"))
    assert (len(mail_server.letters), mail_server.connections) == (3, 1)


async def test_many_letters_at_once_share_a_few_connections(mail_server: SmtpReceiver) -> None:
    async with SmtpPool.open(mail_server.url) as pool:
        await asyncio.gather(*(pool.send(letter(job_id=f"job-{number}")) for number in range(50)))
    assert len({message["Message-ID"] for message in mail_server.messages}) == 50
    assert 1 < mail_server.connections <= CONNECTIONS


async def test_a_connection_that_was_idle_for_long_is_not_used_again(
    mail_server: SmtpReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("errand.mail.smtp.IDLE_LIMIT_S", 0)
    async with SmtpPool.open(mail_server.url) as pool:
        await pool.send(letter())
        await pool.send(letter())
    assert (len(mail_server.letters), mail_server.connections) == (2, 2)


@pytest.mark.parametrize("starttls", ["auto", "never"])
async def test_a_recipient_beyond_ascii_needs_a_server_with_smtputf8(mail_server: SmtpReceiver, starttls: str) -> None:
    url, to_joerg = f"{mail_server.url}?starttls={starttls}", letter("jörg@example.com", "Jörg")
    await send(url, to_joerg)
    assert mail_server.letters == [to_joerg.content]
    assert mail_server.envelopes == [("hello@acme.example", ["jörg@example.com"])]
    mail_server.smtputf8 = False
    with pytest.raises(Rejected, match="SMTPUTF8"):
        await send(url, to_joerg)


async def test_tls_that_is_required_and_not_offered_is_waited_for(mail_server: SmtpReceiver) -> None:
    with pytest.raises(Unavailable, match="STARTTLS"):
        await send(f"{mail_server.url}?starttls=required")
    assert mail_server.letters == []


HANGS_UP = b""
WAITS = b"250 at last"


@dataclass
class RawServer:
    """Says in SMTP what aiosmtpd would not: `replies` by command in turn, then 250."""

    url: str = ""
    replies: dict[bytes, list[bytes]] = field(default_factory=dict)
    letters: list[bytes] = field(default_factory=list)
    connections: list[asyncio.StreamWriter] = field(default_factory=list)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)

    @classmethod
    @asynccontextmanager
    async def serving(cls, **replies: list[bytes]) -> AsyncIterator[RawServer]:
        raw = cls(replies={command.encode(): said for command, said in replies.items()})
        server = await asyncio.start_server(raw._talk, "127.0.0.1", 0)
        raw.url = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with server:
            yield raw
            for writer in raw.connections:
                writer.close()
                with contextlib.suppress(ConnectionError):
                    await writer.wait_closed()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.append(writer)
        writer.write(b"220 ready\r\n")
        while line := await reader.readline():
            command = line.split()[0].upper()
            if command == b"DATA":
                writer.write(b"354 go on\r\n")
                self.letters.append(await reader.readuntil(b"\r\n.\r\n"))
            reply = self.replies[command].pop(0) if self.replies.get(command) else b"250 OK"
            if reply == HANGS_UP:
                break
            if reply == WAITS:
                await self.go_on.wait()
            writer.write(reply + b"\r\n")
        writer.close()


async def test_a_connection_that_the_server_closed_is_replaced() -> None:
    async with RawServer.serving() as raw, SmtpPool.open(f"smtp://{raw.url}") as pool:
        await pool.send(letter())
        raw.connections[0].close()

        async def noticed() -> bool:
            return not pool._idle[0].usable

        await eventually(noticed)
        await pool.send(letter())
    assert (len(raw.letters), len(raw.connections)) == (2, 2)


async def test_a_connection_on_which_a_letter_was_refused_is_given_up() -> None:
    async with RawServer.serving(RCPT=[b"550 no"]) as raw, SmtpPool.open(f"smtp://{raw.url}") as pool:
        with pytest.raises(Rejected):
            await pool.send(letter())

        async def given_up() -> bool:
            return raw.connections[0].is_closing()

        await eventually(given_up)


async def test_a_connection_lost_before_the_reply_leaves_open_whether_the_letter_was_taken() -> None:
    async with RawServer.serving(DATA=[HANGS_UP]) as raw:
        with pytest.raises(Unavailable):
            await send(f"smtp://{raw.url}")
    assert len(raw.letters) == 1


async def test_a_refused_login_does_not_show_the_password() -> None:
    refusals = {"EHLO": [b"250-raw\r\n250 AUTH PLAIN"], "AUTH": [b"535 5.7.8 no"]}
    async with RawServer.serving(**refusals) as raw:
        with pytest.raises(Rejected, match=r"535 5\.7\.8 no") as refused:
            await send(f"smtp://ada:s3cr3t@{raw.url}")
        with pytest.raises(Unavailable, match="AUTH") as unsupported:
            await send(f"smtp://ada:s3cr3t@{raw.url}")
    assert "s3cr3t" not in f"{refused.value} {unsupported.value}"


async def test_a_reply_that_is_no_utf8_still_has_a_json_form() -> None:
    async with RawServer.serving(RCPT=[b"550 Empf\xe4nger"], DATA=[b"250 f\xfcr dich"]) as raw:
        with pytest.raises(Rejected, match="550 Empf\ufffdnger"):
            await send(f"smtp://{raw.url}")
        assert await send(f"smtp://{raw.url}") == "250 f\ufffdr dich"


# --- the job


async def enqueue(redis: ArqRedis, to: str = "ada@example.com") -> str:
    return (await Queue(redis, ended_ttl_s=60).enqueue("welcome_email", {"to": to, "name": "Ada"})).job_id


async def test_a_job_sends_its_letter_and_keeps_the_receipt(
    redis: ArqRedis, run_worker: RunWorker, mail_server: SmtpReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("errand.queue.new_job.timestamp_ms", lambda: int(DATE.timestamp() * 1000))
    async with run_worker([welcome_email]):
        job_id = await enqueue(redis)
        done = await ended(redis, job_id)
    assert (done.status, len(done.attempts)) == ("succeeded", 1)
    assert done.result == {"message_id": f"<{job_id}@acme.example>", "response": "250 OK"}
    (message,) = mail_server.messages
    assert message["Message-ID"] == f"<{job_id}@acme.example>"
    assert message["Date"].datetime == DATE  # the job's, not the attempt's


async def test_the_next_attempt_sends_the_same_letter(redis: ArqRedis, run_worker: RunWorker, tmp_path: Path) -> None:
    async with RawServer.serving(DATA=[b"451 4.3.0 try later"]) as raw:
        async with run_worker([welcome_email], make_settings(tmp_path, smtp_url=f"smtp://{raw.url}")):
            job_id = await enqueue(redis)
            await due_now(redis, job_id)
            done = await ended(redis, job_id)
    first, second = done.attempts
    assert (first.outcome, second.outcome) == ("retry", "succeeded")
    assert first.error == Error(
        "Retry", "the mail server answered 451 4.3.0 try later", fingerprint="Retry@errand.mail.sending:Mailer._send"
    )
    assert 7_500 <= (first.next_attempt_at_ms or 0) - first.ended_at_ms <= 12_500
    assert raw.letters[0] == raw.letters[1] and job_id.encode() in raw.letters[0]


@pytest.mark.parametrize(("to", "reply"), [("ada@example.com", "550 5.1.1 nobody"), ("jörg@example.com", "SMTPUTF8")])
async def test_what_a_server_will_never_take_fails_at_once(
    redis: ArqRedis, run_worker: RunWorker, mail_server: SmtpReceiver, to: str, reply: str
) -> None:
    mail_server.smtputf8, mail_server.replies["RCPT"] = False, ["550 5.1.1 nobody"]
    async with run_worker([welcome_email]):
        done = await ended(redis, await enqueue(redis, to))
    assert (done.status, len(done.attempts)) == ("failed", 1)
    assert done.error is not None and done.error.type == "Fail" and reply in done.error.message


async def test_a_server_that_is_away_is_tried_again(redis: ArqRedis, run_worker: RunWorker, tmp_path: Path) -> None:
    async with run_worker([welcome_email], make_settings(tmp_path, smtp_url="smtp://127.0.0.1:1")):
        job_id = await enqueue(redis)
        await due_now(redis, job_id)
        await due_now(redis, job_id)


async def mark(redis: ArqRedis, job_id: str, **state: Any) -> None:
    """What an attempt that died left behind."""
    await redis.hset(keys.once(job_id), "sending", json.dumps(state))  # type: ignore[misc]  # types both its clients


async def test_a_letter_known_to_be_sent_is_not_sent_again(
    redis: ArqRedis, run_worker: RunWorker, mail_server: SmtpReceiver
) -> None:
    receipt = {"message_id": "<1@acme.example>", "response": "250 OK"}
    job_id = await enqueue(redis)
    await mark(redis, job_id, state="done", value=receipt)
    async with run_worker([welcome_email]):
        done = await ended(redis, job_id)
    assert (done.status, done.result, mail_server.messages) == ("succeeded", receipt, [])


@pytest.mark.parametrize(("policy", "status", "letters"), [("resend", "succeeded", 1), ("fail", "failed", 0)])
async def test_where_an_attempt_died_between_letter_and_reply_the_setting_decides(
    redis: ArqRedis, run_worker: RunWorker, tmp_path: Path, policy: str, status: str, letters: int
) -> None:
    job_id = await enqueue(redis)
    await mark(redis, job_id, state="begun")
    async with RawServer.serving() as raw:
        settings = make_settings(tmp_path, smtp_url=f"smtp://{raw.url}", mail_when_unsure=policy)
        async with run_worker([welcome_email], settings):
            done = await ended(redis, job_id)
    assert (done.status, len(raw.letters)) == (status, letters)


@pytest.mark.parametrize(
    ("reply", "policy", "status", "marked"),
    [
        (HANGS_UP, "resend", "deferred", b"begun"),
        (HANGS_UP, "fail", "failed", b"begun"),
        (b"451 4.3.0 try later", "fail", "deferred", None),
        (b"554 5.7.1 spam", "fail", "failed", None),
    ],
)
async def test_only_a_lost_reply_leaves_it_uncertain(
    redis: ArqRedis,
    run_worker: RunWorker,
    tmp_path: Path,
    reply: bytes,
    policy: str,
    status: str,
    marked: bytes | None,
) -> None:
    async with RawServer.serving(DATA=[reply]) as raw:
        settings = make_settings(tmp_path, smtp_url=f"smtp://{raw.url}", mail_when_unsure=policy)
        async with run_worker([welcome_email], settings):
            job_id = await enqueue(redis)

            async def settled() -> bool:
                snapshot = await read_job(redis, job_id)
                return snapshot is not None and snapshot.status == status and bool(snapshot.attempts)

            await eventually(settled)
    left = await redis.hget(keys.once(job_id), "sending")  # type: ignore[misc]  # types both its clients
    assert (marked in left) if marked else (left is None)


async def test_the_marker_is_set_before_the_letter_leaves(
    redis: ArqRedis, run_worker: RunWorker, tmp_path: Path
) -> None:
    """A worker that is killed while the server thinks leaves the marker behind."""
    async with RawServer.serving(DATA=[WAITS]) as raw:
        async with run_worker([welcome_email], make_settings(tmp_path, smtp_url=f"smtp://{raw.url}")):
            job_id = await enqueue(redis)

            async def letter_is_there() -> bool:
                return bool(raw.letters)

            await eventually(letter_is_there)
            assert b"begun" in await redis.hget(keys.once(job_id), "sending")  # type: ignore[misc]
            raw.go_on.set()
            assert (await ended(redis, job_id)).status == "succeeded"


# --- the mail sink


async def test_without_a_mail_server_the_message_lies_in_the_sink(
    redis: ArqRedis, run_worker: RunWorker, tmp_path: Path
) -> None:
    async with run_worker([welcome_email], make_settings(tmp_path)):
        plain = await ended(redis, await enqueue(redis))
        beyond_ascii = await ended(redis, await enqueue(redis, "jörg@example.com"))
    for job, to in [(plain, "ada@example.com"), (beyond_ascii, "jörg@example.com")]:
        message = read(kept_of(tmp_path / "mail", job))
        assert message["To"] == f"Ada <{to}>"
        assert "Hello Ada," in part(message, "plain") and "Hello Ada,</h1>" in part(message, "html")


def kept_of(folder: Path, job: JobSnapshot) -> bytes:
    """The one message of that job; nothing unfinished lies beside it."""
    (kept,) = folder.glob(f"*{job.id}*")
    assert kept.suffix == ".eml"
    return kept.read_bytes()


async def test_a_sink_that_cannot_write_says_later(tmp_path: Path) -> None:
    folder = tmp_path / "mail"
    folder.touch()
    async with opened_sink(folder) as url:
        with pytest.raises(Unavailable, match="452"):
            await send(url)
