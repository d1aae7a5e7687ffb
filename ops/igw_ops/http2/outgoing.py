"""What is sent on the streams of one HTTP/2 connection: content in, frames out as the peer's windows allow. Pure.

Content that must wait is kept by reference, in the pieces it came in: what a thousand streams wait to send is there
once. Source: RFC 9113, 5.2 and 6.9.
"""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from igw_ops.http2 import frames
from igw_ops.http2.frames import BrokenError, Http2Error

FIRST_WINDOW: Final = 65_535
"""Of a connection and of each stream, unless told otherwise."""
BATCH_BYTES: Final = 256 * 1024
"""Of content that is made into frames at once; then others have their turn."""
_MAX_WINDOW: Final = 2**31 - 1
_LONGEST_FRAME: Final = 2**24 - 1
_MAX_FRAME_BYTES: Final = 65_536
"""The longest frame we send, to a peer that takes it: longer ones save nothing and hold up other streams."""

Piece = bytes | memoryview


class _Stream:
    """One stream's window, what waits for it, and what ends the stream after that."""

    __slots__ = ("cut", "ending", "pieces", "size", "window")

    def __init__(self, window: int) -> None:
        self.window = window
        self.pieces: deque[bytes] | None = None
        self.cut = 0
        """How much of the first piece has left."""
        self.size = 0
        self.ending: bytes | None = None

    def wait(self, pieces: Sequence[bytes], size: int) -> None:
        """Keep what cannot be sent yet."""
        if self.pieces is None:
            self.pieces = deque()
        self.pieces.extend(piece for piece in pieces if piece)
        self.size += size

    def take(self, size: int) -> Iterator[Piece]:
        """Give the next bytes; at least so many wait."""
        self.window -= size
        self.size -= size
        while size and self.pieces:
            first = self.pieces[0]
            start, self.cut = self.cut, min(len(first), self.cut + size)
            size -= self.cut - start
            whole = self.cut - start == len(first)
            yield first if whole else memoryview(first)[start : self.cut]
            if self.cut == len(first):
                self.pieces.popleft()
                self.cut = 0


class Outgoing:
    """The streams that have not ended, the peer's windows, and what waits for them; frames go to `output`."""

    __slots__ = (
        "_first_window",
        "_frame_bytes",
        "_held",
        "_output",
        "_room",
        "_streams",
        "_to_tell",
        "_waiting",
        "_window",
    )

    def __init__(self, output: list[Piece]) -> None:
        """Begin with what holds until the peer's SETTINGS come."""
        self._output = output
        self._streams: dict[int, _Stream] = {}
        self._waiting: dict[int, _Stream] = {}
        self._to_tell: set[int] = set()
        self._window = self._first_window = FIRST_WINDOW
        self._frame_bytes = frames.MAX_FRAME_BYTES
        self._room = BATCH_BYTES
        self._held = False

    def __len__(self) -> int:
        """Give the number of streams that have not ended."""
        return len(self._streams)

    @property
    def more(self) -> bool:
        """Whether frames can be made now, or streams are freed: `fill` and `freed` once others had their turn."""
        if self._held or not self._to_tell:
            return False
        return bool(self._able()) or not self._to_tell <= self._waiting.keys()

    def begin(self, number: int) -> None:
        """Take a new stream."""
        self._streams[number] = _Stream(self._first_window)

    def blocked(self, number: int) -> bool:
        """Give whether what was sent on a stream has not left yet, or nothing may be sent on it any more."""
        return self._held or number in self._waiting or number not in self._streams

    def send(self, number: int, pieces: Sequence[bytes], size: int) -> None:
        """Send pieces, `size` bytes in all, now or as the windows allow. Nothing happens when the stream is over."""
        stream = self._streams.get(number)
        if stream is None or stream.ending is not None or not size:
            return
        if size <= self._frame_bytes and not stream.size and self._fits(stream, size):
            stream.window -= size
            self._window -= size
            self._room -= size
            self._output.append(frames.heading(size, frames.DATA, 0, number))
            self._output += pieces
            return
        stream.wait(pieces, size)
        self._waiting[number] = stream
        self.fill()
        if stream.size:
            self._to_tell.add(number)

    def end(self, number: int, ending: bytes) -> None:
        """End a stream with such frames, behind all that waits."""
        stream = self._streams.get(number)
        if stream is None:
            return
        if stream.size:
            stream.ending = ending
        else:
            del self._streams[number]
            self._output.append(ending)

    def discard(self, number: int) -> None:
        """Forget what waits on a stream; it may still be ended."""
        if (stream := self._waiting.pop(number, None)) is not None:
            stream.pieces, stream.size, stream.cut = None, 0, 0

    def drop(self, number: int) -> bool:
        """Take a stream for over, and send nothing more of it. False: it had ended."""
        self._waiting.pop(number, None)
        self._to_tell.discard(number)
        return self._streams.pop(number, None) is not None

    def hold(self) -> None:
        """Make no frames of content: the socket takes no more."""
        self._held = True
        self._room = 0

    def resume(self) -> None:
        """Go on; every stream was blocked."""
        self._held = False
        self._to_tell.update(self._streams)
        self.renew()
        self.fill()

    def renew(self) -> None:
        """Count anew: what was made has been given away."""
        if not self._held:
            self._room = BATCH_BYTES

    def fill(self) -> None:
        """Make frames of what waits: one batch at most, and one frame of each stream at a time."""
        while self._waiting and self._room > 0 and (able := self._able()):
            for number, stream in able:
                size = min(stream.size, stream.window, self._window, self._frame_bytes)
                if size > 0:
                    self._cut(number, stream, size)

    def freed(self) -> list[int]:
        """Give the streams that were blocked and are not now, once."""
        if self._held or not self._to_tell:
            return []
        freed = self._to_tell - self._waiting.keys()
        self._to_tell -= freed
        return [number for number in sorted(freed) if number in self._streams]

    def settle(self, told: Mapping[int, int]) -> None:
        """Keep to the peer's settings; windows may become negative (RFC 9113, 6.9.2). What they allow `fill` sends."""
        frame_bytes = told.get(frames.MAX_FRAME_SIZE, frames.MAX_FRAME_BYTES)
        if not frames.MAX_FRAME_BYTES <= frame_bytes <= _LONGEST_FRAME:
            raise BrokenError(Http2Error.PROTOCOL_ERROR, f"frames of {frame_bytes} bytes")
        if frames.MAX_FRAME_SIZE in told:
            self._frame_bytes = min(frame_bytes, _MAX_FRAME_BYTES)
        more = told.get(frames.INITIAL_WINDOW_SIZE, self._first_window) - self._first_window
        self._first_window += more
        for stream in self._streams.values():
            stream.window += more
        if (
            any(stream.window > _MAX_WINDOW for stream in self._streams.values())
            or self._first_window > _MAX_WINDOW
        ):
            raise BrokenError(Http2Error.FLOW_CONTROL_ERROR, "a window that is too large")

    def grant(self, number: int, increment: int) -> Http2Error | None:
        """Widen a stream's window, or the connection's (0), for the next `fill`.

        Gives what is wrong with it for a stream (RFC 9113, 6.9).
        """
        if number == 0:
            self._window += increment
            if not increment or self._window > _MAX_WINDOW:
                code = Http2Error.FLOW_CONTROL_ERROR if increment else Http2Error.PROTOCOL_ERROR
                raise BrokenError(code, f"the connection's window widened by {increment}")
        elif (stream := self._streams.get(number)) is not None:
            stream.window += increment
            if not increment or stream.window > _MAX_WINDOW:
                return Http2Error.FLOW_CONTROL_ERROR if increment else Http2Error.PROTOCOL_ERROR
        return None

    def _fits(self, stream: _Stream, size: int) -> bool:
        return self._room > 0 and size <= stream.window and size <= self._window

    def _able(self) -> list[tuple[int, _Stream]]:
        if self._window <= 0:
            return []
        return [(number, stream) for number, stream in self._waiting.items() if stream.window > 0]

    def _cut(self, number: int, stream: _Stream, size: int) -> None:
        self._output.append(frames.heading(size, frames.DATA, 0, number))
        self._output += stream.take(size)
        self._window -= size
        self._room -= size
        if stream.size:
            return
        stream.pieces = None
        del self._waiting[number]
        if stream.ending is not None:
            del self._streams[number]
            self._to_tell.discard(number)
            self._output.append(stream.ending)
