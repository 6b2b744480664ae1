"""Which args are secret, at any depth: kept as they are, shown as stars."""

from __future__ import annotations

import json
import time
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field, Secret, SecretBytes, SecretStr

from errand.secrets import secret_args
from errand.secrets.redaction import STARS
from errand.wire import codec


class Inner(BaseModel):
    name: str = "x"
    key: SecretStr


class Other(BaseModel):
    kind: str
    data: str


class Everything(BaseModel):
    plain: str = "plain"
    text: SecretStr
    raw: SecretBytes | None = None
    number: Secret[int] = Secret(3)
    nested: Inner | None = None
    several: list[Inner] = []
    by_name: dict[str, SecretStr] = Field(default_factory=dict)
    pair: tuple[int, SecretStr] = (1, SecretStr("default"))
    any_of: set[SecretStr] = Field(default_factory=set)
    either: Inner | Other | None = None
    again: Everything | None = None
    hidden: Annotated[str, Field(json_schema_extra={"writeOnly": True})] = ""
    renamed: SecretStr = Field(SecretStr(""), alias="pass")


WHOLE: dict[str, Any] = {
    "plain": "to see",
    "text": "secret-1",
    "raw": "secret-2 ü",
    "number": 424_242,
    "nested": {"name": "a", "key": "secret-3"},
    "several": [{"key": "secret-4"}, {"key": "secret-5"}],
    "by_name": {"one": "secret-6", "two": "secret-7"},
    "pair": [2, "secret-8"],
    "any_of": ["secret-9", "secret-10"],
    "either": {"name": "b", "key": "secret-11"},
    "again": {"text": "secret-12", "again": {"text": "secret-13", "raw": None}},
    "hidden": "secret-14",
    "pass": "secret-15",
}


def test_what_is_kept_is_what_was_given_also_after_a_way_through_redis() -> None:
    args = Everything.model_validate(WHOLE)
    kept = codec.loads(codec.dumps(secret_args.kept(args)))
    assert Everything.model_validate(kept, by_alias=True, by_name=True) == args
    assert kept["raw"] == "secret-2 ü" and kept["number"] == 424_242 and kept["several"][1] == {"key": "secret-5"}


def test_shown_args_have_stars_instead_of_every_secret_and_are_else_the_same() -> None:
    shown = secret_args.shown(Everything, secret_args.kept(Everything.model_validate(WHOLE)))
    assert "secret-" not in repr(shown) and "424242" not in repr(shown)
    assert shown == {
        "plain": "to see",
        **dict.fromkeys(("text", "raw", "number", "hidden", "renamed"), STARS),
        "nested": {"name": "a", "key": STARS},
        "several": [{"key": STARS}, {"key": STARS}],
        "by_name": {"one": STARS, "two": STARS},
        "pair": [2, STARS],
        "any_of": [STARS, STARS],
        "either": {"name": "b", "key": STARS},
        "again": {"text": STARS, "again": {"text": STARS}},
    }


def test_args_that_others_put_under_aliases_are_hidden_too() -> None:
    assert secret_args.shown(Everything, {"pass": "s", "text": None}) == {"pass": STARS, "text": None}


@pytest.mark.parametrize("odd", [{"text": ["secret"]}, {"nested": [{"key": "secret"}]}, {"by_name": "secret"}])
def test_args_that_do_not_fit_are_shown_without_a_fault(odd: dict[str, Any]) -> None:
    assert set(secret_args.shown(Everything, odd)) == set(odd)


def test_a_model_without_secrets_costs_nothing() -> None:
    kept = {"kind": "a", "data": "b"}
    assert secret_args.shown(Other, kept) is kept
    assert not secret_args.secret_fields_of(Other)


def test_bytes_that_are_no_text_are_refused_and_not_quoted() -> None:
    with pytest.raises(ValueError, match="UTF-8") as refused:
        secret_args.kept(Everything(text=SecretStr("a"), raw=SecretBytes(b"\xff\xfehidden"), **{"pass": SecretStr("")}))
    assert "hidden" not in str(refused.value)


def test_a_text_about_args_shows_no_secret_whether_they_fit_or_not() -> None:
    hide = secret_args.hider(Everything, {"text": "secret-1", "number": 424_242, "nested": {"key": ["secret-2"]}})
    assert hide("secret-1 and 424242 and secret-2, plain") == f"{STARS} and {STARS} and {STARS}, plain"
    assert secret_args.hider(Everything, "no object")("text") == "text"


class Sum(BaseModel):
    kind: Literal["sum"] = "sum"
    of: Part | None = None


class Call(BaseModel):
    kind: Literal["call"] = "call"
    of: Part | None = None
    key: SecretStr = SecretStr("")


Part = Annotated[Sum | Call, Field(discriminator="kind")]


class Formula(BaseModel):
    root: Part


def test_models_that_name_each_other_cost_no_more_with_each_level_of_the_args() -> None:
    def cpu_s(levels: int) -> float:
        part: dict[str, Any] = {"kind": "call", "key": "secret"}
        for _ in range(levels):
            part = {"kind": "sum", "of": part}
        began_s = time.thread_time()
        shown = json.dumps(secret_args.shown(Formula, {"root": part}))
        assert STARS in shown and "secret" not in shown
        return time.thread_time() - began_s

    assert cpu_s(16) < 8 * max(cpu_s(8), 0.02)
