"""A light gRPC client: one HTTP/2 connection with one stream, messages out and in.

It opens its own windows as far as they go, and keeps to the server's. gRPC's own client costs more than the servers
that it would measure.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

from igw_ops.grpc import wire
from igw_ops.http2 import frames
from igw_ops.http2.header_blocks import literal

_WIDEST = 2**31 - 1
_FIRST = 65_535
_SETTINGS = {frames.HEADER_TABLE_SIZE: 0, frames.INITIAL_WINDOW_SIZE: _WIDEST}
_RETURN_BYTES = 64 * 1024 * 1024


class LightStream(asyncio.Protocol):
    """One call; `received` is called with each message, `ended` once when the server ends it or hangs up."""

    def __init__(
        self,
        path: str,
        received: Callable[[bytes], None],
        ended: Callable[[], None] = lambda: None,
    ) -> None:
        """Call such a path once connected."""
        self._path = path
        self._received = received
        self._ended = ended
        self._unread = b""
        self._held = bytearray()
        self._to_return = 0
        self._over = False
        self._windows = {0: _FIRST, 1: _FIRST}
        self._waiting: deque[bytes] = deque()
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        """Begin the call."""
        self.transport = transport
        transport.write(
            frames.PREFACE
            + frames.settings(_SETTINGS)
            + frames.window_update(0, _WIDEST - _FIRST)
            + frames.frame(frames.HEADERS, frames.END_HEADERS, 1, _request(self._path))
        )

    def send(self, message: bytes) -> None:
        """Send one message."""
        body = wire.message(message)
        size = frames.MAX_FRAME_BYTES
        self._waiting.extend(body[start : start + size] for start in range(0, len(body), size))
        self._flush()

    def data_received(self, data: bytes) -> None:
        """Take what the server sent."""
        data = self._unread + data
        position = 0
        for frame, end in frames.split(data, position):
            position = end
            self._take(frame)
        self._unread = data[position:]

    def connection_lost(self, _: Exception | None) -> None:
        """Take the connection's end."""
        self._end()

    def _take(self, frame: frames.Frame) -> None:
        match frame.type:
            case frames.DATA:
                self._take_content(frame.payload)
            case frames.WINDOW_UPDATE:
                self._windows[frame.stream] += int.from_bytes(frame.payload, "big")
                self._flush()
            case frames.SETTINGS if not frame.flags & frames.ACK:
                self.transport.write(frames.frame(frames.SETTINGS, frames.ACK, 0))
            case frames.PING if not frame.flags & frames.ACK:
                self.transport.write(frames.frame(frames.PING, frames.ACK, 0, frame.payload))
            case frames.HEADERS if frame.flags & frames.END_STREAM:
                self._end()
            case frames.RST_STREAM | frames.GOAWAY:
                self._end()
            case _:
                pass

    def _flush(self) -> None:
        """Send what the server's windows allow."""
        while self._waiting and len(self._waiting[0]) <= min(self._windows.values()):
            piece = self._waiting.popleft()
            for stream in self._windows:
                self._windows[stream] -= len(piece)
            self.transport.write(frames.frame(frames.DATA, 0, 1, piece))

    def _take_content(self, content: bytes) -> None:
        self._to_return += len(content)
        if self._to_return > _RETURN_BYTES:
            update = frames.window_update
            self.transport.write(update(0, self._to_return) + update(1, self._to_return))
            self._to_return = 0
        held = self._held
        held += content
        while len(held) >= (end := wire.PREFIX_BYTES + int.from_bytes(held[1 : wire.PREFIX_BYTES], "big")):
            message = bytes(memoryview(held)[wire.PREFIX_BYTES : end])
            del held[:end]
            self._received(message)

    def _end(self) -> None:
        if not self._over:
            self._over = True
            self._ended()


def _request(path: str) -> bytes:
    """Give a request's header block; `:method: POST` and `:scheme: http` are entries 3 and 6 of HPACK's table."""
    return (
        b"\x83\x86"
        + literal(b":path", path.encode())
        + literal(b":authority", b"light")
        + literal(b"te", b"trailers")
        + literal(b"content-type", b"application/grpc")
    )
