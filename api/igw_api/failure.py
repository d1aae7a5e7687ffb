"""How an operation fails: a code, a message that names the field, and details. Pure; each edge maps it its own way.

Source: docs/inference-api.md, section 3, "Errors".
"""

from dataclasses import dataclass
from enum import StrEnum


class Code(StrEnum):
    """Connect's codes, those that we answer with."""

    INVALID_ARGUMENT = "invalid_argument"
    UNAUTHENTICATED = "unauthenticated"
    PERMISSION_DENIED = "permission_denied"
    NOT_FOUND = "not_found"
    ALREADY_EXISTS = "already_exists"
    FAILED_PRECONDITION = "failed_precondition"
    RESOURCE_EXHAUSTED = "resource_exhausted"
    UNIMPLEMENTED = "unimplemented"
    INTERNAL = "internal"
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True, slots=True)
class BadField:
    """google.rpc.BadRequest: one field's violation."""

    field: str
    description: str


@dataclass(frozen=True, slots=True)
class Resource:
    """google.rpc.ResourceInfo: which object the failure is about."""

    type: str
    name: str
    description: str = ""


@dataclass(frozen=True, slots=True)
class Precondition:
    """google.rpc.PreconditionFailure: what must change before the call can succeed."""

    type: str
    subject: str
    description: str


Detail = BadField | Resource | Precondition


@dataclass(slots=True, eq=False)
class RefusedError(Exception):
    """An operation's refusal."""

    code: Code
    message: str
    details: tuple[Detail, ...] = ()

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"
