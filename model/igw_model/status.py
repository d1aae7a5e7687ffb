"""What an object's status says: its phase and the conditions behind it, as one control plane saw them.

Source: docs/inference-api.md, section 2, "Status".
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Status(StrEnum):
    """An object's phase. "Deleted" is not among them: what is gone is not found."""

    UNSPECIFIED = "STATUS_UNSPECIFIED"
    CREATING = "STATUS_CREATING"
    UPDATING = "STATUS_UPDATING"
    DELETING = "STATUS_DELETING"
    ERROR = "STATUS_ERROR"
    FAILED = "STATUS_FAILED"
    READY = "STATUS_READY"


class Truth(StrEnum):
    """Whether a condition holds."""

    UNSPECIFIED = "STATUS_UNSPECIFIED"
    TRUE = "STATUS_TRUE"
    FALSE = "STATUS_FALSE"
    UNKNOWN = "STATUS_UNKNOWN"


@dataclass(frozen=True, slots=True)
class Condition:
    """One aspect of an object in one zone; `reason` is one CamelCase word, `message` is for people.

    `since` is when truth, reason or message last changed.
    """

    type: str
    truth: Truth
    reason: str
    message: str
    zone: str
    since: datetime


@dataclass(frozen=True, slots=True)
class Observed:
    """What was seen of one generation of an object: READY, ERROR, or on its way (CREATING, UPDATING)."""

    generation: int
    status: Status
    conditions: tuple[Condition, ...] = ()


def phase(generation: int, observed: Observed | None, *, deleting: bool) -> Status:
    """Give an object's status: what was seen of this very generation, else that it is awaited."""
    if deleting:
        return Status.DELETING
    if observed is not None and observed.generation == generation:
        return observed.status
    return Status.CREATING if generation == 1 else Status.UPDATING
