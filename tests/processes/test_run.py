"""`make run`'s program: both processes, prefixed logs, three commands to try, a clean end."""

from __future__ import annotations

import os
import pty
import re
import shlex
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.processes.conftest import ROOT, House
from tests.waiting import eventually_sync

TRY = re.compile(r"^run    \|   (curl .*)$", re.MULTILINE)


def output_of(house: House) -> str:
    return house.log("service.run").read_text()


def greeted(house: House) -> list[str]:
    """The three lines to try, once they are printed."""
    return eventually_sync(lambda: lines if len(lines := TRY.findall(output_of(house))) == 3 else None)


def answer_to(command: list[str]) -> str | None:
    """None if it is to be sent again: on a busy machine Redis may take longer than a request waits."""
    done = subprocess.run([*command, "--silent", "--fail-with-body"], capture_output=True, text=True, check=False)
    if "/problems/redis-unavailable" in done.stdout:
        return None
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl: apt install curl")
def test_the_three_curl_lines_it_prints_end_as_succeeded_and_a_signal_stops_it(house: House) -> None:
    running = house.start("service.run")
    jobs = []
    for line in greeted(house):
        command = shlex.split(line.replace("@examples", f"@{ROOT}/examples"))
        assert command[0] == "curl"
        answer = eventually_sync(lambda command=command: answer_to(command))  # type: ignore[misc]
        jobs.append(re.search(r'"id":"([^"]+)"', answer))
    ends = [house.ended({"id": job[1]}) for job in jobs if job]
    assert [job["status"] for job in ends] == ["succeeded"] * 3
    assert re.search(r"^worker \| .*outcome=succeeded", output_of(house), re.MULTILINE)
    running.send_signal(signal.SIGTERM)
    assert running.wait(60) == 0
    assert output_of(house).rstrip().endswith("run    | stopped")
    eventually_sync(house.redis_is_stopped)


def test_the_command_runs_both_with_the_packages_that_it_is_given(house: House) -> None:
    running = house.start("errand", "run", "--packages", "jobs", JOB_PACKAGES="not_there.jobs")
    eventually_sync(lambda: house.answers("/readyz"))
    job = house.post("/v1/jobs/welcome_email", json={"to": "ada@example.com", "name": "Ada"})
    assert house.ended(job)["status"] == "succeeded"
    running.send_signal(signal.SIGINT)
    assert running.wait(60) == 0
    assert house.log("errand").read_text().rstrip().endswith("run    | stopped")
    eventually_sync(house.redis_is_stopped)


@pytest.mark.parametrize("module", ["service", "jobs"])
def test_it_says_which_one_died_and_fails(house: House, module: str) -> None:
    running = house.start("service.run")
    greeted(house)
    os.kill(_child(running.pid, module), signal.SIGKILL)
    assert running.wait(60) == 1
    name = "api" if module == "service" else "worker"
    assert f"the {name} ended with exit code -9" in output_of(house)
    eventually_sync(house.redis_is_stopped)


def test_killed_itself_it_leaves_nothing_running(house: House) -> None:
    running = house.start("service.run")
    greeted(house)
    running.kill()
    eventually_sync(house.redis_is_stopped)
    assert not house.answers("/healthz")


def test_a_taken_port_stops_it_with_a_reason(new_house: Callable[..., House]) -> None:
    first = new_house()
    first.api()
    second = new_house()
    running = second.start("service.run", PORT=str(first.port))
    assert running.wait(60) == 1
    assert "address already in use" in output_of(second)


PROGRAMS = ["service", "jobs", "service.run", "errand run", "errand api", "errand worker", "errand doctor"]


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_bad_setting_stops_every_program_with_one_line_that_names_it(house: House, program: str) -> None:
    module, *command = program.split()
    process = house.start(module, *command, LEASE_S="soon")
    assert process.wait(60) == 1
    (line,) = house.log(module).read_text().splitlines()
    assert line.startswith("settings: LEASE_S:")


def test_a_host_beyond_loopback_needs_keys(house: House) -> None:
    process = house.start("service", HOST="0.0.0.0")
    assert process.wait(60) == 1
    assert "HOST: 0.0.0.0" in house.log("service").read_text()
    assert "API_KEYS" in house.log("service").read_text()


@pytest.mark.parametrize("program", ["service", "jobs", "errand run"])
def test_a_package_of_job_types_that_cannot_be_imported_is_named(house: House, program: str) -> None:
    module, *command = program.split()
    process = house.start(module, *command, JOB_PACKAGES="not_there.jobs")
    assert process.wait(60) == 1
    assert house.log(module).read_text().strip() == "job types: No module named 'not_there'"


def _child(pid: int, module: str) -> int:
    """The process that the program started for that module."""
    with open(f"/proc/{pid}/task/{pid}/children") as listed:
        for child in listed.read().split():
            with open(f"/proc/{child}/cmdline") as command:
                if module in command.read().split("\0"):
                    return int(child)
    raise LookupError(module)


def test_an_option_that_only_the_worker_can_judge_stops_it_with_one_line(house: House) -> None:
    process = house.start("jobs", SMTP_URL="smtp://localhost:25?starttls=maybe")
    assert process.wait(60) == 1
    assert house.log("jobs").read_text().splitlines()[-1].startswith("settings: SMTP_URL")


def test_keys_are_read_again_on_a_signal_and_no_request_is_lost(house: House, tmp_path: Path) -> None:
    def admitted(key: str) -> bool:
        return house.http.get(f"{house.url}/v1/queues", headers={"Authorization": f"Bearer {key}"}).status_code == 200

    env_file = tmp_path / "keys.env"
    env_file.write_text("API_KEYS=ci=old-key-0123456789:read\n")
    running = house.start("service.run", ENV_FILE=str(env_file))
    eventually_sync(lambda: "YOUR_KEY" in output_of(house))
    assert (admitted("old-key-0123456789"), admitted("new-key-0123456789")) == (True, False)
    for bad in ("API_KEYS=short\n", ""):
        env_file.write_text(bad)
        running.send_signal(signal.SIGHUP)
        eventually_sync(lambda: output_of(house).count("the keys stay as they were") == (1 if bad else 2))  # noqa: B023
        assert admitted("old-key-0123456789")
    env_file.write_text("API_KEYS=ci=new-key-0123456789:read\n")
    running.send_signal(signal.SIGHUP)
    eventually_sync(lambda: admitted("new-key-0123456789"))
    assert not admitted("old-key-0123456789") and running.poll() is None


def test_it_stops_if_its_terminal_has_gone(house: House) -> None:
    ours, its = pty.openpty()
    house.stdin = its
    running = house.start("service")
    os.close(its)
    eventually_sync(lambda: house.answers("/healthz"))
    os.close(ours)
    running.send_signal(signal.SIGHUP)
    assert running.wait(60) == -signal.SIGTERM
