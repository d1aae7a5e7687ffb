"""A real Docker engine for tests: what they make carries a name of its own and is removed in the end."""

import uuid
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime

import docker
import docker.errors
import pytest
import pytest_asyncio
from igw_store.cipher import Cipher
from igw_store.sqlite import SqliteStore, open_store

from tests.builders import deployment_id
from tests.docker.forwarder import Forwarder
from tests.docker.scene import Scene, image
from tests.engine import engine as engine


@pytest_asyncio.fixture
async def store() -> AsyncIterator[SqliteStore]:
    """Give an empty store."""
    opened = await open_store(None, Cipher.ephemeral())
    yield opened
    await opened.aclose()


@pytest.fixture
def scene(engine: docker.DockerClient, store: SqliteStore) -> Iterator[Scene]:
    """Give a deployment's name, two networks, and a store that has no deployment yet."""
    name = f"igw-test-{uuid.uuid4().hex[:8]}"
    networks = tuple(engine.networks.create(f"{name}_{suffix}") for suffix in ("one", "two"))
    made = Scene(engine, store, name, deployment_id(1), image(engine), lambda: datetime.now(UTC))
    try:
        yield made
    finally:
        for container in engine.containers.list(all=True, filters={"label": f"igw.deployment={name}"}):
            container.remove(force=True)
        for network in networks:
            network.remove()


@pytest_asyncio.fixture
async def forwarder() -> AsyncIterator[Forwarder]:
    """Give a forwarder to the engine, open."""
    made = Forwarder()
    await made.open()
    yield made
    await made.cut()
