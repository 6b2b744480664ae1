"""Settings: a bad one stops the start with one line that names it and shows no secret."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import ValidationError

from errand.redis.connection import connect
from errand.settings import ALL_SCOPES, ApiKey, RequestRate, Settings, digest_of, is_loopback
from tests import programs
from tests.redis_servers import Certificates

ROOT = Path(__file__).parents[2]
KEY = "0123456789abcdef"
WHSEC = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to stand in, whose `.env` counts."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(Settings.model_config, "env_file", ".env")
    return tmp_path


def complaint() -> str:
    """The one line that the start stops with."""
    with pytest.raises(SystemExit) as stopped:
        Settings.read()
    line = str(stopped.value)
    assert line.startswith("settings: ") and "\n" not in line
    return line.removeprefix("settings: ")


BAD = {
    "REDIS_URL": [
        *("http://h", "localhost:6379", "redis://", "redis://h:port", "redis://h:99999", "redis://[::1", "unix://"),
        *("unix://relative/redis.sock", "redis://h/x", "redis://h/0/1", "redis://h/0#x", "redis://h?db=x"),
        *("redis://h?timeout=5", "redis://h?ssl_cert_reqs=none", "rediss://h?ssl_cert_reqs=maybe"),
        *("rediss://h?ssl_check_hostname=no", "rediss://h?ssl_ca_certs=/nowhere", "rediss://h?ssl_ca_certs=/dev/null"),
        *("rediss://h?ssl_certfile=/dev/null", "rediss://h?ssl_certfile=/dev/null&ssl_keyfile=/dev/null"),
        *("redis+sentinel://h", "redis+sentinel:///mymaster", "redis+sentinel://h/mymaster/x"),
        *("redis+sentinel://h:port/mymaster", "redis+sentinel://h:0/mymaster", "redis+sentinel://h:99999/mymaster"),
        *("redis+sentinel://h1,,h2/mymaster", "redis+sentinel://h1,h2:/mymaster", "redis+sentinel://::1/mymaster"),
        *(
            "redis+sentinel://h/mymaster/0/1",
            "redis+sentinel://h/mymaster?tls=maybe",
            "redis+sentinel://h/mymaster?db=1",
        ),
        *("redis+sentinel://h/mymaster?ssl_cert_reqs=none", "sentinel://h/mymaster"),
    ],
    "EMBEDDED_FSYNC": ["no", "1"],
    "QUEUE_PARTITIONS": ["0", "65", "two"],
    "REPLICAS": ["-1", "11", "one"],
    "REPLICATION_TIMEOUT_MS": ["0", "1001", "1s"],
    "HOST": ["0.0.0.0", "::", "example.com", "192.168.1.7"],
    "PORT": ["0", "65536", "http"],
    "API_PROCESSES": ["0", "257", "many"],
    "API_KEYS": [
        "short",
        f"{KEY}:",
        f"{KEY}:+",
        f"{KEY}:read+",
        f"{KEY}:READ",
        f"{KEY}:all",
        f"{KEY},short",
        "schlüssel-0123456789",
        "sha256:",
        f"sha256:{'0' * 63}",
        f"sha256:{'g' * 64}",
        f"sha256:{'0' * 64}:all",
        f"sha256:{'0' * 64}:",
        f"ci=sha256:{'0' * 63}",
        f"{KEY};expires=soon",
        f"{KEY};expires=2027-02-30",
    ],
    "TRUSTED_PROXIES": ["proxy", "10.0.0.0/33", "10.0.0.1/8"],
    "RATE_LIMIT": ["100", "0/s", "-1/s", "1.5/s", "100/", "100/week", "/s", "100 / s", "1000001/s"],
    "REFUSAL_LIMIT": ["60", "0/min"],
    "AUDIT_LIMIT": ["-1", "many", "1000001"],
    "QUEUE_LIMIT": ["-1", "many"],
    "WATCHER_LIMIT": ["0", "many", "100001"],
    "DASHBOARD": ["yes"],
    "DASHBOARD_SESSION_S": ["59", "2592001", "long"],
    "SMTP_URL": ["smtp.example.com", "smtp://", "http://h", "smtp://h:port", "ses://"],
    "MAIL_DOMAIN_CONNECTIONS": ["0", "many"],
    "MAIL_DOMAIN_RATES": ["gmail.com", "gmail.com=20", "*=0/s", "gmail=1/s", "x.example=1/week"],
    "SES_TOPIC_ARN": ["mail", "arn:aws:sqs:eu-west-1:123456789012:mail", "arn:aws:sns:eu-west-1:1:mail"],
    "MAIL_FROM": ["Ada", "Ada <ada>", "<>", "a@b.c\nBcc: d@e.f", "=?utf-8?q?x?= <a@b.c>", "a@b.c, d@e.f"],
    "STORAGE_URL": ["ftp://h", "/srv/files", "file://", "file://relative/files", "s3://"],
    "FILE_URL_KEYS": ["short", f"{'k' * 32},short"],
    "BODY_TIMEOUT_S": ["0", "nan", "30s"],
    "BODY_LIMIT_BYTES": ["0", "1 MB"],
    "UPLOAD_LIMIT_BYTES": ["-1"],
    "UPLOAD_TTL_S": ["60"],
    "OUTPUT_TTL_S": ["60"],
    "BUCKET_URLS": ["maybe"],
    "DIRECT_UPLOAD_LIMIT_BYTES": ["0"],
    "DIRECT_UPLOAD_TTL_S": ["59", "604801"],
    "BATCH_LIMIT_BYTES": ["0"],
    "WEBHOOK_SECRET": [
        *("secret", "whsec_", "whsec_c2hvcnQ=", "whsec_é", WHSEC.removeprefix("whsec_"), WHSEC.replace("sec", "sk")),
    ],
    "WEBHOOK_OLD_SECRETS": ["secret", f"{WHSEC},whsec_c2hvcnQ=", ",".join([WHSEC] * 5)],
    "WEBHOOK_ALLOW_NETWORKS": ["localhost", "10.0.0.1/8", "10.0.0.0/8;127.0.0.0/8"],
    "WEBHOOK_SINK_PORT": ["-1"],
    "WORKER_CONCURRENCY": ["0"],
    "WORKER_PROCESSES": ["0", "-1", "1.5"],
    "WORKER_QUEUES": ["default:", "default:many", "default:0", "a b", "a:b:c", ":5"],
    "CPU_PROCESSES": ["0", "257"],
    "CPU_MEMORY_LIMIT_BYTES": ["0", "134217727", "1 GB"],
    "IMAGE_SOURCE_MEGAPIXELS": ["0", "inf", "nan"],
    "IMAGE_OUTPUT_MEGAPIXELS": ["0", "inf", "nan"],
    "IMAGE_CPU_S": ["0", "241", "10s"],
    "AVIF_EFFORT": ["-1", "10", "fast"],
    "IMAGE_EXTRA_FORMATS": ["heif", "heic;pdf"],
    "IMAGE_PRESETS": ["avatar", "[]", '{"avatar": 1}'],
    "LEASE_S": ["0", "nan", "inf", "10s"],
    "DRAIN_S": ["-1"],
    "RESULT_TTL_S": ["0", "nan", "inf"],
    "DEAD_TTL_S": ["0", "1e300"],
    "MAX_CRASHES": ["0", "three"],
    "IDEMPOTENCY_TTL_S": ["0", "inf"],
    "MAIL_WHEN_UNSURE": ["maybe"],
    "DKIM_KEY_FILE": ["/nowhere"],
    "DKIM_SELECTOR": ["a b", "s1"],
    "SINK_FAULTS": ["451", "250:0.1", "451:2", "451:-1", "drop", "x:0.1"],
    "MAIL_RETURN_PATH": ["bounces", "a@b", "a+b@c.example", "a" * 21 + "@c.example"],
    "MAILGUN_SIGNING_KEY": ["short"],
    "POSTMARK_WEBHOOK_PASSWORD": ["short"],
    "TEMPLATE_DIR": ["/nowhere", "/dev/null"],
    "MAIL_EHLO_NAME": ["localhost", "a b.example", "mail_.example", "-a.example", "x\r\nRSET.example", "[x]"],
    "MAIL_CONNECTIONS": ["0", "1001", "many"],
    "WEBHOOK_CONCURRENCY": ["0", "10001", "many"],
    "WEBHOOK_HOST_CONCURRENCY": ["0", "10001", "many"],
    "WEBHOOK_PORTAL_FRAMES": ["*", "acme.example", "https://acme.example/path"],
    "WEBHOOK_PROXY": ["proxy:4750", "https://proxy", "http://", "http://a:b", "http://a/path"],
    "WEBHOOK_ATTEMPTS_KEPT": ["-1", "100001", "all"],
    "WEBHOOK_ALLOW_PORTS": ["0", "65536", "http"],
    "WEBHOOK_HTTPS_ONLY": ["perhaps"],
    "LOG_LEVEL": ["loud"],
    "LOG_FORMAT": ["xml"],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in BAD.items() for value in values])
def test_a_bad_value_stops_the_start_with_a_line_that_names_the_setting(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    assert complaint().startswith(f"{name}: ")


def test_every_setting_that_can_be_bad_is_tried_here() -> None:
    assert {name.upper() for name in Settings.model_fields} - set(BAD) == {"DATA_DIR", "JOB_PACKAGES"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("API_KEYS", "hunter2"),
        ("API_KEYS", f"{KEY}:hunter2"),
        ("REDIS_URL", "http://:hunter2@h"),
        ("REDIS_URL", "redis://:hunter2/x@h"),
        ("REDIS_URL", "redis://u:hunter2@h:port"),
        ("REDIS_URL", "redis://u:hunter2@[h"),
        ("REDIS_URL", "redis://u:x@h?hunter2=1"),
        ("REDIS_URL", "redis+sentinel://u:hunter2/x@h/mymaster"),
        ("REDIS_URL", "redis+sentinel://u:hunter2@h"),
        ("REDIS_URL", "redis+sentinel://h/mymaster?sentinel_password=hunter2&tls=hunter2"),
        ("REDIS_URL", "redis+sentinel://h/mymaster?sentinel_passwort=hunter2"),
        ("SMTP_URL", "smtp://u:hunter2@"),
        ("WEBHOOK_SECRET", "hunter2"),
        ("WEBHOOK_SECRET", "whsec_hunter2"),
        ("WEBHOOK_OLD_SECRETS", "whsec_hunter2"),
    ],
)
def test_no_complaint_shows_a_secret(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    assert "hunter2" not in complaint()


def test_settings_do_not_show_their_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "API_KEYS": "hunter2-hunter2-hunter2",
        "REDIS_URL": "redis://:hunter2@h",
        "SMTP_URL": "smtp://u:hunter2@h",
        "WEBHOOK_SECRET": WHSEC,
        "WEBHOOK_OLD_SECRETS": WHSEC,
    }.items():
        monkeypatch.setenv(name, value)
    shown = repr(Settings.read())
    assert "hunter2" not in shown and WHSEC not in shown


@pytest.mark.parametrize(
    ("url", "secrets"),
    [
        ("redis://h", []),
        ("rediss://u:hunter2@h/0", ["hunter2", "hunter2"]),
        ("redis://u:h%40x@h", ["h%40x", "h@x"]),
        ("unix:///run/redis.sock?password=hunter2", ["hunter2", "hunter2"]),
        ("redis+sentinel://u:one@h1:1,[::1]:2/m?sentinel_password=two", ["one", "two", "one", "two"]),
    ],
)
def test_the_passwords_of_any_kind_of_redis_url_are_known_as_secrets(
    monkeypatch: pytest.MonkeyPatch, url: str, secrets: list[str]
) -> None:
    monkeypatch.setenv("REDIS_URL", url)
    assert Settings.read().secrets == secrets


def test_every_bad_value_is_named_in_the_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "http")
    monkeypatch.setenv("LOG_LEVEL", "loud")
    assert all(
        part.startswith(name) for part, name in zip(complaint().split("; "), ("PORT: ", "LOG_LEVEL: "), strict=True)
    )


@pytest.mark.parametrize("line", ["PROT=9000", "prot=9000", "PROT=hunter2"])
def test_an_unknown_name_in_the_env_file_is_named(here: Path, line: str) -> None:
    (here / ".env").write_text(f"# mine\n{line}\n")
    assert complaint().startswith("PROT: unknown setting in the env file (if .env is another program's, ")


def test_the_env_file_of_another_program_stays_unread(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / ".env").write_text("DATABASE_URL=postgresql://localhost/theirs\n")
    (here / "errand.env").write_text("PORT=9000\n")
    monkeypatch.setenv("ENV_FILE", "errand.env")
    assert Settings.read().port == 9000
    monkeypatch.setenv("ENV_FILE", "nowhere.env")
    assert complaint() == "ENV_FILE: there is no file nowhere.env"


def test_a_bad_value_in_the_env_file_is_named(here: Path) -> None:
    (here / ".env").write_text("PORT=http\n")
    assert complaint().startswith("PORT: ")


def test_the_environment_overrides_the_env_file(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / ".env").write_text("PORT=9000\nDRAIN_S=3\n")
    monkeypatch.setenv("PORT", "9001")
    settings = Settings.read()
    assert (settings.port, settings.drain_s) == (9001, 3)


def test_a_variable_that_is_set_but_empty_counts_as_unset(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    defaults, names = Settings.read(), [name.upper() for name in Settings.model_fields]
    with monkeypatch.context() as environment:
        for name in names:
            environment.setenv(name, "")
        assert Settings.read() == defaults
    (here / ".env").write_text("".join(f"{name}=\n" for name in names))
    assert Settings.read() == defaults


def test_the_defaults_work_on_a_laptop(here: Path) -> None:
    settings = Settings.read()
    assert (settings.host, settings.port, settings.redis_url, settings.api_keys) == ("127.0.0.1", 8000, None, ())
    assert settings.data_dir == here / "var"
    assert settings.files_url == (here / "var" / "files").as_uri()


def test_the_data_folder_is_fixed_when_the_settings_are_read(
    here: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATA_DIR", "mine")
    settings = Settings.read()
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert settings.data_dir == here / "mine"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_loopback_needs_no_keys(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.setenv("HOST", host)
    assert Settings.read().host == host


def test_other_addresses_are_served_if_keys_guard_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOST", "0.0.0.0")
    assert "API_KEYS" in complaint()
    monkeypatch.setenv("API_KEYS", KEY)
    settings = Settings.read()
    assert settings.host == "0.0.0.0" and not settings.serves_sinks


def test_lists_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_KEYS", f"{KEY}, {KEY}-reader:read ,{KEY}-both:write+read,")
    monkeypatch.setenv("WEBHOOK_ALLOW_NETWORKS", "127.0.0.0/8, ::1/128")
    monkeypatch.setenv("JOB_PACKAGES", "acme.jobs, more")
    settings = Settings.read()
    keys = {key.digest: key.scopes for key in settings.api_keys}
    expected = {KEY: ALL_SCOPES, f"{KEY}-reader": {"read"}, f"{KEY}-both": {"read", "write"}}
    assert keys == {digest_of(key): scopes for key, scopes in expected.items()}
    assert [str(network) for network in settings.webhook_allow_networks] == ["127.0.0.0/8", "::1/128"]
    assert settings.job_packages == ("acme.jobs", "more")


def test_a_key_given_by_its_hash_is_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    hashed = f"sha256:{digest_of(KEY).hex()}"
    monkeypatch.setenv("API_KEYS", f"{hashed}, {hashed.upper().replace('SHA', 'sha')}:read")
    assert Settings.read().api_keys == (ApiKey.parse(KEY), ApiKey.parse(f"{KEY}:read"))


def test_of_a_key_nothing_is_kept_or_shown_but_its_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_KEYS", f"{KEY}:read")
    settings = Settings.read()
    assert KEY not in repr(settings.model_dump())
    assert KEY not in repr(settings) and digest_of(KEY).hex() not in repr(settings)


@pytest.mark.parametrize(
    ("text", "quota", "window_s"),
    [("100/s", 100, 1), ("6000/min", 6000, 60), ("1/h", 1, 3600), ("1000000/d", 1_000_000, 86_400)],
)
def test_a_rate_is_a_number_of_requests_in_a_time(
    monkeypatch: pytest.MonkeyPatch, text: str, quota: int, window_s: int
) -> None:
    monkeypatch.setenv("RATE_LIMIT", text)
    assert Settings.read().rate_limit == RequestRate(quota=quota, window_s=window_s)


@pytest.mark.parametrize(
    "url",
    [
        *("redis://h", "redis://h/", "rediss://u:p%2F@h:6380/3", "rediss://h?ssl_cert_reqs=none", "redis://[::1]:6379"),
        *("unix:///run/redis.sock", "unix:///run/redis.sock?db=2&password=p", "redis+sentinel://h/mymaster"),
        "redis+sentinel://u:p%2F@h1:26379,[::1]:26380,h3/my-master/3?sentinel_username=s&sentinel_password=p%26",
        *("rediss+sentinel://h/mymaster?sentinel_tls=false", "redis+sentinel://h/m?tls=true&ssl_check_hostname=false"),
    ],
)
async def test_any_kind_of_redis_url_is_taken_and_can_be_opened(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("REDIS_URL", url)
    taken = Settings.read().redis_url
    assert taken is not None and taken.get_secret_value() == url
    await connect(url, reply_timeout_s=1).aclose()


def test_certificates_are_read_when_the_settings_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificates = Certificates(tmp_path)
    certificate, key = certificates.issue("client.example")
    url = f"rediss://h?ssl_ca_certs={certificates.ca}&ssl_certfile={certificate}&ssl_keyfile="
    monkeypatch.setenv("REDIS_URL", f"{url}{key}")
    assert Settings.read().redis_url is not None
    _, of_another = certificates.issue("other.example")
    monkeypatch.setenv("REDIS_URL", f"{url}{of_another}")
    assert complaint() == "REDIS_URL: the files of its ssl_… options hold no certificate, or no key to it, in PEM"


@pytest.mark.parametrize(
    "url", ["file:///srv/files", "s3://bucket", "s3://bucket/below", "gs://bucket", "az://container"]
)
def test_any_kind_of_storage_url_is_taken(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("STORAGE_URL", url)
    assert Settings.read().files_url == url


def test_settings_cannot_be_changed() -> None:
    settings = Settings.read()
    with pytest.raises(ValidationError, match="frozen"):
        settings.port = 1  # type: ignore[misc]  # as asked for
    with pytest.raises(ValidationError, match="frozen"):
        ApiKey.parse(KEY).scopes = frozenset()  # type: ignore[misc]  # as asked for


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("::1", True),
        ("localhost", True),
        ("127.0.0.1.evil.example", False),
        ("", False),
        ("0", False),
    ],
)
def test_loopback_is_recognised_by_the_address(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


@pytest.mark.parametrize("module", ["service", "jobs"])
def test_a_process_that_is_started_with_a_bad_setting_says_so_in_one_line_and_fails(here: Path, module: str) -> None:
    environment = {**os.environ, "PORT": "http", "PYTHONPATH": str(ROOT)}
    ended = programs.run(module, environment=environment, folder=here)
    assert ended.returncode == 1 and ended.stdout == ""
    assert ended.stderr.startswith("settings: PORT: ") and ended.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("named", "shares"),
    [
        ("", {"default": 50, "cpu": 3, "mail": 5}),
        ("cpu", {"cpu": 3}),
        ("default,reports", {"default": 50, "reports": 50}),
        ("default:7, cpu:1", {"default": 7, "cpu": 1}),
    ],
)
def test_a_worker_shares_its_slots_among_the_queues_named(
    monkeypatch: pytest.MonkeyPatch, named: str, shares: dict[str, int]
) -> None:
    for name, value in (
        ("WORKER_QUEUES", named),
        ("WORKER_CONCURRENCY", "50"),
        ("CPU_PROCESSES", "3"),
        ("MAIL_CONNECTIONS", "5"),
    ):
        monkeypatch.setenv(name, value)
    assert Settings.read().queue_shares(["default", "cpu", "mail"]) == shares


def test_a_data_folder_that_cannot_be_made_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "file" / "data"))
    assert complaint().startswith("DATA_DIR: Not a directory")


def test_an_env_file_that_is_no_text_is_named(here: Path) -> None:
    (here / ".env").write_bytes(b"HOST=\xff\xfe")
    assert complaint() == ".env: is not UTF-8 text"


def test_what_it_keeps_is_closed_to_other_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that was there is the user's, and may hold other things; what Errand makes in it is not."""
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "new" / "var"))
    Settings.read()
    assert [path.stat().st_mode & 0o777 for path in (tmp_path / "new", tmp_path / "new" / "var")] == [0o700] * 2
    old = tmp_path / "old"
    for folder in (old, old / "mail", old / "other"):
        folder.mkdir()
        folder.chmod(0o755)
    monkeypatch.setenv("DATA_DIR", str(old))
    Settings.read()
    assert {path.name: path.stat().st_mode & 0o777 for path in (old, *old.iterdir())} == {
        "old": 0o755,
        "mail": 0o700,
        "other": 0o755,
    }


def test_a_key_may_have_a_name_and_an_end() -> None:
    named = ApiKey.parse(f"ci={KEY}:read;expires=2027-01-31")
    assert (named.name, set(named.scopes), named.digest) == ("ci", {"read"}, digest_of(KEY))
    assert named.expires_at == datetime(2027, 1, 31, tzinfo=UTC)
    assert ApiKey.parse(f"ci={'k' * 20}").client == named.client, "while one takes the place of the other"
    plain = ApiKey.parse(f"{KEY}==")
    assert (plain.name, plain.digest, plain.expires_at) == ("", digest_of(f"{KEY}=="), None)
