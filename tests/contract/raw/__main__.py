"""The second half of `make fuzz`: conversations from seeds, one after the other, then clients that never stop."""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import sys
import time

from tests.contract.raw.attack import fault_of
from tests.contract.raw.endless import CLIENTS, ENDLESS, Cost, asked_ms, busy_p99_ms, cost_of, p99
from tests.contract.raw.messages import conversation

AT_ONCE = 20
GROWTH_LIMIT_MIB = 50
ASKS = 200


async def attack(port: int, *, seconds: float, seed: int) -> int:
    """Twenty conversations at once, for so long; says each fault with its seed, and returns how many."""
    until_s, faults, sent = time.monotonic() + seconds, 0, 0
    while time.monotonic() < until_s and faults < 10:
        seeds = range(seed + sent, seed + sent + AT_ONCE)
        conversations = [conversation(random.Random(one)) for one in seeds]
        found = await asyncio.gather(*(fault_of(port, one) for one in conversations))
        for one, said, fault in zip(seeds, conversations, found, strict=True):
            if fault:
                print(f"seed {one}: {fault}: {said.pieces!r}"[:2_000], flush=True)
                faults += 1
        sent += AT_ONCE
    print(f"raw sockets: {sent} conversations from seed {seed}, {faults} faults", flush=True)
    return faults


async def measure(port: int, pid: int) -> list[Cost]:
    """What each kind of endless client costs the service in process `pid`."""
    costs = []
    ordinary_ms = await busy_p99_ms(port, asks=ASKS)
    print(f"{CLIENTS} ordinary clients, as busy as can be: others' p99 {ordinary_ms:.1f} ms", flush=True)
    for kind in ENDLESS:
        idle_p99_ms = p99([await asked_ms(port) for _ in range(ASKS)])
        costs.append(await cost_of(kind, port=port, pid=pid, asks=ASKS, idle_p99_ms=idle_p99_ms))
        print(costs[-1], flush=True)
    return costs


def run(port: int, pid: int, *, seconds: float, seed: int | None) -> bool:
    """True if nothing was found: the memory is judged, the times are shown, since they are the machine's as well."""
    chosen = int.from_bytes(os.urandom(3)) if seed is None else seed
    faults = asyncio.run(attack(port, seconds=seconds, seed=chosen))
    costs = asyncio.run(measure(port, pid))
    return not faults and all(cost.grown_mib <= GROWTH_LIMIT_MIB for cost in costs)


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("port", type=int)
    options.add_argument("pid", type=int)
    options.add_argument("--seconds", type=float, default=60)
    options.add_argument("--seed", type=int)
    given = options.parse_args()
    sys.exit(0 if run(given.port, given.pid, seconds=given.seconds, seed=given.seed) else 1)
