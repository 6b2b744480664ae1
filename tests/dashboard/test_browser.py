"""The dashboard in Debian's Chromium: barriers, hostile content, keyboard, what is live, who may, and no scripts."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from errand.wire import keys
from tests.dashboard.browsed import ANSWERS, actions_on, faults_of, paths_of, pressed
from tests.dashboard.browser_house import put_failing, redis_of, used_house
from tests.dashboard.page_seen import OWN_PAGE
from tests.dashboard.signed_in import OWNER, READER
from tests.http.answers_seen import LETTER
from tests.ports import free_port
from tests.processes.conftest import House
from tests.waiting import NEVER_S, eventually_sync

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
WHAT_TO_INSTALL = "Chromium is missing: apt-get install chromium (macOS: brew install --cask chromium)"
WRITTEN_BY_OTHERS = ("/audit", "/mail", "/webhook-endpoints")
"""Pages that must show the hostile texts, as texts."""
SIGN_IN = "/jobs?status=failed"
"""Of a service with keys, to somebody who has shown none."""
WAIT_MS = NEVER_S * 1000

expect.set_options(timeout=WAIT_MS)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(WHAT_TO_INSTALL)
    with sync_playwright() as driver:
        # Chromium's own sandbox does not start as root, as in a container
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with used_house(tmp_path_factory.mktemp("board")) as running:
        yield running


@pytest.fixture(scope="module")
def guarded(house: House) -> House:
    """A second API of the same installation, with keys."""
    other = replace(house, port=free_port(), environment={"API_KEYS": f"rita={READER}:read,olga={OWNER}"})
    other.api()
    return other


@pytest.fixture
def page(browser: Browser, house: House) -> Iterator[Page]:
    context = browser.new_context(base_url=house.url)
    context.set_default_timeout(WAIT_MS)
    yield context.new_page()
    context.close()


@pytest.mark.timeout(900)  # all pages; a browser takes minutes beside programs that compute
def test_no_page_has_a_barrier_runs_what_others_wrote_or_is_wider_than_a_phone(
    page: Page, house: House, guarded: House
) -> None:
    """In both colour schemes, by axe-core's rules for WCAG 2.2 AA and its best practices."""
    faults: list[str] = []

    def note(message: ConsoleMessage) -> None:
        # of a hostile letter it says what was refused, and of pages that answer a mistake their status
        if message.type == "error" and "/mail/letters/" not in page.url and "the server responded" not in message.text:
            faults.append(message.text)

    page.on("console", note)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("requestfinished", lambda request: faults.append(request.url) if "canary" in request.url else None)
    page.add_init_script("globalThis.fired = 0; globalThis.fire = () => { fired += 1; };")
    for path in [*paths_of(house), SIGN_IN]:
        page.goto(f"{guarded.url if path == SIGN_IN else ''}/dashboard{path}")
        faults += faults_of(page, path)
        if path.startswith(WRITTEN_BY_OTHERS) and "fire()" not in page.inner_text("main"):
            faults.append(f"{path} does not show what others have written")
    for said, steps in ANSWERS.items():
        for step in steps:
            step(page)
        expect(page.locator("main")).to_contain_text(re.compile(said))
        faults += faults_of(page, said)
    assert not faults, "\n".join(faults)


def test_each_action_is_seen_to_take_effect(page: Page, house: House) -> None:
    job = house.post("/v1/jobs/welcome_email?delay=1h", json=LETTER)
    for steps, seen in actions_on(f"/jobs/{job['id']}"):
        for step in steps:
            step(page)
        expect(page.locator("main")).to_contain_text(seen)
    house.ended(job)
    page.goto(f"/dashboard/jobs/{job['id']}")
    pressed("Delete")(page)
    expect(page.locator("h1")).to_have_text("Jobs")
    assert house.http.get(f"{house.url}/v1/jobs/{job['id']}").status_code == 404
    page.goto("/dashboard/job-types/welcome_email")
    for name, text in LETTER.items():
        page.locator(f"[id='args.{name}']").fill(text)
    # nothing is sent, as to a server that takes its time to answer the first
    page.evaluate("addEventListener('submit', (event) => { sent += !event.defaultPrevented; event.preventDefault(); })")
    page.evaluate("globalThis.sent = 0")
    page.get_by_role("button", name="Put").dblclick()
    assert page.evaluate("sent") == 1


def test_who_signs_in_may_do_what_the_key_may_and_other_sites_nothing(browser: Browser, guarded: House) -> None:
    context = browser.new_context(base_url=guarded.url, locale="de-DE")
    context.set_default_timeout(WAIT_MS)
    page = context.new_page()
    for key in (READER, OWNER):
        page.goto("/dashboard/queues")
        page.get_by_label("Key").fill(key)
        page.get_by_role("button", name="Sign in").click()
        expect(page.locator("h1")).to_have_text("Queues")
        assert (
            page.evaluate("document.cookie + JSON.stringify(localStorage) + JSON.stringify(sessionStorage)") == "{}{}"
        )
        if key == READER:
            expect(page.get_by_role("button", name="Pause cpu")).to_have_count(0)
            page.get_by_role("button", name="Sign out").click()
    page.get_by_role("button", name="Pause cpu").click()
    expect(page.locator("main .badge")).to_have_text("paused")
    page.goto("/dashboard/jobs?find=nothing")
    expect(page.locator("main")).to_contain_text("10.000 jobs")  # as Germans write it
    # this machine by another name: another site, whose form the browser sends without the cookie
    bearer = {"Authorization": f"Bearer {OWNER}"}
    foreign = f"http://localhost:{hostile_port(guarded, bearer)}/?"
    page.goto(f"{foreign}{guarded.url}/dashboard/queues/cpu/resume")
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()
    page.goto("/dashboard/queues")
    pressed("Resume cpu")(page)
    expect(page.locator("main .badge")).to_have_count(0)
    context.close()


def hostile_port(house: House, headers: dict[str, str] | None = None) -> int | None:
    endpoint = house.http.get(f"{house.url}/v1/webhook-endpoints/acme", headers=headers)
    return urlsplit(str(endpoint.json()["url"])).port


def test_a_form_of_another_site_does_nothing_without_keys_either(page: Page, house: House) -> None:
    page.goto(f"http://localhost:{hostile_port(house)}/?{house.url}/dashboard/queues/cpu/pause")
    expect(page.locator("main")).to_contain_text("nothing was done")
    assert not any(queue["paused"] for queue in house.http.get(f"{house.url}/v1/queues").json())


def test_a_list_follows_what_happens_and_is_used_by_keyboard_alone(page: Page, house: House) -> None:
    page.goto("/dashboard/jobs?status=deferred")
    expect(page.locator("#live")).to_have_text("Live")
    job = house.post("/v1/jobs/welcome_email?delay=1h", json=LETTER)
    row = page.locator(f"tr[data-id='{job['id']}']")
    expect(row).to_be_visible()
    page.select_option("#action", "delete")
    page.locator("h1").click()
    house.post("/v1/jobs/welcome_email?delay=3h", json=LETTER)
    expect(page.locator("#offer")).to_contain_text("have changed")
    expect(page.locator("#action")).to_have_value("delete")
    page.reload()
    expect(row).to_be_visible()
    page.keyboard.press("j")
    expect(page.locator("tbody tr").first.locator("a")).to_be_focused()
    # while a row has the focus, nothing moves below it: the reader is asked
    other = house.post("/v1/jobs/welcome_email?delay=2h", json=LETTER)
    expect(page.locator("#offer")).to_contain_text("have changed")
    expect(page.locator(f"tr[data-id='{other['id']}']")).to_have_count(0)
    house.post(f"/v1/jobs/{job['id']}/cancel", expect=200)
    expect(row.locator(".badge")).to_have_text(re.compile("cancelled"))
    page.keyboard.press("/")
    expect(page.locator("#find")).to_be_focused()
    page.keyboard.type(str(other["id"]))
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_contain_text(str(other["id"]))
    expect(page.locator("h1")).to_contain_text("deferred")
    page.get_by_role("button", name="Run now").press("Enter")
    expect(page.locator("h1")).to_contain_text("succeeded")


def test_a_killed_api_is_said_on_open_pages_and_a_run_over_many_jobs_goes_on_without_doing_one_twice(
    page: Page, house: House
) -> None:
    before = failed_attempts(house)
    first = ends_of(house, put_failing(house, FAILING))
    job = house.post("/v1/jobs/welcome_email?delay=1h", json=LETTER)
    page.goto(f"/dashboard/jobs/{job['id']}")
    expect(page.locator("#live")).to_have_text("Live")
    (api, *_) = [process for process in house.processes if process.args[-1] == "service"]
    run_id = started_run(house, [*first])
    # it has done more than it has kept of itself, and that has failed again
    eventually_sync(lambda: len(ends_of(house, [*first]).items() - first.items()) > kept_of(house, run_id)["done"] + 2)
    api.kill()
    api.wait()
    expect(page.locator("#live")).to_contain_text("Connection lost")
    house.api()
    house.post(f"/v1/jobs/{job['id']}/cancel", expect=200)
    expect(page.locator("h1")).to_contain_text("cancelled")
    expect(page.locator("#live")).to_have_text("Live")
    page.goto(f"/dashboard/bulk/{run_id}")
    expect(page.locator("main")).to_contain_text("It was interrupted")
    pressed("Go on")(page)
    expect(page.locator("main")).to_contain_text("It has finished")
    kept = kept_of(house, run_id)
    assert kept["done"] + kept["skipped"] == FAILING and "has run since" in kept["last_refusal"]
    eventually_sync(lambda: failed_attempts(house) >= before + 2 * FAILING)
    assert failed_attempts(house) == before + 2 * FAILING


FAILING = 30


def started_run(house: House, ids: list[str]) -> str:
    """The id of a run that retries them, ten a second."""
    form = {"action": "retry", "id": ids, "per_second": "10"}
    answer = house.http.post(f"{house.url}/dashboard/bulk/run", data=form, headers=OWN_PAGE)
    return answer.headers["location"].rpartition("/")[2]


def ends_of(house: House, ids: list[str]) -> dict[str, int]:
    """When each of them has ended; one that is under way again is left out."""
    with redis_of(house) as client:
        results: Any = client.mget(map(keys.result, ids))
    return {job_id: json.loads(result)["ft"] for job_id, result in zip(ids, results, strict=True) if result}


def failed_attempts(house: House) -> int:
    """So many letters have, as the worker has reported with its last heartbeat."""
    with redis_of(house) as client:
        counted: Any = client.hget(keys.counters(keys.queue("mail")), "attempts:failed")
    return int(counted or 0)


def kept_of(house: House, run_id: str) -> dict[str, Any]:
    """What the run has kept of itself."""
    with redis_of(house) as client:
        record: Any = client.get(keys.bulk_run(run_id))
    kept: dict[str, Any] = json.loads(record)
    return kept


def test_without_scripts_everything_works_that_is_not_live(browser: Browser, house: House) -> None:
    job = house.post("/v1/jobs/welcome_email?delay=1h", json=LETTER)
    context = browser.new_context(base_url=house.url, java_script_enabled=False)
    page = context.new_page()
    page.goto("/dashboard/jobs?status=deferred")
    page.get_by_role("link", name=str(job["id"])).click()
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("h1")).to_contain_text("cancelled")
    page.select_option("#theme", "dark")
    page.get_by_role("button", name="Set").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    context.close()
