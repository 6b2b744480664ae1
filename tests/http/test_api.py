"""The whole of the service: its OpenAPI document, and that it starts without what it needs later."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from fastapi.openapi.models import OpenAPI
from pydantic import SecretStr

from errand.http.api import create_api
from errand.http.routes.stored.files import EXAMPLE_KEY
from settings import Settings
from tests.conftest import OpenClient

Document = dict[str, Any]


@pytest.fixture
async def document(client: httpx.AsyncClient) -> Document:
    answer: Document = (await client.get("/openapi.json")).json()
    return answer


def nodes_of(node: Any) -> Iterator[dict[str, Any]]:
    """Every object in a JSON document."""
    if isinstance(node, dict):
        yield node
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from nodes_of(child)


def operations_of(document: Document) -> dict[str, dict[str, Any]]:
    """The operations by their ids; two of one id would be one too few."""
    every = [operation for path in document["paths"].values() for operation in path.values()]
    by_id = {operation["operationId"]: operation for operation in every}
    assert len(by_id) == len(every)
    return by_id


async def test_the_document_is_openapi(document: Document) -> None:
    assert document["openapi"].startswith("3.1")
    OpenAPI.model_validate(document)


async def test_every_reference_in_the_document_leads_somewhere(document: Document) -> None:
    references = {node["$ref"] for node in nodes_of(document) if isinstance(node.get("$ref"), str)}
    assert "#/components/schemas/Resize" in references and "#/components/schemas/StoredFile" in references
    for reference in references:
        target: Any = document
        for step in reference.removeprefix("#/").split("/"):
            target = target[step]


async def test_every_operation_has_a_stable_name_and_says_what_it_does(document: Document) -> None:
    operations = operations_of(document)
    assert set(operations) == {
        *("enqueue_resize", "enqueue_webhook", "enqueue_welcome_email", "list_jobs", "get_job", "cancel_job"),
        "list_children",
        *("retry_job", "reschedule_job", "forget_job", "list_dead_jobs", "list_dead_job_groups", "replay_dead_jobs"),
        *("enqueue_resize_batch", "enqueue_webhook_batch", "enqueue_welcome_email_batch"),
        *("list_job_types", "get_file", "sign_file_url", "get_image", "sign_image_url", "healthz", "readyz"),
        *(f"{verb}_upload" for verb in ("create", "get", "continue", "put", "give_up")),
        "show_tus_options",
        *("list_queues", "pause_queue", "resume_queue", "list_workers", "get_stats", "get_metrics"),
        *(f"{verb}_schedule" for verb in ("create", "get", "put", "delete", "pause", "resume", "trigger")),
        *("list_schedules", "watch_jobs", "watch_job", "list_audit"),
        *(
            "take_email_events",
            "get_email",
            "preview_email",
            "list_suppressions",
            "add_suppression",
            "get_suppression",
            "remove_suppression",
        ),
        *(f"{verb}_webhook_endpoint" for verb in ("create", "get", "put", "delete")),
        *("list_webhook_endpoints", "rotate_webhook_secret", "send_webhook_event"),
        *("listen_to_webhook_events", "sign_webhook_portal_link", "list_webhook_attempts", "list_webhook_event_types"),
        *("test_webhook_endpoint", "resend_webhook_event", "recover_webhook_events"),
    }
    assert all(operation["summary"] for operation in operations.values())


OPEN = ("healthz", "readyz", "get_image", *(f"{verb}_upload" for verb in ("get", "continue", "put", "give_up")))
"""For everybody; an image's URL is signed, and an upload's has a token."""


SIGNING_KEY = "k" * 32


async def test_every_error_is_documented_as_the_problem_that_it_is(document: Document) -> None:
    for name, operation in operations_of(document).items():
        for status, answer in operation["responses"].items():
            if int(status) >= 400:
                assert list(answer["content"]) == ["application/problem+json"], (name, status)
        secured = "security" in operation
        assert secured == ("401" in operation["responses"]) == (name not in OPEN)


async def test_the_examples_of_every_type_are_accepted_as_they_stand(
    open_client: OpenClient, settings: Settings, document: Document
) -> None:
    _store(settings, EXAMPLE_KEY)
    signing = settings.model_copy(update={"file_url_keys": (SecretStr(SIGNING_KEY),)})
    async with open_client(signing) as client:
        await _post_examples(client, document)


def _store(settings: Settings, key: str) -> None:
    """A file under that key."""
    path = settings.data_dir / "files" / key
    path.parent.mkdir(parents=True)
    path.touch()


async def _post_examples(client: httpx.AsyncClient, document: Document) -> None:
    for path, operations in document["paths"].items():
        body = operations.get("post", {}).get("requestBody")
        if body is None or "{" in path:
            continue
        examples = body["content"]["application/json"]["examples"]
        assert examples, path
        for example in examples.values():
            assert (await client.post(path, json=example["value"])).status_code in (200, 201, 202), path


async def test_a_type_that_takes_a_file_documents_both_ways_to_send_its_args(document: Document) -> None:
    content = operations_of(document)["enqueue_resize"]["requestBody"]["content"]
    assert set(content) == {"multipart/form-data", "application/json"}
    form = content["multipart/form-data"]
    assert form["schema"]["required"] == ["args", "file"]
    assert form["schema"]["properties"]["args"]["$ref"] == "#/components/schemas/Resize"
    assert form["schema"]["properties"]["file"] == {"type": "string", "format": "binary"}
    assert form["encoding"]["args"]["contentType"] == "application/json"
    assert [set(example["value"]) for example in form["examples"].values()] == [{"args"}] * 2


async def test_the_same_terms_can_be_given_for_every_type(document: Document) -> None:
    for name, operation in operations_of(document).items():
        if name.startswith("enqueue_"):
            alone = (
                set()
                if name.endswith("_batch")
                else {"unique_key", "unique_for", "on_conflict", "depends_on", "run_after", "Prefer"}
            )
            given = {parameter["name"] for parameter in operation["parameters"]}
            assert given == {"delay", "run_at", "expires_in", "max_tries", "priority", "Idempotency-Key"} | alone
            shown = operation["responses"]["202"]["content"]["application/json"]["schema"]["$ref"]
            assert shown.endswith("/Batch" if name.endswith("_batch") else "/AcceptedJobView")


async def test_the_documentation_is_for_people_too(client: httpx.AsyncClient) -> None:
    assert "swagger" in (await client.get("/docs")).text


async def test_the_service_opens_and_closes_again_and_again(open_client: OpenClient) -> None:
    for _ in range(2):
        async with open_client() as client:
            assert (await client.get("/v1/jobs/x")).status_code == 404


def test_an_api_that_nobody_uses_any_more_is_not_kept(settings: Settings) -> None:
    """FastAPI remembers of thousands of functions what kind they are: none may lead back to the API it was made for."""
    api = create_api(settings)
    api.openapi()
    seen = weakref.ref(api)
    del api
    gc.collect()
    assert seen() is None


def test_what_the_app_keeps_is_an_attribute_of_its_state(settings: Settings) -> None:
    """Starlette's own state looks each up by a call: nine of them took a thirtieth of a usual request."""
    state = create_api(settings).state
    state.added = 1
    assert vars(state)["added"] == state["added"] == state.added == 1
    assert "added" in set(state) and len(state) == len(vars(state))
    del state.added
    with pytest.raises(AttributeError, match="has no attribute 'added'"):
        _ = state.added
