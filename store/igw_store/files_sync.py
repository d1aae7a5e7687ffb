"""Definition files as rows of the store: what the files say in, one transaction out, or why it is refused.

Rows with an `origin` become what the files say, no other row is touched, and all of it happens or nothing.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from typing import NamedTuple

from igw_model.record import Kind, Record

from igw_store.files import DefinitionError, Loaded
from igw_store.sources import Source
from igw_store.store import Reading, TakenError, Writing

Key = tuple[Kind, str]


class _Step(NamedTuple):
    """An object of the files: what the store has of it, and what it is to have."""

    before: Record | None
    after: Record


def sync(loaded: Loaded, now: datetime) -> Callable[[Writing], list[DefinitionError]]:
    """Give the transaction that makes the store say what the files say; its result is why it did not."""

    def change(store: Writing) -> list[DefinitionError]:
        if loaded.errors:
            return list(loaded.errors)
        kept = {(record.kind, record.id): record for record in store.from_files()}
        every = (_step(source, kept.get((source.kind, source.id)), now) for source in loaded.sources)
        steps = [step for step in every if step.before != step.after]
        defined = {(source.kind, source.id) for source in loaded.sources}
        gone = [record for key, record in kept.items() if key not in defined and not record.deleting]
        errors = [*_conflicts(store, steps), *_still_named(store, gone)]
        if not errors:
            _write(store, steps, gone, now)
        return errors

    return change


def _step(source: Source, before: Record | None, now: datetime) -> _Step:
    after = Record(
        kind=source.kind,
        id=source.id,
        organization_id=source.organization_id,
        name=source.name,
        spec=source.spec,
        generation=1,
        created_at=now,
        updated_at=now,
        origin=source.origin,
        api_key=source.api_key,
    )
    if before is None or before.organization_id != after.organization_id:
        return _Step(before, after)
    if before.deleting:  # it comes back before it was gone: a new object, which no old status is about
        return _Step(before, replace(after, generation=before.generation + 1))
    after = replace(after, created_at=before.created_at, observed=before.observed)
    if (before.spec, before.api_key) == (after.spec, after.api_key):
        return _Step(before, replace(after, generation=before.generation, updated_at=before.updated_at))
    return _Step(before, replace(after, generation=before.generation + 1))


def _conflicts(store: Reading, steps: list[_Step]) -> Iterator[DefinitionError]:
    """Tell what is the API's already. What is another file object's is not: files agree among themselves."""
    for _, after in steps:
        owner = store.get(after.kind, after.id)
        if owner is not None and not owner.origin:
            yield _error(after, TakenError("id", after.id, owner))
            continue
        for taken in store.conflicts(after):
            if not taken.owner.origin:
                yield _error(after, taken)


def _error(record: Record, taken: TakenError) -> DefinitionError:
    what = {"id": "the id", "name": "the name"}.get(taken.field, "a host name")
    value = "" if taken.field in {"id", "name"} else f"{taken.value} "
    reason = f"{value}is already {what} of {taken.owner.kind} {taken.owner.id}, made through the API"
    return DefinitionError(*_place(record), taken.field, reason)


def _still_named(store: Reading, gone: list[Record]) -> Iterator[DefinitionError]:
    """Tell which gateways cannot go, as the API would."""
    for gateway in gone:
        if gateway.kind is not Kind.GATEWAY:
            continue
        for other in store.list(Kind.DEPLOYMENT, gateway.organization_id, gateway_id=gateway.id):
            if not other.origin and not other.deleting:
                reason = (
                    f"gateway {gateway.name} cannot go: deployment {other.id}, made through the API, names it"
                )
                yield DefinitionError(_place(gateway)[0], 0, "", reason)


def _place(record: Record) -> tuple[str, int]:
    file, _, number = record.origin.rpartition(", document ")
    return file, int(number)


def _write(store: Writing, steps: list[_Step], gone: list[Record], now: datetime) -> None:
    """Free every name and host first: two objects may have exchanged theirs."""
    for record in gone:
        store.put(replace(record, deleting=True, updated_at=now))
    for before, after in steps:
        if before is None:
            continue
        if before.organization_id != after.organization_id:
            store.remove(before.kind, before.id)
        else:
            store.put(replace(before, deleting=True))
    for _, after in steps:
        store.put(after)
