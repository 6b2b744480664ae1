"""The embedded Redis with real processes as members, and every one of them killed in turn."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from errand.redis import guardian as redis_guardian
from errand.redis.embedded import joined
from tests.waiting import eventually_sync

MEMBER = """
import sys
from pathlib import Path
from errand.redis.embedded import joined
with joined(Path(sys.argv[1])) as url:
    print(url, flush=True)
    sys.stdin.read()
"""

Join = Callable[[], subprocess.Popen[str]]


@pytest.fixture
def start_member(tmp_path: Path) -> Iterator[Join]:
    """Starts a process that joins and stays until its standard input closes."""
    members = []

    def start() -> subprocess.Popen[str]:
        member = subprocess.Popen(
            [sys.executable, "-c", MEMBER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        members.append(member)
        return member

    yield start
    for member in members:
        member.kill()
        member.communicate()
    eventually_sync(lambda: not redis_guardian.is_watching(tmp_path / "redis"))


def url_of(member: subprocess.Popen[str]) -> str:
    """Blocks until the member has joined."""
    assert member.stdout is not None
    return member.stdout.readline().strip()


def leave(member: subprocess.Popen[str]) -> None:
    """In good order."""
    member.communicate("")


def server_pid(url: str) -> int:
    with redis.Redis.from_url(url) as client:
        return int(client.info("server")["process_id"])


def answers(url: str) -> bool:
    return redis_guardian.answers(url.removeprefix("unix://"))


def stopped(data_dir: Path) -> bool:
    return not redis_guardian.is_held(data_dir / "redis" / "server.lock")


def test_members_started_at_the_same_moment_share_one_server(start_member: Join) -> None:
    urls = [url_of(member) for member in [start_member() for _ in range(6)]]
    assert len(set(urls)) == 1
    assert len({server_pid(url) for url in urls}) == 1


def test_the_last_one_out_stops_the_server_and_its_data_is_there_again(start_member: Join, tmp_path: Path) -> None:
    first, second = start_member(), start_member()
    url, _ = url_of(first), url_of(second)
    leave(first)
    with redis.Redis.from_url(url) as client:
        client.set("kept", "yes")
    leave(second)
    eventually_sync(lambda: stopped(tmp_path))
    third = start_member()
    with redis.Redis.from_url(url_of(third)) as client:
        assert client.get("kept") == b"yes"


def test_a_killed_server_comes_back_with_what_it_had(start_member: Join) -> None:
    url = url_of(start_member())
    with redis.Redis.from_url(url) as client:
        client.set("acknowledged", "1")
    pid = server_pid(url)
    os.kill(pid, signal.SIGKILL)
    eventually_sync(lambda: answers(url) and server_pid(url) != pid)
    with redis.Redis.from_url(url) as client:
        assert client.get("acknowledged") == b"1"


def test_killed_members_leave_no_server_behind(start_member: Join, tmp_path: Path) -> None:
    members = [start_member(), start_member()]
    assert all(map(url_of, members))
    for member in members:
        member.kill()
    eventually_sync(lambda: stopped(tmp_path))


def test_a_killed_guardian_is_replaced_by_a_member(start_member: Join, tmp_path: Path) -> None:
    first, second = start_member(), start_member()
    url, _ = url_of(first), url_of(second)
    pid = server_pid(url)
    killed = kill_guardian(tmp_path)
    eventually_sync(lambda: guardian_pid(tmp_path) != killed)
    assert server_pid(url) == pid, "the server that ran goes on"
    leave(first)
    assert answers(url)
    leave(second)
    eventually_sync(lambda: stopped(tmp_path))


def test_a_server_that_is_killed_with_its_guardian_comes_back_for_who_is_left(
    start_member: Join, tmp_path: Path
) -> None:
    """As systemd does if it stops the service that has started them, and another one is a member, too."""
    url = url_of(start_member())
    with redis.Redis.from_url(url) as client:
        client.set("kept", "yes")
    killed = server_pid(url)
    kill_guardian(tmp_path)
    os.kill(killed, signal.SIGKILL)
    eventually_sync(lambda: answers(url) and server_pid(url) != killed)
    with redis.Redis.from_url(url) as client:
        assert client.get("kept") == b"yes"


def test_everything_killed_at_once_leaves_nothing_to_clean(start_member: Join, tmp_path: Path) -> None:
    """As a power cut does: a stale socket, locks of the dead, no goodbye."""
    member = start_member()
    url = url_of(member)
    with redis.Redis.from_url(url) as client:
        client.set("kept", "yes")
    for pid in (guardian_pid(tmp_path), server_pid(url), member.pid):
        os.kill(pid, signal.SIGKILL)
    member.wait()
    assert Path(url.removeprefix("unix://")).exists(), "the stale socket this test is about"
    with redis.Redis.from_url(url_of(start_member())) as client:
        assert client.get("kept") == b"yes"


def test_a_signal_to_the_guardian_changes_nothing(start_member: Join, tmp_path: Path) -> None:
    url = url_of(start_member())
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        os.kill(guardian_pid(tmp_path), number)
    assert redis_guardian.is_watching(tmp_path / "redis") and answers(url)


def test_a_path_too_long_for_a_socket_is_no_obstacle(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    with joined(deep) as url:
        assert answers(url)
        assert len(url) < 120
    eventually_sync(lambda: not redis_guardian.is_watching(deep / "redis"))


def guardian_pid(data_dir: Path) -> int:
    return int((data_dir / "redis" / "guardian.lock").read_text() or 0)


def kill_guardian(data_dir: Path) -> int:
    pid = guardian_pid(data_dir)
    os.kill(pid, signal.SIGKILL)
    return pid


def test_a_folder_may_have_any_name(tmp_path: Path) -> None:
    odd = tmp_path / "x %41 ?#ä y"
    with joined(odd) as url, redis.Redis.from_url(url) as client:
        assert client.ping()
    eventually_sync(lambda: not redis_guardian.is_watching(odd / "redis"))


def test_nobody_else_can_look_at_the_data_or_hold_its_locks(start_member: Join, tmp_path: Path) -> None:
    folder = tmp_path / "redis"
    folder.mkdir(mode=0o755)  # of an older version
    with redis.Redis.from_url(url_of(start_member())) as client:
        client.set("kept", "yes")
    assert mode_of(folder) == 0o700
    data = [path for path in folder.rglob("*") if ".aof" in path.name or path.name == "redis.log"]
    assert len(data) >= 3 and {mode_of(path) & 0o077 for path in data} == {0}


def test_what_it_has_answered_is_on_the_disk_unless_asked_otherwise(tmp_path: Path) -> None:
    for folder, options in ((tmp_path / "a", {}), (tmp_path / "b", {"fsync": "everysec"})):
        with joined(folder, **options) as url, redis.Redis.from_url(url) as client:  # type: ignore[arg-type]
            assert client.config_get("appendfsync") == {"appendfsync": options.get("fsync", "always")}
    eventually_sync(lambda: not any(redis_guardian.is_watching(tmp_path / name / "redis") for name in "ab"))


def mode_of(path: Path) -> int:
    return path.stat().st_mode & 0o777
