"""What is said over gRPC in tests: calls as bytes, and what was answered, read frame by frame."""

from typing import Any

from hpack import Decoder, Encoder, NeverIndexedHeaderTuple
from igw_ops.grpc import wire
from igw_ops.grpc.connection import Connection, Event
from igw_ops.http2 import frames
from igw_ops.http2.frames import Frame

BEGINNING = frames.PREFACE + frames.settings({})
AGREED = frames.frame(frames.SETTINGS, frames.ACK, 0)
PATH = "/test.Service/Method"


def block(path: str = PATH, content_type: str = "application/grpc", encoder: Any = None) -> bytes:
    """A call's header block; with an encoder of its own it fills a table, else it is the same each time."""
    headers = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "test")]
    headers += [("te", "trailers"), ("content-type", content_type)]
    if encoder is not None:
        return bytes(encoder.encode(headers))
    return Encoder().encode([NeverIndexedHeaderTuple(name, value) for name, value in headers])


def begin(stream: int, flags: int = 0, **more: Any) -> bytes:
    """A call's beginning."""
    return frames.frame(frames.HEADERS, frames.END_HEADERS | flags, stream, block(**more))


def data(stream: int, content: bytes, flags: int = 0) -> bytes:
    """DATA frames, as many as it takes; the flags are the last one's."""
    size = frames.MAX_FRAME_BYTES
    starts = range(0, max(len(content), 1), size)
    return b"".join(
        frames.frame(frames.DATA, flags if start == starts[-1] else 0, stream, content[start : start + size])
        for start in starts
    )


def message(content: bytes) -> bytes:
    """A message with its prefix."""
    return wire.prefix(len(content)) + content


def opened(streams: int = 3, message_bytes: int = 200_000, told: dict[int, int] | None = None) -> Connection:
    """A connection past its beginning, nothing to send."""
    connection = Connection(streams, message_bytes)
    connection.receive(frames.PREFACE + frames.settings(told or {}) + AGREED)
    connection.output()
    return connection


def sent(connection: Connection) -> list[Frame]:
    """The frames that the connection sends now."""
    return in_frames(connection.output())


def in_frames(output: bytes) -> list[Frame]:
    """All frames of some bytes, which are whole."""
    found = list(frames.split(output))
    assert sum(frames.HEADER_BYTES + len(frame.payload) for frame, _ in found) == len(output)
    return [frame for frame, _ in found]


def content(output: bytes, stream: int) -> bytes:
    """What a stream's DATA frames hold."""
    ours = [frame for frame in in_frames(output) if (frame.type, frame.stream) == (frames.DATA, stream)]
    return b"".join(frame.payload for frame in ours)


def decoded(block: bytes) -> dict[str, str]:
    """What a block says; it may not fill the table, which would be another on each connection."""
    decoder: Any = Decoder()
    found = dict(decoder.decode(block))
    assert not decoder.header_table.dynamic_entries
    return found


def headers(frame: Frame) -> dict[str, str]:
    """The headers of a HEADERS frame."""
    return decoded(frame.payload)


def kinds(events: list[Event]) -> list[tuple[str, int]]:
    """What happened on which stream."""
    return [(type(event).__name__, event.stream) for event in events]
