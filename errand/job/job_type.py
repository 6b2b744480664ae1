"""What a job type is: a name, an args model, a function, and how a worker treats its attempts."""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Concatenate, Generic, Literal, Protocol, TypeVar, Unpack, overload

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from errand.job.args_names import Closed, names_of, unknown_names
from errand.job.context import Context, Opener
from errand.job.functions.shape import shape_of
from errand.job.limits.control import StartControl, StartOptions
from errand.job.limits.limit import Limit
from errand.job.producing.enqueuing import Enqueuing, read_as
from errand.job.producing.options import NO_OPTIONS, JobOptions
from errand.job.producing.repeats import Repeats
from errand.job.retry_policy import Exponential, RetryPolicy
from errand.job.schedule import Schedule
from errand.job.stored_file import StoredFile
from errand.secrets import secret_args
from errand.secrets.redaction import Hide
from errand.wire.keys import DEFAULT_QUEUE

QUEUE_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


Args = TypeVar("Args", bound=BaseModel)


Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class JobType(Enqueuing[Args, Result], Generic[Args, Result]):
    """A kind of job. `@job` makes it from your function. In a test you can call it, as you would call your function."""

    name: str
    function: Callable[..., Awaitable[Result]]
    """The worker calls it with the context and the args, also if your function runs in a thread or a process, or has
    dependencies."""
    args_model: type[Args]
    result_type: Any
    """The type of what a successful attempt returns, from the function's annotation."""
    queue: str
    """The name of the queue for its jobs, unless a caller names another one."""
    max_tries: int
    timeout_s: float
    retry: RetryPolicy
    uses: tuple[Opener[Any], ...]
    summary: str
    examples: tuple[Mapping[str, Any], ...]
    schedules: tuple[Schedule, ...] = ()
    """The schedules of `@job(schedule=…)`, each with its id, and with its args as the queue keeps them."""
    limits: tuple[Limit, ...] = ()
    """How many of its jobs may run at once, or start within a time, in all workers together."""
    priority: int = 0
    """From 0, the lowest, to 9, unless a caller gives another one."""
    repeats: Repeats | None = None
    """What Errand does with equal jobs that callers put one after another, unless a caller says otherwise."""

    def __call__(self, ctx: Context, args: Args, **dependencies: Any) -> Awaitable[Result]:
        """Calls your function. If you give a dependency by name, the call does not call the dependency's function."""
        return self.function(ctx, args, **dependencies)

    @property
    def asked(self) -> JobOptions:
        """What its jobs ask for unless a caller says otherwise."""
        return NO_OPTIONS

    @property
    def ready_args(self) -> type[Args]:
        """The model, as type checkers see an instance of it."""
        return self.args_model

    @property
    def returns(self) -> Callable[..., Result]:
        """What a successful attempt returns, as type checkers see it."""
        return self.result_type  # type: ignore[no-any-return]

    @property
    def result_schema(self) -> dict[str, Any]:
        """JSON Schema of what a successful attempt returns."""
        return TypeAdapter(self.result_type).json_schema(mode="serialization")

    def read_result(self, kept: Any) -> Result:
        """Makes the function's result from the JSON that the queue keeps. Raises pydantic's ValidationError."""
        return read_as(self.result_type, kept)  # type: ignore[no-any-return]

    def takes(self, args: Mapping[str, Any]) -> bool:
        """True if the args fit the model. If the type takes an upload, args without the file do not fit."""
        try:
            self.args_model.model_validate(args)
        except ValidationError:
            return False
        return True

    def read_args(self, kept: Mapping[str, Any]) -> BaseModel:
        """Makes an instance of the args model from args as the queue keeps them.

        The args may have the names of fields or, from other producers, aliases. Raises pydantic's ValidationError, also
        for names that the model does not have (`args_names`).
        """
        args: BaseModel = self.args_model.model_validate(kept, by_alias=True, by_name=True)
        if unknown := unknown_names(args, kept):
            faults: list[InitErrorDetails] = [
                {
                    "type": PydanticCustomError("unknown_arg", "{message}", {"message": message}),
                    "loc": path,
                    "input": None,
                }
                for path, message in unknown.items()
            ]
            raise ValidationError.from_exception_data(self.args_model.__name__, faults)
        return args

    @property
    def args_schema(self) -> dict[str, Any]:
        """The JSON Schema of the args, as clients send them."""
        schema = self.args_model.model_json_schema(schema_generator=Closed)
        return schema if names_of(self.args_model) is None else {**schema, "additionalProperties": False}

    def shown_args(self, kept: Mapping[str, Any]) -> Mapping[str, Any]:
        """The same args, as the queue keeps them, with stars instead of secrets."""
        return secret_args.shown(self.args_model, kept)

    def hider(self, args: Any) -> Hide:
        """Returns a function that hides the secrets of these args in a text."""
        return secret_args.hider(self.args_model, args)

    @property
    def file_field(self) -> str | None:
        """The args field that an upload fills; None if this type takes no upload."""
        return file_field_of(self.args_model)


class MakesJobType(Protocol):
    """What `@job(…)` returns: it takes `async def` and `def`, with dependencies behind the args or without."""

    @overload
    def __call__(
        self, function: Callable[Concatenate[Context, Args, ...], Coroutine[Any, Any, Result]], /
    ) -> JobType[Args, Result]: ...

    @overload
    def __call__(self, function: Callable[Concatenate[Context, Args, ...], Result], /) -> JobType[Args, Result]: ...


class MakesJobTypeOfProcess(Protocol):
    """What `@job(process=True, …)` returns."""

    def __call__(self, function: Callable[[Args], Result], /) -> JobType[Args, Result]: ...


class MakesJobTypeOfBatch(Protocol):
    """What `@job(batch=…)` returns."""

    @overload
    def __call__(
        self, function: Callable[[list[Context], list[Args]], Coroutine[Any, Any, None]], /
    ) -> JobType[Args, None]: ...

    @overload
    def __call__(
        self, function: Callable[[list[Context], list[Args]], Coroutine[Any, Any, list[Result]]], /
    ) -> JobType[Args, Result]: ...


class JobTypeOptions(StartOptions, total=False):
    """What `@job` takes."""

    queue: str
    max_tries: int
    timeout_s: float
    retry: RetryPolicy | None
    uses: Iterable[Opener[Any]]
    examples: Iterable[Mapping[str, Any]]
    schedule: str | Schedule | Iterable[Schedule]


@overload
def job(*, process: Literal[False] = False, **options: Unpack[JobTypeOptions]) -> MakesJobType: ...


@overload
def job(*, process: Literal[True], **options: Unpack[JobTypeOptions]) -> MakesJobTypeOfProcess: ...


@overload
def job(*, batch: int, batch_wait_s: float = ..., **options: Unpack[JobTypeOptions]) -> MakesJobTypeOfBatch: ...


def job(
    *,
    process: bool = False,
    batch: int | None = None,
    batch_wait_s: float = 0.1,
    queue: str = DEFAULT_QUEUE,
    max_tries: int = 5,
    timeout_s: float = 300,
    retry: RetryPolicy | None = None,
    uses: Iterable[Opener[Any]] = (),
    examples: Iterable[Mapping[str, Any]] = (),
    schedule: str | Schedule | Iterable[Schedule] = (),
    **flow: Unpack[StartOptions],
) -> Any:
    """Makes `async def name(ctx: Context, args: SomeModel) -> Result` a job type called `name`.

    - `queue` names its queue. Jobs that keep a processor busy belong into `cpu`, which runs one for each process.
    - `max_tries` is how many attempts there are, the first included; `timeout_s` how many seconds one may take.
    - `retry` says how long to wait after a failed attempt: by default 5 s, then twice as long each time, up to an hour.
    - `uses` lists the resources that the worker opens once. `ctx.use(...)` returns them.
    - `examples` are args that the OpenAPI document shows.
    - `schedule` runs it again and again: a cron expression, or one or more `Schedule`s.
    - `concurrency` and `rate` limit how many run at once and start within a time, in all workers together.
    - `priority`: jobs with a higher one start first. `debounce`, `throttle`: one job stands for equal ones.

    Further parameters are dependencies (`Depends`). A `def` runs in a thread, and may block. With `process=True` a
    `def name(args: SomeModel)` runs in the process pool, and the worker kills its process after `timeout_s`. With
    `batch=100` one call of `async def name(ctxs: list[Context], many: list[SomeModel])` runs up to 100 jobs.

    Raises TypeError for a function of another shape, ValueError for a number out of range or an invalid schedule.
    """
    check_queue_name(queue)
    if max_tries < 1 or timeout_s <= 0:
        raise ValueError("@job needs max_tries >= 1 and timeout_s > 0")
    control = StartControl.of(**flow)

    def describe(function: Callable[..., Any]) -> JobType[Any, Any]:
        shape = shape_of(function, process=process, timeout_s=timeout_s, batch=batch, wait_s=batch_wait_s)
        control.check(shape.args_model, takes_file=file_field_of(shape.args_model) is not None)
        return JobType(
            name=function.__name__,
            function=shape.call,
            args_model=shape.args_model,
            result_type=shape.result_type,
            queue=queue,
            max_tries=max_tries,
            timeout_s=timeout_s,
            retry=retry or Exponential(),
            uses=tuple(dict.fromkeys((*uses, *shape.uses))),
            summary=(inspect.getdoc(function) or function.__name__.replace("_", " ")).partition("\n")[0],
            examples=tuple(examples),
            schedules=_schedules_of(function.__name__, shape.args_model, schedule),
            limits=control.limits,
            priority=control.priority,
            repeats=control.repeats,
        )

    return describe


def file_field_of(args_model: type[BaseModel]) -> str | None:
    """The field that an upload fills, if there is one."""
    for name, info in args_model.model_fields.items():
        if info.annotation is StoredFile or StoredFile in typing.get_args(info.annotation):
            return name
    return None


def check_queue_name(name: str) -> None:
    """Raises ValueError if it is no name for a queue."""
    if not QUEUE_NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name for a queue: letters, digits, '-' and '_'")


def _schedules_of(
    name: str, args_model: type[BaseModel], given: str | Schedule | Iterable[Schedule]
) -> tuple[Schedule, ...]:
    """The schedules, each with an id and checked args. Raises ValueError if args do not fit or two ids are equal."""
    given = Schedule(given) if isinstance(given, str) else given
    schedules = [given] if isinstance(given, Schedule) else list(given)
    for schedule in schedules:
        check_queue_name(schedule.queue or DEFAULT_QUEUE)
    known = tuple(
        replace(
            schedule,
            id=schedule.id or name,
            args=secret_args.kept(args_model.model_validate(schedule.args, by_alias=True, by_name=True)),
        )
        for schedule in schedules
    )
    if len({schedule.id for schedule in known}) < len(known):
        raise ValueError(f"{name}: if there are several schedules, each needs an id of its own")
    return known
