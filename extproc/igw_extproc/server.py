"""The gRPC shell: reads and writes Envoy's connections, keeps one exchange per stream, counts how each ended.

No await anywhere on the way from bytes to bytes: what one read brings is answered by one write.
"""

import asyncio
import contextlib
from typing import Any

import structlog
from envoy.service.ext_proc.v3 import external_processor_pb2 as ext_proc
from google.protobuf.message import DecodeError
from igw_ops.listening import listening_socket

from igw_extproc.answer import encode
from igw_extproc.connection import Connection, Left, Limits, Opened, Received
from igw_extproc.exchange import Answer, Exchange, Fail, Refuse, Route
from igw_extproc.frames import BrokenError, GrpcStatus
from igw_extproc.settings import Settings
from igw_extproc.tally import ABANDONED, FAILED, ROUTED, Tally

_SLACK_BYTES = 1024 * 1024
"""What a stream may bring beside the body: headers, attributes, metadata."""
_LATE_STREAMS_SECONDS = 0.2
"""How long streams begun before Envoy saw our first GOAWAY may take to arrive."""
_HANG_UP_SECONDS = 0.5
"""How long a peer that has all its answers may take to hang up before we do."""


class Server:
    """Listens for Envoy; `start`, then `close`."""

    def __init__(self, settings: Settings, tally: Tally) -> None:
        """Keep what is needed; nothing listens yet."""
        self._settings = settings
        self._tally = tally
        self._limits = Limits(
            message_bytes=settings.max_body_bytes + _SLACK_BYTES,
            held_bytes=settings.max_held_bytes,
            streams=settings.max_exchanges,
        )
        self._peers: set[_Peer] = set()
        self._listener: asyncio.Server | None = None

    async def start(self) -> int:
        """Listen, and give the port. Raises CannotListenError."""
        listening = listening_socket("extproc, gRPC", self._settings.host, self._settings.port)
        self._listener = await asyncio.get_running_loop().create_server(
            lambda: _Peer(Connection(self._limits), self._tally, self._peers), sock=listening
        )
        bound: int = self._listener.sockets[0].getsockname()[1]
        return bound

    async def close(self, grace_seconds: float) -> None:
        """Take no more connections, let streams end for so long, then hang up; Envoy fails what is left."""
        if self._listener is None:
            return
        self._listener.close()
        for peer in set(self._peers):
            peer.announce_end()
        await asyncio.sleep(min(_LATE_STREAMS_SECONDS, grace_seconds))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_seconds):
                await asyncio.gather(*(peer.end() for peer in self._peers))
        await asyncio.gather(*(peer.hang_up() for peer in self._peers))


class _Peer(asyncio.Protocol):
    """One connection of Envoy's."""

    def __init__(self, connection: Connection, tally: Tally, peers: "set[_Peer]") -> None:
        self._connection = connection
        self._tally = tally
        self._peers = peers
        self._exchanges: dict[int, Exchange] = {}
        self._transport: Any = None
        self._ending = False
        self._quiet = asyncio.Event()
        self._ended = asyncio.Event()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._peers.add(self)
        self._flush()

    def connection_lost(self, _: Exception | None) -> None:
        self._peers.discard(self)
        for _exchange in self._exchanges:
            self._tally.count(ABANDONED)
        self._exchanges.clear()
        self._quiet.set()
        self._ended.set()

    def pause_writing(self) -> None:
        """Read no more from a peer that does not read its answers."""
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        try:
            events = self._connection.receive(data)
        except BrokenError as error:
            structlog.get_logger("igw_extproc").warning("connection broken", reason=error.reason)
            self._flush()
            self._transport.close()
            return
        for event in events:
            match event:
                case Received(stream=stream, message=message):
                    self._receive(stream, message)
                case Opened(stream=stream):
                    self._exchanges[stream] = Exchange()
                case Left(stream=stream):
                    self._leave(stream)
        self._flush()

    def announce_end(self) -> None:
        self._connection.announce_end()
        self._flush()

    async def end(self) -> None:
        """Say which stream was the last, wait until all have ended, and let the peer hang up.

        It gets a moment for that: if we did at once, the connection's end could overtake the last answers.
        """
        self._ending = True
        self._connection.end()
        self._flush()
        await self._quiet.wait()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._ended.wait(), _HANG_UP_SECONDS)

    async def hang_up(self) -> None:
        """End the connection, whatever is unfinished on it."""
        self._transport.abort()
        await self._ended.wait()

    def _receive(self, stream: int, message: bytes) -> None:
        exchange = self._exchanges.get(stream)
        if exchange is None:
            return
        answer = _answer(exchange, message)
        if isinstance(answer, Fail):
            self._connection.fail(stream, GrpcStatus.INVALID_ARGUMENT, answer.reason)
        else:
            self._connection.answer(stream, encode(answer), last=exchange.over)
        if exchange.over:
            del self._exchanges[stream]
            self._tally.count(_outcome(answer))

    def _leave(self, stream: int) -> None:
        if self._exchanges.pop(stream, None) is not None:
            self._connection.fail(stream, GrpcStatus.CANCELLED, "the exchange was not finished")
            self._tally.count(ABANDONED)

    def _flush(self) -> None:
        data = self._connection.output()
        if data:
            self._transport.write(data)
        if self._ending and not self._connection.live:
            self._quiet.set()


def _answer(exchange: Exchange, message: bytes) -> Answer:
    try:
        return exchange.receive(ext_proc.ProcessingRequest.FromString(message))
    except DecodeError:
        return exchange.fail("not a ProcessingRequest")


def _outcome(answer: Answer) -> str:
    match answer:
        case Route():
            return ROUTED
        case Refuse(error=error):
            return error.code
        case _:
            return FAILED
