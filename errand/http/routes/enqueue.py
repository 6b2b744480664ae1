"""`POST /v1/jobs/{type}`: one route for each job type, made from its description."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Annotated, Any

from fastapi import Body, Depends, FastAPI, Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel
from pydantic_core import from_json, to_json

from errand.http.answers.job_view import AcceptedJobView, JobView, new_job_json, path_of
from errand.http.answers.problems import ERRORS, KEY_ERRORS, Problem
from errand.http.gates import auth
from errand.http.requests import idempotency, json_body, uniqueness, uploads, waits
from errand.http.requests import limits as job_limits
from errand.http.requests.args import checked_args
from errand.http.requests.due import WhenDep
from errand.http.requests.idempotency import KeyedDep
from errand.http.requests.limits import LimitsDep
from errand.http.requests.options import PLAIN, EnqueueOptions, options_of
from errand.http.requests.uniqueness import UniquenessDep
from errand.http.requests.waits import PreferDep
from errand.http.shared import Shared, SharedDep, shared_of
from errand.job.args_context import ArgsContext
from errand.job.catalog import Catalog
from errand.job.job_type import JobType
from errand.monitor.job_snapshot import JobSnapshot
from errand.queue.idempotency import FirstAnswer, KeyReused
from errand.queue.new_job import Enqueued
from errand.queue.uniqueness import NotUnique
from errand.secrets import secret_args

Answers = Callable[[Request], Coroutine[Any, Any, Response]]

RAISED = "errand.raised"
"""The place in a request's scope for what the fast path came upon: its route raises it, so that it is handled there."""


EXISTING: dict[int | str, dict[str, Any]] = {
    200: {
        "model": JobView,
        "description": "the job at its end, for which `Prefer: wait=N` has waited; or, with `Existing-Job: true`, "
        "the job that holds the `unique_key`, and nothing was put",
    }
}


def install(app: FastAPI, catalog: Catalog, *, dependencies: Sequence[Any] = ()) -> None:
    """A route for each type of the catalog, and one that says which there are.

    `dependencies` are those that the app runs for every route.

    They go right into the app, before its other routes: an included router is one more table to look a request up in,
    and these are busy.
    """
    busy_route = _behind(dependencies) if dependencies else EnqueueRoute
    others = list(app.router.routes)
    app.router.routes.clear()
    for job_type in catalog.values():
        takes_file = job_type.file_field is not None
        app.router.add_api_route(
            f"/v1/jobs/{job_type.name}",
            _upload_endpoint(job_type) if takes_file else _json_endpoint(job_type),
            methods=["POST"],
            tags=["jobs"],
            dependencies=[Depends(auth.require("write"))],
            status_code=202,
            response_model=AcceptedJobView,
            responses={**EXISTING, **ERRORS, **KEY_ERRORS},
            summary=job_type.summary,
            operation_id=f"enqueue_{job_type.name}",
            openapi_extra=uploads.request_body(job_type) if takes_file else None,
            route_class_override=APIRoute if takes_file else busy_route,
        )

    app.router.routes += others

    @app.post("/v1/jobs/{type}", include_in_schema=False, dependencies=[Depends(auth.require("write"))])
    async def unknown_type(type: str) -> None:
        known = ", ".join(sorted(catalog))
        raise Problem(404, "unknown-job-type", f"There is no job type '{type}'. The types are: {known}.")


class EnqueueRoute(APIRoute):
    """The one busy route: FastAPI documents it from its endpoint's signature, `endpoint.by_hand` answers it.

    To resolve four dependencies costs FastAPI more than all the rest of the request takes.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        by_hand: Answers = self.endpoint.by_hand  # type: ignore[attr-defined]

        async def handle(request: Request) -> Response:
            if RAISED in request.scope:
                raise request.scope[RAISED]
            return await by_hand(request)

        return handle


def _behind(dependencies: Sequence[Any]) -> type[APIRoute]:
    """An EnqueueRoute whose requests pass these dependencies first, as those of all other routes do."""

    class GuardedRoute(EnqueueRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            answer = super().get_route_handler()

            async def endpoint(request: Request) -> Response:
                return await answer(request)

            guarded = APIRoute(
                self.path,
                endpoint,
                methods=["POST"],
                response_model=None,
                dependencies=dependencies,
                dependency_overrides_provider=self.dependency_overrides_provider,
            )
            return guarded.get_route_handler()

    return GuardedRoute


def busy_paths(app: FastAPI) -> dict[str, Answers]:
    """What answers each of the busy routes, for the fast path there."""
    return {route.path: route.endpoint.by_hand for route in app.routes if isinstance(route, EnqueueRoute)}  # type: ignore[attr-defined]


def _json_endpoint(job_type: JobType[Any, Any]) -> Any:
    model = job_type.args_model

    async def endpoint(
        to: SharedDep,
        when: WhenDep,
        limits: LimitsDep,
        unique: UniquenessDep,
        keyed: KeyedDep,
        prefer: PreferDep,
        args: Any,
    ) -> Response:
        raise AssertionError("answered by hand")

    # set here: a string annotation could not see `model`
    endpoint.__annotations__["args"] = Annotated[model, Body(openapi_examples=_examples(job_type))]
    endpoint.by_hand = _json_handler(job_type)  # type: ignore[attr-defined]  # read by EnqueueRoute
    return endpoint


def _json_handler(job_type: JobType[Any, Any]) -> Answers:
    """What the signature of the endpoint says, done in its order: the key, the time, the body, the job."""

    async def handle(request: Request) -> Response:
        await auth.admit(request, "write")
        options = await options_of(request) if request.scope["query_string"] else PLAIN
        if keyed := idempotency.read(request):
            keyed.take("body", await request.body())
            options = EnqueueOptions(options.when, options.unique, keyed, options.limits)
        to = shared_of(request)
        args = checked_args(job_type, await json_body.read(request), context=ArgsContext(settings=to.settings))
        return await waits.instead_of(await enqueue(to, job_type, args, options), request, to)

    return handle


def _upload_endpoint(job_type: JobType[Any, Any]) -> Any:
    async def endpoint(
        request: Request,
        to: SharedDep,
        when: WhenDep,
        limits: LimitsDep,
        unique: UniquenessDep,
        keyed: KeyedDep,
        _: PreferDep,
    ) -> Response:
        job_limits.check_due(limits, when)
        accepted = await answer(request, to, EnqueueOptions(when, unique, keyed, limits))
        return await waits.instead_of(accepted, request, to)

    async def answer(request: Request, to: Shared, options: EnqueueOptions) -> Response:
        keyed = options.keyed
        async with idempotency.in_flight(keyed, to.queue_of(job_type)) as first:
            if first is not None and keyed is not None:
                return await _answered_again(request, to, job_type, options, first)
            return await _uploaded(request, to, job_type, options)

    return endpoint


async def _uploaded(request: Request, to: Shared, job_type: JobType[Any, Any], options: EnqueueOptions) -> Response:
    """Puts a job with the file that comes with the request; the file is forgotten where no new job has it."""
    try:
        async with uploads.received_args(request, to.storage, job_type, options.keyed) as upload:
            known_args = secret_args.kept(upload.args)
            memo = to_json(job_type.shown_args(known_args)).decode()
            put = await _put(to, job_type, known_args, options, memo=memo)
            if put.replayed:
                await upload.forget()
    except NotUnique as conflict:
        assert options.unique is not None
        return await uniqueness.answer(to, conflict, options.unique)
    return _accepted(job_type, known_args, put, options, root_path=to.root_path)


async def _answered_again(
    request: Request, to: Shared, job_type: JobType[Any, Any], options: EnqueueOptions, first: FirstAnswer
) -> Response:
    """The first answer, where this is the same request: its file is read for that, and not stored again."""
    keyed = options.keyed
    assert keyed is not None
    async with uploads.received_args(request, None, job_type, keyed):
        pass
    try:
        (put,) = to.queue_of(job_type).answered_again(first.given_to(keyed.fingerprint))
    except KeyReused:
        raise idempotency.reused() from None
    return _accepted(job_type, {}, put, options, root_path=to.root_path)


async def enqueue(
    to: Shared,
    job_type: JobType[Any, Any],
    args: BaseModel,
    options: EnqueueOptions = PLAIN,
    *,
    queue: str | None = None,
    shows_args: bool = True,
) -> Response:
    """Puts the job, where no `queue` is named into that of its type, and answers 202 with it as it now is.

    That needs no second look at Redis. The args are not in the answer if they are not the client's own.
    """
    known_args = secret_args.kept(args)
    try:
        put = await _put(to, job_type, known_args, options, queue=queue)
    except NotUnique as conflict:
        assert options.unique is not None
        return await uniqueness.answer(to, conflict, options.unique)
    shown = known_args if shows_args else {}
    return _accepted(job_type, shown, put, options, root_path=to.root_path, queue=queue)


async def _put(
    to: Shared,
    job_type: JobType[Any, Any],
    known_args: dict[str, Any],
    options: EnqueueOptions,
    *,
    queue: str | None = None,
    memo: str = "",
) -> Enqueued:
    try:
        return await to.queues[queue or job_type.queue].enqueue(
            job_type.name,
            known_args,
            delay_ms=options.when.delay_ms,
            run_at_ms=options.when.run_at_ms,
            idempotency=None if options.keyed is None else options.keyed.idempotency(memo),
            unique=None if options.unique is None else options.unique.unique,
            limits=options.limits,
        )
    except KeyReused:
        raise idempotency.reused() from None


def _accepted(
    job_type: JobType[Any, Any],
    known_args: dict[str, Any],
    put: Enqueued,
    options: EnqueueOptions,
    *,
    root_path: str,
    queue: str | None = None,
) -> Response:
    """The 202; of a request sent again, the first one's, whose args are in its memo."""
    args = from_json(put.memo) if put.memo else known_args
    job = _just_put(job_type, args, put, queue=queue or job_type.queue)
    if options.limits is not None:
        # of a request sent again as well: its query is that of the first
        kept = options.limits.kept(put.enqueued_at_ms)
        job = replace(job, max_tries=kept.max_tries, expires_at_ms=kept.expires_at_ms)
    shown = new_job_json(job, job_type, durability=put.durability, root_path=root_path)
    headers = {"Location": path_of(put.job_id, root_path), **(idempotency.REPLAYED if put.replayed else {})}
    return Response(shown, status_code=202, media_type="application/json", headers=headers)


def _just_put(job_type: JobType[Any, Any], args: dict[str, Any], put: Enqueued, *, queue: str) -> JobSnapshot:
    return JobSnapshot(
        id=put.job_id,
        type=job_type.name,
        queue=queue,
        status="deferred" if put.deferred else "queued",
        attempt=0,
        args=job_type.shown_args(args),
        enqueued_at_ms=put.enqueued_at_ms,
        run_at_ms=put.due_at_ms,
    )


def _examples(job_type: JobType[Any, Any]) -> dict[str, Any]:
    return {f"example {number}": {"value": value} for number, value in enumerate(job_type.examples, start=1)}
