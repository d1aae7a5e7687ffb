"""Propagation: from a snapshot's publication to a proxy's ACK of a response made from it."""

import asyncio
import time
from typing import Any

from igw_xds.distribution import Distributions
from igw_xds.fleet import Fleet
from igw_xds.metrics import ServedCollector
from igw_xds.plan import Zoning
from igw_xds.snapshot import CLUSTER, LISTENER, NO_RESOURCES, ROUTES, Snapshot
from prometheus_client import CollectorRegistry

from tests.observe.loopback import Watched, watched
from tests.unit.xds_stream.builders import NODE, ack, delta, nack, world

PAUSE = 0.3


async def until(condition: Any) -> None:
    """Wait until the server has come so far."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - nothing tells a test when the other side has acted
            await asyncio.sleep(0.005)


def measured(it: Watched, kind: str) -> tuple[float, float]:
    """Give how often, and how many seconds together, a type was measured."""
    name = "propagation_seconds"
    return it.plane.metric(f"{name}_count", type=kind), it.plane.metric(f"{name}_sum", type=kind)


async def in_step(it: Watched, listener: int = 1) -> None:
    """Bring the client to where it has all of a snapshot."""
    it.plane.publish(world(listeners={"l": listener}))
    await it.call.write(delta(LISTENER, node=NODE))
    await it.call.write(ack(await it.call.read()))
    await until(lambda: it.plane.synced == 1)


async def test_from_publication_to_ack() -> None:
    """The client's own time to answer is in it."""
    async with watched() as it:
        await in_step(it)
        before, began = measured(it, "lds"), time.monotonic()
        it.plane.publish(world(listeners={"l": 2}))
        response = await it.call.read()
        await asyncio.sleep(PAUSE)
        await it.call.write(ack(response))
        await until(lambda: measured(it, "lds")[0] == before[0] + 1)
        assert PAUSE <= measured(it, "lds")[1] - before[1] <= time.monotonic() - began


async def test_a_type_that_waits_for_another_is_measured_from_the_publication() -> None:
    """Routes wait for the clusters' ACK: to a client that is a part of how long the change took."""
    async with watched() as it:
        it.plane.publish(world(clusters=["a"], routes=["r"]))
        await it.call.write(delta(CLUSTER, node=NODE))
        await it.call.write(ack(await it.call.read()))
        await it.call.write(delta(ROUTES, subscribe=["r"]))
        await it.call.write(ack(await it.call.read()))
        await until(lambda: measured(it, "rds")[0] == 1)
        before = measured(it, "rds")[1]
        it.plane.publish(world(clusters=["a", "b"], routes={"r": 2}))
        clusters = await it.call.read()
        await asyncio.sleep(PAUSE)
        await it.call.write(ack(clusters))
        await it.call.write(ack(await it.call.read()))
        await until(lambda: measured(it, "rds")[0] == 2)
        assert measured(it, "rds")[1] - before >= PAUSE


async def test_who_comes_later_is_measured_from_its_first_request() -> None:
    """What was published an hour before did not take an hour to reach a proxy that starts now."""
    async with watched() as it:
        it.plane.publish(world(listeners=["l"]))
        await asyncio.sleep(PAUSE)
        began = time.monotonic()
        await in_step(it)
        count, seconds = measured(it, "lds")
        assert count == 1
        assert seconds <= time.monotonic() - began


async def test_what_a_proxy_in_step_asks_for_later_is_no_propagation() -> None:
    """A response that answers a new subscription, and no publication, is not measured."""
    async with watched() as it:
        it.plane.publish(world(listeners=["l"], routes=["r"]))
        await it.call.write(delta(LISTENER, node=NODE))
        await it.call.write(ack(await it.call.read()))
        await until(lambda: it.plane.synced == 1)
        await it.call.write(delta(ROUTES, subscribe=["r"]))
        await it.call.write(ack(await it.call.read()))
        await until(lambda: it.plane.metric("acks_total", type="rds") == 1)
        assert measured(it, "rds") == (0, 0)


async def test_a_refusal_is_not_measured() -> None:
    """A NACK propagated nothing; it is counted, and so is the proxy that refuses."""
    async with watched() as it:
        it.plane.publish(world(clusters=["a"]))
        await it.call.write(delta(CLUSTER, node=NODE))
        await it.call.write(nack(await it.call.read()))
        await until(lambda: it.plane.metric("nacks_total", type="cds") == 1)
        await until(lambda: sum(bool(proxy.rejections) for proxy in it.plane.fleet) == 1)
        assert measured(it, "cds") == (0, 0)
        assert it.plane.metric("acks_total", type="cds") == 0


async def test_what_is_served_is_read_when_asked() -> None:
    """Resources by type, publications that changed something, and how many proxies are in step."""
    zones, registry = Distributions(Zoning(together=True), canary_seconds=0), CollectorRegistry()
    registry.register(ServedCollector(zones, Fleet(), lambda: 2))

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"igw_xds_{name}", labels)

    def publish(snapshot: Snapshot) -> None:
        zones.publish({"": snapshot}, NO_RESOURCES)

    assert (value("snapshots_total"), value("snapshot_resources", type="cds")) == (0, 0)
    publish(world(clusters=["a", "b"], routes=["r"]))
    publish(world(clusters=["a", "b"], routes=["r"]))
    assert value("snapshots_total") == 1
    assert (value("snapshot_resources", type="cds"), value("snapshot_resources", type="rds")) == (2, 1)
    assert (value("synced_proxies"), value("refusing_proxies"), value("definition_errors")) == (0, 0, 2)
    zones.close()
