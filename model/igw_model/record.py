"""What is kept of gateways, deployments and capacity claims: the spec as it was sent, and what became of it.

Values only; `igw_store` keeps them, the API writes them, the control plane serves them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from pydantic import SecretStr

from igw_model.status import Observed


class Kind(StrEnum):
    """The kinds of objects, named as the API names them."""

    GATEWAY = "gateway"
    DEPLOYMENT = "deployment"
    CAPACITY_CLAIM = "capacityClaim"


@dataclass(frozen=True, slots=True)
class Record:
    """One object. `generation` counts its accepted specs from 1."""

    kind: Kind
    id: str
    organization_id: str
    name: str
    spec: Mapping[str, Any]
    """The flat document of the API's JSON names as it was sent, with `id` and `organizationId`, without `apiKey`."""
    generation: int
    created_at: datetime
    updated_at: datetime
    """Of the spec or the status, whichever is later. Times are aware, in UTC."""
    deleting: bool = False
    origin: str = ""
    """Empty for the API's own; for a file's, the file and document: such an object is read-only in the API."""
    api_key: SecretStr | None = None
    """The W&B key of a gateway; encrypted at rest."""
    observed: Observed | None = None
    """None until a control plane has seen it."""


NEVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Replica:
    """A replica that registered itself and counts until `expires_at`; `NEVER` for one found in a container."""

    deployment_id: str
    name: str
    address: str
    port: int
    expires_at: datetime


class Action(StrEnum):
    """What an accepted write did."""

    CREATE = "CREATE"
    UPDATE = "UPDATE"
    DELETE = "DELETE"
    REGISTER = "REGISTER"
    LEAVE = "LEAVE"


@dataclass(frozen=True, slots=True)
class Event:
    """One accepted write: who, what, before and after; never a secret. `number` grows, set by the store."""

    at: datetime
    organization_id: str
    principal: str
    action: Action
    kind: str
    id: str
    name: str
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None
    number: int = 0
