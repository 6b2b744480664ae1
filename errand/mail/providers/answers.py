"""What a provider's answer means where its status says it, whatever the provider."""

from __future__ import annotations

from errand.mail.letter import Letter
from errand.mail.verdict import ERRORS, Kind, NotSupported, Refusal, Stage

NOT_TAKEN = frozenset({408, 425, 429, 503})
"""A clear no for now: too many requests, or nobody there to take one (RFC 9110 §15.6.4, RFC 6585 §4)."""


def kind_of_status(status: int) -> Kind:
    """For what is no 2xx. A 5xx other than 503 may come after the letter was taken: nobody knows."""
    if status in NOT_TAKEN:
        return Kind.TRANSIENT
    return Kind.SENDER if 300 <= status <= 499 else Kind.UNSURE


def provider_refusal(kind: Kind, said: str, *, about_sender: bool) -> Refusal:
    """The error for an answer that is not the one hoped for.

    `about_sender`: what it refuses is who sends, or how much, so that another relay may carry the letter.
    """
    stage = Stage.LOGIN if about_sender else Stage.CONTENT
    return ERRORS[kind](f"the provider answered {said}"[:1000], stage=stage)


def refuse_beyond_ascii(letter: Letter, provider: str) -> None:
    """Raises NotSupported for an address that the provider does not take: its API would not say so clearly."""
    if letter.needs_smtputf8:
        raise NotSupported(f"{provider} takes no address whose local part is not ASCII", stage=Stage.MAIL)
