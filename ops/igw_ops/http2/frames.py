"""HTTP/2 frames: values in, bytes out, and back. Pure.

Only what a server with tiny answers needs; header blocks stay bytes. Source: RFC 9113, 4 and 6.
"""

import enum
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEADER_BYTES: Final = 9
MAX_FRAME_BYTES: Final = 16_384
"""SETTINGS_MAX_FRAME_SIZE as it is unless told otherwise, and we tell nobody otherwise."""

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY = range(8)
WINDOW_UPDATE, CONTINUATION = 8, 9
END_STREAM: Final = 0x1
ACK: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8
WITH_PRIORITY: Final = 0x20
_PRIORITY_BYTES: Final = 5
_HEADING: Final = struct.Struct(">BHBBL")
_OF_THE_CONNECTION: Final = frozenset({SETTINGS, PING, GOAWAY})
_OF_A_STREAM: Final = frozenset({DATA, HEADERS, PRIORITY, RST_STREAM, CONTINUATION})
_SIZES: Final = {RST_STREAM: 4, PING: 8, WINDOW_UPDATE: 4, PRIORITY: 5}

HEADER_TABLE_SIZE: Final = 0x1
MAX_CONCURRENT_STREAMS: Final = 0x3
INITIAL_WINDOW_SIZE: Final = 0x4
MAX_FRAME_SIZE: Final = 0x5
MAX_HEADER_LIST_SIZE: Final = 0x6


class Http2Error(enum.IntEnum):
    """RFC 9113, 7: what we or our clients say went wrong with a connection or a stream."""

    NO_ERROR = 0x0
    PROTOCOL_ERROR = 0x1
    INTERNAL_ERROR = 0x2
    FLOW_CONTROL_ERROR = 0x3
    STREAM_CLOSED = 0x5
    FRAME_SIZE_ERROR = 0x6
    REFUSED_STREAM = 0x7
    CANCEL = 0x8
    COMPRESSION_ERROR = 0x9
    ENHANCE_YOUR_CALM = 0xB


class Frame(NamedTuple):
    """One frame as it came; the payload may be padded."""

    type: int
    flags: int
    stream: int
    payload: bytes


@dataclass(slots=True)
class BrokenError(Exception):
    """The peer broke HTTP/2: say so with GOAWAY and hang up (RFC 9113, 5.4.1)."""

    code: Http2Error
    reason: str


def split(data: bytes, start: int = 0) -> Iterator[tuple[Frame, int]]:
    """Give each whole frame of `data` from `start`, and where it ends. BrokenError for one too long."""
    position, size = start, len(data)
    while size - position >= HEADER_BYTES:
        body = position + HEADER_BYTES
        end = body + int.from_bytes(data[position : position + 3], "big")
        if end - body > MAX_FRAME_BYTES:
            raise BrokenError(Http2Error.FRAME_SIZE_ERROR, f"a frame of {end - body} bytes")
        if end > size:
            return
        stream = int.from_bytes(data[position + 5 : body], "big") & 0x7FFFFFFF
        yield Frame(data[position + 3], data[position + 4], stream, data[body:end]), end
        position = end


def content(frame: Frame) -> bytes:
    """Give the bytes of a DATA or HEADERS frame without the padding (RFC 9113, 6.1)."""
    if not frame.flags & PADDED:
        return frame.payload
    if not frame.payload or frame.payload[0] >= len(frame.payload):
        raise BrokenError(Http2Error.PROTOCOL_ERROR, "padding longer than its frame")
    return frame.payload[1 : len(frame.payload) - frame.payload[0]]


def header_block(frame: Frame) -> bytes:
    """Give what a HEADERS frame holds of its header block: no padding, no priority (RFC 9113, 6.2)."""
    block = content(frame)
    return block[_PRIORITY_BYTES:] if frame.flags & WITH_PRIORITY else block


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Give a frame's bytes."""
    return b"%b%c%c%b%b" % (len(payload).to_bytes(3, "big"), kind, flags, stream.to_bytes(4, "big"), payload)


def heading(size: int, kind: int, flags: int, stream: int) -> bytes:
    """Give a frame's first nine bytes; `size` bytes of payload are to follow (RFC 9113, 4.1)."""
    return _HEADING.pack(size >> 16, size & 0xFFFF, kind, flags, stream)


def check(frame: Frame) -> None:
    """Raise BrokenError for a frame of a wrong size, or on a stream that it cannot be on (RFC 9113, 6)."""
    if frame.type in (_OF_A_STREAM if frame.stream == 0 else _OF_THE_CONNECTION):
        raise BrokenError(Http2Error.PROTOCOL_ERROR, f"frame type {frame.type} on stream {frame.stream}")
    size = _SIZES.get(frame.type)
    if size is not None and len(frame.payload) != size:
        raise BrokenError(
            Http2Error.FRAME_SIZE_ERROR, f"{len(frame.payload)} bytes in frame type {frame.type}"
        )
    if frame.type == SETTINGS and frame.flags & ACK and frame.payload:
        raise BrokenError(Http2Error.FRAME_SIZE_ERROR, "SETTINGS acknowledged with a payload")


def settings(values: Mapping[int, int]) -> bytes:
    """Give a SETTINGS frame."""
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", key, value) for key, value in values.items()))


def settings_values(payload: bytes) -> dict[int, int]:
    """Give what a SETTINGS frame says."""
    if len(payload) % 6:
        raise BrokenError(Http2Error.FRAME_SIZE_ERROR, "SETTINGS not a multiple of 6 bytes")
    return dict(struct.iter_unpack(">HI", payload))


def window_update(stream: int, increment: int) -> bytes:
    """Give a WINDOW_UPDATE frame; stream 0 is the connection."""
    return frame(WINDOW_UPDATE, 0, stream, increment.to_bytes(4, "big"))


def reset(stream: int, code: Http2Error) -> bytes:
    """Give a RST_STREAM frame."""
    return frame(RST_STREAM, 0, stream, code.to_bytes(4, "big"))


def go_away(last_stream: int, code: Http2Error) -> bytes:
    """Give a GOAWAY frame: streams above the last will not be answered."""
    return frame(GOAWAY, 0, 0, struct.pack(">II", last_stream, code))
