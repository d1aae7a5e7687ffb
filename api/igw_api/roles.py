"""Who may do what: a YAML file of roles by principal and by organisation, read again when it changes.

    principals: {<uid>: viewer | admin | operator}
    organizations: {<organisation>: viewer | admin}

A principal's own role counts before its organisation's; who has none may do nothing. An operator sees what is no
organisation's own, so no organisation as a whole is one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import structlog
import yaml
from igw_model.document import Spec, parse
from igw_store.documents import single

from igw_api.caller import Role

log = structlog.get_logger(__name__)

OfPrincipal = Literal["viewer", "admin", "operator"]
OfOrganization = Literal["viewer", "admin"]
Stamp = tuple[int, int, int]


class Roles(Spec):
    """The roles that an installation gives."""

    principals: Mapping[str, OfPrincipal] = {}
    organizations: Mapping[str, OfOrganization] = {}

    def role(self, principal: str, organization: str) -> Role | None:
        """Give a caller's role, or None for a stranger."""
        name: str | None = self.principals.get(principal) or self.organizations.get(organization)
        return None if name is None else Role[name.upper()]


@dataclass(slots=True, eq=False)
class RolesError(Exception):
    """A roles file that cannot be used, and why."""

    path: Path
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


def load(path: Path) -> Roles:
    """Read a roles file. Raises RolesError."""
    try:
        document = single(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RolesError(path, f"cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise RolesError(path, f"is no YAML: {' '.join(str(error).split())}") from None
    if document is None:
        # What a file that is being written looks like for a moment; taken at its word nobody had a role.
        raise RolesError(path, "is empty: write {} for no roles")
    parsed = parse(Roles, document, ())
    if isinstance(parsed, list):
        raise RolesError(path, "; ".join(map(str, parsed)))
    return parsed


class RolesFile:
    """The roles that a file gives now; a broken edit is logged, and what it said before stays in force."""

    def __init__(self, path: Path) -> None:
        """Read the file. Raises RolesError."""
        self._path = path
        self._stamp = _stamp(path)
        self._roles = load(path)

    def __call__(self) -> Roles:
        """Give the roles; a look at the file's times costs microseconds, so each call takes one."""
        stamp = _stamp(self._path)
        if stamp != self._stamp:
            self._stamp = stamp
            self._reload()
        return self._roles

    def _reload(self) -> None:
        try:
            self._roles = load(self._path)
        except RolesError as error:
            log.warning("roles not read, the earlier ones stay", error=str(error))
        else:
            log.info("roles read", path=str(self._path))


def _stamp(path: Path) -> Stamp | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino
