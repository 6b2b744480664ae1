"""Calls that type checkers must refuse: `make check` fails if one of these comments turns out not to be needed."""

from __future__ import annotations

from errand import PREVIOUS, RESULTS, SyncClient, chain, group
from examples.orders import Confirmation, Order, confirm, pack


class Other(Order):
    """Has one field more."""

    note: str


async def wrong(client: SyncClient) -> None:
    await pack.enqueue(id=1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await pack.enqueue(id=1, items=["saw"], item=1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await pack.options(max_tries=1).enqueue(id=1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await pack.enqueue(Confirmation)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    pack.options(tries=1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    receipt: str = await (await pack.enqueue(Order(id=1, items=["saw"]))).result()  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    client.enqueue(pack, id="1", items=["saw"])  # pyright: ignore[reportArgumentType]
    pack.s(id=1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    text: str = await (
        await chain(confirm.s(id=1, items=["saw"]), pack.s(id=PREVIOUS, items=["saw"])).enqueue()
    ).result()  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    del receipt, text


async def right(client: SyncClient) -> None:
    parcels: int = await (await pack.options(delay="10m").enqueue(id=1, items=["saw"])).result()
    confirmed: Confirmation = await (await confirm.enqueue(Other(id=1, items=["saw"], note="!"))).result()
    same: Confirmation = client.enqueue(confirm, id=1, items=["saw"]).result()
    packed = [pack.s(id=number, items=["saw"]) for number in range(3)]
    number: int = await (await group(*packed, then=pack.s(id=1, items=RESULTS)).enqueue()).result()
    last: Confirmation = await (
        await chain(pack.s(id=1, items=["saw"]), confirm.s(id=PREVIOUS, items=["a"])).enqueue()
    ).result()
    del parcels, confirmed, same, number, last
