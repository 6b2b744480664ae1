"""The calls by which a job type's jobs are put: `enqueue`, `enqueue_many`, and `options` before either of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, ParamSpec, Protocol, TypeVar, Unpack, overload

from pydantic import BaseModel, TypeAdapter
from pydantic_core import to_json

from errand.job.producing.checked_args import kept_args
from errand.job.producing.handle import JobHandle
from errand.job.producing.options import NO_OPTIONS, GivenOptions, JobOptions
from errand.job.producing.producer import PutJob, current
from errand.job.producing.repeats import Repeats
from errand.job.producing.signature import Signature, signature
from errand.secrets.redaction import Hide

Args = TypeVar("Args", bound=BaseModel)


Result = TypeVar("Result")


ArgsOut = TypeVar("ArgsOut", bound=BaseModel, covariant=True)


ResultOut = TypeVar("ResultOut", covariant=True)


P = ParamSpec("P")


MYPY = False
"""True for mypy alone, which finds no parameters in a `type[Args]`: `errand.mypy_plugin` finds them for it."""


class TakesArgs(Protocol[P, ArgsOut, ResultOut]):
    """Shows a type checker what a job type takes, as names and as a model, and what its jobs return."""

    @property
    def args_model(self) -> Callable[P, BaseModel]: ...

    @property
    def ready_args(self) -> Callable[..., ArgsOut]: ...

    @property
    def returns(self) -> Callable[..., ResultOut]: ...


class Describes(Protocol):
    """What `Enqueuing` needs to know of a job type."""

    @property
    def name(self) -> str: ...

    @property
    def queue(self) -> str: ...

    @property
    def args_model(self) -> Any: ...

    @property
    def asked(self) -> JobOptions: ...

    @property
    def priority(self) -> int: ...

    @property
    def repeats(self) -> Repeats | None: ...

    @property
    def limits(self) -> Sequence[Any]: ...

    def hider(self, args: Any) -> Hide: ...

    def read_result(self, kept: Any) -> Any: ...


class Enqueue(Generic[P, Args, Result]):
    """`enqueue` of one job type."""

    __slots__ = ("_job_type",)

    def __init__(self, job_type: Any) -> None:
        self._job_type = job_type

    @overload
    async def __call__(self, args: Args, /) -> JobHandle[Result]: ...

    @overload
    async def __call__(self, /, *ready: P.args, **args: P.kwargs) -> JobHandle[Result]: ...

    async def __call__(self, /, *ready: Any, **args: Any) -> JobHandle[Result]:
        """Puts a job of this type. Give its args by name, or as an instance of its args model.

        >>> job = await welcome_email.enqueue(to="ada@example.com", name="Ada")
        >>> await job.result(timeout_s=30)

        When the call returns, Redis has the job. The call uses the connection that was opened last in this event loop:
        that of your app's `jobs_lifespan`, of a `Client`, or, in a job, the worker's. If your route must put no job
        when it fails, use `jobs.add_task` instead.

        Raises InvalidArgs (a ValueError) if an arg does not fit, TypeError for an unknown arg, NotUnique if another job
        holds the unique key and `on_conflict` is `reject`, or `replace` and that job does not give way,
        QueueUnavailable within two seconds if Redis is away, RuntimeError if no connection is open.
        """
        (job,) = await _put(self._job_type, [kept_args(self._job_type, ready, args)])
        return job


class EnqueueOfType:
    """The attribute `enqueue`: pyright reads the names that it takes from the job type that it is an attribute of."""

    def __get__(
        self, job_type: TakesArgs[P, ArgsOut, ResultOut], owner: type[Any] | None = None
    ) -> Enqueue[P, ArgsOut, ResultOut]:
        return Enqueue(job_type)


class Signs(Generic[P, Args, Result]):
    """`s` of one job type."""

    __slots__ = ("_job_type",)

    def __init__(self, job_type: Any) -> None:
        self._job_type = job_type

    @overload
    def __call__(self, args: Args, /) -> Signature[Result]: ...

    @overload
    def __call__(self, /, *ready: P.args, **args: P.kwargs) -> Signature[Result]: ...

    def __call__(self, /, *ready: Any, **args: Any) -> Signature[Result]:
        """Describes a job of this type for a chain or a group, and puts none. Give its args by name, or as its model.

        >>> chain(fetch.s(url="https://example.com"), count_words.options(max_tries=1).s(text=PREVIOUS))

        An arg that is `PREVIOUS` comes from the step before. Raises InvalidArgs if another arg does not fit, TypeError
        for an unknown arg, ValueError for a unique_key.
        """
        return signature(self._job_type, ready, args)


class SignsOfType:
    """The attribute `s`, as `EnqueueOfType`."""

    def __get__(
        self, job_type: TakesArgs[P, ArgsOut, ResultOut], owner: type[Any] | None = None
    ) -> Signs[P, ArgsOut, ResultOut]:
        return Signs(job_type)


class Enqueuing(Generic[Args, Result]):
    """The methods of a job type that put its jobs: `enqueue`, `enqueue_many`, `options`, and `s` for chains."""

    __slots__ = ()

    if MYPY:

        async def enqueue(self, *ready: Args, **args: Any) -> JobHandle[Result]: ...

        def s(self, *ready: Args, **args: Any) -> Signature[Result]: ...

    else:
        enqueue: EnqueueOfType = EnqueueOfType()
        s: SignsOfType = SignsOfType()

    async def enqueue_many(self: Any, many_args: Iterable[Args | Mapping[str, Any]]) -> list[JobHandle[Result]]:
        """Puts up to 10,000 jobs of this type in one call, all or none. Returns their handles, in order.

        >>> jobs = await welcome_email.enqueue_many([WelcomeEmail(to=user.email, name=user.name) for user in users])

        Raises what `enqueue` raises, and ValueError for more jobs, or for a `job_id` or a `unique_key`.
        """
        asked_of(self).for_many()
        drafts = [
            kept_args(self, (), args) if isinstance(args, Mapping) else kept_args(self, (args,), {})
            for args in many_args
        ]
        return await _put(self, drafts) if drafts else []

    def options(self: Any, **given: Unpack[GivenOptions]) -> WithOptions[Args, Result]:
        """`await welcome_email.options(delay="10m", unique_key="ada").enqueue(…)` puts a job with these options.

        Raises ValueError for an option out of range, or two that contradict each other.
        """
        return WithOptions(self, JobOptions.of(**given))


@dataclass(frozen=True, slots=True)
class WithOptions(Enqueuing[Args, Result]):
    """A job type with options for the jobs that it puts."""

    job_type: Any
    asked: JobOptions = NO_OPTIONS

    @property
    def name(self) -> str:
        return str(self.job_type.name)

    @property
    def queue(self) -> str:
        return str(self.job_type.queue)

    @property
    def priority(self) -> int:
        return int(self.job_type.priority)

    @property
    def repeats(self) -> Repeats | None:
        repeats: Repeats | None = self.job_type.repeats
        return repeats

    @property
    def limits(self) -> Sequence[Any]:
        limits: Sequence[Any] = self.job_type.limits
        return limits

    @property
    def args_model(self) -> type[Args]:
        model: type[Args] = self.job_type.args_model
        return model

    @property
    def ready_args(self) -> type[Args]:
        return self.args_model

    @property
    def returns(self) -> Callable[..., Result]:
        returns: Callable[..., Result] = self.job_type.returns
        return returns

    def hider(self, args: Any) -> Hide:
        hide: Hide = self.job_type.hider(args)
        return hide

    def read_result(self, kept: Any) -> Any:
        return self.job_type.read_result(kept)


def asked_of(job_type: Describes) -> JobOptions:
    """What the next call asks for, by its options and by its type."""
    has_limits = bool(job_type.limits)
    return job_type.asked.of_type(priority=job_type.priority, repeats=job_type.repeats, undivided=has_limits)


async def _put(job_type: Describes, drafts: Sequence[Mapping[str, Any]]) -> list[JobHandle[Any]]:
    producer, options = current(), asked_of(job_type)
    put: Sequence[PutJob] = await producer.put(job_type.name, drafts, queue=job_type.queue, options=options)
    return [
        JobHandle(producer, job.id, queue=job_type.queue, existing=job.existing, read=job_type.read_result)
        for job in put
    ]


def read_as(kind: Any, kept: Any) -> Any:
    """A result as the queue keeps it, as the type that its function says it returns."""
    # through JSON text: a strict model takes a date from that, and not from a str
    return TypeAdapter(kind).validate_json(to_json(kept))
