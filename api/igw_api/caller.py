"""Who calls, and what they may: an identity and its role. Pure.

Source: docs/inference-api.md, sections 3 ("Roles") and 5.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from igw_api.methods import Method


class Role(IntEnum):
    """What a caller may do; each may what those before it may."""

    VIEWER = 1
    ADMIN = 2
    OPERATOR = 3
    """Runs the installation: sees the proxies and what they serve, of all organisations."""


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated caller: sees and changes objects of its own organisation alone."""

    principal: str
    organization_id: str
    role: Role


Authenticate = Callable[[Sequence[str]], Awaitable[Caller]]
"""The values of the Authorization headers in, who that is out. Raises RefusedError."""

Operation = Callable[[Method, Caller, Mapping[str, Any]], Awaitable[dict[str, Any]]]
"""A method and its document in, its answer out, as every transport asks it: `Operations.call`. Raises RefusedError."""
