"""Every setting of Errand, read from the environment once, so that nothing else reads it.

An entry point calls `Settings.read()` and passes the frozen result on. A variable that is
set but empty counts as unset. A bad value, or an unknown name in `.env`, stops the start
with one line that names it.
"""

from __future__ import annotations

import ipaddress
import os
import re
import ssl
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Iterable, Mapping
from email.errors import HeaderParseError
from email.headerregistry import Address
from email.utils import getaddresses
from hashlib import sha256
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self
from urllib.parse import unquote, urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict, SettingsError

from errand.redis_url import ENCODE, SentinelUrl

IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network


Scope = Literal["read", "write", "admin"]


ALL_SCOPES: frozenset[Scope] = frozenset({"read", "write", "admin"})


DAY_S = 86_400


MAX_TTL_S = 36_500 * DAY_S
"""Past it Redis' own arithmetic ends; nobody keeps an outcome for a century."""


MIB = 1024 * 1024


CPU_QUEUE = "cpu"
SHIPPED_JOBS = "errand.jobs"
"""In the wheel: the files of `jobs/`."""


UNKNOWN = "unknown setting in the env file (where .env is another program's, name one for Errand in ENV_FILE)"


HASHED_KEY = "sha256:"


WINDOW_S = {"s": 1, "min": 60, "h": 3600, "d": DAY_S}


REDIS_SCHEMES = ("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel")


TLS_OPTIONS = frozenset({"ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname"})


SENTINEL_OPTIONS = frozenset({"sentinel_username", "sentinel_password", "sentinel_tls", "tls"})


class ApiKey(BaseModel):
    """One credential, known by its SHA-256 alone, and what it may do."""

    model_config = ConfigDict(frozen=True)

    # hidden as well: from the hash of a weak key the key can be guessed
    digest: bytes = Field(min_length=32, max_length=32, repr=False)
    scopes: frozenset[Scope] = ALL_SCOPES

    @property
    def name(self) -> str:
        """Distinguishes it from other keys, and reveals nothing of it."""
        return self.digest.hex()

    @classmethod
    def parse(cls, text: str) -> Self:
        """`KEY` or, so that no secret stands in the environment, `sha256:HEX`; with `:read+write` for fewer scopes.

        Raises ValueError for a key under 16 characters (too short to be secret) or an unknown scope.
        """
        hashed = text.startswith(HASHED_KEY)
        key, colon, scopes = text.removeprefix(HASHED_KEY).partition(":")
        scopes_given = frozenset(scopes.split("+")) if colon else ALL_SCOPES
        digest = _digest_in(key) if hashed else digest_of(_checked_key(key))
        if not scopes_given <= ALL_SCOPES:
            # not quoted: it may be the second half of a key that has a colon in it
            raise ValueError("what follows a key's colon must be scopes joined by '+': read, write, admin")
        return cls(digest=digest, scopes=scopes_given)


def digest_of(key: str) -> bytes:
    """What is kept of a key. A fast hash is right: keys are random, not passwords that people choose."""
    return sha256(key.encode()).digest()


def _checked_key(key: str) -> str:
    if len(key) < 16:
        raise ValueError("a key needs at least 16 characters")
    if not (key.isascii() and key.isprintable()):
        raise ValueError("a key may hold printable ASCII characters only: it travels in a header")
    return key


def _digest_in(text: str) -> bytes:
    if not re.fullmatch("[0-9a-fA-F]{64}", text):
        raise ValueError("'sha256:' must be followed by the 64 hexadecimal digits that 'make key' prints")
    return bytes.fromhex(text)


class RequestRate(BaseModel):
    """How many requests one client may make in how many seconds."""

    model_config = ConfigDict(frozen=True)

    quota: int = Field(ge=1, le=1_000_000)
    window_s: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """`100/s`, `6000/min`, `1000/h`, `5000/d`. Raises ValueError."""
        number, _, unit = text.partition("/")
        if not number.isdecimal() or unit not in WINDOW_S:
            raise ValueError("must be a number of requests and a time: 100/s, 6000/min, 1000/h or 5000/d")
        return cls(quota=int(number), window_s=WINDOW_S[unit])


class QueueShare(BaseModel):
    """A queue that a worker serves, and how many of its jobs at once where that is said."""

    model_config = ConfigDict(frozen=True)

    name: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")
    concurrency: int | None = Field(None, ge=1, le=10_000)

    @classmethod
    def parse(cls, text: str) -> Self:
        """`NAME` or `NAME:NUMBER`. Raises ValueError."""
        name, colon, number = text.partition(":")
        if colon and not number.isdecimal():
            raise ValueError("must be queues, comma separated, each NAME or NAME:NUMBER")
        return cls(name=name, concurrency=int(number) if colon else None)


def _url_with_scheme(*schemes: str) -> AfterValidator:
    def check(url: SecretStr | str) -> SecretStr | str:
        text = url.get_secret_value() if isinstance(url, SecretStr) else url
        if not text.startswith(tuple(f"{scheme}://" for scheme in schemes)):
            raise ValueError(f"must begin with {' or '.join(scheme + '://' for scheme in schemes)}")
        _check_place(text)
        return url

    return AfterValidator(check)


def _check_place(url: str) -> None:
    if SentinelUrl.matches(url):
        SentinelUrl.parse(url)
        return
    try:
        parts, port = urlsplit(url), urlsplit(url).port
    except ValueError:
        # urllib's own words can quote a part of a password
        raise ValueError(f"has no readable host and port {ENCODE}") from None
    if parts.scheme in ("file", "unix"):
        if parts.hostname or port or not parts.path.strip("/"):
            raise ValueError(f"needs an absolute path: {parts.scheme}:///some/where")
    elif not parts.hostname:
        raise ValueError("names no host" if parts.scheme not in ("s3", "gs", "az") else "names no bucket")


def _check_redis_options(secret: SecretStr) -> SecretStr:
    """What follows the host: the database, and the options, each of which must be known. Values are never shown."""
    url = secret.get_secret_value()
    scheme, _, rest = url.partition("://")
    if "#" in rest:
        raise ValueError(f"must not hold a '#' {ENCODE}")
    place, _, query = rest.partition("?")
    options = {name: unquote(value) for name, _, value in (part.partition("=") for part in query.split("&") if part)}
    path = place.split("/")[1:]
    if scheme != "unix" and not re.fullmatch(r"(\d+/?)?", "/".join(path[1:] if scheme.endswith("sentinel") else path)):
        raise ValueError("the database must be a number")
    known = _known_options(scheme, options)
    if not options.keys() <= known:
        # not quoted: it may be a part of a password
        raise ValueError(f"has an unknown option; here are known, ssl_… only with TLS: {', '.join(sorted(known))}")
    _check_option_values(options)
    return secret


def _known_options(scheme: str, options: Mapping[str, str]) -> frozenset[str]:
    with_tls = scheme.startswith("rediss") or "true" in (options.get("tls"), options.get("sentinel_tls"))
    own = {"unix": frozenset({"db", "username", "password"}), "redis": frozenset({"db"}), "rediss": frozenset({"db"})}
    return own.get(scheme, SENTINEL_OPTIONS) | (TLS_OPTIONS if with_tls else frozenset())


def _check_option_values(options: Mapping[str, str]) -> None:
    words = dict.fromkeys(("tls", "sentinel_tls", "ssl_check_hostname"), ("true", "false"))
    words["ssl_cert_reqs"] = ("required", "none")
    for name, allowed in words.items():
        if name in options and options[name] not in allowed:
            raise ValueError(f"its option {name} must be {' or '.join(allowed)}")
    if not options.get("db", "0").isdecimal():
        raise ValueError("the database must be a number")
    if ("ssl_certfile" in options) != ("ssl_keyfile" in options):
        raise ValueError("ssl_certfile and ssl_keyfile are needed together")
    _check_certificates(options)


def _check_certificates(options: Mapping[str, str]) -> None:
    """They are read here once, so that a wrong file is named at the start and not at each connection."""
    for name in ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile"):
        if name in options and not os.access(options[name], os.R_OK):
            raise ValueError(f"the file of its option {name} cannot be read")
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if "ssl_ca_certs" in options:
            context.load_verify_locations(options["ssl_ca_certs"])
        if "ssl_certfile" in options:
            context.load_cert_chain(
                options["ssl_certfile"], options["ssl_keyfile"], password=""
            )  # else it asks the terminal
    except (OSError, ValueError):
        raise ValueError("the files of its ssl_… options hold no certificate, or no key to it, in PEM") from None


def _split(value: object) -> object:
    """Comma-separated text as a list of its parts."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


class Settings(BaseSettings):
    """The whole configuration. Units are in the names; every default works on a laptop."""

    model_config = SettingsConfigDict(env_file=".env", env_ignore_empty=True, extra="forbid", frozen=True)

    own_job_packages: ClassVar[tuple[str, ...]] = ()
    """Job types that an installation has whatever `JOB_PACKAGES` says; for a subclass to set."""

    redis_url: Annotated[SecretStr, _url_with_scheme(*REDIS_SCHEMES), AfterValidator(_check_redis_options)] | None = (
        None
    )
    replicas: int = Field(0, ge=0, le=10)
    replication_timeout_ms: int = Field(500, ge=1, le=1000)
    host: str = "127.0.0.1"
    port: int = Field(8000, ge=1, le=65_535)
    data_dir: Path = Path("var")
    api_keys: Annotated[tuple[ApiKey, ...], NoDecode] = ()
    rate_limit: Annotated[RequestRate | None, NoDecode] = None
    queue_limit: int = Field(0, ge=0)
    watcher_limit: int = Field(2_000, ge=1, le=100_000)

    smtp_url: Annotated[SecretStr, _url_with_scheme("smtp", "smtps")] | None = None
    mail_from: str = "Errand <errand@localhost>"
    mail_when_unsure: Literal["resend", "fail"] = "resend"

    storage_url: Annotated[str, _url_with_scheme("file", "s3", "gs", "az")] | None = None
    body_timeout_s: float = Field(30, ge=1, le=3600)
    body_limit_bytes: int = Field(MIB, ge=1)
    batch_limit_bytes: int = Field(16 * MIB, ge=1)
    upload_limit_bytes: int = Field(64 * MIB, ge=1)

    idempotency_ttl_s: float = Field(DAY_S, ge=1, le=MAX_TTL_S)

    webhook_secret: SecretStr | None = None
    webhook_allow_networks: Annotated[tuple[IpNetwork, ...], NoDecode] = ()
    webhook_sink_port: int = Field(8010, ge=0, le=65_535)

    worker_queues: Annotated[tuple[QueueShare, ...], NoDecode] = ()
    worker_concurrency: int = Field(100, ge=1, le=10_000)
    cpu_processes: int = Field(default_factory=lambda: os.cpu_count() or 1, ge=1, le=256)
    lease_s: float = Field(10, ge=1, le=3600)
    drain_s: float = Field(25, ge=0, le=3600)
    max_crashes: int = Field(3, ge=1, le=100)
    result_ttl_s: float = Field(7 * DAY_S, ge=1, le=MAX_TTL_S)
    dead_ttl_s: float = Field(30 * DAY_S, ge=1, le=MAX_TTL_S)
    job_packages: Annotated[tuple[str, ...], NoDecode] = ()

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["console", "json"] = "console"

    _split_lists = field_validator("webhook_allow_networks", "job_packages", mode="before")(_split)

    @field_validator("worker_queues", mode="before")
    @classmethod
    def _parse_queues(cls, value: object) -> object:
        parts = _split(value)
        return [QueueShare.parse(part) if isinstance(part, str) else part for part in parts]  # type: ignore[attr-defined]

    @field_validator("api_keys", mode="before")
    @classmethod
    def _parse_keys(cls, value: object) -> object:
        parts = _split(value)
        return [ApiKey.parse(part) if isinstance(part, str) else part for part in parts]  # type: ignore[attr-defined]

    @field_validator("rate_limit", mode="before")
    @classmethod
    def _parse_rate(cls, value: object) -> object:
        return RequestRate.parse(value) if isinstance(value, str) else value

    @field_validator("data_dir")
    @classmethod
    def _make_absolute(cls, path: Path) -> Path:
        """The API and the worker may stand in other folders later: the place is fixed now."""
        return path.expanduser().absolute()

    @field_validator("mail_from")
    @classmethod
    def _check_sender(cls, sender: str) -> str:
        try:
            ((name, spec),) = getaddresses([sender])
            address = Address(name, addr_spec=spec)
        except (HeaderParseError, ValueError, IndexError):
            address = Address()
        if not (address.username and address.domain) or not sender.isprintable() or "=?" in sender:
            raise ValueError("must be an address such as 'Acme <hello@acme.example>'")
        return sender

    @field_validator("webhook_secret")
    @classmethod
    def _check_secret(cls, secret: SecretStr | None) -> SecretStr | None:
        """Standard Webhooks 1.0: `whsec_` and the base64 of 24 to 64 bytes."""
        if secret is None:
            return None
        prefix, _, encoded = secret.get_secret_value().partition("_")
        try:
            size = len(b64decode(encoded, validate=True))
        except Base64Error:
            size = 0
        if prefix != "whsec" or not 24 <= size <= 64:
            raise ValueError("must be whsec_ followed by the base64 of 24 to 64 bytes")
        return secret

    @model_validator(mode="after")
    def _stay_on_loopback_without_keys(self) -> Self:
        if not self.api_keys and not is_loopback(self.host):
            raise ValueError(
                f"HOST: {self.host} is not a loopback address, and without API_KEYS only loopback is served"
            )
        return self

    def queue_shares(self, known: Iterable[str]) -> dict[str, int]:
        """How many jobs of which queue a worker runs at once; the `known` ones where `WORKER_QUEUES` names none.

        I/O jobs mostly wait, and many fit into one process; of CPU jobs as many run as there are processes for them.
        """
        shares = self.worker_queues or [QueueShare(name=name) for name in known]
        usual = {CPU_QUEUE: self.cpu_processes}
        return {share.name: share.concurrency or usual.get(share.name, self.worker_concurrency) for share in shares}

    @property
    def packages(self) -> tuple[str, ...]:
        """Where job types are looked for: the installation's own packages, then `JOB_PACKAGES`.

        If neither names one, those that Errand ships.
        """
        return (*self.own_job_packages, *self.job_packages) or (SHIPPED_JOBS,)

    @property
    def secrets(self) -> list[str]:
        """What no log may show: passwords in URLs, as they stand there and as they are sent, and the webhook secret."""
        urls = [url.get_secret_value() for url in (self.redis_url, self.smtp_url) if url] + [self.storage_url or ""]
        given = [password for url in urls for password in _passwords_in(url)]
        own = [self.webhook_secret.get_secret_value()] if self.webhook_secret else []
        return [*given, *map(unquote, given), *own]

    @property
    def files_url(self) -> str:
        """Where stored files lie: `STORAGE_URL`, or a folder under `DATA_DIR`."""
        return self.storage_url or (self.data_dir / "files").as_uri()

    @property
    def serves_sinks(self) -> bool:
        """The webhook sink is for a developer's machine: only where no key guards anything."""
        return not self.api_keys and self.webhook_sink_port != 0

    @classmethod
    def read(cls) -> Self:
        """The settings of this process; exits with one line where one is bad.

        `ENV_FILE` names a file to read instead of `.env`, which may be another program's.
        """
        env_file = os.environ.get("ENV_FILE")
        if env_file and not Path(env_file).is_file():
            raise SystemExit(f"settings: ENV_FILE: there is no file {env_file}")
        try:
            settings = cls(_env_file=env_file) if env_file else cls()
            settings.data_dir.mkdir(parents=True, exist_ok=True)
        except (ValidationError, SettingsError) as error:
            raise SystemExit(f"settings: {_one_line(error)}") from None
        except UnicodeDecodeError:
            raise SystemExit("settings: .env: is not UTF-8 text") from None
        except OSError as error:
            raise SystemExit(f"settings: DATA_DIR: {error.strerror}: {error.filename}") from None
        if not os.access(settings.data_dir, os.W_OK):
            raise SystemExit(f"settings: DATA_DIR: {settings.data_dir} cannot be written to")
        return settings


def _passwords_in(url: str) -> list[str]:
    # by hand: several sentinels are no host to urllib, which refuses some of them (`h1:1,[::1]:2`) in newer Pythons
    authority, query = re.split(r"[/?#]", url.partition("://")[2])[0], url.partition("?")[2]
    password = authority.rpartition("@")[0].partition(":")[2]
    options = (option.partition("=") for option in query.split("&"))
    return [*filter(None, [password]), *(value for name, _, value in options if "password" in name and value)]


def is_loopback(host: str) -> bool:
    """True for `localhost` and the addresses of 127.0.0.0/8 and ::1."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _one_line(error: ValidationError | SettingsError) -> str:
    """Names each bad setting and what is wrong; never shows the value, which may be a secret."""
    if isinstance(error, SettingsError):
        return str(error)
    return "; ".join(_say(fault["loc"], fault["type"], fault["msg"]) for fault in error.errors(include_input=False))


def _say(place: tuple[int | str, ...], kind: str, message: str) -> str:
    sentence = message.removeprefix("Value error, ")
    if not place:
        return sentence
    name = str(place[0]).upper()
    return f"{name}: {UNKNOWN if kind == 'extra_forbidden' else sentence}"
