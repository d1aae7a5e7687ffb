"""Proxies over REST, with a real control plane beside the API: who may look, and what there is to see."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from envoy.config.core.v3.base_pb2 import Locality, Node
from igw_xds.inspection import Inspection
from igw_xds.snapshot import CLUSTER, LISTENER, ROUTES, Snapshot

from tests.unit.api.installation import ADMIN, OPERATOR, OTHER, VIEWER, Installation, installation
from tests.unit.xds_stream.builders import ack, content, delta, nack, world
from tests.unit.xds_stream.loopback import Plane, serving

PATHS = ("/proxies", "/proxies/envoy-1", "/proxies/envoy-1/resources", "/proxies/envoy-1/resources/cds/a")
SERVED = world(clusters=["shared"], listeners=["l"], routes={"gateway/1": 2})
"""A refusal of the cluster is a proxy's own affair, one of the routes is contained."""
ENVOY = Node(id="envoy-1", locality=Locality(zone="US-EAST-04A"))


@pytest_asyncio.fixture
async def plane() -> AsyncIterator[Plane]:
    """Give a control plane that serves something."""
    async with serving() as running:
        running.publish(SERVED)
        yield running


@pytest_asyncio.fixture
async def api(plane: Plane) -> AsyncIterator[Installation]:
    """Give an API beside it."""
    async with installation(fleet=Inspection(plane.fleet, plane.zones)) as running:
        yield running


async def connect(plane: Plane, node: Node = ENVOY) -> Any:
    """Connect a proxy that accepts a listener; give its stream."""
    call = plane.call("delta")
    await call.write(delta(LISTENER, node=node))
    await call.write(ack(await call.read()))
    return call


async def shown(api: Installation, proxy: str = "envoy-1", **expected: Any) -> dict[str, Any]:
    """Wait until a proxy is shown so, and give its document without its times."""
    async with asyncio.timeout(5):
        while True:
            found: dict[str, Any] = (await api.call("GET", f"/proxies/{proxy}")).body.get("proxy", {})
            if expected.items() <= found.items():
                return {key: value for key, value in found.items() if key not in {"connectedAt", "lastAck"}}
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("path", PATHS)
async def test_only_an_operator_looks_inside(api: Installation, plane: Plane, path: str) -> None:
    """Neither a viewer nor an organisation's admin sees what is not its own; a roles file's operator does."""
    await connect(plane)
    for token in (VIEWER, OTHER):
        answer = await api.call("GET", path, token=token)
        assert (answer.status, answer.body["code"]) == (403, "permission_denied")
        assert answer.body["message"].endswith("needs the role operator")
    assert (await api.call("GET", path, token=None)).status == 401
    for token in (ADMIN, OPERATOR):
        assert (await api.call("GET", path, token=token)).status in {200, 404}


async def test_a_proxy_is_shown_with_its_state(api: Installation, plane: Plane) -> None:
    """Waiting for an answer, refusing with Envoy's words, in step: as its stream knows it."""
    call = await connect(plane)
    known = {"id": "envoy-1", "zone": "US-EAST-04A", "version": "", "transport": "delta", "canary": False}
    await call.write(delta(CLUSTER))
    response = await call.read()
    waits: dict[str, Any] = {"state": "WAITING", "reason": "has not answered cds", "rejections": {}}
    assert await shown(api, **waits) == known | waits
    await call.write(nack(response, error="no such filter"))
    refuses: dict[str, Any] = {
        "state": "REFUSES",
        "reason": "cds: no such filter",
        "rejections": {"cds": "no such filter"},
    }
    found = await shown(api, **refuses)
    nacked = found.pop("lastNack")
    assert (found, nacked["names"], nacked["text"]) == (
        *(known | refuses, ["shared"]),
        "no such filter",
    )
    plane.publish(world(clusters={"shared": 2}, listeners=["l"]))
    await call.write(ack(await call.read()))
    assert (await shown(api, state="SYNCED"))["rejections"] == {}


async def test_the_list_shows_trouble_first_and_a_zone(api: Installation, plane: Plane) -> None:
    """Who refuses comes before who is in step; a filter takes a zone in any letter case, and counts it alone."""
    plane.publish(world(clusters=["shared"], listeners=["l"]))
    good = await connect(plane, Node(id="a", locality=Locality(zone="eu")))
    await good.write(delta(CLUSTER))
    await good.write(ack(await good.read()))
    bad = await connect(plane, Node(id="b", locality=Locality(zone="us")))
    await bad.write(delta(CLUSTER))
    await bad.write(nack(await bad.read()))
    await shown(api, "a", state="SYNCED")
    await shown(api, "b", state="REFUSES")
    every = (await api.call("GET", "/proxies")).body
    assert [(proxy["id"], proxy["state"]) for proxy in every["items"]] == [("b", "REFUSES"), ("a", "SYNCED")]
    assert (every["connected"], every["synced"], every["omitted"]) == (2, 1, 0)
    some = (await api.call("GET", "/proxies", zone="EU")).body
    assert ([proxy["id"] for proxy in some["items"]], some["connected"], some["synced"]) == (["a"], 1, 1)
    assert (await api.call("GET", "/proxies", zone="nowhere")).body["items"] == []


async def test_what_is_held_back_is_shown_with_its_zone(api: Installation, plane: Plane) -> None:
    """What the first proxy of a zone refuses is given to nobody, so all are in step: the zone tells what and why."""
    call = await connect(plane)
    await call.write(delta(CLUSTER))
    await call.write(ack(await call.read()))
    await call.write(delta(ROUTES, subscribe=["gateway/1"]))
    await call.write(nack(await call.read(), error="no such cluster"))
    await shown(api, state="SYNCED")
    [zone] = (await api.call("GET", "/proxies")).body["zones"]
    [refused] = zone["refused"]
    assert refused.pop("at")
    expected = {"type": "rds", "name": "gateway/1", "proxy": "envoy-1", "text": "no such cluster"}
    assert (refused, zone["known"], zone["proxies"]) == (expected, True, 1)
    listed = (await api.call("GET", "/proxies/envoy-1/resources")).body
    assert (listed["resources"]["rds"], listed["withheld"]) == ({}, {"rds": ["gateway/1"]})


async def test_what_a_proxy_should_run(api: Installation, plane: Plane) -> None:
    """Versions by type and name; a resource's content under any spelling of its name in a path."""
    await connect(plane)
    version = content("gateway/1", 2).version
    assert (await api.call("GET", "/proxies/envoy-1/resources")).body == {
        "id": "envoy-1",
        "zone": "US-EAST-04A",
        "version": SERVED.version,
        "resources": versions(SERVED),
        "withheld": {},
    }
    expected = {
        "type": "rds",
        "name": "gateway/1",
        "version": version,
        "content": {"@type": CLUSTER, "name": "gateway/1", "alt_stat_name": "2"},
    }
    for name in ("gateway/1", "gateway%2F1"):
        found = await api.client.get(
            f"/v1alpha1/inference/proxies/envoy-1/resources/rds/{name}",
            headers={"authorization": f"Bearer {OPERATOR}"},
        )
        assert (found.status_code, found.json()) == (200, {"resource": expected})


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("/proxies?zone=a&zone=b", 400, "zone: must be given once"),
        ("/proxies?state=SYNCED", 400, "state: unknown field"),
        ("/proxies/nobody", 404, "proxy nobody not found"),
        ("/proxies/nobody/resources", 404, "proxy nobody not found"),
        ("/proxies/nobody/resources/cds/a", 404, "proxy nobody not found"),
        ("/proxies/envoy-1/resources/cds/a", 404, "cds a not found"),
        ("/proxies/envoy-1/resources/vhds/a", 400, "type: must be one of cds, eds, sds, lds, srds, rds"),
    ],
)
async def test_what_there_is_not(
    api: Installation, plane: Plane, path: str, status: int, message: str
) -> None:
    """An unknown proxy, type, name or filter is named."""
    await connect(plane)
    await shown(api)
    answer = await api.call("GET", path)
    assert (answer.status, answer.body["message"]) == (status, message)


async def test_of_two_streams_of_one_proxy_the_newer_counts(api: Installation, plane: Plane) -> None:
    """Both are listed, as at a reconnect; by its id the newer is found, and once it left the older."""
    await connect(plane, Node(id="envoy-1", locality=Locality(zone="old")))
    newer = await connect(plane)
    assert (await shown(api, zone="US-EAST-04A"))["id"] == "envoy-1"
    assert len((await api.call("GET", "/proxies")).body["items"]) == 2
    newer.cancel()
    await shown(api, zone="old")


def versions(snapshot: Snapshot) -> dict[str, dict[str, str]]:
    """Give the versions of a snapshot's resources as the API does."""
    names = ("cds", "eds", "sds", "lds", "srds", "rds")
    every = snapshot.resources.values()
    return {
        short: {name: one.version for name, one in some.items()}
        for short, some in zip(names, every, strict=True)
    }
