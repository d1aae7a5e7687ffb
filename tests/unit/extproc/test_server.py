"""The server against gRPC's own client, over a real connection."""

import asyncio
import contextlib
import gc
import logging
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from envoy.service.ext_proc.v3 import external_processor_pb2 as ext_proc
from igw_extproc.server import Server
from igw_extproc.service import serve
from igw_extproc.settings import Settings
from igw_extproc.tally import Tally
from igw_ops.grpc import wire
from igw_ops.http2 import frames

from tests.ports import free_port
from tests.unit.extproc.bodies import varint

MIB = 1024 * 1024
PROCESS = "/envoy.service.ext_proc.v3.ExternalProcessor/Process"
HEADERS = ext_proc.ProcessingRequest(request_headers=ext_proc.HttpHeaders())


def body(content: bytes) -> Any:
    """A whole body as Envoy sends it."""
    return ext_proc.ProcessingRequest(request_body=ext_proc.HttpBody(body=content, end_of_stream=True))


def process(channel: Any) -> Any:
    """`ExternalProcessor.Process` on a channel."""
    return channel.stream_stream(
        PROCESS,
        request_serializer=ext_proc.ProcessingRequest.SerializeToString,
        response_deserializer=ext_proc.ProcessingResponse.FromString,
    )


async def model(call: Any, content: bytes) -> str:
    """The model that one whole exchange gives."""
    stream = call()
    await stream.write(HEADERS)
    assert (await stream.read()).WhichOneof("response") == "request_headers"
    await stream.write(body(content))
    answer = await stream.read()
    assert await stream.read() is grpc.aio.EOF
    assert await stream.code() is grpc.StatusCode.OK
    (option,) = answer.request_body.response.header_mutation.set_headers
    return str(option.header.raw_value.decode())


@dataclass(frozen=True, slots=True)
class Bench:
    """A server, and gRPC's client to it."""

    server: Server
    tally: Tally
    port: int
    process: Any

    async def model(self, content: bytes) -> str:
        """The model that one whole exchange gives."""
        return await model(self.process, content)


@contextlib.asynccontextmanager
async def bench(**settings: Any) -> AsyncIterator[Bench]:
    """Run a server on a free port."""
    tally = Tally()
    server = Server(Settings(port=0, **settings), tally)
    port = await server.start()
    options = [("grpc.max_send_message_length", -1)]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
        yield Bench(server, tally, port, process(channel))
        await server.close(0.1)


async def status(stream: Any) -> grpc.StatusCode:
    """How a stream ends that says no more."""
    with contextlib.suppress(grpc.aio.AioRpcError):
        assert await stream.read() is grpc.aio.EOF
    code: grpc.StatusCode = await stream.code()
    return code


async def until(tally: Tally, outcome: str, number: int = 1) -> None:
    """Wait for an outcome; the test's timeout bounds it."""
    while tally.outcomes().get(outcome, 0) < number:  # noqa: ASYNC110 - counters do not call back
        await asyncio.sleep(0.005)


async def test_an_exchange() -> None:
    """The client that gRPC itself brings gets both answers and a clean end."""
    async with bench() as it:
        assert await it.model(b'{"model":"gpt"}') == "gpt"
        assert it.tally.outcomes() == {"routed": 1}


async def test_a_refusal_ends_the_stream_and_is_counted_by_its_code() -> None:
    """An immediate response is the last word."""
    async with bench() as it:
        stream = it.process()
        await stream.write(HEADERS)
        await stream.read()
        await stream.write(body(b"{"))
        assert (await stream.read()).immediate_response.details == "igw_invalid_json"
        assert await stream.read() is grpc.aio.EOF
        assert it.tally.outcomes() == {"invalid_json": 1}


async def test_ten_megabytes() -> None:
    """A long conversation before `model` is read whole."""
    async with bench() as it:
        assert await it.model(b'{"messages":"' + b"x" * 10_000_000 + b'","model":"gpt"}') == "gpt"


async def test_many_at_once_share_a_connection() -> None:
    """Each exchange gets its own model, whatever the interleaving and the windows."""
    async with bench() as it:
        names = [f"model-{number}" for number in range(300)]
        bodies = [f'{{"messages":"{"x" * 20_000}","model":"{name}"}}'.encode() for name in names]
        assert await asyncio.gather(*map(it.model, bodies)) == names


async def test_a_body_over_the_limit_is_refused() -> None:
    """413, as Envoy says it of one above its own limit; the rest of the body, which still comes, is dropped."""
    async with bench(max_body_bytes=1000) as it:
        stream = it.process()
        await stream.write(HEADERS)
        await stream.read()
        await stream.write(body(b" " * 2_000_000))
        refusal = (await stream.read()).immediate_response
        assert (refusal.status.code, refusal.details) == (413, "igw_request_too_large")
        assert await it.model(b'{"model":"gpt"}') == "gpt"


def resident_bytes() -> int:
    """What this process has in memory of its own, after a collection (proc(5), status)."""
    gc.collect()
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("RssAnon:")[2].split()[0]) * 1024


async def test_large_bodies_are_not_held() -> None:
    """Four bodies of 64 MiB at once, over real connections, the model last: memory stays flat."""
    size, frame = 64 * MIB, b"x" * 16_384

    async def upload(port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        whole = body(b'{"a":"' + b"x" * 1_000 + b'","model":"gpt"}').SerializeToString()
        begin, end = whole[whole.index(b"{") : whole.index(b"x")], whole[whole.rindex(b"x") + 1 :]
        content = len(begin) + size + len(end) - 2
        inner = b"\x0a" + varint(content)
        heading = b"\x22" + varint(len(inner) + content + 2) + inner
        first = wire.prefix(len(heading) + content + 2) + heading + begin
        writer.write(frames.PREFACE + frames.settings({}) + frames.frame(frames.HEADERS, 4, 1))
        writer.write(frames.frame(frames.DATA, 0, 1, wire.message(HEADERS.SerializeToString()) + first))
        for _ in range(size // len(frame)):
            writer.write(frames.frame(frames.DATA, 0, 1, frame))
            await writer.drain()
        writer.write(frames.frame(frames.DATA, 0, 1, end))
        seen = b""
        while b"gpt" not in seen:
            seen += await reader.read(65_536)
        writer.close()

    async with bench(max_body_bytes=2 * size) as it:
        await upload(it.port)
        before = resident_bytes()
        await asyncio.gather(*(upload(it.port) for _ in range(4)))
        assert resident_bytes() - before < 32 * MIB
        assert it.tally.outcomes() == {"routed": 5}


async def test_a_surprise_fails_the_stream() -> None:
    """A stream closed with OK would let the request through, so it never is."""
    async with bench() as it:
        stream = it.process()
        await stream.write(HEADERS)
        await stream.read()
        await stream.write(HEADERS)
        assert await status(stream) is grpc.StatusCode.INVALID_ARGUMENT
        assert it.tally.outcomes() == {"failed": 1}


async def test_bytes_that_are_no_message_fail_the_stream() -> None:
    """Another service's messages, or garbage, are not a ProcessingRequest."""
    async with bench() as it, grpc.aio.insecure_channel(f"127.0.0.1:{it.port}") as channel:
        stream = channel.stream_stream("/x/Y")()
        await stream.write(b"\xff\xff")
        assert await status(stream) is grpc.StatusCode.INVALID_ARGUMENT


async def test_half_closed_before_the_body() -> None:
    """An exchange that the client ends early is not ended with OK."""
    async with bench() as it:
        stream = it.process()
        await stream.write(HEADERS)
        await stream.read()
        await stream.done_writing()
        assert await status(stream) is grpc.StatusCode.CANCELLED
        assert it.tally.outcomes() == {"abandoned": 1}


async def test_a_client_that_goes_away_leaves_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """A reset stream or connection is counted, forgotten, and not worth a line in the log."""
    caplog.set_level(logging.DEBUG)
    async with bench() as it:
        for _ in range(20):
            stream = it.process()
            await stream.write(HEADERS)
            await stream.read()
            stream.cancel()
        await until(it.tally, "abandoned", 20)
        assert [peer._connection.live for peer in it.server._peers] == [0]
        assert [len(peer._exchanges) for peer in it.server._peers] == [0]
        async with grpc.aio.insecure_channel(
            f"127.0.0.1:{it.port}", [("grpc.use_local_subchannel_pool", 1)]
        ) as other:
            stream = process(other)()
            await stream.write(HEADERS)
            await stream.read()
        await until(it.tally, "abandoned", 21)
    assert not [record for record in caplog.records if record.levelno > logging.INFO]
    assert it.server._peers == set()


async def test_a_connection_that_breaks_is_counted() -> None:
    """Envoy may die in the middle of an exchange."""
    async with bench() as it:
        _, writer = await asyncio.open_connection("127.0.0.1", it.port)
        writer.write(
            frames.PREFACE
            + frames.settings({})
            + frames.frame(frames.HEADERS, frames.END_HEADERS, 1)
            + frames.frame(frames.DATA, 0, 1, wire.message(HEADERS.SerializeToString()))
        )
        await writer.drain()
        writer.close()
        await until(it.tally, "abandoned")
        assert it.server._peers == set()


async def test_a_call_without_a_message_is_no_exchange() -> None:
    """Envoy's health check is answered, with HTTP's 200, and counted as nothing."""
    async with bench() as it, httpx.AsyncClient(http1=False, http2=True) as client:
        answer = await client.get(f"http://127.0.0.1:{it.port}/healthz")
        assert (answer.status_code, it.tally.outcomes()) == (200, {})


async def test_http_1_is_hung_up() -> None:
    """A stray client is told nothing and keeps no connection."""
    async with bench() as it:
        reader, writer = await asyncio.open_connection("127.0.0.1", it.port)
        writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        assert b"\x07\x00\x00\x00\x00\x00" in await reader.read()
        writer.close()


async def test_close_lets_exchanges_end() -> None:
    """An exchange that has begun is answered within the grace; new connections are not taken."""
    async with bench() as it:
        stream = it.process()
        await stream.write(HEADERS)
        await stream.read()
        closing = asyncio.create_task(it.server.close(10))
        await asyncio.sleep(0.3)
        assert not closing.done()
        await stream.write(body(b'{"model":"gpt"}'))
        assert (await stream.read()).WhichOneof("response") == "request_body"
        assert await stream.code() is grpc.StatusCode.OK
        await asyncio.wait_for(closing, 2)


async def test_close_fails_what_outlasts_the_grace() -> None:
    """What is not answered is broken off, not ended with OK."""
    async with bench() as it:
        stream = it.process()
        await stream.write(HEADERS)
        await stream.read()
        await it.server.close(0.1)
        assert await status(stream) is grpc.StatusCode.UNAVAILABLE


async def test_the_process_serves_and_stops() -> None:
    """Ready while serving, exchanges among the metrics; `stop` ends it and leaves no metric behind."""
    settings = Settings(port=free_port(), ops_port=free_port())
    for _ in range(2):
        stop = asyncio.Event()
        running = asyncio.create_task(serve(settings, stop))
        await _ready(settings)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{settings.port}") as channel:
            assert await model(process(channel), b'{"model":"gpt"}') == "gpt"
        async with httpx.AsyncClient() as client:
            metrics = (await client.get(f"http://127.0.0.1:{settings.ops_port}/metrics")).text
        assert 'igw_extproc_exchanges_total{outcome="routed"} 1.0' in metrics
        stop.set()
        await asyncio.wait_for(running, 5)


async def _ready(settings: Settings) -> None:
    async with httpx.AsyncClient() as client:
        while True:
            try:
                assert (await client.get(f"http://127.0.0.1:{settings.ops_port}/readyz")).status_code == 200
            except httpx.ConnectError:
                await asyncio.sleep(0.02)
            else:
                return


@pytest.mark.parametrize("which", ["port", "ops_port"])
async def test_a_port_that_is_taken_is_named(which: str) -> None:
    """The error says which address and what for, and the other listener is closed again."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports = {"port": free_port(), "ops_port": free_port()} | {which: taken.getsockname()[1]}
        with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{ports[which]} "):
            await serve(Settings(**ports), asyncio.Event())
    for port in ports.values():
        socket.create_server(("127.0.0.1", port)).close()
