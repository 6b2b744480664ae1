"""A package of job types whose args hold secrets; some of them do with those what they should not."""

from __future__ import annotations

from typing import ClassVar

import structlog
from pydantic import BaseModel, Field, SecretBytes, SecretStr, field_validator

from errand.job.context import Context
from errand.job.control import Fail, Retry
from errand.job.job_type import job

log = structlog.get_logger("vault")


class Account(BaseModel):
    """Part of the args."""

    user: str
    password: SecretStr


class Login(BaseModel):
    """Where to log in, and with what."""

    url: str = "https://bank.example"
    token: SecretStr
    pin: SecretBytes | None = None
    accounts: list[Account] = []
    headers: dict[str, SecretStr] = Field(default_factory=dict)

    @field_validator("token")
    @classmethod
    def _check(cls, token: SecretStr) -> SecretStr:
        if token.get_secret_value().startswith("bad"):
            raise ValueError(f"the token {token.get_secret_value()} is no good")
        return token


class Seen:
    """What jobs of this process were given."""

    logins: ClassVar[list[Login]] = []


@job(max_tries=1)
async def log_in(ctx: Context, args: Login) -> str:
    """Takes its secrets and tells nobody."""
    Seen.logins.append(args)
    await ctx.progress(0.5, f"half way with {args.token.get_secret_value()}")
    log.info("logging in", args=args)
    return f"logged in with {args.token}"


@job(max_tries=1)
async def spill(ctx: Context, args: Login) -> str:
    """Fails with its secrets on its lips."""
    token = args.token.get_secret_value()
    try:
        raise KeyError(token)
    except KeyError as error:
        raise ValueError(f"{'x' * 950}{token} at {args.url}?key={token}") from error


@job(max_tries=2)
async def spill_in_control(ctx: Context, args: Login) -> str:
    """Asks for another try, then gives up, each time saying too much."""
    if ctx.attempt == 1:
        raise Retry(f"{args.token.get_secret_value()} was refused", after_s=0)
    raise Fail(f"{args.token.get_secret_value()} was refused again")


@job(max_tries=1)
async def give_away(ctx: Context, args: Login) -> dict[str, object]:
    """Returns what it was trusted with."""
    token = args.token.get_secret_value()
    return {"texts": [f"the token is {token}"], token: 1, "number": 7}
