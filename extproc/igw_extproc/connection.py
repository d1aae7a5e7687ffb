"""One connection of gRPC streams, as a pure object: bytes in, messages out; answers in, bytes out.

Made for one peer, Envoy, and one method: request headers are not read, every stream is taken for `Process`.
What it gives for that: a tenth of the CPU of `grpc.aio`. HTTP/2 itself is `igw_ops.http2`. No I/O here.
"""

from dataclasses import dataclass, field
from typing import Final

from igw_ops.grpc import wire
from igw_ops.grpc.wire import PREFIX_BYTES, GrpcStatus
from igw_ops.http2 import connection as http2
from igw_ops.http2 import frames
from igw_ops.http2.frames import Http2Error

_MAX_REASON: Final = 100
"""Characters: all that is said on a stream fits into its first window."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one connection may hold."""

    message_bytes: int
    """The longest message, and every stream's receive window."""
    held_bytes: int
    """All unfinished messages together; the stream that exceeds it fails with RESOURCE_EXHAUSTED."""
    streams: int
    """Streams at once; more are refused."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A stream began."""

    stream: int


@dataclass(frozen=True, slots=True)
class Received:
    """A whole gRPC message came."""

    stream: int
    message: bytes


@dataclass(frozen=True, slots=True)
class Left:
    """No more comes on a stream: it was reset, half-closed, or beyond a limit. `fail` it if unanswered."""

    stream: int


Event = Opened | Received | Left


@dataclass(slots=True)
class _Stream:
    held: bytearray = field(default_factory=bytearray)
    answered: bool = False


class Connection:
    """The server's end; `receive` takes bytes, `output` gives those to send."""

    def __init__(self, limits: Limits) -> None:
        """Begin before the client's preface."""
        self._limits = limits
        self._streams: dict[int, _Stream] = {}
        self._held = 0
        own = {
            frames.MAX_CONCURRENT_STREAMS: limits.streams,
            frames.INITIAL_WINDOW_SIZE: limits.message_bytes,
        }
        self._http2 = http2.Connection(own, 2 * limits.message_bytes)

    @property
    def live(self) -> int:
        """Give the number of streams that are not ended, or whose answers wait for the peer's window."""
        return self._http2.live

    def output(self) -> bytes:
        """Give what is to be sent now, once."""
        return self._http2.output()

    def receive(self, data: bytes) -> list[Event]:
        """Give what the next bytes say. BrokenError when the peer broke HTTP/2: `break_off`, hang up."""
        events: list[Event] = []
        for event in self._http2.receive(data):
            self._take(event, events)
        return events

    def answer(self, stream: int, message: bytes, *, last: bool) -> None:
        """Send a message; the last one ends the stream with OK. Nothing happens when the stream is gone."""
        state = self._streams.get(stream)
        if state is None:
            return
        body = wire.message(message)
        data = frames.frame(frames.DATA, 0, stream, body)
        if not state.answered:
            state.answered = True
            data = frames.frame(frames.HEADERS, frames.END_HEADERS, stream, wire.OK_HEADERS) + data
        if last:
            self._close(stream)
            data += _ending(stream, wire.trailers(GrpcStatus.OK))
        self._http2.send(stream, data, len(body))

    def fail(self, stream: int, status: GrpcStatus, reason: str) -> None:
        """End a stream with an error. Nothing happens when the stream is gone."""
        state = self._close(stream)
        if state is None:
            return
        opening = b"" if state.answered else wire.OK_HEADERS
        self._http2.send(stream, _ending(stream, opening + wire.trailers(status, reason[:_MAX_REASON])), 0)

    def announce_end(self) -> None:
        """Ask the peer to begin no more streams; those on their way are still served."""
        self._http2.announce_end()

    def break_off(self, code: Http2Error) -> None:
        """Tell the peer why no stream after the last one seen is served."""
        self._http2.break_off(code)

    def _take(self, event: http2.Event, events: list[Event]) -> None:
        match event:
            case http2.Began(stream, _, ended):
                self._streams[stream] = _Stream()
                events.append(Opened(stream))
                if ended:
                    events.append(Left(stream))
            case http2.Content(stream, content):
                if (state := self._streams.get(stream)) is not None:
                    state.held += content
                    self._held += len(content)
                    self._cut_messages(stream, state, events)
            case http2.Ended(stream):
                if stream in self._streams:
                    events.append(Left(stream))
            case http2.Reset(stream):
                if self._forget(stream) is not None:
                    events.append(Left(stream))
            case http2.Passed() | http2.Agreed():
                pass  # headers are not read

    def _cut_messages(self, stream: int, state: _Stream, events: list[Event]) -> None:
        held = state.held
        while len(held) >= PREFIX_BYTES:
            end = PREFIX_BYTES + int.from_bytes(held[1:PREFIX_BYTES], "big")
            if held[0]:
                return self._drop(
                    stream, GrpcStatus.UNIMPLEMENTED, "compressed messages are not read", events
                )
            if end > self._limits.message_bytes:
                return self._drop(stream, GrpcStatus.RESOURCE_EXHAUSTED, "the message is too long", events)
            if len(held) < end:
                break
            events.append(Received(stream, bytes(held[PREFIX_BYTES:end])))
            del held[:end]
            self._held -= end
        if self._held > self._limits.held_bytes:
            self._drop(stream, GrpcStatus.RESOURCE_EXHAUSTED, "too many bodies at once", events)
        return None

    def _drop(self, stream: int, status: GrpcStatus, reason: str, events: list[Event]) -> None:
        self.fail(stream, status, reason)
        events.append(Left(stream))

    def _close(self, stream: int) -> _Stream | None:
        self._http2.close(stream)
        return self._forget(stream)

    def _forget(self, stream: int) -> _Stream | None:
        state = self._streams.pop(stream, None)
        if state is not None:
            self._held -= len(state.held)
        return state


def _ending(stream: int, block: bytes) -> bytes:
    return frames.frame(frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, stream, block)
