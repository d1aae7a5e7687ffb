"""Who calls, and what they may: an identity and its role. Pure.

Source: docs/inference-api.md, sections 3 ("Roles") and 5.
"""

from dataclasses import dataclass
from enum import IntEnum


class Role(IntEnum):
    """What a caller may do; each may what those before it may."""

    VIEWER = 1
    ADMIN = 2


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated caller: sees and changes objects of its own organisation alone."""

    principal: str
    organization_id: str
    role: Role
