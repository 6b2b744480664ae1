"""What `errand doctor` prints: each finding about Redis, the queues and what jobs use, and how many there are."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
from collections.abc import Iterator, Sequence

from errand.cli.terminal import harmless
from errand.doctor import outside_redis
from errand.doctor.examine import examine, installation_of
from errand.doctor.server_checks import Finding
from errand.job.catalog import Catalog, discover
from errand.process.start import exit_if_unusable
from errand.redis import embedded
from errand.redis.cluster import partitions
from errand.redis_url import RedisUrl
from errand.secrets import redaction
from errand.settings import Settings

REPLY_TIMEOUT_S = 5.0

NAME_WIDTH = 12


def report(settings: Settings, *, as_json: bool) -> int:
    """Prints every finding; returns the exit code, 1 if one of them is a warning.

    Exits with one line if a package of job types cannot be used.
    """
    redaction.configure(settings.secrets)
    with exit_if_unusable():
        catalog = discover(settings.packages)
    findings = asyncio.run(_examine(settings, catalog))
    lines = map(_as_json, findings) if as_json else _page(settings, findings)
    for line in lines:
        print(redaction.hide(line))
    return int(any(finding.level == "warning" for finding in findings))


async def _examine(settings: Settings, catalog: Catalog) -> list[Finding]:
    of_redis = await _redis_findings(settings, catalog)
    storage, mail = await asyncio.gather(outside_redis.check_storage(settings), outside_redis.check_mail(settings))
    return [*of_redis, storage, *mail, *outside_redis.check_sharing(settings)]


async def _redis_findings(settings: Settings, catalog: Catalog) -> list[Finding]:
    """The checks of the server that the API and workers would use."""
    with contextlib.ExitStack() as stack:
        if settings.redis_url is not None:
            url = settings.redis_url.get_secret_value()
        else:
            try:
                url = stack.enter_context(embedded.joined(settings.data_dir, fsync=settings.embedded_fsync))
            except (ImportError, RuntimeError, OSError) as error:
                return [_no_embedded_redis(error)]
        number = settings.queue_partitions
        async with partitions.opened(url, number=number, reply_timeout_s=REPLY_TIMEOUT_S) as found:
            return await examine(found.clients, installation_of(settings, catalog))


def _no_embedded_redis(error: Exception) -> Finding:
    return Finding(
        check="connection",
        level="warning",
        found=f"the embedded Redis does not start: {error}",
        risk="neither API nor worker starts",
        fix="read its log, or name a server in REDIS_URL",
    )


def _as_json(finding: Finding) -> str:
    return json.dumps(dataclasses.asdict(finding))


def _page(settings: Settings, findings: Sequence[Finding]) -> Iterator[str]:
    yield f"Redis: {_address_of_redis(settings)}\n"
    yield from map(_in_words, findings)
    levels = [finding.level for finding in findings]
    counts = f"{levels.count('warning')} warning(s), {levels.count('note')} note(s), {levels.count('ok')} fine"
    yield f"\n{counts}"


def _address_of_redis(settings: Settings) -> str:
    """The address of the server, without its passwords."""
    if settings.redis_url is None:
        return f"the embedded one of {settings.data_dir}"
    return RedisUrl.parse(settings.redis_url.get_secret_value()).shown


def _in_words(finding: Finding) -> str:
    lines = [f"{finding.level:8} {finding.check:{NAME_WIDTH}} {harmless(finding.found)}"]
    for label, text in (("risk", finding.risk), ("fix", finding.fix)):
        if text:
            lines.append(f"{'':8} {'':{NAME_WIDTH}} {label}: {harmless(text)}")
    return "\n".join(lines)
