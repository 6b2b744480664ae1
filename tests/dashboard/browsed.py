"""What a browser is asked of each page, and how it comes to those that answer a form."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal
from urllib.parse import quote

import axe_playwright_python
from playwright.sync_api import Page, expect

from tests.http.answers_seen import LETTER
from tests.processes.conftest import House

AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text()
OF_COLOURS = ["color-contrast", "link-in-text-block"]
SCHEMES: Mapping[Literal["light", "dark"], Mapping[str, object]] = {"light": {}, "dark": {"runOnly": OF_COLOURS}}
"""With axe-core's options: what is no matter of colours is the same in both."""

Step = Callable[[Page], object]


def at(path: str) -> Step:
    return lambda page: page.goto(f"/dashboard{path}")


def filled(label: str, text: str) -> Step:
    return lambda page: page.get_by_label(label).first.fill(text)


def pressed(name: str) -> Step:
    return lambda page: page.get_by_role("button", name=name, exact=True).first.click()


def opened(summary: str) -> Step:
    return lambda page: page.locator("summary", has_text=summary).click()


ANSWERS: dict[str, tuple[Step, ...]] = {
    "Nothing is done yet": (
        at("/jobs?status=failed"),
        lambda page: page.locator("#all").check(),
        lambda page: page.select_option("#action", "cancel"),
        pressed("Look first…"),
    ),
    "skipped. It has finished": (pressed("Cancel them"),),
    "(is|are) put again": (at("/dead-jobs/replay?type=webhook"), pressed("Replay")),
    "Deliveries put again": (at("/webhook-endpoints/acme"), opened("What failed again"), pressed("Put again")),
    "The args do not fit": (at("/job-types/welcome_email"), pressed("Put")),
    "cron:": (at("/schedules/new"), filled("Cron", "x"), pressed("Make")),
    "not valid JSON": (at("/mail/templates/welcome?data=%7B"),),
    "There is no job": (at("/jobs/none"),),
}
"""What pages say that answer a form, or a mistake, and how one gets there: some from the page before."""


def actions_on(job: str) -> Iterator[tuple[Sequence[Step], str]]:
    """Every action that a page offers, some from the page before, with what is seen of it; the job is deferred."""
    letter, put = json.dumps(LETTER), "The job is in the queue"
    yield (at(job), opened("Another time"), filled("From now", "2h"), pressed("Reschedule")), "another time"
    yield (pressed("Cancel"),), "cancelled"
    yield (pressed("Retry"),), "The job is put again"
    yield (lambda page: page.get_by_role("link", name="Run again with other args").click(), pressed("Put")), put
    new = (at("/schedules/new?type=welcome_email"), filled("Id", "hello"), filled("Cron", "0 3 * * *"))
    yield (*new, filled("Args", letter), pressed("Make")), "At 03:00"
    yield (filled("Cron", "30 9 * * *"), pressed("Change")), "At 09:30"
    yield (pressed("Pause"),), "paused"
    yield (pressed("Resume"),), "Pause"
    yield (pressed("Trigger now"),), put
    yield (at("/schedules/hello"), pressed("Delete")), "Make a schedule"
    yield (at("/queues"), pressed("Pause cpu")), "Resume"
    yield (pressed("Resume cpu"), lambda page: expect(page.locator("main .badge")).to_have_count(0)), "Pause"
    yield (at("/webhook-endpoints/acme"), pressed("Disable")), "It is sent nothing"
    yield (pressed("Enable"),), "Disable"
    yield (pressed("Send a test"),), put
    yield (at("/webhook-endpoints/acme"), lambda page: page.locator("button", has_text="Resend").first.click()), put


def paths_of(house: House) -> list[str]:
    """Every page that is no answer to a form; a job of each type and state, with a parent and without; a parent."""
    listed = house.http.get(f"{house.url}/v1/jobs").json()["jobs"]
    jobs = {(job["type"], job["status"], "parent" in job["links"]): f"/jobs/{quote(job['id'])}" for job in listed}
    parents = {f"/jobs/{job['links']['parent'].rpartition('/')[2]}" for job in listed if "parent" in job["links"]}
    assert {"resize", "webhook", "welcome_email"} <= {kind for kind, *_ in jobs} and len(parents) == 1
    letters = [f"/mail/letters/{file.name}" for file in (house.data_dir / "mail").glob("*-hostile.eml")]
    schedules = house.http.get(f"{house.url}/v1/schedules").json()["schedules"]
    lists = ["", "/jobs", "/dead-jobs", "/dead-jobs/replay?type=webhook", "/queues", "/workers", "/schedules"]
    forms = [
        "/schedules/new",
        f"/schedules/{schedules[0]['id']}",
        "/job-types",
        "/job-types/resize",
        "/audit",
        "/webhook-endpoints",
        "/webhook-endpoints/acme",
        "/mail",
        "/mail/templates/welcome?name=%3Cscript%3Etop.fire()%3C/script%3E",
    ]
    return [*lists, *forms, *letters, *parents, *jobs.values()]


def faults_of(page: Page, name: str) -> list[str]:
    """Barriers, light and dark; more than a phone's width; and whether anything has run that others wrote."""
    faults = []
    page.set_viewport_size({"width": 320, "height": 700})
    if page.evaluate("document.scrollingElement.scrollWidth") > 320:
        faults.append(f"{name} is wider than 320 pixels")
    page.set_viewport_size({"width": 1280, "height": 800})
    for scheme, rules in SCHEMES.items():
        page.emulate_media(color_scheme=scheme)
        faults += barriers(page, f"{name}, {scheme}", rules)
    if page.evaluate("fired"):
        faults.append(f"{name} runs what others have written")
    return faults


def barriers(page: Page, name: str, rules: Mapping[str, object]) -> list[str]:
    """What axe-core finds. It is run past the page's policy, which lets no foreign script in."""
    if not page.evaluate("'axe' in globalThis"):
        page.context.new_cdp_session(page).send("Runtime.evaluate", {"expression": AXE})
    options = {"resultTypes": ["violations"], "preload": False, "iframes": False, **rules}
    found = page.evaluate("(options) => axe.run(document, options)", options)["violations"]
    return [f"{name}: {each['id']}: {json.dumps([node['html'][:200] for node in each['nodes']])}" for each in found]
