"""`POST /v1/jobs/{type}`: one route for each job type, made from its description."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any

from fastapi import Body, Depends, FastAPI, Request, Response
from pydantic_core import from_json, to_json

from errand.http.answers.job_view import PLAIN_ID, AcceptedJobView, JobView, path_of
from errand.http.answers.new_job import Accepted, Usual, new_job_json, usual_job_json
from errand.http.answers.problems import ERRORS, KEY_ERRORS, Problem
from errand.http.gates import auth
from errand.http.gates.audit import REPLACED_JOB
from errand.http.requests import args as job_args
from errand.http.requests import enqueue_options, idempotency, uniqueness, uploads, waits
from errand.http.requests.args import KeptArgs
from errand.http.requests.due import divided_dependencies, unknown_dependency
from errand.http.requests.enqueue_options import EnqueueOptions, enqueue_parameters
from errand.http.routes.enqueue_route import Endpoint, EnqueueRoute, FastRoute, guarded_by
from errand.http.shared import Shared, shared_of
from errand.job.catalog import Catalog
from errand.job.job_type import JobType
from errand.monitor.job_snapshot import JobSnapshot, Status
from errand.queue.idempotency import FirstAnswer, KeyReused
from errand.queue.new_job import DividedDependencies, Enqueued, UnknownDependency
from errand.queue.uniqueness import NotUnique
from errand.tracing import current
from errand.wire.flow import NO_FLOW
from errand.wire.job_id import new_job_id
from errand.wire.origin import NO_ORIGIN

EXISTING: dict[int | str, dict[str, Any]] = {
    200: {
        "model": JobView,
        "description": "the job at its end, for which `Prefer: wait=N` has waited; or, with `Existing-Job: true`, "
        "the job that holds the `unique_key`, and nothing was put",
    }
}


def install(app: FastAPI, catalog: Catalog, *, dependencies: Sequence[Any] = ()) -> None:
    """Adds a route for each type of the catalog, and one that answers which types there are.

    `dependencies` are those that the app runs for every route.

    The routes go right into the app, before its other routes: an included router is one more table to look a request
    up in, and these are busy.
    """
    others = list(app.router.routes)
    app.router.routes.clear()
    for job_type in catalog.values():
        _add_route(app, job_type, guarded_by(dependencies) if dependencies else None)
    app.router.routes += others

    @app.post("/v1/jobs/{type}", include_in_schema=False, dependencies=[Depends(auth.require("write"))])
    async def unknown_type(type: str) -> None:
        known = ", ".join(sorted(catalog))
        raise Problem(404, "unknown-job-type", f"There is no job type '{type}'. The types are: {known}.")


def _add_route(app: FastAPI, job_type: JobType[Any, Any], guarded: type[EnqueueRoute] | None) -> None:
    takes_file = job_type.file_field is not None
    documented = [] if takes_file else [Depends(_body_of(job_type))]
    app.router.add_api_route(
        f"/v1/jobs/{job_type.name}",
        _upload_endpoint(job_type) if takes_file else _json_endpoint(job_type),
        methods=["POST"],
        tags=["jobs"],
        dependencies=[Depends(auth.require("write")), Depends(enqueue_parameters), *documented],
        status_code=202,
        response_model=AcceptedJobView,
        responses={**EXISTING, **ERRORS, **KEY_ERRORS},
        summary=job_type.summary,
        operation_id=f"enqueue_{job_type.name}",
        openapi_extra=uploads.request_body(job_type) if takes_file else None,
        route_class_override=guarded or (EnqueueRoute if takes_file else FastRoute),
    )


def _body_of(job_type: JobType[Any, Any]) -> Any:
    """A dependency that documents a body with the args of that type."""

    async def body(args: Any) -> None: ...

    # set here: an annotation in the signature could not name the model
    body.__annotations__["args"] = Annotated[job_type.args_model, Body(openapi_examples=_examples(job_type))]
    return body


def _json_endpoint(job_type: JobType[Any, Any]) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        await auth.admit(request, "write")
        options = enqueue_options.read(request)
        args = await job_args.read(request, job_type, options.keyed)
        to = shared_of(request)
        return await waits.instead_of(await enqueue(to, job_type, args, options), request, to)

    return endpoint


def _upload_endpoint(job_type: JobType[Any, Any]) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        await auth.admit(request, "write")
        options, to = enqueue_options.read(request), shared_of(request)
        async with idempotency.in_flight(options.keyed, to.queue_of(job_type)) as first:
            if first is None:
                accepted = await _uploaded(request, to, job_type, options)
            else:
                accepted = await _answered_again(request, to, job_type, options, first)
        return await waits.instead_of(accepted, request, to)

    return endpoint


async def _uploaded(request: Request, to: Shared, job_type: JobType[Any, Any], options: EnqueueOptions) -> Response:
    """Puts a job with the file that comes with the request; the file is forgotten if no new job has it."""
    try:
        async with uploads.received_args(request, to.storage, job_type, options.keyed) as upload:
            memo = to_json(job_type.shown_args(upload.args)).decode()
            options = options.of_type(job_type, upload.args)
            upload.job_id = new_job_id()
            put = await _put(to, job_type, upload.args, options, memo=memo, drawn_id=upload.job_id)
            if put.replayed:
                await upload.forget()
            else:
                await to.job_files.note(put.job_id, upload.args)
    except NotUnique as conflict:
        return await _not_put(to, conflict, options)
    return _accepted(job_type, upload.args, put, options, root_path=to.root_path)


async def _answered_again(
    request: Request, to: Shared, job_type: JobType[Any, Any], options: EnqueueOptions, first: FirstAnswer
) -> Response:
    """The first answer, if this is the same request: its file is read to compare them, and not stored again."""
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
    args: KeptArgs,
    options: EnqueueOptions = enqueue_options.NONE,
    *,
    queue: str | None = None,
    shows_args: bool = True,
) -> Response:
    """Puts the job into `queue`, or into that of its type, and answers 202 with the job as it now is.

    That needs no second look at Redis. The args are not in the answer if they are not the client's own. Raises Problem
    409 or 422 for keys that do not allow it.
    """
    options = options.of_type(job_type, args)
    try:
        put = await _put(to, job_type, args, options, queue=queue)
    except NotUnique as conflict:
        return await _not_put(to, conflict, options)
    shown = args if shows_args else {}
    return _accepted(job_type, shown, put, options, root_path=to.root_path, queue=queue)


async def _not_put(to: Shared, conflict: NotUnique, options: EnqueueOptions) -> Response:
    assert options.unique is not None
    return await uniqueness.answer(to, conflict, options.unique)


async def _put(
    to: Shared,
    job_type: JobType[Any, Any],
    args: KeptArgs,
    options: EnqueueOptions,
    *,
    queue: str | None = None,
    memo: str = "",
    drawn_id: str | None = None,
) -> Enqueued:
    try:
        return await to.queue_of(job_type, name=queue).enqueue(
            job_type.name,
            args,
            drawn_id=drawn_id,
            delay_ms=options.when.delay_ms,
            run_at_ms=options.when.run_at_ms,
            idempotency=None if options.keyed is None else options.keyed.idempotency(memo),
            unique=None if options.unique is None else options.unique.unique,
            limits=options.limits,
            flow=NO_FLOW if options.dependencies is None else await options.dependencies.flow(to),
        )
    except KeyReused:
        raise idempotency.reused() from None
    except UnknownDependency as error:
        raise unknown_dependency(error.job_id) from None
    except DividedDependencies as error:
        raise divided_dependencies(error) from None


def _accepted(
    job_type: JobType[Any, Any],
    args: KeptArgs,
    put: Enqueued,
    options: EnqueueOptions,
    *,
    root_path: str,
    queue: str | None = None,
) -> Response:
    """The 202; to a request that was sent again, the first answer, whose args are in its memo."""
    args = from_json(put.memo) if put.memo else args
    shown = _shown(job_type, args, put, options, root_path=root_path, queue=queue or job_type.queue)
    more = idempotency.REPLAYED if put.replayed else {}
    if put.replaced:
        more = {**more, REPLACED_JOB: path_of(put.replaced, root_path)}
    return Accepted(shown, location=path_of(put.job_id, root_path), headers=more)


def _shown(
    job_type: JobType[Any, Any], args: KeptArgs, put: Enqueued, options: EnqueueOptions, *, root_path: str, queue: str
) -> bytes:
    status: Status = "deferred" if put.deferred else "queued"
    # one that is sent again is another request, of another trace
    origin = NO_ORIGIN if put.replayed else current.origin()
    is_usual = origin is NO_ORIGIN and options.limits is None and options.dependencies is None
    if is_usual and PLAIN_ID.fullmatch(put.job_id):
        usual = Usual(job_type, queue, status, put.durability, root_path)
        times = {"enqueued_at_ms": put.enqueued_at_ms, "due_at_ms": put.due_at_ms}
        return usual_job_json(usual, put.job_id, job_type.shown_args(args), **times)
    job = JobSnapshot(
        id=put.job_id,
        type=job_type.name,
        queue=queue,
        status=status,
        attempt=0,
        args=job_type.shown_args(args),
        enqueued_at_ms=put.enqueued_at_ms,
        run_at_ms=put.due_at_ms,
        origin=origin,
    )
    if options.limits is not None:
        # also if the request was sent again: its query is that of the first
        kept = options.limits.kept(put.accepted_at_ms)
        job = replace(job, max_tries=kept.max_tries, expires_at_ms=kept.expires_at_ms, priority=kept.priority or 0)
    if options.dependencies is not None:
        job = replace(job, run_at_ms=None, held=True)
    return new_job_json(job, job_type, durability=put.durability, root_path=root_path)


def _examples(job_type: JobType[Any, Any]) -> dict[str, Any]:
    return {f"example {number}": {"value": value} for number, value in enumerate(job_type.examples, start=1)}
