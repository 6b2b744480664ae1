"""Each kind of problem has a page at the address in its `type`, and no page is about a kind that nothing answers."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from errand.http.answers import problems
from errand.http.answers.problem_kinds import KINDS
from tests.conftest import OpenClient

ROOT = Path(__file__).parent.parent.parent.parent
BY_STATUS = {"content-too-large"}
"""Made from a constant, or from the status of an HTTPException."""


def kinds_in_code() -> set[str]:
    """The second argument of each call of `Problem`."""
    calls = [
        node
        for path in (ROOT / "errand").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")) == "Problem"
    ]
    return {str(kind.value) for call in calls if isinstance(kind := call.args[1], ast.Constant)}


def test_every_kind_has_its_page_and_no_page_is_of_a_kind_that_is_gone() -> None:
    assert kinds_in_code() | BY_STATUS == KINDS.keys()
    assert problems.TOO_LARGE in KINDS


async def test_the_type_of_a_problem_is_the_address_of_its_page(open_client: OpenClient) -> None:
    async with open_client() as client:
        problem = (await client.get("/v1/jobs/nope")).json()
        page = await client.get(problem["type"])
    assert page.status_code == 200 and page.headers["content-type"].startswith("text/html")
    assert "<h1>unknown-job</h1>" in page.text and "<code>RESULT_TTL_S</code>" in page.text


@pytest.mark.parametrize("name", ["nope", "%3Cscript%3E"])
async def test_of_other_names_there_is_no_page(open_client: OpenClient, name: str) -> None:
    async with open_client() as client:
        assert (await client.get(f"/problems/{name}")).status_code == 404
