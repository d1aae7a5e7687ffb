"""Command lines of `igw` in deployment files, read as `igw` itself reads them, without running anything."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
from igw_cli.__main__ import app
from typer.core import TyperGroup
from typer.main import get_command

Parameters = Mapping[str, Any]


def parsed(arguments: Sequence[str], environment: Mapping[str, str]) -> tuple[str, Parameters]:
    """Give a command's name and its parameters, defaults filled in. Raises what ends `igw` for a wrong usage."""
    with pytest.MonkeyPatch.context() as patch:
        for variable, value in environment.items():
            patch.setenv(variable, value)
        command: Any = get_command(app)
        rest, names = list(arguments), []
        while isinstance(command, TyperGroup):
            name, command, rest = command.resolve_command(command.context_class(command), rest)
            names.append(str(name))
        for parameter in command.params:  # folders that must be there are on other machines
            patch.setattr(parameter.type_descriptor.parameter_info, "exists", False)
        return " ".join(names), command.make_context(names[-1], rest).params


def variables() -> set[str]:
    """Give every environment variable that is an option of `igw`."""
    return {variable for command in _commands(get_command(app)) for variable in _variables(command)}


def _commands(command: Any) -> Iterator[Any]:
    if not isinstance(command, TyperGroup):
        yield command
        return
    context = command.context_class(command)
    for name in command.list_commands(context):
        yield from _commands(command.get_command(context, name))


def _variables(command: Any) -> Iterator[str]:
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
