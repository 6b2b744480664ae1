"""The dashboard of an installation that runs jobs of each type for a while: its pages, light and dark."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

from tests.ports import free_port
from tests.processes.conftest import House, a_house
from tests.screenshots.browser import Browser, Scheme, write_picture

RUN_S = 150
"""So long jobs run before the pictures are taken: the charts show minutes."""

SHORTENED = "document.querySelectorAll('table.jobs tbody tr:nth-child(n+16)').forEach((row) => row.remove())"
"""The rest of a list adds nothing to a picture but its size."""

SCHEMES: tuple[Scheme, ...] = ("light", "dark")

NAMES = ("Ada", "Grace", "Barbara", "Edsger", "Margaret", "Alan")


async def take(browser: Browser, folder: Path) -> None:
    """`dashboard-overview-light.webp` and so on."""
    async with _busy() as house:
        failed = _newest(house, type="webhook", status="deferred")
        letter = _newest(house, type="welcome_email", status="succeeded")
        pages = {"overview": "", "jobs": "/jobs", "job": failed, "letter": letter, "dead-jobs": "/dead-jobs"}
        for name, path in pages.items():
            for scheme in SCHEMES:
                await browser.show(f"{house.url}/dashboard{path}", width=1280, height=720, scheme=scheme)
                # until the page has its times in words, and says that it is live
                await browser.value_of("new Promise((done) => setTimeout(done, 1500))")
                await browser.value_of(SHORTENED)
                write_picture(await browser.picture(), folder, f"dashboard-{name}-{scheme}")


def _newest(house: House, **filter: str) -> str:
    """The path of the page of the newest such job."""
    (found,) = house.http.get(f"{house.url}/v1/jobs", params={**filter, "limit": 1}).json()["jobs"]
    return f"/jobs/{found['id']}"


@asynccontextmanager
async def _busy() -> AsyncIterator[House]:
    """An installation with jobs of the last minutes, some of which have failed."""
    with tempfile.TemporaryDirectory(prefix="errand-shots-", ignore_cleanup_errors=True) as folder:
        with a_house(Path(folder), environment={"WEBHOOK_ALLOW_NETWORKS": "127.0.0.0/8"}) as house:
            house.api()
            house.worker()
            receiver, nobody = f"http://127.0.0.1:{house.sink_port}/", f"http://127.0.0.1:{free_port()}/"
            await asyncio.to_thread(_put_for_a_while, house, receiver, nobody)
            yield house


def _put_for_a_while(house: House, receiver: str, nobody: str) -> None:
    """Jobs at an uneven pace, the same in each run."""
    random, clock = Random(7), asyncio.new_event_loop()
    until_s = clock.time() + RUN_S
    while clock.time() < until_s:
        for _ in range(random.randint(1, 12)):
            _put_one(house, random, receiver)
        if random.random() < 0.15:
            house.post("/v1/jobs/webhook?max_tries=1", json={"url": nobody, "event": "invoice.paid", "data": {"id": 7}})
        clock.run_until_complete(asyncio.sleep(random.uniform(0.2, 1.5)))
    house.post("/v1/jobs/webhook", json={"url": nobody, "event": "invoice.paid", "data": {"id": 8, "total": 129.9}})
    house.post("/v1/jobs/welcome_email?delay=2h", json={"to": "later@example.com", "name": "Ada"})
    clock.run_until_complete(asyncio.sleep(8))
    clock.close()


def _put_one(house: House, random: Random, receiver: str) -> None:
    name = random.choice(NAMES)
    if random.random() < 0.6:
        house.post("/v1/jobs/welcome_email", json={"to": f"{name.lower()}@example.com", "name": name})
    else:
        house.post("/v1/jobs/webhook", json={"url": receiver, "event": "user.created", "data": {"name": name}})
