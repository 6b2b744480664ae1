"""Counts a client's requests against `RATE_LIMIT`, and says in each answer what is left.

The headers are those of draft-ietf-httpapi-ratelimit-headers-11: `RateLimit-Policy` says what may be done in what time,
`RateLimit` what is left (`r`) and for how long a client does well to make do with it (`t`, in seconds).
"""

from __future__ import annotations

import math

from fastapi import Request

from errand.http.answers.problems import Problem
from errand.http.gates.answer_headers import MORE
from errand.http.gates.token_bucket import Allowance, OverLimit, RateLimit


async def count(request: Request, limit: RateLimit, client: str) -> None:
    """Counts this request. Raises Problem 429 if the client has used up its quota."""
    try:
        allowance = await limit.take(client)
    except OverLimit as over:
        wait_s = _whole_s(over.allowance.wait_s)
        _say(request, limit, over.allowance)
        detail = f"More than {limit.quota} requests in {limit.window_s:g} s came with this credential. "
        headers = {"Retry-After": str(wait_s)}
        raise Problem(429, "rate-limited", f"{detail}Try again in {wait_s} s.", headers=headers) from None
    _say(request, limit, allowance)


def _say(request: Request, limit: RateLimit, allowance: Allowance) -> None:
    """Leaves the two headers for the answer, of any status."""
    # a client that spreads what is left over that time does not ask faster than the bucket refills
    wait_s = allowance.wait_s or max(allowance.left, 1) * limit.window_s / limit.quota
    request.scope[MORE] += (
        (b"ratelimit-policy", b'"default";q=%d;w=%d' % (limit.quota, limit.window_s)),
        (b"ratelimit", b'"default";r=%d;t=%d' % (allowance.left, _whole_s(wait_s))),
    )


def _whole_s(seconds: float) -> int:
    return max(math.ceil(seconds), 1)
