"""Create, get, list, update and delete of any kind of object, as functions of one transaction.

In: the transaction, the call, and a plain document. Out: the answer's document, or RefusedError. What one kind
has of its own is a `Resource`. Source: docs/inference-api.md, sections 1 and 3.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Protocol

from igw_model.document import FieldError
from igw_model.record import Action, Event, Kind, Record
from igw_model.status import Status
from igw_store.store import Reading, Writing

from igw_api.caller import Caller
from igw_api.document import Document, Enums, identifier, named, unknown
from igw_api.failure import Code, RefusedError
from igw_api.moments import moment_of
from igw_api.refusal import NAMES, absent, exists, invalid, read_only, taken, unready
from igw_api.sealed import SPEC_BYTES, Sealed, joined, key_errors, same, sealed_spec, size
from igw_api.view import phase


@dataclass(frozen=True, slots=True)
class Call:
    """Who calls and when; `new_id` is the id of an object that is created without one."""

    caller: Caller
    now: datetime
    new_id: str


class Resource(Protocol):
    """What a kind of object has of its own."""

    @property
    def kind(self) -> Kind:
        """Which kind."""

    @property
    def enums(self) -> Enums:
        """Give the fields that hold enums."""

    @property
    def list_key(self) -> str:
        """Give the key under which a list of them is answered."""

    @property
    def filters(self) -> tuple[str, ...]:
        """Name the filters of a list."""

    def errors(self, view: Reading, document: Document) -> list[FieldError]:
        """Name the rules that a whole document, with `id` and `organizationId`, breaks."""

    def refuse_delete(self, view: Reading, record: Record) -> None:
        """Raise RefusedError while an object cannot be deleted."""

    def delete(self, write: Writing, record: Record, now: datetime) -> None:
        """Delete an object, or begin to: `record` is in its last state."""

    def settle(self, write: Writing, now: datetime) -> None:
        """Draw the consequences of a write for the other objects of the kind."""

    def shown(self, view: Reading, record: Record) -> dict[str, Any]:
        """Give an object's document."""

    def listed(self, view: Reading, records: Sequence[Record]) -> list[dict[str, Any]]:
        """Give the documents of many objects, fresh from the same view."""

    def created(self, record: Record) -> dict[str, Any]:
        """Give the document that answers a create: nothing has become of the object yet."""


def create(resource: Resource, write: Writing, call: Call, document: Document) -> dict[str, Any]:
    """Create an object; the same id with the same spec again changes nothing."""
    document = named(document, resource.enums)
    sent_id = document.get("id", call.new_id)
    sealed = sealed_spec({"id": sent_id, **document, "organizationId": call.caller.organization_id})
    object_id = identifier(sent_id)
    errors = _organization(call, document)
    existing = write.get(resource.kind, object_id) if object_id else None
    if existing is not None and not errors and _repeats(existing, sealed, call):
        return {resource.kind.value: resource.shown(write, existing)}
    errors += _errors(resource, write, sealed)
    if object_id is None and all(error.path != "id" for error in errors):
        errors.append(FieldError("id", "must be a UUID"))
    if errors or object_id is None:
        raise invalid(errors)
    if existing is not None:
        raise _clash(existing, call)
    record = Record(
        kind=resource.kind,
        id=object_id,
        organization_id=call.caller.organization_id,
        name=sealed.spec["name"],
        spec=sealed.spec,
        generation=1,
        created_at=call.now,
        updated_at=call.now,
        api_key=sealed.key,
    )
    _put(resource, write, call, record)
    write.append(_event(call, Action.CREATE, record, None, record.spec))
    return {resource.kind.value: resource.created(record)}


def get(resource: Resource, view: Reading, call: Call, document: Document) -> dict[str, Any]:
    """Give one object."""
    return {resource.kind.value: resource.shown(view, _owned(resource, view, call, document, ("id",)))}


def list_all(resource: Resource, view: Reading, call: Call, document: Document) -> dict[str, Any]:
    """Give the organisation's objects, oldest first."""
    errors = unknown(document, resource.filters)
    after = updated_after(document, errors)
    parent = document.get("parentGatewayId") if "parentGatewayId" in resource.filters else None
    gateway_id = None if parent is None else identifier(parent)
    if parent is not None and gateway_id is None:
        errors.append(FieldError("parentGatewayId", "must be a UUID"))
    if errors:
        raise invalid(errors)
    organization = call.caller.organization_id
    records = view.list(resource.kind, organization, updated_after=after, gateway_id=gateway_id)
    return {resource.list_key: resource.listed(view, records)}


def update(resource: Resource, write: Writing, call: Call, document: Document) -> dict[str, Any]:
    """Replace an object's spec."""
    record = _changeable(resource, write, call, document)
    document = named(document, resource.enums)
    own = {"id": record.spec["id"], "organizationId": record.organization_id}
    sealed = sealed_spec({"id": own["id"], **document, **own}, record.api_key)
    errors = _organization(call, document)
    if not errors and same(sealed, record) and phase(record) in {Status.READY, Status.UPDATING}:
        return {resource.kind.value: resource.shown(write, record)}
    errors += [*key_errors(record, document), *_errors(resource, write, sealed)]
    if errors:
        raise invalid(errors)
    newer = replace(
        record,
        name=sealed.spec["name"],
        spec=sealed.spec,
        api_key=sealed.key,
        generation=record.generation + 1,
        updated_at=max(call.now, record.updated_at),
    )
    _put(resource, write, call, newer)
    write.append(_event(call, Action.UPDATE, newer, record.spec, newer.spec))
    return {resource.kind.value: resource.shown(write, newer)}


def delete(resource: Resource, write: Writing, call: Call, document: Document) -> dict[str, Any]:
    """Begin to delete an object; one that is being deleted already gives the same answer again."""
    record = _owned(resource, write, call, document, ("id",))
    if not record.deleting:
        _refuse_read_only(record)
        resource.refuse_delete(write, record)
        record = replace(record, deleting=True, updated_at=max(call.now, record.updated_at))
        resource.delete(write, record, call.now)
        write.append(_event(call, Action.DELETE, record, record.spec, None))
    return {resource.kind.value: resource.shown(write, record)}


def updated_after(document: Document, errors: list[FieldError]) -> datetime | None:
    """Read the filter `updatedAfter`; what is wrong with it joins `errors`."""
    text = document.get("updatedAfter")
    if text is None:
        return None
    moment = moment_of(text) if isinstance(text, str) else None
    if moment is None:
        errors.append(FieldError("updatedAfter", "must be an RFC 3339 time such as 2026-01-31T08:00:00Z"))
    return moment


def object_of(
    view: Reading, kind: Kind, call: Call, sent_id: Any, errors: Sequence[FieldError] = ()
) -> Record:
    """Give the caller's object of an id; another organisation's is as absent as one that never was."""
    if not isinstance(sent_id, str) or not sent_id:
        reason = "must be a string" if sent_id else "is required"
        raise invalid([FieldError("id", reason), *errors])
    if errors:
        raise invalid(errors)
    object_id = identifier(sent_id)
    record = view.get(kind, object_id) if object_id else None
    if record is None or record.organization_id != call.caller.organization_id:
        raise absent(NAMES[kind], sent_id[:64])
    return record


def _owned(
    resource: Resource, view: Reading, call: Call, document: Document, fields: Sequence[str]
) -> Record:
    return object_of(view, resource.kind, call, document.get("id"), unknown(document, fields))


def _changeable(resource: Resource, write: Writing, call: Call, document: Document) -> Record:
    record = object_of(write, resource.kind, call, document.get("id"))
    _refuse_read_only(record)
    if record.deleting:
        name = NAMES[resource.kind]
        raise unready("DELETING", f"{name}/{record.id}", f"{name} {record.id} is being deleted")
    return record


def _refuse_read_only(record: Record) -> None:
    if record.origin:
        raise read_only(record)


def _repeats(existing: Record, sealed: Sealed, call: Call) -> bool:
    """Say whether a create is the one that made the object."""
    own = existing.organization_id == call.caller.organization_id and not existing.origin
    created = Sealed({**sealed.spec, "id": existing.spec["id"]}, sealed.key)
    return own and not existing.deleting and same(created, existing)


def _clash(existing: Record, call: Call) -> RefusedError:
    """Refuse a create of an id that is there already."""
    kind = NAMES[existing.kind]
    if existing.organization_id != call.caller.organization_id or existing.origin:
        return taken(existing.kind, "id", existing.id, existing, call.caller.organization_id)
    if existing.deleting:
        return exists(existing.kind, existing.id, f"id: {kind} {existing.id} is being deleted")
    message = f"id: {existing.id} already belongs to a {kind} with another spec"
    return exists(existing.kind, existing.id, message)


def _errors(resource: Resource, view: Reading, sealed: Sealed) -> list[FieldError]:
    """Name the rules that a spec breaks; its size alone if that is beyond the bound, for many rules take long."""
    document = joined(sealed)
    if size(document) > SPEC_BYTES:
        return [FieldError("", f"the spec must have at most {SPEC_BYTES} bytes as JSON")]
    return resource.errors(view, document)


def _put(resource: Resource, write: Writing, call: Call, record: Record) -> None:
    conflicts = [
        taken(resource.kind, conflict.field, conflict.value, conflict.owner, record.organization_id)
        for conflict in write.conflicts(record)
    ]
    if conflicts:
        details = tuple(detail for conflict in conflicts for detail in conflict.details)
        message = "; ".join(conflict.message for conflict in conflicts)
        raise RefusedError(Code.ALREADY_EXISTS, message, details)
    write.put(record)
    resource.settle(write, call.now)


def _organization(call: Call, document: Document) -> list[FieldError]:
    """The organisation is the caller's; a client may send back what it read, and nothing else."""
    sent = document.get("organizationId", call.caller.organization_id)
    if sent == call.caller.organization_id:
        return []
    return [FieldError("organizationId", f"must be left out, or be {call.caller.organization_id}")]


def _event(
    call: Call,
    action: Action,
    record: Record,
    before: Mapping[str, Any] | None,
    after: Mapping[str, Any] | None,
) -> Event:
    return Event(
        at=call.now,
        organization_id=record.organization_id,
        principal=call.caller.principal,
        action=action,
        kind=record.kind.value,
        id=record.id,
        name=record.name,
        before=before,
        after=after,
    )
