"""What keys and channels are called in a cluster, and that neither callers nor scripts see it."""

from __future__ import annotations

import pytest
from arq.connections import ArqRedis
from redis.asyncio import Redis

from errand.redis import script
from errand.redis.cluster.tag import Tag
from errand.redis.connection import connect
from errand.redis.script import ROOT
from errand.wire import keys

SCRIPTS = [
    path.relative_to(ROOT).with_suffix("").as_posix()
    for path in sorted(ROOT.rglob("*.lua"))
    if path.parent.name not in ("parts", "cluster")
]
TAG = Tag("x")


@pytest.mark.parametrize(
    ("command", "as_sent"),
    [
        (("GET", "a"), ("GET", "{x}:a")),
        (("get", b"a"), ("get", b"{x}:a")),
        (("MGET", "a", "b"), ("MGET", "{x}:a", "{x}:b")),
        (("BLPOP", "a", "b", 1), ("BLPOP", "{x}:a", "{x}:b", 1)),
        (("RENAME", b"a", "b"), ("RENAME", b"{x}:a", "{x}:b")),
        (("MSET", "a", "1", "b", "2"), ("MSET", "{x}:a", "1", "{x}:b", "2")),
        (("XINFO", "STREAM", "a"), ("XINFO", "STREAM", "{x}:a")),
        (("XREAD", "COUNT", 1, "STREAMS", "a", "b", 0, 0), ("XREAD", "COUNT", 1, "STREAMS", "{x}:a", "{x}:b", 0, 0)),
        (("EVALSHA", "f", 1, "a", "v"), ("EVALSHA", "f", 2, "{x}:a", "{x}:errand:never", "v")),
        (("EVAL", "t", 0), ("EVAL", "t", 1, "{x}:errand:never")),
        (("SCAN", b"0", "COUNT", 9), ("SCAN", b"0", "COUNT", 9, "MATCH", "{x}:*")),
        (("SCAN", 0, "MATCH", "a*"), ("SCAN", 0, "MATCH", "{x}:a*")),
        (("PUBLISH", "c", "m"), ("PUBLISH", "{x}:c", "m")),
        (("SUBSCRIBE", "c", "d"), ("SUBSCRIBE", "{x}:c", "{x}:d")),
        (("CONFIG GET", "save"), ("CONFIG GET", "save")),
        (("INFO",), ("INFO",)),
    ],
)
def test_a_commands_keys_and_channels_get_the_tag(command: tuple[object, ...], as_sent: tuple[object, ...]) -> None:
    assert TAG.command(command) == as_sent


def test_replies_name_keys_and_channels_as_callers_do() -> None:
    assert TAG.reply([b"{x}:a", b"value"]) == [b"a", b"value"]
    assert TAG.reply([b"message", b"{x}:c", b"{x} is text"]) == [b"message", b"c", b"{x} is text"]
    assert TAG.reply([b"7", [b"{x}:a", b"{x}:b"]]) == [b"7", [b"a", b"b"]]
    assert TAG.reply(b"{x}:value") == b"{x}:value"


async def test_all_keys_lie_in_one_slot_and_are_found_by_their_plain_names(redis: ArqRedis, redis_url: str) -> None:
    assert redis_url.startswith("redis+cluster://")
    await redis.mset({"arq:a": 1, "errand:b": 2})
    async with redis.pipeline(transaction=True) as transaction:
        transaction.get("arq:a")
        transaction.delete("arq:a")
        assert await transaction.execute() == [b"1", 1]
    assert await redis.keys("errand:*") == [b"errand:b"]
    assert await redis.scan(0) == (0, [b"errand:b"])
    owner = redis.connection_pool.owner  # type: ignore[attr-defined]  # of a cluster
    host, port = owner.address
    async with Redis(host=host, port=port) as plain:
        assert await plain.keys("*") == [b"{errand}:errand:b"]


@pytest.mark.parametrize("name", SCRIPTS)
async def test_a_cluster_takes_each_script(redis: ArqRedis, name: str) -> None:
    loaded = script.load(redis, name)
    assert await redis.script_load(loaded.text) == loaded.sha


async def test_two_installations_share_a_cluster_and_see_nothing_of_each_other(redis: ArqRedis, redis_url: str) -> None:
    await redis.set("errand:mine", 1)
    other = connect(f"{redis_url}/staging", reply_timeout_s=5)
    try:
        assert await other.get("errand:mine") is None and await other.keys("*") == []
        await other.set("errand:its", 1)
        assert await redis.keys("*") == [b"errand:mine"]
        await other.delete("errand:its")
    finally:
        await other.aclose()


async def test_the_call_of_a_script_names_a_key_that_never_exists(redis: ArqRedis) -> None:
    assert await redis.exists(keys.NEVER) == 0
    whole = script.tagged("return #KEYS .. KEYS[1] .. redis.call('SET', KEYS[1], ARGV[1]).ok", "{errand}:")
    answer = await redis.eval(whole, 1, "errand:k", "v")  # type: ignore[misc]  # redis-py types both its clients
    assert answer == b"1errand:kOK"
    assert await redis.get("errand:k") == b"v"


async def test_a_script_may_ask_how_large_a_key_is(redis: ArqRedis) -> None:
    whole = script.tagged("return redis.call('MEMORY', 'USAGE', KEYS[1], 'SAMPLES', 0)", "{errand}:")
    await redis.set("errand:k", "v" * 1_000)
    assert await redis.eval(whole, 1, "errand:k") > 1_000  # type: ignore[misc]  # as above
