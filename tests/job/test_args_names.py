"""A name that the args model does not have is refused, at the door and when the job is run; the model may decide."""

from __future__ import annotations

from typing import Any

import pytest
from arq.connections import ArqRedis
from fastapi.exceptions import RequestValidationError
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError

from errand import Context, job
from errand.http.requests import args as job_args
from errand.job.args_names import unknown_in
from errand.monitor.job_snapshot import read_job
from errand.queue.queue import Queue
from errand.wire import keys
from tests.conftest import RunWorker
from tests.waiting import eventually


class Note(BaseModel):
    text: str
    loud: bool = False
    copies: int = Field(1, validation_alias=AliasChoices("copies", "times"))


class Open(Note):
    model_config = ConfigDict(extra="allow")


class Careless(Note):
    model_config = ConfigDict(extra="ignore")


class Nothing(BaseModel):
    pass


RAN: list[Note] = []


@job()
async def note(ctx: Context, args: Note) -> str:
    """Notes a text."""
    RAN.append(args)
    return args.text


@pytest.mark.parametrize(
    ("model", "args", "unknown"),
    [
        (Note, {"text": "a", "loud": True, "times": 2}, {}),
        (Note, {"text": "a", "lout": True}, {"lout": "is unknown; did you mean 'loud'?"}),
        (Note, {"zzz": 1, "text": "a"}, {"zzz": "is unknown; known are: text, loud, copies, times"}),
        (Nothing, {"a": 1}, {"a": "is unknown: this type takes no args"}),
        (Open, {"text": "a", "zzz": 1}, {}),
        (Careless, {"text": "a", "zzz": 1}, {}),
        (Note, ["no", "object"], {}),
    ],
)
def test_names_are_known_by_fields_and_aliases_unless_the_model_takes_any(
    model: type[BaseModel], args: Any, unknown: dict[str, str]
) -> None:
    assert unknown_in(model, args) == unknown


def test_a_flood_of_unknown_names_is_answered_briefly() -> None:
    found = unknown_in(Note, {f"{'x' * 1000}{number}": 1 for number in range(1000)})
    assert sum(map(len, found)) < 2000


def test_the_door_refuses_them_beside_other_faults() -> None:
    with pytest.raises(RequestValidationError) as raised:
        job_args.checked(note, {"txt": "a"}, 3)
    assert [(fault["loc"], fault["type"]) for fault in raised.value.errors()] == [
        (("body", 3, "text"), "missing"),
        (("body", 3, "txt"), "unknown_arg"),
    ]


def test_the_schema_says_so() -> None:
    assert note.args_schema["additionalProperties"] is False


async def test_a_stored_arg_that_the_type_does_not_have_any_more_fails_the_job_which_can_be_replayed(
    redis: ArqRedis, run_worker: RunWorker
) -> None:
    put = await Queue(redis, ended_ttl_s=60).enqueue("note", {"text": "a", "volume": 3})

    async def has_failed() -> bool:
        shown = await read_job(redis, put.job_id, queues=[keys.queue("default")])
        return shown is not None and shown.status == "failed"

    async with run_worker([note]):
        await eventually(has_failed)
    shown = await read_job(redis, put.job_id, queues=[keys.queue("default")])
    assert shown is not None and shown.error is not None and (shown.error.type, RAN) == ("InvalidArgs", [])
    assert "volume" in shown.error.message and shown.args == {"text": "a", "volume": 3}


def test_stored_args_are_read_by_the_same_rule() -> None:
    with pytest.raises(ValidationError, match="did you mean 'loud'"):
        note.read_args({"text": "a", "lout": True})
