"""All settings of an installation as one object, and the one reading of them from the environment.

An entry point calls `Settings.read()` and passes the frozen result on. A variable that is set but empty counts as
unset. A bad value, or an unknown name in `.env`, stops the start with one line that names it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Self
from urllib.parse import unquote

from pydantic import ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from errand.redis_url import RedisUrl
from errand.settings.files import FileSettings
from errand.settings.http import HttpSettings
from errand.settings.images import ImageSettings
from errand.settings.logs import LogSettings
from errand.settings.mail import MailSettings
from errand.settings.redis import RedisSettings
from errand.settings.urls import passwords_in
from errand.settings.webhooks import WebhookSettings
from errand.settings.worker import WorkerSettings

UNKNOWN = "unknown setting in the env file (if .env is another program's, name one for Errand in ENV_FILE)"


# pydantic takes the fields of the last base first: from `redis_url` to `log_format`
class Settings(
    LogSettings,
    WorkerSettings,
    ImageSettings,
    WebhookSettings,
    FileSettings,
    MailSettings,
    HttpSettings,
    RedisSettings,
    BaseSettings,
):
    """All settings of an installation. Each name says its unit, and every default works on a laptop.

    >>> settings = Settings.read()  # from the environment and .env
    """

    model_config = SettingsConfigDict(env_file=".env", env_ignore_empty=True, extra="forbid", frozen=True)

    @property
    def secrets(self) -> list[str]:
        """The texts that no log may show: passwords in URLs, both as written and as sent, and signing secrets."""
        given: list[str] = []
        if self.redis_url:
            given += RedisUrl.parse(self.redis_url.get_secret_value()).passwords
        proxy = self.webhook_proxy.get_secret_value() if self.webhook_proxy else ""
        for url in (*self.smtp_urls, self.storage_url or "", proxy):
            given += passwords_in(url)
        secrets = (self.webhook_secret, self.mailgun_signing_key, self.postmark_webhook_password)
        own = [
            secret.get_secret_value() for secret in (*secrets, *self.webhook_old_secrets, *self.file_url_keys) if secret
        ]
        return [*given, *map(unquote, given), *own]

    @property
    def serves_sinks(self) -> bool:
        """True if the API has a webhook sink. It is for a developer's machine, so there is none if you set keys."""
        return not self.api_keys and self.webhook_sink_port != 0

    @classmethod
    def read(cls) -> Self:
        """Reads the settings from the environment and `.env`. Ends the process with one line if one of them is bad.

        If `.env` belongs to another program, name another file in `ENV_FILE`.
        """
        env_file = os.environ.get("ENV_FILE")
        if env_file and not Path(env_file).is_file():
            raise SystemExit(f"settings: ENV_FILE: there is no file {env_file}")
        try:
            settings = cls(_env_file=env_file) if env_file else cls()
            settings.keep_data_private()
        except (ValidationError, SettingsError) as error:
            raise SystemExit(f"settings: {_one_line(error)}") from None
        except UnicodeDecodeError:
            raise SystemExit("settings: .env: is not UTF-8 text") from None
        except OSError as error:
            raise SystemExit(f"settings: DATA_DIR: {error.strerror}: {error.filename}") from None
        if not os.access(settings.data_dir, os.W_OK):
            raise SystemExit(f"settings: DATA_DIR: {settings.data_dir} cannot be written to")
        return settings


def _one_line(error: ValidationError | SettingsError) -> str:
    """Names each bad setting and what is wrong; never shows the value, which may be a secret."""
    if isinstance(error, SettingsError):
        return str(error)
    return "; ".join(
        _in_words(fault["loc"], fault["type"], fault["msg"]) for fault in error.errors(include_input=False)
    )


def _in_words(path: tuple[int | str, ...], kind: str, message: str) -> str:
    sentence = message.removeprefix("Value error, ")
    if not path:
        return sentence
    name = str(path[0]).upper()
    return f"{name}: {UNKNOWN if kind == 'extra_forbidden' else sentence}"
