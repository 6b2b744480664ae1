"""Settings that are lists: one text with commas in the environment, several values in the program."""

from __future__ import annotations

from collections.abc import Callable

from pydantic import BeforeValidator


def comma_separated(parse: Callable[[str], object] = str) -> BeforeValidator:
    """For a field of `Settings`: splits a text at its commas and parses each part; values that are parsed stay.

    ```python
    api_keys: Annotated[tuple[ApiKey, ...], NoDecode, comma_separated(ApiKey.parse)] = ()
    ```

    `NoDecode` says to pydantic-settings that the text is no JSON.
    """

    def split(value: object) -> object:
        if isinstance(value, str):
            value = [part.strip() for part in value.split(",") if part.strip()]
        if isinstance(value, list | tuple):
            return [parse(part) if isinstance(part, str) else part for part in value]
        return value

    return BeforeValidator(split)
