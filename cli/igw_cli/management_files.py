"""The files that say who may use the management API and what it offers, read, or why they cannot be."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from igw_api import parameters
from igw_api.parameters import Parameters, ParametersError
from igw_api.roles import Roles, RolesError, RolesFile

from igw_cli.options import CannotStartError


def roles(path: Path | None) -> Callable[[], Roles]:
    """Give the roles of a file as it changes; without one nobody has a role. Raises CannotStartError."""
    with _explained():
        return Roles if path is None else RolesFile(path)


def offered(path: Path | None, zone: str | None) -> Parameters:
    """Give the parameters of a file; a control plane for one zone offers that zone. Raises CannotStartError."""
    with _explained():
        return parameters.load(path, (zone,) if zone else parameters.DEFAULT_ZONES)


def check(roles_file: Path | None, parameters_file: Path | None, zone: str | None) -> None:
    """Read both as the control plane will. Raises CannotStartError."""
    roles(roles_file)
    offered(parameters_file, zone)


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except (RolesError, ParametersError) as error:
        raise CannotStartError(str(error)) from error
