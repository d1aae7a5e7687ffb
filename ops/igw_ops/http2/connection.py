"""The server's end of one HTTP/2 connection, as a pure object: bytes in, events out; answers in, bytes out.

What all servers of ours need and no more: header blocks stay bytes (a decoder that keeps state must be shown every
one), and all that is said on one stream fits into its first window. Source: RFC 9113. No I/O here.
"""

from collections import deque
from collections.abc import Mapping
from typing import Final, NamedTuple

from igw_ops.http2 import frames
from igw_ops.http2.frames import BrokenError, Frame, Http2Error

MAX_BLOCK_BYTES: Final = 65_536
"""Of one header block. Envoy itself reads 60 KiB of a client's headers, and sends us some of them."""
_ALL_STREAMS: Final = 2**31 - 1
_DEFAULT_WINDOW: Final = 65_535
_ANSWER_BYTES: Final = 8_192
"""More than all that is said on one stream; a peer whose stream window is smaller is not served."""


class Began(NamedTuple):
    """A request began; with `ended`, nothing follows its headers."""

    stream: int
    block: bytes
    ended: bool


class Passed(NamedTuple):
    """A header block that begins nothing: trailers, or of a stream that was refused or is over."""

    block: bytes


class Content(NamedTuple):
    """Bytes of a request's body."""

    stream: int
    content: bytes


class Ended(NamedTuple):
    """A request is whole."""

    stream: int


class Reset(NamedTuple):
    """The peer wants no answer any more; the stream is gone."""

    stream: int


class Agreed(NamedTuple):
    """The peer knows our settings: what follows keeps to them."""


Event = Began | Passed | Content | Ended | Reset | Agreed


class Connection:
    """`receive` takes bytes, `output` gives those to send."""

    def __init__(self, settings: Mapping[int, int], window: int) -> None:
        """Begin before the client's preface; our SETTINGS are the first output (RFC 9113, 3.4).

        `settings` must bound the streams at once; `window` is what the connection may bring unread, beside 64 KiB.
        """
        self._max_streams = settings[frames.MAX_CONCURRENT_STREAMS]
        self._window = window
        self._unread = b""
        self._begun = False
        self._open: set[int] = set()
        self._last_stream = 0
        self._opening: Frame | None = None
        self._block = bytearray()
        self._to_return = 0
        self._send_window = _DEFAULT_WINDOW
        self._blocked: deque[tuple[int, int, bytes]] = deque()
        self._output: list[bytes | memoryview] = [frames.settings(settings), frames.window_update(0, window)]

    @property
    def live(self) -> int:
        """Give the number of streams that are not closed, or whose answers wait for the peer's window."""
        return len(self._open) + len(self._blocked)

    def output(self) -> bytes:
        """Give what is to be sent now, once."""
        data = b"".join(self._output)
        self._output.clear()
        return data

    def receive(self, data: bytes) -> list[Event]:
        """Give what the next bytes say. BrokenError when the peer broke HTTP/2: `break_off`, hang up."""
        data = self._unread + data if self._unread else data
        position = 0
        events: list[Event] = []
        if not self._begun:
            if not self._take_preface(data):
                return events
            position = len(frames.PREFACE)
        for frame, end in frames.split(data, position):
            position = end
            self._take(frame, events)
        self._unread = data[position:]
        self._return_window()
        return events

    def send(self, stream: int, data: bytes, size: int) -> None:
        """Send frames of a stream, `size` bytes of them content, now or in their turn as the window allows."""
        if self._blocked or size > self._send_window:
            self._blocked.append((stream, size, data))
            return
        self._send_window -= size
        self._output.append(data)

    def is_open(self, stream: int) -> bool:
        """Tell whether something may still be sent on a stream."""
        return stream in self._open

    def close(self, stream: int) -> bool:
        """Take a stream for closed, before its last frames go to `send`. False: it was, and nothing may be sent."""
        was_open = stream in self._open
        self._open.discard(stream)
        return was_open

    def reset(self, stream: int, code: Http2Error) -> None:
        """Close a stream with an error."""
        if self.close(stream):
            self._output.append(frames.reset(stream, code))

    def announce_end(self) -> None:
        """Ask the peer to begin no more streams; those on their way are still served (RFC 9113, 6.8)."""
        self._output.append(frames.go_away(_ALL_STREAMS, Http2Error.NO_ERROR))

    def break_off(self, code: Http2Error) -> None:
        """Tell the peer why no stream after the last one seen is served."""
        self._output.append(frames.go_away(self._last_stream, code))

    def _take_preface(self, data: bytes) -> bool:
        if not frames.PREFACE.startswith(data[: len(frames.PREFACE)]):
            raise BrokenError(Http2Error.PROTOCOL_ERROR, "no HTTP/2 preface")
        self._begun = len(data) >= len(frames.PREFACE)
        if not self._begun:
            self._unread = data
        return self._begun

    def _take(self, frame: Frame, events: list[Event]) -> None:
        if self._opening is not None or frame.type == frames.CONTINUATION:
            return self._take_continuation(frame, events)
        match frame.type:
            case frames.HEADERS:
                self._take_headers(frame, events)
            case frames.DATA:
                self._take_data(frame, events)
            case frames.RST_STREAM:
                self._take_reset(frame, events)
            case frames.WINDOW_UPDATE:
                self._take_window_update(frame)
            case frames.SETTINGS:
                self._take_settings(frame, events)
            case frames.PING:
                if not frame.flags & frames.ACK:
                    self._output.append(frames.frame(frames.PING, frames.ACK, 0, frame.payload[:8]))
            case frames.PUSH_PROMISE:
                raise BrokenError(Http2Error.PROTOCOL_ERROR, "a client may not push")
            case _:  # PRIORITY, GOAWAY, and extensions
                pass
        return None

    def _take_headers(self, frame: Frame, events: list[Event]) -> None:
        if frame.flags & frames.END_HEADERS:
            self._take_block(frame, frames.header_block(frame), events)
        else:
            self._opening = frame
            self._block[:] = frames.header_block(frame)

    def _take_continuation(self, frame: Frame, events: list[Event]) -> None:
        """Go on with a header block: nothing else may come before it is whole (RFC 9113, 6.10)."""
        opening = self._opening
        if opening is None or (frame.type, frame.stream) != (frames.CONTINUATION, opening.stream):
            raise BrokenError(Http2Error.PROTOCOL_ERROR, "a header block that does not go on")
        self._block += frame.payload
        if len(self._block) > MAX_BLOCK_BYTES:
            raise BrokenError(Http2Error.ENHANCE_YOUR_CALM, "a header block that is too long")
        if frame.flags & frames.END_HEADERS:
            self._opening = None
            self._take_block(opening, bytes(self._block), events)

    def _take_block(self, opening: Frame, block: bytes, events: list[Event]) -> None:
        stream, ended = opening.stream, bool(opening.flags & frames.END_STREAM)
        if not stream % 2:
            raise BrokenError(Http2Error.PROTOCOL_ERROR, f"headers on stream {stream}")
        if stream > self._last_stream and self.live < self._max_streams:
            self._last_stream = stream
            self._open.add(stream)
            events.append(Began(stream, block, ended))
            return
        events.append(Passed(block))
        if stream > self._last_stream:
            self._last_stream = stream
            self._output.append(frames.reset(stream, Http2Error.REFUSED_STREAM))
        elif ended and stream in self._open:
            events.append(Ended(stream))

    def _take_data(self, frame: Frame, events: list[Event]) -> None:
        if frame.stream == 0 or frame.stream > self._last_stream:
            raise BrokenError(Http2Error.PROTOCOL_ERROR, f"data on idle stream {frame.stream}")
        self._to_return += len(frame.payload)
        content = frames.content(frame)  # broken padding breaks a connection, on a stream that is over, too
        if frame.stream not in self._open:
            return
        events.append(Content(frame.stream, content))
        if frame.flags & frames.END_STREAM:
            events.append(Ended(frame.stream))

    def _take_reset(self, frame: Frame, events: list[Event]) -> None:
        if frame.stream in self._open:
            self._open.remove(frame.stream)
            events.append(Reset(frame.stream))
        if self._blocked:
            self._blocked = deque(waiting for waiting in self._blocked if waiting[0] != frame.stream)

    def _take_settings(self, frame: Frame, events: list[Event]) -> None:
        if frame.flags & frames.ACK:
            events.append(Agreed())
            return
        told = frames.settings_values(frame.payload)
        if told.get(frames.INITIAL_WINDOW_SIZE, _DEFAULT_WINDOW) < _ANSWER_BYTES:
            raise BrokenError(Http2Error.FLOW_CONTROL_ERROR, "the stream window is too small for an answer")
        self._output.append(frames.frame(frames.SETTINGS, frames.ACK, 0))

    def _take_window_update(self, frame: Frame) -> None:
        if frame.stream:
            return  # a stream's first window holds all that we say on it
        self._send_window += int.from_bytes(frame.payload[:4], "big") & 0x7FFFFFFF
        while self._blocked and self._blocked[0][1] <= self._send_window:
            _, size, data = self._blocked.popleft()
            self._send_window -= size
            self._output.append(data)

    def _return_window(self) -> None:
        if self._to_return > self._window // 2:
            self._output.append(frames.window_update(0, self._to_return))
            self._to_return = 0
