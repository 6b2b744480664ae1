"""The job `welcome_email`, from its args to a real mail server."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from arq.connections import ArqRedis
from pydantic import BaseModel, ValidationError

from errand import Context, job
from errand.job.args_context import ArgsContext
from errand.mail.domains.slow_domains import SlowDomains, asks_for_less
from errand.mail.smtp.reply import SmtpReply
from errand.mail.suppressions import Suppressions
from errand.mail.unsure import HOLD_S
from errand.mail.verdict import Stage, Unavailable
from errand.monitor.job_snapshot import JobSnapshot, read_job
from errand.monitor.waiting import why_waiting
from errand.queue.queue import Queue
from errand.settings import MAIL_QUEUE
from errand.wire import keys
from errand.wire.records import Error
from jobs.welcome_email import WelcomeEmail, welcome_email
from settings import Settings
from tests.conftest import RunWorker, make_settings
from tests.mail.letters import SENDER, part, read
from tests.mail.raw_server import HANGS_UP, MUTE, WAITS, RawServer
from tests.peers import SmtpReceiver
from tests.waiting import NEVER_S, eventually
from tests.worker.test_worker import due_now, ended


@pytest.fixture
def settings(tmp_path: Path, mail_server: SmtpReceiver) -> Settings:
    return make_settings(tmp_path, smtp_url=mail_server.url, mail_from=SENDER)


# --- the args


@pytest.mark.parametrize(
    "faulty",
    [
        *({"to": to} for to in ("nobody", "a@b.c\r\nRCPT TO:<e@x.example>", "=?utf-8?q?x?=@example.com")),
        *({"name": name} for name in ("", "a" * 201, " ", "www.x.example", "=?utf-8?q?x?=", "a\nb")),
        *({"template": "../x"}, {"locale": "de_DE"}, {"data": "x"}, {"cc": "x"}),
    ],
)
def test_args_that_make_no_letter_are_refused(faulty: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        WelcomeEmail.model_validate({"to": "ada@example.com", "name": "Ada", **faulty})


def test_an_address_that_no_relay_can_take_is_refused_at_the_door(tmp_path: Path) -> None:
    to_joerg = {"to": "jörg@example.com", "name": "Jörg"}
    providers = "ses://k:s@eu-west-1,postmark://:t@api.postmarkapp.com"
    for smtp_url in (providers, None, f"{providers},smtp://localhost"):
        context = ArgsContext(settings=make_settings(tmp_path, smtp_url=smtp_url))
        if smtp_url == providers:
            with pytest.raises(ValidationError, match="no configured provider"):
                WelcomeEmail.model_validate(to_joerg, context=context)
        else:
            WelcomeEmail.model_validate(to_joerg, context=context)
        WelcomeEmail.model_validate({"to": "ada@bücher.example", "name": "Ada"}, context=context)


# --- the job


async def enqueue(redis: ArqRedis, to: str = "ada@example.com") -> str:
    return (
        await Queue(redis, name=MAIL_QUEUE, ended_ttl_s=60).enqueue("welcome_email", {"to": to, "name": "Ada"})
    ).job_id


async def test_a_job_sends_its_letter_and_keeps_the_receipt(
    redis: ArqRedis, run_worker: RunWorker, mail_server: SmtpReceiver
) -> None:
    async with run_worker([welcome_email]):
        job_id = await enqueue(redis)
        done = await ended(redis, job_id)
    assert (done.status, len(done.attempts)) == ("succeeded", 1)
    assert done.result == {"message_id": f"<{job_id}@acme.example>", "response": "250 OK"}
    (message,) = mail_server.messages
    assert message["Message-ID"] == f"<{job_id}@acme.example>"
    assert message["Date"].datetime.timestamp() == done.enqueued_at_ms // 1000  # the job's, not the attempt's


@pytest.mark.parametrize("waited_s", [0, 7 * 86_400], ids=["at once", "a week later"])
async def test_the_next_attempt_sends_the_same_letter(
    redis: ArqRedis, run_worker: RunWorker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, waited_s: int
) -> None:
    """One that was to wait is dated by the time that it was due: a week old it would be spam to many filters."""
    now_s = int(time.time())
    monkeypatch.setattr("errand.queue.new_job.timestamp_ms", lambda: (now_s - waited_s) * 1000)
    async with RawServer.serving(DOT=[b"451 4.3.0 try later"]) as raw:
        async with run_worker([welcome_email], make_settings(tmp_path, smtp_url=f"smtp://{raw.url}")):
            job_id = await enqueue(redis)
            await due_now(redis, job_id, queue=MAIL_QUEUE)
            done = await ended(redis, job_id)
    first, second = done.attempts
    assert (first.outcome, second.outcome) == ("retry", "succeeded")
    assert first.error == Error(
        "Retry", "the mail server answered 451 4.3.0 try later", fingerprint="Retry@errand.mail.sending:Mailer._send"
    )
    assert 7_500 <= (first.next_attempt_at_ms or 0) - first.ended_at_ms <= 12_500
    assert raw.letters[0] == raw.letters[1] and job_id.encode() in raw.letters[0]
    assert read(raw.letters[0])["Date"].datetime.timestamp() >= now_s


@pytest.mark.parametrize(("to", "reply"), [("ada@example.com", "550 5.1.1 nobody"), ("jörg@example.com", "SMTPUTF8")])
async def test_a_letter_that_the_server_refuses_for_good_fails_at_once(
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
        await due_now(redis, job_id, queue=MAIL_QUEUE)
        await due_now(redis, job_id, queue=MAIL_QUEUE)


class Nothing(BaseModel):
    pass


@job()
async def other_work(ctx: Context, args: Nothing) -> str:
    return "done"


async def test_a_mail_server_that_hangs_holds_up_nothing_but_mail(
    redis: ArqRedis, run_worker: RunWorker, tmp_path: Path
) -> None:
    async with RawServer.serving({b"EHLO": MUTE}) as raw:
        settings = make_settings(tmp_path, smtp_url=f"smtp://{raw.url}", mail_connections=2)
        async with run_worker([welcome_email, other_work], settings, max_jobs=4):
            for _ in range(8):
                await enqueue(redis)
            await eventually(lambda: raw.has_come_to("EHLO", 2))
            put = await Queue(redis, ended_ttl_s=60).enqueue("other_work", {})
            assert (await ended(redis, put.job_id)).result == "done"
            assert len(raw.connections) == 2


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
async def test_if_an_attempt_died_between_letter_and_reply_the_setting_decides(
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
        (b"554 5.7.1 spam", "fail", "deferred", None),
        (b"what?", "fail", "failed", b"begun"),
        (b"354 go on", "hold", "deferred", b"begun"),
    ],
)
async def test_only_a_lost_reply_leaves_the_sending_uncertain(
    redis: ArqRedis,
    run_worker: RunWorker,
    tmp_path: Path,
    reply: bytes,
    policy: str,
    status: str,
    marked: bytes | None,
) -> None:
    async with RawServer.serving(DOT=[reply]) as raw:
        settings = make_settings(tmp_path, smtp_url=f"smtp://{raw.url}", mail_when_unsure=policy)
        async with run_worker([welcome_email], settings):
            job_id = await enqueue(redis)

            async def settled() -> bool:
                snapshot = await read_job(redis, job_id, queues=[keys.queue(MAIL_QUEUE)])
                return snapshot is not None and snapshot.status == status and bool(snapshot.attempts)

            await eventually(settled)
    left = await redis.hget(keys.once(job_id), "sending")  # type: ignore[misc]  # types both its clients
    assert (marked in left) if marked else (left is None)


async def test_the_marker_is_set_before_the_letter_leaves(
    redis: ArqRedis, run_worker: RunWorker, tmp_path: Path
) -> None:
    """A worker that is killed while the server thinks leaves the marker behind."""
    async with RawServer.serving(DOT=[WAITS]) as raw:
        async with run_worker([welcome_email], make_settings(tmp_path, smtp_url=f"smtp://{raw.url}")):
            job_id = await enqueue(redis)

            async def letter_is_there() -> bool:
                return bool(raw.letters)

            await eventually(letter_is_there)
            assert b"begun" in await redis.hget(keys.once(job_id), "sending")  # type: ignore[misc]
            raw.go_on.set()
            assert (await ended(redis, job_id)).status == "succeeded"


async def test_a_letter_that_no_server_ever_says_it_took_is_not_sent_for_ever(
    redis: ArqRedis, run_worker: RunWorker, tmp_path: Path
) -> None:
    async with RawServer.serving({b"DOT": b"what?"}) as raw:
        async with run_worker([welcome_email], make_settings(tmp_path, smtp_url=f"smtp://{raw.url}")):
            job_id = await enqueue(redis)
            for _ in range(4):
                await due_now(redis, job_id, queue=MAIL_QUEUE)
            done = await ended(redis, job_id)
    assert (done.status, len(raw.letters)) == ("failed", 4)
    assert done.error is not None and done.error.message.startswith("unsure: ")


async def test_a_held_letter_is_sent_if_somebody_reschedules_it(
    redis: ArqRedis, run_worker: RunWorker, tmp_path: Path
) -> None:
    async with RawServer.serving(DOT=[HANGS_UP]) as raw:
        settings = make_settings(tmp_path, smtp_url=f"smtp://{raw.url}", mail_when_unsure="hold")
        async with run_worker([welcome_email], settings):
            job_id = await enqueue(redis)
            await due_now(redis, job_id, queue=MAIL_QUEUE)
            done = await ended(redis, job_id)
    held = done.attempts[0]
    assert held.error is not None and "held until" in held.error.message
    assert (held.next_attempt_at_ms or 0) - held.ended_at_ms == HOLD_S * 1000
    assert (done.status, len(raw.letters)) == ("succeeded", 2)


@pytest.mark.parametrize("ahead_s", [0, 3600], ids=["by the same clock", "by another worker's"])
async def test_a_held_letter_that_nobody_released_is_given_up(
    redis: ArqRedis, run_worker: RunWorker, tmp_path: Path, ahead_s: int
) -> None:
    job_id = await enqueue(redis)
    await mark(redis, job_id, state="begun")
    held = json.dumps({"state": "done", "value": time.time() + ahead_s})
    await redis.hset(keys.once(job_id), "held", held)  # type: ignore[misc]
    async with RawServer.serving() as raw:
        settings = make_settings(tmp_path, smtp_url=f"smtp://{raw.url}", mail_when_unsure="hold")
        async with run_worker([welcome_email], settings):
            done = await ended(redis, job_id)
    assert (done.status, raw.letters) == ("failed", [])


async def test_greylisting_is_obeyed(redis: ArqRedis, run_worker: RunWorker, tmp_path: Path) -> None:
    async with RawServer.serving(RCPT=[b"451 4.7.1 greylisted, try again in 300 seconds"]) as raw:
        async with run_worker([welcome_email], make_settings(tmp_path, smtp_url=f"smtp://{raw.url}")):
            job_id = await enqueue(redis)
            await due_now(redis, job_id, queue=MAIL_QUEUE)
            done = await ended(redis, job_id)
    first = done.attempts[0]
    assert (first.next_attempt_at_ms or 0) - first.ended_at_ms == 301_000


# --- suppression


async def test_an_address_that_bounced_for_good_gets_no_further_letter(
    redis: ArqRedis, run_worker: RunWorker, mail_server: SmtpReceiver
) -> None:
    mail_server.replies["RCPT"] = ["550 5.1.1 nobody"]
    async with run_worker([welcome_email]):
        bounced = await ended(redis, await enqueue(redis))
        connections = mail_server.connections
        done = await ended(redis, await enqueue(redis, "ADA@example.com"))
    assert bounced.status == "failed"
    assert (done.status, done.error and done.error.message) == ("cancelled", "suppressed: hard bounce")
    assert (mail_server.connections, mail_server.letters) == (connections, [])
    (known,) = await Suppressions(redis).find(["ada@example.com"])
    assert (known.job_id, known.detail) == (bounced.id, "550 5.1.1 nobody")


@pytest.mark.parametrize("reply", ["550 nobody here", "550 5.7.1 blocked", "452 4.2.2 full"])
async def test_only_a_clear_word_on_the_address_suppresses_it(
    redis: ArqRedis, run_worker: RunWorker, mail_server: SmtpReceiver, reply: str
) -> None:
    mail_server.replies["RCPT"] = [reply]
    async with run_worker([welcome_email]):
        await attempted(redis, await enqueue(redis))
    assert await Suppressions(redis).page(limit=10) == []


async def test_a_domain_that_asks_for_less_mail_slows_its_own_letters_alone_and_uses_no_tries(
    redis: ArqRedis, run_worker: RunWorker, tmp_path: Path
) -> None:
    script = {"RCPT": [b"421 4.7.28 too many messages from your address"]}
    async with RawServer.serving(script=script) as raw:
        async with run_worker([welcome_email], make_settings(tmp_path, smtp_url=f"smtp://{raw.url}")):
            slowed = await enqueue(redis)
            waiting = await deferred(redis, slowed)
            commands = len(raw.commands)
            second = await deferred(redis, await enqueue(redis, "bo@example.com"))
            assert len(raw.commands) == commands, "no SMTP is spoken for that domain now"
            other = await ended(redis, await enqueue(redis, "cy@example.org"))
            assert (other.status, len(raw.letters)) == ("succeeded", 1)
            await redis.set(keys.slow_domain("example.com"), '{"until_s": 1, "number": 1}')
            await due_now(redis, slowed, queue=MAIL_QUEUE)
            done = await ended(redis, slowed)
    assert (waiting.attempt, waiting.attempts, second.attempts) == (0, (), ())
    why = await why_waiting(redis, waiting, silent_s=10)
    assert why is not None and why.code == "domain_slowed"
    assert (done.status, done.attempt, await redis.exists(keys.slow_domain("example.com"))) == ("succeeded", 1, 0)


async def test_pauses_grow_and_a_greylisted_letter_slows_no_other(
    redis: ArqRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = SlowDomains(redis)
    first = await slow.slow_down("example.com")
    again = await slow.slow_down("example.com")
    assert again.number == 1, "many letters make one pause"
    assert again.rest_s == pytest.approx(first.rest_s, abs=NEVER_S)
    with monkeypatch.context() as patched:
        patched.setattr("time.time", lambda: 4e9)
        await slow.slow_down("example.net")
    of_another_clock = await slow.pause_of("example.net")
    assert of_another_clock is not None and of_another_clock.rest_s == pytest.approx(first.rest_s, abs=NEVER_S)
    await redis.set(keys.slow_domain("example.com"), '{"until_s": 1, "number": 3}')
    assert (await slow.slow_down("example.com")).number == 4
    for text, asks in (("4.7.1 slow down", True), ("4.7.1 Greylisted", False), ("4.2.2 full", False), ("busy", False)):
        reply = SmtpReply(451, text)
        assert asks_for_less(Unavailable("", stage=Stage.RCPT, reply=reply)) is asks
        assert not asks_for_less(Unavailable("", stage=Stage.CONNECT, reply=reply)), "the relay's own limit"


async def deferred(redis: ArqRedis, job_id: str) -> JobSnapshot:
    async def look() -> JobSnapshot | None:
        snapshot = await read_job(redis, job_id, queues=[keys.queue(MAIL_QUEUE)])
        return snapshot if snapshot is not None and snapshot.status == "deferred" else None

    return await eventually(look)


async def attempted(redis: ArqRedis, job_id: str) -> None:
    async def look() -> bool:
        snapshot = await read_job(redis, job_id, queues=[keys.queue(MAIL_QUEUE)])
        return snapshot is not None and bool(snapshot.attempts)

    await eventually(look)


# --- the mail sink


async def test_without_a_mail_server_the_sink_keeps_the_message(
    redis: ArqRedis, run_worker: RunWorker, tmp_path: Path
) -> None:
    async with run_worker([welcome_email], make_settings(tmp_path)):
        plain = await ended(redis, await enqueue(redis))
        beyond_ascii = await ended(redis, await enqueue(redis, "jörg@example.com"))
    for done, to in [(plain, "ada@example.com"), (beyond_ascii, "jörg@example.com")]:
        message = read(kept_of(tmp_path / "mail", done))
        assert message["To"] == f"Ada <{to}>"
        assert "Hello Ada," in part(message, "plain") and "Hello Ada,</h1>" in part(message, "html")


def kept_of(folder: Path, job: JobSnapshot) -> bytes:
    """The one message of that job; there is no unfinished file beside it."""
    (kept,) = folder.glob(f"*{job.id}*")
    assert kept.suffix == ".eml"
    return kept.read_bytes()
