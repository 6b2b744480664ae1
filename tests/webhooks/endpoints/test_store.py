"""The endpoints that Redis keeps, as its readers see them."""

from __future__ import annotations

from arq.connections import ArqRedis

from errand.webhooks.endpoints import Endpoint, EndpointDefinition, Endpoints

DEFINITION = EndpointDefinition.model_validate({"url": "https://receiver.example/"})


async def test_a_change_is_seen_at_once_and_only_what_has_changed_is_read_again(redis: ArqRedis) -> None:
    reader, writer = Endpoints(redis), Endpoints(redis)

    async def put(name: str) -> None:
        await writer.put(Endpoint.new(name, DEFINITION, secret=None, now_ms=1))

    for name in ("b", "c", "d"):
        await put(name)
    before = {endpoint.id: endpoint for endpoint in await reader.receiving("a.b", tenant=None)}
    await writer.change("c", lambda endpoint: endpoint.rotated(now_ms=2))
    await writer.remove("d")
    await put("a")
    after = await reader.receiving("a.b", tenant=None)
    assert [endpoint.id for endpoint in after] == ["a", "b", "c"]
    assert after[1] is before["b"] and after[2].previous_secret == before["c"].secret
    await writer.remove("b")
    await put("b")  # another one of that id
    assert (await reader.receiving("a.b", tenant=None))[1].secret != before["b"].secret


async def test_what_is_new_after_a_failover_that_has_lost_changes_is_seen(redis: ArqRedis) -> None:
    """As many changes were made since as were lost."""
    reader, writer = Endpoints(redis), Endpoints(redis)
    await writer.put(Endpoint.new("lost", DEFINITION, secret=None, now_ms=1))
    await reader.receiving("a.b", tenant=None)
    await redis.flushdb()
    await writer.put(Endpoint.new("new", DEFINITION, secret=None, now_ms=1))
    assert [endpoint.id for endpoint in await reader.receiving("a.b", tenant=None)] == ["new"]
