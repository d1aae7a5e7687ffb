"""What Envoys and replicas say reaches the store: what changed, once, and nothing else."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from igw_model.record import NEVER, Kind, Replica
from igw_model.status import Observed, Status
from igw_store.store import Change, Writing
from igw_xds import reporter as reporting
from igw_xds.news import News

from tests.builders import deployment_id, deployment_spec, gateway_id, gateway_spec, static
from tests.unit.xds_status.plane import Envoy, Plane, record, running

G, D = Kind.GATEWAY, Kind.DEPLOYMENT
ONE, TWO = gateway_id(1), gateway_id(2)
NO_ENVOY = "Programmed proxies: 0/0. No Envoy of zone US-EAST-04A is connected"
UNPLACED: dict[str, Any] = {
    "model": {"name": "demo/small", "bucket": "b", "path": "p"},
    "runtime": {"engine": "vllm"},
    "resources": {"instanceType": "gd", "gpuCount": 1},
    "autoscaling": {"min": 1, "max": 1},
    "staticBackend": None,
}


@pytest.fixture
async def plane(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Plane]:
    """Give a control plane that waits for nobody."""
    for name in ("SETTLE_SECONDS", "GATHER_SECONDS", "DELETING_SECONDS"):
        monkeypatch.setattr(reporting, name, 0.05)
    async with running() as plane:
        yield plane


@pytest.fixture
async def replica_port() -> AsyncIterator[int]:
    """Give the port of a replica that is ready."""

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def test_a_gateway_waits_for_an_envoy_and_says_so(plane: Plane) -> None:
    """CREATING with the reason, READY once an Envoy has it, and READY still when the Envoy is gone."""
    await plane.put(G, gateway_spec(1))
    await plane.says(G, ONE, "CREATING", NO_ENVOY)
    plane.connect(1)
    await plane.says(G, ONE, "READY", "Programmed proxies: 1/1")
    plane.connect(2)
    await plane.says(G, ONE, "READY", "Programmed proxies: 2/2")
    plane.drop(1)
    plane.drop(2)
    await plane.says(G, ONE, "READY", NO_ENVOY)


async def test_a_refusal_is_told_of_its_gateway_alone(plane: Plane) -> None:
    """The other gateway is READY; mended, the refused one is too, at its new generation."""
    plane.connect(1)
    plane.connect(2, f"gateway/{ONE}")
    await plane.put(G, gateway_spec(1))
    await plane.put(G, gateway_spec(2))
    await plane.says(G, ONE, "ERROR", "Programmed proxies: 1/2. envoy-2: no")
    await plane.says(G, TWO, "READY", "Programmed proxies: 2/2")
    plane.envoys[2].bad.clear()
    ranges = {"allowedSourceIpRanges": ["10.0.0.0/8"]}
    await plane.put(G, gateway_spec(1, endpointConfiguration=ranges), generation=2)
    await plane.says(G, ONE, "READY", "Programmed proxies: 2/2")
    observed = await plane.observed(G, ONE)
    assert observed is not None
    assert observed.generation == 2


async def test_a_deployment_follows_envoys_and_replicas(plane: Plane, replica_port: int) -> None:
    """It is READY when Envoys have its cluster and the routes to it, and a replica is ready."""
    plane.connect(1)
    spec = deployment_spec(1, staticBackend=static(replica_port, 1))
    await plane.put(G, gateway_spec(1))
    await plane.put(D, spec)
    await plane.says(D, deployment_id(1), "READY", "Programmed proxies: 1/1", "Ready replicas: 1/2")
    await plane.put(D, {**spec, "staticBackend": static(replica_port)}, generation=2)
    ready = "Ready replicas: 1/1. All resources are ready"
    await plane.says(D, deployment_id(1), "READY", "Programmed proxies: 1/1", ready)


async def test_a_refused_cluster_is_an_error_of_all_that_need_it(plane: Plane) -> None:
    """The deployment says so, and the gateway whose routes lead to it."""
    plane.connect(1, f"deployment/{deployment_id(1)}")
    await plane.put(G, gateway_spec(1))
    await plane.put(D, deployment_spec(1, staticBackend=static(1)))
    refused = "Programmed proxies: 0/1. envoy-1: no"
    await plane.says(D, deployment_id(1), "ERROR", refused, "Ready replicas: 0/1")
    await plane.says(G, ONE, "ERROR", refused)


async def test_replicas_that_registered_count(plane: Plane) -> None:
    """At least as many as autoscaling asks for are expected; one that left is not ready."""
    plane.connect(1)
    await plane.put(G, gateway_spec(1))
    await plane.put(D, deployment_spec(1, **UNPLACED))
    programmed = "Programmed proxies: 1/1"
    await plane.says(D, deployment_id(1), "CREATING", programmed, "Ready replicas: 0/1")
    soon = datetime.now(UTC) + timedelta(minutes=1)
    await plane.write(lambda store: store.put_replica(Replica(deployment_id(1), "a", "10.0.0.1", 8000, soon)))
    ready = "Ready replicas: 1/1. All resources are ready"
    await plane.says(D, deployment_id(1), "READY", programmed, ready)
    await plane.write(lambda store: store.remove_replica(deployment_id(1), "a"))
    await plane.says(D, deployment_id(1), "ERROR", programmed, "Ready replicas: 0/1")


async def test_a_deployment_follows_its_containers(plane: Plane, replica_port: int) -> None:
    """It says which label is missed while there is none; those that were found are asked, and count when ready."""
    plane.connect(1)
    spec = {**deployment_spec(1, dockerBackend={"port": replica_port}), "name": "llama"}
    await plane.put(G, gateway_spec(1))
    await plane.put(D, spec)
    programmed = "Programmed proxies: 1/1"
    nothing = "Ready replicas: 0/0. No running container has the label igw.deployment=llama"
    await plane.says(D, deployment_id(1), "CREATING", programmed, nothing)
    good = Replica(deployment_id(1), "llama-1", "127.0.0.1", replica_port, NEVER)
    await plane.write(lambda store: store.put_replica(good))
    ready = "Ready replicas: 1/1. All resources are ready"
    await plane.says(D, deployment_id(1), "READY", programmed, ready)
    await plane.write(lambda store: store.put_replica(replace(good, name="llama-2", port=1)))
    await plane.says(D, deployment_id(1), "READY", programmed, "Ready replicas: 1/2")
    await plane.write(lambda store: store.remove_replica(deployment_id(1), "llama-2"))
    await plane.says(D, deployment_id(1), "READY", programmed, ready)
    await plane.write(lambda store: store.remove_replica(deployment_id(1), "llama-1"))
    await plane.says(D, deployment_id(1), "ERROR", programmed, nothing)


async def test_what_is_left_of_another_backend_does_not_count(plane: Plane) -> None:
    """After a change of the spec a container is no replica that registered itself."""
    plane.connect(1)
    await plane.put(G, gateway_spec(1))
    await plane.put(D, deployment_spec(1, **UNPLACED))
    left = Replica(deployment_id(1), "llama-1", "127.0.0.1", 1, NEVER)
    await plane.write(lambda store: store.put_replica(left))
    await plane.says(D, deployment_id(1), "CREATING", "Programmed proxies: 1/1", "Ready replicas: 0/1")


async def test_what_is_deleted_goes_when_no_envoy_leads_to_it(plane: Plane) -> None:
    """An Envoy that did not take the change still serves it: it stays until that one does, or is gone."""
    plane.connect(1)
    await plane.put(G, gateway_spec(1))
    await plane.put(D, deployment_spec(1, **UNPLACED))
    await plane.says(G, ONE, "READY", "Programmed proxies: 1/1")
    plane.envoys[1].bad.add(f"gateway/{ONE}")
    await plane.delete(D, deployment_id(1))
    await asyncio.sleep(0.6)
    assert await plane.store.read(lambda store: store.get(D, deployment_id(1))) is not None
    plane.drop(1)
    await plane.until(D, deployment_id(1), lambda _: deployment_id(1) not in plane.world.deployments)
    await plane.delete(G, ONE)
    await plane.until(G, ONE, lambda _: ONE not in plane.world.gateways)


async def test_a_gateway_whose_name_moves_to_another_goes(plane: Plane) -> None:
    """Envoys still have the name, and it leads to the other one now."""
    plane.connect(1)
    named = {"additionalDns": ["chat.example.com"]}
    await plane.put(G, gateway_spec(1, endpointConfiguration=named))
    await plane.says(G, ONE, "READY", "Programmed proxies: 1/1")

    def change(store: Writing) -> None:
        store.put(record(G, gateway_spec(1, endpointConfiguration=named), deleting=True))
        store.put(record(G, gateway_spec(2, endpointConfiguration=named)))

    await plane.write(change)
    await plane.says(G, TWO, "READY", "Programmed proxies: 1/1")
    await plane.until(G, ONE, lambda _: ONE not in plane.world.gateways)


async def test_who_waits_for_anothers_refused_cluster_says_so(plane: Plane) -> None:
    """Routes that would lead to it are held back: that is an ERROR of all that need them, but ends no deletion."""
    good, bad, later = (deployment_id(number) for number in (1, 2, 3))
    plane.connect(1, f"deployment/{bad}")
    await plane.put(G, gateway_spec(1))
    await plane.says(G, ONE, "READY", "Programmed proxies: 1/1")
    await plane.put(D, deployment_spec(2, **UNPLACED))
    refused, unready = "Programmed proxies: 0/1. envoy-1: no", "Ready replicas: 0/1"
    await plane.says(D, bad, "ERROR", refused, unready)
    await plane.put(D, deployment_spec(1, **UNPLACED))
    await plane.put(D, deployment_spec(3, **UNPLACED))
    for key in (good, later):
        await plane.says(D, key, "ERROR", refused, unready)
    await plane.delete(D, later)
    await plane.until(D, later, lambda _: later not in plane.world.deployments)
    await plane.delete(D, bad)
    await plane.says(D, good, "ERROR", "Programmed proxies: 1/1", unready)


async def test_who_comes_and_goes_puts_nothing_off_for_ever(
    plane: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A window in which others are waited for ends when it was to end."""
    monkeypatch.setattr(reporting, "GATHER_SECONDS", 0.3)
    await plane.put(G, gateway_spec(1))
    await plane.says(G, ONE, "CREATING", NO_ENVOY)
    await asyncio.sleep(0.3)
    envoy = Envoy(News())  # nobody hears its answers, as when it came back with all of it
    assert plane.newest is not None
    envoy.take(plane.newest)
    plane.envoys[1] = envoy
    for _ in range(12):
        plane.news.moved()
        await asyncio.sleep(0.1)
    observed = await plane.observed(G, ONE)
    assert observed is not None
    assert observed.status is Status.READY


async def test_what_did_not_change_is_not_written(plane: Plane) -> None:
    """Clients that ask for what was updated must not be given everything each time something happens."""
    plane.connect(1)
    await plane.put(G, gateway_spec(1))
    await plane.put(G, gateway_spec(2))
    for key in (ONE, TWO):
        await plane.says(G, key, "READY", "Programmed proxies: 1/1")
    before = [await plane.store.read(lambda store, key=key: store.get(G, key)) for key in (ONE, TWO)]  # type: ignore[misc]
    plane.news.moved()
    plane.news.changed([(G, ONE), (G, TWO)])
    await plane.put(D, deployment_spec(1, gatewayIds=[TWO], **UNPLACED))
    await plane.says(D, deployment_id(1), "CREATING", "Programmed proxies: 1/1", "Ready replicas: 0/1")
    after = [await plane.store.read(lambda store, key=key: store.get(G, key)) for key in (ONE, TWO)]  # type: ignore[misc]
    assert after[0] == before[0]
    assert plane.reporter._look((G, ONE), plane.clients) is None


async def test_a_restart_says_nothing_new_before_envoys_are_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """An object that was READY is not told to lack Envoys while they reconnect."""
    monkeypatch.setattr(reporting, "GATHER_SECONDS", 0.05)
    async with running() as plane:
        await plane.put(G, gateway_spec(1))
        await plane.says(G, ONE, "CREATING", NO_ENVOY)
        known = await plane.observed(G, ONE)
        whole = Change(True, {(G, ONE): record(G, gateway_spec(1), observed=known)})
        plane.reporter.publish(whole, plane.world, plane.made.snapshots)
        assert (list(plane.reporter._dirty), list(plane.reporter._stale)) == ([], [(G, ONE)])


async def test_who_has_no_envoy_unsays_nobody(plane: Plane) -> None:
    """Of two control planes on one store, the one without Envoys leaves what the other one's said."""
    plane.connect(1)
    async with running(shared=plane.store) as other:
        for number in range(1, 9):
            await plane.put(G, gateway_spec(number))
        for number in range(1, 9):
            await plane.says(G, gateway_id(number), "READY", "Programmed proxies: 1/1")
        other.news.moved()
        other.news.changed([(G, gateway_id(number)) for number in range(1, 9)])
        await asyncio.sleep(0.5)
        for number in range(1, 9):
            await plane.says(G, gateway_id(number), "READY", "Programmed proxies: 1/1")


async def test_another_zones_gateway_is_told_of_once_and_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says who serves what; what another control plane says of it later stands."""
    monkeypatch.setattr(reporting, "GATHER_SECONDS", 0.05)
    async with running("EU-NORTH-04A") as plane:
        plane.connect(1)
        await plane.put(G, gateway_spec(1))
        message = "Programmed proxies: 0/0. This control plane serves zone EU-NORTH-04A only"
        await plane.says(G, ONE, "CREATING", message)
        ready = Observed(1, Status.READY)
        await plane.write(lambda store: store.observe(G, ONE, ready, datetime.now(UTC)))
        plane.reporter._said[G, ONE] = None  # as if it had just come, and the other had been quicker
        plane.news.changed([(G, ONE)])
        await asyncio.sleep(0.3)
        assert await plane.observed(G, ONE) == ready


async def test_a_record_that_cannot_be_read_is_an_error(plane: Plane) -> None:
    """It says which rule it breaks, and serves nothing."""
    plane.connect(1)
    await plane.put(G, {**gateway_spec(1), "coreWeaveAuth": None})
    await plane.says(G, ONE, "ERROR", "coreWeaveAuth, weightsAndBiasesAuth: choose exactly one")
