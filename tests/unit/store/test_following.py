"""The store's watch: whole state first, then coalesced changes that add up to the whole state again."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from igw_model.record import Kind, Record
from igw_store.cipher import Cipher
from igw_store.sqlite import SqliteStore, open_store
from igw_store.store import Change, TakenError, Writing

from tests.builders import deployment_id, gateway_id
from tests.unit.store.records import (
    READY,
    Objects,
    Replicas,
    at,
    claim_record,
    deployment_record,
    event,
    everything,
    followed,
    gateway_record,
    hosts,
    replica,
    soon,
)

QUIET = 0.8
"""Longer than the watch's look at other processes' writes."""


def key(record: Record) -> tuple[Kind, str]:
    """Give the key of a record in a change."""
    return record.kind, record.id


def put(record: Record) -> Callable[[Writing], None]:
    """Give the transaction that puts a record."""
    return lambda w: w.put(record)


def remove(record: Record) -> Callable[[Writing], None]:
    """Give the transaction that removes a record."""
    return lambda w: w.remove(*key(record))


async def quiet(watch: AsyncIterator[Change]) -> None:
    """Nothing comes; ends the watch."""
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(anext(watch), QUIET)


async def test_whole_state_first(store: SqliteStore) -> None:
    """The first change is all there is, that which is being deleted too; then nothing until something is written."""
    gateway = gateway_record(1, deleting=True, observed=READY)
    deployment, registered = deployment_record(1), replica()

    def write(w: Writing) -> None:
        w.put(gateway)
        w.put(deployment)
        w.put_replica(registered)

    await store.write(write)
    watch = store.watch()
    records = {key(gateway): gateway, key(deployment): deployment}
    assert await soon(watch) == Change(whole=True, records=records, replicas={deployment.id: (registered,)})
    await quiet(watch)


async def test_each_change(store: SqliteStore) -> None:
    """What was put, removed, registered or left, each with what it is now."""
    watch = store.watch()
    assert await soon(watch) == Change(whole=True)
    gateway, deployment, registered = gateway_record(), deployment_record(), replica()

    async def change(write: Callable[[Writing], Any]) -> Change:
        await store.write(write)
        return await soon(watch)

    def records(**changed: Any) -> Change:
        return Change(whole=False, **changed)

    assert await change(lambda w: w.put(gateway)) == records(records={key(gateway): gateway})
    deleting = replace(gateway, deleting=True)
    assert await change(lambda w: w.put(deleting)) == records(records={key(gateway): deleting})
    assert await change(lambda w: w.remove(*key(gateway))) == records(records={key(gateway): None})
    assert await change(lambda w: w.put(deployment)) == records(records={key(deployment): deployment})
    joined = records(replicas={deployment.id: (registered,)})
    assert await change(lambda w: w.put_replica(registered)) == joined
    moved = replace(registered, port=1)
    assert await change(lambda w: w.put_replica(moved)) == records(replicas={deployment.id: (moved,)})
    assert await change(lambda w: w.remove_replica(deployment.id, "r1")) == records(
        replicas={deployment.id: ()}
    )
    await store.write(lambda w: w.put_replica(registered))
    await soon(watch)
    assert await change(lambda w: w.remove(*key(deployment))) == records(
        records={key(deployment): None}, replicas={deployment.id: ()}
    )


async def test_what_watchers_do_not_hear(store: SqliteStore) -> None:
    """Status, heartbeats, events, what was undone, and removals of what is not there."""
    gateway, registered = gateway_record(), replica()

    def write(w: Writing) -> None:
        w.put(gateway)
        w.put_replica(registered)

    await store.write(write)
    watch = store.watch()
    await soon(watch)

    def unheard(w: Writing) -> None:
        w.observe(*key(gateway), READY, at(1))
        w.put_replica(replace(registered, expires_at=at(99)))
        w.append(event())
        w.remove(Kind.GATEWAY, gateway_id(9))
        w.remove_replica(deployment_id(9), "r1")

    def undone(w: Writing) -> None:
        w.put(gateway_record(2))
        raise LookupError

    await store.write(unheard)
    with pytest.raises(LookupError):
        await store.write(undone)
    await quiet(watch)


async def test_changes_are_coalesced(store: SqliteStore) -> None:
    """Who was slow is given the newest of each object, and nothing of what came and went meanwhile but its end."""
    watch = store.watch()
    await soon(watch)
    newest = [gateway_record(n, generation=3) for n in (1, 2)]
    gone = gateway_record(3)
    for generation in (1, 2, 3):
        for record in newest:
            await store.write(put(replace(record, generation=generation)))
    await store.write(put(gone))
    await store.write(lambda w: w.remove(*key(gone)))
    records: dict[tuple[Kind, str], Record | None] = {key(record): record for record in newest}
    assert await soon(watch) == Change(whole=False, records=records | {key(gone): None})


async def test_removed_and_made_again(store: SqliteStore) -> None:
    """An object that is back is told as it is, not as gone."""
    first, again = gateway_record(), gateway_record(created_at=at(5))
    await store.write(lambda w: w.put(first))
    watch = store.watch()
    await soon(watch)
    await store.write(lambda w: w.remove(*key(first)))
    await store.write(lambda w: w.put(again))
    assert await soon(watch) == Change(whole=False, records={key(again): again})


async def test_several_watchers(store: SqliteStore) -> None:
    """Each is given everything, however far the others are."""
    first, second = store.watch(), store.watch()
    await soon(first)
    one, two = gateway_record(1), gateway_record(2)
    await store.write(lambda w: w.put(one))
    assert (await soon(first)).records == {key(one): one}
    assert await soon(second) == Change(whole=True, records={key(one): one})
    await store.write(lambda w: w.put(two))
    assert [(await soon(watch)).records for watch in (first, second)] == [{key(two): two}] * 2


async def test_a_watch_ends_with_the_store(store: SqliteStore) -> None:
    """Closing ends watches that wait for a change."""
    watch = store.watch()
    await soon(watch)
    waiting = asyncio.ensure_future(anext(watch, "ended"))
    await asyncio.sleep(0.05)
    await store.aclose()
    assert await asyncio.wait_for(waiting, 5) == "ended"


@pytest.mark.parametrize("removed", [2, 3])
async def test_who_is_too_far_behind(tmp_path: Path, cipher: Cipher, removed: int) -> None:
    """Removals are remembered for a while; who has missed more is given the whole state again."""
    store = await open_store(tmp_path / "s.db", cipher, kept_removals=2)
    records = [gateway_record(n) for n in range(1, 5)]
    for record in records:
        await store.write(put(record))
    watch = store.watch()
    await soon(watch)
    for record in records[:removed]:
        await store.write(remove(record))
    left = {key(record): record for record in records[removed:]}
    gone = {key(record): None for record in records[:removed]}
    expected = Change(whole=False, records=gone) if removed == 2 else Change(whole=True, records=left)
    assert await soon(watch) == expected
    await store.aclose()


NUMBERS = st.integers(1, 3)
NAMES = st.sampled_from("ab")
IDS = {Kind.GATEWAY: gateway_id, Kind.DEPLOYMENT: deployment_id}


def _put_gateway(number: int, name: str, host: str, *, deleting: bool) -> Callable[[Writing], None]:
    return put(gateway_record(number, {"name": name, **hosts(f"{host}.example.com")}, deleting=deleting))


def _put_deployment(number: int, weight: int) -> Callable[[Writing], None]:
    return put(deployment_record(number, {"traffic": {"weight": weight}}))


def _register(number: int, name: str, port: int) -> Callable[[Writing], None]:
    def register(store: Writing) -> None:
        if store.get(Kind.DEPLOYMENT, deployment_id(number)) is not None:
            store.put_replica(replica(name, number, port=port))

    return register


STEPS = st.one_of(
    st.builds(_put_gateway, NUMBERS, NAMES, NAMES, deleting=st.booleans()),
    st.builds(_put_deployment, NUMBERS, NUMBERS),
    st.builds(lambda kind, n: lambda w: w.remove(kind, IDS[kind](n)), st.sampled_from(list(IDS)), NUMBERS),
    st.builds(_register, NUMBERS, NAMES, NUMBERS),
    st.builds(lambda n, name: lambda w: w.remove_replica(deployment_id(n), name), NUMBERS, NAMES),
    st.builds(lambda n: lambda w: w.observe(Kind.GATEWAY, gateway_id(n), READY, at(n)), NUMBERS),
)
LAST = claim_record()


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.lists(STEPS, max_size=4), st.booleans()), max_size=12), st.sampled_from([1, 100])
)
def test_changes_add_up(transactions: list[tuple[list[Callable[[Writing], None]], bool]], kept: int) -> None:
    """Whatever is written, and whenever a watcher looks, following its changes gives the whole state."""
    asyncio.run(_changes_add_up(transactions, kept))


async def _changes_add_up(
    transactions: list[tuple[list[Callable[[Writing], None]], bool]], kept: int
) -> None:
    store = await open_store(None, Cipher.ephemeral(), kept_removals=kept)
    watch = store.watch()
    state = followed(({}, {}), await soon(watch))
    for number, (steps, looks) in enumerate(transactions):
        with suppress(TakenError):
            await store.write(lambda w, s=steps: [step(w) for step in s])  # type: ignore[misc]
        if looks:
            state = await _up_to(store, watch, state, number)
    state = await _up_to(store, watch, state, len(transactions))
    assert _heard(state) == _heard(await store.read(everything))
    await watch.aclose()  # type: ignore[attr-defined]
    await store.aclose()


async def _up_to(
    store: SqliteStore, watch: AsyncIterator[Change], state: tuple[Objects, Replicas], number: int
) -> tuple[Objects, Replicas]:
    """Follow a watch until a mark that is written now."""
    mark = replace(LAST, generation=number + 1)
    await store.write(lambda w: w.put(mark))
    while state[0].get(key(mark)) != mark:
        state = followed(state, await soon(watch))
    return state


def _heard(state: tuple[Objects, Replicas]) -> tuple[Objects, Replicas]:
    """Leave out what watchers do not hear of: status."""
    objects, replicas = state
    return {k: replace(r, observed=None, updated_at=at()) for k, r in objects.items()}, replicas
