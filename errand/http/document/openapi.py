"""Completes FastAPI's OpenAPI document with what FastAPI does not see: links, headers, examples, errors.

What follows from a rule is added here, for routes to come as well: where an answer leads (links), what its headers say,
what an error looks like. What is a route's own (its summary, its parameters, its statuses) stands beside the route.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any

from fastapi import Depends, FastAPI, Request
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from errand.http.answers import problems
from errand.http.answers.problems import ProblemDetails
from errand.http.document.examples import ANSWERS, problem_example
from errand.http.gates import auth
from errand.http.requests.schedule_body import ScheduleBody
from errand.http.routes.events import JobEvent
from errand.http.scope import root_path
from errand.job.args_names import is_closed, models_below, names_of
from errand.job.catalog import Catalog
from errand.settings import Settings

Document = dict[str, Any]


Operation = dict[str, Any]


PATH = "/openapi.json"


SCHEMAS = "#/components/schemas/"


HEADERS: Document = {
    "Location": {"description": "where the new one is", "required": True, "schema": {"type": "string"}},
    "Retry-After": {
        "description": "so many seconds later the same request may succeed",
        "required": True,
        "schema": {"type": "integer", "minimum": 1},
    },
    "WWW-Authenticate": {"description": "`Bearer`", "required": True, "schema": {"type": "string"}},
    "Idempotency-Replayed": {
        "description": "`true`: this is the first answer again, and nothing was done",
        "schema": {"type": "string", "const": "true"},
    },
    "Existing-Job": {
        "description": "`true`: this job was there, and none was put; absent if the answer waited for its end",
        "schema": {"type": "string", "const": "true"},
    },
    "Replaced-Job": {
        "description": "the path of the job that was cancelled for this one, with `on_conflict=replace`",
        "schema": {"type": "string"},
    },
    "Preference-Applied": {
        "description": "`wait=N`: the answer has waited for the job's end, N seconds at most",
        "schema": {"type": "string", "pattern": "^wait=[0-9]+$"},
    },
    "RateLimit": {
        "description": 'if `RATE_LIMIT` is set: `"default";r=42;t=7`, requests that are left, for how many seconds',
        "schema": {"type": "string"},
    },
    "RateLimit-Policy": {
        "description": 'if `RATE_LIMIT` is set: `"default";q=100;w=1`, how many requests in how many seconds',
        "schema": {"type": "string"},
    },
}


ANYWHERE = {
    400: "this is no HTTP/1.1 request",
    408: "the request did not come in the time of `BODY_TIMEOUT_S`",
    414: "the path and query are too long",
    431: "the headers are too many or too long",
}
"""Errors that a request may meet before its route is known."""


COUNTED = {503: "Redis cannot be reached: with `RATE_LIMIT` it counts the requests of a key"}
"""What every operation may be answered that takes a key, if it says nothing else of it."""


LEADS_TO = {
    "SuppressionView": ("/v1/suppressions/{address}", "/address"),
    "JobView": ("/v1/jobs/{id}", "/id"),
    "AcceptedJobView": ("/v1/jobs/{id}", "/id"),
    "Batch": ("/v1/jobs/{id}", "/ids/0"),
    "JobPage": ("/v1/jobs/{id}", "/jobs/0/id"),
    "ChildrenPage": ("/v1/jobs/{id}", "/jobs/0/id"),
    "DeadJobPage": ("/v1/jobs/{id}", "/jobs/0/id"),
    "ReplayedView": ("/v1/jobs/{id}", "/ids/0"),
    "ScheduleView": ("/v1/schedules/{id}", "/id"),
    "SchedulePage": ("/v1/schedules/{id}", "/schedules/0/id"),
    "QueueView": ("/v1/queues/{name}", "/name"),
    "QueueView[]": ("/v1/queues/{name}", "/0/name"),
}
"""What an answer of that model leads to: every operation at or under that path, by the name that it has there."""


def install(app: FastAPI, catalog: Catalog) -> None:
    """Adds `/openapi.json` to the app: the whole document, made at the first request for it."""
    app.openapi = _document_of(app, catalog)  # type: ignore[method-assign]  # FastAPI's way to extend it

    @app.get(PATH, include_in_schema=False, dependencies=[Depends(auth.require_reader_of_pages)])
    async def document(request: Request) -> JSONResponse:
        # FastAPI's own route would not run the app's dependencies. It keeps functions for good that it has once called
        # for a request: through this one it would keep the app
        root, whole = root_path(request.scope), request.app.openapi()
        return JSONResponse({**whole, "servers": [{"url": root}]} if root else whole)


def _document_of(app: FastAPI, catalog: Catalog) -> Callable[[], Document]:
    def openapi() -> Document:
        if app.openapi_schema is None:
            document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
            _add_unseen_models(document, catalog)
            _name_the_known(document, catalog)
            _close_args(document, catalog)
            _complete_operations(document, app.state.settings, own_auth=auth.is_off(app))
            if auth.is_off(app):
                _remove_keys(document)
            app.openapi_schema = document
        return app.openapi_schema

    return openapi


def _add_unseen_models(document: Document, catalog: Catalog) -> None:
    """Of errors, and of bodies that are read by hand."""
    models: list[type[BaseModel]] = [ProblemDetails, ScheduleBody, JobEvent]
    models += [job_type.args_model for job_type in catalog.values()]
    _, schemas = models_json_schema([(model, "validation") for model in models], ref_template=SCHEMAS + "{model}")
    document["components"]["schemas"].update(schemas.get("$defs", {}))


def _name_the_known(document: Document, catalog: Catalog) -> None:
    """Which queues and types there are is known when the service starts, and another one is refused."""
    queues, types = list(catalog.queues), sorted(catalog)
    schemas = document["components"]["schemas"]
    for model in ("Replay", "ScheduleBody"):
        schemas[model]["properties"]["queue"] = {
            **{key: value for key, value in schemas[model]["properties"]["queue"].items() if key != "anyOf"},
            "anyOf": [{"type": "string", "enum": queues}, {"type": "null"}],
        }
    schemas["ScheduleBody"]["properties"]["type"]["enum"] = types
    for _, operation in _operations_of(document):
        for parameter in operation.get("parameters", ()):
            if (parameter["in"], parameter["name"]) == ("query", "queue"):
                parameter["schema"] = {"type": "string", "enum": queues}


def _close_args(document: Document, catalog: Catalog) -> None:
    """Args with names that their model does not have are refused, which Pydantic's schema does not say."""
    for name, job_type in catalog.items():
        body = document["paths"][f"/v1/jobs/{name}"]["post"]["requestBody"]["content"]["application/json"]
        args_model: type[BaseModel] = job_type.args_model
        closed = [body["schema"]["$ref"].removeprefix(SCHEMAS)] if names_of(args_model) is not None else []
        below = [model.__name__ for model in models_below(args_model) if is_closed(model)]
        for model in (*closed, *below, *(f"{name}-Input" for name in below)):
            if model in document["components"]["schemas"]:
                document["components"]["schemas"][model]["additionalProperties"] = False


def _complete_operations(document: Document, settings: Settings, *, own_auth: bool) -> None:
    document["components"]["headers"] = HEADERS
    for path, operation in _operations_of(document):
        if not settings.api_keys and "security" in operation and not own_auth:
            # none is needed: without keys the service answers its own machine
            operation["security"].append({})
        # copied: routes share what they say of their errors
        own = operation["responses"]
        counted = COUNTED if "security" in operation else {}
        answers = {**problems.documented(ANYWHERE), **problems.documented(counted), **own}
        operation["responses"] = {str(status): deepcopy(answer) for status, answer in answers.items()}
        for status, answer in operation["responses"].items():
            _add_headers(operation, status, answer)
            _add_links(document, answer)
            _add_example(path, operation, status, answer)


def _remove_keys(document: Document) -> None:
    """No key of `API_KEYS` opens the API if another app's dependencies admit its requests."""
    schemes = document["components"]["securitySchemes"]
    name = auth.bearer.scheme_name
    if schemes.get(name, {}).get("description") != auth.bearer.model.description:
        return  # the other app's own scheme of that name
    del schemes[name]
    for _, operation in _operations_of(document):
        others = [needed for needed in operation.pop("security", ()) if needed and name not in needed]
        if others:
            operation["security"] = others


def _add_headers(operation: Operation, status: str, answer: Document) -> None:
    names = []
    taken = {parameter["name"] for parameter in operation.get("parameters", ())}
    model = _model_of(answer)
    if status == "201" or (status == "202" and model == "AcceptedJobView"):
        names.append("Location")
    if status == "200" and model == "JobView" and operation["operationId"].startswith("enqueue_"):
        names += ["Location", "Existing-Job"]
    if status == "202" and "on_conflict" in taken:
        names.append("Replaced-Job")
    if status in ("200", "202") and "Idempotency-Key" in taken:
        names.append("Idempotency-Replayed")
    if status in ("200", "202") and "Prefer" in taken:
        names.append("Preference-Applied")
    if status == "401":
        names.append("WWW-Authenticate")
    if status in ("429", "503"):
        names.append("Retry-After")
    if "security" in operation and status not in ("401", "403"):
        names += ["RateLimit", "RateLimit-Policy"]
    if names:
        own = answer.get("headers", {})
        answer["headers"] = {**{name: {"$ref": f"#/components/headers/{name}"} for name in names}, **own}


def _add_links(document: Document, answer: Document) -> None:
    if (model := _model_of(answer)) in LEADS_TO:
        target, pointer = LEADS_TO[model]
        name = target[target.index("{") + 1 : -1]
        answer["links"] = {
            operation["operationId"]: {
                "operationId": operation["operationId"],
                "parameters": {name: f"$response.body#{pointer}"},
            }
            for path, operation in _operations_of(document)
            if path == target or path.startswith(f"{target}/")
        }


def _add_example(path: str, operation: Operation, status: str, answer: Document) -> None:
    for media_type, content in answer.get("content", {}).items():
        if media_type == problems.MEDIA_TYPE:
            content["example"] = problem_example(int(status), path, operation)
        elif (model := _model_of(answer)) is not None and model.removesuffix("[]") in ANSWERS:
            example = ANSWERS[model.removesuffix("[]")]
            content["example"] = [example] if model.endswith("[]") else example


def _model_of(answer: Document) -> str | None:
    """The name of the model that the answer's JSON has; with `[]` for an array of it."""
    schema = answer.get("content", {}).get("application/json", {}).get("schema", {})
    suffix = "[]" if schema.get("type") == "array" else ""
    reference = (schema["items"] if suffix else schema).get("$ref")
    return None if reference is None else reference.removeprefix(SCHEMAS) + suffix


def _operations_of(document: Document) -> Iterator[tuple[str, Operation]]:
    for path, operations in document["paths"].items():
        for operation in operations.values():
            yield path, operation
