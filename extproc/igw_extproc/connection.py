"""One HTTP/2 connection of gRPC streams, as a pure object: bytes in, messages out; answers in, bytes out.

Made for one peer, Envoy, and one method: request headers are not read, every stream is taken for `Process`.
What it gives for that: a tenth of the CPU of `grpc.aio`. Source: RFC 9113. No I/O here.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Final

from igw_extproc import frames
from igw_extproc.frames import BrokenError, Frame, GrpcStatus, Http2Error

_ALL_STREAMS: Final = 2**31 - 1
_DEFAULT_WINDOW: Final = 65_535
_ANSWERS_BYTES: Final = 8_192
"""More than all answers of one stream; a peer whose stream window is smaller is not served."""
_PREFIX_BYTES: Final = 5


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
        """Begin before the client's preface; our SETTINGS are the first output (RFC 9113, 3.4)."""
        self._limits = limits
        self._window = 2 * limits.message_bytes
        self._unread = b""
        self._begun = False
        self._streams: dict[int, _Stream] = {}
        self._last_stream = 0
        self._held = 0
        self._to_return = 0
        self._send_window = _DEFAULT_WINDOW
        self._blocked: deque[tuple[int, bytes]] = deque()
        own = {
            frames.MAX_CONCURRENT_STREAMS: limits.streams,
            frames.INITIAL_WINDOW_SIZE: limits.message_bytes,
        }
        self._output = [frames.settings(own), frames.window_update(0, self._window)]

    @property
    def live(self) -> int:
        """Give the number of streams that are not ended, or whose answers wait for the peer's window."""
        return len(self._streams) + len(self._blocked)

    def output(self) -> bytes:
        """Give what is to be sent now, once."""
        data = b"".join(self._output)
        self._output.clear()
        return data

    def receive(self, data: bytes) -> list[Event]:
        """Give what the next bytes say. BrokenError when the peer broke HTTP/2: send `output`, hang up."""
        data = self._unread + data if self._unread else data
        position = 0
        events: list[Event] = []
        try:
            if not self._begun:
                if not self._take_preface(data):
                    return events
                position = len(frames.PREFACE)
            for frame, end in frames.split(data, position):
                position = end
                self._take(frame, events)
        except BrokenError as error:
            self._output.append(frames.go_away(self._last_stream, error.code))
            raise
        self._unread = data[position:]
        self._return_window()
        return events

    def answer(self, stream: int, message: bytes, *, last: bool) -> None:
        """Send a message; the last one ends the stream with OK. Nothing happens when the stream is gone."""
        state = self._streams.get(stream)
        if state is None:
            return
        body = frames.message(message)
        data = frames.frame(frames.DATA, 0, stream, body)
        if not state.answered:
            state.answered = True
            data = frames.frame(frames.HEADERS, frames.END_HEADERS, stream, frames.RESPONSE_HEADERS) + data
        if last:
            self._forget(stream)
            data += _ending(stream, frames.trailers(GrpcStatus.OK))
        self._send(len(body), data)

    def fail(self, stream: int, status: GrpcStatus, reason: str) -> None:
        """End a stream with an error. Nothing happens when the stream is gone."""
        state = self._forget(stream)
        if state is None:
            return
        opening = b"" if state.answered else frames.RESPONSE_HEADERS
        self._send(0, _ending(stream, opening + frames.trailers(status, reason)))

    def announce_end(self) -> None:
        """Ask the peer to begin no more streams; those on their way are still served (RFC 9113, 6.8)."""
        self._output.append(frames.go_away(_ALL_STREAMS, Http2Error.NO_ERROR))

    def end(self) -> None:
        """Tell the peer that no stream after the last one seen is served."""
        self._output.append(frames.go_away(self._last_stream, Http2Error.NO_ERROR))

    def _take_preface(self, data: bytes) -> bool:
        if not frames.PREFACE.startswith(data[: len(frames.PREFACE)]):
            raise BrokenError(Http2Error.PROTOCOL_ERROR, "no HTTP/2 preface")
        self._begun = len(data) >= len(frames.PREFACE)
        if not self._begun:
            self._unread = data
        return self._begun

    def _take(self, frame: Frame, events: list[Event]) -> None:
        match frame.type:
            case frames.DATA:
                self._take_data(frame, events)
            case frames.HEADERS:
                self._take_headers(frame, events)
            case frames.RST_STREAM:
                if self._forget(frame.stream) is not None:
                    events.append(Left(frame.stream))
            case frames.WINDOW_UPDATE:
                self._take_window_update(frame)
            case frames.SETTINGS:
                self._take_settings(frame)
            case frames.PING:
                if not frame.flags & frames.ACK:
                    self._output.append(frames.frame(frames.PING, frames.ACK, 0, frame.payload[:8]))
            case frames.PUSH_PROMISE:
                raise BrokenError(Http2Error.PROTOCOL_ERROR, "a client may not push")
            case _:  # PRIORITY, GOAWAY, CONTINUATION of headers that we do not read, and extensions
                pass

    def _take_headers(self, frame: Frame, events: list[Event]) -> None:
        stream, ends = frame.stream, frame.flags & frames.END_STREAM
        if stream > self._last_stream and stream % 2:
            self._last_stream = stream
            if self.live >= self._limits.streams:
                self._output.append(frames.reset(stream, Http2Error.REFUSED_STREAM))
                return
            self._streams[stream] = _Stream()
            events.append(Opened(stream))
        elif stream % 2 == 0:
            raise BrokenError(Http2Error.PROTOCOL_ERROR, f"headers on stream {stream}")
        if ends:
            self._half_close(stream, events)

    def _take_data(self, frame: Frame, events: list[Event]) -> None:
        if frame.stream == 0 or frame.stream > self._last_stream:
            raise BrokenError(Http2Error.PROTOCOL_ERROR, f"data on idle stream {frame.stream}")
        self._to_return += len(frame.payload)
        state = self._streams.get(frame.stream)
        if state is None:
            return
        received = frames.content(frame)
        state.held += received
        self._held += len(received)
        self._cut_messages(frame.stream, state, events)
        if frame.flags & frames.END_STREAM:
            self._half_close(frame.stream, events)

    def _cut_messages(self, stream: int, state: _Stream, events: list[Event]) -> None:
        held = state.held
        while len(held) >= _PREFIX_BYTES:
            end = _PREFIX_BYTES + int.from_bytes(held[1:_PREFIX_BYTES], "big")
            if held[0]:
                return self._drop(
                    stream, GrpcStatus.UNIMPLEMENTED, "compressed messages are not read", events
                )
            if end > self._limits.message_bytes:
                return self._drop(stream, GrpcStatus.RESOURCE_EXHAUSTED, "the message is too long", events)
            if len(held) < end:
                break
            events.append(Received(stream, bytes(held[_PREFIX_BYTES:end])))
            del held[:end]
            self._held -= end
        if self._held > self._limits.held_bytes:
            self._drop(stream, GrpcStatus.RESOURCE_EXHAUSTED, "too many bodies at once", events)
        return None

    def _drop(self, stream: int, status: GrpcStatus, reason: str, events: list[Event]) -> None:
        self.fail(stream, status, reason)
        events.append(Left(stream))

    def _half_close(self, stream: int, events: list[Event]) -> None:
        if stream in self._streams:
            events.append(Left(stream))

    def _forget(self, stream: int) -> _Stream | None:
        state = self._streams.pop(stream, None)
        if state is not None:
            self._held -= len(state.held)
        return state

    def _take_settings(self, frame: Frame) -> None:
        if frame.flags & frames.ACK:
            return
        told = frames.settings_values(frame.payload)
        if told.get(frames.INITIAL_WINDOW_SIZE, _DEFAULT_WINDOW) < _ANSWERS_BYTES:
            raise BrokenError(Http2Error.FLOW_CONTROL_ERROR, "the stream window is too small for an answer")
        self._output.append(frames.frame(frames.SETTINGS, frames.ACK, 0))

    def _take_window_update(self, frame: Frame) -> None:
        if frame.stream:
            return  # a stream's first window holds all that we say on it
        self._send_window += int.from_bytes(frame.payload[:4], "big") & 0x7FFFFFFF
        while self._blocked and self._blocked[0][0] <= self._send_window:
            size, data = self._blocked.popleft()
            self._send_window -= size
            self._output.append(data)

    def _send(self, size: int, data: bytes) -> None:
        """Send frames that take `size` bytes of the connection's window, now or in their turn."""
        if self._blocked or size > self._send_window:
            self._blocked.append((size, data))
            return
        self._send_window -= size
        self._output.append(data)

    def _return_window(self) -> None:
        if self._to_return > self._window // 2:
            self._output.append(frames.window_update(0, self._to_return))
            self._to_return = 0


def _ending(stream: int, block: bytes) -> bytes:
    return frames.frame(frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, stream, block)
