"""Loads Lua scripts. Each lies beside the one Python file that calls it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import NoScriptError

from errand.redis.redis_py import call, call_both, key_prefix_of

INCLUDE = re.compile(r'^--- @include "([\w/]+)"(?: as (\w+))?$', re.MULTILINE)
"""A line of a script that is replaced by the part it names. A part names the parts that it needs itself.

`as NAME` is for a part that few calls need: `NAME()` makes its functions, and returns them by their names. Each
function that a script makes costs every call of it 0.1 µs.
"""
FUNCTION = re.compile(r"^local function (\w+)", re.MULTILINE)
ROOT = Path(__file__).parent.parent
TAGGED = "redis/cluster/tagged"
"""What stands before each script in a cluster."""


class Script:
    """A script for the server behind one client; a call sends the text only if the server does not know it yet."""

    def __init__(self, redis: Redis, text: str) -> None:
        self.text = text
        self.sha = hashlib.sha1(text.encode()).hexdigest()  # noqa: S324  # the name that Redis gives it
        self._redis = redis

    async def __call__(self, *, keys: Sequence[Any], args: Sequence[Any] = ()) -> Any:
        """The script's answer. Raises redis' errors."""
        try:
            return await call(self._redis, *self.command(keys, args))
        except NoScriptError:
            await self._redis.script_load(self.text)
            return await call(self._redis, *self.command(keys, args))

    def command(self, keys: Sequence[Any], args: Sequence[Any]) -> tuple[Any, ...]:
        """The call of it as a command, to a server that knows it."""
        return ("EVALSHA", self.sha, len(keys), *keys, *args)


def load(redis: Redis, name: str) -> Script:
    """The script `errand/<name>.lua`, such as `queue/enqueue`, ready to be called."""
    return register(redis, source(name))


def register(redis: Redis, text: str) -> Script:
    """The script of that text, as the server behind that client is to be sent it."""
    prefix = key_prefix_of(redis)
    return Script(redis, tagged(text, prefix) if prefix else text)


@cache
def source(name: str) -> str:
    """The text of that script with its parts, each included once, before the first text that needs it."""
    return _text(name, set())


def _text(of: str, included: set[str]) -> str:
    def part(line: re.Match[str]) -> str:
        name, made_by = line.groups()
        if name in included:
            return ""
        included.add(name)
        # what a part needs besides is made with it, and not known outside
        return _text(name, included) if made_by is None else _made_by(made_by, _text(name, set(included)))

    return INCLUDE.sub(part, (ROOT / f"{of}.lua").read_text())


def _made_by(name: str, part: str) -> str:
    """A function of that name that makes those of the part."""
    functions = ", ".join(f"{function} = {function}" for function in FUNCTION.findall(part))
    return f"local function {name}()\n{part}\nreturn {{{functions}}}\nend"


def tagged(text: str, prefix: str) -> str:
    """That script as a cluster is sent it: its keys get the prefix, without its knowing."""
    flags, newline, rest = text.partition("\n") if text.startswith("#!") else ("", "", text)
    return flags + newline + source(TAGGED).replace("%TAG%", prefix) + rest


async def call_then(
    redis: Redis, called: Script, command: Sequence[str | int], *, keys: Sequence[Any], args: Sequence[Any]
) -> tuple[Any, Any]:
    """The answers to a script and to `command`, sent behind it in one write on one connection.

    An error answer to the script is raised, one to the command is returned. A pipeline's own way with scripts would
    ask each time whether the server knows them.
    """
    answer, reply = await call_both(redis, called.command(keys, args), command)
    if isinstance(answer, NoScriptError):
        await redis.script_load(called.text)
        return await call_then(redis, called, command, keys=keys, args=args)
    if isinstance(answer, Exception):
        raise answer
    return answer, reply


async def call_each(redis: Redis, called: Script, calls: Sequence[tuple[Sequence[Any], Sequence[Any]]]) -> list[Any]:
    """The answers to calls of one script, each with its keys and args, in one round trip; raises an error answer."""
    async with redis.pipeline(transaction=False) as pipeline:
        for keys, args in calls:
            pipeline.execute_command(*called.command(keys, args))
        answers: list[Any] = await pipeline.execute(raise_on_error=False)
    for answer in answers:
        if isinstance(answer, NoScriptError):
            await redis.script_load(called.text)
            return await call_each(redis, called, calls)
        if isinstance(answer, Exception):
            raise answer
    return answers


async def call_together(
    redis: Redis,
    calls: Sequence[tuple[Script, Sequence[Any], Sequence[Any]]],
    command: Sequence[str | int] | None = None,
) -> tuple[list[Any], Any]:
    """The answers to scripts, each with its keys and args, that run as one transaction; and to `command` behind it.

    An error answer of the transaction is raised, one to the command is returned.
    """
    async with redis.pipeline(transaction=False) as pipeline:
        # spelt out: redis-py's own transaction sends nothing behind itself, and puts the args of jobs into its errors
        pipeline.execute_command("MULTI")
        for called, keys, args in calls:
            # the text, not its digest: a transaction cannot stop for a server that does not know the script
            pipeline.execute_command("EVAL", called.text, len(keys), *keys, *args)
        pipeline.execute_command("EXEC")
        if command:
            pipeline.execute_command(*command)
        replies = await pipeline.execute(raise_on_error=False)
    reply = replies.pop() if command else None
    answers = replies[-1] if isinstance(replies[-1], list) else [replies[-1]]
    for answer in (*replies, *answers):
        if isinstance(answer, Exception):
            raise answer
    return answers, reply
