"""What extauth must hold a request to, and how that travels in Envoy's per-route configuration.

A policy becomes a text in the metadata of a gateway's virtual host, which Envoy sends as a header of the check
(ext_authz over HTTP), or the context extensions of a check over gRPC; both come back as the same value. There is no
second channel between the control plane and extauth, and nothing in a policy is secret.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import quote, unquote

MOST_ENTITIES = 200
"""Entities that one policy may name: it is a header of each check."""


class Provider(StrEnum):
    """Who vouches for a token."""

    COREWEAVE = "coreweave"
    WANDB = "wandb"


class Access(StrEnum):
    """Whose W&B keys may pass; those of CoreWeave are held to the organisation."""

    ANY = "any"
    """Every valid key."""
    ENTITIES = "entities"
    """Keys that share an entity or team with those named."""
    PENDING = "pending"
    """Nobody's for now: it is not known yet whose the gateway's own `apiKey` is."""


@dataclass(frozen=True, slots=True)
class Policy:
    """One gateway's rule; `organization` is whose it is.

    CoreWeave's tokens must belong to `organization`. W&B's keys are held to `access` and `entities`; with `limited`
    their project is held to what W&B allows it.
    """

    provider: Provider
    organization: str
    gateway_id: str
    access: Access = Access.ANY
    entities: tuple[str, ...] = ()
    """Sorted, without repetition; empty unless `access` is ENTITIES."""
    limited: bool = False


def policy_text(policy: Policy) -> str:
    """Give a policy as visible ASCII, its parts percent-encoded.

    ``coreweave/<organization>/<gateway id>``, or ``wandb/<organization>/<gateway id>/<access>/<limits>`` with
    ``limited`` or ``unlimited`` for limits, and ``/<entity>`` for each entity.
    """
    return "/".join(quote(part, safe="") for part in _parts(policy))


def policy_of_text(text: str) -> Policy | None:
    """Read a policy that `policy_text` wrote; None for anything else, two headers that were joined too."""
    return _policy([unquote(part) for part in text.split("/")]) if _ENCODED.fullmatch(text) else None


_ENCODED = re.compile(r"[\w.~%/-]+", re.ASCII)
_EXTENSION = "policy"


def policy_extensions(policy: Policy) -> dict[str, str]:
    """Give the context extensions of a check over gRPC."""
    return {_EXTENSION: policy_text(policy)}


def policy_of_extensions(extensions: Mapping[str, str]) -> Policy | None:
    """Read a policy from a gRPC check's context extensions."""
    return policy_of_text(extensions.get(_EXTENSION, ""))


def _parts(policy: Policy) -> list[str]:
    parts = [policy.provider.value, policy.organization, policy.gateway_id]
    if policy.provider is Provider.WANDB:
        parts += [policy.access, "limited" if policy.limited else "unlimited", *policy.entities]
    return parts


def _policy(parts: list[str]) -> Policy | None:
    match parts:
        case [_, "", *_] | [_, _, "", *_]:
            return None
        case [Provider.COREWEAVE, organization, gateway_id]:
            return Policy(Provider.COREWEAVE, organization, gateway_id)
        case [
            Provider.WANDB,
            organization,
            gateway_id,
            access,
            "limited" | "unlimited" as limits,
            *entities,
        ] if access in set(Access) and bool(entities) <= (access == Access.ENTITIES):
            return Policy(
                Provider.WANDB, organization, gateway_id, Access(access), tuple(entities), limits == "limited"
            )
        case _:
            return None
