"""A connection for long streams with much on them: flow control both ways, for each stream. Pure.

What is sent keeps to the peer's windows (`outgoing`). What comes keeps to ours: a stream may bring 65,535 bytes, and
more only as its owner says with `widen`. Source: RFC 9113, 5.2 and 6.9.
"""

from collections.abc import Mapping

from igw_ops.http2 import frames
from igw_ops.http2.connection import Agreed, Began, Connection, Content, Ended, Event, Reset
from igw_ops.http2.frames import BrokenError, Frame, Http2Error
from igw_ops.http2.outgoing import FIRST_WINDOW, Outgoing


class StreamingConnection(Connection):
    """`Began` of a stream is an event; `send_headers`, `outgoing.send` and `end` answer it."""

    def __init__(self, settings: Mapping[int, int], window: int) -> None:
        """Begin as `Connection` does; `settings` must leave the streams' first window as it is."""
        super().__init__(settings, window)
        self._incoming: dict[int, int] = {}
        """What the peer may still send on each stream that it has not half-closed."""
        self.outgoing = Outgoing(self._output)

    @property
    def live(self) -> int:
        """Give the number of streams that are not over, or whose last frames wait."""
        return len(self.outgoing)

    def output(self) -> bytes:
        """Give what is to be sent now, once: of content a batch at most, and none while held."""
        data = super().output()
        self.outgoing.renew()
        return data

    def receive(self, data: bytes) -> list[Event]:
        """Give what the next bytes say; what their windows allow is sent once, however many they widen."""
        events = super().receive(data)
        self.outgoing.fill()
        return events

    def refuse(self) -> None:
        """Take no more streams."""
        self._max_streams = 0

    def send_headers(self, stream: int, block: bytes) -> None:
        """Send a header block that does not end the stream."""
        if stream in self._open:
            self._output.append(frames.frame(frames.HEADERS, frames.END_HEADERS, stream, block))

    def end(self, stream: int, block: bytes) -> None:
        """End a stream with a header block behind all that waits; what else comes on it is not wanted (8.1)."""
        whole = stream not in self._incoming
        if self.close(stream):
            ending = frames.frame(frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, stream, block)
            rest = b"" if whole else frames.reset(stream, Http2Error.NO_ERROR)
            self.outgoing.end(stream, ending + rest)

    def close(self, stream: int) -> bool:
        """Take no more of a stream. False: it was closed."""
        self._incoming.pop(stream, None)
        return super().close(stream)

    def reset(self, stream: int, code: Http2Error) -> None:
        """End a stream with an error, and drop what waits."""
        self.close(stream)
        if self.outgoing.drop(stream):
            self._output.append(frames.reset(stream, code))

    def window(self, stream: int) -> int:
        """Give how much the peer may still send on a stream; 0 when it sends no more."""
        return self._incoming.get(stream, 0)

    def widen(self, stream: int, size: int) -> None:
        """Let the peer send so much on a stream, if that is more than it may."""
        window = self._incoming.get(stream)
        if window is not None and window < size:
            self._incoming[stream] = size
            self._output.append(frames.window_update(stream, size - window))

    def ping(self) -> None:
        """Ask for a sign of life."""
        self._output.append(frames.frame(frames.PING, 0, 0, b"igw-ping"))

    def _take(self, frame: Frame, events: list[Event]) -> None:
        if frame.type != frames.DATA:
            frames.check(frame)
        if frame.type == frames.WINDOW_UPDATE and self._opening is None:
            self._take_increment(frame, events)
        else:
            super()._take(frame, events)

    def _take_block(self, opening: Frame, block: bytes, events: list[Event]) -> None:
        super()._take_block(opening, block, events)
        match events[-1]:
            case Began(stream, _, ended):
                self.outgoing.begin(stream)
                if not ended:
                    self._incoming[stream] = FIRST_WINDOW
            case Ended(stream) if self._incoming.pop(stream, None) is None:
                events.pop()
                self._fail(stream, Http2Error.STREAM_CLOSED, events)
            case _:
                pass

    def _take_data(self, frame: Frame, events: list[Event]) -> None:
        stream, size = frame.stream, len(frame.payload)
        window = self._incoming.get(stream)
        if window is None:
            return self._take_late_data(frame, events)
        self._to_return += size
        if size > window:
            return self._fail(stream, Http2Error.FLOW_CONTROL_ERROR, events)
        self._incoming[stream] = window - size
        events.append(Content(stream, frames.content(frame)))
        if frame.flags & frames.END_STREAM:
            del self._incoming[stream]
            events.append(Ended(stream))
        return None

    def _take_late_data(self, frame: Frame, events: list[Event]) -> None:
        """Take what comes on a stream that is over, or half-closed, which is an error (RFC 9113, 5.1)."""
        frames.check(frame)
        frames.content(frame)  # broken padding breaks a connection, here too
        self._refuse_idle(frame)
        self._to_return += len(frame.payload)
        if frame.stream in self._open:
            self._fail(frame.stream, Http2Error.STREAM_CLOSED, events)

    def _take_reset(self, frame: Frame, events: list[Event]) -> None:
        self._refuse_idle(frame)
        super()._take_reset(frame, events)
        self._incoming.pop(frame.stream, None)
        self.outgoing.drop(frame.stream)

    def _take_settings(self, frame: Frame, events: list[Event]) -> None:
        if frame.flags & frames.ACK:
            events.append(Agreed())
            return
        self._output.append(frames.frame(frames.SETTINGS, frames.ACK, 0))
        self.outgoing.settle(frames.settings_values(frame.payload))

    def _take_increment(self, frame: Frame, events: list[Event]) -> None:
        self._refuse_idle(frame)
        increment = int.from_bytes(frame.payload, "big") & 0x7FFFFFFF
        if (code := self.outgoing.grant(frame.stream, increment)) is not None:
            self._fail(frame.stream, code, events)

    def _return_window(self) -> None:
        if self._to_return > FIRST_WINDOW + self._window:
            raise BrokenError(Http2Error.FLOW_CONTROL_ERROR, "more than the connection's window")
        super()._return_window()

    def _refuse_idle(self, frame: Frame) -> None:
        if frame.stream > self._last_stream:
            raise BrokenError(
                Http2Error.PROTOCOL_ERROR, f"frame type {frame.type} on idle stream {frame.stream}"
            )

    def _fail(self, stream: int, code: Http2Error, events: list[Event]) -> None:
        self.reset(stream, code)
        events.append(Reset(stream))
