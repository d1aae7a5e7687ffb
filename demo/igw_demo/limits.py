"""What the demo's W&B side says that a project may: one answer for all, and others for projects by name. Pure.

Source: docs/limits.md. What is left out is left to the gateway's own defaults; null is no limit.
"""

from dataclasses import dataclass, field
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

Number = Annotated[int, Meta(ge=0, le=2**53)]


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """The answer of ``GET /limits``; what is unset is not in it."""

    concurrency: Number | UnsetType | None = UNSET
    requests_per_minute: Number | UnsetType | None = UNSET
    tokens_per_minute: Number | UnsetType | None = UNSET
    quota_tokens: Number | UnsetType | None = UNSET
    quota_used_up: bool | UnsetType = UNSET


class LimitsChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of ``PUT /demo/limits``: `limits` of one project, or, without `entity` and `project`, of all others.

    Without `limits` there is no such project.
    """

    entity: str | None = None
    project: str | None = None
    limits: Limits | None = None

    def __post_init__(self) -> None:
        """Refuse half a name."""
        if (self.entity is None) != (self.project is None):
            raise ValueError("`entity` and `project` go together")


DEMO_LIMITS = Limits(concurrency=100, requests_per_minute=60_000, tokens_per_minute=10_000_000)
"""More than a demo on one machine comes to."""


@dataclass(slots=True)
class Projects:
    """What each project may; one that nobody set may what `others` may."""

    others: Limits | None = DEMO_LIMITS
    named: dict[tuple[str, str], Limits | None] = field(default_factory=dict)

    def change(self, change: LimitsChange) -> None:
        """Set what a project may, or what all others may."""
        if change.entity is None or change.project is None:
            self.others = change.limits
        else:
            self.named[change.entity, change.project] = change.limits

    def limits(self, entity: str, project: str) -> Limits | None:
        """Give what a project may; None where there is no such project."""
        return self.named.get((entity, project), self.others)
