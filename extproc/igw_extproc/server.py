"""The gRPC shell: Envoy's connections, one exchange for each stream, and a count of how each ended."""

import asyncio
from time import perf_counter
from typing import Any

from igw_ops.accepting import Accepting, accepting
from igw_ops.grpc.wire import GrpcStatus
from igw_ops.guard import Guard
from igw_ops.http2.connection import Began, Content, Ended, Event, Reset
from igw_ops.http2.peer import Peer
from igw_ops.listening import listening_socket

from igw_extproc.answer import encode
from igw_extproc.connection import Connection
from igw_extproc.exchange import Answer, Exchange, Fail, Refuse, Route
from igw_extproc.settings import Settings
from igw_extproc.tally import ABANDONED, FAILED, ROUTED, Tally


class Server:
    """Listens for Envoy; `start`, then `close`."""

    def __init__(self, settings: Settings, tally: Tally) -> None:
        """Keep what is needed; nothing listens yet."""
        self._settings = settings
        self._tally = tally
        self._peers: set[_Peer] = set()
        self._listener: asyncio.Server | Accepting | None = None

    async def start(self, guard: Guard | None = None) -> int:
        """Listen, with a guard over TLS, and give the port. Raises CannotListenError."""
        listening = listening_socket("extproc, gRPC", self._settings.host, self._settings.port)
        self._listener = await accepting(
            listening, lambda: _Peer(self._settings, self._tally, self._peers), guard=guard
        )
        bound: int = self._listener.sockets[0].getsockname()[1]
        return bound

    async def close(self, grace_seconds: float) -> None:
        """Take no more connections, let streams end for so long, then hang up; Envoy fails what is left."""
        if self._listener is None:
            return
        self._listener.close()
        peers = list(self._peers)
        for peer in peers:
            peer.finish()
        if peers:
            await asyncio.wait([peer.closed for peer in peers], timeout=grace_seconds)
        late = list(self._peers)
        for peer in late:
            peer.abort()
        await asyncio.gather(*(peer.closed for peer in late))


class _Peer(asyncio.Protocol):
    """One connection of Envoy's."""

    def __init__(self, settings: Settings, tally: Tally, peers: "set[_Peer]") -> None:
        self._connection = Connection(settings.max_exchanges)
        self._max_body_bytes = settings.max_body_bytes
        self._tally = tally
        self._peers = peers
        self._exchanges: dict[int, Exchange] = {}
        self._begun: dict[int, float] = {}

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._peer = Peer(self._connection, transport, self._take)
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._peers.add(self)

    def connection_lost(self, _: Exception | None) -> None:
        self._peers.discard(self)
        self._peer.lost()
        for stream in list(self._exchanges):
            self._end(stream, ABANDONED)
        self.closed.set_result(None)

    def data_received(self, data: bytes) -> None:
        self._peer.receive(data)

    def pause_writing(self) -> None:
        """Read no more from a peer that does not read its answers."""
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._transport.resume_reading()

    def finish(self) -> None:
        """Let what has begun end, then hang up."""
        self._peer.finish()

    def abort(self) -> None:
        """End the connection, whatever is unfinished on it."""
        self._transport.abort()

    def _take(self, event: Event) -> None:
        match event:
            case Content():
                self._receive(event.stream, event.content)
            case Began():
                self._exchanges[event.stream] = Exchange(self._max_body_bytes)
                if event.ended:
                    self._leave(event.stream)
            case Ended() | Reset():
                self._leave(event.stream)
            case _:
                pass  # headers are not read

    def _receive(self, stream: int, content: bytes) -> None:
        exchange = self._exchanges.get(stream)
        if exchange is None:
            return
        self._begun.setdefault(stream, perf_counter())
        for answer in exchange.receive(content):
            if isinstance(answer, Fail):
                self._connection.fail(stream, answer.status, answer.reason)
            else:
                self._connection.answer(stream, encode(answer), last=exchange.over)
            if exchange.over:
                self._end(stream, _outcome(answer))

    def _leave(self, stream: int) -> None:
        if stream in self._exchanges:
            self._connection.fail(stream, GrpcStatus.CANCELLED, "the exchange was not finished")
            self._end(stream, ABANDONED)

    def _end(self, stream: int, outcome: str) -> None:
        """Count an exchange; a call without a message, as Envoy's health check is, was none."""
        del self._exchanges[stream]
        if (begun := self._begun.pop(stream, None)) is not None:
            self._tally.ended(outcome, perf_counter() - begun)


def _outcome(answer: Answer) -> str:
    match answer:
        case Route():
            return ROUTED
        case Refuse(error=error):
            return error.code
        case _:
            return FAILED
