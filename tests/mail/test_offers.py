"""An address that no mail server can take is refused at the door, once a worker has seen what they offer."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from arq.connections import ArqRedis

from errand.mail.offers import MailServerOffers
from jobs.welcome_email import welcome_email
from settings import Settings
from tests.conftest import OpenClient, RunWorker, make_settings
from tests.mail.letters import SENDER
from tests.peers import SmtpReceiver
from tests.worker.test_worker import ended

ADA, JOERG = {"to": "ada@example.com", "name": "Ada"}, {"to": "jörg@example.com", "name": "Jörg"}


@pytest.fixture
def settings(tmp_path: Path, mail_server: SmtpReceiver, redis_url: str) -> Settings:
    return make_settings(tmp_path, smtp_url=mail_server.url, mail_from=SENDER, redis_url=redis_url)


async def put(client: httpx.AsyncClient, path: str, body: object, **headers: str) -> tuple[int, str]:
    """The status, and the field that is at fault."""
    answer = await client.post(f"/v1/jobs/welcome_email{path}", json=body, headers=headers)
    return answer.status_code, answer.json()["errors"][0]["field"] if answer.status_code == 422 else ""


@pytest.mark.parametrize("offered", [True, False])
async def test_what_the_mail_server_has_offered_decides_whether_an_address_beyond_ascii_is_taken(
    redis: ArqRedis, open_client: OpenClient, run_worker: RunWorker, mail_server: SmtpReceiver, offered: bool
) -> None:
    mail_server.smtputf8 = offered
    async with open_client() as client:
        key = {"Idempotency-Key": "once"}
        assert await put(client, "", JOERG, **key) == (202, ""), "nobody knows yet"
        async with run_worker([welcome_email]):
            job = (await client.post("/v1/jobs/welcome_email", json=ADA)).json()
            assert (await ended(redis, job["id"])).status == "succeeded"
        refused = (422, "body.to"), (422, "body.1.to")
        answers = await put(client, "", JOERG), await put(client, "/batch", [ADA, JOERG, JOERG])
        assert answers == (((202, ""), (202, "")) if offered else refused)
        assert await put(client, "", ADA) == (202, "")
        assert await put(client, "", JOERG, **key) == (202, ""), "it was taken before"


async def test_one_server_that_may_take_it_is_enough(redis: ArqRedis) -> None:
    offers = MailServerOffers(redis)
    one, two = "smtps://ada:secret@one.example", "smtp://two.example:2525"
    await offers.note(one, {"SIZE"})
    assert await offers.none_takes_smtputf8([one])
    assert not await offers.none_takes_smtputf8([one, two]), "nobody has spoken with it"
    await offers.note(two, {})
    assert await offers.none_takes_smtputf8([one, two])
    await offers.note(two, {"SMTPUTF8": ""})
    assert not await offers.none_takes_smtputf8([one, two])
    assert not [key for key in await redis.keys("*") if b"secret" in key]
