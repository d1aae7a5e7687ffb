"""The discovery server over real gRPC on loopback."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio
import pytest
import structlog
from igw_ops.http2 import frames
from igw_ops.listening import listening_socket
from igw_xds.news import Heard
from igw_xds.server import LIMITS
from igw_xds.session import METHODS
from igw_xds.snapshot import CLUSTER, LISTENER, ROUTES
from igw_xds.stream import Holds

from tests.unit.grpc.talk import BEGINNING, begin
from tests.unit.xds_stream.builders import NODE, ack, content, delta, nack, sent, sotw, world
from tests.unit.xds_stream.loopback import Plane, serving


@pytest.fixture
async def plane() -> AsyncIterator[Plane]:
    """Give a running control plane that has published nothing."""
    async with serving() as plane:
        yield plane


def first_request(transport: str, type_url: str = LISTENER) -> Any:
    """Give a wildcard request with a node."""
    return delta(type_url, node=NODE) if transport == "delta" else sotw(type_url, node=NODE)


async def until(condition: Any) -> None:
    """Wait until the server's side has come so far."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - nothing tells a test when the other side has acted
            await asyncio.sleep(0.005)


@pytest.fixture(params=["delta", "sotw"])
def transport(request: pytest.FixtureRequest) -> str:
    """Give each transport."""
    return str(request.param)


async def test_streams_of_a_connection(plane: Plane) -> None:
    """As many as an Envoy and what stands before it need; more are refused."""
    numbers = range(1, 2 * LIMITS.streams + 2, 2)
    reader, writer = await asyncio.open_connection("127.0.0.1", plane.server.port)
    writer.write(BEGINNING + b"".join(begin(number, path=next(iter(METHODS))) for number in numbers))
    refused = frames.reset(numbers[-1], frames.Http2Error.REFUSED_STREAM)
    assert await asyncio.wait_for(reader.readuntil(refused), 5)
    assert LIMITS.streams == 16
    writer.close()


async def test_a_client_gets_state_changes_and_is_synced(plane: Plane, transport: str) -> None:
    """A stream gets the whole state, then changes, and shows as synced once it acknowledged."""
    plane.publish(world(listeners=["l"]))
    call = plane.call(transport)
    await call.write(first_request(transport))
    response = await call.read()
    assert sent([response]) == [("listeners", ["l:1"], [])]
    await call.write(ack(response))
    await until(lambda: all(proxy.synced for proxy in plane.fleet))
    plane.publish(world(listeners={"l": 2}))
    assert sent([await call.read()]) == [("listeners", ["l:2"], [])]
    [proxy] = plane.fleet
    assert (proxy.id, proxy.transport, proxy.synced) == ("envoy-1", transport, False)


async def test_a_client_that_came_before_the_first_snapshot_waits(plane: Plane, transport: str) -> None:
    """Before the first publish nothing is answered, then everything."""
    call = plane.call(transport)
    await call.write(first_request(transport))
    await until(lambda: len(plane.fleet) == 1)
    plane.publish(world(listeners=["l"]))
    assert sent([await call.read()]) == [("listeners", ["l:1"], [])]


async def test_publishes_are_coalesced(plane: Plane, transport: str) -> None:
    """While an answer is open many publishes become one response."""
    plane.publish(world(listeners=["l"]))
    call = plane.call(transport)
    await call.write(first_request(transport))
    response = await call.read()
    for number in range(2, 100):
        plane.publish(world(listeners={"l": number}))
        await asyncio.sleep(0)
    await call.write(ack(response))
    assert sent([await call.read()]) == [("listeners", ["l:99"], [])]
    assert plane.metric("responses_total", type="lds") == 2


async def test_a_refusal_is_shown_counted_and_logged(plane: Plane, transport: str) -> None:
    """Envoy's own text reaches status and log; metrics have no node in their labels."""
    plane.publish(world(clusters=["a"]))
    call = plane.call(transport)
    with structlog.testing.capture_logs() as logs:
        await call.write(first_request(transport, CLUSTER))
        await call.write(nack(await call.read(), error="no such filter"))
        await until(lambda: any(proxy.rejections for proxy in plane.fleet))
    [shown] = plane.fleet.status()["proxies"]
    assert shown["rejections"] == {"cds": "no such filter"}
    assert (plane.metric("nacks_total", type="cds"), plane.metric("acks_total", type="cds")) == (1, 0)
    [refused] = [line for line in logs if line["event"] == "xds update refused"]
    assert (refused["error"], refused["node"], refused["type"]) == ("no such filter", "envoy-1", "cds")
    assert refused["names"] == ("a",)
    assert shown["lastNack"] | {"at": ""} == {
        "type": "cds",
        "names": ["a"],
        "text": "no such filter",
        "at": "",
    }
    assert shown["lastAck"] is None
    assert plane.news.take() == Heard(answers={CLUSTER: {"a"}}, fleet=True)


async def test_only_what_stands_refused_is_logged(plane: Plane) -> None:
    """Of what was refused together parts are tried; the log names the bad one, once."""
    plane.publish(world(clusters=["a", "b", "c"]))
    call = plane.call("delta")
    with structlog.testing.capture_logs() as logs:
        await call.write(first_request("delta", CLUSTER))
        await call.write(nack(await call.read()))
        for number in range(3):
            tried = await call.read()
            await call.write(nack(tried) if number == 1 else ack(tried))
        await until(lambda: plane.metric("acks_total", type="cds") == 2)
    assert [line["names"] for line in logs if line["event"] == "xds update refused"] == [("b",)]
    assert plane.metric("nacks_total", type="cds") == 2


async def test_routes_that_are_held_back_are_news(plane: Plane, transport: str) -> None:
    """They are not sent, so no answer would tell of them."""
    plane.publish(world(routes=["r"]))
    call = plane.call(transport)
    subscribe = (
        delta(ROUTES, subscribe=["r"], node=NODE) if transport == "delta" else sotw(ROUTES, "r", node=NODE)
    )
    await call.write(subscribe)
    await call.write(ack(await call.read(), "r"))
    await call.write(delta(CLUSTER) if transport == "delta" else sotw(CLUSTER))
    await call.write(ack(await call.read()))
    plane.publish(world(clusters=["a"], routes={"r": 2}, needs={"r": "a"}))
    refused = await call.read()
    plane.news.take()
    await call.write(nack(refused))
    await until(lambda: plane.metric("nacks_total", type="cds") == 1)
    assert plane.news.take().answers == {CLUSTER: {"a"}, ROUTES: {"r"}}


async def test_who_never_said_its_name_is_no_news(plane: Plane, transport: str) -> None:
    """A scan of the port must not have all objects looked at."""
    call = plane.call(transport)
    await until(lambda: plane.server.connections == 1)
    await call.done_writing()
    assert await call.code() == grpc.StatusCode.OK
    assert (len(plane.fleet), plane.metric("connected_proxies")) == (0, 0)
    assert plane.news.take() == Heard()


async def test_answers_and_moves_are_news(plane: Plane, transport: str) -> None:
    """Who reports on objects hears of each answer, of a proxy that has all it was sent, and of one that went."""
    plane.publish(world(listeners=["l"]))
    call = plane.call(transport)
    await call.write(first_request(transport))
    response = await call.read()
    assert plane.news.take() == Heard()
    await call.write(ack(response))
    await until(lambda: all(proxy.synced for proxy in plane.fleet))
    assert plane.news.take() == Heard(answers={LISTENER: {"l"}}, fleet=True)
    [client] = plane.zones.clients("")
    assert (client.count, client.standing(LISTENER, "l")) == (1, Holds(content("l")))
    await call.done_writing()
    await until(lambda: len(plane.fleet) == 0)
    assert plane.news.take() == Heard(fleet=True)


async def test_the_end_of_a_stream_is_forgotten(plane: Plane, transport: str) -> None:
    """When a client ends its stream, or vanishes, nothing of it stays."""
    plane.publish(world(listeners=["l"]))
    ending, vanishing = plane.call(transport), plane.call(transport)
    for call in (ending, vanishing):
        await call.write(first_request(transport))
        await call.read()
    assert (len(plane.fleet), plane.metric("connected_proxies")) == (2, 2)
    await ending.done_writing()
    assert await ending.code() == grpc.StatusCode.OK
    await until(lambda: len(plane.fleet) == 1)
    vanishing.cancel()
    await until(lambda: plane.metric("connected_proxies") == 0)
    assert len(plane.fleet) == 0
    plane.publish(world(listeners={"l": 2}))


async def test_stop_ends_open_streams(plane: Plane, transport: str) -> None:
    """After the grace open streams are cut, so that Envoys turn to another control plane."""
    call = plane.call(transport)
    await call.write(first_request(transport))
    await until(lambda: len(plane.fleet) == 1)
    await plane.server.close(0.05)
    assert await call.code() != grpc.StatusCode.OK
    await until(lambda: len(plane.fleet) == 0)


async def test_a_taken_port_is_an_error(plane: Plane) -> None:
    """Two control planes on one port would share its Envoys by chance."""
    with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{plane.server.port}"):
        listening_socket("xds, gRPC", "127.0.0.1", plane.server.port)


async def test_a_large_reconnect_is_received(plane: Plane) -> None:
    """A delta reconnect names all resources: more than the 4 MiB that gRPC allows by default."""
    plane.publish(world(listeners=["l"]))
    call = plane.call("delta")
    known = {f"{number}-{'x' * 200}": "0123456789abcdef" for number in range(30_000)}
    await call.write(delta(CLUSTER, known=known, node=NODE))
    await call.write(delta(LISTENER))
    assert sent([await call.read()]) == [("clusters", [], [])]


async def test_an_empty_store_takes_nothing_away(plane: Plane) -> None:
    """A proxy that comes with gateways keeps them while none is defined: it may be the wrong store.

    Once a gateway is defined the store is taken for what it is.
    """
    plane.zones.publish({}, world(listeners=["l"]))
    call = plane.call("delta")
    await call.write(delta(CLUSTER, subscribe=["*"], node=NODE, known={"deployment/1": "v1"}))
    await until(lambda: len(plane.fleet) == 1)
    [proxy] = plane.fleet
    assert (proxy.synced, proxy.stray, proxy.reason[:25]) == (False, False, "it came with gateways and")
    fresh = plane.call("delta")
    await fresh.write(first_request("delta"))
    assert sent([await fresh.read()]) == [("listeners", ["l:1"], [])]
    plane.publish(world(clusters=["deployment/2"]))
    assert sent([await call.read()]) == [("clusters", ["deployment/2:1"], [])]
