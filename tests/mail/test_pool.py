"""Letters and real mail servers: replies, and connections that are kept, lost, refused and waited for."""

from __future__ import annotations

import asyncio
import socket
import struct

import pytest
import uvloop

from errand.job.clock import Clock
from errand.mail.letter import Letter
from errand.mail.smtp import PoolLimits, SmtpPool, Timeouts
from errand.mail.smtp.connection import Lost, SmtpConnection
from errand.mail.verdict import Rejected, SenderRefused, Unavailable
from tests.mail.letters import letter
from tests.mail.raw_server import HANGS_UP, MUTE, WAITS, RawServer
from tests.peers import SmtpReceiver
from tests.waiting import eventually


async def send(url: str, sent: Letter | None = None) -> str:
    async with SmtpPool.open(url) as pool:
        return await pool.send(sent or letter())


async def test_a_letter_arrives_as_composed_in_its_envelope(mail_server: SmtpReceiver) -> None:
    assert await send(mail_server.url) == "250 OK"
    assert mail_server.letters == [letter().content]
    assert mail_server.envelopes == [("hello@acme.example", ["ada@example.com"])]


@pytest.mark.parametrize("command", ["MAIL", "RCPT", "DATA"])
@pytest.mark.parametrize("reply", ["450 4.2.1 busy", "452 4.3.1 full", "550 5.1.1 nobody", "554 5.7.1 spam"])
async def test_after_a_clear_no_the_next_letter_travels_over_the_same_connection(
    mail_server: SmtpReceiver, command: str, reply: str
) -> None:
    mail_server.replies[command] = [reply]
    async with SmtpPool.open(mail_server.url) as pool:
        with pytest.raises((Unavailable, Rejected), match=f"the mail server answered {reply}"):
            await pool.send(letter())
        await pool.send(letter())
    assert (len(mail_server.letters), mail_server.connections) == (1, 1)


async def test_a_server_that_is_not_there_may_come_back() -> None:
    with pytest.raises(Unavailable):
        await send("smtp://127.0.0.1:1")


async def test_letters_share_a_connection_up_to_a_number(mail_server: SmtpReceiver) -> None:
    async with SmtpPool.open(mail_server.url, limits=PoolLimits(letters=3)) as pool:
        for number in range(4):
            await pool.send(letter(job_id=f"job-{number}"))
    assert (len(mail_server.letters), mail_server.connections) == (4, 2)


async def test_many_letters_at_once_share_a_few_connections(mail_server: SmtpReceiver) -> None:
    async with SmtpPool.open(mail_server.url, limits=PoolLimits(connections=4)) as pool:
        await asyncio.gather(*(pool.send(letter(job_id=f"job-{number}")) for number in range(50)))
    assert len({message["Message-ID"] for message in mail_server.messages}) == 50
    assert 1 < mail_server.connections <= 4


async def test_the_wait_for_a_connection_is_not_a_part_of_the_attempts_time() -> None:
    """Attempts that waited for long were cut off after their letter had gone out, and sent it again."""
    limits = PoolLimits(connections=1)
    async with RawServer.serving(DOT=[WAITS]) as raw, SmtpPool.open(f"smtp://{raw.url}", limits=limits) as pool:
        first = asyncio.create_task(pool.send(letter()))
        await eventually(lambda: is_true(raw.letters))
        clock, seen = Clock(), []

        async def note_limit() -> None:
            seen.append(deadline.when())

        async def wait_and_send() -> str:
            async with deadline:
                return await pool.send(letter(job_id="job-2"), begin=note_limit, clock=clock)

        deadline = clock.start(300)
        second = asyncio.create_task(wait_and_send())
        await eventually(lambda: is_true(deadline.when() is None and not second.done()))
        raw.go_on.set()
        await asyncio.gather(first, second)
        assert len(raw.letters) == 2 and seen[0] is not None


async def is_true(value: object) -> bool:
    return bool(value)


async def test_a_connection_that_was_idle_for_long_is_not_used_again(mail_server: SmtpReceiver) -> None:
    async with SmtpPool.open(mail_server.url, limits=PoolLimits(idle_s=0)) as pool:
        await pool.send(letter())
        await pool.send(letter())
    assert (len(mail_server.letters), mail_server.connections) == (2, 2)


@pytest.mark.parametrize(
    ("step", "reply"),
    [
        ("MAIL", HANGS_UP),
        ("MAIL", MUTE),
        ("MAIL", b"421 4.3.2 too many letters"),
        ("MAIL", b"550 5.7.1 too many letters over this connection"),
        ("RCPT", HANGS_UP),
        ("RCPT", b"421 4.3.2 closing"),
    ],
)
async def test_a_kept_connection_that_is_refused_lost_or_mute_costs_no_try(step: str, reply: bytes) -> None:
    async with RawServer.serving(script={step: [b"250 OK", reply]}) as raw:
        timeouts = Timeouts(kept_s=0.1, leave_s=0.1)
        async with SmtpPool.open(f"smtp://{raw.url}", timeouts=timeouts) as pool:
            await pool.send(letter())
            await pool.send(letter(job_id="job-2"))
    assert (len(raw.letters), len(raw.connections)) == (2, 2)


async def test_what_a_kept_connection_says_of_a_recipient_counts() -> None:
    async with RawServer.serving(RCPT=[b"250 OK", b"550 5.1.1 nobody"]) as raw:
        async with SmtpPool.open(f"smtp://{raw.url}") as pool:
            await pool.send(letter())
            with pytest.raises(Rejected):
                await pool.send(letter())
    assert len(raw.connections) == 1


async def test_a_connection_that_the_server_closed_is_replaced() -> None:
    async with RawServer.serving() as raw, SmtpPool.open(f"smtp://{raw.url}") as pool:
        await pool.send(letter())
        raw.connections[0].close()
        await eventually(lambda: is_true(not pool._idle[0].connection.is_usable))
        await pool.send(letter())
    assert (len(raw.letters), len(raw.connections)) == (2, 2)


@pytest.mark.parametrize("tls", ["opportunistic", "none"])
async def test_a_recipient_beyond_ascii_needs_a_server_with_smtputf8(mail_server: SmtpReceiver, tls: str) -> None:
    url, to_joerg = f"{mail_server.url}?tls={tls}", letter("jörg@example.com", "Jörg")
    await send(url, to_joerg)
    assert mail_server.letters == [to_joerg.content]
    assert mail_server.envelopes == [("hello@acme.example", ["jörg@example.com"])]
    mail_server.smtputf8 = False
    with pytest.raises(Rejected, match="SMTPUTF8"):
        await send(url, to_joerg)


async def test_a_letter_too_large_for_the_server_is_not_begun() -> None:
    async with RawServer.serving({b"EHLO": b"250-raw\r\n250 SIZE 100"}) as raw:
        with pytest.raises(SenderRefused, match="takes 100"):
            await send(f"smtp://{raw.url}")
    assert not any(line.startswith(b"MAIL") for line in raw.commands)


async def test_an_attempt_that_is_cut_off_leaves_no_connection_behind() -> None:
    async with RawServer.serving(DOT=[WAITS]) as raw, SmtpPool.open(f"smtp://{raw.url}") as pool:
        sending = asyncio.create_task(pool.send(letter()))
        await eventually(lambda: is_true(raw.letters))
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        raw.go_on.set()
        await pool.send(letter(job_id="job-2"))
    assert (len(raw.letters), len(raw.connections)) == (2, 2)


def test_a_connection_that_is_reset_before_a_command_is_lost_on_the_workers_loop_too() -> None:
    """There it is a RuntimeError, by which a letter that nobody has sent would count as perhaps sent."""

    async def command_after_reset() -> None:
        async with RawServer.serving() as raw:
            host, _, port = raw.url.partition(":")
            connection = await SmtpConnection.open(host, int(port), tls=None, source=None, timeouts=Timeouts())
            await connection.reply()
            at_once = struct.pack("ii", 1, 0)
            raw.connections[0].get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
            raw.connections[0].transport.abort()

            async def is_closed() -> bool:
                return "closed=True" in repr(connection._writer.transport)

            await eventually(is_closed)
            with pytest.raises(Lost):
                await connection.command("DATA")

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(command_after_reset())
