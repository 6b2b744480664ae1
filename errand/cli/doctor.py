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
from collections.abc import Sequence

from errand.doctor import examine as doctor
from errand.doctor import places
from errand.doctor.examine import installation_of
from errand.doctor.server_checks import Finding
from errand.job.catalog import Catalog, discover
from errand.redis import embedded as embedded_redis
from errand.redis.connection import connect
from errand.secrets import redaction
from errand.settings import Settings

REPLY_TIMEOUT_S = 5.0


WIDTH = 12


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints every finding; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m service.doctor", description="Says what may cost jobs.")
    parser.add_argument("--json", action="store_true", help="one JSON object for each finding, a line each")
    options = parser.parse_args(arguments)
    settings = Settings.read()
    redaction.configure(settings.secrets)
    try:
        catalog = discover(settings.packages)
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
    server, others = (
        await _redis_findings(settings, catalog),
        await asyncio.gather(places.storage(settings), places.mail(settings)),
    )
    return [*server, *others, *places.shared_places(settings)]


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
        fix="read its log, or name a server in REDIS_URL",
    )


def _in_words(finding: Finding) -> str:
    lines = [f"{finding.level:8} {finding.check:{WIDTH}} {finding.found}"]
    for label, text in (("risk", finding.risk), ("fix", finding.fix)):
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
