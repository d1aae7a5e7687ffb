"""One connection of gRPC streams, as a pure object: bytes in, streams' events out; answers in, bytes out.

Made for one peer, Envoy, and one method: request headers are not read, every stream is taken for `Process`.
What it gives for that: a tenth of the CPU of `grpc.aio`. HTTP/2 itself is `igw_ops.http2`. No I/O here.
"""

from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import groupby
from typing import Final

from igw_ops.grpc import wire
from igw_ops.grpc.wire import GrpcStatus
from igw_ops.http2 import connection as http2
from igw_ops.http2 import frames
from igw_ops.http2.connection import Content, Event

_MAX_REASON: Final = 100
"""Characters: all that is said on a stream fits into its first window."""
_WINDOW: Final = 4 * 1024 * 1024
"""What may be on its way on the connection. What came is read at once, so streams need no windows of their own."""
_MAX_WINDOW: Final = 2**31 - 1
_LARGE_READ: Final = 65_536
"""Bytes that came at once; in fewer there are hardly two frames of one body."""
_STREAM_AT: Final = 5
"""Where in a frame its stream's number stands."""


class Connection:
    """The server's end; `receive` takes bytes, `output` gives those to send."""

    def __init__(self, max_streams: int) -> None:
        """Begin before the client's preface."""
        self._proceeding: set[int] = set()
        own = {frames.MAX_CONCURRENT_STREAMS: max_streams, frames.INITIAL_WINDOW_SIZE: _MAX_WINDOW}
        self._http2 = http2.Connection(own, _WINDOW)
        self.output = self._http2.output
        self.announce_end = self._http2.announce_end
        self.break_off = self._http2.break_off

    @property
    def live(self) -> int:
        """Give the number of streams that are not ended, or whose answers wait for the peer's window."""
        return self._http2.live

    def receive(self, data: bytes) -> list[Event]:
        """Give what the next bytes say; Envoy cuts bodies into frames of 16 KiB, which are put together again."""
        events = self._http2.receive(data)
        return events if len(data) < _LARGE_READ else list(_joined(events))

    def answer(self, stream: int, message: bytes, *, last: bool) -> None:
        """Send a message; the last one ends the stream with OK. Nothing happens when the stream is gone."""
        if not self._http2.is_open(stream):
            return
        first = stream not in self._proceeding
        if last:
            self._proceeding.discard(stream)
            self._http2.close(stream)
        else:
            self._proceeding.add(stream)
        parts, size = _said(message, first, last)
        self._http2.send(stream, stream.to_bytes(4, "big").join(parts), size)

    def fail(self, stream: int, status: GrpcStatus, reason: str) -> None:
        """End a stream with an error. Nothing happens when the stream is gone."""
        opening = b"" if stream in self._proceeding else wire.OK_HEADERS
        self._proceeding.discard(stream)
        if self._http2.close(stream):
            block = opening + wire.trailers(status, reason[:_MAX_REASON])
            end = frames.frame(frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, stream, block)
            self._http2.send(stream, end, 0)


def _joined(events: Iterable[Event]) -> Iterator[Event]:
    """Give one for each stream's content that stands together: what is done for each costs more than its bytes."""
    for stream, together in groupby(events, _stream_of_content):
        if stream is None:
            yield from together
        else:
            yield Content(stream, b"".join(event.content for event in together if isinstance(event, Content)))


def _stream_of_content(event: Event) -> int | None:
    return event.stream if isinstance(event, Content) else None


@lru_cache(maxsize=1024)
def _said(message: bytes, first: bool, last: bool) -> tuple[tuple[bytes, ...], int]:  # noqa: FBT001 - a cache's key
    """Give the frames that say a message, cut where the stream's number stands, and how much of it is content."""
    content = wire.message(message)
    told = [(frames.DATA, 0, content)]
    if first:
        told.insert(0, (frames.HEADERS, frames.END_HEADERS, wire.OK_HEADERS))
    if last:
        told.append((frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, wire.trailers(GrpcStatus.OK)))
    parts, before = [], b""
    for kind, flags, payload in told:
        parts.append(before + frames.frame(kind, flags, 0, payload)[:_STREAM_AT])
        before = payload
    return (*parts, before), len(content)
