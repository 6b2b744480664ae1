"""`make doctor`: looks over Redis, the queues and the places that jobs use, and says what may cost jobs.

`python -m service.doctor [--json]` exits with 0 where there is no warning, else with 1.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import json
import os
import sys
import uuid
from collections.abc import AsyncIterator, Sequence
from urllib.parse import urlsplit

from jobs.engine import doctor, embedded_redis, redaction
from jobs.engine.catalog import Catalog, discover
from jobs.engine.doctor import Installation
from jobs.engine.redis_connection import connect
from jobs.engine.server_checks import Finding
from jobs.resources.storage import Storage
from settings import Settings, is_loopback

REPLY_TIMEOUT_S = 5.0
PLACE_LIMIT_S = 5.0
"""For the storage, and for the mail server."""
WIDTH = 12


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints every finding; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m service.doctor", description="Says what may cost jobs.")
    parser.add_argument("--json", action="store_true", help="one JSON object for each finding, a line each")
    options = parser.parse_args(arguments)
    settings = Settings.read()
    redaction.configure(settings.secrets)
    try:
        catalog = discover(settings.job_packages)
    except (ImportError, TypeError, ValueError) as error:
        raise SystemExit(f"job types: {error}") from None
    findings = asyncio.run(_examine(settings, catalog))
    if not options.json:
        print(f"Redis: {_place_of_redis(settings)}\n")
    for finding in findings:
        print(redaction.hide(json.dumps(dataclasses.asdict(finding)) if options.json else _in_words(finding)))
    if not options.json:
        print(f"\n{_sum(findings)}")
    return int(any(finding.level == "warning" for finding in findings))


async def _examine(settings: Settings, catalog: Catalog) -> list[Finding]:
    server, places = await _redis_findings(settings, catalog), await asyncio.gather(_storage(settings), _mail(settings))
    return [*server, *places, *_shared_places(settings)]


async def _redis_findings(settings: Settings, catalog: Catalog) -> list[Finding]:
    """The engine's own checks, of the server that API and workers would use."""
    with contextlib.ExitStack() as stack:
        if settings.redis_url is not None:
            url = settings.redis_url.get_secret_value()
        else:
            try:
                url = stack.enter_context(embedded_redis.joined(settings.data_dir))
            except (RuntimeError, OSError) as error:
                return [_no_embedded_redis(error)]
        redis = connect(url, reply_timeout_s=REPLY_TIMEOUT_S)
        try:
            return await doctor.examine(redis, installation_of(settings, catalog))
        finally:
            await redis.aclose()


def _place_of_redis(settings: Settings) -> str:
    """Where it is, without its passwords."""
    if settings.redis_url is None:
        return f"the embedded one of {settings.data_dir}"
    scheme, _, rest = settings.redis_url.get_secret_value().partition("://")
    return f"{scheme}://{rest.partition('?')[0].rpartition('@')[2]}"


def _no_embedded_redis(error: Exception) -> Finding:
    return Finding(
        check="connection",
        level="warning",
        found=f"the embedded Redis does not start: {error}",
        risk="neither API nor worker starts",
        mend="read its log, or name a server in REDIS_URL",
    )


def installation_of(settings: Settings, catalog: Catalog) -> Installation:
    """What these settings make of the house, as the engine's checks need to know it."""
    named = [share.name for share in settings.worker_queues]
    return Installation(
        job_types=list(catalog),
        queues=list(dict.fromkeys([*catalog.queues, *named])),
        replicas=settings.replicas,
        lease_s=settings.lease_s,
    )


async def _storage(settings: Settings) -> Finding:
    """Writes a few bytes where uploads and outputs go, and deletes them."""
    key = f"doctor-{uuid.uuid4()}"

    async def bytes_to_write() -> AsyncIterator[bytes]:
        yield b"written by make doctor"

    try:
        storage = Storage.at(settings.files_url)
        async with asyncio.timeout(PLACE_LIMIT_S):
            await storage.write(key, bytes_to_write())
            await storage.delete(key)
    except Exception as error:  # noqa: BLE001  # each kind of store has errors of its own
        return Finding(
            check="storage",
            level="warning",
            found=f"{settings.files_url} cannot be written to: {str(error) or type(error).__name__}",
            risk="uploads are refused, and jobs that store files fail and are retried",
            mend="STORAGE_URL, the rights of its folder, or the cloud's credentials in its own environment variables",
        )
    return Finding(check="storage", found=f"{settings.files_url} can be written to")


async def _mail(settings: Settings) -> Finding:
    """Whether the mail server can be connected to; nothing is said to it."""
    if settings.smtp_url is None:
        return Finding(check="mail", found=f"SMTP_URL is unset: a worker keeps messages in {settings.data_dir}/mail")
    parts = urlsplit(settings.smtp_url.get_secret_value())
    port = parts.port or (465 if parts.scheme == "smtps" else 25)
    place = f"{parts.hostname}:{port}"
    try:
        async with asyncio.timeout(PLACE_LIMIT_S):
            _, writer = await asyncio.open_connection(parts.hostname, port)
        writer.close()
    except (OSError, TimeoutError) as error:
        return Finding(
            check="mail",
            level="warning",
            found=f"the mail server {place} cannot be reached from here: {str(error) or type(error).__name__}",
            risk="e-mails wait and are retried; those that use up their tries fail",
            mend="SMTP_URL, or the network between here and there",
        )
    return Finding(check="mail", found=f"the mail server {place} can be reached")


def _shared_places(settings: Settings) -> list[Finding]:
    """What lies in DATA_DIR is this machine's alone; with Redis elsewhere there may be other machines."""
    if settings.redis_url is None or is_loopback(
        urlsplit(settings.redis_url.get_secret_value()).hostname or "localhost"
    ):
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
            risk=f"where API and workers run on several machines: {risk}",
            mend=f"set {name} to the same value everywhere",
        )
        for name, (value, risk) in own.items()
        if value is None
    ]


def _in_words(finding: Finding) -> str:
    lines = [f"{finding.level:8} {finding.check:{WIDTH}} {finding.found}"]
    for label, text in (("risk", finding.risk), ("mend", finding.mend)):
        if text:
            lines.append(f"{'':8} {'':{WIDTH}} {label}: {text}")
    return "\n".join(lines)


def _sum(findings: Sequence[Finding]) -> str:
    levels = [finding.level for finding in findings]
    return f"{levels.count('warning')} warning(s), {levels.count('note')} note(s), {levels.count('ok')} fine"


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    # not sys.exit: obstore's threads, with a file just written, can abort an interpreter that is taken down at once
    os._exit(code)
