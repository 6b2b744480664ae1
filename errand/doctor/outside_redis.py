"""Checks of what jobs use beside Redis: storage, the mail server, and settings that several machines must share."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from urllib.parse import parse_qs, urlsplit

from errand.doctor.server_checks import Finding
from errand.redis_url import RedisUrl
from errand.resources.storage import Storage
from errand.settings import Settings, is_loopback

CHECK_LIMIT_S = 5.0
"""For the storage, and for the mail server."""


async def check_storage(settings: Settings) -> Finding:
    """Writes a few bytes to the storage of uploads and outputs, and deletes them."""
    key = f"doctor-{uuid.uuid4()}"

    async def bytes_to_write() -> AsyncIterator[bytes]:
        yield b"written by errand doctor"

    try:
        store = Storage.at(settings.files_url)
        async with asyncio.timeout(CHECK_LIMIT_S):
            await store.write(key, bytes_to_write())
            await store.delete(key)
    except Exception as error:  # noqa: BLE001  # each kind of store has errors of its own
        return Finding(
            check="storage",
            level="warning",
            found=f"{settings.files_url} cannot be written to: {str(error) or type(error).__name__}",
            risk="uploads are refused, and jobs that store files fail and are retried",
            fix="STORAGE_URL, the rights of its folder, or the cloud's credentials in its own environment variables",
        )
    return Finding(check="storage", found=f"{settings.files_url} can be written to")


async def check_mail(settings: Settings) -> list[Finding]:
    """Connects to each mail server or provider, and sends it nothing."""
    if settings.smtp_url is None:
        found = f"SMTP_URL is unset: a worker keeps messages in {settings.data_dir}/mail"
        return [Finding(check="mail", found=found)]
    return [await _check_relay(*_mail_address(url)) for url in settings.smtp_urls]


def _mail_address(url: str) -> tuple[str, int]:
    """The host and port that a worker would connect to."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme == "ses":
        endpoint = urlsplit(parse_qs(parts.query).get("endpoint", [f"https://email.{host}.amazonaws.com"])[-1])
        return endpoint.hostname or "", endpoint.port or 443
    usual = {"smtps": 465, "postmark": 443}.get(parts.scheme, 587 if parts.username else 25)
    return host, parts.port or usual


async def _check_relay(host: str, port: int) -> Finding:
    address = f"{host}:{port}"
    try:
        async with asyncio.timeout(CHECK_LIMIT_S):
            _, writer = await asyncio.open_connection(host, port)
        writer.close()
    except (OSError, TimeoutError) as error:
        return Finding(
            check="mail",
            level="warning",
            found=f"the mail server {address} cannot be reached from here: {str(error) or type(error).__name__}",
            risk="e-mails wait and are retried; those that use up their tries fail",
            fix="SMTP_URL, or the network between here and there",
        )
    return Finding(check="mail", found=f"the mail server {address} can be reached")


def check_sharing(settings: Settings) -> list[Finding]:
    """What lies in DATA_DIR is this machine's alone; with Redis elsewhere there may be other machines."""
    if settings.redis_url is None:
        return []
    if all(map(is_loopback, RedisUrl.parse(settings.redis_url.get_secret_value()).hosts)):
        return []
    own = {
        "STORAGE_URL": (settings.storage_url, "files stored by one machine are missing on the others"),
        "WEBHOOK_SECRET": (settings.webhook_secret, "each machine signs webhooks with a secret of its own"),
    }
    return [
        Finding(
            check="shared",
            level="note",
            found=f"{name} is unset, and Redis is on another machine",
            risk=f"if API and workers run on several machines: {risk}",
            fix=f"set {name} to the same value everywhere",
        )
        for name, (value, risk) in own.items()
        if value is None
    ]
