"""What extauth must hold a request to, and how that travels in Envoy's per-route configuration.

A policy becomes a path prefix (ext_authz over HTTP) or context extensions (ext_authz over gRPC);
both come back as the same value. There is no second channel between the control plane and extauth.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import quote, unquote

CHECK_PREFIX = "/check/"


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


def policy_path(policy: Policy) -> str:
    """Give the path prefix of a check, e.g. ``/check/coreweave/<organization>/<gateway id>``."""
    parts = (policy.provider, policy.organization, policy.gateway_id)
    return CHECK_PREFIX + "/".join(quote(part, safe="") for part in parts)


def policy_of_path(path: str) -> Policy | None:
    """Read a policy from a check's path; Envoy appends the request's own path behind the prefix."""
    if not path.startswith(CHECK_PREFIX):
        return None
    parts = path[len(CHECK_PREFIX) :].split("/", 3)[:3]
    return _policy([unquote(part) for part in parts])


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
