"""Every shell line of the docs: curl is tried against a live service elsewhere, the rest is held to what there is."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import typer
from typer.main import get_command

from docs.site.code_blocks import PAGES, ROOT
from errand.cli.main import app

SHELL = re.compile(r"^( *)```console\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
EXTRAS = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
UNITS = {unit.stem for unit in (ROOT / "deploy" / "systemd").iterdir()}
USAGE_ERROR: type[Exception] = typer.BadParameter.__mro__[1]
"""What is wrong with a command line; typer does not export it."""
TRIED = {"curl", "uvicorn", "pytest", "mkdir", "cd", ".", "export", "echo"}
"""Run by tests/processes (test_docs_commands.py, test_ten_minutes.py), or by the shell itself."""


def lines_of(page: Path) -> Iterator[list[str]]:
    """The commands of a page in words; those of a line that has several, one by one."""
    for found in SHELL.finditer(page.read_text()):
        whole = re.sub(r"\\\n\s*", "", dedent(found[2])).removeprefix("$ ").replace("\n$ ", "\n")
        yield from _commands(shlex.split(without_comments(whole).replace("\n", " ; ")))


def without_comments(text: str) -> str:
    return re.sub(r"(?<=\s)#.*$", "", text, flags=re.MULTILINE)


def _commands(words: list[str]) -> Iterator[list[str]]:
    command: list[str] = []
    for word in [*words, ";"]:
        if word not in (";", "&&"):
            command.append(word)
        elif command:
            yield command
            command = []


def check(command: list[str]) -> None:
    """Raises if a command names what is not there."""
    name, *arguments = command
    name = name.rpartition("/")[2]
    match name:
        case "errand":
            check_errand(arguments)
        case "make":
            assert {target for target in arguments if "=" not in target} <= TARGETS
        case "pip":
            named = {
                extra for word in arguments for extras in re.findall(r"\[(.*?)\]", word) for extra in extras.split(",")
            }
            assert named <= EXTRAS
        case "docker":
            check_docker(arguments)
        case "systemctl":
            assert {word for word in arguments[1:] if not word.startswith("-")} <= UNITS
        case "python3":
            assert arguments[:2] == ["-m", "venv"]
        case "useradd":
            assert f"User={arguments[-1]}" in (ROOT / "deploy" / "systemd" / "errand-worker.service").read_text()
        case _:
            assert name in TRIED, f"nothing checks {name}"


def check_errand(arguments: list[str]) -> None:
    """The command line reads it: each option is known, none is missing."""
    group: Any = get_command(app)
    name, *options = arguments
    try:
        group.commands[name].make_context(name, list(options)).close()
    except USAGE_ERROR as error:
        raise AssertionError(f"errand {name}: {error}") from error


def check_docker(arguments: list[str]) -> None:
    files = [arguments[at + 1] for at, word in enumerate(arguments) if word in ("-f", "--file")]
    assert all((ROOT / file).exists() for file in files)
    if arguments[:2] == ["run", "--rm"]:
        check_errand(arguments[3:])


COMMANDS = [(page, command) for page in PAGES for command in lines_of(page)]


@pytest.mark.parametrize("page", sorted({page for page, _ in COMMANDS}), ids=lambda page: page.name)
def test_each_command_is_one_that_there_is(page: Path) -> None:
    for command in (command for of_page, command in COMMANDS if of_page == page):
        check(command)


@pytest.mark.parametrize(
    "command", ["errand wroker", "errand worker --porcesses 4", "make rnu", "pip install errand[al]", "redis-clo ping"]
)
def test_a_slip_is_seen(command: str) -> None:
    with pytest.raises((AssertionError, KeyError)):
        check(shlex.split(command))
