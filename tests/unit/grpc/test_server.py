"""The server against gRPC's own client, over real connections."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from igw_ops.grpc.server import GrpcStatus, serve
from igw_ops.listening import CannotListenError

from tests.unit.grpc.scene import ECHO, OPTIONS, Scene, scene
from tests.unit.grpc.talk import BEGINNING, begin

BIG = bytes(range(256)) * (45 * 4096)
"""45 MB."""


async def outcome(stream: Any) -> tuple[grpc.StatusCode, str]:
    """How a stream ends that says no more."""
    with contextlib.suppress(grpc.aio.AioRpcError):
        assert await stream.read() is grpc.aio.EOF
    return await stream.code(), await stream.details()


async def said(stream: Any, message: bytes) -> bytes:
    """What comes back."""
    await stream.write(message)
    answer: bytes = await stream.read()
    return answer


async def begun(channel: Any) -> Any:
    """A stream that the service has: the next of its calls."""
    stream = channel.stream_stream(ECHO)()
    assert await said(stream, b"hello") == b"hello"
    return stream


async def test_messages_go_both_ways_until_the_client_ends() -> None:
    """A long conversation on one stream, then half-close, OK, and not a word more to the service."""
    async with scene() as it, it.channel() as channel:
        stream = channel.stream_stream(ECHO)()
        for size in (0, 1, 9, 10, 1000, 16_379, 16_380, 65_530, 65_531, 300_000, 5):
            assert await said(stream, b"x" * size) == b"x" * size
        await stream.done_writing()
        assert await outcome(stream) == (grpc.StatusCode.OK, "")
        call = await it.call()
        assert call.told[-1] == "half-closed"
        assert call.stream.path == ECHO
        assert call.stream.peer.startswith("127.0.0.1:")
        assert call.stream.transport.get_extra_info("sockname")[1] == it.server.port


async def test_many_streams_share_a_connection() -> None:
    """Each gets its own answers, whatever the interleaving."""

    async def talk(stream: Any, number: int) -> None:
        for size in range(0, 60_000, 10_007):
            message = bytes([number]) * size
            assert await said(stream, message) == message
        await stream.done_writing()
        assert (await outcome(stream))[0] is grpc.StatusCode.OK

    async with scene() as it, it.channel() as channel:
        await asyncio.gather(*(talk(channel.stream_stream(ECHO)(), number) for number in range(80)))


async def test_the_synchronous_client() -> None:
    """The one with threads, which ends by a call's iterator."""
    half_way = threading.Event()

    def requests() -> Iterator[bytes]:
        yield b"one"
        half_way.wait(10)
        yield b"two" * 100_000

    def talk(address: str) -> list[bytes]:
        found = []
        with grpc.insecure_channel(address, OPTIONS) as channel:
            for answer in channel.stream_stream(ECHO)(requests()):
                found.append(answer)
                half_way.set()
        return found

    async with scene() as it:
        assert await asyncio.to_thread(talk, it.address) == [b"one", b"two" * 100_000]


@pytest.mark.parametrize("options", [{}, {"grpc.http2.bdp_probe": 0, "grpc.http2.lookahead_bytes": 65_535}])
async def test_45_megabytes_down_while_others_are_served(options: dict[str, int]) -> None:
    """A first sync flows through the client's windows, in its parts, and other streams do not wait for it."""
    async with scene() as it, it.channel(**options) as one, it.channel() as two:
        large, beside, small = [await begun(channel) for channel in (one, one, two)]
        call = await it.call()
        call.stream.send(b"start", BIG, b"end")
        assert call.stream.blocked
        for stream in (beside, small):
            assert await asyncio.wait_for(said(stream, b"on the side"), 5) == b"on the side"
        assert "writable" not in call.told
        assert await large.read() == b"start" + BIG + b"end"
        await call.until("writable")
        assert not call.blocked
        assert call.told.count("writable") == 1


async def test_20_megabytes_up() -> None:
    """A reconnect names every resource."""
    async with scene() as it, it.channel() as channel:
        stream = channel.stream_stream(ECHO)()
        message = BIG[:20_000_000]
        assert await said(stream, message) == message
        assert await said(stream, message[:70_000]) == message[:70_000]


async def test_an_oversized_message_ends_its_stream_alone() -> None:
    """RESOURCE_EXHAUSTED with the sizes; another stream on the connection goes on."""
    async with scene(message_bytes=100_000) as it, it.channel() as channel:
        small, large = await begun(channel), await begun(channel)
        with contextlib.suppress(grpc.aio.AioRpcError):
            await large.write(b"x" * 5_000_000)
        assert await outcome(large) == (
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "a message of 5000000 bytes; 100000 are the most",
        )
        assert await said(small, b"y" * 100_000) == b"y" * 100_000
        assert it.calls[1].told == ["5 bytes", "ended"]


async def test_compressed_messages_are_refused() -> None:
    """Compression: an encoding that the server does not know is UNIMPLEMENTED, with words for people."""
    async with scene() as it, it.channel() as channel:
        stream = channel.stream_stream(ECHO)(compression=grpc.Compression.Gzip)
        await stream.write(b"x" * 10_000)
        code, text = await outcome(stream)
        assert code is grpc.StatusCode.UNIMPLEMENTED
        assert "compressed" in text


@pytest.mark.parametrize(
    ("method", "code", "text"),
    [
        ("/test.Echo/Other", grpc.StatusCode.UNIMPLEMENTED, "there is no method /test.Echo/Other"),
        ("/test.Echo/Broken", grpc.StatusCode.INTERNAL, "the call failed"),
        ("/test.Echo/Busy", grpc.StatusCode.UNAVAILABLE, "come back later"),
    ],
)
async def test_calls_that_end_as_they_begin(method: str, code: grpc.StatusCode, text: str) -> None:
    """Unknown methods, faults of the service, and those that the service ends at once."""
    async with scene() as it, it.channel() as channel:
        assert await outcome(channel.stream_stream(method)()) == (code, text)


async def test_a_fault_of_the_service_ends_one_call() -> None:
    """The service is told, and other calls on the connection go on."""
    async with scene() as it, it.channel() as channel:
        good, bad = await begun(channel), await begun(channel)
        await bad.write(b"fail")
        assert await outcome(bad) == (grpc.StatusCode.INTERNAL, "the call failed")
        assert await said(good, b"two") == b"two"
        assert it.calls[1].told == ["5 bytes", "4 bytes", "ended"]


async def test_a_client_that_cancels_or_goes_away() -> None:
    """The service is told once, and what it sends after that goes nowhere."""
    async with scene() as it:
        async with it.channel() as channel:
            stream = await begun(channel)
            stream.cancel()
            await it.calls[0].until("ended")
            stream = await begun(channel)
        await it.calls[1].until("ended")
        raw = await it.raw(BEGINNING + begin(1, path=ECHO))
        await it.call(2)
        raw.writer.close()
        for call in it.calls:
            await call.until("ended")
            assert call.told.count("ended") == 1
            assert call.stream.blocked
            call.stream.send(b"nothing")
            call.stream.end(GrpcStatus.ABORTED, "nothing")


async def test_the_service_ends_a_call() -> None:
    """With any status and text, behind what it sent, and it is not told of its own end."""
    async with scene() as it, it.channel() as channel:
        stream = await begun(channel)
        call = await it.call()
        call.stream.send(b"last words")
        call.stream.end(GrpcStatus.PERMISSION_DENIED, "nicht für dich: 100 %")
        assert await stream.read() == b"last words"
        assert await outcome(stream) == (grpc.StatusCode.PERMISSION_DENIED, "nicht für dich: 100 %")
        assert call.told == ["5 bytes"]


async def test_close_ends_calls_with_unavailable() -> None:
    """Clients go elsewhere, at once; services are told; the port is free."""
    async with scene() as it, it.channel() as channel:
        streams = [await begun(channel) for _ in range(3)]
        it.calls[0].stream.send(BIG)
        await asyncio.wait_for(it.server.close(5), 2)
        ends = [await outcome(stream) for stream in streams]
        assert [code for code, _ in ends] == [grpc.StatusCode.UNAVAILABLE] * 3
        assert {text for _, text in ends[1:]} == {"the server is going away"}
        assert [call.told[-1] for call in it.calls] == ["ended"] * 3
        socket.create_server(("127.0.0.1", it.server.port)).close()


async def test_a_port_that_is_taken_is_named() -> None:
    """The error says which address and what for."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CannotListenError, match=rf"127\.0\.0\.1:{port} \(xds\)"):
            await serve(lambda _: None, "xds", "127.0.0.1", port)


async def _upload(it: Scene, size: int) -> bytes:
    async with it.channel() as channel:
        return await said(channel.stream_stream(ECHO)(), b"x" * size)


async def test_many_large_messages_all_come() -> None:
    """They take turns over all connections; nobody is forgotten."""
    async with scene(large_at_once=2) as it:
        answers = await asyncio.gather(*(_upload(it, 1_000_000 + number) for number in range(12)))
        assert [len(answer) for answer in answers] == [1_000_000 + number for number in range(12)]
        assert (it.server._shared.turns._held, it.server._shared.turns._waiting) == ({}, {})
