"""The OpenAPI document says all that a client needs: examples, errors, headers, and where an answer leads."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import httpx
import jsonschema_rs
import pytest

from errand.http.document.examples import ANSWERS
from settings import Settings
from tests.conftest import OpenClient
from tests.http.test_api import Document, operations_of
from tests.vault import Login

KEY = "sixteen-or-more-chars"


@pytest.fixture
async def document(client: httpx.AsyncClient) -> Document:
    answer: Document = (await client.get("/openapi.json")).json()
    return answer


def test_every_operation_has_a_summary_a_name_and_a_place_in_the_list(document: Document) -> None:
    for operation in operations_of(document).values():
        assert operation["summary"] and operation["operationId"] and operation["tags"]
        assert operation["responses"]


def test_every_operation_that_takes_a_key_may_be_over_its_limit_or_without_redis(document: Document) -> None:
    lacking = {
        name: missing
        for name, operation in operations_of(document).items()
        if ("security" in operation or name == "get_image")
        and (missing := {"429", "503"} - operation["responses"].keys())
    }
    assert lacking == {}


def test_every_answer_and_every_body_has_an_example(document: Document) -> None:
    for name, operation in operations_of(document).items():
        for status, answer in operation["responses"].items():
            for media_type, content in answer.get("content", {}).items():
                if media_type in ("application/json", "application/problem+json"):
                    assert "example" in content or "examples" in content, (name, status)
        for content in operation.get("requestBody", {}).get("content", {}).values():
            assert content.get("examples"), name


def test_every_parameter_is_described_and_has_an_example(document: Document) -> None:
    for name, operation in operations_of(document).items():
        for parameter in operation.get("parameters", ()):
            assert parameter.get("description"), (name, parameter["name"])
            shown = {**parameter["schema"], **parameter}
            branches = [branch for branch in shown.get("anyOf", ()) if "examples" in branch or "enum" in branch]
            assert {"examples", "example", "enum"} & set(shown) or branches, (name, parameter["name"])


def test_the_examples_are_of_the_shape_that_they_are_examples_of(document: Document) -> None:
    """With no field that the shape has not."""
    components = deepcopy(document["components"])
    for shape in components["schemas"].values():
        if "properties" in shape:
            shape.setdefault("additionalProperties", False)
    for name, operation in operations_of(document).items():
        for status, answer in operation["responses"].items():
            for content in answer.get("content", {}).values():
                if "example" in content and "itemSchema" not in content:
                    schema = {**content["schema"], "components": components}
                    assert jsonschema_rs.is_valid(schema, content["example"]), (name, status)
    assert set(ANSWERS) <= set(document["components"]["schemas"])


def test_an_error_of_every_status_is_shown_with_that_status(document: Document) -> None:
    for operation in operations_of(document).values():
        for status, answer in operation["responses"].items():
            if int(status) >= 400:
                example = answer["content"]["application/problem+json"]["example"]
                assert example["status"] == int(status) and example["detail"].endswith((".", "?"))


def test_an_answer_leads_to_all_that_can_be_done_with_what_it_shows(document: Document) -> None:
    operations = operations_of(document)
    links = operations["enqueue_webhook"]["responses"]["202"]["links"]
    assert {"get_job", "cancel_job", "retry_job", "forget_job"} <= set(links)
    assert links["get_job"]["parameters"] == {"id": "$response.body#/id"}
    assert "trigger_schedule" in operations["create_schedule"]["responses"]["201"]["links"]
    assert "pause_queue" in operations["list_queues"]["responses"]["200"]["links"]
    for operation in operations.values():
        for answer in operation["responses"].values():
            assert set(answer.get("links", ())) <= set(operations)


MAYBE = ("Idempotency-Replayed", "Preference-Applied", "RateLimit", "RateLimit-Policy")


@pytest.mark.parametrize(
    ("name", "status", "headers"),
    [
        ("enqueue_webhook", "202", {"Location", "Replaced-Job", *MAYBE}),
        ("enqueue_webhook", "200", {"Location", "Existing-Job", *MAYBE}),
        ("enqueue_webhook", "429", {"Retry-After", "RateLimit", "RateLimit-Policy"}),
        ("enqueue_webhook", "401", {"WWW-Authenticate"}),
        ("create_schedule", "201", {"Location", "RateLimit", "RateLimit-Policy"}),
        ("readyz", "503", {"Retry-After"}),
    ],
)
def test_the_headers_that_matter_are_documented(document: Document, name: str, status: str, headers: set[str]) -> None:
    assert set(operations_of(document)[name]["responses"][status]["headers"]) == headers


def test_the_queues_and_types_that_there_are_stand_in_the_document(document: Document) -> None:
    schemas = document["components"]["schemas"]
    assert schemas["ScheduleBody"]["properties"]["type"]["enum"] == ["resize", "webhook", "welcome_email"]
    (queue,) = (
        parameter["schema"]
        for parameter in operations_of(document)["list_dead_jobs"]["parameters"]
        if parameter["name"] == "queue"
    )
    assert queue["enum"] == ["default", "cpu", "mail", "webhooks"]


async def test_the_document_says_that_args_take_no_other_names(open_client: OpenClient, settings: Settings) -> None:
    async with open_client(settings.model_copy(update={"job_packages": ("tests.vault",)})) as client:
        schemas = (await client.get("/openapi.json")).json()["components"]["schemas"]
    assert "extra" not in Login.model_config and schemas["Login"]["additionalProperties"] is False


@pytest.mark.parametrize(("api_keys", "secured"), [("", [{"HTTPBearer": []}, {}]), (KEY, [{"HTTPBearer": []}])])
async def test_a_key_is_asked_for_only_where_there_are_keys(
    open_client: OpenClient, settings: Settings, api_keys: str, secured: list[Any]
) -> None:
    with_keys = Settings(**{**settings.model_dump(include={"data_dir"}), "api_keys": api_keys or ()})
    async with open_client(with_keys) as client:
        document = (await client.get("/openapi.json", headers={"Authorization": f"Bearer {KEY}"})).json()
    assert operations_of(document)["get_job"]["security"] == secured
