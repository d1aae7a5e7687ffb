"""Command lines of `igw` in deployment files, read as `igw` itself reads them, without running anything."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import click
import pytest
from igw_cli.__main__ import app
from typer.main import get_command

Parameters = Mapping[str, Any]


def parsed(arguments: Sequence[str], environment: Mapping[str, str]) -> tuple[str, Parameters]:
    """Give a command's name and its parameters, defaults filled in.

    Raises click.ClickException for what `igw` would refuse, and AssertionError for a variable that it does not know.
    """
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        group = cast("click.Group", get_command(app))
        context = click.Context(group)
        found, command, rest = group.resolve_command(context, list(arguments))
        assert found is not None
        assert command is not None
        if isinstance(command, click.Group):
            inner, command, rest = command.resolve_command(click.Context(command), rest)
            assert command is not None
            found = f"{found} {inner}"
        return found, command.make_context(found, rest, parent=context).params


def variables() -> set[str]:
    """Give every environment variable that is an option of `igw`."""
    group = cast("click.Group", get_command(app))
    return {variable for command in _commands(group) for variable in _variables(command)}


def _commands(group: click.Group) -> Iterator[click.Command]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield command
        if isinstance(command, click.Group):
            yield from _commands(command)


def _variables(command: click.Command) -> Iterator[str]:
    for parameter in command.params:
        match parameter.envvar:
            case None:
                pass
            case str(name):
                yield name
            case names:
                yield from names


def ports(parameters: Parameters) -> set[int]:
    """Give every port that a command listens on."""
    return {value for name, value in parameters.items() if name == "port" or name.endswith("_port")}
