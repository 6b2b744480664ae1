"""Every setting of Errand, read from the environment once by an entry point, so that nothing else reads it.

One file for each part of an installation (redis, http, mail, …) has its fields, their checks and the types of their
values; `settings.py` joins them into `Settings`. What a setting does lives in the room that it is for.

Public: `Settings`, and the values that others handle: `ApiKey`, `RequestRate`, `QueueShare`.
"""

from errand.settings.api_keys import ALL_SCOPES, HASHED_KEY, ApiKey, Scope, digest_of
from errand.settings.http import RequestRate
from errand.settings.loopback import is_loopback
from errand.settings.settings import Settings
from errand.settings.worker import MAIL_QUEUE, SHIPPED_JOBS, WEBHOOK_QUEUE, QueueShare

__all__ = [
    "ALL_SCOPES",
    "HASHED_KEY",
    "MAIL_QUEUE",
    "SHIPPED_JOBS",
    "WEBHOOK_QUEUE",
    "ApiKey",
    "QueueShare",
    "RequestRate",
    "Scope",
    "Settings",
    "digest_of",
    "is_loopback",
]
