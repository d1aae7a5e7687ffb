"""Capacity claims: what the API asks of them, and what of the inventory is theirs. Pure, but for the store's view."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

from igw_model.capacity_claim import Wanted, allocation, parse_capacity_claim
from igw_model.document import FieldError
from igw_model.record import Kind, Record
from igw_model.status import Condition, Observed, Status, Truth
from igw_store.store import Reading, Writing

from igw_api.document import CLAIM_ENUMS, Document, Enums, text, texts, unknown
from igw_api.gateways import zone_errors
from igw_api.lifecycle import Call
from igw_api.parameters import Parameters
from igw_api.refusal import invalid
from igw_api.view import status


@dataclass(frozen=True, slots=True)
class CapacityClaims:
    """The kind `capacityClaim`, a `lifecycle.Resource`."""

    parameters: Parameters
    kind: ClassVar[Kind] = Kind.CAPACITY_CLAIM
    enums: ClassVar[Enums] = CLAIM_ENUMS
    list_key: ClassVar[str] = "capacityClaims"
    filters: ClassVar[tuple[str, ...]] = ("updatedAfter",)

    def errors(self, view: Reading, document: Document) -> list[FieldError]:  # noqa: ARG002 - the protocol's
        """Name the rules that a claim breaks."""
        parsed = parse_capacity_claim(document)
        zones = texts(document, "resources", "zones")
        return [
            *(parsed if isinstance(parsed, list) else []),
            *zone_errors(self.parameters, "resources.zones", zones),
            *self._instance_errors(text(document, "resources", "instanceId"), zones),
        ]

    def _instance_errors(self, instance_id: str | None, zones: Sequence[str]) -> list[FieldError]:
        """A zone for which nothing is declared refuses no instance type; it has none to give either."""
        offered = [self.parameters.instances_of(zone) for zone in zones]
        if not instance_id or not all(offered) or any(instance_id in kinds for kinds in offered):
            return []
        known = dict.fromkeys(kind for kinds in offered for kind in kinds)
        return [FieldError("resources.instanceId", f"must be one of {', '.join(known)}")] if known else []

    def refuse_delete(self, view: Reading, record: Record) -> None:
        """Nothing keeps a claim."""

    def delete(self, write: Writing, record: Record, now: datetime) -> None:
        """Delete a claim at once: no proxy serves it. What it had goes to those that wait."""
        write.remove(self.kind, record.id)
        self.settle(write, now)

    def settle(self, write: Writing, now: datetime) -> None:
        """Keep what became of every claim, so that one which gains or loses instances counts as updated."""
        given = self._given(write)
        for record in write.list(self.kind, None):
            seen = _observed(record, given[record.id], now)
            if seen != record.observed:
                write.observe(self.kind, record.id, seen, now)

    def shown(self, view: Reading, record: Record) -> dict[str, Any]:
        """Give a claim's document with what it has of the inventory now."""
        if record.deleting:
            found = (Truth.FALSE, "Deleting", "Being deleted: its instances go to the claims that wait.")
            return _document(record, 0, _seen(record, Status.DELETING, found, record.updated_at))
        return self.listed(view, [view.get(self.kind, record.id) or record])[0]

    def listed(self, view: Reading, records: Sequence[Record]) -> list[dict[str, Any]]:
        """Give the documents of many: the inventory is given out once for all of them."""
        given = self._given(view)
        return [
            _document(record, given[record.id], _observed(record, given[record.id], record.updated_at))
            for record in records
        ]

    def created(self, record: Record) -> dict[str, Any]:
        """Give a new claim's document: nothing is allocated until it is kept."""
        found = (Truth.FALSE, "Pending", "Waiting for instances to be allocated.")
        return _document(record, 0, _seen(record, Status.CREATING, found, record.created_at))

    def _given(self, view: Reading) -> dict[str, int]:
        wanted = (_wanted(record) for record in view.list(self.kind, None))
        return allocation(wanted, self.parameters.capacity)


def _wanted(record: Record) -> Wanted:
    resources = record.spec["resources"]
    return Wanted(record.id, resources["instanceId"], resources["instanceCount"], tuple(resources["zones"]))


def _document(record: Record, given: int, seen: Observed) -> dict[str, Any]:
    return {
        "spec": dict(record.spec),
        "status": status(record, seen.status, seen.conditions)
        | {"allocatedInstances": given, "pendingInstances": _wanted(record).count - given},
    }


def _observed(record: Record, given: int, now: datetime) -> Observed:
    """Give what is to be seen of a claim at `now`."""
    wanted = _wanted(record)
    text = f"Allocated instances: {given}/{wanted.count}."
    if given == wanted.count:
        return _seen(record, Status.READY, (Truth.TRUE, "Allocated", text), now)
    phase = Status.CREATING if record.generation == 1 else Status.UPDATING
    why = f"{text} The inventory of its zones has no more {wanted.instance_id} to give."
    return _seen(record, phase, (Truth.FALSE, "InsufficientCapacity", why), now)


def _seen(record: Record, phase: Status, found: tuple[Truth, str, str], now: datetime) -> Observed:
    """Give one condition; if it says what it said before it is as old as it was."""
    before = record.observed.conditions if record.observed else ()
    same = [old.since for old in before if (old.truth, old.reason, old.message) == found]
    return Observed(
        record.generation, phase, (Condition("Allocated", *found, zone="", since=(*same, now)[0]),)
    )


def claim_parameters(
    parameters: Parameters, _view: Reading, _call: Call, document: Document
) -> dict[str, Any]:
    """Answer GetCapacityClaimParameters."""
    if errors := unknown(document, ()):
        raise invalid(errors)
    zones = {zone: {"instanceIds": list(parameters.instances_of(zone))} for zone in parameters.zones}
    return {"zoneInstanceTypes": zones}
