"""An endpoint as Redis keeps it: its definition, its secrets, and whether it is sent anything."""

from __future__ import annotations

import base64
from typing import Any

from pydantic import BaseModel, ConfigDict

from errand.secrets import secret_args
from errand.webhooks.endpoints.definition import BasicAuth, EndpointDefinition
from errand.webhooks.secret import new_secret
from errand.webhooks.signing import new_signing_key

OVERLAP_S = 24 * 3600
"""How long deliveries are signed with the old secret too when it was rotated."""
MAX_OLD_SECRETS = 10
"""Each makes the header of the signatures 48 bytes longer."""


class Endpoint(BaseModel):
    """One endpoint. Times are ms since the epoch."""

    model_config = ConfigDict(frozen=True)

    id: str
    definition: EndpointDefinition
    secret: str
    """`whsec_` and base64."""
    signing_key: str | None = None
    """`whsk_` and base64; its deliveries are signed with ed25519 too."""
    previous_secret: str | None = None
    previous_until_ms: int = 0
    older_secrets: dict[str, int] = {}
    """Those before it that sign still, and until when: a rotation that is asked for twice, since its answer was lost,
    must not end the one secret that the receiver knows."""
    disabled_reason: str | None = None
    """Why it was disabled, if that was not its owner's wish."""
    created_ms: int
    updated_ms: int
    revision: str = ""

    @classmethod
    def new(cls, endpoint_id: str, definition: EndpointDefinition, *, secret: str | None, now_ms: int) -> Endpoint:
        """With that secret, or one of its own."""
        return cls(
            id=endpoint_id,
            definition=definition,
            secret=secret or new_secret(),
            signing_key=new_signing_key() if definition.asymmetric else None,
            created_ms=now_ms,
            updated_ms=now_ms,
        )

    @property
    def enabled(self) -> bool:
        """It is sent events."""
        return self.definition.enabled and self.disabled_reason is None

    @property
    def overlaps(self) -> bool:
        """It was rotated: what signs its deliveries depends on the time."""
        return self.previous_secret is not None

    def defined(self, definition: EndpointDefinition, *, now_ms: int) -> Endpoint:
        """With another definition. One that is enabled again is what it was before it was disabled."""
        signing_key = (self.signing_key or new_signing_key()) if definition.asymmetric else None
        return self._changed(now_ms, definition=definition, disabled_reason=None, signing_key=signing_key)

    def disabled(self, reason: str, *, now_ms: int) -> Endpoint:
        """Sent nothing from now on."""
        return self._changed(now_ms, disabled_reason=reason)

    def rotated(self, *, now_ms: int) -> Endpoint:
        """With another secret; the present one signs beside it for a day, as do up to nine before that."""
        return self._changed(
            now_ms,
            secret=new_secret(),
            previous_secret=self.secret,
            previous_until_ms=now_ms + OVERLAP_S * 1000,
            older_secrets=dict(self._old_secrets(now_ms)[: MAX_OLD_SECRETS - 1]),
        )

    def secrets(self, *, now_ms: int) -> tuple[str, ...]:
        """What deliveries are signed with, the current secret first."""
        known = (self.secret, *(secret for secret, _ in self._old_secrets(now_ms)))
        return (*known, self.signing_key) if self.signing_key else known

    def _old_secrets(self, now_ms: int) -> list[tuple[str, int]]:
        """Those that were rotated and sign still, the latest first, and until when."""
        previous = [(self.previous_secret, self.previous_until_ms)] if self.previous_secret else []
        return [
            (secret, until_ms) for secret, until_ms in (*previous, *self.older_secrets.items()) if now_ms < until_ms
        ]

    def headers(self) -> dict[str, str]:
        """What is sent with every delivery beside the signature."""
        auth = self.definition.auth
        if auth is None:
            return dict(self.definition.headers)
        if isinstance(auth, BasicAuth):
            pair = f"{auth.user}:{auth.password.get_secret_value()}"
            value = f"Basic {base64.b64encode(pair.encode()).decode()}"
        else:
            value = f"Bearer {auth.token.get_secret_value()}"
        return {**self.definition.headers, "Authorization": value}

    def sent_secrets(self, *, now_ms: int) -> tuple[str, ...]:
        """What no answer of the receiver may show, should it repeat what it was sent."""
        auth = self.definition.auth
        if auth is None:
            return self.secrets(now_ms=now_ms)
        password = auth.password if isinstance(auth, BasicAuth) else auth.token
        credentials = self.headers()["Authorization"].partition(" ")[2]
        return (*self.secrets(now_ms=now_ms), password.get_secret_value(), credentials)

    def record(self) -> dict[str, Any]:
        """As Redis keeps it, secrets included; `model_validate` reads it again."""
        return {**self.model_dump(mode="json"), "definition": secret_args.kept(self.definition)}

    def _changed(self, now_ms: int, **fields: Any) -> Endpoint:
        return self.model_copy(update={**fields, "updated_ms": max(now_ms, self.updated_ms)})
