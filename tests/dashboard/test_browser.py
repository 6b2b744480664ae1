"""The dashboard in Debian's Chromium: barriers, hostile content, keyboard, what is live, and pages without scripts."""

from __future__ import annotations

import json
import os
import re
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Literal

import axe_playwright_python
import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from tests.http.answers_seen import LETTER
from tests.processes.conftest import House, a_house
from tests.waiting import NEVER_S

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
WHAT_TO_INSTALL = "Chromium is missing: apt-get install chromium (macOS: brew install --cask chromium)"
AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text()
HOSTILE = "<script>fire()</script><img src=x onerror=fire()> javascript:fire()"
SCHEMES: dict[Literal["light", "dark"], str] = {
    "light": "",
    "dark": "runOnly: {type: 'rule', values: ['color-contrast', 'link-in-text-block']}, ",
}
"""Which of axe-core's rules hold there: colours are all that is different in the second."""
WRITTEN_BY_OTHERS = ("/audit", "/mail", "/webhook-endpoints")
"""Pages that must show the hostile texts, as texts."""
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


class Refusing(BaseHTTPRequestHandler):
    """A receiver that answers with what it would like a reader's browser to run."""

    def do_POST(self) -> None:  # the standard library's name
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(500)
        self.end_headers()
        self.wfile.write(HOSTILE.encode())

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextmanager
def refusing() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/?x=javascript:fire()"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """An installation with jobs in each state, and hostile texts wherever others can write."""
    networks = {"WEBHOOK_ALLOW_NETWORKS": "127.0.0.0/8"}
    with refusing() as receiver, a_house(tmp_path_factory.mktemp("board"), environment=networks) as running:
        running.api()
        running.worker()
        refused = {"url": receiver, "event": "a.b", "data": {"<b>": [HOSTILE, None, 1.5]}}
        endpoint = {"url": receiver, "description": HOSTILE, "metadata": {"x": HOSTILE}, "retry_s": []}
        running.http.put(f"{running.url}/v1/webhook-endpoints/acme", json=endpoint).raise_for_status()
        put = [
            running.post("/v1/jobs/webhook?max_tries=1", json=refused),
            running.post("/v1/jobs/welcome_email", json={**LETTER, "name": "<script>fire()</script>"}),
            running.post("/v1/jobs/webhook", json={"endpoint_id": "acme", "event": "a.b", "data": HOSTILE}),
        ]
        running.post("/v1/jobs/webhook", json=refused)
        for job in put:
            running.ended(job)
        nightly = {"type": "welcome_email", "args": LETTER, "cron": "0 3 * * *"}
        running.post("/v1/schedules", expect=201, json=nightly)
        # what the audit keeps of it
        running.http.post(f"{running.url}/v1/jobs/%3Cimg%20src=x%20onerror=fire()%3E/cancel")
        (running.data_dir / "mail" / f"{time.time_ns()}-hostile.eml").write_bytes(hostile_letter())
        yield running


def hostile_letter() -> bytes:
    letter = EmailMessage()
    letter["To"], letter["Subject"], letter["X-Note"] = "ada@example.com", HOSTILE, HOSTILE
    letter.set_content(HOSTILE)
    runs = "<script>top.fire(); parent.fire()</script><img src=/canary onerror=top.fire()><iframe src=/canary></iframe>"
    letter.add_alternative(
        f'<meta http-equiv=refresh content="0; url=/canary"><link rel=stylesheet href=/canary>{runs}', subtype="html"
    )
    letter.add_attachment(b"x", maintype="text", subtype="html", filename="<script>fire()</script>.html")
    return bytes(letter)


@pytest.fixture
def page(browser: Browser, house: House) -> Iterator[Page]:
    context = browser.new_context(base_url=house.url)
    context.set_default_timeout(WAIT_MS)
    yield context.new_page()
    context.close()


def test_no_page_has_a_barrier_runs_what_others_wrote_or_is_wider_than_a_phone(page: Page, house: House) -> None:
    """In both colour schemes, by axe-core's rules for WCAG 2.2 AA and its best practices."""
    faults: list[str] = []

    def note(message: ConsoleMessage) -> None:
        # of a hostile letter it says what was refused
        if message.type == "error" and "/mail/letters/" not in page.url:
            faults.append(message.text)

    page.on("console", note)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("requestfinished", lambda request: faults.append(request.url) if "canary" in request.url else None)
    page.add_init_script("globalThis.fired = 0; globalThis.fire = () => { fired += 1; };")
    for path in paths_of(house):
        page.emulate_media(color_scheme="light")
        page.set_viewport_size({"width": 320, "height": 700})
        page.goto(f"/dashboard{path}")
        if page.evaluate("document.scrollingElement.scrollWidth") > 320:
            faults.append(f"{path} is wider than 320 pixels")
        page.set_viewport_size({"width": 1280, "height": 800})
        for scheme, rules in SCHEMES.items():
            page.emulate_media(color_scheme=scheme)
            faults += barriers(page, path, rules)
        if path.startswith(WRITTEN_BY_OTHERS) and "fire()" not in page.inner_text("main"):
            faults.append(f"{path} does not show what others have written")
        assert page.evaluate("fired") == 0
    assert not faults, "\n".join(faults)


def paths_of(house: House) -> list[str]:
    """Every page, and a job of each end."""
    listed = house.http.get(f"{house.url}/v1/jobs").json()["jobs"]
    jobs = {(job["type"], job["status"]): f"/jobs/{job['id']}" for job in listed}
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
    return [*lists, *forms, *letters, *jobs.values()]


def barriers(page: Page, path: str, rules: str) -> list[str]:
    """What axe-core finds. It is run past the page's policy, which lets no foreign script in."""
    if not page.evaluate("'axe' in globalThis"):
        page.context.new_cdp_session(page).send("Runtime.evaluate", {"expression": AXE})
    options = f"{{{rules}resultTypes: ['violations'], preload: false, iframes: false}}"
    found = page.evaluate(f"() => axe.run(document, {options})")["violations"]
    return [f"{path}: {each['id']}: {json.dumps([node['html'][:200] for node in each['nodes']])}" for each in found]


def test_a_list_follows_what_happens_and_is_used_by_keyboard_alone(page: Page, house: House) -> None:
    page.goto("/dashboard/jobs?status=deferred")
    expect(page.locator("#live")).to_have_text("Live")
    job = house.post("/v1/jobs/welcome_email?delay=1h", json=LETTER)
    row = page.locator(f"tr[data-id='{job['id']}']")
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


def test_a_page_says_that_its_connection_is_lost_and_is_right_afterwards(page: Page, house: House) -> None:
    job = house.post("/v1/jobs/welcome_email?delay=1h", json=LETTER)
    page.goto(f"/dashboard/jobs/{job['id']}")
    expect(page.locator("#live")).to_have_text("Live")
    (api,) = [process for process in house.processes if process.args[-1] == "service"]
    api.kill()
    api.wait()
    expect(page.locator("#live")).to_contain_text("Connection lost")
    house.api()
    house.post(f"/v1/jobs/{job['id']}/cancel", expect=200)
    expect(page.locator("h1")).to_contain_text("cancelled")
    expect(page.locator("#live")).to_have_text("Live")


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
