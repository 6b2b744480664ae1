"""Letters and real mail servers: addresses, replies, connections that are kept, lost and refused."""

from __future__ import annotations

import asyncio

import pytest

from errand.job.clock import Clock
from errand.mail.letter import Letter
from errand.mail.smtp import Rejected, SmtpPool, SmtpServer, Unavailable
from tests.mail.letters import letter
from tests.mail.raw_server import HANGS_UP, WAITS, RawServer
from tests.peers import SmtpReceiver
from tests.waiting import eventually

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
        *(f"smtp://ada:s3{char}cr3t@mail.example" for char in "/?#℀"),
        *(f"smtp://ada:25{char}cr3t@mail.example" for char in "/?#"),
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


# --- sending


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


async def test_letters_share_a_connection_one_after_another(mail_server: SmtpReceiver) -> None:
    async with SmtpPool.open(mail_server.url) as pool:
        for number in range(3):
            await pool.send(letter(job_id=f"job-{number}"))
    assert (len(mail_server.letters), mail_server.connections) == (3, 1)


async def test_many_letters_at_once_share_a_few_connections(mail_server: SmtpReceiver) -> None:
    async with SmtpPool.open(mail_server.url, connections=4) as pool:
        await asyncio.gather(*(pool.send(letter(job_id=f"job-{number}")) for number in range(50)))
    assert len({message["Message-ID"] for message in mail_server.messages}) == 50
    assert 1 < mail_server.connections <= 4


async def test_the_wait_for_a_connection_is_not_a_part_of_the_attempts_time() -> None:
    """Attempts that waited for long were cut off after their letter had gone out, and sent it again."""
    async with RawServer.serving(DATA=[WAITS]) as raw, SmtpPool.open(f"smtp://{raw.url}", connections=1) as pool:
        first = asyncio.create_task(pool.send(letter()))
        await eventually(lambda: has_come(raw, 1))
        clock, limits = Clock(), []

        async def note_limit() -> None:
            limits.append(deadline.when())

        async def wait_and_send() -> str:
            async with deadline:
                return await pool.send(letter(job_id="job-2"), begin=note_limit, clock=clock)

        deadline = clock.start(300)
        second = asyncio.create_task(wait_and_send())
        await eventually(lambda: is_true(deadline.when() is None and not second.done()))
        raw.go_on.set()
        await asyncio.gather(first, second)
        assert len(raw.letters) == 2 and limits[0] is not None


async def has_come(raw: RawServer, number: int) -> bool:
    return len(raw.letters) == number


async def is_true(value: bool) -> bool:
    return value


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


async def test_required_tls_that_is_not_offered_may_come_later(mail_server: SmtpReceiver) -> None:
    with pytest.raises(Unavailable, match="STARTTLS"):
        await send(f"{mail_server.url}?starttls=required")
    assert mail_server.letters == []


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


async def test_after_a_connection_lost_before_the_reply_the_sending_is_unsure() -> None:
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


async def test_a_reply_that_is_not_utf8_becomes_valid_json() -> None:
    async with RawServer.serving(RCPT=[b"550 Empf\xe4nger"], DATA=[b"250 f\xfcr dich"]) as raw:
        with pytest.raises(Rejected, match="550 Empf\ufffdnger"):
            await send(f"smtp://{raw.url}")
        assert await send(f"smtp://{raw.url}") == "250 f\ufffdr dich"
