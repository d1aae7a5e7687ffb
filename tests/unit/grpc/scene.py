"""A server of gRPC with calls that tests hold in their hands, and a raw client beside gRPC's own."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import grpc
from igw_ops.grpc.server import GrpcStatus, Limits, Server, Stream, serve
from igw_ops.http2 import frames
from igw_ops.http2.frames import Frame

from tests.unit.grpc.talk import BEGINNING

ECHO = "/test.Echo/Stream"
OPTIONS = [
    ("grpc.use_local_subchannel_pool", 1),  # a connection for each channel
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
]


@dataclass(eq=False)
class Echo:
    """A call that answers each message with it, ends when the client does, and remembers what it was told."""

    stream: Stream
    told: list[str] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)
    answers: bool = True
    on_writable: Callable[[], None] = lambda: None

    def receive(self, message: bytes) -> None:
        """Answer; `fail` fails."""
        self._tell(f"{len(message)} bytes")
        if message == b"fail":
            raise RuntimeError
        if self.answers:
            self.stream.send(message[:10], message[10:])

    def writable(self) -> None:
        """Remember it."""
        self._tell("writable")
        self.on_writable()

    def half_closed(self) -> None:
        """End, too."""
        self._tell("half-closed")
        self.stream.end()

    def ended(self) -> None:
        """Remember it."""
        self._tell("ended")

    def _tell(self, what: str) -> None:
        self.told.append(what)
        self.news.set()

    @property
    def blocked(self) -> bool:
        """Whether the stream is."""
        return self.stream.blocked

    async def until(self, what: str) -> None:
        """Wait until it was told; the test's timeout bounds it."""
        while what not in self.told:
            self.news.clear()
            await self.news.wait()


@dataclass(frozen=True, slots=True)
class Scene:
    """A server, and all calls that there were."""

    server: Server
    calls: list[Echo]
    news: asyncio.Event

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self.server.port}"

    async def call(self, number: int = 0) -> Echo:
        """Wait for a call."""
        while len(self.calls) <= number:
            self.news.clear()
            await self.news.wait()
        return self.calls[number]

    def channel(self, **options: Any) -> Any:
        """Give a connection of gRPC's own client."""
        return grpc.aio.insecure_channel(self.address, [*OPTIONS, *options.items()])

    async def raw(self, beginning: bytes = BEGINNING) -> "Raw":
        """Give a connection on which bytes are sent."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.server.port)
        writer.write(beginning)
        return Raw(reader, writer)


@dataclass(frozen=True, slots=True)
class Raw:
    """A client that says anything."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def frame(self, kind: int) -> Frame:
        """Wait for a frame of a kind, passing over others."""
        while True:
            head = await self.reader.readexactly(frames.HEADER_BYTES)
            payload = await self.reader.readexactly(int.from_bytes(head[:3], "big"))
            if head[3] == kind:
                return Frame(head[3], head[4], int.from_bytes(head[5:], "big"), payload)


@contextlib.asynccontextmanager
async def scene(**limits: Any) -> AsyncIterator[Scene]:
    """Run a server on a free port."""
    calls: list[Echo] = []
    news = asyncio.Event()

    def opened(stream: Stream) -> Echo | None:
        if stream.path == "/test.Echo/Broken":
            raise RuntimeError
        if stream.path == "/test.Echo/Busy":
            stream.end(GrpcStatus.UNAVAILABLE, "come back later")
            return Echo(stream)
        if stream.path != ECHO:
            return None
        calls.append(Echo(stream))
        news.set()
        return calls[-1]

    server = await serve(opened, "test", "127.0.0.1", 0, Limits(**limits))
    try:
        yield Scene(server, calls, news)
    finally:
        await server.close(0)
