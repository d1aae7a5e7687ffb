"""A capacity claim: instances of one type that an organisation asks to be kept for it, and who gets which. Pure.

Source of every rule: docs/inference-api.md, "Capacity claim". What there is to give is this project's own
setting, an inventory by zone and instance type.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from igw_model.document import Few, FieldError, Spec, parse
from igw_model.text import Identifier, NonEmpty

CAPACITY_TYPES = {
    0: "CAPACITY_TYPE_UNSPECIFIED",
    1: "CAPACITY_TYPE_CUSTOMER",
    2: "CAPACITY_TYPE_SERVERLESS",
    3: "CAPACITY_TYPE_MANAGED",
}
_MANAGED = CAPACITY_TYPES[3]
_NOT_MANAGED = FieldError("resources.capacity_type", "must not be in list [0, 1, 2]")
MOST_INSTANCES = 4_294_967_295
"""uint32."""

Inventory = Mapping[str, Mapping[str, int]]
"""How many instances there are: zone → instance type → count."""


def _managed(value: str) -> str:
    if value not in CAPACITY_TYPES.values():
        raise ValueError(f"must be {_MANAGED}")
    return value


class Claimed(Spec):
    """What is asked for; zones are tried in their order."""

    instance_id: NonEmpty
    instance_count: Annotated[int, Field(ge=1, le=MOST_INSTANCES)]
    zones: Annotated[Few[NonEmpty], Field(min_length=1)]
    capacity_type: Annotated[str, AfterValidator(_managed)] = CAPACITY_TYPES[0]


class CapacityClaim(Spec):
    """A claim as defined."""

    id: Identifier
    name: NonEmpty
    organization_id: NonEmpty
    resources: Claimed


def parse_capacity_claim(document: Any) -> CapacityClaim | list[FieldError]:
    """Give the claim that a flat document defines, or every rule that it breaks."""
    parsed = parse(CapacityClaim, document, ())
    unmanaged = [_NOT_MANAGED] if _refused_type(document) else []
    return [*parsed, *unmanaged] if isinstance(parsed, list) else unmanaged or parsed


def _refused_type(document: Any) -> bool:
    """Say whether the type is one of those that the API knows and refuses; left out is 0."""
    resources = document.get("resources") if isinstance(document, Mapping) else None
    if not isinstance(resources, Mapping):
        return False
    named = resources.get("capacityType") or CAPACITY_TYPES[0]
    return named != _MANAGED and named in CAPACITY_TYPES.values()


@dataclass(frozen=True, slots=True)
class Wanted:
    """What one claim wants of the inventory."""

    id: str
    instance_id: str
    count: int
    zones: tuple[str, ...]


def allocation(wanted: Iterable[Wanted], inventory: Inventory) -> dict[str, int]:
    """Give each claim's allocated instances by id; earlier ones first, each from its zones in their order.

    A claim that cannot be had whole keeps what there is: what is pending comes when it is added or freed.
    """
    left = {(zone.lower(), kind): count for zone, kinds in inventory.items() for kind, count in kinds.items()}
    return {claim.id: _taken(claim, left) for claim in wanted}


def _taken(claim: Wanted, left: dict[tuple[str, str], int]) -> int:
    missing = claim.count
    for zone in claim.zones:
        place = (zone.lower(), claim.instance_id)
        given = min(missing, left.get(place, 0))
        left[place] = left.get(place, 0) - given
        missing -= given
    return claim.count - missing
