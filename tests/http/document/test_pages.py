"""The pages for people: what they load and run is what their policy lets through, and nothing else is."""

from __future__ import annotations

import re
from base64 import b64encode
from hashlib import sha256

import httpx
import pytest

PAGES = ["/docs", "/redoc"]


def policy_in(answer: httpx.Response) -> dict[str, list[str]]:
    """The directives of the answer's one policy."""
    (policy,) = answer.headers.get_list("content-security-policy")
    return {name: sources for name, *sources in (directive.split() for directive in policy.split(";"))}


@pytest.mark.parametrize("path", PAGES)
async def test_all_that_a_page_loads_and_runs_is_let_through(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(path)
    policy, page = policy_in(answer), answer.text
    loaded = re.findall(r'<script src="([^"]+)"', page)
    assert loaded and all(url.startswith(policy["script-src"][0]) for url in loaded)
    styles = re.findall(r'<link[^>]+href="([^"]+)"', page)
    assert all(url.startswith((policy["style-src"][0], "data:")) for url in styles)
    assert policy["img-src"] == ["'self'", "data:"] and policy["font-src"] == ["data:"]
    inline = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    hashes = [f"'sha256-{b64encode(sha256(script.encode()).digest()).decode()}'" for script in inline]
    assert policy["script-src"][1:] == hashes
    assert policy["connect-src"] == ["'self'"] and "/openapi.json" in page


@pytest.mark.parametrize("path", PAGES)
async def test_nothing_else_is(client: httpx.AsyncClient, path: str) -> None:
    policy = policy_in(await client.get(path))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == ["'none'"]
    assert "'unsafe-inline'" not in policy["script-src"] and "'unsafe-eval'" not in policy["script-src"]
    # not all of a network that anybody may publish on
    assert all(source.count("/") > 3 for source in policy["script-src"] if source.startswith("https:"))


@pytest.mark.parametrize("path", PAGES)
async def test_a_browser_runs_what_comes_from_elsewhere_only_if_it_is_the_known_file(
    client: httpx.AsyncClient, path: str
) -> None:
    tags = re.findall(r'<(?:script|link)[^>]+"https://[^>]+>', (await client.get(path)).text)
    assert tags
    for tag in tags:
        assert re.search(r'@\d+\.\d+\.\d+/[^"]+" integrity="sha384-[A-Za-z0-9+/]{64}" crossorigin="anonymous"', tag)


async def test_no_page_asks_a_third_party_for_more_than_its_program(client: httpx.AsyncClient) -> None:
    for path in PAGES:
        hosts = set(re.findall(r"https?://([^/\"']+)", (await client.get(path)).text))
        assert hosts == {"cdn.jsdelivr.net"}
