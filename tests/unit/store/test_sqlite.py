"""The store's promises, by whole values, in memory and in a file."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from igw_model.record import Kind, Record
from igw_model.status import Observed, Status
from igw_store.cipher import Cipher
from igw_store.expiry import expire
from igw_store.sqlite import SqliteStore, open_store
from igw_store.store import Reading, Store, TakenError, UnavailableError, Writing
from pydantic import SecretStr
from sqlalchemy import Connection

from tests.builders import deployment_id, gateway_id
from tests.unit.store.records import (
    READY,
    at,
    claim_record,
    deployment_record,
    event,
    gateway_record,
    hosts,
    on,
    replica,
)


def put(*records: Record) -> Callable[[Writing], None]:
    """Give the transaction that puts records in their order."""

    def change(store: Writing) -> None:
        for record in records:
            store.put(record)

    return change


def both_ways(record: Record) -> Callable[[Reading], tuple[Record | None, Record | None]]:
    """Give the query for a record by its id and by its name."""
    return lambda view: (
        view.get(record.kind, record.id),
        view.named(record.kind, record.organization_id, record.name),
    )


async def taken(store: Store, record: Record) -> tuple[str, str, Record]:
    """Give why a record cannot be put, which `conflicts` said before."""
    told = await store.read(lambda view: view.conflicts(record))
    with pytest.raises(TakenError) as caught:
        await store.write(put(record))
    error = caught.value
    assert [(t.field, t.value, t.owner) for t in told][:1] == [(error.field, error.value, error.owner)]
    return error.field, error.value, error.owner


async def test_a_record_comes_back_as_it_was(store: SqliteStore) -> None:
    """Every field of every kind, to the microsecond and with the key, by its id and by its name."""
    full = gateway_record(
        spec={"name": "ä\u0000🙂", "weightsAndBiasesAuth": {"serverUrl": "https://x"}, "zones": ["us-East"]},
        generation=7,
        updated_at=at(0.000001),
        origin="a.yaml, document 2",
        api_key=SecretStr("key"),
        observed=READY,
    )
    records = (full, deployment_record(deleting=True), claim_record())
    await store.write(put(*records))
    for record in records:
        found = await store.read(both_ways(record))
        assert found == (record, None if record.deleting else record)


async def test_what_is_not_there(store: SqliteStore) -> None:
    """Nothing is None or empty, for another kind and another organisation too."""
    record = gateway_record()
    await store.write(put(record))

    def look(view: Reading) -> tuple[object, ...]:
        return (
            view.get(Kind.DEPLOYMENT, record.id),
            view.get(Kind.GATEWAY, gateway_id(2)),
            view.named(Kind.GATEWAY, "other", record.name),
            list(view.list(Kind.GATEWAY, "other")),
            view.attached(record.id),
            view.host_owner("chat.example.com"),
            list(view.replicas(deployment_id(1))),
            list(view.events("acme", limit=9)),
            list(view.expired(at(1000))),
        )

    assert await store.read(look) == (None, None, None, [], False, None, [], [], [])


async def test_another_generation_replaces(store: SqliteStore) -> None:
    """A put of an existing id leaves nothing of what was there: neither its name, hosts, gateways nor key."""
    await store.write(
        put(
            gateway_record(
                1, hosts("a.example.com", "b.example.com"), api_key=SecretStr("k"), observed=READY
            ),
            deployment_record(1, on(1, 2)),
        )
    )
    newer = gateway_record(1, {"name": "new", **hosts("b.example.com", "c.example.com")}, generation=2)
    await store.write(put(newer, deployment_record(1, on(2))))

    def look(view: Reading) -> tuple[object, ...]:
        owners = [view.host_owner(f"{letter}.example.com") for letter in "abc"]
        named = view.named(Kind.GATEWAY, "acme", "gateway-1")
        return view.get(Kind.GATEWAY, newer.id), named, owners, view.attached(newer.id)

    assert await store.read(look) == (newer, None, [None, newer.id, newer.id], False)


async def test_lists(store: SqliteStore) -> None:
    """An organisation's objects or all, oldest first, those updated later than a moment, those of one gateway."""
    records = [
        deployment_record(1, on(1), created_at=at(3), updated_at=at(3)),
        deployment_record(2, on(1, 2), created_at=at(1), updated_at=at(4)),
        deployment_record(3, {**on(2), "organizationId": "other"}, created_at=at(2), updated_at=at(2)),
        deployment_record(4, on(1), created_at=at(2), updated_at=at(2), deleting=True),
    ]
    one, two, three, four = records
    await store.write(put(*records, gateway_record(1)))

    async def found(organization: str | None, **filters: object) -> Sequence[Record]:
        return await store.read(lambda view: view.list(Kind.DEPLOYMENT, organization, **filters))  # type: ignore[arg-type]

    assert await found("acme") == [two, four, one]
    assert await found(None) == [two, three, four, one]
    assert await found("acme", updated_after=at(3)) == [two]
    assert await found("acme", updated_after=at(2.999999)) == [two, one]
    assert await found("acme", gateway_id=gateway_id(1)) == [two, four, one]
    assert await found("acme", gateway_id=gateway_id(2), updated_after=at(3)) == [two]


async def test_attached(store: SqliteStore) -> None:
    """A gateway is in use while a deployment that is not being deleted names it, in any spelling of its id."""

    async def attached() -> bool:
        return await store.read(lambda view: view.attached(gateway_id(1)))

    named = deployment_record(1, {"gatewayIds": [gateway_id(1).upper(), gateway_id(1), gateway_id(2)]})
    await store.write(put(named))
    assert await attached()
    await store.write(put(replace(named, deleting=True)))
    assert not await attached()
    await store.write(put(named))
    assert await attached()
    await store.write(lambda w: w.remove(Kind.DEPLOYMENT, named.id))
    assert not await attached()


async def test_a_name_is_one_object_s(store: SqliteStore) -> None:
    """Of one kind and organisation; the refusal says whose it is, and leaves nothing."""
    first = gateway_record(1, {"name": "chat"})
    await store.write(put(first))
    assert await taken(store, gateway_record(2, {"name": "chat"})) == ("name", "chat", first)
    await store.write(
        put(
            gateway_record(3, {"name": "chat", "organizationId": "other"}),
            deployment_record(1, {"name": "chat"}),
            gateway_record(4, {"name": "Chat"}),
        )
    )
    assert [r.id for r in await store.read(lambda v: v.list(Kind.GATEWAY, None))] == [
        gateway_id(n) for n in (1, 3, 4)
    ]


async def test_a_host_is_one_gateway_s(store: SqliteStore) -> None:
    """Of any organisation and in any spelling; the refusal names the field and the owner."""
    first = gateway_record(1, hosts("a.example.com", "A.example.com."))
    await store.write(put(first))
    other = gateway_record(2, {"organizationId": "other", **hosts("b.example.com", "A.Example.com.")})
    assert await taken(store, other) == ("endpointConfiguration.additionalDns[1]", "A.Example.com.", first)
    assert await store.read(lambda view: view.host_owner("b.example.com")) is None


async def test_generated_hosts_are_taken_too(store: SqliteStore) -> None:
    """`api.<id>.…` is the gateway's with that id, under any domain; nor can an id be chosen whose name is taken."""
    first = gateway_record(1, hosts(f"api.{gateway_id(3)}.gw.example.com"))
    await store.write(put(first))
    name = f"API.{gateway_id(1).upper()}.x"
    assert await taken(store, gateway_record(2, hosts(name))) == (
        "endpointConfiguration.additionalDns[0]",
        name,
        first,
    )
    assert await taken(store, gateway_record(3)) == ("id", gateway_id(3), first)
    await store.write(put(gateway_record(1, hosts(f"api.{gateway_id(1)}.x", f"api.{gateway_id(9)}.x"))))
    assert await store.read(lambda view: view.host_owner(f"api.{gateway_id(1)}.elsewhere")) == gateway_id(1)


async def test_an_id_is_one_organisation_s(store: SqliteStore) -> None:
    """An object never changes its organisation; a deployment may have a gateway's id."""
    first = gateway_record(1)
    await store.write(put(first))
    stranger = gateway_record(1, {"organizationId": "other", "name": "mine"})
    assert await taken(store, stranger) == ("id", first.id, first)
    await store.write(put(deployment_record(1, {"id": first.id})))
    assert await store.read(lambda view: view.get(Kind.GATEWAY, first.id)) == first


async def test_every_conflict_is_told(store: SqliteStore) -> None:
    """`conflicts` gives all that stands in the way, not only the first."""
    one, two = gateway_record(1, hosts("a.example.com")), gateway_record(2, hosts("b.example.com"))
    await store.write(put(one, two))
    wanted = gateway_record(
        3, {"name": "gateway-1", **hosts("a.example.com", "c.example.com", "b.example.com")}
    )
    found = await store.read(lambda view: view.conflicts(wanted))
    assert [(t.field, t.value, t.owner) for t in found] == [
        ("name", "gateway-1", one),
        ("endpointConfiguration.additionalDns[0]", "a.example.com", one),
        ("endpointConfiguration.additionalDns[2]", "b.example.com", two),
    ]


async def test_deleting_frees_name_and_hosts(store: SqliteStore) -> None:
    """What is being deleted is still found by its id and listed, and stands in nobody's way."""
    gone = gateway_record(1, {"name": "chat", **hosts("a.example.com")}, deleting=True)
    await store.write(put(replace(gone, deleting=False)))
    await store.write(put(gone))
    newer = gateway_record(2, {"name": "chat", **hosts("a.example.com")}, created_at=at(1))
    await store.write(put(newer))

    def look(view: Reading) -> tuple[object, ...]:
        named = view.named(Kind.GATEWAY, "acme", "chat")
        return named, view.host_owner("a.example.com"), list(view.list(Kind.GATEWAY, "acme"))

    assert await store.read(look) == (newer, newer.id, [gone, newer])
    assert await taken(store, replace(gone, deleting=False)) == ("name", "chat", newer)
    await store.write(put(replace(gone, generation=2)))


async def test_removed_for_good(store: SqliteStore) -> None:
    """Nothing is left of a removed object: hosts, attachments and replicas go with it; once more is no error."""
    await store.write(put(gateway_record(1, hosts("a.example.com")), deployment_record(1)))
    await store.write(lambda w: w.put_replica(replica()))

    def remove(w: Writing) -> None:
        for kind, key in ((Kind.GATEWAY, gateway_id(1)), (Kind.DEPLOYMENT, deployment_id(1))):
            w.remove(kind, key)
            w.remove(kind, key)

    await store.write(remove)

    def look(view: Reading) -> tuple[object, ...]:
        lists = [list(view.list(kind, None)) for kind in (Kind.GATEWAY, Kind.DEPLOYMENT)]
        left = view.host_owner("a.example.com"), view.attached(gateway_id(1))
        return (*lists, *left, list(view.replicas(deployment_id(1))))

    assert await store.read(look) == ([], [], None, False, [])


async def test_observed(store: SqliteStore) -> None:
    """Status is kept beside the spec and moves `updated_at` forwards only; the same again changes nothing."""
    record = gateway_record(1, updated_at=at(10), api_key=SecretStr("k"))
    await store.write(put(record))

    async def observe(observed: Observed, seconds: float) -> Record | None:
        await store.write(lambda w: w.observe(Kind.GATEWAY, record.id, observed, at(seconds)))
        return await store.read(lambda view: view.get(Kind.GATEWAY, record.id))

    assert await observe(READY, 20) == replace(record, observed=READY, updated_at=at(20))
    assert await observe(READY, 30) == replace(record, observed=READY, updated_at=at(20))
    other = Observed(1, Status.ERROR)
    assert await observe(other, 5) == replace(record, observed=other, updated_at=at(20))
    await store.write(lambda w: w.observe(Kind.DEPLOYMENT, record.id, READY, at(99)))
    assert await store.read(lambda view: view.list(Kind.DEPLOYMENT, None)) == []


async def test_replicas(store: SqliteStore) -> None:
    """By name; a heartbeat moves the expiry; leaving twice is no error."""
    one, two = replica("a", expires_at=at(0.000001)), replica("b", port=8001)
    elsewhere = replica("a", deployment=2)

    def register(w: Writing) -> None:
        for registered in (two, elsewhere, replace(one, expires_at=at())):
            w.put_replica(registered)
        w.put_replica(one)

    await store.write(register)
    assert await store.read(lambda view: view.replicas(deployment_id(1))) == [one, two]
    for _ in range(2):
        await store.write(lambda w: w.remove_replica(deployment_id(1), "a"))
    assert await store.read(lambda view: view.replicas(deployment_id(1))) == [two]
    assert await store.read(lambda view: view.replicas(deployment_id(2))) == [elsewhere]


async def test_replicas_expire(store: SqliteStore) -> None:
    """A replica counts until its expiry, not at it; others stay."""
    early, late = replica("a", expires_at=at(10)), replica("a", deployment=2, expires_at=at(10.000001))

    def register(w: Writing) -> None:
        w.put_replica(early)
        w.put_replica(late)

    await store.write(register)
    assert await store.write(expire(at(9.999999))) == []
    assert await store.read(lambda view: view.expired(at(10))) == [early]
    assert await store.write(expire(at(10))) == [early]
    assert await store.write(expire(at(10))) == []
    assert await store.read(lambda view: view.replicas(deployment_id(2))) == [late]


async def test_events(store: SqliteStore) -> None:
    """The newest of an organisation, oldest first, numbered from 1, only the last three kept."""
    events = [event(n, at=at(n), before={"a": [1, None]}, after=None) for n in range(1, 6)]
    other = event(9, organization_id="other")

    def append(w: Writing) -> None:
        for happened in (*events, other):
            w.append(happened)

    await store.write(append)
    kept = [replace(happened, number=n) for n, happened in enumerate(events, 1)][2:]
    read = store.read
    assert await read(lambda view: view.events("acme", limit=10)) == kept
    assert await read(lambda view: view.events("acme", limit=2)) == kept[1:]
    assert await read(lambda view: view.events("acme", updated_after=at(3), limit=10)) == kept[1:]
    assert await read(lambda view: view.events("other", limit=10)) == [replace(other, number=1)]


async def test_what_is_raised_undoes_all(store: SqliteStore) -> None:
    """A transaction happens or does not; others that waited with it are not touched."""

    def half(w: Writing) -> None:
        w.put(gateway_record(1, hosts("a.example.com")))
        w.append(event())
        w.put_replica(replica())
        raise LookupError("changed my mind")

    results = await asyncio.gather(
        store.write(put(gateway_record(2))),
        store.write(half),
        store.write(put(gateway_record(3))),
        return_exceptions=True,
    )
    assert [type(result) for result in results] == [type(None), LookupError, type(None)]

    def look(view: Reading) -> tuple[object, ...]:
        ids = [record.id for record in view.list(Kind.GATEWAY, None)]
        left = view.host_owner("a.example.com"), list(view.events("acme", limit=9))
        return ids, *left, list(view.replicas(deployment_id(1)))

    assert await store.read(look) == ([gateway_id(2), gateway_id(3)], None, [], [])


async def test_concurrent_creates_of_one_name(store: SqliteStore) -> None:
    """Exactly one wins; the others are told which."""
    records = [gateway_record(n, {"name": "chat"}) for n in range(1, 21)]
    results = await asyncio.gather(*(store.write(put(r)) for r in records), return_exceptions=True)
    [winner] = await store.read(lambda view: view.list(Kind.GATEWAY, "acme"))
    assert [r for r, result in zip(records, results, strict=True) if result is None] == [winner]
    assert [r.owner for r in results if isinstance(r, TakenError)] == [winner] * 19


async def test_a_result_is_given(store: SqliteStore) -> None:
    """A transaction sees what it wrote itself, and its result is its caller's."""

    def change(w: Writing) -> object:
        w.put(gateway_record())
        return w.get(Kind.GATEWAY, gateway_id(1))

    assert await store.write(change) == gateway_record()


async def test_one_view_is_one_moment(file_store: SqliteStore) -> None:
    """What is written while a view is open is not in it, and the write does not wait for the view."""
    looked, written = threading.Event(), threading.Event()

    def look(view: Reading) -> tuple[object, object]:
        before = view.get(Kind.GATEWAY, gateway_id(1))
        looked.set()
        assert written.wait(10)
        return before, view.get(Kind.GATEWAY, gateway_id(1))

    looking = asyncio.create_task(file_store.read(look))
    await asyncio.to_thread(looked.wait, 10)
    await file_store.write(put(gateway_record()))
    written.set()
    assert await looking == (None, None)


async def test_the_loop_is_never_held_up(store: SqliteStore) -> None:
    """While a transaction takes its time the event loop goes on."""
    going_on = threading.Event()
    asyncio.get_running_loop().call_later(0.05, going_on.set)
    assert await store.write(lambda _: going_on.wait(10))


async def test_a_cancelled_write_that_waits_is_not_done(store: SqliteStore) -> None:
    """A caller that went away before its turn leaves nothing."""
    first_may_end = threading.Event()
    first = asyncio.create_task(store.write(lambda _: first_may_end.wait(10)))
    await asyncio.sleep(0.05)
    second = asyncio.create_task(store.write(put(gateway_record())))
    await asyncio.sleep(0.05)
    second.cancel()
    await asyncio.wait([second])
    first_may_end.set()
    assert await first
    assert await store.read(lambda view: view.get(Kind.GATEWAY, gateway_id(1))) is None


async def test_closed(store: SqliteStore) -> None:
    """What is under way ends; after that there is no answer. Closing twice is no error."""
    writing = asyncio.create_task(store.write(put(gateway_record())))
    await asyncio.sleep(0)
    await store.aclose()
    await writing
    for refused in (store.read(lambda view: view.attached("")), store.write(put(gateway_record()))):
        with pytest.raises(UnavailableError, match="closed"):
            await refused
    await store.aclose()


async def test_it_is_there_after_a_restart(tmp_path: Path, cipher: Cipher) -> None:
    """A file keeps everything; memory is another one each time."""
    record = gateway_record(1, hosts("a.example.com"), api_key=SecretStr("k"), observed=READY)
    for path, expected in ((tmp_path / "s.db", record), (None, None)):
        first = await open_store(path, cipher)
        await first.write(put(record))
        await first.aclose()
        second = await open_store(path, cipher)
        assert await second.read(lambda view: view.get(Kind.GATEWAY, gateway_id(1))) == expected
        await second.aclose()


async def test_an_answered_write_waits_for_the_disk(file_store: SqliteStore) -> None:
    """The settings that make it so: WAL, and a sync of it at each commit."""

    def settings(connection: Connection) -> dict[str, object]:
        names = ("journal_mode", "synchronous", "busy_timeout")
        return {name: connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in names}

    assert await file_store._look(settings) == {
        "journal_mode": "wal",
        "synchronous": 2,
        "busy_timeout": 10_000,
    }


async def test_a_write_waits_for_another_process_s(tmp_path: Path, file_store: SqliteStore) -> None:
    """While another writes, a write waits for its turn and then sees what that wrote; reads do not wait."""
    other = sqlite3.connect(tmp_path / "store.db", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    other.execute("UPDATE revisions SET revision = 41")
    writing = asyncio.create_task(file_store.write(put(gateway_record())))
    await asyncio.sleep(0.2)
    assert await file_store.read(lambda view: view.get(Kind.GATEWAY, gateway_id(1))) is None
    assert not writing.done()
    other.execute("COMMIT")
    other.close()
    await writing
    assert await file_store.read(lambda view: view.get(Kind.GATEWAY, gateway_id(1))) == gateway_record()
    assert (
        await file_store._look(lambda c: c.exec_driver_sql("SELECT revision FROM revisions").scalar()) == 42
    )


async def test_a_full_disk(cipher: Cipher) -> None:
    """Writes that share a transaction which cannot be kept are all refused; once there is room again all is well."""
    store = await open_store(None, cipher)

    def limit(pages: int) -> Callable[[Connection], object]:
        return lambda connection: connection.exec_driver_sql(f"PRAGMA max_page_count={pages}").scalar()

    await store._look(limit(1))  # not below what there is
    large = gateway_record(2, {"name": "x" * 1_000_000})
    first_is_under_way, first_may_end = threading.Event(), threading.Event()

    def hold(_: Writing) -> None:
        first_is_under_way.set()
        first_may_end.wait(10)

    first = asyncio.create_task(store.write(hold))
    assert await asyncio.to_thread(first_is_under_way.wait, 10)
    both = [asyncio.create_task(store.write(put(record))) for record in (gateway_record(1), large)]
    await asyncio.sleep(0)  # now they wait together
    first_may_end.set()
    await first
    assert [str(result) for result in await asyncio.gather(*both, return_exceptions=True)] == [
        "the store cannot answer now: database or disk is full"
    ] * 2
    assert await store.read(lambda view: view.list(Kind.GATEWAY, None)) == []
    await store._look(limit(1_000_000))
    await store.write(put(large))
    assert await store.read(lambda view: view.list(Kind.GATEWAY, None)) == [large]
    await store.aclose()
