"""The agent on its socket, between a client that speaks as Envoy does and a control plane that says what it is told."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse
from igw_agent import channel
from igw_agent.cache import NOTHING, Contents
from igw_agent.disk import Disk
from igw_agent.pipe import Answering
from igw_agent.server import Settings, serving

from tests.unit.agent.talk import CLUSTER, LISTENER, ROOTS, kept, request, response

KEPT = {**kept(CLUSTER, a="1", b="1"), **kept(LISTENER, ingress="1")}
UNKNOWN_FIELD = b"\xfa\x7f\x03abc"
"""Of a later version of the protocol: field 2047."""


def answering(contents: Contents) -> Answering:
    """Give a stream that answers each first request of a type with all of it."""

    def answer(data: bytes) -> list[bytes]:
        asked = DeltaDiscoveryRequest.FromString(data)
        if asked.response_nonce:
            return []
        versions = {name: k.version for (url, name), k in contents.items() if url == asked.type_url}
        return [response(asked.type_url, f"cache {asked.type_url}", versions).SerializeToString()]

    return answer


@dataclass
class ControlPlane:
    """What it is asked, call by call, and what it says: both as bytes."""

    port: int = 0
    heard: asyncio.Queue[bytes] = field(default_factory=asyncio.Queue)
    say: asyncio.Queue[bytes | None] = field(default_factory=asyncio.Queue)
    server: Any = None
    calls: int = 0
    """That have not ended."""

    async def start(self) -> None:
        self.server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
        handler = grpc.stream_stream_rpc_method_handler(self._serve)
        self.server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(channel.SERVICE, {channel.METHOD: handler}),)
        )
        self.port = self.server.add_insecure_port(f"127.0.0.1:{self.port}")
        await self.server.start()

    async def asked(self, type_url: str) -> None:
        """Wait until it is asked for a type: it says nothing of its own accord."""
        async with asyncio.timeout(10):
            while DeltaDiscoveryRequest.FromString(await self.heard.get()).type_url != type_url:
                pass

    async def _serve(self, requests: AsyncIterator[bytes], context: Any) -> None:
        async def hear() -> None:
            async for data in requests:
                self.heard.put_nowait(data)

        hearing = asyncio.create_task(hear())
        self.calls += 1
        try:
            while (data := await self.say.get()) is not None:
                await context.write(data)
        finally:
            self.calls -= 1
            hearing.cancel()


class Envoy:
    """A stream of a client's."""

    def __init__(self, call: Any) -> None:
        self.call = call

    async def asks(self, message: DeltaDiscoveryRequest) -> None:
        await self.call.write(message.SerializeToString())

    async def hears(self) -> DeltaDiscoveryResponse:
        async with asyncio.timeout(10):
            return DeltaDiscoveryResponse.FromString(await self.call.read())

    async def acks(self, message: DeltaDiscoveryResponse) -> None:
        await self.asks(DeltaDiscoveryRequest(type_url=message.type_url, response_nonce=message.nonce))

    async def starts(self, control_plane: ControlPlane | None = None) -> dict[str, set[str]]:
        """Ask for all, accept all; give the names that it got. A control plane is told to say `KEPT`."""
        got = {}
        for url in ROOTS:
            await self.asks(request(url))
            if control_plane is not None:
                await control_plane.asked(url)
                [data] = answering(KEPT)(request(url).SerializeToString())
                control_plane.say.put_nowait(data)
            message = await self.hears()
            await self.acks(message)
            got[url] = {r.name for r in message.resources}
        return got

    async def ended(self) -> tuple[grpc.StatusCode, str]:
        async with asyncio.timeout(10):
            return await self.call.code(), await self.call.details()


@pytest.fixture
async def control_plane() -> AsyncIterator[ControlPlane]:
    """A control plane that serves."""
    made = ControlPlane()
    await made.start()
    yield made
    await made.server.stop(None)


@pytest.fixture
def settings(control_plane: ControlPlane, tmp_path: Path) -> Settings:
    """An agent of that control plane's."""
    return Settings(
        socket=tmp_path / "ads",
        host="127.0.0.1",
        port=control_plane.port,
        zone="zone",
        roots=ROOTS,
        folder=tmp_path / "state",
        cache_after=0.5,
    )


@contextlib.asynccontextmanager
async def connected(settings: Settings) -> AsyncIterator[Callable[[], Envoy]]:
    """Run the agent, and give what opens a stream to it."""
    async with serving(settings, answering), grpc.aio.insecure_channel(f"unix:{settings.socket}") as client:
        yield lambda: Envoy(channel.method(client)())


def fill(settings: Settings, contents: Contents) -> None:
    """Leave what an earlier Envoy accepted."""
    disk = Disk(settings.folder, settings.zone)
    disk.load()
    disk.save(contents)
    disk.close()


def found(settings: Settings) -> Contents:
    """Give what a later process would find."""
    disk = Disk(settings.folder, settings.zone)
    try:
        return disk.load().contents
    finally:
        disk.close()


async def written(settings: Settings) -> None:
    """Wait until the file has `KEPT`."""
    async with asyncio.timeout(10):
        while found(settings) != KEPT:  # noqa: ASYNC110 - nobody tells of a file
            await asyncio.sleep(0.05)


async def test_bytes_pass_as_they_are(settings: Settings, control_plane: ControlPlane) -> None:
    """In order, both ways, with what the agent does not know."""
    async with connected(settings) as connect:
        call = connect().call
        up = [request(CLUSTER, str(i)).SerializeToString() + UNKNOWN_FIELD for i in range(20)]
        down = [response(CLUSTER, str(i), {"a": "1"}).SerializeToString() + UNKNOWN_FIELD for i in range(20)]
        for data in up:
            await call.write(data)
        for data in down:
            control_plane.say.put_nowait(data)
        assert [await call.read() for _ in down] == down
        assert [await control_plane.heard.get() for _ in up] == up


async def test_what_envoy_accepted_is_kept(settings: Settings, control_plane: ControlPlane) -> None:
    """Soon after it did, at the end at the latest; what it refused is not."""
    async with connected(settings) as connect:
        envoy = connect()
        await envoy.starts(control_plane)
        control_plane.say.put_nowait(response(CLUSTER, "3", {"a": "2", "c": "2"}).SerializeToString())
        refusal = DeltaDiscoveryRequest(type_url=CLUSTER, response_nonce=(await envoy.hears()).nonce)
        refusal.error_detail.message = "it is bad"
        await envoy.asks(refusal)
        await written(settings)
    assert found(settings) == KEPT


async def test_when_the_control_plane_ends_so_does_envoys_stream(
    settings: Settings, control_plane: ControlPlane
) -> None:
    """Even well: a configuration's stream has no end. The other way round the call is given up."""
    async with connected(settings) as connect:
        envoy = connect()
        await envoy.asks(request())
        control_plane.say.put_nowait(None)
        code, why = await envoy.ended()
        assert (code, why.startswith("the control plane is away")) == (grpc.StatusCode.UNAVAILABLE, True)


async def test_without_a_control_plane_or_a_cache(settings: Settings, control_plane: ControlPlane) -> None:
    """There is nothing to be had."""
    await control_plane.server.stop(None)
    async with connected(settings) as connect:
        envoy = connect()
        await envoy.asks(request())
        assert (await envoy.ended())[0] == grpc.StatusCode.UNAVAILABLE


async def test_a_new_envoy_starts_from_the_cache(settings: Settings, control_plane: ControlPlane) -> None:
    """While the control plane is away; once it is back Envoy is sent away, and says there what it has."""
    fill(settings, KEPT)
    await control_plane.server.stop(None)
    async with connected(settings) as connect:
        envoy = connect()
        assert await envoy.starts() == {CLUSTER: {"a", "b"}, LISTENER: {"ingress"}}
        await asyncio.sleep(0.3)
        assert not envoy.call.done()
        await control_plane.start()
        assert await envoy.ended() == (grpc.StatusCode.UNAVAILABLE, "the control plane is back")
        envoy = connect()
        await envoy.asks(request(CLUSTER, known={"a": "1", "b": "1"}))
        control_plane.say.put_nowait(response(CLUSTER, "1", {"c": "1"}).SerializeToString())
        assert [r.name for r in (await envoy.hears()).resources] == ["c"]
    assert found(settings) == KEPT


async def test_an_envoy_that_has_its_configuration(settings: Settings, control_plane: ControlPlane) -> None:
    """It goes on with that, and is not answered from the cache."""
    async with connected(settings) as connect:
        envoy = connect()
        await envoy.starts(control_plane)
        await written(settings)
        await control_plane.server.stop(None)
        await envoy.ended()
        envoy = connect()
        await envoy.asks(request(CLUSTER, known={"a": "1", "b": "1"}))
        assert (await envoy.ended())[0] == grpc.StatusCode.UNAVAILABLE


async def test_an_envoy_that_has_a_part_of_it(settings: Settings, control_plane: ControlPlane) -> None:
    """It cannot go on with that: the cache has all."""
    fill(settings, KEPT)
    async with connected(settings) as connect:
        envoy = connect()
        await envoy.asks(request(CLUSTER))
        control_plane.say.put_nowait(response(CLUSTER, "1", {"new": "1"}).SerializeToString())
        await envoy.acks(await envoy.hears())
        await asyncio.sleep(0.3)
        await control_plane.server.stop(None)
        await envoy.ended()
        envoy = connect()
        await envoy.asks(request(CLUSTER, known={"new": "1"}))
        assert {r.name for r in (await envoy.hears()).resources} == {"a", "b"}
    assert found(settings) == KEPT


async def test_a_control_plane_that_says_nothing(settings: Settings) -> None:
    """It takes the call: a new Envoy waits for `cache_after`, then it is answered from the cache, with all of it."""
    fill(settings, KEPT)
    async with connected(settings) as connect:
        envoy = connect()
        began = time.monotonic()
        assert (await envoy.starts())[CLUSTER] == {"a", "b"}
        assert time.monotonic() - began > 0.5
        assert (await envoy.ended())[1] == "the control plane is back"


async def test_a_message_that_is_none(settings: Settings, control_plane: ControlPlane) -> None:
    """It ends the stream and nothing else."""
    async with connected(settings) as connect:
        envoy = connect()
        await envoy.asks(request())
        control_plane.say.put_nowait(b"\xff\xff\xff")
        assert await envoy.ended() == (grpc.StatusCode.UNAVAILABLE, "the agent failed")
        async with asyncio.timeout(10):
            while control_plane.calls:  # noqa: ASYNC110 - nothing tells that the call before is given up
                await asyncio.sleep(0.01)
        envoy = connect()
        await envoy.asks(request())
        control_plane.say.put_nowait(response(CLUSTER, "1", {"a": "1"}).SerializeToString())
        assert (await envoy.hears()).nonce == "1"


async def test_nothing_piles_up(settings: Settings, control_plane: ControlPlane) -> None:
    """A client that does not read holds the control plane back."""
    big = response(CLUSTER, "1", {"a": "1"})
    big.system_version_info = "x" * 1_000_000
    async with connected(settings) as connect:
        envoy = connect()
        await envoy.asks(request())
        for _ in range(100):
            control_plane.say.put_nowait(big.SerializeToString())
        left = -1
        while left != control_plane.say.qsize() or left == 100:
            left = control_plane.say.qsize()
            await asyncio.sleep(0.5)
        assert left > 50


async def test_a_folder_that_cannot_be_used(settings: Settings, control_plane: ControlPlane) -> None:
    """There is no cache; all else is as ever."""
    settings.folder.parent.joinpath("state").touch()
    async with connected(settings) as connect:
        envoy = connect()
        await envoy.asks(request())
        control_plane.say.put_nowait(response(CLUSTER, "1", {"a": "1"}).SerializeToString())
        assert (await envoy.hears()).nonce == "1"


async def test_a_path_that_is_too_long(settings: Settings, tmp_path: Path) -> None:
    """It is said what to do about it."""
    long = Settings(tmp_path / ("x" * 100) / "ads", "127.0.0.1", 1, "zone", ROOTS, settings.folder, 1)
    with pytest.raises(OSError, match="TMPDIR"):
        async with serving(long, answering):
            pass
    assert found(settings) == NOTHING
