"""May they? The one decision behind both transports. Pure."""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

from igw_model.policy import Access, Policy, Provider

from igw_extauth.identity import Identity, Known, Principal, Unavailable, Unknown

DEFAULT_PROJECT = "inference"
_PROJECT = re.compile(r"([^/,\s]{1,128})/([^/,\s]{1,128})")


@dataclass(frozen=True, slots=True)
class Allow:
    """Let the request pass as `principal`, who was admitted to a gateway of `organization`.

    With W&B it is attributed to `project`, ``<entity>/<project>``; else that is empty.
    """

    principal: str
    organization: str
    project: str = ""

    @property
    def entity(self) -> str:
        """Give the project's entity."""
        return self.project.partition("/")[0]


class Deny(StrEnum):
    """Why a request may not pass."""

    UNKNOWN_GATEWAY = "unknown_gateway"
    NO_TOKEN = "no_token"  # noqa: S105 - the name of a reason
    UNKNOWN_TOKEN = "unknown_token"  # noqa: S105 - the name of a reason
    OTHER_ORGANIZATION = "other_organization"
    BAD_PROJECT = "bad_project"
    OTHER_PROJECT = "other_project"
    NO_ENTITY = "no_entity"
    UNAVAILABLE = "unavailable"


Decision = Allow | Deny


def decide(policy: Policy, identity: Identity, project: str | None = None) -> Decision:
    """Hold an identity to a gateway's policy (docs/inference-api.md, section 5).

    The identity must come from the authority that `policy.provider` names.
    """
    match identity:
        case Known(principal):
            return _DECIDE[policy.provider](policy, principal, project)
        case Unknown():
            return Deny.UNKNOWN_TOKEN
        case Unavailable():
            return Deny.UNAVAILABLE
        case _:
            assert_never(identity)


def _coreweave(policy: Policy, principal: Principal, _: str | None) -> Decision:
    if policy.organization in principal.organizations:
        return Allow(principal.name, policy.organization)
    return Deny.OTHER_ORGANIZATION


def _wandb(policy: Policy, principal: Principal, project: str | None) -> Decision:
    match policy.access:
        case Access.PENDING:
            return Deny.UNAVAILABLE
        case Access.ENTITIES if principal.organizations.isdisjoint(policy.entities):
            return Deny.OTHER_ORGANIZATION
        case Access.ENTITIES | Access.ANY:
            return _attributed(policy, principal, project)
        case other:
            assert_never(other)


def _attributed(policy: Policy, principal: Principal, project: str | None) -> Decision:
    """Attribute a request to the project that it names, or to the key's default."""
    if project is None:
        if not principal.entity:
            return Deny.NO_ENTITY
        return Allow(principal.name, policy.organization, f"{principal.entity}/{DEFAULT_PROJECT}")
    named = _PROJECT.fullmatch(project)
    if named is None:
        return Deny.BAD_PROJECT
    if named[1] not in principal.organizations:
        return Deny.OTHER_PROJECT
    return Allow(principal.name, policy.organization, project)


_DECIDE = {Provider.COREWEAVE: _coreweave, Provider.WANDB: _wandb}
