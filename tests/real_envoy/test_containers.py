"""Containers of a `dockerBackend` as the store tells of them: traffic follows, and no request fails for it.

They are written into the store as the one that watches Docker writes them; behind them are the demo's model servers.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from igw_cli.state import database, key_file
from igw_model.record import NEVER, Replica
from igw_store.cipher import Cipher
from igw_store.sqlite import open_store
from igw_store.store import Store

from tests.real_envoy.running import Running, eventually, igw_up
from tests.real_envoy.test_changes import load, shares
from tests.real_envoy.test_status import Api

STABLE = "small-stable"
MANY = 300
"""Requests, of which a tenth is for the least used replica."""
NOTHING = f"Ready replicas: 0/0. No running container has the label igw.deployment={STABLE}"

IN_STEP = {"Programmed Programmed": "Programmed proxies: 1/1"}


@pytest.fixture
def contained(tmp_path: Path) -> Iterator[Running]:
    """A demo of which the stable deployment is in containers: none yet."""
    with igw_up(tmp_path / "up", "--demo", "--allow-docker-backends") as running:
        running.edit(in_containers)
        yield running


def in_containers(text: str) -> str:
    """Give the demo's definitions with another backend for the stable deployment."""
    documents: list[dict[str, Any]] = list(yaml.safe_load_all(text))
    [spec] = [document["spec"] for document in documents if document["spec"]["name"] == STABLE]
    del spec["staticBackend"]
    spec["dockerBackend"] = {"port": 8000}
    return yaml.safe_dump_all(documents)


class Containers:
    """The containers of a deployment, by the names of the demo's model servers."""

    def __init__(self, gateway: Running, store: Store, deployment_id: str) -> None:
        self._gateway, self._store, self._id = gateway, store, deployment_id

    async def start(self, name: str) -> None:
        found = Replica(self._id, name, "127.0.0.1", self._gateway.replica_port(name), NEVER)
        await self._store.write(lambda write: write.put_replica(found))

    async def stop(self, name: str) -> None:
        await self._store.write(lambda write: write.remove_replica(self._id, name))


@asynccontextmanager
async def containers(gateway: Running, deployment_id: str) -> AsyncIterator[Containers]:
    """Give a deployment's containers, written by a process of their own into the control plane's store."""
    folder = gateway.folder / "state"
    store = await open_store(database(folder), Cipher.from_file(key_file(folder)))
    yield Containers(gateway, store, deployment_id)
    await store.aclose()


def deployment_of(api: Api, name: str) -> str:
    """Give a deployment's id."""
    found = {item["spec"]["name"]: item["spec"]["id"] for item in api.call("GET", "deployments")["items"]}
    return str(found[name])


async def test_containers_come_and_go_under_load(contained: Running) -> None:
    """From none over one and two back to none: no request fails, and each has its share within two seconds."""
    api = Api(contained)
    deployment = deployment_of(api, STABLE)
    nothing = {**IN_STEP, "Ready NotReady": NOTHING}
    eventually(lambda: api.said("deployment", deployment)[1].items() >= nothing.items())
    seen: list[set[str]] = []
    async with containers(contained, deployment) as found:
        assert await shares(contained, 100) == Counter({"small-c": 100})
        async with load(contained) as count:
            for change in (
                found.start("small-a"),
                found.start("small-b"),
                found.stop("small-a"),
                found.stop("small-b"),
            ):
                await change
                await asyncio.sleep(2)
                before = count.replicas.copy()
                enough = before.total() + MANY
                await asyncio.to_thread(eventually, lambda: count.replicas.total() > enough)  # noqa: B023 - awaited
                seen.append(set(count.replicas - before))
    assert count.failures == []
    assert seen == [
        {"small-a", "small-c"},
        {"small-a", "small-b", "small-c"},
        {"small-b", "small-c"},
        {"small-c"},
    ]


async def test_a_deployment_made_through_the_api_is_as_ready_as_its_containers(contained: Running) -> None:
    """It says which label it waits for, is READY with a container that answers, and lists it without an expiry."""
    api = Api(contained)
    gateway = api.gateway("contained")
    document = {
        "name": "llama",
        "gatewayIds": [gateway["id"]],
        "model": {"name": "demo/small"},
        "dockerBackend": {"port": 8000},
    }
    made = api.call("POST", "deployments", document)["deployment"]["spec"]["id"]
    nothing = "Ready replicas: 0/0. No running container has the label igw.deployment=llama"
    waiting = {"Programmed Programmed": "Programmed proxies: 1/1", "Ready NotReady": nothing}
    eventually(lambda: api.said("deployment", made) == ("CREATING", waiting))
    async with containers(contained, made) as found:
        await found.start("small-a")
        eventually(lambda: api.status("deployment", made) == "READY")
        port = contained.replica_port("small-a")
        shown = {"name": "small-a", "address": "127.0.0.1", "port": port}
        assert api.call("GET", f"deployments/{made}/replicas") == {"items": [shown]}
        await found.stop("small-a")
        eventually(lambda: api.said("deployment", made)[0] == "ERROR")
