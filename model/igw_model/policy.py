"""What extauth must hold a request to, and how that travels in Envoy's per-route configuration.

A policy becomes a text in the metadata of a gateway's virtual host, which Envoy sends as a header of the check
(ext_authz over HTTP), or context extensions (over gRPC); both come back as the same value. There is no second
channel between the control plane and extauth.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import quote, unquote


class Provider(StrEnum):
    """Who vouches for a token."""

    COREWEAVE = "coreweave"
    WANDB = "wandb"


@dataclass(frozen=True, slots=True)
class Policy:
    """One gateway's rule: tokens of `provider` that belong to `organization` may pass."""

    provider: Provider
    organization: str
    gateway_id: str


def policy_text(policy: Policy) -> str:
    """Give a policy as visible ASCII, ``coreweave/<organization>/<gateway id>``, each part percent-encoded."""
    return "/".join(
        quote(part, safe="") for part in (policy.provider, policy.organization, policy.gateway_id)
    )


def policy_of_text(text: str) -> Policy | None:
    """Read a policy that `policy_text` wrote; None for anything else."""
    return _policy([unquote(part) for part in text.split("/")])


def policy_extensions(policy: Policy) -> dict[str, str]:
    """Give the context extensions of a check over gRPC."""
    return {
        "provider": policy.provider.value,
        "organization": policy.organization,
        "gateway_id": policy.gateway_id,
    }


def policy_of_extensions(extensions: Mapping[str, str]) -> Policy | None:
    """Read a policy from a gRPC check's context extensions."""
    return _policy([extensions.get(key, "") for key in ("provider", "organization", "gateway_id")])


def _policy(parts: list[str]) -> Policy | None:
    match parts:
        case [provider, organization, gateway_id] if (
            provider in set(Provider) and organization and gateway_id
        ):
            return Policy(Provider(provider), organization, gateway_id)
        case _:
            return None
