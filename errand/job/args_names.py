"""Which names the args of a job may have: a misspelt or renamed arg must not vanish without a word.

Pydantic ignores names that a model does not have. An arg lost like that is found when the job has done the wrong thing.
A model whose config says what happens to other names (`extra`) decides for itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from functools import cache
from typing import Any

from pydantic import AliasChoices, AliasPath, BaseModel

MAX_NAME_CHARS = 64
"""Of a name that is quoted, and of one for which a similar one is searched."""

MAX_NAMED = 20


@cache
def names_of(model: type[BaseModel]) -> tuple[str, ...] | None:
    """The names and aliases of the model's fields; None if the model itself says what happens to other names."""
    if "extra" in model.model_config:
        return None
    names: list[str | AliasPath | None] = []
    for name, info in model.model_fields.items():
        alias = info.validation_alias
        names += [name, *(alias.choices if isinstance(alias, AliasChoices) else [alias])]
    if any(isinstance(name, AliasPath) for name in names):
        return None
    return tuple(dict.fromkeys(name for name in names if isinstance(name, str)))


def unknown_in(model: type[BaseModel], args: Any) -> dict[str, str]:
    """Each name in `args` that the model does not have, with a message that names the one that was probably meant."""
    known = names_of(model)
    if known is None or not isinstance(args, Mapping) or args.keys() <= set(known):
        return {}
    unknown = [name for name in args if name not in known]
    return {str(name)[:MAX_NAME_CHARS]: _message(str(name), known) for name in unknown[:MAX_NAMED]}


def _message(name: str, known: tuple[str, ...]) -> str:
    if not known:
        return "is unknown: this type takes no args"
    meant = get_close_matches(name[:MAX_NAME_CHARS], known, n=1)
    return f"is unknown; did you mean '{meant[0]}'?" if meant else f"is unknown; known are: {', '.join(known)}"
