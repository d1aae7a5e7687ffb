"""One connection of gRPC streams, as a pure object: bytes in, messages out; messages in, bytes out.

A message that does not fit into its stream's first window is `Large`: it comes on when `admit` says so. What a method
means, whose turn it is, and how much may be `held`, are not here. HTTP/2 itself is `igw_ops.http2.streaming`.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from igw_ops.grpc import wire
from igw_ops.grpc.inbox import Inbox, RefusedError
from igw_ops.grpc.request import Request, Requests
from igw_ops.grpc.wire import PREFIX_BYTES, GrpcStatus
from igw_ops.http2 import connection as http2
from igw_ops.http2 import frames
from igw_ops.http2.frames import Http2Error
from igw_ops.http2.outgoing import FIRST_WINDOW
from igw_ops.http2.streaming import StreamingConnection

WINDOW_BYTES: Final = 1024 * 1024
"""What all streams of a connection may bring unread; what is read is given back at once."""


class Opened(NamedTuple):
    """A call began."""

    stream: int
    path: str


class Received(NamedTuple):
    """A whole message came."""

    stream: int
    message: bytes


class HalfClosed(NamedTuple):
    """The client sends no more."""

    stream: int


class Left(NamedTuple):
    """A call is over: reset by the client, or ended here for what the client did."""

    stream: int


class Begun(NamedTuple):
    """A message has begun, and not all of it came at once."""

    stream: int


class Large(NamedTuple):
    """It, or one that has just begun, needs a turn."""

    stream: int


class Arrived(NamedTuple):
    """A message that was `Begun` or `Large` is whole, and needs its turn no more."""

    stream: int


Event = Opened | Received | HalfClosed | Left | Begun | Large | Arrived


class _Call:
    """What is known of one call: its message on its way, its turn, and whether we have answered."""

    __slots__ = ("admitted", "answered", "asked", "counted", "inbox")

    def __init__(self, limit: int) -> None:
        self.inbox = Inbox(limit)
        self.answered = False
        self.asked = False
        self.admitted = False
        self.counted = 0
        """What `Connection.held` has of it."""


class Connection:
    """The server's end; `receive` takes bytes, `output` gives those to send."""

    __slots__ = ("_calls", "_http2", "_limit", "_requests", "held", "outgoing")

    def __init__(self, streams: int, message_bytes: int) -> None:
        """Begin before the client's preface: so many streams at once, messages of so many bytes at most."""
        self._limit = message_bytes
        self._calls: dict[int, _Call] = {}
        self._requests = Requests()
        own = {
            frames.HEADER_TABLE_SIZE: 0,
            frames.MAX_CONCURRENT_STREAMS: streams,
            frames.MAX_HEADER_LIST_SIZE: http2.MAX_BLOCK_BYTES,
        }
        self._http2 = StreamingConnection(own, WINDOW_BYTES)
        self.outgoing = self._http2.outgoing
        """What waits to be sent: `hold` while the socket takes no more."""
        self.held = 0
        """Bytes of messages that have `Begun`."""

    def output(self) -> bytes:
        """Give what is to be sent now, once."""
        return self._http2.output()

    def receive(self, data: bytes) -> list[Event]:
        """Give what the next bytes say. BrokenError when the peer broke HTTP/2: `break_off`, hang up."""
        events: list[Event] = []
        brought: set[int] = set()
        for event in self._http2.receive(data):
            if type(event) is http2.Content:  # nearly all are
                self._take_content(event.stream, event.content, events)
                brought.add(event.stream)
            else:
                self._take(event, events)
        for stream in brought:  # not before: the windows are already those after all that came
            self._give_window(stream, events)
        return events

    def send(self, stream: int, parts: Sequence[bytes]) -> None:
        """Send a message made of parts. Nothing happens when the call is over."""
        call = self._calls.get(stream)
        if call is None:
            return
        if not call.answered:
            call.answered = True
            self._http2.send_headers(stream, wire.RESPONSE_HEADERS)
        size = sum(map(len, parts))
        self.outgoing.send(stream, (wire.prefix(size), *parts), PREFIX_BYTES + size)

    def end(self, stream: int, status: GrpcStatus, text: str = "") -> None:
        """End a call behind all that was sent; Trailers-Only when nothing was. Nothing happens when it is over."""
        call = self._forget(stream)
        if call is not None:
            opening = b"" if call.answered else wire.RESPONSE_HEADERS
            self._http2.end(stream, opening + wire.trailers(status, text))

    def admit(self, stream: int) -> None:
        """Let a large message come: it has its turn."""
        call = self._calls.get(stream)
        if call is not None and call.asked:
            call.admitted = True
            self._http2.widen(stream, call.inbox.due - call.inbox.held)

    def announce_end(self) -> None:
        """Ask the client to begin no more calls here; those on their way are still served."""
        self._http2.announce_end()

    def finish(self, status: GrpcStatus, text: str) -> None:
        """End all calls, without what waits to be sent, and take no more."""
        self._http2.refuse()
        for stream in list(self._calls):
            self.outgoing.discard(stream)
            self.end(stream, status, text)
        self.break_off(Http2Error.NO_ERROR)

    def abandon(self) -> None:
        """Forget all calls: nothing can be sent any more."""
        for stream in self._calls:
            self.outgoing.drop(stream)
        self._calls.clear()
        self.held = 0

    def ping(self) -> None:
        """Ask for a sign of life."""
        self._http2.ping()

    def break_off(self, code: Http2Error) -> None:
        """Tell the peer why no stream after the last one seen is served."""
        self._http2.break_off(code)

    def _take(self, event: http2.Event, events: list[Event]) -> None:
        match event:
            case http2.Began(stream, block, ended):
                self._begin(stream, self._requests.read(block), events)
                if ended:
                    self._half_close(stream, events)
            case http2.Ended(stream):
                self._half_close(stream, events)
            case http2.Reset(stream):
                if self._forget(stream) is not None:
                    events.append(Left(stream))
            case http2.Passed(block):
                self._requests.pass_over(block)
            case http2.Agreed():
                self._requests.agreed()
            case http2.Content():
                pass  # taken before

    def _begin(self, stream: int, request: Request, events: list[Event]) -> None:
        if not request.grpc:
            self._http2.end(stream, wire.UNSUPPORTED_MEDIA_TYPE)
        elif not request.path:
            self._http2.reset(stream, Http2Error.PROTOCOL_ERROR)
        else:
            self._calls[stream] = _Call(self._limit)
            events.append(Opened(stream, request.path))

    def _half_close(self, stream: int, events: list[Event]) -> None:
        call = self._calls.get(stream)
        if call is None:
            return
        if call.inbox.held:
            self._fail(stream, RefusedError(GrpcStatus.INTERNAL, "the last message is not whole"), events)
        else:
            events.append(HalfClosed(stream))

    def _take_content(self, stream: int, content: bytes, events: list[Event]) -> None:
        call = self._calls.get(stream)
        if call is None:
            return
        if (message := call.inbox.whole(content)) is not None:
            events.append(Received(stream, message))
        else:
            self._cut(stream, call, content, events)

    def _cut(self, stream: int, call: _Call, content: bytes, events: list[Event]) -> None:
        try:
            for message in call.inbox.take(content):
                events.append(Received(stream, message))
                if call.asked or call.counted:
                    call.asked = call.admitted = False
                    self._count(call, 0)
                    events.append(Arrived(stream))
        except RefusedError as error:
            self._fail(stream, error, events)

    def _give_window(self, stream: int, events: list[Event]) -> None:
        """Keep the first window open for what is not large, and for the rest of what is large and has its turn."""
        call = self._calls.get(stream)
        if call is None:
            return
        held, due = call.inbox.held, call.inbox.due
        if due <= FIRST_WINDOW:
            if self._http2.window(stream) < FIRST_WINDOW // 2:
                self._http2.widen(stream, FIRST_WINDOW - held)
            if held != call.counted:
                if not call.counted:
                    events.append(Begun(stream))
                self._count(call, held)
        elif call.admitted:
            self._http2.widen(stream, due - held)
        elif not call.asked:
            call.asked = True
            self._count(call, 0)
            events.append(Large(stream))

    def _count(self, call: _Call, held: int) -> None:
        self.held += held - call.counted
        call.counted = held

    def _forget(self, stream: int) -> _Call | None:
        call = self._calls.pop(stream, None)
        if call is not None:
            self.held -= call.counted
        return call

    def _fail(self, stream: int, error: RefusedError, events: list[Event]) -> None:
        self.end(stream, error.status, error.text)
        events.append(Left(stream))
