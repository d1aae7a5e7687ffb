"""The client status discovery service over real gRPC on loopback, beside the streams that it tells of."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import grpc.aio
import pytest
from envoy.admin.v3.config_dump_shared_pb2 import ClientResourceStatus
from envoy.config.core.v3.base_pb2 import Node
from envoy.service.status.v3.csds_pb2 import ClientStatusRequest, ConfigStatus
from envoy.service.status.v3.csds_pb2_grpc import ClientStatusDiscoveryServiceStub
from envoy.type.matcher.v3.node_pb2 import NodeMatcher
from envoy.type.matcher.v3.regex_pb2 import RegexMatcher
from envoy.type.matcher.v3.string_pb2 import StringMatcher
from envoy.type.matcher.v3.struct_pb2 import StructMatcher
from igw_ops.grpc.wire import GrpcStatus
from igw_xds import csds
from igw_xds.snapshot import CLUSTER, ENDPOINTS, LISTENER

from tests.unit.xds_stream.builders import ack, content, delta, nack, world
from tests.unit.xds_stream.loopback import Plane, serving

ACKED, NACKED, REQUESTED, ABSENT = (
    ClientResourceStatus.ACKED,
    ClientResourceStatus.NACKED,
    ClientResourceStatus.REQUESTED,
    ClientResourceStatus.DOES_NOT_EXIST,
)


@pytest.fixture
async def plane() -> AsyncIterator[Plane]:
    """Give a running control plane that has published nothing."""
    async with serving() as plane:
        yield plane


@pytest.fixture
async def stub(plane: Plane) -> AsyncIterator[Any]:
    """Give a client of the service."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{plane.server.port}") as channel:
        yield ClientStatusDiscoveryServiceStub(channel)


async def connect(plane: Plane, name: str = "envoy-1", type_url: str = CLUSTER) -> Any:
    """Connect a proxy that asks for all of a type; give its stream and the response that it has not answered."""
    call = plane.call("delta")
    await call.write(delta(type_url, node=Node(id=name)))
    return call, await call.read()


def named(*names: str, **more: Any) -> ClientStatusRequest:
    """Ask for proxies by their ids."""
    return ClientStatusRequest(
        node_matchers=[NodeMatcher(node_id=StringMatcher(exact=name)) for name in names], **more
    )


async def told(stub: Any, request: ClientStatusRequest) -> dict[tuple[str, str], Any]:
    """Give what is told of one proxy, by type and name."""
    [config] = (await stub.FetchClientStatus(request)).config
    return {(one.type_url, one.name): one for one in config.generic_xds_configs}


async def until(stub: Any, expected: dict[tuple[str, str], tuple[Any, ...]]) -> dict[tuple[str, str], Any]:
    """Wait until status and version of each resource are these."""
    async with asyncio.timeout(5):
        while True:
            found = await told(stub, named("envoy-1"))
            known = {
                key: (one.client_status, one.config_status, one.version_info) for key, one in found.items()
            }
            if known == expected:
                return found
            await asyncio.sleep(0.01)


async def test_each_resource_has_its_status(plane: Plane, stub: Any) -> None:
    """Sent and not answered, accepted, refused and kept, newer to come, asked for and not there: each is told."""
    plane.publish(world(clusters=["a", "b"]))
    call, response = await connect(plane)
    await call.write(delta(ENDPOINTS, subscribe=["nothing"]))
    one, two = content("a").version, content("b", 2).version
    awaited = {(CLUSTER, name): (REQUESTED, ConfigStatus.NOT_SENT, "") for name in "ab"}
    absent = {(ENDPOINTS, "nothing"): (ABSENT, ConfigStatus.SYNCED, "")}
    await until(stub, awaited | absent)
    await call.write(ack(response))
    held = {(CLUSTER, name): (ACKED, ConfigStatus.SYNCED, content(name).version) for name in "ab"}
    found = await until(stub, held | absent)
    assert found[CLUSTER, "a"].xds_config == content("a").body
    plane.publish(world(clusters={"a": 1, "b": 2}))
    stale = {(CLUSTER, "b"): (ACKED, ConfigStatus.STALE, content("b").version)}
    await until(stub, held | absent | stale)
    while (response := await call.read()).type_url != CLUSTER:
        await call.write(ack(response))
    await call.write(nack(response, error="no such filter"))
    refused = {(CLUSTER, "b"): (NACKED, ConfigStatus.ERROR, content("b").version)}
    found = await until(stub, held | absent | refused)
    error = found[CLUSTER, "b"].error_state
    assert (error.details, error.version_info) == ("no such filter", two)
    assert (error.failed_configuration, found[CLUSTER, "b"].xds_config) == (
        *(content("b", 2).body,),
        content("b").body,
    )
    assert one != two


async def test_contents_are_told_of_named_proxies_alone(plane: Plane, stub: Any) -> None:
    """And not where a request says that it wants none: all of a fleet's would be more than anybody reads."""
    plane.publish(world(listeners=["l"]))
    call, response = await connect(plane, type_url=LISTENER)
    await call.write(ack(response))
    await until(stub, {(LISTENER, "l"): (ACKED, ConfigStatus.SYNCED, content("l").version)})
    prefix = ClientStatusRequest(node_matchers=[NodeMatcher(node_id=StringMatcher(prefix="envoy"))])
    contents = [
        (await told(stub, request))[LISTENER, "l"].HasField("xds_config")
        for request in (
            named("envoy-1"),
            named("envoy-1", exclude_resource_contents=True),
            ClientStatusRequest(),
            prefix,
        )
    ]
    assert contents == [True, False, False, False]


@pytest.mark.parametrize(
    ("matchers", "found"),
    [
        ([], ["a-1", "a-2", "b-1"]),
        ([StringMatcher(exact="a-1")], ["a-1"]),
        ([StringMatcher(exact="A-1")], []),
        ([StringMatcher(exact="A-1", ignore_case=True)], ["a-1"]),
        ([StringMatcher(prefix="a-")], ["a-1", "a-2"]),
        ([StringMatcher(suffix="-1")], ["a-1", "b-1"]),
        ([StringMatcher(contains="-")], ["a-1", "a-2", "b-1"]),
        ([StringMatcher(exact="b-1"), StringMatcher(exact="a-2")], ["a-2", "b-1"]),
    ],
)
async def test_matchers(plane: Plane, stub: Any, matchers: list[StringMatcher], found: list[str]) -> None:
    """By the node's id, any of several; the answer is in the order of the ids."""
    plane.publish(world(clusters=["a"]))
    for name in ("b-1", "a-2", "a-1"):
        await connect(plane, name)
    request = ClientStatusRequest(node_matchers=[NodeMatcher(node_id=matcher) for matcher in matchers])
    answer = await stub.FetchClientStatus(request)
    assert [config.node.id for config in answer.config] == found


@pytest.mark.parametrize(
    "matcher",
    [
        NodeMatcher(),
        NodeMatcher(node_id=StringMatcher()),
        NodeMatcher(node_id=StringMatcher(safe_regex=RegexMatcher(regex="(a+)+$"))),
        NodeMatcher(node_id=StringMatcher(exact="a"), node_metadatas=[StructMatcher()]),
    ],
)
async def test_a_matcher_that_is_not_understood_is_refused(
    plane: Plane, stub: Any, matcher: NodeMatcher
) -> None:
    """It is not taken for one that matches all, or nothing; nor is a stranger's regular expression run."""
    plane.publish(world(clusters=["a"]))
    await connect(plane)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.FetchClientStatus(ClientStatusRequest(node_matchers=[matcher]))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_stream_answers_one_request_after_the_other(plane: Plane, stub: Any) -> None:
    """Each request is answered as things are then; the client's end is the stream's, behind the last answer."""
    plane.publish(world(clusters=["a"]))
    call = stub.StreamClientStatus()
    await call.write(named("envoy-1"))
    assert len((await call.read()).config) == 0
    await connect(plane)
    for _ in range(3):
        await call.write(named("envoy-1"))
    await call.done_writing()
    assert [len((await call.read()).config) for _ in range(3)] == [1, 1, 1]
    assert await call.read() is grpc.aio.EOF
    assert await call.code() is grpc.StatusCode.OK


async def test_an_answer_is_bounded(plane: Plane, stub: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """In proxies and in bytes; one proxy alone that is beyond is refused, and the client told what helps."""
    plane.publish(world(clusters=[f"shared-{number}" for number in range(1000)]))
    for name in ("a", "b", "c"):
        call, response = await connect(plane, name)
        await call.write(ack(response))
    every = await stub.FetchClientStatus(named("a"))
    size = every.ByteSize()
    monkeypatch.setattr(csds, "MAX_CLIENTS", 2)
    assert len((await stub.FetchClientStatus(ClientStatusRequest())).config) == 2
    monkeypatch.setattr(csds, "MAX_BYTES", 3 * size // 2)
    assert [c.node.id for c in (await stub.FetchClientStatus(named("a", "b"))).config] == ["a"]
    monkeypatch.setattr(csds, "MAX_BYTES", size // 2)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.FetchClientStatus(named("a"))
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "exclude_resource_contents" in str(refused.value.details())


@dataclass
class Unread:
    """A call whose client does not read."""

    path: str = next(path for path, once in csds.METHODS.items() if not once)
    peer: str = ""
    transport: Any = None
    blocked: bool = True
    sent: list[bytes] = field(default_factory=list)
    status: GrpcStatus | None = None

    def send(self, *parts: bytes) -> None:
        """Keep a message."""
        self.sent.append(b"".join(parts))

    def end(self, status: GrpcStatus = GrpcStatus.OK, message: str = "") -> None:
        """Keep the end."""
        del message
        self.status = status


async def test_who_asks_and_does_not_read_has_one_answer(plane: Plane) -> None:
    """The next is made when that has left us; of many requests that wait, and of many that ask, some are refused."""
    opened = csds.opening(plane.fleet)
    wires = [Unread() for _ in range(csds.MAX_AT_ONCE + 1)]
    calls = [opened(wire) for wire in wires]
    ask = named("envoy-1").SerializeToString()
    for call in calls:
        assert call is not None
        for _ in range(3):
            call.receive(ask)
        await asyncio.sleep(0.01)
    assert [(len(wire.sent), wire.status) for wire in wires] == [
        *([(1, None)] * csds.MAX_AT_ONCE),
        (0, GrpcStatus.RESOURCE_EXHAUSTED),
    ]
    late = Unread()
    first, second, third = calls[0], calls[1], opened(late)
    assert first is not None
    assert second is not None
    assert third is not None
    wires[0].blocked = False
    first.writable()
    await asyncio.sleep(0.01)
    assert (len(wires[0].sent), wires[0].status) == (3, None)
    for _ in range(csds.MAX_WAITING + 1):
        second.receive(ask)
    await asyncio.sleep(0.01)
    assert (len(wires[1].sent), wires[1].status) == (1, GrpcStatus.RESOURCE_EXHAUSTED)
    third.receive(ask)
    await asyncio.sleep(0.01)
    assert (len(late.sent), late.status) == (1, None)
    for call in (*calls, third):
        assert call is not None
        call.ended()


async def test_who_leaves_before_its_answer_is_begun_keeps_nobody_out(plane: Plane) -> None:
    """A request and its stream's end may come in one read: no answer is on its way then."""
    opened = csds.opening(plane.fleet)
    for _ in range(csds.MAX_AT_ONCE):
        call = opened(Unread())
        assert call is not None
        call.receive(b"")
        call.ended()
    await asyncio.sleep(0)
    wire = Unread(blocked=False)
    last = opened(wire)
    assert last is not None
    last.receive(b"")
    await asyncio.sleep(0.01)
    assert (wire.sent, wire.status) == ([b""], None)


async def test_what_is_no_request(plane: Plane) -> None:
    """Bytes that are no message end the call, and nothing else."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{plane.server.port}") as channel:
        ask = channel.unary_unary(next(path for path, once in csds.METHODS.items() if once))
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await ask(b"\xff")
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert await ask(b"") == b""


async def test_a_client_whose_version_is_no_number_is_told_like_others(plane: Plane, stub: Any) -> None:
    """GRPC's own client says its version in words; nobody's answer may fail for that."""
    plane.publish(world(clusters=["a"]))
    call = plane.call("delta")
    node = Node(id="words", user_agent_name="gRPC C-core", user_agent_version="C-core 51.0.0")
    await call.write(delta(CLUSTER, node=node))
    await until_connected(plane)
    [client] = (await stub.FetchClientStatus(ClientStatusRequest())).config
    assert (client.node.id, client.node.user_agent_version) == ("words", "C-core 51.0.0")
    assert not client.node.HasField("user_agent_build_version")


async def until_connected(plane: Plane) -> None:
    """Wait until a proxy has said who it is."""
    async with asyncio.timeout(5):
        while not len(plane.fleet):  # noqa: ASYNC110 - nothing tells a test
            await asyncio.sleep(0.005)
