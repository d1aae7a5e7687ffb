"""Both sides in, rows out: differences alone, in one transaction, and nobody else's row."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any, TypeVar

import pytest
import pytest_asyncio
from igw_containers.following import Following, warn_without_engine, write
from igw_containers.metrics import Metrics
from igw_model.record import NEVER, Action, Kind, Record, Replica
from igw_store.cipher import Cipher
from igw_store.sqlite import SqliteStore, open_store
from igw_store.store import UnavailableError, Writing
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from tests.builders import deployment_id
from tests.unit.containers.known import container
from tests.unit.store.records import at, deployment_record

T = TypeVar("T")
ONE = deployment_id(1)


class FlakyStore(SqliteStore):
    """A store that cannot answer for a while, as one whose disk is full."""

    away = False
    writes = 0

    async def write(self, change: Callable[[Writing], T]) -> T:
        self.writes += 1
        if self.away:
            raise UnavailableError("the store cannot answer now: disk full")
        return await super().write(change)


@pytest_asyncio.fixture
async def store() -> AsyncIterator[FlakyStore]:
    """Give an empty store."""
    opened = await open_store(None, Cipher.ephemeral())
    opened.__class__ = FlakyStore
    assert isinstance(opened, FlakyStore)
    yield opened
    await opened.aclose()


@pytest_asyncio.fixture
async def following(store: FlakyStore, registry: CollectorRegistry) -> AsyncIterator[Following]:
    """Give a follower whose engine is the test."""
    made = Following(store, at, Metrics(registry))
    tasks = [asyncio.create_task(part) for part in (made.definitions(), made.settle())]
    yield made
    for task in tasks:
        assert not task.done()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@pytest.fixture
def registry() -> CollectorRegistry:
    """Give a registry of the test's own."""
    return CollectorRegistry()


def docker_record(number: int = 1, name: str = "llama", **backend: Any) -> Record:
    return deployment_record(number, {"name": name, "dockerBackend": {"port": 8000, **backend}})


def row(name: str = "a", number: int = 1, **fields: Any) -> Replica:
    known: dict[str, Any] = {"address": "10.0.0.1", "port": 8000, "expires_at": NEVER}
    return Replica(deployment_id(number), name, **(known | fields))


async def put(store: SqliteStore, *things: Record | Replica) -> None:
    """Write definitions and rows."""

    def change(write: Writing) -> None:
        for thing in things:
            write.put(thing) if isinstance(thing, Record) else write.put_replica(thing)

    await SqliteStore.write(store, change)


async def becomes(store: SqliteStore, *rows: Replica, number: int = 1) -> None:
    """Wait until these are the rows of a deployment."""
    kept: tuple[Replica, ...] | None = None
    for _ in range(200):
        kept = tuple(await store.read(lambda view: view.replicas(deployment_id(number))))
        if kept == rows:
            return
        await asyncio.sleep(0.01)
    assert kept == rows


async def test_containers_become_rows(store: FlakyStore, following: Following) -> None:
    """They come, move and go; the store's events say so, as of those that register."""
    await put(store, docker_record())
    following.take((container("a"), container("b")))
    await becomes(store, row("a"), row("b"))
    following.take((container("a", addresses={"n": "10.0.0.9"}),))
    await becomes(store, row("a", address="10.0.0.9"))
    events = await store.read(lambda view: view.events("acme", limit=100))
    assert [(e.action, e.name, e.principal, e.id) for e in events] == [
        (Action.REGISTER, "a", "docker", ONE),
        (Action.REGISTER, "b", "docker", ONE),
        (Action.LEAVE, "b", "docker", ONE),
        (Action.REGISTER, "a", "docker", ONE),
    ]
    assert (events[3].before or {})["address"] == "10.0.0.1"
    assert events[3].after == {"name": "a", "address": "10.0.0.9", "port": 8000}


async def test_nothing_is_written_twice(store: FlakyStore, following: Following) -> None:
    """A listing that says the same again asks nobody for a turn to write."""
    await put(store, docker_record())
    following.take((container("a"),))
    await becomes(store, row("a"))
    await asyncio.sleep(0.05)
    before = store.writes
    for _ in range(3):
        following.take((container("a"),))
        await asyncio.sleep(0.02)
    assert store.writes == before


async def test_before_the_engine_answered(store: FlakyStore, following: Following) -> None:
    """What an earlier run found serves on."""
    await put(store, docker_record(), row("earlier"))
    await asyncio.sleep(0.1)
    await becomes(store, row("earlier"))
    following.take(())
    await becomes(store)


@pytest.mark.usefixtures("following")
async def test_another_backend(store: FlakyStore) -> None:
    """Rows of containers go with the dockerBackend, or with the deployment; that needs no engine."""
    await put(store, docker_record(), docker_record(2, "mistral"), row("a"), row("b", 2))
    await asyncio.sleep(0.05)
    await put(
        store, deployment_record(1, {"name": "llama"}), replace(docker_record(2, "mistral"), deleting=True)
    )
    await becomes(store)
    await becomes(store, number=2)


async def test_a_definition_that_cannot_be_read(store: FlakyStore, following: Following) -> None:
    """A newer version may have written it: its rows are left as they are."""
    await put(store, docker_record(1, port="what"), row("a"))
    following.take(())
    await asyncio.sleep(0.1)
    await becomes(store, row("a"))


async def test_rows_of_others(store: FlakyStore, following: Following) -> None:
    """A replica that registered itself is not touched, not even where a container has its name."""
    own = row("a", address="10.9.9.9", expires_at=at(60))
    await put(store, docker_record(), own)
    following.take((container("a"), container("b")))
    await becomes(store, own, row("b"))
    await SqliteStore.write(store, lambda write: write.remove_replica(ONE, "a"))
    await becomes(store, row("a"), row("b"))
    await put(store, replace(own, name="c"))
    following.take(())
    await becomes(store, replace(own, name="c"))


async def test_a_store_that_is_away(
    store: FlakyStore, following: Following, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is tried again until it answers."""
    monkeypatch.setattr("igw_containers.following.RETRY_SECONDS", 0.02)
    await put(store, docker_record())
    store.away = True
    following.take((container("a"),))
    await asyncio.sleep(0.1)
    assert store.writes > 1
    store.away = False
    await becomes(store, row("a"))


async def test_a_deployment_that_went_meanwhile(store: FlakyStore) -> None:
    """No row is made of a deployment that is not there, or is another now."""
    await put(store, replace(docker_record(), deleting=True), deployment_record(2))
    wanted = {ONE: (row("a"),), deployment_id(2): (row("a", 2),), deployment_id(3): (row("a", 3),)}
    assert await store.write(lambda w: write(wanted, at(), w)) == ()
    for number in (1, 2, 3):
        await becomes(store, number=number)


async def test_what_is_left_out_is_told_once(
    store: FlakyStore, following: Following, registry: CollectorRegistry
) -> None:
    """Once a reason, not each listing; and counted."""
    await put(store, docker_record())
    following.take((container("a"),))
    await becomes(store, row("a"))
    two = container("odd", addresses={"x": "10.0.0.1", "y": "10.0.0.2"})
    with capture_logs() as logs:
        for number in range(3):
            following.take((two, container(f"a{number}")))
            await becomes(store, row(f"a{number}"))
        following.take((two, container("a9"), container("b", deployment="later")))
        await becomes(store, row("a9"))
    told = [(each["log_level"], each["container"]) for each in logs if each["event"] == "container left out"]
    assert told == [("warning", "odd"), ("info", "b")]
    assert registry.get_sample_value("igw_containers_left_out") == 2
    assert registry.get_sample_value("igw_containers_replicas") == 1


async def test_no_engine(store: FlakyStore) -> None:
    """Without --docker-host a dockerBackend is warned of, once, and by the option's name."""
    with capture_logs() as logs:
        warning = asyncio.create_task(warn_without_engine(store))
        await put(store, deployment_record(1))
        await asyncio.sleep(0.05)
        assert not logs
        await put(store, docker_record(2))
        await asyncio.wait_for(warning, 1)
    (said,) = logs
    assert said["log_level"] == "warning"
    assert "--docker-host" in said["event"]
    assert (await store.read(lambda view: view.get(Kind.DEPLOYMENT, deployment_id(2)))) is not None
