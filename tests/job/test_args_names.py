"""A name that the args model does not have is refused, at the door and when the job is run; the model may decide."""

from __future__ import annotations

from typing import Any

import pytest
from arq.connections import ArqRedis
from fastapi.exceptions import RequestValidationError
from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    RootModel,
    ValidationError,
    computed_field,
    model_validator,
)

from errand import Context, job
from errand.http.requests import args as job_args
from errand.job.args_names import unknown_in
from errand.job.producing.checked_args import checked as checked_by_add_task
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


class Address(BaseModel):
    street: str = Field(alias="way")
    number: int = 1

    @computed_field
    def line(self) -> str:
        return f"{self.street} {self.number}"


class Anywhere(BaseModel):
    model_config = ConfigDict(extra="ignore")

    street: str


class Old(BaseModel):
    street: str

    @model_validator(mode="before")
    @classmethod
    def renamed(cls, given: Any) -> Any:
        return {"street": given["road"]} if "road" in given else given


class Box(RootModel[list[Address]]): ...


class Parcel(BaseModel):
    to: Address
    by: list[Address | Old] = []
    over: dict[int, Address | None] = {}
    box: Box = Box([])
    before: Old | None = None
    roughly: Anywhere | None = None
    parts: list[Parcel] = []

    @computed_field
    def stops(self) -> int:
        return len(self.over)


@job()
async def parcel(ctx: Context, args: Parcel) -> None:
    """Sends a parcel."""


WAY = {"way": "Main"}
KNOWN = {"to": WAY, "before": {"road": "Main"}, "roughly": {"street": "Main", "zzz": 1}, "by": [WAY]}


@pytest.mark.parametrize(
    ("args", "where"),
    [
        ({"to": {**WAY, "nummer": 2}}, [("to", "nummer")]),
        ({"to": WAY, "by": [WAY, {**WAY, "zzz": 1}]}, [("by", 1, "zzz")]),
        ({"to": WAY, "over": {"7": {**WAY, "zzz": 1}, "8": None}}, [("over", "7", "zzz")]),
        ({"to": WAY, "box": [{**WAY, "zzz": 1}], "zzz": 2}, [("box", 0, "zzz"), ("zzz",)]),
        ({"to": WAY, "parts": [{"to": {**WAY, "a": 1, "b": 2}}]}, [("parts", 0, "to", "a"), ("parts", 0, "to", "b")]),
    ],
)
def test_unknown_names_within_the_args_are_refused_too(
    args: dict[str, Any], where: list[tuple[str | int, ...]]
) -> None:
    """At the door, by a worker, and in a route of one's own."""
    with pytest.raises(RequestValidationError) as refused:
        job_args.checked(parcel, args)
    assert sorted(fault["loc"][1:] for fault in refused.value.errors()) == where
    with pytest.raises(ValidationError) as raised:
        parcel.read_args(args)
    assert sorted(fault["loc"] for fault in raised.value.errors()) == where
    with pytest.raises(TypeError, match="is unknown"):
        checked_by_add_task(parcel, (), args)


def test_what_the_models_within_decide_or_rewrite_themselves_and_what_they_compute_is_known() -> None:
    kept = job_args.checked(parcel, KNOWN)
    read = [parcel.read_args(kept), parcel.read_args(KNOWN), checked_by_add_task(parcel, (), KNOWN)]
    assert [args.model_dump() for args in read] == [read[0].model_dump()] * 3


def test_the_schema_says_so_of_the_models_within() -> None:
    closed = {name: schema.get("additionalProperties") for name, schema in parcel.args_schema["$defs"].items()}
    assert closed == {"Address": False, "Anywhere": None, "Box": None, "Old": None, "Parcel": False}
