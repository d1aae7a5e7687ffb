"""Who may use a gateway: its definition and whose its own key is in, the policy for extauth out. Pure.

W&B's rule: with an `apiKey`, keys that share a user or team with its owner; `allowedEntities` narrows that, or says it
alone; with neither, every valid key. While it is not known whose the `apiKey` is, nobody may pass.
"""

from dataclasses import dataclass
from typing import assert_never

from igw_model.gateway import CoreWeaveAuth, Gateway, WeightsAndBiasesAuth
from igw_model.policy import MOST_ENTITIES, Access, Policy, Provider


@dataclass(frozen=True, slots=True)
class NotChecked:
    """It is not known yet whose the gateway's key is."""


@dataclass(frozen=True, slots=True)
class NotValid:
    """The gateway's key is nobody's."""


@dataclass(frozen=True, slots=True)
class OwnedBy:
    """The gateway's key is of a user of these entities: the user's own, and teams."""

    entities: frozenset[str]


KeyOwner = NotChecked | NotValid | OwnedBy
"""Whose a gateway's own key is; of a gateway without a key there is none (None)."""


def policy(gateway: Gateway, owner: KeyOwner | None) -> Policy:
    """Give what a gateway's requests are held to; a key that nobody told of is not checked."""
    match gateway.auth:
        case CoreWeaveAuth():
            return Policy(Provider.COREWEAVE, gateway.organization_id, gateway.id)
        case WeightsAndBiasesAuth() as auth:
            if owner is None and auth.api_key is not None:
                owner = NotChecked()
            access, entities = _access(frozenset(auth.allowed_entities), owner)
            return Policy(
                Provider.WANDB,
                gateway.organization_id,
                gateway.id,
                access,
                tuple(sorted(entities)[:MOST_ENTITIES]),
                limited=auth.enable_rate_limiting,
            )
        case other:
            assert_never(other)


def _access(allowed: frozenset[str], owner: KeyOwner | None) -> tuple[Access, frozenset[str]]:
    match owner:
        case None:
            return (Access.ENTITIES, allowed) if allowed else (Access.ANY, allowed)
        case NotChecked():
            return Access.PENDING, frozenset()
        case NotValid():
            return Access.ENTITIES, frozenset()
        case OwnedBy(entities):
            return Access.ENTITIES, entities & allowed if allowed else entities
        case other:
            assert_never(other)
