"""May they? The one decision behind both transports. Pure."""

from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

from igw_model.policy import Policy

from igw_extauth.identity import Identity, Known, Unavailable, Unknown


@dataclass(frozen=True, slots=True)
class Allow:
    """Let the request pass as `principal`, who was admitted as a member of `organization`."""

    principal: str
    organization: str


class Deny(StrEnum):
    """Why a request may not pass."""

    UNKNOWN_GATEWAY = "unknown_gateway"
    NO_TOKEN = "no_token"  # noqa: S105 - the name of a reason
    UNKNOWN_TOKEN = "unknown_token"  # noqa: S105 - the name of a reason
    OTHER_ORGANIZATION = "other_organization"
    UNAVAILABLE = "unavailable"


Decision = Allow | Deny


def decide(policy: Policy, identity: Identity) -> Decision:
    """Hold an identity to a gateway's policy (docs/inference-api.md, section 5).

    The identity must come from the authority that `policy.provider` names.
    """
    match identity:
        case Known(principal):
            if policy.organization in principal.organizations:
                return Allow(principal.name, policy.organization)
            return Deny.OTHER_ORGANIZATION
        case Unknown():
            return Deny.UNKNOWN_TOKEN
        case Unavailable():
            return Deny.UNAVAILABLE
        case _:
            assert_never(identity)
