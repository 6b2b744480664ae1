"""Where a delivery goes, and how: a URL of the job's own, or an endpoint."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from urllib.parse import urlsplit

from errand.secrets import redaction
from errand.secrets.redaction import Hide
from errand.webhooks.schedule import DEADLINE_S, SCHEDULE_S
from errand.webhooks.secret import secret_of_url
from errand.webhooks.signing import Signer
from errand.webhooks.turns.receivers import Limit, endpoint_name


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One receiver of deliveries."""

    url: str
    signer: Signer
    headers: Mapping[str, str] = field(default_factory=dict)
    """Beside those of the signature."""
    secrets: Sequence[str] = field(default=(), repr=False)
    """What its answers are kept without."""
    endpoint_id: str | None = None
    concurrency: int | None = None
    """How many deliveries it may have at once, beside the limit of its host."""
    ordered: bool = False
    """Its deliveries are made in the order of their events."""
    rate_per_s: float | None = None
    """How many deliveries it takes in a second, of all workers together."""
    own_tls: Callable[[], ssl.SSLContext | None] | None = field(default=None, repr=False)
    """Makes what connections to it are made with, in place of the usual: kept for few of them, as each is large."""
    timeout_s: float = DEADLINE_S
    retry_s: Sequence[float] = SCHEDULE_S
    host: str = field(init=False)
    """Host and port, in lower case."""
    hide: Hide = field(init=False, repr=False, compare=False)
    """Takes the target's secrets out of a text: a receiver may repeat what it was sent."""

    @property
    def tls(self) -> ssl.SSLContext | None:
        """Its own certificates; None if they are the usual."""
        return None if self.own_tls is None else self.own_tls()

    def readable(self, body: bytes, *, limit_chars: int | None) -> str:
        """The start of an answer's body, without the target's secrets."""
        return self.hide(body.decode(errors="replace"))[:limit_chars] if body else ""

    def whole(self, body: bytes, *, is_cut: bool) -> str:
        """All that is kept of a body, without the secrets. Of one that was cut the end is left out, in which half of a
        secret would not be known for one."""
        text = self.readable(body, limit_chars=None)
        return text[: max(len(text) - redaction.longest_chars(self.secrets), 0)] if is_cut else text

    def __post_init__(self) -> None:
        object.__setattr__(self, "host", urlsplit(self.url).netloc.lower())
        object.__setattr__(self, "hide", redaction.hiding(self.secrets))

    def limits(self, *, of_host: int) -> tuple[Limit, ...]:
        """How many deliveries there may be at once to the endpoint, and to its host."""
        host = (self.host, of_host)
        if self.concurrency is None or self.endpoint_id is None:
            return (host,)
        return (endpoint_name(self.endpoint_id), self.concurrency), host


@lru_cache(maxsize=4096)
def target_of_url(url: str, *, secrets: tuple[str, ...]) -> Target:
    """Signed with the receiver's own secret, and with the installation's, which receivers of old verify with; so with
    each of the installation's, the present one first."""
    signing = (key for secret in secrets for key in (secret_of_url(secret, url), secret))
    return Target(url=url, signer=Signer(*signing), timeout_s=DEADLINE_S)
