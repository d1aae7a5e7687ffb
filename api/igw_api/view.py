"""A record as the API shows it: the spec as it was sent, and a status that says no more than was seen. Pure."""

from typing import Any

from igw_model.record import Record
from igw_model.status import Condition, Observed, Status, Truth
from igw_model.status import phase as status_of

from igw_api.moments import moment_text

_SERVED = {Status.READY, Status.UPDATING}
"""What only an object that has been READY is said to be."""


def phase(record: Record) -> Status:
    """Give an object's status."""
    return status_of(record.generation, record.observed, deleting=record.deleting)


def was_ready(record: Record) -> bool:
    """Say whether an object is READY, or UPDATING after it was."""
    seen = record.observed is not None and record.observed.status in _SERVED
    return seen and phase(record) in _SERVED


def shown(record: Record, **more: Any) -> dict[str, Any]:
    """Give the document of an object; `more` goes into its status."""
    return {"spec": dict(record.spec), "status": status(record, phase(record), conditions(record)) | more}


def status(record: Record, phase: Status, conditions: tuple[Condition, ...]) -> dict[str, Any]:
    """Give the document of a status."""
    return {
        "status": phase.value,
        "createdAt": moment_text(record.created_at),
        "updatedAt": moment_text(record.updated_at),
        "conditions": [_condition(condition) for condition in conditions],
    }


def conditions(record: Record) -> tuple[Condition, ...]:
    """Give what was seen of this generation, or what is awaited."""
    match record:
        case Record(deleting=True):
            return (_awaited(record, "Deleting", "Waiting until no proxy serves it."),)
        case Record(observed=Observed(generation=generation, conditions=found)) if (
            generation == record.generation
        ):
            return found
        case _:
            return (_awaited(record, "Pending", "Waiting for the control plane to publish it."),)


def _awaited(record: Record, reason: str, message: str) -> Condition:
    zones = record.spec.get("zones") or [""]
    return Condition("Programmed", Truth.FALSE, reason, message, zones[0], record.updated_at)


def _condition(condition: Condition) -> dict[str, str]:
    document = {
        "type": condition.type,
        "status": condition.truth.value,
        "lastUpdateTime": moment_text(condition.since),
        "reason": condition.reason,
        "message": condition.message,
    }
    return document | ({"zone": condition.zone} if condition.zone else {})
