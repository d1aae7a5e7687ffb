"""The asyncio shell of one connection: what one read brings is answered by one write. No task, no await, no timer."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import structlog

from igw_ops.grpc.call import Call, Limits, Opening
from igw_ops.grpc.connection import (
    Arrived,
    Begun,
    Connection,
    Event,
    HalfClosed,
    Large,
    Left,
    Opened,
    Received,
)
from igw_ops.grpc.turns import Turns
from igw_ops.grpc.unfinished import Unfinished
from igw_ops.grpc.wire import GrpcStatus
from igw_ops.guard import peer_text
from igw_ops.http2.frames import BrokenError

_CONTROL_BYTES: Final = 64 * 1024
"""Of pongs and refusals for a peer that reads nothing; with more it is hung up on."""

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Shared:
    """What all connections of one server share."""

    open: Opening
    limits: Limits
    turns: "Turns[tuple[Peer, int]]"
    unfinished: "Unfinished[tuple[Peer, int]]"
    nobody: asyncio.Event
    """Set while there is no connection."""
    peers: "set[Peer]" = field(default_factory=set)
    closing: bool = False


class _Stream:
    """One call on the wire (`igw_ops.grpc.call.Stream`), and what the service made of it."""

    __slots__ = ("_number", "_peer", "call", "path")

    def __init__(self, peer: "Peer", number: int, path: str) -> None:
        self._peer = peer
        self._number = number
        self.path = path
        self.call: Call | None = None

    @property
    def peer(self) -> str:
        return self._peer.name

    @property
    def transport(self) -> Any:
        return self._peer.transport

    @property
    def blocked(self) -> bool:
        return self._peer.connection.outgoing.blocked(self._number)

    def send(self, *parts: bytes) -> None:
        self._peer.connection.send(self._number, parts)
        self._peer.said()

    def end(self, status: GrpcStatus = GrpcStatus.OK, message: str = "") -> None:
        self._peer.end(self._number, status, message)


class Peer(asyncio.Protocol):
    """One client's connection."""

    __slots__ = (
        "_busy",
        "_counted",
        "_going_on",
        "_heard",
        "_heard_at",
        "_held",
        "_loop",
        "_pinged_at",
        "_shared",
        "_streams",
        "_unread",
        "connection",
        "transport",
    )

    def __init__(self, shared: Shared) -> None:
        """Begin before the connection is made."""
        self._shared = shared
        self._loop = asyncio.get_running_loop()
        self._streams: dict[int, _Stream] = {}
        self._busy = self._going_on = self._held = False
        self._unread = 0
        """What was sent while the socket was full."""
        self._counted = 0
        """What `Unfinished.held` has of our connection's."""
        self._heard = False
        self._heard_at = self._loop.time()
        self._pinged_at: float | None = None
        self.transport: Any = None
        self.connection = Connection(shared.limits.streams, shared.limits.message_bytes)

    @property
    def name(self) -> str:
        """Give the client's address."""
        return peer_text(self.transport.get_extra_info("peername"))

    def connection_made(self, transport: Any) -> None:
        """Take the connection, if there are not too many."""
        self.transport = transport
        if self._shared.closing or len(self._shared.peers) >= self._shared.limits.connections:
            log.warning("connection refused", peer=self.name)
            transport.abort()
            return
        self._shared.peers.add(self)
        self._shared.nobody.clear()
        self._flush()

    def connection_lost(self, _: Exception | None) -> None:
        """Tell all calls."""
        self._leave_all()
        self._count()
        self._shared.peers.discard(self)
        if not self._shared.peers:
            self._shared.nobody.set()

    def data_received(self, data: bytes) -> None:
        """Take what the client sent, and answer it at once."""
        self._heard = self._busy = True
        try:
            for event in self.connection.receive(data):
                if type(event) is Received:  # nearly all are
                    self._receive(event.stream, event.message)
                else:
                    self._take(event)
        except BrokenError as error:
            self._break_off(error)
        self._busy = False
        if self.connection.held > self._counted:
            self._make_room()
        self._flush()

    def pause_writing(self) -> None:
        """Make nothing more of what waits to be sent."""
        self._held = True
        self.connection.outgoing.hold()

    def resume_writing(self) -> None:
        """Go on: a client that reads is alive."""
        self._held, self._unread, self._heard = False, 0, True
        self.connection.outgoing.resume()
        self.said()

    def said(self) -> None:
        """Send what there is to send, unless the end of a read will."""
        if not self._busy:
            self._flush()

    def end(self, number: int, status: GrpcStatus, text: str) -> None:
        """End a call."""
        if self._streams.pop(number, None) is not None:
            self.connection.end(number, status, text)
            self._release(number)
            self.said()

    def refuse(self, number: int, status: GrpcStatus, text: str) -> None:
        """End a call for a message of it that is not whole, and tell it."""
        self.connection.end(number, status, text)
        self._leave(number)
        self.said()

    def admit(self, number: int) -> None:
        """Let a call's large message come."""
        self.connection.admit(number)
        self.said()

    def check(self, now: float) -> None:
        """Ask a silent client for a sign of life, and hang up on one that gave none."""
        limits = self._shared.limits
        if self._heard:
            self._heard, self._heard_at, self._pinged_at = False, now, None
        elif self._pinged_at is not None:
            if now - self._pinged_at >= limits.ping_timeout_seconds:
                log.info("connection silent", peer=self.name)
                self.transport.abort()
        elif now - self._heard_at >= limits.ping_seconds:
            self._pinged_at = now
            self.connection.ping()
            self.said()

    def send_away(self) -> None:
        """Ask the client to go elsewhere with calls that it has not begun."""
        self.connection.announce_end()
        self.said()

    def finish(self) -> None:
        """End all calls, and ask the client to go elsewhere."""
        self.connection.finish(GrpcStatus.UNAVAILABLE, "the server is going away")
        self._leave_all()
        self.said()

    def _flush(self) -> None:
        if self.connection.held != self._counted:
            self._count()
        data = self.connection.output()
        if data and not self.transport.is_closing():  # aborted, and `connection_lost` is to come
            self._write(data)
        if not self._going_on and self.connection.outgoing.more:
            self._going_on = True
            self._loop.call_soon(self._go_on)

    def _write(self, data: bytes) -> None:
        if self._held:
            self._unread += len(data)
            if self._unread > _CONTROL_BYTES:
                log.warning("connection does not read", peer=self.name)
                self.transport.abort()
                return
        self.transport.write(data)

    def _go_on(self) -> None:
        """Send the next batch, and tell calls that are not blocked any more; others had their turn."""
        self._going_on, self._busy = False, True
        self.connection.outgoing.fill()
        for number in self.connection.outgoing.freed():
            if (stream := self._streams.get(number)) is not None and stream.call is not None:
                self._tell(number, stream.call.writable)
        self._busy = False
        self._flush()

    def _take(self, event: Event) -> None:
        match event:
            case Opened(number, path):
                self._open(number, path)
            case HalfClosed(number):
                if (stream := self._streams.get(number)) is not None and stream.call is not None:
                    self._tell(number, stream.call.half_closed)
            case Left(number):
                self._leave(number)
            case Begun(number) | Large(number):
                # The service may have ended the call with what came before in the same read.
                if number in self._streams:
                    self._await_rest(event)
            case Arrived(number):
                self._release(number)
            case Received():
                pass  # taken before

    def _await_rest(self, event: Begun | Large) -> None:
        """Give a message that is not whole its time, or have it wait for its turn."""
        number, now = event.stream, self._loop.time()
        claim, unfinished, turns = (self, number), self._shared.unfinished, self._shared.turns
        if isinstance(event, Begun):
            unfinished.begin(claim, now)
            return
        unfinished.release(claim)
        if turns.full:
            self.refuse(number, GrpcStatus.RESOURCE_EXHAUSTED, "too many large messages wait for their turn")
        elif turns.ask(claim, now):
            self.connection.admit(number)

    def _count(self) -> None:
        held = self.connection.held
        self._shared.unfinished.held += held - self._counted
        self._counted = held

    def _make_room(self) -> None:
        """Refuse what began first, here or on another connection, until no more is held than may be."""
        self._count()
        while (oldest := self._shared.unfinished.excess()) is not None:
            peer, number = oldest
            peer.refuse(number, GrpcStatus.RESOURCE_EXHAUSTED, "too many messages are on their way")

    def _receive(self, number: int, message: bytes) -> None:
        stream = self._streams.get(number)
        if stream is None or stream.call is None:
            return
        try:
            stream.call.receive(message)
        except Exception:
            log.exception("call failed", peer=self.name)
            self._fail(number)

    def _open(self, number: int, path: str) -> None:
        stream = self._streams[number] = _Stream(self, number, path)
        self._tell(number, lambda: self._ask(stream))
        if stream.call is None:
            self.end(number, GrpcStatus.UNIMPLEMENTED, f"there is no method {path}")

    def _ask(self, stream: _Stream) -> None:
        stream.call = self._shared.open(stream)

    def _tell(self, number: int, tell: Callable[[], None]) -> None:
        """Call a service: a fault of it ends one call, and others go on."""
        try:
            tell()
        except Exception:
            log.exception("call failed", peer=self.name)
            self._fail(number)

    def _fail(self, number: int) -> None:
        self.connection.end(number, GrpcStatus.INTERNAL, "the call failed")
        self._leave(number)

    def _leave(self, number: int) -> None:
        """Take a call for over, and tell it."""
        stream = self._streams.pop(number, None)
        self._release(number)
        if stream is None or stream.call is None:
            return
        try:
            stream.call.ended()
        except Exception:
            log.exception("call failed", peer=self.name)

    def _leave_all(self) -> None:
        self.connection.abandon()
        for number in list(self._streams):
            self._leave(number)

    def _release(self, number: int) -> None:
        """Give a turn to who waits for it; most calls that end have none."""
        claim = (self, number)
        self._shared.unfinished.release(claim)
        following = self._shared.turns.release(claim, self._loop.time())
        if following is not None:
            peer, waiting = following
            peer.admit(waiting)

    def _break_off(self, error: BrokenError) -> None:
        """Say why, and hang up, at the latest when the client has been silent for too long."""
        log.warning("connection broken", peer=self.name, reason=error.reason)
        self.connection.break_off(error.code)
        self._leave_all()
        self._flush()
        self._heard, self._pinged_at = False, self._loop.time()
        self.transport.close()
