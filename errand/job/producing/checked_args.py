"""The args of a job that is about to be put: checked by their model, then turned into what the queue keeps."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Protocol

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, from_json

from errand.job.args_names import Path, unknown_below, unknown_in
from errand.secrets import secret_args
from errand.secrets.redaction import Hide


class HasArgs(Protocol):
    """A job type, as far as its args are concerned."""

    @property
    def name(self) -> str: ...

    @property
    def args_model(self) -> Any: ...

    def hider(self, args: Any) -> Hide: ...


class InvalidArgs(ValueError):
    """Args do not fit their job type. The message says why: `welcome_email: to: value is not a valid email address`.

    Your route chooses the args, so this is a fault of the route. If you do not catch it, your app answers 500, and the
    log names the argument. If the args come from a client, have FastAPI check them and answer 422: declare the same
    type in your route (`to: EmailStr`, or the args model itself).
    """

    def __init__(self, job_type: HasArgs, args: Mapping[str, Any], error: ValidationError) -> None:
        self.faults = {
            ".".join(map(str, fault["loc"])): str(fault["msg"]).removeprefix("Value error, ")
            for fault in error.errors(include_url=False, include_context=False, include_input=False)
        }
        """What is wrong with each argument, by its name. A fault of the args as a whole has an empty name."""
        super().__init__(job_type.hider(args)(f"{job_type.name}: {in_words(self.faults)}"))


def in_words(faults: Mapping[str, str]) -> str:
    """What is wrong with each argument, in one line."""
    return "; ".join(f"{name}: {message}" if name else message for name, message in faults.items())


def kept_args(job_type: HasArgs, ready: tuple[Any, ...], args: Mapping[str, Any]) -> dict[str, Any]:
    """The args as the queue keeps them: from an instance of the model (the only one in `ready`), or by name.

    Raises InvalidArgs if one does not fit, TypeError for names that the model does not have and for any other call,
    PydanticSerializationError for a value without a JSON form.
    """
    model = checked(job_type, ready, args)
    # through JSON text, so that a value without a JSON form is refused here
    return secret_args.revealed(from_json(model.model_dump_json(exclude_defaults=True)), model)


def partly_kept_args(job_type: HasArgs, args: Mapping[str, Any], *, later: Collection[str]) -> dict[str, Any]:
    """Args of which some come `later`, by name: these are checked as far as they can be, and all when the job runs.

    Raises what `kept_args` raises.
    """
    model: type[BaseModel] = job_type.args_model
    named = {**dict.fromkeys(later), **args}
    _refuse_unknown(job_type, {(name,): message for name, message in unknown_in(model, named).items()})
    try:
        read = model.model_validate(args, by_alias=True, by_name=True)
    except ValidationError as error:
        if not all(_concerns(fault, later) for fault in error.errors(include_url=False)):
            raise InvalidArgs(job_type, args, error) from None
        read = model.model_construct(**args)
    shown = from_json(read.model_dump_json(exclude_unset=True, warnings=False))
    return secret_args.revealed(shown, read)


def _concerns(fault: ErrorDetails, later: Collection[str]) -> bool:
    """True if the fault may be gone when the later args have come; so may any fault of the args as a whole."""
    return not fault["loc"] or (fault["type"] == "missing" and fault["loc"][0] in later)


def checked(job_type: HasArgs, ready: tuple[Any, ...], args: Mapping[str, Any]) -> BaseModel:
    """The same as an instance of the model. Raises InvalidArgs and TypeError."""
    model: type[BaseModel] = job_type.args_model
    if ready:
        if len(ready) == 1 and not args and isinstance(ready[0], model):
            return ready[0]
        raise TypeError(f"{job_type.name} takes its args by name, or one instance of {model.__name__}")
    _refuse_unknown(job_type, {(name,): message for name, message in unknown_in(model, args).items()})
    try:
        read = model.model_validate(args, by_alias=True, by_name=True)
        _refuse_unknown(job_type, unknown_below(read, args))
        return read
    except ValidationError as error:
        # not from it: it shows the values, and one of them may be a secret
        raise InvalidArgs(job_type, args, error) from None


def _refuse_unknown(job_type: HasArgs, unknown: Mapping[Path, str]) -> None:
    if unknown:
        named = [f"{'.'.join(map(str, path))} {message}" for path, message in unknown.items()]
        raise TypeError(f"{job_type.name}: " + "; ".join(named))
